"""A peer in Python, written from protocol/WIRE.md alone, in a mesh of C nodes: it ends with the same model."""
import os
import pathlib
import re
import signal

import numpy
import pytest

import processes
from stranger import body, hashes, wire

TESTS = pathlib.Path(__file__).resolve().parent
PAGE = (TESTS.parent / 'protocol' / 'WIRE.md').read_text()


@pytest.fixture
def stranger(start):
    """stranger(address, ...) -> a running peer in Python."""
    return lambda *arguments: start(*arguments, program=('/usr/bin/python3', '-m', 'stranger'), env={'PYTHONPATH': str(TESTS)})


def svm(rows, *flags):
    return 'join', 'svm', '--train', rows.train, '--json', '--flush', '50ms', *flags


def check_equal(stranger, *nodes):
    """All ended well and with the same model; returns the stranger's summary."""
    processes.until(lambda: stranger.process.poll() is not None or any(node.process.poll() for node in nodes), 60, lambda: str(stranger))
    assert not any(node.process.poll() for node in nodes), nodes
    own = stranger.done(10)
    summaries = [node.done(60) for node in nodes]
    assert {summary['model_hash'] for summary in summaries} == {own['model_hash']}, stranger
    assert all(summary['clean'] and summary['deltas']['lost'] == 0 for summary in summaries)
    assert {summary['steps'] for summary in summaries} == {own['steps']}
    assert own['counters']['refused'] == 0, stranger
    return own


@pytest.mark.parametrize('with_key', [False, True], ids=['clear', 'key'])
def test_a_stranger_ends_with_the_same_model(start, run, stranger, small, tmp_path, with_key):
    key = []
    if with_key:
        assert run('keygen', tmp_path / 'key').code == 0
        key = ['--key', tmp_path / 'key']
    first = start(*svm(small, '--expect', 3, '--seconds', 1.5, *key))
    second = start(*svm(small, '--expect', 3, '--peer', first.address(), *key))
    other = stranger(first.address(), '--expect', 3, *key)
    own = check_equal(other, first, second)
    assert own['streams'] == 2 and own['counters']['applied'] > 0


def test_a_stranger_repairs_what_it_loses(start, stranger, small):
    first = start(*svm(small, '--expect', 3, '--seconds', 3))
    second = start(*svm(small, '--expect', 3, '--peer', first.address()))
    own = check_equal(stranger(first.address(), '--expect', 3, '--drop', .5), first, second)
    assert own['counters']['dropped'] > 0 and own['counters']['repaired'] > 0, own


def test_a_stranger_publishes(start, stranger, small):
    first = start(*svm(small, '--expect', 2, '--seconds', 2))
    own = check_equal(stranger(first.address(), '--publish', 8), first)
    assert own['streams'] == 2 and own['published'] > 0
    assert first.summary['deltas']['applied'] == own['published']
    assert first.summary['links'][0]['from'] == 'stranger'


def test_a_stranger_hands_on_what_a_dead_node_said(start, stranger, small):
    """It is the only one who has the deltas of a node that was killed, and gives them to a joiner."""
    dead = start(*svm(small, '--expect', 2, '--seconds', 5, '--flush', '200ms'))
    other = stranger(dead.address(), '--expect', 2)
    dead.wait_for('train ')
    processes.until(lambda: 'applied 5' in other.err, 20, lambda: str(other))
    os.kill(dead.pid, signal.SIGKILL)
    heir = start(*svm(small, '--expect', 2, '--peer', other.address()))
    own = check_equal(other, heir)
    assert own['counters']['answered'] >= 5 and own['streams'] == 2


@pytest.mark.parametrize('workload', ['lenet5', 'word2vec'])
def test_a_stranger_follows_what_it_cannot_compute(start, run, stranger, tmp_path, workload):
    """It knows nothing of these workloads, nor what their models begin with: the state brings that, deltas the rest."""
    data = tmp_path / 'data'
    run('synth', workload, '--out', data, '--rows', 2000, '--quiet')
    flags = ['--data', data] if workload == 'lenet5' else ['--train', data / 'train.txt', '--dim', 16]
    first = start('join', workload, *flags, '--json', '--expect', 2, '--seconds', 4, '--flush', '500ms', '--step-time', 'const:20ms')
    own = check_equal(stranger(first.address()), first)
    assert own['counters']['chunks'] > 0 and own['counters']['applied'] > 0


