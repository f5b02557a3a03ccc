"""--discover: nodes of a LAN find each other by the name of their mesh alone, and what keeps them apart is said."""
import random
import socket
import threading

import pytest

from lan import Lan, ip, opened


@pytest.fixture
def lan(request):
    with opened(Lan(getattr(request, 'param', 3))) as net:
        yield net


@pytest.fixture
def key(run, tmp_path):
    assert run('keygen', tmp_path / 'mesh.key').code == 0
    return tmp_path / 'mesh.key'


@pytest.fixture
def node(start, lan, key, small):
    """node(i, flag, ...): a node on host i that is told of nobody."""
    return lambda i, *flags, at=None: start('join', 'svm', '--train', small.train, '--json', '--discover', 'lab', '--bind',
                                            f'{at or lan.address(i)}:7000', '--key', key, *flags, prefix=lan.prefix(i))


def check_equal(*nodes, links=None):
    summaries = [one.done(60) for one in nodes]
    assert len({summary['model_hash'] for summary in summaries}) == 1, nodes
    links = len(nodes) - 1 if links is None else links
    assert all(summary['clean'] and len(summary['links']) == links for summary in summaries), nodes


@pytest.mark.parametrize('n', [2, 3])
def test_nodes_that_start_at_once(node, n):
    """One of them founds the mesh, the others join it."""
    nodes = [node(i, '--expect', n, '--seconds', 1) for i in range(1, n + 1)]
    check_equal(*nodes)
    assert sum('this node founds the mesh' in one.err for one in nodes) == 1, nodes


def test_a_node_that_comes_later(node):
    first = node(1, '--expect', 1, '--seconds', 5)
    first.wait_for('train ')
    second = node(2)
    second.wait_for('discovery: 1 nodes are there, such as 10.91.7.1:7000')
    check_equal(first, second)


@pytest.mark.parametrize('lan', [4], indirect=True)
def test_two_islands_become_one(node, lan):
    """Founded while the network was cut in two; what each had learnt is kept."""
    cut = [(i, j) for i in (1, 2) for j in (3, 4)]
    for i, j in cut:
        lan.silence(i, j, True)
        lan.silence(j, i, True)
    nodes = [node(i, '--expect', 2, '--seconds', 12) for i in range(1, 5)]
    for one in nodes:
        one.wait_for('train  2 nodes', 30)
    assert sum('this node founds the mesh' in one.err for one in nodes) == 2
    for i, j in cut:
        lan.silence(i, j, False)
        lan.silence(j, i, False)
    for one in nodes:
        one.wait_for('train  4 nodes', 30)
    check_equal(*nodes)


def test_islands_that_differ_stay_apart_and_say_so(node, lan):
    lan.silence(1, 2, True)
    lan.silence(2, 1, True)
    nodes = [node(i, '--expect', 1, '--seconds', 8, '--lambda', value) for i, value in ((1, '1e-3'), (2, '1e-4'))]
    for one in nodes:
        one.wait_for('train ')
    lan.silence(1, 2, False)
    lan.silence(2, 1, False)
    for one in nodes:
        one.wait_for('is of another mesh that is called lab, too, with another configuration')
    assert len({one.done(60)['model_hash'] for one in nodes}) == 2
    assert all(one.err.count('is of another mesh') == 1 for one in nodes)


def test_another_name_another_mesh(start, node, lan, key, small):
    first = node(1, '--expect', 1, '--seconds', 5)
    first.wait_for('founds the mesh')
    other = start('join', 'svm', '--train', small.train, '--json', '--discover', 'other', '--bind', '10.91.7.2:7000', '--key', key,
                  '--expect', 1, '--seconds', 1, prefix=lan.prefix(2))
    other.wait_for('founds the mesh')
    assert other.done()['links'] == [] and first.done()['links'] == []


def test_without_the_key_nobody_is_heard(start, run, node, lan, small, tmp_path):
    first = node(1, '--expect', 1, '--seconds', 6)
    first.wait_for('train ')
    assert run('keygen', tmp_path / 'other.key').code == 0
    for i, flags in (2, ['--key', tmp_path / 'other.key']), (3, ['--insecure']):
        other = start('join', 'svm', '--train', small.train, '--json', '--discover', 'lab', '--bind', f'10.91.7.{i}:7000', '--expect', 1,
                      '--seconds', .5, *flags, prefix=lan.prefix(i))
        assert other.done()['links'] == []
        assert "who does not hold this node's key" in other.err, other
    assert first.done()['links'] == [] and "who does not hold this node's key" in first.err, first


def test_every_interface_is_called_on(node, lan):
    """The hosts have a second network; on the first one a cable is pulled."""
    for i in 1, 2:
        ip('-n', lan.switch, 'link', 'add', f'more{i}', 'type', 'veth', 'peer', 'name', 'eth1', 'netns', lan.host(i))
        ip('-n', lan.host(i), 'address', 'add', f'10.92.7.{i}/24', 'dev', 'eth1')
        ip('-n', lan.host(i), 'link', 'set', 'eth1', 'up')
    ip('-n', lan.switch, 'link', 'add', 'bridge2', 'type', 'bridge')
    ip('-n', lan.switch, 'link', 'set', 'bridge2', 'up')
    for i in 1, 2:
        ip('-n', lan.switch, 'link', 'set', f'more{i}', 'master', 'bridge2')
        ip('-n', lan.switch, 'link', 'set', f'more{i}', 'up')
    lan.link(2, 'down')
    check_equal(*[node(i, '--expect', 2, '--seconds', 1, at=f'10.92.7.{i}') for i in (1, 2)])


def test_two_of_one_name(node):
    nodes = [node(i, '--expect', 2, '--seconds', 2, '--label', 'anna') for i in (1, 2)]
    check_equal(*nodes)
    assert any('is called anna, too; --label' in one.err for one in nodes), nodes


def test_beside_a_list_of_peers(node):
    """Who is told whom to dial dials, and is found by others."""
    flags = '--expect', 3, '--seconds', 1
    first = node(1, *flags)
    check_equal(first, node(2, '--peer', first.address(), *flags), node(3, *flags))


# On one host, without namespaces.

def udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def test_on_one_host_and_through_noise(start, small):
    """Loopback is an interface, too; what else comes to the port does no harm."""
    port, over, rng = udp_port(), threading.Event(), random.Random(1)

    def make_noise():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            while not over.wait(.002):
                body = b'hogmesh\x01' * rng.randrange(2) + rng.randbytes(rng.choice([0, 1, 40, 200, 511, 512, 1400]))
                one.sendto(body, ('127.255.255.255', port))
    noise = threading.Thread(target=make_noise)
    noise.start()
    try:
        nodes = [start('join', 'svm', '--train', small.train, '--json', '--discover', f'lab:{port}', '--expect', 2, '--seconds', 2)
                 for _ in range(2)]
        check_equal(*nodes)
    finally:
        over.set()
        noise.join()
    assert all(one.err.count("this node's key") <= 1 for one in nodes)


@pytest.mark.parametrize('where', ['', 'a b', 'lab:0', 'lab:x'])
def test_names_that_are_none(run, small, where):
    done = run('join', 'svm', '--train', small.train, '--discover', where)
    assert done.code == 2 and '--discover' in done.err and 'NAME:PORT' in done.err, done


def test_a_port_that_is_taken(run, small):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(('0.0.0.0', 0))
        port = one.getsockname()[1]
        done = run('join', 'svm', '--train', small.train, '--discover', f'lab:{port}')
    assert done.code == 1 and f'UDP port {port}' in done.err and 'choose another' in done.err, done
