"""Meshes with a key: they train as without, nobody else gets in or reads along, and strangers disturb nobody."""
import collections
import re
import socket
import stat
import struct
import threading
import time

import pytest

from processes import free_port, until


def join(*flags, train):
    return ['join', 'svm', '--train', train, '--json', *flags]


@pytest.fixture
def keygen(run):
    """keygen(file, ...) -> the fingerprints that the file holds then."""
    def keygen_one(path, *flags):
        process = run('keygen', path, *flags)
        assert process.code == 0, process
        return re.findall(r'^key ([0-9a-f]{16}) ', path.read_text(), re.M)
    return keygen_one


@pytest.fixture
def key(keygen, tmp_path):
    path = tmp_path / 'mesh.key'
    keygen(path)
    return path


def refused(summary):
    """Connections of strangers that a node turned away: with another key, in clear, something else."""
    counters = summary['per_node'][0]['counters']
    return [counters[name] for name in ('refused_key', 'refused_plain', 'refused_garbage')]


def start_mesh(start, rows, key, n, seconds):
    """A mesh with a key that trains; the port of the first of its nodes."""
    port = free_port()
    flags = ['--expect', n, '--seconds', seconds, '--key', key]
    nodes = [start(*join(*flags, '--bind', f'127.0.0.1:{port}', train=rows.train))]
    nodes[0].address()
    nodes += [start(*join(*flags, '--peer', f'127.0.0.1:{port}', train=rows.train)) for _ in range(n - 1)]
    for node in nodes:
        node.wait_for('train ')
    return nodes, port


def check_mesh(nodes, timeout=30):
    summaries = [node.done(timeout) for node in nodes]
    assert len({s['model_hash'] for s in summaries}) == 1, [s['model_hash'] for s in summaries]
    for s in summaries:
        assert s['clean'] and s['balanced'] and s['deltas']['lost'] == 0, s
        assert s['per_node'][0]['counters']['peers_gone'] == 0
    assert not any(re.search('assert', node.err, re.I) for node in nodes)
    return summaries


def lines_about(node):
    """How many lines an address got."""
    return collections.Counter(re.findall('refused connections from ([^:]*):', node.err))


# ---- keygen ----

def test_keygen(run, tmp_path):
    process = run('keygen', 'mesh.key', prefix=('sh', '-c', 'umask 0; exec "$@"', 'sh'))
    path = tmp_path / 'mesh.key'
    secret = re.search(r'^key ([0-9a-f]{16}) ([0-9a-f]{64})$', path.read_text(), re.M)
    assert process.code == 0 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret[1] in process.out and secret[2] not in process.out + process.err
    assert '--key mesh.key' in process.out and 'opy it' in process.out
    before = path.read_bytes()
    again = run('keygen', 'mesh.key')
    assert again.code == 2 and 'never overwritten' in again.err and path.read_bytes() == before


@pytest.mark.parametrize('flags', [[], ['a', 'b'], ['mesh.key', '--add', '--revoke', '00'], ['mesh.key', '--revoke'],
                                   ['mesh.key', '--revoke', 'ffff'], ['no.key', '--add'], ['no/such.key']], ids=' '.join)
def test_keygen_that_cannot_be(run, key, flags):
    before = key.read_bytes()
    process = run('keygen', *flags)
    assert process.code in (1, 2) and process.err.count('\n') == 1 and not process.out, process
    assert key.read_bytes() == before


# ---- with a key ----

@pytest.mark.parametrize('n', [2, 4])
def test_run_with_a_key(run, rows, key, n):
    summary = run('run', 'svm', '-n', n, '--train', rows.train, '--test', rows.test, '--epochs', 20, '--json',
                  '--key', key).done()
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'] and summary['deltas']['lost'] == 0
    assert summary['test']['accuracy'] > .9
    fingerprint = key.read_text().split('\nkey ')[1][:16]
    for node in summary['per_node']:
        assert node['key'] == fingerprint
        assert [node['counters'][f'refused_{kind}'] for kind in ('key', 'plain', 'garbage')] == [0, 0, 0]


