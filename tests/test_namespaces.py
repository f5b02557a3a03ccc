"""Nodes on hosts of their own: three network namespaces on a bridge, each with an address, and links that fail."""
import time

import pytest

from lan import Lan


@pytest.fixture
def lan():
    net = Lan()
    try:
        net.open()
    except RuntimeError as error:
        pytest.skip(str(error))
    yield net
    net.close()


def start_three(start, lan, rows, seconds):
    def node(i, *flags):
        return start('join', 'svm', '--train', rows.train, '--json', '--expect', 3, '--seconds', seconds, '--bind',
                     f'10.91.7.{i}:7000', '--insecure', *flags, prefix=lan.prefix(i))
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


def test_three_hosts_join_by_one_address(start, rows, lan):
    check_equal(start_three(start, lan, rows, 2), 30)


@pytest.mark.parametrize('which', [1, 3])
def test_link_that_fails_for_three_seconds(start, rows, lan, which):
    nodes = start_three(start, lan, rows, 7)
    for node in nodes:
        node.wait_for('train ')
    lan.link(which, 'down')
    time.sleep(3)
    lan.link(which, 'up')
    summaries = check_equal(nodes, 40)
    assert sum(summary['deltas']['repaired'] for summary in summaries) > 0, 'the link was not felt'


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
