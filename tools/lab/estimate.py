"""What an experiment will take, before it is run: reckoned from what single runs took on one calm core (Zen 5, AVX-512).

It is there to tell minutes from hours. What a run did take is in runs.jsonl, cpu_seconds.
"""

import math
import re

# Seconds: to begin and to score the end; of an example; of a look at the test set; of one delta at one receiver.
COSTS = {("lenet5", "fashion-mnist"): (.4, 11e-6, .06, 150e-6), ("lenet5", "cifar10"): (1., 19e-6, .09, 200e-6),
         ("word2vec", None): (.3, .6e-6, .06, 16e-6), ("svm", None): (.5, .1e-6, .002, 100e-6)}
ROWS = {"fashion-mnist": 60_000, "cifar10": 50_000, "rcv1": 18_749, "wikipedia-30": 4_900_000, "wikipedia-100": 16_100_000}
SUFFIX = {"k": 1e3, "M": 1e6, "G": 1e9}


def number(text, default=0.):
    found = re.fullmatch(r"([0-9.]+)([kMG]?)", str(text))
    return float(found[1]) * SUFFIX.get(found[2], 1) if found else default


def duration(text):
    """Seconds that a distribution of durations has in the mean, about."""
    return max((float(x) * {"us": 1e-6, "ms": 1e-3, "s": 1.}[unit] for x, unit in re.findall(r"([0-9.]+)(us|ms|s)", str(text))), default=.02)


def of_run(experiment, run):
    """Seconds of processor time."""
    flags, workload, data = dict(run.setting.flags), run.setting.workload, run.setting.data
    start, example, score, delivery = COSTS.get((workload, data if isinstance(data, str) else None)) or COSTS.get((workload, None)) or COSTS["lenet5", "cifar10"]
    rows = ROWS.get(data, 20_000) if isinstance(data, str) else 20_000
    examples = number(flags["--steps"]) if "--steps" in flags else rows * number(flags.get("--epochs", 5))
    every, nodes, batch = number(flags.get("--score-every", 0)), number(flags.get("-n", 2)), number(flags.get("--batch", 32))
    if "--seconds" in flags:
        examples = number(flags["--seconds"]) / duration(flags.get("--step-time")) * batch * nodes
    sends = flags.get("--topology") != "server" and run.setting.mode == "sim"
    if sends and workload == "svm":  # whose flushes go by time: few, and more of them the more nodes share the work
        deliveries = 2 * nodes * (nodes - 1)
    else:
        deliveries = examples / max(batch, 1) * (nodes - 1) if sends else 0
    return start + example * examples + (score * examples / every if every else 0) + delivery * deliveries


def of_experiment(experiment, runs):
    return sum(of_run(experiment, run) for run in runs)


def landscape_seconds(experiment):
    """Of the grids: points on the test set; the same paths and points are scored once."""
    grids = {(str(spec.get("lines")), str(spec.get("only")), str(spec.get("panels")), 11 if experiment.quick else spec.get("points", 31))
             for spec in experiment.about.get("figure", []) if spec["kind"] == "landscape"}
    return sum(.07 * n * n for *_, n in grids)


def said(seconds):
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{math.floor(seconds / 3600)} h {seconds / 60 % 60:02.0f} min"