def test_secret_is_told_nowhere(start, rows, key, tmp_path):
    nodes, _ = start_mesh(start, rows, key, 2, 3)
    check_mesh(nodes)
    fingerprint, secret = re.search('^key (.*) (.*)$', key.read_text(), re.M).groups()
    for node in nodes:
        assert fingerprint in node.err and secret not in node.err + node.out
    assert [path for path in tmp_path.iterdir() if path != key and secret.encode() in path.read_bytes()] == []


class Relay:
    """Two listening ports that pass on to those of a node, and keep all that goes through."""

    def __init__(self, port):
        self.seen, self.sockets = bytearray(), []
        self.port = free_port()
        for offset in 0, 1:
            server = socket.create_server(('127.0.0.1', self.port + offset))
            self.sockets.append(server)
            threading.Thread(target=self.serve, args=(server, port + offset), daemon=True).start()

    def serve(self, server, port):
        while True:
            try:
                near = server.accept()[0]
                far = socket.create_connection(('127.0.0.1', port))
            except OSError:
                return
            self.sockets += [near, far]
            for one, other in (near, far), (far, near):
                threading.Thread(target=self.pass_on, args=(one, other), daemon=True).start()

    def pass_on(self, source, target):
        try:
            while data := source.recv(65536):
                self.seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        for one in self.sockets:
            one.close()


@pytest.mark.parametrize('encrypted', [False, True], ids=['in clear', 'encrypted'])
def test_nobody_reads_along(start, rows, key, encrypted):
    """What stands in the messages is seen on the wire without a key, and with one it is not."""
    port = free_port()
    relay = Relay(port)
    flags = ['--expect', 2, '--seconds', 1, *(['--key', key] if encrypted else [])]
    first = start(*join(*flags, '--label', 'node-of-anna', '--bind', f'127.0.0.1:{port}', '--advertise',
                        f'127.0.0.1:{relay.port}', train=rows.train))
    assert first.address() == f'127.0.0.1:{relay.port}'
    second = start(*join(*flags, '--label', 'node-of-bob', '--peer', first.address(), train=rows.train))
    check_mesh([first, second])
    relay.close()
    assert len(relay.seen) > 10000, 'the relay was passed by'
    # Long enough not to be found in noise: three given bytes are, once in sixteen millions.
    words = [b'node-of-anna', b'node-of-bob', b'workload', b'lambda', b'tcp://127.0.0.1', b'time is up']
    assert [word for word in words if word in relay.seen] == ([] if encrypted else words)
    assert (b'CURVE' in relay.seen) == encrypted


# ---- strangers ----

GREETING = b'\xff' + b'\0' * 8 + b'\x7f\x03\x00'
NULL = GREETING + b'NULL'.ljust(20, b'\0') + b'\0' + b'\0' * 31
CURVE = GREETING + b'CURVE'.ljust(20, b'\0') + b'\0' + b'\0' * 31
HELLO = CURVE + b'\x04\xc8\x05HELLO\x01\x00' + b'\0' * 72 + b'z' * 120

PLAIN = [NULL + b'\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06DEALER' + b'\x01\x05hello\x00\x05hello']
OTHER_KEY = [HELLO]
GARBAGE = [b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', b'\0' * 4096, bytes(range(256)) * 256, b'\x16\x03\x01' * 100,
           CURVE + b'\x04\xc8' + b'x' * 200, CURVE + b'\x00\x05hello', CURVE + b'\x06' + b'\xff' * 8]


def talk(port, text):
    """Says it and waits until the node hangs up; what it answered."""
    answer = b''
    try:
        with socket.create_connection(('127.0.0.1', port), 5) as connection:
            connection.settimeout(5)
            connection.sendall(text)
            while data := connection.recv(4096):
                answer += data
    except TimeoutError:
        raise AssertionError(f'not hung up on: {text[:80]}') from None
    except OSError:
        pass
    return answer


