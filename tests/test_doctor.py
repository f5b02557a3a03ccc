"""hogmesh doctor: finds what was broken on purpose, says what to do, and is content with what is not."""
import contextlib
import json
import os
import socket
import threading
import time

import pytest

import zmtp
from lan import Lan, ip, opened
from processes import free_port

ASK, STATUS = 14, 15


def findings(process):
    """{level: [about + text]}; the exit code says whether something is broken."""
    report = json.loads(process.out)
    found = {level: [] for level in ('fine', 'note', 'warning', 'broken')}
    for f in report['findings']:
        found[f['level']].append(f'{f["about"]}: {f["text"]}')
        assert f['level'] not in ('warning', 'note') or f['advice'], f'nothing to be done about {f}'
    assert report['broken'] == len(found['broken']) and process.code == (1 if found['broken'] else 0), process
    return found


def said(found, level, *texts):
    assert any(all(t in line for t in texts) for line in found[level]), (level, texts, found)


@pytest.fixture
def doctor(run):
    return lambda *flags, **options: findings(run('doctor', '--json', *flags, **options))


def test_this_host(doctor, run, tmp_path):
    found = doctor('--out', tmp_path)
    assert not found['broken']
    said(found, 'fine', 'version', 'protocol 2')
    said(found, 'fine', str(tmp_path), 'GB left')
    shown = run('doctor')
    assert shown.code == 0 and shown.out.startswith('fine ') and ' broken, ' in shown.out.splitlines()[-1], shown
    assert run('doctor', 'argument').code == 2


def test_more_threads_than_processors(doctor):
    found = doctor('-t', 200)
    said(found, 'warning', '200 threads on')


@pytest.mark.parametrize('n, level', [(64, 'broken'), (500, 'warning')])
def test_few_files(doctor, n, level):
    said(doctor(prefix=['prlimit', f'--nofile={n}']), level, f'at most {n}')


def test_folder_that_is_none(doctor, tmp_path):
    (tmp_path / 'file').write_text('')
    said(doctor('--out', tmp_path / 'file'), 'broken', 'file')
    said(doctor('--out', tmp_path / 'none'), 'note', 'No such file')


def test_key_files(doctor, run, tmp_path):
    key = tmp_path / 'mesh.key'
    said(doctor('--key', key), 'broken', 'mesh.key')
    assert run('keygen', key).code == 0
    found = doctor('--key', key)
    said(found, 'fine', 'key: ')
    os.chmod(key, 0o644)
    said(doctor('--key', key), 'broken', 'mesh.key')


def test_where_to_listen(doctor):
    with socket.create_server(('127.0.0.1', 0)) as other:
        said(doctor('--bind', '127.0.0.1:%d' % other.getsockname()[1]), 'broken', 'is in use by another process')
    said(doctor('--bind', '192.0.2.1:7000', '--insecure'), 'broken', 'is not an address of this machine')
    said(doctor('--bind', '0.0.0.0:7000'), 'broken', 'reaches beyond this host')
    said(doctor('--bind', '127.0.0.1:0'), 'fine', 'peers dial 127.0.0.1:')


def test_peers_that_are_not_there(doctor):
    port = free_port()
    found = doctor('--peer', f'127.0.0.1:{port}', '--peer', 'no.such.invalid:7000', '--peer', 'x')
    said(found, 'broken', f'TCP port {port}: Connection refused')
    said(found, 'broken', "there is no host 'no.such.invalid'")
    said(found, 'broken', 'HOST:PORT')
    with socket.create_server(('127.0.0.1', port)):
        said(doctor('--peer', f'127.0.0.1:{port}'), 'broken', f'TCP port {port + 1}: Connection refused')


def test_a_node_that_trains(doctor, start, run, tmp_path, small):
    key, other = tmp_path / 'mesh.key', tmp_path / 'other.key'
    assert run('keygen', key).code == 0 and run('keygen', other).code == 0
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 9, '--json', '--key', key)
    address = node.address()
    node.wait_for('train ')
    found = doctor('--peer', address, '--key', key)
    assert not found['broken'], found
    said(found, 'fine', 'trains svm')
    said(found, 'fine', "so does its publisher's port")
    said(found, 'fine', 'clocks agree')
    assert any('round trip' in line for level in found.values() for line in level), found
    assert any('MB/s to it' in line for level in found.values() for line in level), found
    said(found, 'note', 'the way back has not been tried')
    said(doctor('--peer', address), 'broken', 'wants a key')
    said(doctor('--peer', address, '--key', other), 'broken', "refuses this node's key")
    summary = node.done()
    assert summary['clean'] and len(summary['links']) == 0, 'it is none the worse'


class Peer:
    """Somebody who listens at two ports and answers the first as `answer` says: (header, payload) of a header, or None."""

    def __init__(self, answer):
        self.answer, self.port = answer, free_port()
        self.address = f'127.0.0.1:{self.port}'
        self.servers = [socket.create_server(('127.0.0.1', self.port + i)) for i in range(2)]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.servers[0].accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(EOFError, OSError, AssertionError):
            peer = zmtp.Peer(connection, b'ROUTER')
            while True:
                header, _ = peer.receive()
                answer = self.answer(header)
                if answer:
                    peer.send(*answer)


def answering(**status):
    payload = json.dumps({'schema': 1, 'protocol': 2, 'version': '0.1.0', 'time': time.time(), 'node': {}, **status}).encode()

    def answer(header):
        if header[1] == ASK:
            return zmtp.pack([2, STATUS, 0, 99, header[4], header[5]]), payload if header[5] else b''
    return answer


