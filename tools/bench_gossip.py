"""What nodes of a mesh learn together of word vectors, beside one node at equal words: `tools/bench word2vec-gossip`.

All is simulated but the last rows, so it is the same on every machine with the instruction set. A virtual node makes SPEED words
a second on links of a millisecond; whatever goes through the mesh is reckoned with (node/sim.h). Losses are those of fixed pairs
of a text that nobody trains on, during the run (1/8, 1/2) and at its end, against one node's; analogies are those among the
30,000 most frequent words.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

SHARES = (.125, .5, 1)
RESTRICT = 30000
LINKS = ("--latency", "const:1ms")
FAST, SLOW = ("--speed", "5M"), ("--speed", "500k")


class Setting(NamedTuple):
    nodes: int
    epochs: int
    flags: tuple = ()
    mode: str = "sim"
    half: int = 0  # of the text
    seeds: tuple = (1, 2)


def settings(quick):
    """In the order of the table; one node comes before those that are compared with it."""
    one = (1,)
    if quick:
        return [Setting(1, 1, SLOW, seeds=one), Setting(4, 1, (*SLOW, "--flush", "200ms"), seeds=one),
                Setting(4, 1, (*SLOW, "--flush", "200ms", "--combine", "sum"), seeds=one)]
    rules = [Setting(n, 1, (*SLOW, "--flush", "200ms", "--combine", rule), seeds=one)
             for rule in ("sum", "amplify", "mean") for n in (4,)]
    return [Setting(1, 1, SLOW), *(Setting(n, 1, (*SLOW, "--flush", "200ms")) for n in (2, 4, 8, 16)), *rules,
            Setting(1, 10, FAST), Setting(4, 10, (*FAST, "--flush", "200ms")), Setting(4, 10, FAST, seeds=one),
            Setting(1, 10, FAST, half=1, seeds=one), Setting(4, 10, (*FAST, "--flush", "200ms"), half=1, seeds=one),
            Setting(4, 10, mode="run", seeds=one)]


def train(binary, text, probe, setting, seed, folder):
    """The summary, losses at SHARES, and the command."""
    links = LINKS if setting.mode == "sim" else ()
    every = "100ms" if setting.mode == "run" else str(max(1, text.stat().st_size // 6 * setting.epochs // 64))
    command = [binary, setting.mode, "word2vec", "-n", setting.nodes, "--train", text, "--test", probe, "--epochs", setting.epochs,
               "--seed", seed, *links, *setting.flags]
    out = subprocess.run([str(x) for x in (*command, "--score-every", every, "--out", folder, "--json", "--quiet")],
                         stdout=subprocess.PIPE).stdout
    if not out.strip():
        raise SystemExit(f"{' '.join(map(str, command))} said nothing")
    summary = json.loads(out.splitlines()[-1])
    curve = [json.loads(line) for line in (pathlib.Path(folder) / "curve.jsonl").read_text().splitlines()]
    losses = [min(curve, key=lambda point: abs(point["steps"] - share * summary["steps"]))["loss"] for share in SHARES[:-1]]
    shown = " ".join(map(str, ("hogmesh", *command[1:]))).replace(str(text), text.name).replace(str(probe), probe.name)
    return summary, [*losses, summary["test"]["loss"]], shown


def score(binary, folder, sets):
    command = [binary, "eval", "word2vec", folder, "--analogies", sets / "questions-words.txt", "--restrict-vocab", RESTRICT,
               "--pairs", sets / "EN-MEN-TR-3k.txt", "--json", "--quiet"]
    result = json.loads(subprocess.run([str(x) for x in command], stdout=subprocess.PIPE, check=True).stdout)
    return 100 * result["analogies"]["accuracy"], 100 * result["pairs"][0]["spearman"]


def table(bench, binary, texts, probe, sets):
    """texts: the two halves; sets: folder with questions and pairs."""
    todo = settings(bench.quick)
    jobs, begun = sum(len(s.seeds) for s in todo), time.monotonic()
    one, done = {}, 0
    for setting in todo:
        runs = []
        for seed in setting.seeds:
            with tempfile.TemporaryDirectory() as folder:
                summary, losses, command = train(binary, texts[setting.half], probe, setting, seed, folder)
                runs.append((summary, losses, *score(binary, folder, sets), command))
            done += 1
            left = (time.monotonic() - begun) / done * (jobs - done)
            print(f"  {done} of {jobs}, {left / 60:.0f} min left", file=sys.stderr, flush=True)
        summaries, losses, analogies, men, commands = zip(*runs)
        mean = [statistics.mean(column) for column in zip(*losses)]
        if setting.nodes == 1:
            one[setting.epochs, setting.half] = mean, statistics.mean(analogies)
        base, base_analogies = one[setting.epochs, setting.half]
        about = f"{setting.nodes} nodes, {setting.epochs} epochs"
        bench.add(f"{about}: analogies", analogies, "%", commands[0])
        bench.add(f"{about}: MEN", men, "")
        apart = ", ".join(f"{100 * (a / b - 1):+.1f} %" for a, b in zip(mean, base))
        published = statistics.mean(node["counters"]["bytes_published"] / s["train_seconds"] / 1e6
                                    for s in summaries for node in s["per_node"])
        bench.note(f"{about}: analogies {statistics.mean(analogies) - base_analogies:+.2f} points; loss {mean[-1]:.4f}; from one "
                   f"node's at 1/8, 1/2 and the end: {apart}; {published:.0f} MB/s published by a node; oldest residual "
                   f"{max(s['residual']['oldest_flushes'] for s in summaries)} flushes")
        if not all(s["clean"] and s["equal_hashes"] and s["balanced"] for s in summaries):
            bench.note(f"{about}: NOT all clean")
