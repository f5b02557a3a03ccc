"""hogmesh inspect: says what is in a file, or names the file and what was expected; no bytes make it crash.

HOGMESH names the binary (default: build/tools/hogmesh); HOGMESH_SEED repeats a run of the mutation tests. Worth running
with a binary built by -Db_sanitize=address,undefined now and then.
"""

import ctypes
import hashlib
import json
import math
import os
import pathlib
import random
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "wire"
BINARY = os.environ.get("HOGMESH", str(ROOT / "build" / "tools" / "hogmesh"))
SEED = int(os.environ.get("HOGMESH_SEED", "1"))

ANNA, BERT, FINGERPRINT = "0102030405060708", "1112131415161718", "00c0ffee00c0ffee"


def inspect(*paths, status=0):
    """Runs it on the paths; its lines as objects and what it says on stderr."""
    done = subprocess.run([BINARY, "inspect", *map(str, paths)], capture_output=True, timeout=120)
    assert done.returncode == status, (done.returncode, done.stderr.decode())
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def unhex(name):
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def golden_message(name):
    payload = GOLDEN / f"{name}-payload.hex"
    return unhex(f"{name}-header"), unhex(f"{name}-payload") if payload.exists() else b""


MESSAGES = ["hello", "hello_ok", "reject", "beat", "delta", "want", "nohave", "leave"]


