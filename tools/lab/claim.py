"""What somebody says of an experiment, held against its runs.

    [[claim]]
    says = "..."                   what the paper says, in one line
    measure = "test.accuracy"      and scale, unit, digits, target, diverged, as [[table]] has them
    of = { workers = "10" }        settings by the values of some axes; of several the mean
    than = { workers = "1" }       the same with these values instead, compared pair by pair; or a number
    expect = "less"                or "more", or "same": no further apart than `within`
    within = 1.0
    by = 1.0                       of less and more: at least so much (default 0; of a ratio a factor, default 1)
    ratio = true                   compared by their ratio, of geometric means; `within` is a factor then
    why = "..."                    why it is so here (written when the runs were there)

"holds" and "does not hold" are written where the 95 % interval leaves no doubt, else "not shown". What --quick leaves out is not
judged.
"""

import math

import stats
import table
from experiment import listed


def judge(difference, spec):
    """Of a stats.Mean of differences, or of logarithms of ratios."""
    if difference is None or not math.isfinite(difference.mean) or not math.isfinite(difference.half):
        return "not shown"
    low, high = difference.low(), difference.high()
    if spec["expect"] == "same":
        margin = math.log(spec["within"]) if spec.get("ratio") else spec["within"]
        return "holds" if -margin <= low and high <= margin else "does not hold" if low > margin or high < -margin else "not shown"
    if spec["expect"] == "less":
        low, high = -high, -low
    by = math.log(spec.get("by", 1)) if spec.get("ratio") else spec.get("by", 0)
    return "holds" if low > by else "does not hold" if high < by else "not shown"


def is_there(experiment, where):
    return all(set(listed(values)) <= set(experiment.axes[axis]) for axis, values in where.items())


def held(experiment, results, spec):
    """(verdict, what was measured), or None where runs are missing."""
    ours = spec["of"]
    theirs = {**ours, **spec["than"]} if isinstance(spec["than"], dict) else None
    if not is_there(experiment, ours) or (theirs and not is_there(experiment, theirs)):
        return None
    values = table.by_seed(table.chosen(results, ours), spec)
    if not values:
        return None
    if theirs:
        other = table.by_seed(table.chosen(results, theirs), spec)
        if not other:
            return None
    else:
        other = {seed: spec["than"] for seed in values}
    digits, unit = spec.get("digits", 2), f" {spec['unit']}" if "unit" in spec else ""

    def number(m, form=""):
        return "none" if not math.isfinite(m.mean) else f"{m.mean:{form}.{digits}f}" + (f" ± {m.half:.{digits}f}" if math.isfinite(m.half) else "")
    against = number(stats.mean(other.values())) if theirs else f"{spec['than']:g}"
    said = f"{number(stats.mean(values.values()))}{unit} against {against}{unit}"
    if spec.get("ratio"):
        difference = stats.difference({seed: logarithm(x) for seed, x in values.items()}, {seed: logarithm(x) for seed, x in other.items()})
        if math.isfinite(difference.mean) and math.isfinite(difference.half):
            said += f": x {math.exp(difference.mean):.2f} ({math.exp(difference.low()):.2f} to {math.exp(difference.high()):.2f})"
    else:
        difference = stats.difference(values, other)
        if theirs and math.isfinite(difference.mean):
            said += f": {number(difference, '+')}"
    return judge(difference, spec), said


def logarithm(x):
    return math.log(x) if x > 0 else math.nan


def judged(experiment, results):
    """[(what is said, verdict, what was measured, why)] of all claims that can be judged."""
    found = [(spec, held(experiment, results, spec)) for spec in experiment.about.get("claim", [])]
    return [(spec["says"], *verdict, spec.get("why", "")) for spec, verdict in found if verdict]


def markdown(experiment, results):
    """A table of them; empty: there are none."""
    lines = [[says, f"**{verdict}**", measured, why] for says, verdict, measured, why in judged(experiment, results)]
    if not lines:
        return ""
    return "\n".join(["**What is said, and what was found**", "", *table.rows_of_markdown(["said", "here", "measured", "why"], lines)]) + "\n"
