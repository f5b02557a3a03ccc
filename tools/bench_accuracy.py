"""What LeNet5 has learnt after a number of mesh-wide epochs, in meshes of many kinds: the tables of `tools/bench`.

Each setting is trained with several seeds. One node with the same seeds is the reference, and what is said to be lost
against it is the mean of the pairs' differences with its 95 % interval.
"""

import concurrent.futures
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

WEIGHTS = {"fashion": 61706, "cifar": 62006}
T_95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # Student's, two-sided
STEP = ["--batch", 32, "--step-time", "const:17ms"]
SPLIT = ["--partition", "split", "--momentum", ".9"]
LABELS = ["--partition", "labels", "--momentum", ".9", "--flush", "step"]


class Setting:
    """`mode` of hogmesh with `n` nodes; `plan` makes a fault plan of (epochs' virtual seconds, n, seed)."""

    def __init__(self, n, flags=(), plan=None, mode="sim", data="fashion", step=STEP):
        self.n, self.flags, self.plan, self.mode, self.data = n, [*step, *flags], plan, mode, data


def links_vary(_, n, seed):
    """Each link has a latency of its own, around .3 of a step: some ten times as long as others; and it varies."""
    draw = random.Random(seed)
    return {"links": [{"from": a, "to": b, "latency": f"lognormal:{draw.lognormvariate(math.log(5000), 1):.0f}us,0.5"}
                      for a in range(n) for b in range(n) if a != b]}


def come_and_go(seconds, n, _):
    """Two are killed, of which one comes back, one leaves, and two join."""
    at = lambda share: f"{share * seconds:.3f}s"  # noqa: E731
    return {"links": [{"latency": "lognormal:5ms,0.5", "drop": .01}],
            "events": [{"at": at(.1), "do": "kill", "node": 1, "restart_after": at(.1)},
                       {"at": at(.25), "do": "join"}, {"at": at(.4), "do": "leave", "node": 2},
                       {"at": at(.5), "do": "kill", "node": 3}, {"at": at(.6), "do": "join"}]}


def killed_and_back(seconds, n, _):
    """Nobody else has the labels of a node: those that go come back."""
    at = lambda share: f"{share * seconds:.3f}s"  # noqa: E731
    return {"links": [{"latency": "lognormal:2ms,0.5", "drop": .01}],
            "events": [{"at": at(.1 + .2 * i), "do": "kill", "node": i, "restart_after": at(.05)} for i in range(4)]}


def delays(n):
    return {f"random parts, delays of {delay} ms on {whom}":
            Setting(n, SPLIT + (["--delay", f"const:{delay}ms{nodes}"] if delay else []))
            for delay in (0, 30, 60, 90) for whom, nodes in (("all", ""), ("one", f"@{n // 2}")) if delay or whom == "all"}


TENTH = ["--latency", "const:1700us"]
DELAYS = {
    "one node": Setting(1),
    **{f"10 nodes, {name}": setting for name, setting in delays(10).items()},
    "10 nodes, parts by label, latency of .1 step": Setting(10, LABELS + TENTH),
    "10 nodes, synchronous rounds, rate .1": Setting(10, SPLIT + ["--staleness-bound", 0, "--lr", ".1"]),
}
MESH = {
    "one node": Setting(1),
    **{f"{n} nodes, random parts, links that differ and vary": Setting(n, SPLIT, links_vary) for n in (2, 4, 8, 16)},
    **{f"{n} nodes, parts by label, latency of .1 step": Setting(n, LABELS + TENTH) for n in (2, 5, 16)},
    **{f"{n} nodes, parts by label, links that differ and vary": Setting(n, LABELS, links_vary) for n in (2, 5, 10)},
    "8 nodes that come and go, random parts, 1 % lost": Setting(8, SPLIT, come_and_go),
    "10 nodes, four killed and back, parts by label, 1 % lost": Setting(10, LABELS, killed_and_back),
}
RULES = {
    "one node": Setting(1),
    **{f"10 nodes, {parts}, latency of a {'step' if '17ms' in latency else 'tenth'}, --combine {rule}":
       Setting(10, flags + ["--flush", "step", "--latency", latency, "--combine", rule])
       for parts, flags, latency in (("random parts", SPLIT, "const:17ms"), ("parts by label", LABELS, "const:1700us"))
       for rule in ("auto", "sum", "mean", "hold", "lookahead")},
}
CIFAR = {
    "one node": Setting(1, data="cifar"),
    **{f"{n} nodes, random parts, links that differ and vary": Setting(n, SPLIT, links_vary, data="cifar") for n in (4, 10)},
    "10 nodes, random parts, delays of 90 ms on all": Setting(10, SPLIT + ["--delay", "const:90ms"], data="cifar"),
    "10 nodes, parts by label, latency of .1 step": Setting(10, LABELS + TENTH, data="cifar"),
}
PROCESSES = {
    "one process": Setting(1, mode="run", step=STEP[:2]),  # alone it may be as fast as it is
    "4 processes, random parts": Setting(4, SPLIT, mode="run"),
    "10 processes, random parts": Setting(10, SPLIT, mode="run"),
    "10 processes, random parts, delays of 90 ms on one": Setting(10, SPLIT + ["--delay", "const:90ms@5"], mode="run"),
    "8 processes that come and go, random parts":
        Setting(8, SPLIT, lambda *about: {"events": come_and_go(*about)["events"]}, mode="run"),
    "10 processes, parts by label": Setting(10, LABELS, mode="run"),
}


