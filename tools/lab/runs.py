"""Makes the runs of an experiment: as many at once as there are processors, none twice.

Every run has a folder of its own, STORE/KEY, where KEY is of the command and of the program: what is there and whole is not made
again, whatever interrupted the experiment, and a new program makes all anew. Experiments that share a store share runs.
DIR/runs.jsonl has those of one experiment, an object a line, in the order of its file.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import data
from experiment import Plan, Wrong


@dataclasses.dataclass
class Result:
    run: object
    command: list    # as one would type it
    summary: dict
    curve: list      # points
    folder: pathlib.Path
    cpu: float       # seconds of processor time that it took

    def value(self, path):
        """A number of the summary: "test.accuracy", "per_node.0.steps"; None: it is not there."""
        x = self.summary
        for part in path.split("."):
            x = x[int(part)] if isinstance(x, list) and int(part) < len(x) else x.get(part) if isinstance(x, dict) else None
            if x is None:
                return None
        return x


class Failed(Exception):
    """A run that has no result: says the command and what it said."""


def program(binary):
    """What tells one build from another."""
    return hashlib.sha256(pathlib.Path(binary).read_bytes()).hexdigest()[:16]


def name_of(plan):
    return f"plan-{hashlib.sha256(plan.encode()).hexdigest()[:12]}.json"


def flags_of(setting, plans):
    """As words, in one order, so that experiments that mean the same run find each other's; fault plans as files of a folder."""
    return [str(plans / name_of(x) if isinstance(x, Plan) else x)
            for flag, value in sorted(setting.flags, key=lambda pair: pair[0]) if flag.startswith("-")
            for x in ([flag] if value is True else [flag, value])]


