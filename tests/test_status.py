"""hogmesh status: any node tells whoever may reach it how it and its mesh stand, and no question hurts it."""
import contextlib
import json
import socket
import threading
import time

import pytest

import zmtp
from processes import free_port, until

ASK, STATUS = 14, 15


def mesh(start, rows, *flags, n=2, seconds=6):
    """A mesh of `join`s that trains; their addresses."""
    first = start('join', 'svm', '--train', rows.train, '--test', rows.test, '--expect', n, '--seconds', seconds, '--json', *flags)
    address = first.address()
    others = [start('join', 'svm', '--train', rows.train, '--expect', n, '--peer', address, '--json', *flags) for _ in range(n - 1)]
    return [first, *others], [node.address() for node in (first, *others)]


def state(run, address, *flags):
    done = run('status', address, '--json', *flags)
    return json.loads(done.out) if done.code == 0 else None


def test_any_node_answers(start, run, rows):
    nodes, addresses = mesh(start, rows, '--flush', '50ms')
    for address in addresses:
        s = until(lambda: (s := state(run, address)) and s['links'] and s['links'][0]['staleness']['n'] > 1 and s, 20, lambda: 'no links')
        assert s['schema'] == 1 and s['protocol'] == 2 and s['training']['steps'] > 0 and s['training']['live'] == 2
        assert s['node']['address'] == address and [p['state'] for p in s['peers']] == ['live']
        assert abs(s['time'] - time.time()) < 60
        assert state(run, address)['counters']['asked'] >= 1
        assert s['training']['limit_seconds'] == 6 and 0 < s['training']['seconds_left'] < 6
    shown = run('status', addresses[0])
    assert shown.code == 0 and 'trains svm' in shown.out and addresses[1] in shown.out and ' live ' in shown.out, shown
    summaries = [node.done() for node in nodes]
    assert len({s['model_hash'] for s in summaries}) == 1 and all(s['clean'] and s['deltas']['lost'] == 0 for s in summaries)


def test_with_a_key_only_its_holders_see_anything(start, run, tmp_path, small):
    key, other = tmp_path / 'mesh.key', tmp_path / 'other.key'
    assert run('keygen', key).code == 0 and run('keygen', other).code == 0
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 6, '--json', '--key', key)
    address = node.address()
    s = until(lambda: state(run, address, '--key', key), 20, lambda: 'no answer')
    assert len(s['node']['key']) == 16
    for flags, text in ([], 'wants a key'), (['--key', other], "refuses this node's key"):
        done = run('status', address, *flags)
        assert done.code == 4 and text in done.err and done.out == '', done
    done = run('status', address, '--key', tmp_path / 'none.key')
    assert done.code != 0 and 'none.key' in done.err, done
    assert node.done()['clean']


def test_key_where_there_is_none(start, run, tmp_path, small):
    key = tmp_path / 'mesh.key'
    assert run('keygen', key).code == 0
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 3, '--json')
    done = run('status', node.address(), '--key', key)
    assert done.code == 4 and 'speaks without encryption' in done.err, done
    assert node.done()['clean']


def test_nobody_there(run):
    done = run('status', f'127.0.0.1:{free_port()}', '--timeout', '1s')
    assert done.code == 4 and 'takes no connection' in done.err and 'firewall' in done.err, done


def test_somebody_else_there(run):
    with socket.create_server(('127.0.0.1', 0)) as silent:
        done = run('status', '127.0.0.1:%d' % silent.getsockname()[1], '--timeout', '1s')
    assert done.code == 4 and '--bind' in done.err, done


@pytest.mark.parametrize('arguments, text', [([], 'address of a node is missing'), (['nowhere'], 'HOST:PORT'), (['[::1]:7000'], 'nodes speak IPv4'), (['192.0.2.1:7000'], '--insecure'),
                                             (['a:1', 'b:2'], 'one argument too many')])
def test_refused_arguments(run, arguments, text):
    done = run('status', *arguments)
    assert done.code == 2 and text in done.err, done


def ask(number, what=1, life=4711, version=2, print_=0):
    return zmtp.pack([version, ASK, print_, life, number, what])


def test_on_the_wire(start, small):
    """As WIRE.md has it: number and question come back; padding says nothing; what is wrong is not answered."""
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 5, '--json')
    address = node.address()
    node.wait_for('train ')
    peer = zmtp.connect(address)
    header, payload = peer.ask(ask(77))
    assert header[1] == STATUS and header[4:] == [77, 1] and json.loads(payload)['schema'] == 1 and header[2] != 0
    header, payload = peer.ask(ask(2 ** 64 - 1, 0), b'x' * 1000000)
    assert header[1] == STATUS and header[4:] == [2 ** 64 - 1, 0] and payload == b''
    header, _ = peer.ask(ask(5, 0, print_=99))
    assert header[4] == 5
    for wrong in ask(1, 2), zmtp.pack([2, ASK, 0, 4711, 1]), zmtp.pack([2, ASK, 0, 0, 1, 1]), ask(1, version=3), zmtp.pack([2, STATUS, 0, 4711, 1, 1]):
        peer.send(wrong, b'{"a": 1}')
    header, _ = peer.ask(ask(6, 0))
    assert header[4] == 6, 'something wrong was answered'
    summary = node.done()
    assert summary['clean'] and len(summary['links']) == 0