def test_strangers_while_a_mesh_trains(start, run, rows, key, keygen, tmp_path):
    """Of each kind, at both ports: refused, counted, told once, and of no effect on the mesh."""
    revoked = tmp_path / 'revoked.key'
    revoked.write_bytes(key.read_bytes())
    revoked.chmod(0o600)
    old, new = keygen(key, '--add')
    keygen(key, '--first', new)
    assert keygen(key, '--revoke', old) == [new]
    other = tmp_path / 'other.key'
    keygen(other)

    nodes, port = start_mesh(start, rows, key, 3, 8)
    peer = ['--peer', f'127.0.0.1:{port}']
    for flags, words in [(['--key', other], 'refuses this node.s key'), (['--key', revoked], 'refuses this node.s key'),
                         ([], 'wants a key.*--key')]:
        process = run(*join(*peer, *flags, '--join-timeout', '20s', train=rows.train))
        assert process.code == 4 and re.search(f'127.0.0.1:{port} {words}', process.err), process
        assert process.seconds < 10, 'told at once, not when the time is up'
    for text in PLAIN + OTHER_KEY + GARBAGE:
        for p in port, port + 1:
            assert b'READY' not in talk(p, text)
    first, *others = check_mesh(nodes)
    n_key, n_plain, n_garbage = refused(first)
    assert n_key >= 2 + 2 * len(OTHER_KEY) and n_garbage == 2 * len(GARBAGE)
    # A node without a key may hang up first: both see that they do not fit.
    assert n_plain >= 2 * len(PLAIN)
    assert n_plain + first['per_node'][0]['counters']['broke_off'] >= 1 + 2 * len(PLAIN)
    assert all(refused(summary) == [0, 0, 0] for summary in others), others
    lines = lines_about(nodes[0])
    assert lines and set(lines.values()) == {1}, nodes[0]
    assert set(lines) <= {'127.0.0.1', 'an address that is not known any more'}
    assert not any(lines_about(node) for node in nodes[1:])


def test_storm_of_strangers(start, rows, key):
    """Hundreds that fail or hang up, at once, half in the handshake: one line, and the mesh goes on."""
    nodes, port = start_mesh(start, rows, key, 3, 6)
    for i in range(200):
        for text in (HELLO, PLAIN[0], GARBAGE[0], CURVE, HELLO[:100]):
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                connection.connect(('127.0.0.1', port + i % 2))
                connection.sendall(text)
                if i % 3 == 0:
                    time.sleep(.001)
    first = check_mesh(nodes)[0]
    assert sum(refused(first)) > 100
    assert set(lines_about(nodes[0]).values()) == {1} and len(lines_about(nodes[0])) <= 2, nodes[0]


def test_who_says_nothing(start, rows, key):
    """Idle connections, more than there are peers, are cut and counted after the handshake's time limit."""
    nodes, port = start_mesh(start, rows, key, 2, 6)
    idle = [socket.create_connection(('127.0.0.1', port + i % 2)) for i in range(40)]
    first = check_mesh(nodes)[0]
    for connection in idle:
        connection.close()
    assert refused(first) == [0, 0, 40]


def test_key_where_the_peer_has_none(start, run, small, key):
    first = start(*join('--expect', 2, '--join-timeout', '10s', train=small.train))
    process = run(*join('--peer', first.address(), '--key', key, '--join-timeout', '8s', train=small.train))
    assert process.code == 4 and 'speaks without encryption' in process.err and process.seconds < 6, process


def test_founder_that_was_refused_by_nobody_goes_on(start, run, small, key, keygen, tmp_path):
    """A stranger before the mesh stands does not keep it from coming about."""
    other = tmp_path / 'other.key'
    keygen(other)
    first = start(*join('--expect', 2, '--seconds', 1, '--key', key, train=small.train))
    address = first.address()
    for flags in ['--key', other], []:
        assert run(*join('--peer', address, *flags, train=small.train)).code == 4
    for text in GARBAGE:
        talk(int(address.rpartition(':')[2]), text)
    second = start(*join('--expect', 2, '--peer', address, '--key', key, train=small.train))
    check_mesh([first, second])


