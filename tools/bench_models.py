"""What staleness does to Word2Vec: many models that exchange the gradient of every mini-batch, as in the experiment on which
asynchronous training of sparse models rests (n models over N nodes, mini-batches of 32 to 2,048, fixed rate, 15 % held out).

All settings of a mini-batch make equally many steps of the mesh at the same rate, and start from the same weights. One model is
the reference: curves are compared at the same number of examples.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BATCHES = (32, 128, 512, 2048)
MODELS = (1, 4, 16, 64)
MORE_MODELS = (256, 1024)
RATE = .32  # of a mini-batch: its words share it
POINTS = 16


def train(binary, text, n, batch, steps, seed, folder):
    """One training; the summary, and the points of the curve."""
    flags = ["-n", n, "--train", text, "--vocab-max", 5000, "--dim", 32, "--test-fraction", .15, "--batch", batch, "--lr", RATE / batch,
             "--schedule", "constant", "--combine", "sum", "--flush", "step", "--step-time", "uniform:5ms,15ms", "--latency",
             "const:30us", "--steps", steps * batch, "--seed", seed]
    command = [str(x) for x in (binary, "sim", "word2vec", *flags)]
    out = subprocess.run([*command, "--score-every", str(steps * batch // POINTS), "--json", "--quiet", "--out", folder],
                         stdout=subprocess.PIPE)
    if not out.stdout.strip():
        raise SystemExit(f"{' '.join(command)} ended with {out.returncode}")
    summary = json.loads(out.stdout.splitlines()[-1])
    curve = [json.loads(line) for line in (pathlib.Path(folder) / "curve.jsonl").read_text().splitlines()]
    return summary, curve, " ".join(["hogmesh", *command[1:]]).replace(str(text), text.name)


def at(curve, share, steps, which):
    """A loss at a share of the steps, between two points."""
    x = share * steps
    for a, b in zip(curve, curve[1:]):
        if a["steps"] <= x <= b["steps"]:
            return a[which] + (b[which] - a[which]) * (x - a["steps"]) / max(b["steps"] - a["steps"], 1)
    return curve[-1][which]


def lag(curve, reference, steps, which="loss"):
    """By how many steps a curve is behind another where that falls most steeply: the middle of its fall."""
    middle = (reference[0][which] + reference[-1][which]) / 2

    def when(points):
        for a, b in zip(points, points[1:]):
            if a[which] >= middle >= b[which]:
                return a["steps"] + (b["steps"] - a["steps"]) * (a[which] - middle) / (a[which] - b[which])
        return float("nan")
    return when(curve) - when(reference)


def table(bench, binary, text):
    steps, seeds = bench.times(20000, 2000), range(bench.times(2, 1))
    batches, models = bench.times(BATCHES, (128,)), bench.times(MODELS, (1, 4, 16))
    jobs = [(batch, n) for batch in batches for n in models]
    jobs += [(128, n) for n in bench.times(MORE_MODELS, ())]
    bench.note(f"5,000 words, dimension 32, 15 % held out; {steps:,} mini-batches mesh-wide whatever their size, rate {RATE} divided by "
               "the words of a mini-batch; the sum of all gradients, each sent at once; steps of 5 to 15 virtual ms, links of 30 us")
    reference, begun = {}, time.monotonic()
    for done, (batch, n) in enumerate(jobs):
        rows = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                summary, curve, command = train(binary, text, n, batch, steps, seed, folder)
            if n == 1:
                reference[batch, seed] = curve
            base = reference[batch, seed]
            rows.append((summary, curve, {(which, share): at(curve, share, steps * batch, which) / at(base, share, steps * batch, which) - 1
                                          for which in ("loss", "train_loss") for share in (.125, .25, .5, 1)},
                         lag(curve, base, steps * batch) / batch))
        bench.add(f"mini-batches of {batch}, {n} models: held-out loss", [r[1][-1]["loss"] for r in rows], "", command)
        stale = statistics.mean(r[0]["staleness"]["mean"] for r in rows)
        apart = {share: max((r[2][which, share] for r in rows for which in ("loss", "train_loss")), key=abs) for share in (.125, .25, .5, 1)}
        bench.note(f"mini-batches of {batch}, {n} models: staleness {stale:.2f}; train {statistics.mean(r[1][-1]['train_loss'] for r in rows):.3f}"
                   + ("" if n == 1 else "; losses from those of one model, the larger of both, at 1/8, 1/4, 1/2 and the end: "
                      + ", ".join(f"{100 * apart[share]:+.1f} %" for share in apart)
                      + f"; behind by {statistics.mean(r[3] for r in rows):.0f} mini-batches where they fall most steeply")
                   + ("" if all(r[0]["clean"] and r[0]["equal_hashes"] and r[0]["balanced"] for r in rows) else "; NOT all clean"))
        left = (time.monotonic() - begun) / (done + 1) * (len(jobs) - done - 1)
        print(f"  {done + 1} of {len(jobs)}, {left / 60:.0f} min left", file=sys.stderr, flush=True)
