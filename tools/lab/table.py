"""Tables of an experiment: CSV for programs, Markdown for people.

    [[table]]
    title = "..."
    rows = ["delay"]               axes
    columns = ["workers"]          axes
    only = { delay = ["0 ms"] }    the values of an axis that are looked at
    measure = "test.accuracy"      of the summary; or "curve.loss": of the curve's last point; or "seconds to loss": of training, until
                                   a field of the curve is at `target` for good (what never is counts as not converged). Such may be
                                   added, subtracted, multiplied and divided: "train.accuracy - test.accuracy"
    scale = 100, digits = 2, unit = "%"
    less_is_better = true          for the word in comparisons
    chance = .11                   at or below: no convergence, counted and said
    diverged = .1                  what a run counts that has no number because it diverged, as of accuracy what a guess gets; without it
                                   a mean with such a run is no number either
    against = { delay = "0 ms" }   every cell's paired difference from the one with these values
    alone = { nodes = "1" }        of times: the best single thread; says below it from how many nodes a mesh beats that (COST)
    paper = [[89.0, 85.5], ...]    their figures in the same shape; "NC": no convergence; "": none

    kind = "classes"               precision, recall and F1 of each class, in %, on the test set
    kind = "confusion"             of 100 images of a class, as how many of which they were taken
    of = { delay = "90 ms" }       for these settings

    kind = "law" or "agreement"    see law.py
"""

import csv
import itertools
import math

import law
import stats
from experiment import listed


def measure(result, spec):
    """A number of one run; None: it has none."""
    words = spec["measure"].split()
    if len(words) == 3 and words[1] == "to":
        return reached(result.curve, words[0], words[2], spec["target"])
    values = [operand(result, word) for word in words[::2]]
    if any(value is None for value in values):
        return None
    total, term = 0., values[0]
    for sign, value in zip(words[1::2], values[1:]):
        if sign in "*/":
            term = term * value if sign == "*" else term / value if value else math.nan
        else:
            total, term = total + term, value if sign == "+" else -value
    return total + term


def operand(result, word):
    if word.startswith("curve."):
        return result.curve[-1].get(word[6:]) if result.curve else None
    if word == "cpu_seconds":
        return result.cpu
    if word[0].isdigit():
        return float(word)
    return result.run.setting.note(word) if result.run.setting.note(word) is not None else result.value(word)


def reached(points, x, y, target):
    """The x at which a falling curve is at a target for good, between two points."""
    above = [i for i, p in enumerate(points) if p[y] > target]
    if not above:
        return points[0][x] if points else None
    if above[-1] + 1 == len(points):
        return None
    a, b = points[above[-1]], points[above[-1] + 1]
    return b[x] - (b[x] - a[x]) * (target - b[y]) / (a[y] - b[y])


def positions(experiment, axes, only=None):
    """All combinations of the values of some axes: [{axis: value}]; `only` {axis: values} leaves out others."""
    only = only or {}
    return [dict(zip(axes, values)) for values in
            itertools.product(*([value for value in experiment.axes[axis] if value in listed(only.get(axis, value))] for axis in axes))]


def chosen(results, where):
    """The results of settings with these values: {axis: value, or list of values}."""
    return [r for r in results if all(r.run.setting.get(axis) in listed(values) for axis, values in where.items())]


def by_seed(results, spec):
    """{seed: value}; of several settings the mean."""
    values = {}
    for r in results:
        value = measure(r, spec)
        if value is None or not math.isfinite(value):
            value = spec.get("diverged", math.nan)
        values.setdefault(r.run.seed, []).append(value * spec.get("scale", 1))
    return {seed: sum(some) / len(some) for seed, some in values.items()}