@pytest.mark.parametrize('workload', ['svm', 'lenet5', 'word2vec'])
def test_a_stranger_among_three_whose_connections_break(start, run, stranger, tmp_path, workload):
    """With a key, new deltas dropped besides, and some of its own."""
    data = tmp_path / 'data'
    run('synth', workload, '--out', data, '--rows', 2000, '--quiet')
    assert run('keygen', tmp_path / 'key').code == 0
    flags = {'svm': ['--train', data / 'train.svm'], 'lenet5': ['--data', data], 'word2vec': ['--train', data / 'train.txt', '--dim', 16]}[workload]
    flags = ['join', workload, *flags, '--json', '--expect', 4, '--key', tmp_path / 'key', '--flush', '300ms', '--step-time', 'const:20ms']
    first = start(*flags, '--seconds', 2)
    others = [start(*flags, '--peer', first.address()) for _ in range(2)]
    other = stranger(first.address(), '--expect', 4, '--key', tmp_path / 'key', '--cut', .2, '--drop', .2, '--publish', 5)
    own = check_equal(other, first, *others)
    counters = own['counters']
    assert own['streams'] == 4 and counters['cut'] > 0 and own['published'] > 0, own


@pytest.mark.parametrize('first', ['zero', 'sent', 'too many'])
def test_a_stranger_in_a_mesh_of_programs(start, stranger, first):
    """Which brought their parameters along: what they begin with is in the greeting, or comes as a state."""
    hogmesh = pytest.importorskip('test_python').hogmesh
    random = numpy.random.default_rng(1)
    scale = first != 'zero'
    tensors = {'a.weight': scale * random.normal(size=(5, 7)), 'one': numpy.float32(.25 * scale), 'b': 1000. * scale * random.normal(size=100),
               'c': scale * random.normal(size=(3, 17) if first != 'too many' else (320, 1000))}
    options = dict(grids={'b': -8}, combine='sum', expect=3)
    nodes = [hogmesh.Mesh(tensors, **options)]
    with pytest.raises(hogmesh.NotInTimeError):
        nodes[0].start(timeout=0)
    nodes.append(hogmesh.Mesh(tensors, peer=nodes[0].endpoint, **options))
    with pytest.raises(hogmesh.NotInTimeError):
        nodes[1].start(timeout=0)
    other = stranger(nodes[0].endpoint, '--expect', 3, '--publish', 3)
    for node in nodes:
        node.start(timeout=60)
    for i in range(10):
        for node in nodes:
            for w in node.weights.values():
                w += 1 / 32
            assert node.step(7)
    processes.until(lambda: nodes[0].status().steps >= 140 + 10, 60, lambda: str(other))
    nodes[1].stop()
    results = [node.finish() for node in nodes]
    own = other.done(60)
    assert results[0].hash == results[1].hash == own['model_hash']
    assert results[0].clean and own['steps'] == results[0].steps and own['published'] > 0
    assert own['counters']['refused'] == 0 and (own['counters']['chunks'] > 0) == (first == 'too many'), own


def test_a_stranger_is_refused_by_name(start, stranger, small):
    first = start(*svm(small, '--expect', 1, '--seconds', 3))
    other = stranger(first.address(), '--insist', 'lambda=5').wait(20)
    assert other.code == 1 and 'lambda' in other.err and '0.0001' in other.err, other


# What the page says of itself.

def dump(text):
    """The bytes of an example, without remarks."""
    return bytes.fromhex(''.join(line.partition(';')[0] for line in text.splitlines()))