class Runs:
    def __init__(self, experiment, binary, folder, store=None, workers=None):
        self.experiment, self.binary, self.folder = experiment, pathlib.Path(binary), pathlib.Path(folder)
        self.store = pathlib.Path(store) if store else self.folder / "runs"
        found = {setting.data: data.find(self.binary, setting.data) for setting in experiment.settings}
        self.data = {name: flags for name, (flags, _) in found.items()}
        self.about_data = "; ".join(dict.fromkeys(about for _, about in found.values()))
        self.version = program(self.binary)
        # Real processes share the processors among themselves.
        self.workers = 1 if any(setting.mode == "run" for setting in experiment.settings) else workers or len(os.sched_getaffinity(0))
        self.lock, self.begun, self.made, self.children, self.stopping = threading.Lock(), time.monotonic(), 0, set(), False
        self.cpu = 0.

    def command(self, run):
        s = run.setting
        return [s.mode, s.workload, *map(str, self.data[s.data]), *flags_of(s, self.store), "--seed", str(run.seed + s.note("seed_from", 0))]

    def key(self, command):
        """Wherever the plans are: their names say what is in them."""
        words = [word.removeprefix(f"{self.store}/") for word in command]
        return hashlib.sha256(json.dumps([self.version, words]).encode()).hexdigest()[:20]

    def finished(self, run):
        """The result of a run that was made before, or None."""
        command = self.command(run)
        folder = self.store / self.key(command)
        try:
            summary = json.loads((folder / "result.json").read_text())
            cpu = float((folder / "cpu").read_text())
        except (FileNotFoundError, ValueError):
            return None
        file = folder / "curve.jsonl"
        curve = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return Result(run, ["hogmesh", *command], summary, curve, folder, cpu)

    def make(self, run):
        command = self.command(run)
        self.write_plans(run.setting)
        whole = self.store / self.key(command)
        # Whoever else makes the same run does so elsewhere; the first that is whole stays.
        folder = whole.with_suffix(f".half-{os.getpid()}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            line, cpu = self.execute(command, folder)
            if not list(folder.glob("trajectory-*.npy")):
                (folder / "model.hm").unlink(missing_ok=True)  # of thousands of runs; landscapes are scored with it
            (folder / "summary.json").unlink(missing_ok=True)  # the same again
            (folder / "result.json").write_bytes(line + b"\n")
            (folder / "cpu").write_text(f"{cpu:.3f}\n")
            with self.lock:
                self.cpu += cpu
            if not self.finished(run):
                shutil.rmtree(whole, ignore_errors=True)
                folder.rename(whole)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def write_plans(self, setting):
        for plan in (value for _, value in setting.flags if isinstance(value, Plan)):
            file = self.store / name_of(plan)
            if not file.exists():
                self.store.mkdir(parents=True, exist_ok=True)
                half = file.with_suffix(f".half-{os.getpid()}-{threading.get_ident()}")
                half.write_text(plan + "\n")
                half.rename(file)

    def execute(self, command, folder):
        """The line that it ends with, and the seconds of processor time."""
        with open(folder / "stdout", "w+b") as out, open(folder / "stderr", "w+b") as err:
            process = subprocess.Popen([self.binary, *command, "--json", "--quiet", "--out", folder], stdout=out, stderr=err,
                                       stdin=subprocess.DEVNULL)
            with self.lock:
                self.children.add(process)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            with self.lock:
                self.children.discard(process)
            out.seek(0), err.seek(0)
            lines, said = out.read().splitlines(), err.read()
        if self.stopping:  # it has ended early, whatever it says
            raise Failed("stopped")
        if not lines:
            raise Failed(f"hogmesh {' '.join(command)}\nended with {process.returncode}: {said.decode(errors='replace')[-500:].strip()}")
        for name in ("stdout", "stderr"):
            (folder / name).unlink()
        return lines[-1], usage.ru_utime + usage.ru_stime

    def tell(self, run, total):
        with self.lock:
            self.made += 1
            left = (time.monotonic() - self.begun) / self.made * (total - self.made)
            print(f"\r{self.experiment.name}: {self.made} of {total} runs, {left / 60:.1f} min left ({run.setting.name()}, seed {run.seed})"
                  + "\x1b[K" * sys.stderr.isatty(), end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    def stop(self):
        with self.lock:
            self.stopping = True
            for process in self.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)  # terminate() would reap it, and its time be lost

    def distinct(self):
        """Settings may come to the same command: the runs that are to be made."""
        return list({self.key(self.command(run)): run for run in reversed(self.experiment.runs())}.values())[::-1]

    def all(self):
        """[Result] in the order of the experiment, made or found."""
        runs, distinct = self.experiment.runs(), self.distinct()
        missing = [run for run in distinct if not self.finished(run)]
        if len(missing) < len(distinct):
            print(f"{self.experiment.name}: {len(distinct) - len(missing)} of {len(distinct)} runs are there already", file=sys.stderr)

        def job(run):
            self.make(run)
            self.tell(run, len(missing))
        pool = concurrent.futures.ThreadPoolExecutor(self.workers)
        try:
            for future in concurrent.futures.as_completed([pool.submit(job, run) for run in missing]):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.stop()
            pool.shutdown()
            raise
        pool.shutdown()
        if missing and sys.stderr.isatty():
            print(file=sys.stderr)
        results = [self.finished(run) for run in runs]
        self.write(results)
        return results

    def write(self, results):
        with open(self.folder / "runs.jsonl", "w") as file:
            for r in results:
                file.write(json.dumps({"setting": dict(r.run.setting.values), "seed": r.run.seed, "command": " ".join(r.command),
                                       "cpu_seconds": r.cpu, "summary": r.summary}) + "\n")


def binary():
    """The program: of $HOGMESH, or of the build."""
    file = pathlib.Path(os.environ.get("HOGMESH", data.ROOT / "build" / "tools" / "hogmesh"))
    if not file.exists():
        raise Wrong(f"{file} is missing: build first (meson setup build && ninja -C build), or set HOGMESH")
    return file
