"""What staleness does to Word2Vec: many models that exchange the gradient of every mini-batch, as in the experiment on which
asynchronous training of sparse models rests (n models over N nodes, mini-batches of 32 to 2,048, fixed rate, 15 % held out).

All settings of a mini-batch make equally many steps of the mesh at the same rate, and start from the same weights. One model is
the reference: curves are compared at the same number of examples. How far apart two seeds of one model are says what is chance:
nodes begin at different places of the text.
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
POINTS = 32
SHARES = (.125, .25, .5, 1)


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


def share_of_fall(curve, reference, steps):
    """The share of the steps by which a curve is behind another in the middle of its fall, where it is steepest."""
    middle = (reference[0]["loss"] + reference[-1]["loss"]) / 2

    def when(points):
        for a, b in zip(points, points[1:]):
            if a["loss"] >= middle >= b["loss"]:
                return a["steps"] + (b["steps"] - a["steps"]) * (a["loss"] - middle) / (a["loss"] - b["loss"])
        return float("nan")
    return (when(curve) - when(reference)) / steps


def losses(curves, steps):
    """Of each seed, the losses at some shares of the steps: {(set, share): [loss of a seed]}."""
    return {(which, share): [at(curve, share, steps, which) for curve in curves] for which in ("loss", "train_loss") for share in SHARES}


def apart(ours, theirs):
    """How far mean losses are from those of others, at each share, the set where it is more: in per cent."""
    return ", ".join("{:+.1f} %".format(max((100 * (statistics.mean(ours[which, share]) / statistics.mean(theirs[which, share]) - 1)
                                             for which in ("loss", "train_loss")), key=abs)) for share in SHARES)


def table(bench, binary, text):
    seeds, batches, models = range(bench.times(2, 1)), bench.times(BATCHES, (128,)), bench.times(MODELS, (1, 4, 16))
    jobs = [(batch, n) for batch in batches for n in models] + [(128, n) for n in bench.times(MORE_MODELS, ())]
    bench.note(f"5,000 words, dimension 32, 15 % held out; at least 20,000 mini-batches mesh-wide and 3 million words; rate {RATE} divided "
               "by the words of a mini-batch; the sum of all gradients, each sent at once; steps of 5 to 15 virtual ms, links of 30 us")
    reference, begun = {}, time.monotonic()
    for done, (batch, n) in enumerate(jobs):
        steps = bench.times(max(20000, 3_000_000 // batch), 2000)
        runs = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                runs.append(train(binary, text, n, batch, steps, seed, folder))
        summaries, curves, commands = zip(*runs)
        found = losses(curves, steps * batch)
        reference.setdefault(batch, (found, curves))
        base, base_curves = reference[batch]
        about = f"mini-batches of {batch}, {n} models"
        bench.add(f"{about}: held-out loss", found["loss", 1], "", commands[0])
        words = f"{about}: staleness {statistics.mean(s['staleness']['mean'] for s in summaries):.2f}; train {statistics.mean(found['train_loss', 1]):.3f}"
        if n > 1:
            behind = statistics.mean(share_of_fall(*pair, steps * batch) for pair in zip(curves, base_curves))
            words += f"; from one model's at 1/8, 1/4, 1/2 and the end: {apart(found, base)}; behind by {behind * steps:.0f} mini-batches in mid-fall"
        elif len(seeds) > 1:
            one, other = ({key: [values[seed]] for key, values in found.items()} for seed in seeds)
            words += f"; one seed from the other: {apart(one, other)}"
        if not all(s["clean"] and s["equal_hashes"] and s["balanced"] for s in summaries):
            words += "; NOT all clean"
        bench.note(words)
        left = (time.monotonic() - begun) / (done + 1) * (len(jobs) - done - 1)
        print(f"  {done + 1} of {len(jobs)}, {left / 60:.0f} min left", file=sys.stderr, flush=True)
