"""What a few runs say: means, intervals, and when one may call something better.

Runs that share a seed share the order of data and all draws, so differences are taken pair by pair. Intervals are Student's,
95 %, two-sided.
"""

import dataclasses
import math
import statistics

# Quantiles .975 of Student's t by degrees of freedom; between those the smaller one's is taken, which is on the safe side.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179, 15: 2.131,
     20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980}


def quantile(degrees):
    return T[max(known for known in T if known <= degrees)]


@dataclasses.dataclass(frozen=True)
class Mean:
    mean: float
    half: float  # of the interval; inf: of one run nothing is known
    n: int

    def low(self):
        return self.mean - self.half

    def high(self):
        return self.mean + self.half


def mean(values):
    """None of no values. What is no number (a run that diverged has no loss) makes the mean none, too."""
    values = list(values)
    if not values:
        return None
    if any(value is None or not math.isfinite(value) for value in values):
        return Mean(math.nan, math.nan, len(values))
    half = quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Mean(statistics.mean(values), half, len(values))


def difference(ours, theirs):
    """Of two {seed: value}, over the seeds that both have."""
    return mean(ours[seed] - theirs[seed] for seed in sorted(ours) if seed in theirs)


def verdict(difference_, more_is_better=True):
    """'better' or 'worse' where the interval of the paired difference leaves out zero, else 'no difference'."""
    if difference_ is None or not math.isfinite(difference_.half) or not math.isfinite(difference_.mean):
        return "unknown"
    if difference_.low() <= 0 <= difference_.high():
        return "no difference"
    return "better" if (difference_.mean > 0) == more_is_better else "worse"
