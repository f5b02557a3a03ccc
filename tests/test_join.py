"""hogmesh join: nodes started one by one find each other, agree on a configuration, come late, leave, give up."""
import collections
import os
import signal
import socket
import time

import pytest

from processes import free_port, until


def svm(*flags, train):
    return ['join', 'svm', '--train', train, '--json', *flags]


def equal_end(*summaries):
    hashes = {summary['model_hash'] for summary in summaries}
    assert len(hashes) == 1 and None not in hashes, [s['model_hash'] for s in summaries]
    for summary in summaries:
        assert summary['clean'] and summary['mode'] == 'join' and summary['nodes'] == 1
        assert summary['deltas']['abandoned'] == summary['deltas']['lost'] == 0


def halves(rows, tmp_path):
    """The rows in two files, of which the second has other features in front."""
    lines = rows.train.read_text().splitlines(keepends=True)
    for name, part in ('one', lines[::2]), ('two', lines[1::2]):
        (tmp_path / f'{name}.svm').write_text(''.join(part))
    return tmp_path / 'one.svm', tmp_path / 'two.svm'


def test_three_join_by_one_address(start, rows):
    first = start(*svm('--test', rows.test, '--expect', 3, '--seconds', 2, train=rows.train))
    address = first.address()
    others = [start(*svm('--peer', address, '--expect', 3, train=rows.train)) for _ in range(2)]
    summaries = [node.done() for node in (first, *others)]
    equal_end(*summaries)
    assert len({summary['per_node'][0]['label'] for summary in summaries}) == 3
    assert all(len(summary['links']) == 2 for summary in summaries)
    assert all(summary['per_node'][0]['steps'] > 1000 for summary in summaries)
    assert summaries[0]['test']['accuracy'] > .9


def test_all_are_given_the_same_list(start, rows):
    """Whoever is first in the list founds the mesh."""
    one, two = free_port(), free_port()
    peers = ['--peer', f'127.0.0.1:{one}', '--peer', f'127.0.0.1:{two}', '--expect', 2, '--seconds', 1]
    nodes = [start(*svm(*peers, '--bind', f'127.0.0.1:{port}', train=rows.train)) for port in (two, one)]
    equal_end(*[node.done() for node in nodes])


def test_joiner_adopts_configuration_and_order(start, rows, tmp_path):
    """Rows of its own with another order of features; everything else comes from the mesh."""
    one, two = halves(rows, tmp_path)
    flags = ['--lambda', '1e-3', '--lr', '20', '--batch', 4, '--combine', 'sum', '--seed', 5]
    first = start(*svm('--test', rows.test, '--expect', 2, '--seconds', 2, *flags, '--out', tmp_path / 'a', train=one))
    second = start(*svm('--test', rows.test, '--expect', 2, '--peer', first.address(), '--out', tmp_path / 'b', train=two))
    a, b = first.done(), second.done()
    equal_end(a, b)
    assert a['test'] == b['test'] and a['test']['accuracy'] > .85
    model = [(tmp_path / name / 'model.hm').read_bytes() for name in 'ab']
    assert model[0] == model[1]


def test_joiner_with_other_features(start, small, tmp_path):
    """What the mesh's first node has not met cannot be learnt, but is no reason to stay away."""
    (tmp_path / 'few.svm').write_text('1 1:1 2:1\n-1 2:1 3:1\n' * 500)
    first = start(*svm('--expect', 2, '--seconds', 1.5, train=small.train))
    second = start(*svm('--expect', 2, '--peer', first.address(), train=tmp_path / 'few.svm'))
    equal_end(first.done(), second.done())


@pytest.mark.parametrize('flag, here, there', [
    ('lambda', '0.001', '0.0001'), ('lr', '10', '20'), ('batch', '2', '3'), ('combine', 'sum', 'mean'),
    ('seed', '1', '2'), ('seconds', '2.5', '3.5'), ('amplify', '2', '3'), ('epochs', '1000000', '2000000'),
    ('steps', '1000000000', '2000000000')])