def test_who_asks_too_often_is_not_answered(start, rows):
    """A flood of questions costs the mesh little: it goes on, ends, and counts what it dropped."""
    nodes, (address, _) = mesh(start, rows, '--http', '0', seconds=5)
    nodes[0].wait_for('train ')
    peer, answers = zmtp.connect(address), []

    def listen():
        with contextlib.suppress(OSError, EOFError):
            while True:
                answers.append(peer.receive()[0])
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for number in range(1, 3000):
            peer.send(ask(number))
    took = time.monotonic() - began
    summaries = [node.done(30) for node in nodes]
    assert len({s['model_hash'] for s in summaries}) == 1 and all(s['clean'] and s['deltas']['lost'] == 0 for s in summaries)
    assert 1 <= len(answers) <= 10 * (took + 6) + 20, (len(answers), took)


class Liar(threading.Thread):
    """A node that answers with what the test says."""

    def __init__(self, header, payload=b''):
        super().__init__(daemon=True)
        self.header, self.payload = header, payload
        self.server = socket.create_server(('127.0.0.1', 0))
        self.address = '127.0.0.1:%d' % self.server.getsockname()[1]
        self.start()

    def run(self):
        connection, _ = self.server.accept()
        with contextlib.suppress(EOFError, OSError):
            peer = zmtp.Peer(connection, b'ROUTER')
            while True:
                header, _ = peer.receive()
                peer.send(zmtp.pack([e if e is not None else header[4] for e in self.header]), self.payload)


@pytest.mark.parametrize('payload, code, text', [
    (b'', 3, 'no JSON object'), (b'[1]', 3, 'no JSON object'), (b'{"a":', 3, 'no JSON object'), (b'\xff{}', 3, 'no JSON object'),
    (b'[' * 100000, 3, 'no JSON object'), (b'{}', 0, ''), (b'{"node": 7, "training": [], "peers": {"a": 1}, "links": 3, "counters": null}', 0, ''),
    (b'{"version": "\\u001b[2J", "node": {"label": "\\u001b[2J", "life": "\\u001b", "fingerprint": "\\u0007", "key": "\\u009b"}}', 0, ''),
    (b'{"peers": [1, null, {"label": 3, "steps": "x"}, {"label": "\\u001b]0;hi\\u0007\\u009b", "steps": 1e300}]}', 0, '')])
def test_answers_of_liars(run, payload, code, text):
    """Whatever a node answers, it is an error or shown, and controls no terminal."""
    liar = Liar([2, STATUS, 0, 99, None, 1], payload)
    done = run('status', liar.address)
    assert done.code == code and text in done.err, done
    assert 'nan' not in done.out and '\x1b' not in done.out and '\x07' not in done.out and '\u009b' not in done.out


def test_a_doctor_is_no_node(start, run):
    port = free_port()
    doctor = start('doctor', '--bind', f'127.0.0.1:{port}', '--peer', f'127.0.0.1:{free_port()}', '--wait', '20s')
    until(lambda: 'listening' in doctor.out, 20, lambda: doctor)
    done = run('status', f'127.0.0.1:{port}')
    assert done.code == 4 and done.out == '' and "a 'hogmesh doctor' at work; start the node" in done.err, done
    doctor.kill()


def serve_one(talk):
    """Somebody who listens at an address and does with the first that calls as `talk` says."""
    server = socket.create_server(('127.0.0.1', 0))

    def serve():
        connection, _ = server.accept()
        with contextlib.suppress(EOFError, OSError):
            talk(zmtp.Peer(connection, b'ROUTER'))
    threading.Thread(target=serve, daemon=True).start()
    return '127.0.0.1:%d' % server.getsockname()[1]


def test_answers_that_come_late(run):
    """Whoever takes longer than the next question is in coming is heard all the same."""
    def talk(peer):
        while True:
            header, _ = peer.receive()
            threading.Timer(1.6, lambda number=header[4]: peer.send(zmtp.pack([2, STATUS, 0, 99, number, 1]), b'{"version": "late"}')).start()
    done = run('status', serve_one(talk), '--timeout', '8s')
    assert done.code == 0 and 'version late' in done.out, done


def test_somebody_who_never_stops_talking(run):
    """Answers to what nobody asked, as fast as they go: there is an end to it when the time is over."""
    def talk(peer):
        letter = zmtp.pack([2, STATUS, 0, 99, 12345, 1])
        letter += b'{}' + len(letter).to_bytes(2, 'little')
        many = (b'\0' + bytes([len(letter)]) + letter) * 2000
        peer.connection.settimeout(30)
        while True:
            peer.connection.sendall(many)
    done = run('status', serve_one(talk), '--timeout', '1s', timeout=15)
    assert done.code == 4 and 'does not answer' in done.err, done


def test_another_version(run):
    done = run('status', Liar([3, STATUS, 0, 99, None, 1]).address)
    assert done.code == 4 and 'another version' in done.err, done
