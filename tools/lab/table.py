"""Tables of an experiment: CSV for programs, Markdown for people.

    [[table]]
    title = "..."
    rows = ["delay"]               axes
    columns = ["workers"]          axes
    measure = "test.accuracy"      of the summary; or "curve.loss": of the curve's last point; or "seconds to loss": of training, until
                                   a field of the curve is at `target` for good (what never is counts as not converged)
    scale = 100, digits = 2, unit = "%"
    less_is_better = true          for the word in comparisons
    chance = .11                   at or below: no convergence, counted and said
    against = { delay = "0 ms" }   every cell's paired difference from the one with these values
    paper = [[89.0, 85.5], ...]    their figures in the same shape; "NC": no convergence; "": none
"""

import csv
import itertools
import math

import stats
from experiment import listed


def measure(result, spec):
    """A number of one run; None: it has none."""
    path = spec["measure"]
    if path.startswith("curve."):
        return result.curve[-1].get(path[6:]) if result.curve else None
    if " to " in path:
        return reached(result.curve, *path.split(" to "), spec["target"])
    return result.value(path)


def reached(points, x, y, target):
    """The x at which a falling curve is at a target for good, between two points."""
    above = [i for i, p in enumerate(points) if p[y] > target]
    if not above:
        return points[0][x] if points else None
    if above[-1] + 1 == len(points):
        return None
    a, b = points[above[-1]], points[above[-1] + 1]
    return b[x] - (b[x] - a[x]) * (target - b[y]) / (a[y] - b[y])


def positions(experiment, axes):
    """All combinations of the values of some axes: [{axis: value}]."""
    return [dict(zip(axes, values)) for values in itertools.product(*(experiment.axes[axis] for axis in axes))]


def chosen(results, where):
    return [r for r in results if all(r.run.setting.get(axis) == value for axis, value in where.items())]


def by_seed(results, spec):
    scale = spec.get("scale", 1)
    values = {r.run.seed: measure(r, spec) for r in results}
    return {seed: math.nan if value is None else value * scale for seed, value in values.items()}


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
    rows, columns = (positions(experiment, listed(spec.get(key, []))) for key in ("rows", "columns"))
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
    return ", ".join(where.values()) or "all"


def text(cell, spec):
    """ "89.97 ± 0.21", and what there is to say beside it."""
    if cell is None:
        return ""
    digits, n = spec.get("digits", 2), cell.mean.n
    if cell.failed == n:
        said = "no convergence"
    elif not math.isfinite(cell.mean.mean):
        said = f"{cell.failed} of {n} diverged"
    else:
        half = f" ± {cell.mean.half:.{digits}f}" if math.isfinite(cell.mean.half) else ""
        said = f"{cell.mean.mean:.{digits}f}{half}" + (f" ({cell.failed} of {n} not converged)" if cell.failed else "")
    if cell.verdict and cell.verdict != "unknown":
        said += f"; {cell.verdict}" + (f" by {abs(cell.difference.mean):.{digits}f} ± {cell.difference.half:.{digits}f}"
                                       if cell.verdict != "no difference" else "")
    if cell.paper != "":
        said += f" [{cell.paper}]"
    return said


def markdown(experiment, results, spec):
    rows, columns, grid = cells(experiment, results, spec)
    heads = listed(spec.get("rows", []))
    unit = f" ({spec['unit']})" if "unit" in spec else ""
    lines = [f"**{spec['title']}{unit}**", "",
             f"| {', '.join(heads) or ' '} | " + " | ".join(label(column) for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {label(row)} | " + " | ".join(text(cell, spec) for cell in line) + " |" for row, line in zip(rows, grid)]
    seeds = len(experiment.seeds)
    lines += ["", f"Mean of {seeds} seed{'s' * (seeds > 1)}" + (" with its 95 % interval" if seeds > 1 else "")
              + ("; differences are of pairs with the same seed" if "against" in spec else "")
              + ("; in brackets: the paper's" if "paper" in spec else "") + "."]
    return "\n".join(lines) + "\n"


def write_csv(path, experiment, results, spec):
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
