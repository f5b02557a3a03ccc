"""Nodes on hosts of their own: three network namespaces on a bridge, each with an address, and links that fail."""
import os
import subprocess
import time

import pytest


def ip(*words):
    return subprocess.run(['ip', *words], check=True, capture_output=True, text=True).stdout


class Lan:
    """Three hosts 10.91.7.1 to .3 on a switch, all in namespaces named after this process."""

    def __init__(self):
        self.name = f'hm{os.getpid()}'
        self.made = []

    def host(self, i):
        return f'{self.name}-{i}'

    def make(self, *names):
        for name in names:
            ip('netns', 'add', name)
            self.made.append(name)

    def open(self):
        switch = f'{self.name}-s'
        self.make(switch, *[self.host(i) for i in (1, 2, 3)])
        ip('-n', switch, 'link', 'add', 'bridge', 'type', 'bridge')
        ip('-n', switch, 'link', 'set', 'bridge', 'up')
        for i in 1, 2, 3:
            ip('-n', switch, 'link', 'add', f'port{i}', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', self.host(i))
            ip('-n', switch, 'link', 'set', f'port{i}', 'master', 'bridge')
            ip('-n', switch, 'link', 'set', f'port{i}', 'up')
            ip('-n', self.host(i), 'address', 'add', f'10.91.7.{i}/24', 'dev', 'eth0')
            ip('-n', self.host(i), 'link', 'set', 'eth0', 'up')
            ip('-n', self.host(i), 'link', 'set', 'lo', 'up')

    def link(self, i, state):
        ip('-n', f'{self.name}-s', 'link', 'set', f'port{i}', state)

    def close(self):
        for name in self.made:
            subprocess.run(['ip', 'netns', 'delete', name], check=False, capture_output=True)


@pytest.fixture
def lan():
    net = Lan()
    try:
        net.open()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        net.close()
        text = getattr(error, 'stderr', '') or str(error)
        pytest.skip(f'needs the privilege to make network namespaces: {text.strip()}')
    yield net
    net.close()


def start_three(start, lan, rows, seconds):
    def node(i, *flags):
        return start('join', 'svm', '--train', rows.train, '--json', '--expect', 3, '--seconds', seconds, '--bind',
                     f'10.91.7.{i}:7000', '--insecure', *flags, prefix=('ip', 'netns', 'exec', lan.host(i)))
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
                     '--insecure', *flags, prefix=('ip', 'netns', 'exec', lan.host(i)))
    first = node(1, '--advertise', '10.91.7.1')
    first.address()
    second = node(2, '--peer', '10.91.7.1:7000')
    a, b = first.done(), second.done()
    assert a['model_hash'] == b['model_hash'] and a['clean'] and b['clean']