def capture_of(messages):
    return b"hogmesh capture 1\n" + b"".join(
        struct.pack("<II", len(header), len(payload)) + header + payload for header, payload in messages)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run: its folder with model and cache, and its summary."""
    folder = tmp_path_factory.mktemp("inspect")
    subprocess.run([BINARY, "synth", "svm", "--out", folder, "--rows", "3000", "--quiet"], check=True, timeout=120)
    done = subprocess.run(
        [BINARY, "run", "svm", "-n", "1", "--train", folder / "train.svm", "--epochs", "2", "--out", folder / "out",
         "--quiet", "--json"], check=True, capture_output=True, timeout=120)
    return folder, json.loads(done.stdout.splitlines()[-1])


# ---- messages ----


def test_golden_delta():
    (delta,), _ = inspect(GOLDEN / "delta-header.hex")
    assert (delta["kind"], delta["type"], delta["life"], delta["fingerprint"]) == ("message", "DELTA", ANNA, FINGERPRINT)
    assert (delta["stream"], delta["lo"], delta["hi"], delta["flush"], delta["steps"]) == (ANNA, 0, 1, 1, 25)
    assert (delta["block"], delta["n_blocks"], delta["n_nonzero"], delta["encoding"]) == (1, 1, 1, "packed")
    payload = delta["payload"]
    assert payload["spans"] == [
        {"life": BERT, "flush_start": 7, "flush_end": 8, "steps_start": 200, "steps_end": 300}]
    assert (payload["blocks"], payload["nonzero"]) == (1, 1)
    assert (payload["min"], payload["max"], payload["sum"]) == (-1, 0, -1)
    # The first delta of a stream: its cumulative digest is its own (worked out in protocol/WIRE.md, 7.3).
    assert payload["digest"] == delta["digest"] == "788e9087717ff051"


def test_golden_beat_and_hellos():
    beat, hello, hello_ok = inspect(*(GOLDEN / f"{name}-payload.hex" for name in ("beat", "hello", "hello_ok")))[0]
    assert (beat["number"], beat["label"], beat["phase"], beat["stop"], beat["steps"]) == (7, "anna", "RUNNING", False, 5200)
    assert beat["payload"]["vector"][0] == {
        "life": ANNA, "seq": 42, "flush": 40, "steps": 5000, "digest": "8877665544332211"}
    assert beat["payload"]["peers"][0]["label"] == "bert"
    assert beat["payload"]["peers"][0]["age_us"] == 150000
    assert hello["fingerprint"] == "0" * 16 and hello["payload"]["config"] == {"workload": "svm"}
    assert hello_ok["payload"]["config"]["tensors"] == "v:1x256:-10"
    assert hello_ok["payload"]["bulk_bytes"] == 3


def test_headers_without_payload():
    reject, want, nohave, leave = inspect(*(GOLDEN / f"{n}-header.hex" for n in ("reject", "want", "nohave", "leave")))[0]
    assert (reject["field"], reject["ours"], reject["yours"]) == ("lambda", "0.0001", "0.001")
    assert (want["stream"], want["from"], want["bytes_max"]) == (ANNA, 38, 1 << 20)
    assert nohave["have_from"] == 40
    assert (leave["seq"], leave["clean"]) == (42, True)
    assert all(m["payload"] is None for m in (reject, want, nohave, leave))


def test_packed_bodies_alone():
    bitmap, dense, one = inspect(*(GOLDEN / f"packed-{n}.hex" for n in ("bitmap", "dense", "list")))[0]
    assert {m["kind"] for m in (bitmap, dense, one)} == {"packed"}
    assert (one["blocks"], one["nonzero"], one["sum"]) == (1, 1, -1)
    assert dense["nonzero"] > bitmap["nonzero"] > 16


@pytest.mark.parametrize("form", ["raw", "hex"])
@pytest.mark.parametrize("name", MESSAGES)
def test_one_message_header_first(tmp_path, name, form):
    header, payload = golden_message(name)
    path = tmp_path / "message"
    path.write_bytes(header + payload if form == "raw" else
                     f"; {name}\n{header.hex(' ')}\n{payload.hex()}\n".encode())
    (message,), _ = inspect(path)
    assert message["type"] == name.upper()
    assert message["header_bytes"] == len(header)
    assert (message["payload"] or {"bytes": 0})["bytes"] == len(payload)


def test_capture(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(capture_of(golden_message(name) for name in MESSAGES))
    lines, _ = inspect(path)
    assert [m["type"] for m in lines] == [name.upper() for name in MESSAGES]
    assert [m["number"] for m in lines] == list(range(1, len(MESSAGES) + 1))


def test_empty_capture(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(capture_of([]))
    assert inspect(path)[0] == []


def test_capture_goes_on_behind_a_bad_message(tmp_path):
    header, payload = golden_message("beat")
    path = tmp_path / "capture"
    path.write_bytes(capture_of([golden_message("want"), (header, payload[:-1]), (b"\xc0", b""), golden_message("leave")]))
    lines, said = inspect(path, status=1)
    assert [m.get("type") for m in lines] == ["WANT", "BEAT", None, "LEAVE"]
    assert ["error" in m for m in lines] == [False, True, True, False]
    assert str(path) in said and "message 2" in said and "BEAT" in said


@pytest.mark.parametrize("cut", [1, 5, 8, 20])
def test_truncated_capture(tmp_path, cut):
    path = tmp_path / "capture"
    path.write_bytes(capture_of([golden_message("want"), golden_message("leave")])[:-cut])
    lines, said = inspect(path, status=1)
    assert [m["type"] for m in lines] == ["WANT"]
    assert str(path) in said and "truncated" in said


def test_capture_with_monstrous_lengths(tmp_path):
    path = tmp_path / "capture"
    for lengths in ((4097, 0), (0xffffffff, 0xffffffff), (10, (1 << 20) + 1)):
        path.write_bytes(b"hogmesh capture 1\n" + struct.pack("<II", *lengths) + bytes(64))
        assert "at most 4096" in inspect(path, status=1)[1]


# ---- models ----


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def test_model(run):
    folder, summary = run
    (model,), _ = inspect(folder / "out" / "model.hm")
    assert model["kind"] == "model"
    assert model["model_hash"] == summary["model_hash"]
    assert model["steps"] == summary["steps"] == 6000
    assert model["config"]["workload"] == "svm" and model["config"]["rows"] == "3000"
    # The weights again, read by hand.
    data = (folder / "out" / "model.hm").read_bytes()
    n_hello, at = varint(data, len(b"hogmesh model 1\n"))
    steps, n = struct.unpack_from("<QQ", data, at + n_hello)
    b = struct.unpack_from(f"<{n}i", data, at + n_hello + 16)
    v, bias = model["tensors"]
    w = b[:v["cols"]]
    assert (steps, model["config"]["tensors"]) == (6000, f"v:1x{v['cols']}:{v['grid_exp']},b:1x1:{bias['grid_exp']}")
    assert v["nonzero"] == sum(x != 0 for x in w) > 100
    assert v["largest_units"] == max(map(abs, w)) > 0
    assert v["norm"] == pytest.approx(math.sqrt(sum(x * x for x in w)) * 2.0 ** v["grid_exp"], rel=1e-12)
    assert model["bulk_bytes"] == 4 * v["cols"]


def sealed(data):
    return data + hashlib.blake2b(data, digest_size=32).digest()


def test_damaged_model(run, tmp_path):
    data = (run[0] / "out" / "model.hm").read_bytes()
    path = tmp_path / "model.hm"
    for bad in (data[:-1], data[:40], data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], data + b"\0"):
        path.write_bytes(bad)
        lines, said = inspect(path, status=1)
        assert not lines and str(path) in said


def test_model_with_a_good_checksum_and_bad_insides(run, tmp_path):
    data = (run[0] / "out" / "model.hm").read_bytes()[:-32]
    cols = data[data.index(b"v:1x") + 4:].split(b":")[0]
    more = str(int(cols) + 1000).encode()
    path = tmp_path / "model.hm"
    for bad in (data[:-4], data + bytes(4), data.replace(b"v:1x" + cols, b"v:1x" + more[:len(cols)]),
                data.replace(b"v:1x", b"v:0x"), b"hogmesh model 1\n" + b"\xff" * 9 + b"\x01"):
        path.write_bytes(sealed(bad))
        lines, said = inspect(path, status=1)
        assert not lines and str(path) in said


# ---- caches ----


def test_cache(run):
    path = run[0] / "train.svm"
    rows = path.read_text().splitlines()
    (cache,), _ = inspect(f"{path}.hmcache")
    assert cache["kind"] == "cache"
    assert cache["rows"] == len(rows) == 3000
    assert cache["nonzeros"] == sum(row.count(":") for row in rows)
    assert cache["positives"] == sum(float(row.split()[0]) > 0 for row in rows)
    assert cache["features"] == max(int(row.split()[-1].split(":")[0]) for row in rows)
    assert cache["checksums_hold"] and all(s["checksum_holds"] for s in cache["sections"].values())
    assert cache["source"] == str(path) and cache["current"]


def test_stale_cache(run, tmp_path):
    source = tmp_path / "train.svm"
    source.write_bytes(b"+1 1:1\n-1 2:1\n")
    cache = tmp_path / "train.svm.hmcache"
    cache.write_bytes((run[0] / "train.svm.hmcache").read_bytes())
    (line,), _ = inspect(cache)
    assert line["checksums_hold"] and not line["current"]


def test_damaged_cache(run, tmp_path):
    data = bytearray((run[0] / "train.svm.hmcache").read_bytes())
    path = tmp_path / "x.hmcache"
    for at in range(8, 120, 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
        lines, said = inspect(path, status=1)
        assert not lines and str(path) in said
    at = 4096 + 100  # within the order of features
    path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
    (line,), said = inspect(path, status=1)
    assert "section 'order'" in said and not line["checksums_hold"]
    assert [name for name, s in line["sections"].items() if not s["checksum_holds"]] == ["order"]
    for cut in (1, 4096, len(data) - 4096, len(data) - 100):
        path.write_bytes(data[:-cut])
        assert not inspect(path, status=1)[0]


@pytest.fixture(scope="module")
def image_cache(tmp_path_factory):
    """The cache of 300 images, and their labels."""
    folder = tmp_path_factory.mktemp("images")
    subprocess.run([BINARY, "synth", "lenet5", "--out", folder, "--rows", "300", "--quiet"], check=True, timeout=120)
    for name in folder.glob("t10k*"):
        name.unlink()
    subprocess.run([BINARY, "sim", "lenet5", "-n", "1", "--data", folder, "--steps", "32", "--quiet"], check=True, timeout=120,
                   capture_output=True)
    (cache,) = folder.glob("*.hmcache")
    return cache, (folder / "train-labels-idx1-ubyte").read_bytes()[8:]


def test_image_cache(image_cache):
    path, labels = image_cache
    (cache,), _ = inspect(path)
    assert cache["kind"] == "image cache"
    assert (cache["images"], cache["channels"], cache["height"], cache["width"]) == (300, 1, 28, 28)
    assert cache["classes"] == [labels.count(i) for i in range(10)] and min(cache["classes"]) > 0
    assert cache["checksums_hold"] and {n: s["bytes"] for n, s in cache["sections"].items()} == {"pixel": 300 * 784, "label": 300}
    assert len(cache["sources_fingerprint"]) == 2


def xxh3(data):
    hash64 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits  # the library that hogmesh itself is linked with
    hash64.restype, hash64.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t)
    return hash64(data, len(data)).to_bytes(8, "little")


def sealed_images(data):
    """With the checksum of the header set right."""
    return data[:64] + xxh3(data[:64]) + data[72:]


def test_damaged_image_cache(image_cache, tmp_path):
    data = image_cache[0].read_bytes()
    path = tmp_path / "x.hmcache"
    for at in range(8, 72):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
        lines, said = inspect(path, status=1)
        assert not lines and str(path) in said
    for at, name in (4096 + 100, "pixel"), (len(data) - 1, "label"):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
        (line,), said = inspect(path, status=1)
        assert f"section '{name}'" in said and str(path) in said and not line["checksums_hold"]
        assert [n for n, s in line["sections"].items() if not s["checksum_holds"]] == [name]
    for cut in (1, 300, 4096, len(data) - 4096, len(data) - 100, len(data) - 20):
        path.write_bytes(data[:-cut])
        lines, said = inspect(path, status=1)
        assert not lines and "truncated" in said


def test_image_cache_with_a_good_checksum_and_bad_insides(image_cache, tmp_path):
    data = image_cache[0].read_bytes()
    path = tmp_path / "x.hmcache"
    for shape in ((0, 1, 28, 28), (300, 0, 28, 28), (300, 5, 28, 28), (300, 1, 4097, 28), (300, 1, 28, 0), (1 << 31, 1, 28, 28)):
        path.write_bytes(sealed_images(data[:32] + struct.pack("<4I", *shape) + data[48:]))
        lines, said = inspect(path, status=1)
        assert not lines and "which cannot be" in said
    for shape in ((299, 1, 28, 28), (300, 2, 28, 28), (2 ** 31 - 1, 4, 4096, 4096)):
        path.write_bytes(sealed_images(data[:32] + struct.pack("<4I", *shape) + data[48:]))
        lines, said = inspect(path, status=1)
        assert not lines and "truncated or altered" in said
    labels = data[-300:-1] + b"\x0a"
    path.write_bytes(sealed_images(data[:56] + xxh3(labels) + data[64:-300] + labels))
    (line,), said = inspect(path, status=1)
    assert "the label of image 299 of the cache is 10; 0 to 9 is expected" in said and line["checksums_hold"]


def text_cache(counts, ids, at=()):
    """The cache of a text, laid out as models/corpus_cache.h says; `at` replaces numbers of the header."""
    text = b"".join(word.encode() + b"\0" for word in counts)
    starts = [0]
    for word in counts:
        starts.append(starts[-1] + len(word.encode()) + 1)
    n, n_lines = len(counts), ids.count(len(counts))
    section = [struct.pack(f"<{n}Q", *counts.values()), struct.pack(f"<{n + 1}I", *starts), text,
               struct.pack(f"<{len(ids)}I", *ids)]
    numbers = [1, 2, len(ids), len(ids) - n_lines, n_lines, 100, 1000, 3, 4, sum(counts.values()), 5, len(text), n]
    for i, number in at:
        numbers[i] = number
    head = b"hmtext\r\n" + struct.pack("<II13Q", 1, 0x01020304, *numbers) + b"".join(map(xxh3, section))
    data = head + xxh3(head)
    for bytes_of_it in section:
        data += bytes(-len(data) % 4096) + bytes_of_it
    return data


def test_text_cache(tmp_path):
    path = tmp_path / "a.hmcache"
    path.write_bytes(text_cache({"the": 3, "cat": 2, "stra\u00dfe": 2}, [0, 1, 3, 0, 2, 3]))
    (cache,), _ = inspect(path)
    assert cache["kind"] == "text cache" and cache["first_words"] == ["the", "cat", "stra\u00dfe"]
    assert (cache["vocabulary"], cache["words"], cache["lines"], cache["vocabulary_total"]) == (3, 4, 2, 7)
    assert (cache["words_in_text"], cache["text_bytes"], cache["invalid_bytes"], cache["too_long_words"]) == (100, 1000, 3, 4)
    assert cache["checksums_hold"] and {n: s["bytes"] for n, s in cache["sections"].items()} == {
        "count": 24, "start": 16, "text": 16, "id": 24}


def test_damaged_text_cache(tmp_path):
    data = text_cache({"the": 3, "cat": 2}, [0, 1, 2])
    path = tmp_path / "x.hmcache"
    for at in range(8, 160):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
        lines, said = inspect(path, status=1)
        assert not lines and str(path) in said
    for page, name in enumerate(("count", "start", "text", "id"), 1):
        at = 4096 * page
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
        (line,), said = inspect(path, status=1)
        assert f"section '{name}'" in said and str(path) in said and not line["checksums_hold"]
        assert [n for n, s in line["sections"].items() if not s["checksum_holds"]] == [name]
    for cut in (1, 12, 100, len(data) - 4096, len(data) - 100, len(data) - 20):
        path.write_bytes(data[:-cut])
        lines, said = inspect(path, status=1)
        assert not lines and "truncated" in said
    for number in ((2, 1 << 62), (11, 1 << 62), (12, 0), (12, 0xFFFFFFFF)):
        path.write_bytes(text_cache({"the": 3, "cat": 2}, [0, 1, 2], [number]))
        assert "truncated or altered" in inspect(path, status=1)[1]


# ---- what is none of ours ----


def test_unknown_files(tmp_path):
    path = tmp_path / "x"
    for data in (b"", b"hello\n", b"abc", b"0", b"hogmesh", b"hogmesh capture 2\n", bytes(1000), b"\x97\x01", b"{}"):
        path.write_bytes(data)
        lines, said = inspect(path, status=1)
        assert not lines and str(path) in said and "expected" in said
    assert str(tmp_path) in inspect(tmp_path, status=1)[1]
    assert "No such file" in inspect(tmp_path / "none", status=1)[1]
    inspect(status=2)


def test_a_bad_file_does_not_hide_the_others(tmp_path):
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing")
    paths = [GOLDEN / "want-header.hex"] * 20 + [bad] + [GOLDEN / "leave-header.hex"] * 20
    lines, said = inspect(*paths, status=1)
    assert [m["type"] for m in lines] == ["WANT"] * 20 + ["LEAVE"] * 20
    assert said.count("\n") == 1 and str(bad) in said


# ---- mutated files ----


def mutate(rng, data):
    """Some flips, cuts, repeats and extreme bytes, mostly near the beginning, where lengths and counts are."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        span = min(len(data), rng.choice((64, 256, len(data) or 1)))
        at = rng.randrange(span) if span else 0
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff))
        elif kind == 2:
            del data[at:at + rng.choice((1, 4, 1000000))]
        elif kind == 3:
            data[at:at] = data[at:at + rng.randrange(1, 40)]
        else:
            data[at:at + 8] = rng.randbytes(8)
    return bytes(data)