def examples():
    """(kind, header, payload) of section 12."""
    section = PAGE.split('## 12. Worked examples')[1].split('## 13.')[0]
    for part in re.split(r'\n(?=\*\*)', section)[1:]:
        blocks = [dump(block) for block in re.findall(r'```\n(.*?)```', part, re.S)]
        if part.startswith('**ASK**'):
            yield from ((block, b'') for block in blocks)
        elif part.startswith('**CHUNK_REQ**'):
            yield blocks[0], b''
            yield blocks[1], dump('01 a3')
        else:
            yield blocks[0], blocks[1] if len(blocks) > 1 else b''


def test_every_example_is_read_and_written_again():
    seen = set()
    for header, payload in examples():
        if header[2 if header[0] != 0xdc else 4] == 8:
            payload = wire.vector({})
        letter = wire.decode([header + payload + len(header).to_bytes(2, 'little')])
        assert wire.encode(letter.kind, letter.fingerprint, letter.life, payload, **letter.fields)[:len(header)] == header
        seen.add(letter.kind)
        if letter.kind in ('HELLO', 'HELLO_OK'):
            assert wire.hello(*wire.read_hello(payload)) == payload
        elif letter.kind == 'BEAT':
            vector, known = wire.read(payload, 'vector', 'peers')
            assert wire.vector(vector) + wire.peers(known) == payload
        elif letter.kind == 'DELTA':
            assert wire.delta_check(letter.fields, payload) == letter.fields['check']
            n = letter.fields['vectors_n']
            assert wire.spans(wire.read(payload[:n], 'spans')[0]) == payload[:n]
            where, what = body.unpack(payload[n:], 0, 2, 1, 1)
            assert list(where) == [3] and list(what) == [-1]
            layout = body.Layout('v:1x256:-10')
            assert layout.digest(where + 64, what) == letter.fields['digest'] == 0x788e9087717ff051
    assert seen == set(wire.TYPES)


def test_every_worked_body():
    section = PAGE.split('Three bodies')[1].split('### 6.2')[0]
    one, two, three = (dump(block) for block in re.findall(r'```\n(.*?)```', section, re.S))
    where, what = body.unpack_bits(one, 4)
    assert list(zip(where, what)) == [(67, -1)]
    where, what = body.unpack_bits(two, 1)
    assert list(zip(where, what)) == [(j, -j if j % 2 else j + 1) for j in range(0, 64, 3)]
    where, what = body.unpack_bits(three, 1)
    assert list(zip(where, what)) == [(j, j - 31) for j in range(64) if j != 31]


def test_worked_key_and_fingerprint():
    secret = bytes(range(32))
    for words, number, n in ('server, secret', 1, 32), ('client, secret', 2, 32), ('fingerprint', 3, 16):
        text = re.search(rf'^    {words} +([0-9a-f]+)$', PAGE, re.M).group(1)
        assert hashes.subkey(secret, number, n).hex()[:len(text)] == text
    fields = {'lambda': '0.0001', 'seed': '1', 'tensors': 'v:1x256:-10', 'workload': 'svm'}
    assert hashes.fingerprint(fields) == 0x46b395bc72229b11


@pytest.mark.parametrize('seed', range(20))
def test_what_it_packs_it_unpacks(seed):
    random = numpy.random.default_rng(seed)
    n_blocks = int(random.integers(1, 40))
    q = random.integers(-2**int(random.integers(1, 22)), 2**int(random.integers(1, 22)), 64 * n_blocks)
    q[random.random(len(q)) < random.random()] = 0
    where = numpy.flatnonzero(q)
    if len(where):
        again = body.unpack_bits(body.pack(where, q[where], n_blocks), n_blocks)
        assert (again[0] == where).all() and (again[1] == q[where]).all(), f'seed {seed}'


@pytest.mark.parametrize('header', ['', '95', 'c0', '95020400cf', '9102', 'dd00100000', 'a162', '95020400c0', '950204 00 00 00', '9191919191'])
def test_what_is_no_header(header):
    raw = bytes.fromhex(header)
    with pytest.raises(wire.Refused):
        wire.decode([raw + len(raw).to_bytes(2, 'little')])
