"""Laws held against runs, and worlds held against each other.

    [[table]] or [[figure]]
    kind = "law"                   what a formula predicts of each setting, beside what was measured (measure, scale, unit, only)
    law = "base / nodes + flush"   of the numbers in the values of axes ("8 nodes" is 8, times are in seconds: "20 ms" is .02), with
                                   + - * / ** and parentheses, min, max, exp, sqrt, log
    numbers = { flush = { "every step" = 0.017 } }     of values that say none
    base = { nodes = "1" }         `base` is what was measured with these values instead, seed by seed; such settings are not shown
    drop = true                    what is measured is by how much it is below the base
    lines = "flush"                of a figure: colours

    [[table]]
    kind = "agreement"             curves and staleness of settings that differ in one axis: x, y of the curve's points; seeds of the
    axis = "world"                 second one among each other are the yardstick
    of = "processes", than = "simulated"
    rows = ["workload"]
"""

import ast
import itertools
import math
import operator
import re

import numpy

import stats
import table
from experiment import Wrong, listed

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1., "k": 1e3, "M": 1e6}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
             ast.USub: operator.neg}
FUNCTIONS = {"min": min, "max": max, "exp": math.exp, "sqrt": math.sqrt, "log": math.log}
GRID = 200


def evaluate(formula, names):
    """A formula of numbers; nothing but arithmetic."""
    def of(node):
        match node:
            case ast.Constant(value=int() | float() as x):
                return x
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.BinOp(left=a, op=op, right=b) if type(op) in OPERATORS:
                return OPERATORS[type(op)](of(a), of(b))
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return -of(a)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return FUNCTIONS[name](*map(of, args))
        raise Wrong(f"law '{formula}': '{ast.unparse(node)}' is neither a number, nor arithmetic, nor one of {', '.join(sorted(names))}")
    try:
        return of(ast.parse(formula, mode="eval").body)
    except SyntaxError:
        raise Wrong(f"law '{formula}': no formula") from None
    except (ZeroDivisionError, OverflowError, ValueError):
        return math.nan


def numbers_of(values, spec):
    """{axis: number} of what a setting's values say."""
    numbers = {}
    for axis, value in values.items():
        found = re.search(r"(?<![\w.])([0-9.]+) ?([a-zA-Z]*)", value)
        given = spec.get("numbers", {}).get(axis, {}).get(value)
        if given is not None or found:
            numbers[re.sub(r"\W", "_", axis)] = given if given is not None else float(found[1]) * UNITS.get(found[2], 1.)
    return numbers


def predictions(experiment, results, spec):
    """[(values, {seed: predicted}, {seed: measured})] of all settings that have both."""
    found, base = [], spec.get("base", {})
    for setting in experiment.settings:
        values = dict(setting.values)
        reference = {**values, **base}
        if not all(values[axis] in listed(some) for axis, some in spec.get("only", {}).items()) or (base and reference == values):
            continue
        measured = table.by_seed(table.chosen(results, values), spec)
        alone = table.by_seed(table.chosen(results, reference), spec) if base else {seed: math.nan for seed in measured}
        seeds = [seed for seed in measured if seed in alone]
        predicted = {seed: evaluate(spec["law"], {**numbers_of(values, spec), "base": alone[seed]}) for seed in seeds}
        if spec.get("drop"):
            measured = {seed: alone[seed] - measured[seed] for seed in seeds}
        found.append((values, predicted, {seed: measured[seed] for seed in seeds}))
    return found


def finite(predicted, measured):
    """The seeds, or none of them where one has no figure: the rest would be those that were lucky."""
    return list(measured) if all(math.isfinite(measured[seed]) and math.isfinite(predicted[seed]) for seed in measured) else []


def slope(found):
    """Of measured by predicted, through 0, seed by seed: a stats.Mean; None: too few."""
    sums = {}
    for _, predicted, measured in found:
        for seed in finite(predicted, measured):
            a, b = sums.get(seed, (0., 0.))
            sums[seed] = a + predicted[seed] * measured[seed], b + predicted[seed] ** 2
    return stats.mean(a / b for a, b in sums.values() if b)


