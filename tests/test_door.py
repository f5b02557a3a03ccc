"""Who knocks with another configuration or version is refused at once, by name of the field, and changes nothing."""
import contextlib
import socket
import struct
import threading

import pytest

import zmtp

# Every field that a mesh's configuration has, and something else than this mesh has.
OTHER = {
    'workload': 'word2vec', 'lambda': '0.5', 'lr': '7', 't0': '1', 'epochs': '3', 'steps': '17', 'seconds': '99', 'budget': '12',
    'rows': '1', 'batch': '9', 'seed': '8', 'combine': 'mean', 'amplify': '4', 'order': '0123456789abcdef', 'tensors': None}


@contextlib.contextmanager
def mesh(start, small, *flags):
    """A node alone that trains; the address of its door. In the end it must be none the worse for who came."""
    node = start('join', 'svm', '--train', small.train, '--test', small.test, '--expect', 1, '--seconds', 4, '--json', *flags)
    address = node.address()
    node.wait_for('train ')
    yield node, address
    summary = node.done(15)
    counters = summary['per_node'][0]['counters']
    assert summary['clean'] and summary['test']['accuracy'] > .8
    assert len(summary['links']) == 0 and summary['deltas']['applied'] == 0
    node.counters = counters


def test_every_field_by_name(start, small):
    with mesh(start, small) as (node, address):
        peer = zmtp.connect(address)
        header, payload = peer.ask(*zmtp.hello())
        assert header[1] == zmtp.HELLO_OK
        ours = zmtp.read_fields(payload)
        assert set(ours) == set(OTHER), 'a new field wants a line in OTHER'
        assert header[2] == zmtp.fingerprint(ours)
        shapes, other_shapes, other_grid = ours['tensors'], 'v:1x7:-5,b:1x1:-18', ours['tensors'].replace(':-', ':-1', 1)
        knocks = [(name, value) for name, value in OTHER.items() if value] + [('tensors', other_shapes), ('tensors', other_grid)]
        for name, value in knocks:
            header, _ = peer.ask(*zmtp.hello({name: value}))
            assert header[1] == zmtp.REJECT and header[4] == name, (name, header)
            assert header[5] == ours[name][:127] and header[6] == value[:127], (name, header)
            assert name in header[7]
        assert shapes not in (other_shapes, other_grid)
        header, _ = peer.ask(*zmtp.hello({'colour': 'red'}))
        assert header[1] == zmtp.REJECT and header[4:7] == ['colour', '(none)', 'red']
        header, _ = peer.ask(*zmtp.hello(print_=zmtp.fingerprint({**ours, 'seed': '8'})))
        assert header[1] == zmtp.REJECT and header[4] == 'fingerprint'
        # What agrees is welcome; so the door is open still.
        header, _ = peer.ask(*zmtp.hello(ours))
        assert header[1] == zmtp.HELLO_OK
    assert node.counters['refused_hello'] == len(knocks) + 2
    for name, value in knocks:
        assert f"refused node mallory: its {name} is '{value[:60]}'" in node.err


@pytest.mark.parametrize('version', [0, 1, 77])
def test_another_version(start, small, version):
    with mesh(start, small) as (node, address):
        peer = zmtp.connect(address)
        for _ in range(3):
            header, _ = peer.ask(*zmtp.hello(version=version))
            assert header[:2] == [2, zmtp.REJECT] and header[4:6] == ['version', '2']
        # Of what else another version says nothing is understood, nor answered.
        for kind in zmtp.BEAT, zmtp.DELTA, zmtp.HELLO_OK, 99:
            peer.send(zmtp.pack([version, kind, 1, 4711, 'who', 'knows']))
        header, _ = peer.ask(*zmtp.hello())
        assert header[1] == zmtp.HELLO_OK
    assert node.counters['refused_version'] == 7
    assert node.err.count('speaks another version of the protocol') == 1


class Mesh(threading.Thread):
    """A mesh that is none: answers the first greeting with what the test says."""

    def __init__(self, header, payload=b''):
        super().__init__(daemon=True)
        self.answer = header, payload
        self.server = socket.create_server(('127.0.0.1', 0))
        self.address = '127.0.0.1:%d' % self.server.getsockname()[1]
        self.start()

    def run(self):
        connection, _ = self.server.accept()
        with contextlib.suppress(EOFError, OSError):
            peer = zmtp.Peer(connection, b'ROUTER')
            peer.receive()
            peer.send(*self.answer)
            peer.receive()


def joiner(start, small, header, payload=b'', *flags):
    fake = Mesh(header, payload)
    node = start('join', 'svm', '--train', small.train, '--peer', fake.address, '--json', *flags).wait(10)
    fake.server.close()
    assert node.seconds < 5 and node.out == '', node
    return node


def test_mesh_of_another_version(start, small):
    node = joiner(start, small, zmtp.pack([3, zmtp.REJECT, 1, 99, 'version', '3', '2', 'no']))
    assert node.code == 4 and 'another version of the protocol' in node.err, node


def good():
    order = struct.pack('<3I', 0, 1, 2)
    return {'amplify': '0', 'batch': '1', 'budget': '1000', 'combine': 'amplify', 'epochs': '5', 'lambda': '0.0001', 'lr': '1',
            'order': 'ORDER', 'rows': '200', 'seconds': '0', 'seed': '0', 'steps': '0', 't0': '10000', 'tensors': 'v:1x3:-5,b:1x1:-18',
            'workload': 'svm'}, order


WRONG = [
    ('workload', 'word2vec', 4), ('momentum', '0.9', 4), ('lambda', 'much', 1), ('lambda', '-1', 1), ('t0', None, 1), ('batch', '0', 1),
    ('budget', '-3', 1), ('seconds', 'nan', 1), ('seed', '1.5', 1), ('combine', 'vote', 1), ('amplify', '.5', 1),
    ('tensors', 'w:10x10:-5', 1), ('tensors', 'v:1x3:-99,b:1x1:-18', 1), ('tensors', 'v:1x0:-5,b:1x1:-18', 1), ('order', 'ffff', 3)]


@pytest.mark.parametrize('name, value, code', WRONG, ids=[f'{name}={value}' for name, value, _ in WRONG])
def test_mesh_that_this_program_cannot_train_with(start, small, name, value, code):
    fields, bulk = good()
    fields[name] = value
    if value is None:
        del fields[name]
    header = zmtp.pack([2, zmtp.HELLO_OK, zmtp.fingerprint(fields), 99, 'eve', 'tcp://127.0.0.1:9', 'tcp://127.0.0.1:10'])
    node = joiner(start, small, header, zmtp.fields_payload(fields, bulk))
    assert node.code == code and (f"'{name}'" in node.err or f'{name} ' in node.err), node


def test_mesh_that_lies_about_its_fingerprint(start, small):
    fields, bulk = good()
    header = zmtp.pack([2, zmtp.HELLO_OK, zmtp.fingerprint(fields) ^ 1, 99, 'eve', 'tcp://127.0.0.1:9', 'tcp://127.0.0.1:10'])
    node = joiner(start, small, header, zmtp.fields_payload(fields, bulk))
    assert node.code == 3 and 'eve' in node.err and 'fingerprint' in node.err, node
