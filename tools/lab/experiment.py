"""An experiment: a TOML file that says which runs there are, and what is to be made of them.

    title = "..."                  one line
    asks = "..."                   the question
    paper = "..."                  where it comes from, and what they found
    workload = "lenet5"            and data = one of the names of data.py, or flags: ["--train", "x.svm"]
    mode = "sim"                   sim (virtual time, the same on every machine) or run (real processes)
    seeds = 5                      runs of every setting, --seed 1 to 5; what is compared shares them
    explains = "..."               why (written when the figures were looked at; what holds is counted, see [[claim]])

    [flags]                        of every run; "--quiet-thing" = true has no value, false is left out
    "--epochs" = 10

    [axis.workers]                 what is varied: every value adds flags, and settings are all their combinations
    "2" = { "-n" = 2 }
    "10" = { "-n" = 10 }
                                   beside flags a value may have a workload, data or mode of its own, and as `quick` a table of flags
                                   that come last with --quick; "--faults" = { events = [...] } is a fault plan (tools/FAULTS.md)

                                   seed_from = 100: seeds of its own, 101 and so on; notes = { step_seconds = .01 }: numbers that
                                   measures may name

    [[without]]                    combinations that are left out
    workers = "2"

    [quick]                        what --quick makes smaller: seeds, flags, and which values of an axis stay
    seeds = 2
    flags = { "--epochs" = 1 }
    keep = { workers = ["10"] }

    [[claim]]                      what somebody says of it, held against the runs: see claim.py
    [[table]], [[figure]]          see table.py, figure.py
"""

import dataclasses
import itertools
import json
import pathlib
import tomllib

FOLDER = pathlib.Path(__file__).resolve().parent / "experiments"
KNOWN = {"title", "asks", "paper", "workload", "data", "mode", "seeds", "explains", "flags", "axis", "without", "quick", "table", "figure", "claim"}
OWN = {"workload", "data", "mode", "quick", "seed_from", "notes"}  # of an axis' value, beside flags


class Wrong(Exception):
    """Something in an experiment's file that cannot be meant: says where, what is expected."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One combination of the axes' values, and the flags that it comes to."""
    values: tuple  # of (axis, value)
    flags: tuple   # of (flag, value), in the order of the file; with notes, which do not begin with a dash
    workload: str
    data: object   # a name, or a tuple of flags
    mode: str

    def get(self, axis):
        return dict(self.values)[axis]

    def note(self, name, default=None):
        return dict(self.flags).get(name, default)

    def name(self):
        return ", ".join(f"{axis} {value}" for axis, value in self.values) or "all"


class Plan(str):
    """A fault plan in JSON, which a command is given as a file."""


@dataclasses.dataclass(frozen=True)
class Run:
    setting: Setting
    seed: int

    def what(self):
        """What tells it from other runs of one program, whatever it is called."""
        s = self.setting
        return s.mode, s.workload, s.data, s.flags, self.seed


@dataclasses.dataclass
class Experiment:
    name: str
    source: str      # what load was given
    about: dict      # the file
    quick: bool
    axes: dict       # name: [value], in the order of the file
    settings: list
    seeds: range

    def runs(self):
        """Seeds outermost: an experiment that is interrupted has something of everything."""
        return [Run(setting, seed) for seed in self.seeds for setting in self.settings]


def names():
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def fail(name, *what):
    raise Wrong(f"{name}.toml: {' '.join(map(str, what))}")


def check(name, about):
    for key in about:
        if key not in KNOWN:
            fail(name, f"'{key}' is not known; there are", ", ".join(sorted(KNOWN)))
    for key in ("title", "asks", "workload", "data", "seeds"):
        if key not in about:
            fail(name, f"'{key}' is missing")
    axes = about.get("axis", {})
    for where in (about, *(value for values in axes.values() for value in values.values())):
        if where.get("mode", "sim") not in ("sim", "run"):
            fail(name, f"mode '{where['mode']}': sim or run is expected")
    for axis, values in axes.items():
        for value, has in values.items():
            for key in has:
                if key not in OWN and not key.startswith("-"):
                    fail(name, f"[axis.{axis}] {value}: '{key}' is neither a flag nor one of", ", ".join(sorted(OWN)))
    for left_out in about.get("without", []):
        for axis, value in left_out.items():
            if value not in axes.get(axis, {}):
                fail(name, f"[[without]] {axis} = '{value}': there is no such value")
    for axis, values in about.get("quick", {}).get("keep", {}).items():
        for value in values:
            if value not in axes.get(axis, {}):
                fail(name, f"[quick] keep {axis} '{value}': there is no such value")
    for kind in ("table", "figure", "claim"):
        for spec in about.get(kind, []):
            check_values(name, kind, spec, axes)
            for key in ("rows", "columns", "lines", "panels", "x"):
                for axis in listed(spec.get(key, [])):
                    if axis not in axes and not (key == "x" and (kind == "figure" or spec.get("kind") == "agreement")):
                        fail(name, f"[[{kind}]] {key} = '{axis}': there is no such axis")


def check_values(name, kind, spec, axes):
    """What names settings by the values of axes names such as there are."""
    for key in ("of", "than", "only", "against"):
        where = spec.get(key, {})
        if not isinstance(where, dict):
            continue  # claims compare with numbers, too
        for axis, values in where.items():
            for value in listed(values):
                if value not in axes.get(axis, {}):
                    fail(name, f"[[{kind}]] {key}: {axis} = '{value}': there is no such value")


def listed(x):
    return x if isinstance(x, list) else [x]


def merged(*tables):
    """Flags of all tables; the later ones win, False takes one away."""
    flags = {}
    for table in tables:
        flags.update({flag: value for flag, value in table.items() if flag != "notes"}, **table.get("notes", {}))
    return tuple((flag, Plan(json.dumps(value)) if isinstance(value, dict) else value)
                 for flag, value in flags.items() if value is not False and flag not in OWN - {"seed_from"})


def own(about, has, key, default=None):
    """The workload, data or mode of a setting: of the last of its values that has one, else the experiment's."""
    given = ([about.get(key, default)] + [value[key] for value in has if key in value])[-1]
    return tuple(given) if isinstance(given, list) else given


def left_out(about, values):
    return any(all(values[axis] == value for axis, value in rule.items()) for rule in about.get("without", []))


def load(name, quick=False):
    """The experiment of that name, or in that file."""
    path = pathlib.Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        about = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise Wrong(f"no experiment '{name}'; there are {', '.join(names())}") from None
    except tomllib.TOMLDecodeError as error:
        raise Wrong(f"{path}: {error}") from None
    check(path.stem, about)
    less = about.get("quick", {}) if quick else {}
    axes = {axis: [value for value in values if value in less.get("keep", {}).get(axis, values)]
            for axis, values in about.get("axis", {}).items()}
    settings = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination))
        if not left_out(about, values):
            has = [about["axis"][axis][value] for axis, value in values.items()]
            flags = merged(about.get("flags", {}), *has, less.get("flags", {}), *(value.get("quick", {}) for value in has if quick))
            settings.append(Setting(tuple(values.items()), flags, own(about, has, "workload"), own(about, has, "data"), own(about, has, "mode", "sim")))
    return Experiment(path.stem, str(name), about, quick, axes, settings, range(1, less.get("seeds", about["seeds"]) + 1))