def test_contradiction_is_refused(start, small, flag, here, there):
    """Two explicit flags that contradict: the joiner is told which, the mesh goes on without it."""
    first = start(*svm('--expect', 2, '--seconds', 2, f'--{flag}', here, train=small.train))
    address = first.address()
    second = start(*svm('--expect', 2, '--peer', address, train=small.train))
    stranger = start(*svm('--expect', 2, '--peer', address, f'--{flag}', there, train=small.train)).wait(10)
    assert stranger.code == 4 and stranger.seconds < 2, stranger
    assert flag in stranger.err and here in stranger.err and there in stranger.err
    equal_end(first.done(), second.done())


def test_same_flags_are_no_contradiction(start, small):
    flags = ['--expect', 2, '--lambda', '1e-3', '--lr', 10, '--batch', 2, '--combine', 'mean', '--seed', 1, '--seconds', 1]
    first = start(*svm(*flags, train=small.train))
    second = start(*svm(*flags, '--peer', first.address(), train=small.train))
    equal_end(first.done(), second.done())


def test_late_joiner_catches_up(start, rows):
    first = start(*svm('--expect', 2, '--seconds', 6, '--flush', '5ms', train=rows.train))
    address = first.address()
    second = start(*svm('--expect', 2, '--peer', address, '--flush', '5ms', train=rows.train))
    first.wait_for('training|train ')
    time.sleep(1)
    late = start(*svm('--expect', 2, '--peer', second.address(), '--flush', '5ms', train=rows.train))
    equal_end(*[node.done() for node in (first, second, late)])
    assert late.summary['per_node'][0]['steps'] > 1000
    own = first.summary['per_node'][0]['counters']['published']
    assert late.summary['deltas']['applied'] + late.summary['deltas']['covered'] > own


def test_one_leaves_the_others_go_on(start, rows):
    first = start(*svm('--expect', 3, '--seconds', 4, train=rows.train))
    address = first.address()
    second, third = [start(*svm('--expect', 3, '--peer', address, train=rows.train)) for _ in range(2)]
    third.wait_for('train ')
    os.kill(third.pid, signal.SIGINT)
    third.wait(4)
    assert third.code == 0, third
    equal_end(first.done(), second.done())
    assert first.summary['train_seconds'] > 3.5


def test_first_node_leaves_the_others_go_on(start, rows):
    """Who founded the mesh is nobody special afterwards: neither for who comes later nor for the time that is given."""
    first = start(*svm('--expect', 3, '--seconds', 5, train=rows.train))
    address = first.address()
    second, third = [start(*svm('--expect', 3, '--peer', address, train=rows.train)) for _ in range(2)]
    first.wait_for('train ')
    os.kill(first.pid, signal.SIGINT)
    assert first.wait(4).code == 0, first
    late = start(*svm('--expect', 2, '--peer', second.address(), train=rows.train))
    equal_end(second.done(15), third.done(), late.done())
    assert 4 < second.summary['train_seconds'] < 6


def test_alone(start, small):
    summary = start(*svm('--expect', 1, '--epochs', 5, train=small.train)).done()
    assert summary['clean'] and summary['steps'] >= 9700


def test_gives_up_waiting(start, small):
    node = start(*svm('--join-timeout', '1s', train=small.train)).wait(10)
    assert node.code == 4 and 1 <= node.seconds < 3, node
    assert '--peer' in node.err.splitlines()[-1] and '--expect' in node.err.splitlines()[-1], node


def test_unreachable_peer(start, small):
    port = free_port()
    node = start(*svm('--peer', f'127.0.0.1:{port}', '--join-timeout', '1s', train=small.train)).wait(10)
    assert node.code == 4 and node.seconds < 3, node
    assert f'127.0.0.1:{port}' in node.err and 'port' in node.err and 'firewall' in node.err