def survive(folder, files):
    """inspect on all files: it ends by itself, with 0 or 1, and says as much as it must."""
    paths = []
    for i, data in enumerate(files):
        paths.append(folder / f"m{i:04}")
        paths[-1].write_bytes(data)
    done = subprocess.run([BINARY, "inspect", *map(str, paths)], capture_output=True, timeout=300)
    assert done.returncode in (0, 1), \
        f"HOGMESH_SEED={SEED}: exit {done.returncode} on one of the files in {folder}\n{done.stderr.decode()[-4000:]}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    refused = done.stderr.decode(errors="replace").splitlines()
    names = {line["file"] for line in lines} | {str(p) for p in paths if any(str(p) in r for r in refused)}
    empty = {str(p) for p, data in zip(paths, files) if data == b"hogmesh capture 1\n"}
    assert names | empty == {str(p) for p in paths}, f"HOGMESH_SEED={SEED}: nothing is said of some file"
    return lines, refused


def test_mutated_messages(tmp_path):
    rng = random.Random(SEED)
    whole = [b"".join(golden_message(name)) for name in MESSAGES]
    capture = capture_of(golden_message(name) for name in MESSAGES)
    hexes = [path.read_bytes() for path in sorted(GOLDEN.glob("*.hex"))]
    files = [mutate(rng, rng.choice(whole + [capture] * 8 + hexes)) for _ in range(1500)]
    lines, refused = survive(tmp_path, files)
    assert lines and refused