class Cell:
    def __init__(self, results, spec, against=None, paper=""):
        self.values = by_seed(results, spec)
        self.mean = stats.mean(self.values.values())
        self.failed = sum(1 for value in self.values.values() if not math.isfinite(value) or value <= spec.get("chance", -math.inf) * spec.get("scale", 1))
        self.unclean = sum(1 for r in results if not r.summary.get("clean"))
        self.difference = stats.difference(self.values, against) if against else None
        self.verdict = stats.verdict(self.difference, not spec.get("less_is_better", False)) if against else ""
        self.paper = paper


def cells(experiment, results, spec):
    """Rows of cells, None where there is no such setting; with what rows and columns stand for."""
    only = spec.get("only", {})
    rows, columns = (positions(experiment, listed(spec.get(key, [])), only) for key in ("rows", "columns"))
    results = chosen(results, only)
    paper = spec.get("paper", [])

    def cell(i, j):
        where = {**rows[i], **columns[j]}
        there = chosen(results, where)
        if not there:
            return None
        base = {**where, **spec["against"]} if "against" in spec else None
        against = by_seed(chosen(results, base), spec) if base and base != where else None
        # Of --quick, rows and columns are fewer than the paper's: its figures are found by value.
        return Cell(there, spec, against, paper_figure(experiment, spec, paper, where))
    return rows, columns, [[cell(i, j) for j in range(len(columns))] for i in range(len(rows))]


def paper_figure(experiment, spec, paper, where):
    if not paper:
        return ""
    place = 0
    for key, outer in (("rows", paper), ("columns", None)):
        axes = listed(spec.get(key, []))
        place = 0
        for axis in axes:
            values = list(experiment.about["axis"][axis])
            place = place * len(values) + values.index(where[axis])
        paper = paper[place] if place < len(paper) else ""
        if paper == "":
            return ""
    return paper


def label(where):
    return ", ".join(where.values()) or "all runs"


def text(cell, spec):
    """ "89.97 ± 0.21", and what there is to say beside it."""
    if cell is None:
        return ""
    digits, n = spec.get("digits", 2), cell.mean.n
    if cell.failed == n:
        said = "no convergence"
    elif not math.isfinite(cell.mean.mean):
        said = f"{cell.failed} of {n} " + ("never" if " to " in spec["measure"] else "diverged")
    else:
        half = f" ± {cell.mean.half:.{digits}f}" if math.isfinite(cell.mean.half) else ""
        said = f"{cell.mean.mean:.{digits}f}{half}" + (f" ({cell.failed} of {n} not converged)" if cell.failed else "")
    if cell.verdict and cell.verdict != "unknown":
        said += f"; {cell.verdict}" + (f" by {abs(cell.difference.mean):.{digits}f} ± {cell.difference.half:.{digits}f}"
                                       if cell.verdict != "no difference" else "")
    if cell.paper != "":
        said += f" [{cell.paper}]"
    return said


def rows_of_markdown(head, lines):
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


def cost(columns, rows, grid, spec):
    """COST (McSherry et al., HotOS 2015): from how many nodes a mesh beats the best single thread on the same machine."""
    singles = [cell for row, line in zip(rows, grid) if all(row.get(axis) == value for axis, value in spec["alone"].items())
               for cell in line if cell is not None and math.isfinite(cell.mean.mean)]
    if not singles:
        return []
    best = min(singles, key=lambda cell: cell.mean.mean)
    said = []
    for j, column in enumerate(columns):
        others = [(row, stats.difference(line[j].values, best.values)) for row, line in zip(rows, grid) if line[j] is not None and line[j] not in singles]
        sure = [row for row, d in others if stats.verdict(d, more_is_better=False) == "better"]
        mean = [row for row, d in others if d.mean < 0]
        said.append((f"{label(column)}: " if column else "") + (f"beaten from {label(sure[0])} on" if sure else
                    f"beaten in the mean from {label(mean[0])} on, by no more than chance may" if mean else "never beaten"))
    single = text(best, {"digits": spec.get("digits", 2)}).split(";")[0]
    return ["", f"COST: the best single thread takes {single} {spec.get('unit', 's')}; {'; '.join(said)}."]