def train(binary, folder, setting, seed, epochs):
    """One training; its summary."""
    # 32 images a step of 17 ms, on n nodes.
    seconds = epochs * (60000 if setting.data == "fashion" else 50000) / 32 * .017 / setting.n
    flags = ["-n", setting.n, "--data", folder, *setting.flags, "--epochs", epochs, "--seed", seed, "--json", "--quiet"]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
        if setting.plan:
            json.dump(setting.plan(seconds, setting.n, seed), plan)
            plan.flush()
            flags += ["--faults", plan.name]
        out = subprocess.run([str(x) for x in [binary, setting.mode, "lenet5", *flags]], stdout=subprocess.PIPE)
    if not out.stdout.strip():
        raise SystemExit(f"hogmesh {setting.mode} lenet5 {' '.join(map(str, flags))} ended with {out.returncode}")
    return json.loads(out.stdout.splitlines()[-1])


def interval(values):
    """Mean of some numbers, and half of its 95 % interval."""
    if len(values) < 2:
        return statistics.mean(values), math.inf
    return statistics.mean(values), T_95.get(len(values) - 1, 2) * statistics.stdev(values) / math.sqrt(len(values))


def table(bench, binary, folders, settings):
    """Trains every setting with every seed and adds the rows to the result."""
    settings = {name: s for name, s in settings.items() if folders(s.data)}
    if not settings:
        return
    real = any(s.mode == "run" for s in settings.values())
    seeds, epochs = range(1, bench.times(3 if real else 5, 2) + 1), bench.times(10, 1)
    jobs = [(name, seed) for name in settings for seed in seeds]
    # Processes share the processors among themselves, and one that waits for its step's time to pass needs none of them.
    workers = 1 if real else len(os.sched_getaffinity(0))
    found, begun = {}, time.monotonic()

    def job(name, seed):
        found[name, seed] = train(binary, folders(settings[name].data), settings[name], seed, epochs)
        left = (time.monotonic() - begun) / len(found) * (len(jobs) - len(found))
        print(f"  {len(found)} of {len(jobs)}, {left / 60:.0f} min left: {name}, seed {seed}: "
              f"{100 * found[name, seed]['test']['accuracy']:.2f} %", file=sys.stderr, flush=True)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(job, *zip(*jobs)))
    reference = [100 * found[next(iter(settings)), seed]["test"]["accuracy"] for seed in seeds]
    for name, s in settings.items():
        results = [found[name, seed] for seed in seeds]
        accuracy = [100 * r["test"]["accuracy"] for r in results]
        flags = [*s.flags, *(["--faults", s.plan.__name__ + ".json"] if s.plan else [])]
        bench.add(name, accuracy, "%", f"hogmesh {s.mode} lenet5 -n {s.n} {' '.join(map(str, flags))} --epochs {epochs}")
        mean, half = interval(accuracy)
        lost, lost_half = interval([r - a for r, a in zip(reference, accuracy)])
        wire = [r["bytes"]["published"] / r["deltas"]["published"] / WEIGHTS[s.data] for r in results
                if s.n > 1 and r["deltas"]["published"]]
        bench.note(f"{name}: mean {mean:.2f} ± {half:.2f} %, least {min(accuracy):.2f} %"
                   + (f", {lost:+.2f} ± {lost_half:.2f} below one node" if s.n > 1 else "")
                   + (f", {statistics.mean(wire):.2f} bytes a weight and delta" if wire else "")
                   + (f", staleness {statistics.mean(r['staleness']['mean'] for r in results):.1f}" if s.n > 1 else "")
                   + ("" if all(r["clean"] and r["equal_hashes"] and r["balanced"] for r in results) else "; NOT all clean"))
