"""How good word vectors are beside gensim's: `tools/bench word2vec-quality`.

All are trained on the same text with the same settings and scored by `hogmesh eval`, whose numbers are gensim's
(tests/test_words.py). gensim takes minutes a seed, so its vectors are kept beside the other data of the benchmarks.
"""

import json
import os
import pathlib
import statistics
import subprocess
import tempfile

import bench_accuracy

GENSIM = """
import os, sys
from gensim.models import Word2Vec
text, to, kind, seed, epochs = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
model = Word2Vec(corpus_file=text, vector_size=100, window=5, negative=5, sample=1e-4, min_count=5, sg=kind == "skipgram",
                 alpha=.025 if kind == "skipgram" else .05, workers=1, epochs=epochs, seed=seed)
model.wv.save_word2vec_format(to + ".part", binary=True)
os.replace(to + ".part", to)
"""
FLAGS = "--dim 100 --window 5 --negative 5 --sample 1e-4 --min-count 5".split()
OURS = {"skipgram": {"hogmesh": [], "hogmesh --hogbatch": ["--hogbatch"]}, "cbow": {"hogmesh": ["--cbow"]}}
PAIRS = {"WordSim-353": "EN-WS-353-ALL.txt", "SimLex-999": "SimLex-999.txt", "MEN": "EN-MEN-TR-3k.txt"}


def words_of_gensim(text, kind, seed, epochs):
    """The file of its vectors, or None."""
    folder = text.parent / "bench-vectors"
    file = folder / f"gensim-{text.stem}-{kind}-{epochs}-{seed}.bin"
    folder.mkdir(exist_ok=True)
    if not file.exists() or file.stat().st_mtime < text.stat().st_mtime:
        command = ["/usr/bin/python3", "-c", GENSIM, text, file, kind, seed, epochs]
        if subprocess.run([str(x) for x in command], stderr=subprocess.DEVNULL).returncode:
            return None
    return file


def train(binary, text, flags, folder, bench):
    command = [binary, "run", "word2vec", "-n", 1, "--train", text, *FLAGS, *flags, "--out", folder, "--json", "--quiet"]
    out = subprocess.run([str(x) for x in command], stdout=subprocess.PIPE, check=True).stdout
    summary = json.loads(out.splitlines()[-1])
    if not summary["clean"]:
        bench.note(f"`{' '.join(map(str, flags))}` did not end clean")
    return summary["examples"] / summary["train_seconds"]


def score(binary, vectors, sets):
    """{name of the set: points} and the questions and pairs asked"""
    command = [binary, "eval", "word2vec", vectors, "--analogies", sets / "questions-words.txt", "--json", "--quiet"]
    for name in PAIRS.values():
        command += ["--pairs", sets / name]
    result = json.loads(subprocess.run([str(x) for x in command], stdout=subprocess.PIPE, check=True).stdout)
    asked = {"analogies": result["analogies"]["n"], **{name: p["n"] for name, p in zip(PAIRS, result["pairs"])}}
    return {"analogies": 100 * result["analogies"]["accuracy"],
            **{name: 100 * p["spearman"] for name, p in zip(PAIRS, result["pairs"])}}, asked


def quality(bench, binary, text, kind, seeds, epochs):
    sets = pathlib.Path(os.environ.get("HOGMESH_DATA", binary.parents[3] / "shared" / "data")) / "word-eval"
    if not (sets / "questions-words.txt").exists():
        bench.note("no word-eval/questions-words.txt in $HOGMESH_DATA: nothing to score with")
        return
    points, asked = {}, {}
    for seed in seeds:
        for name, flags in OURS[kind].items():
            with tempfile.TemporaryDirectory() as folder:
                train(binary, text, [*flags, "--epochs", epochs, "--seed", seed], folder, bench)
                found, asked = score(binary, folder, sets)
            points.setdefault(name, []).append(found)
        theirs = words_of_gensim(text, kind, seed, epochs)
        if theirs:
            points.setdefault("gensim", []).append(score(binary, theirs, sets)[0])
    if "gensim" not in points:
        bench.note("gensim is not installed (python3-gensim): no comparison")
    bench.note(f"{kind}: asked are " + ", ".join(f"{n} {'questions' if s == 'analogies' else 'pairs'} ({s})" for s, n in asked.items()))
    for of in asked:
        for name, found in points.items():
            flags = " ".join([*FLAGS, *OURS[kind].get(name, [])])
            bench.add(f"{kind}, {of}: {name}", [f[of] for f in found], "points",
                      f"hogmesh run word2vec --train TEXT {flags} --epochs {epochs}" if name in OURS[kind] else None)
        mean = {name: statistics.mean(f[of] for f in found) for name, found in points.items()}
        half = {name: bench_accuracy.interval([f[of] for f in found])[1] for name, found in points.items()}
        bench.note(f"{kind}, {of}: " + "; ".join(
            f"{name} mean {mean[name]:.2f}" + (f" ± {half[name]:.2f}" if len(points[name]) > 1 else "") for name in points))