def fit(found):
    """How well a law does, in a line."""
    pairs = [(sum(p[s] for s in there) / len(there), sum(m[s] for s in there) / len(there))
             for _, p, m in found if (there := finite(p, m))]
    k = slope(found)
    if len(pairs) < 2 or k is None:
        return "too few settings to fit"
    x, y = numpy.array(pairs).T
    r = numpy.corrcoef(x, y)[0, 1] if x.std() and y.std() else math.nan
    off = numpy.abs(y - k.mean * x).mean() / numpy.abs(y).mean()
    half = f" ± {k.half:.3g}" if math.isfinite(k.half) else ""
    return (f"measured = ({k.mean:.3g}{half}) x predicted, correlation {r:.2f}, off by {100 * off:.0f} % in the mean, {len(pairs)} settings"
            + (f" ({len(found) - len(pairs)} more without a figure)" if len(pairs) < len(found) else ""))


def number(mean, digits):
    if mean is None or not math.isfinite(mean.mean):
        return "no figure"
    return f"{mean.mean:.{digits}f}" + (f" ± {mean.half:.{digits}f}" if math.isfinite(mean.half) and mean.half else "")


def law_lines(experiment, results, spec):
    digits, found = spec.get("digits", 2), predictions(experiment, results, spec)
    lines = []
    for values, predicted, measured in found:
        p, m = stats.mean(predicted.values()), stats.mean(measured.values())
        ratio = stats.mean(measured[s] / predicted[s] for s in finite(predicted, measured) if predicted[s])
        lines.append([", ".join(f"{axis} {value}" for axis, value in values.items()), number(p, digits), number(m, digits), number(ratio, 2)])
    return ["setting", "predicted", "measured", "ratio"], [*lines, [f"all: {fit(found)}", "", "", ""]]


# ---- worlds ----

def apart(a, b, x, y):
    """Mean difference of two curves where both have points, in parts of the second one; None: they have none in common."""
    a, b = (numpy.array([(p[x], p[y]) for p in curve if p.get(y) is not None]).T for curve in (a, b))
    if a.shape[-1] < 2 or b.shape[-1] < 2:
        return None
    at = numpy.linspace(max(a[0][0], b[0][0]), min(a[0][-1], b[0][-1]), GRID)
    if at[-1] <= at[0]:
        return None
    u, v = numpy.interp(at, *a), numpy.interp(at, *b)
    return float(numpy.abs(u - v).mean() / numpy.abs(v).mean())


def agreement_lines(experiment, results, spec):
    x, y = spec.get("x", "steps"), spec.get("y", "loss")
    lines = []
    for row in table.positions(experiment, listed(spec.get("rows", [])), spec.get("only")):
        ours, theirs = ({r.run.seed: r for r in table.chosen(results, {**row, **spec.get("only", {}), spec["axis"]: spec[key]})} for key in ("of", "than"))
        if not ours or not theirs:
            continue
        curves = [d for seed in ours if seed in theirs and (d := apart(ours[seed].curve, theirs[seed].curve, x, y)) is not None]
        seeds = [d for a, b in itertools.combinations(theirs.values(), 2) if (d := apart(a.curve, b.curve, x, y)) is not None]
        between = f"{100 * sum(seeds) / len(seeds):.1f}" if seeds else "no figure"  # pairs share seeds: no interval can be had of them
        line = [table.label(row), number(stats.mean(100 * d for d in curves), 1), between]
        for path in ("staleness.mean", "staleness.p95"):
            for side in (ours, theirs):
                line.append(number(stats.mean(v for r in side.values() if (v := r.value(path)) is not None), 2))
        lines.append(line)
    head = [f"{y} by {x}: apart, %", f"seeds of {spec['than']} apart, %", *(f"{what}, {side}" for what in ("mean staleness", "95 % of it")
                                                                   for side in (spec["of"], spec["than"]))]
    return [", ".join(listed(spec.get("rows", []))) or " ", *head], lines


LINES = {"law": law_lines, "agreement": agreement_lines}


def lines_of(experiment, results, spec):
    return LINES[spec["kind"]](experiment, results, spec)
