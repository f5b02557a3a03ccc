"""Where experiments find their data: in $HOGMESH_DATA, or what is made here when it is not there."""

import io
import lzma
import os
import pathlib
import re
import subprocess
import tarfile

from experiment import Wrong

ROOT = pathlib.Path(__file__).resolve().parents[2]


def given():
    return pathlib.Path(os.environ.get("HOGMESH_DATA", ROOT.parent / "data"))


def cache():
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "hogmesh" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(binary, name, workload=None, *flags):
    folder = cache() / f"synth-{name}"
    if not folder.exists():
        half = folder.with_suffix(".half")
        subprocess.run([binary, "synth", workload or name, "--out", half, "--quiet", *flags], check=True)
        half.rename(folder)
    return folder


def from_jpeg(archive):
    """CIFAR-10's binary batches, of an archive of .../train|test/POSITION_LABEL.jpg."""
    folder = cache() / "cifar10"
    if folder.is_dir():
        return folder
    if not archive.exists():
        raise Wrong(f"CIFAR-10 is not in {given() / 'cifar10'}: put data_batch_1.bin to 5 and test_batch.bin there, and set HOGMESH_DATA")
    try:
        from PIL import Image
    except ImportError:
        raise Wrong("CIFAR-10 is there as JPEG only; install python3-pil to read it") from None
    import numpy
    records = {"train": {}, "test": {}}
    with tarfile.open(archive) as tar:
        for member in (m for m in tar if m.name.endswith(".jpg")):
            path = pathlib.PurePosixPath(member.name)
            position, label = map(int, path.stem.split("_"))
            pixels = numpy.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB"))
            records[path.parent.name][position] = bytes([label]) + pixels.transpose(2, 0, 1).tobytes()
    half = folder.with_suffix(".half")
    half.mkdir(exist_ok=True)
    for name, part, first in [(f"data_batch_{i + 1}", "train", 10000 * i) for i in range(5)] + [("test_batch", "test", 0)]:
        (half / f"{name}.bin").write_bytes(b"".join(records[part][i] for i in range(first, first + 10000)))
    half.rename(folder)
    return folder


def images(binary, name):
    folder = given() / name
    if folder.is_dir():
        return ["--data", folder], name
    if name == "cifar10":
        return ["--data", from_jpeg(given() / "cifar10-jpeg" / "cifar10-jpeg.tar.xz")], "CIFAR-10, as a JPEG copy has it"
    return ["--data", made(binary, "lenet5")], "images made here"


def clean(articles):
    """One article a line, words in lower case."""
    return re.sub(r"[\W_]+", lambda gap: "\n" if "\n" in gap[0] else " ", articles.lower()).strip() + "\n"


def text(binary, megabytes):
    found = sorted((given() / "wikipedia-en").glob("*.txt.xz")) if (given() / "wikipedia-en").is_dir() else []
    if not found:
        return ["--train", made(binary, "word2vec") / "train.txt"], "text made here"
    file = cache() / f"wikipedia-{megabytes}.txt"
    if not file.exists():
        with lzma.open(found[0], "rt", encoding="utf8", errors="ignore") as articles:
            half = file.with_suffix(".half")
            half.write_text(clean(articles.read(megabytes * 1_000_000)))
            half.rename(file)
    return ["--train", file], f"the first {megabytes} MB of English Wikipedia"


def rows(binary):
    folder = given() / "rcv1"
    train, test = ([*folder.glob(f"*{part}*.svm*"), *folder.glob(f"*{part}*.txt*")] if folder.is_dir() else [] for part in ("train", "test"))
    if train and test:
        return ["--train", sorted(train)[0], "--test", sorted(test)[0]], "RCV1, CCAT"
    return rows_made(binary)


def rows_made(binary):
    folder = made(binary, "svm")
    return ["--train", folder / "train.svm", "--test", folder / "test.svm"], "781,265 rows made here like RCV1's"


def few_rows(binary):
    folder = made(binary, "svm-20k", "svm", "--rows", "20000")
    return ["--train", folder / "train.svm", "--test", folder / "test.svm"], "20,000 rows made here like RCV1's"


DATA = {"fashion-mnist": lambda binary: images(binary, "fashion-mnist"), "cifar10": lambda binary: images(binary, "cifar10"),
        "rcv1": rows, "rcv1-full": rows_made, "rows-20k": few_rows, "wikipedia-30": lambda binary: text(binary, 30),
        "wikipedia-100": lambda binary: text(binary, 100)}


def find(binary, name):
    """Flags that name the data, and what it is."""
    if isinstance(name, tuple):
        return list(name), " ".join(name)
    if name not in DATA:
        raise Wrong(f"data '{name}' is not known; there are {', '.join(DATA)}")
    return DATA[name](binary)
