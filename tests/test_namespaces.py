"""Nodes on hosts of their own: three network namespaces on a bridge, each with an address, and links that fail."""
import time

import pytest

from lan import Lan, opened


@pytest.fixture
def lan():
    with opened(Lan()) as net:
        yield net


def start_three(start, run, tmp_path, lan, rows, seconds):
    key = tmp_path / 'mesh.key'
    assert run('keygen', key).code == 0

    def node(i, *flags):
        return start('join', 'svm', '--train', rows.train, '--json', '--expect', 3, '--seconds', seconds, '--bind',
                     f'10.91.7.{i}:7000', '--key', key, *flags, prefix=lan.prefix(i))
    first = node(1)
    address = first.address()
    assert address == '10.91.7.1:7000'
    return [first, node(2, '--peer', address), node(3, '--peer', address)]


def check_equal(nodes, timeout):
    summaries = [node.done(timeout) for node in nodes]
    assert len({summary['model_hash'] for summary in summaries}) == 1
    assert all(summary['clean'] and summary['deltas']['lost'] == 0 and len(summary['links']) == 2
               for summary in summaries), summaries
    return summaries


def test_three_hosts_join_by_one_address(start, run, tmp_path, rows, lan):
    check_equal(start_three(start, run, tmp_path, lan, rows, 2), 30)


def test_clear_traffic_stays_on_the_host(start, rows, lan):
    """Without a key and --insecure no address of the LAN is bound."""
    node = start('join', 'svm', '--train', rows.train, '--expect', 1, '--epochs', 1, '--bind', '10.91.7.1:7000',
                 prefix=lan.prefix(1)).wait(10)
    assert node.code == 2 and '10.91.7.1:7000' in node.err and '--key' in node.err and '--insecure' in node.err, node


def test_strangers_of_other_hosts_are_told_by_address(start, run, tmp_path, rows, lan):
    nodes = start_three(start, run, tmp_path, lan, rows, 8)
    for node in nodes:
        node.wait_for('train ')
    other = tmp_path / 'other.key'
    assert run('keygen', other).code == 0
    told = {i: f'refused connections from 10.91.7.{i}: ' for i in (2, 3)}
    for i in told:
        for _ in range(5):  # on a busy host a stranger may have gone before its address is looked up
            stranger = start('join', 'svm', '--train', rows.train, '--peer', '10.91.7.1:7000', '--key', other,
                             prefix=lan.prefix(i)).wait(10)
            assert stranger.code == 4 and "10.91.7.1:7000 refuses this node's key" in stranger.err, stranger
            if told[i] in nodes[0].err:
                break
    check_equal(nodes, 30)
    assert [nodes[0].err.count(line) for line in told.values()] == [1, 1], nodes[0]


@pytest.mark.parametrize('which', [1, 3])
def test_link_that_fails_for_three_seconds(start, run, tmp_path, rows, lan, which):
    nodes = start_three(start, run, tmp_path, lan, rows, 7)
    for node in nodes:
        node.wait_for('train ')
    lan.link(which, 'down')
    time.sleep(3)
    lan.link(which, 'up')
    summaries = check_equal(nodes, 40)
    assert sum(summary['per_node'][0]['counters']['redials'] for summary in summaries) > 0, 'the link was not felt'


def test_any_address(start, rows, lan):
    """Bound to all addresses, a node is reached by the one that it advertises."""
    def node(i, *flags):
        return start('join', 'svm', '--train', rows.train, '--json', '--expect', 2, '--seconds', 1.5, '--bind', '0.0.0.0:7000',
                     '--insecure', *flags, prefix=lan.prefix(i))
    first = node(1, '--advertise', '10.91.7.1')
    first.address()
    second = node(2, '--peer', '10.91.7.1:7000')
    a, b = first.done(), second.done()
    assert a['model_hash'] == b['model_hash'] and a['clean'] and b['clean']