def test_mutated_deltas(tmp_path):
    """Bodies that the header describes: the mutation is behind what is checked first."""
    rng = random.Random(SEED + 1)
    header, payload = golden_message("delta")
    files = []
    for _ in range(500):
        body = bytes(rng.choice((0, 1, 0xff, rng.randrange(256))) for _ in range(rng.randrange(1, 120)))
        n_blocks, n_nonzero = rng.choice(((1, 1), (2, 3), (100, 64), (1 << 24, 1)))
        head = header[:-5] + b"".join(b"\xce" + struct.pack(">I", x) for x in (0, n_blocks, n_nonzero, len(body), 14))
        files.append(capture_of([(head, payload[:14] + body)]))
    lines, _ = survive(tmp_path, files)
    assert any("error" in line for line in lines)


def test_mutated_models(run, tmp_path):
    rng = random.Random(SEED + 2)
    data = (run[0] / "out" / "model.hm").read_bytes()[:-32]
    files = [sealed(mutate(rng, data)) for _ in range(40)]
    survive(tmp_path, files)


def test_mutated_caches(run, tmp_path):
    rng = random.Random(SEED + 3)
    data = (run[0] / "train.svm.hmcache").read_bytes()[:200000]
    survive(tmp_path, [mutate(rng, data) for _ in range(100)])


def test_mutated_image_caches(image_cache, tmp_path):
    rng = random.Random(SEED + 4)
    data = image_cache[0].read_bytes()
    survive(tmp_path, [mutate(rng, data) for _ in range(100)])