# ---- changing the key ----

def test_key_is_changed_step_by_step(start, rows, keygen, tmp_path):
    """Files that are one step apart understand each other, whoever comes first; those further apart do not."""
    steps, path = [], tmp_path / 'mesh.key'

    def keep():
        steps.append(tmp_path / f'step{len(steps)}.key')
        steps[-1].write_bytes(path.read_bytes())
        steps[-1].chmod(0o600)

    keygen(path)
    keep()
    old, new = keygen(path, '--add')
    keep()
    assert keygen(path, '--first', new[:6]) == [new, old]
    keep()
    assert keygen(path, '--revoke', old) == [new]
    keep()
    for a, b in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]:
        first = start(*join('--expect', 2, '--seconds', .5, '--key', steps[a], train=rows.train))
        second = start(*join('--expect', 2, '--peer', first.address(), '--key', steps[b], train=rows.train))
        check_mesh([first, second])
    first = start(*join('--expect', 2, '--join-timeout', '5s', '--key', steps[3], train=rows.train))
    second = start(*join('--expect', 2, '--peer', first.address(), '--key', steps[0], train=rows.train)).wait()
    assert second.code == 4 and 'was revoked' in second.err, second


# ---- files and flags ----

@pytest.mark.parametrize('mode', [0o644, 0o640, 0o660, 0o606])
@pytest.mark.parametrize('command', ['run', 'join'])
def test_loose_permissions(run, small, key, mode, command):
    key.chmod(mode)
    process = run(command, 'svm', '--train', small.train, '--key', key)
    assert process.code != 0 and process.seconds < 5, process
    assert process.err.count('chmod 600') == 1 and str(key) in process.err, process


def test_files_that_are_none(run, small, key, tmp_path):
    cut, link = tmp_path / 'cut.key', tmp_path / 'link.key'
    cut.write_bytes(key.read_bytes()[:-20])
    cut.chmod(0o600)
    link.symlink_to(key)
    for path, word in (cut, 'line'), (link, 'symbolic link'), (tmp_path / 'no.key', 'No such file'), (small.train, ''):
        process = run('join', 'svm', '--train', small.train, '--key', path)
        assert process.code != 0 and str(path) in process.err and word in process.err, process


def test_beyond_this_host_takes_a_key(run, start, small, key):
    """Whatever flag would lead there; with a key it may."""
    for flags in (['--bind', '0.0.0.0:0'], ['--advertise', '192.0.2.1'], ['--advertise', '192.0.2.1:7000'],
                  ['--peer', '192.0.2.1:7000'], ['--bind', '127.0.0.1:0', '--advertise', 'some.host']):
        process = run(*join(*flags, '--expect', 1, train=small.train))
        assert process.code == 2 and flags[-2] in process.err and 'keygen' in process.err, process
    alone = run(*join('--bind', '0.0.0.0:0', '--key', key, '--expect', 1, '--epochs', 1, train=small.train))
    assert alone.code == 0, alone


def test_peer_that_leads_beyond_this_host(start, small):
    """What a peer announces is not dialled in clear either."""
    first = start(*join('--expect', 2, '--join-timeout', '3s', train=small.train))
    second = start(*join('--expect', 2, '--peer', first.address(), '--advertise', '192.0.2.1', '--insecure',
                         '--join-timeout', '3s', train=small.train))
    first.address()
    until(lambda: second.process.poll() is None, 1, lambda: str(second))
    time.sleep(1)
    table = open('/proc/net/tcp').read()
    assert f'{int.from_bytes(bytes([192, 0, 2, 1]), "little"):08X}:' not in table
    for node in first, second:
        node.wait(15)
        assert node.code > 0, node