def test_peer_that_is_something_else(start, small):
    """A server that accepts and says nothing, or speaks HTTP, is as good as none."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        node = start(*svm('--peer', f'127.0.0.1:{port}', '--join-timeout', '1s', train=small.train))
        connection, _ = server.accept()
        connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
        node.wait(10)
        connection.close()
    assert node.code == 4 and str(port) in node.err, node


@pytest.mark.parametrize('peer', ['nonsense', 'host', '127.0.0.1:', '127.0.0.1:99999', ':7000', '127.0.0.1:7000:8', ''])
def test_address_that_is_none(start, small, peer):
    node = start(*svm('--peer', peer, '--join-timeout', '2s', train=small.train)).wait(10)
    assert node.code == 2 and '--peer' in node.err and node.seconds < 2, node


def test_name_that_does_not_exist(start, small):
    node = start(*svm('--peer', 'no-such-host.invalid:7000', '--join-timeout', '1s', train=small.train)).wait(15)
    assert node.code in (1, 2, 4) and 'no-such-host.invalid' in node.err, node


@pytest.mark.parametrize('offset', [0, 1])
def test_port_in_use(start, small, offset):
    port = free_port()
    with socket.create_server(('127.0.0.1', port + offset)):
        node = start(*svm('--bind', f'127.0.0.1:{port}', '--expect', 1, train=small.train)).wait(10)
    assert node.code in (1, 2), node
    assert str(port + offset) in node.err and 'in use' in node.err, node


def test_beyond_this_host_needs_a_word(start, small):
    node = start(*svm('--bind', '0.0.0.0:0', '--expect', 1, train=small.train)).wait(10)
    assert node.code == 2 and '--insecure' in node.err, node
    node = start(*svm('--bind', '0.0.0.0:0', '--insecure', '--expect', 1, '--epochs', 1, train=small.train)).wait(10)
    assert node.code == 0, node


def test_two_of_the_same_name(start, small):
    """The second of a label is told, or both end well: never a mesh that hangs."""
    first = start(*svm('--expect', 2, '--seconds', 1, '--label', 'anna', '--join-timeout', '5s', train=small.train))
    second = start(*svm('--expect', 2, '--label', 'anna', '--peer', first.address(), '--join-timeout', '5s',
                        train=small.train)).wait(20)
    first.wait(20)
    codes = collections.Counter((first.code, second.code))
    assert set(codes) <= {0, 4}, f'{first}\n{second}'
    if second.code == 4:
        assert 'anna' in second.err


def test_interrupted_while_waiting(start, small):
    node = start(*svm('--expect', 2, train=small.train))
    node.address()
    time.sleep(.3)
    os.kill(node.pid, signal.SIGINT)
    node.wait(3)
    assert node.code in (0, 1, 4, 130), node


def test_twelve_come_and_go(start, small):
    """Nodes that join and leave again do no harm to the one that stays."""
    first = start(*svm('--expect', 1, '--seconds', 120, train=small.train))
    address = first.address()
    published = set()
    for _ in range(3):
        guests = [start(*svm('--expect', 1, '--peer', address, '--out', f'guest{i}', train=small.train)) for i in range(4)]
        for guest in guests:
            guest.wait_for('train ')
        time.sleep(.3)
        for guest in guests:
            os.kill(guest.pid, signal.SIGINT)
        for guest in guests:
            assert guest.wait(20).code == 0, guest
        nodes = [guest.summary['per_node'][0] for guest in guests]
        assert sum(node['steps'] for node in nodes) > 1000
        published |= {(node['label'], node['own_seq']) for node in nodes if node['own_seq']}
    until(lambda: first.err.count('has left the mesh') == 12, 20, lambda: str(first))
    os.kill(first.pid, signal.SIGINT)
    summary = first.done()
    assert summary['per_node'][0]['ended'] == 'left by request' and summary['deltas']['lost'] == 0
    assert published == {(link['from'], link['deltas']) for link in summary['links']}


def test_joins_after_the_end(start, small):
    """The mesh is over: the one that comes too late is told that nobody is there."""
    first = start(*svm('--expect', 1, '--epochs', 5, train=small.train))
    address = first.address()
    first.done()
    node = start(*svm('--peer', address, '--join-timeout', '1s', train=small.train)).wait(5)
    assert node.code == 4 and address in node.err, node