def test_a_peer_of_another_version(doctor):
    """It drops what it does not know, and says its version to a greeting of another one."""
    def answer(header):
        if header[1] == zmtp.HELLO:
            return zmtp.pack([3, zmtp.REJECT, 1, 99, 'version', '3', str(header[0]), 'no']), b''
    said(doctor('--peer', Peer(answer).address), 'broken', 'it speaks version 3 of the protocol, this program 2')


def test_a_program_of_another_version(doctor):
    found = doctor('--peer', Peer(answering(version='9.9.9')).address)
    assert not found['broken']
    said(found, 'warning', 'runs version 9.9.9')


@pytest.mark.parametrize('skew, word', [(-1000, 'behind'), (5000, 'ahead')])
def test_clocks_apart(doctor, skew, word):
    found = doctor('--peer', Peer(answering(time=time.time() + skew)).address)
    said(found, 'warning', f's {word}')
    assert not found['broken']


@pytest.mark.parametrize('status', [{'version': 7, 'time': 'x', 'node': [], 'doctor': 3}, {'version': '\x1b[2J', 'node': {'workload': '\x9b'}},
                                    {'doctor': {'reached': 7}}, {'time': 1e300}])
def test_peers_that_lie(run, status):
    done = run('doctor', '--peer', Peer(answering(**status)).address)
    assert done.code in (0, 1) and '\x1b' not in done.out and '\x9b' not in done.out, done


def test_an_address_that_others_do_not_reach(doctor, start, small):
    """What a node announces is what its peers will dial."""
    port = free_port()
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 4, '--json', '--bind', f'127.0.0.1:{port}',
                 '--advertise', f'localhost:{free_port()}')
    node.wait_for('train ')
    said(doctor('--peer', f'127.0.0.1:{port}'), 'broken', 'it tells others to dial localhost:')
    node.kill()


def test_somebody_else_there(doctor):
    """Something that takes connections and says nothing."""
    port = free_port()
    with socket.create_server(('127.0.0.1', port)), socket.create_server(('127.0.0.1', port + 1)):
        found = doctor('--peer', f'127.0.0.1:{port}')
    assert found['broken'], found


def test_two_doctors(start, run, tmp_path):
    """Each finds that it reaches the other and that the other reaches it, whoever begins."""
    key = tmp_path / 'mesh.key'
    assert run('keygen', key).code == 0
    one, two = free_port(), free_port()
    doctors = [start('doctor', '--json', '--key', key, '--bind', f'127.0.0.1:{a}', '--peer', f'127.0.0.1:{b}', '--wait', '20s')
               for a, b in ((one, two), (two, one))]
    for process, own in zip(doctors, (one, two)):
        found = findings(process.wait(60))
        assert not found['broken'], found
        said(found, 'fine', 'a doctor is at work there')
        said(found, 'fine', f'it reaches this host at 127.0.0.1:{own}')


@pytest.fixture
def lan():
    with opened(Lan(2)) as net:
        yield net


def two_hosts(start, lan, key, wait='6s'):
    """The findings of doctors on hosts 1 and 2."""
    doctors = [start('doctor', '--json', '--key', key, '--bind', f'{lan.address(i)}:7000', '--peer', f'{lan.address(3 - i)}:7000', '--wait', wait,
                     prefix=lan.prefix(i)) for i in (1, 2)]
    return [findings(process.wait(90)) for process in doctors]


def test_a_firewall_in_one_direction(start, run, lan, tmp_path):
    """Host 2 does not get through to the port of host 1; both are told, by what each can know."""
    key = tmp_path / 'mesh.key'
    assert run('keygen', key).code == 0
    ip('-n', lan.host(1), 'rule', 'add', 'pref', 10, 'from', lan.address(2), 'ipproto', 'tcp', 'dport', '7000-7001', 'blackhole')
    one, two = two_hosts(start, lan, key)
    said(one, 'fine', '10.91.7.2:7000: TCP port 7000 takes connections')
    said(one, 'broken', '10.91.7.2:7000: it does not reach this host at 10.91.7.1:7000')
    said(two, 'broken', '10.91.7.1:7000: TCP port 7000: Connection timed out')
    said(one, 'fine', 'own address: 10.91.7.1 by eth0, MTU 1500')


def test_a_small_mtu(start, run, lan, tmp_path):
    key = tmp_path / 'mesh.key'
    assert run('keygen', key).code == 0
    ip('-n', lan.host(2), 'link', 'set', 'eth0', 'mtu', 1000)
    one, two = two_hosts(start, lan, key, '20s')
    said(two, 'warning', 'by eth0, whose MTU is 1000')
    said(one, 'warning', '10.91.7.2:7000: packets carry', 'an MTU on the way is small')
    assert not one['broken'] and not two['broken'], (one, two)


def test_a_way_that_swallows_large_packets(start, run, lan, tmp_path):
    """Both ends believe in 1500 bytes, a switch between them drops what has more than 1000, and nobody is told."""
    key = tmp_path / 'mesh.key'
    assert run('keygen', key).code == 0
    for i in 1, 2:  # packets are cut up before the switch, as on a wire
        ip('-n', lan.host(i), 'link', 'set', 'eth0', 'gso_max_segs', 1)
    ip('-n', lan.switch, 'link', 'set', 'port2', 'mtu', 1000)
    for found, peer in zip(two_hosts(start, lan, key, '20s'), (2, 1)):
        said(found, 'broken', f'10.91.7.{peer}:7000: small messages come through, one of a megabyte does not')
        said(found, 'fine', f'10.91.7.{peer}:7000: and it reaches this host')
        assert len(found['broken']) == 1, found