def class_lines(experiment, results, spec):
    """Head and lines of a report by class, of a confusion matrix, or of a law, with means over the seeds."""
    if spec["kind"] in ("law", "agreement"):
        return law.lines_of(experiment, results, spec)
    there = [r for r in chosen(results, spec.get("of", {})) if r.summary.get("report")]
    n = len(there[0].summary["report"]["classes"]) if there else 0
    digits = spec.get("digits", 1)
    if spec["kind"] == "confusion":
        shares = [[stats.mean(100 * r.summary["report"]["confusion"][i][j] / max(sum(r.summary["report"]["confusion"][i]), 1) for r in there).mean
                   for j in range(n)] for i in range(n)]
        return ["class", *(f"as {j}" for j in range(n))], [[str(i), *(f"{x:.{digits}f}" for x in line)] for i, line in enumerate(shares)]
    lines = []
    for i in range(n):
        line = [str(i)]
        for k, key in enumerate(("precision", "recall", "f1")):
            m = stats.mean(100 * r.summary["report"]["classes"][i][key] for r in there)
            paper = f" [{spec['paper'][i][k]}]" if "paper" in spec else ""
            line.append(f"{m.mean:.{digits}f}" + (f" ± {m.half:.{digits}f}" if math.isfinite(m.half) else "") + paper)
        lines.append(line)
    return ["class", "precision", "recall", "F1"], lines


def footing(experiment, spec):
    seeds = len(experiment.seeds)
    return (f"Mean of {seeds} seed{'s' * (seeds > 1)}" + (" with its 95 % interval" if seeds > 1 and spec.get("kind") != "confusion" else "")
            + ("; differences are of pairs with the same seed" if "against" in spec else "")
            + ("; in brackets: the paper's" if "paper" in spec else "") + ".")


def corner(spec):
    """Which axes go down and which across."""
    down, across = (", ".join(listed(spec.get(key, []))) for key in ("rows", "columns"))
    return f"{down} ↓ {across} →" if down and across else down or across or " "


def markdown(experiment, results, spec):
    unit = f" ({spec['unit']})" if "unit" in spec else ""
    head = [f"**{spec['title']}{unit}**", ""]
    if "kind" in spec:
        return "\n".join([*head, *rows_of_markdown(*class_lines(experiment, results, spec)), "", footing(experiment, spec)]) + "\n"
    rows, columns, grid = cells(experiment, results, spec)
    lines = rows_of_markdown([corner(spec), *(label(column) if column else spec.get("unit", "mean") for column in columns)],
                             [[label(row), *(text(cell, spec) for cell in line)] for row, line in zip(rows, grid)])
    return "\n".join([*head, *lines, *(cost(columns, rows, grid, spec) if "alone" in spec else []), "", footing(experiment, spec)]) + "\n"


def write_csv(path, experiment, results, spec):
    if "kind" in spec:
        with open(path, "w", newline="") as file:
            head, lines = class_lines(experiment, results, spec)
            csv.writer(file, lineterminator="\n").writerows([head, *lines])
        return
    rows, columns, grid = cells(experiment, results, spec)
    axes = listed(spec.get("rows", [])) + listed(spec.get("columns", []))
    with open(path, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*axes, "mean", "half_interval", "n", "not_converged", "difference", "difference_half", "verdict", "paper",
                      *(f"seed_{seed}" for seed in experiment.seeds)])
        for row, line in zip(rows, grid):
            for column, cell in zip(columns, line):
                if cell is None:
                    continue
                where, d = {**row, **column}, cell.difference
                out.writerow([*(where[axis] for axis in axes), f"{cell.mean.mean:.10g}", f"{cell.mean.half:.10g}", cell.mean.n, cell.failed,
                              f"{d.mean:.10g}" if d else "", f"{d.half:.10g}" if d else "", cell.verdict, cell.paper,
                              *(f"{cell.values.get(seed, math.nan):.10g}" for seed in experiment.seeds)])
