"""Nodes that die, freeze, or are talked to by strangers: the others go on, and the summary says what happened."""
import os
import re
import signal
import socket
import time

import pytest

from processes import cpu_seconds, free_port, until
from strangers import GARBAGE, talk


def svm(n, rows, *flags):
    return ['run', 'svm', '-n', n, '--train', rows.train, '--test', rows.test, '--json', *flags]


def survivors_agree(summary, dead=()):
    """What holds whoever died: those who live are clean and equal."""
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    for node in summary['per_node']:
        if node['pid'] in dead:
            assert node['hash'] is None and node['clean'] is False
        else:
            assert node['hash'] == summary['per_node'][-1]['hash'] or node['hash'] == summary['model_hash']
            assert node['clean'] is True


@pytest.mark.parametrize('which', [0, 2])
def test_killed_node(start, rows, which):
    """The first node is nobody special."""
    run = start(*svm(4, rows, '--seconds', 5))
    children = sorted(run.wait_for_training(4))
    os.kill(children[which], signal.SIGKILL)
    run.wait_for(rf'node\d \(pid {children[which]}\) died of signal 9.*others go on')
    summary = run.done(30)
    survivors_agree(summary, [children[which]])
    assert sum(node['hash'] is None for node in summary['per_node']) == 1
    assert 4.5 < summary['train_seconds'] < 20
    assert summary['test']['accuracy'] > .9


def test_all_but_one_killed(start, rows):
    run = start(*svm(4, rows, '--seconds', 5))
    children = sorted(run.wait_for_training(4))
    for pid in children[:3]:
        os.kill(pid, signal.SIGKILL)
    summary = run.done(30)
    survivors_agree(summary, children[:3])
    assert summary['test']['accuracy'] > .9


def test_all_killed(start, rows):
    run = start(*svm(3, rows, '--seconds', 20))
    for pid in run.wait_for_training(3):
        os.kill(pid, signal.SIGKILL)
    run.wait(10)
    assert run.code == 1, run
    assert run.summary['model_hash'] is None and not run.summary['clean'] and not run.summary['equal_hashes']


def test_killed_with_all_its_logs(start, rows):
    """Killed in the middle of a storm of messages."""
    run = start(*svm(6, rows, '--seconds', 4, '--flush', 'step'))
    children = sorted(run.wait_for_training(6))
    for pid in children[1:3]:
        os.kill(pid, signal.SIGKILL)
        time.sleep(.3)
    survivors_agree(run.done(30), children[1:3])


def test_killed_launcher_takes_its_nodes_along(start, rows):
    run = start(*svm(4, rows, '--seconds', 60))
    run.wait_for_training(4)
    os.kill(run.pid, signal.SIGKILL)
    run.wait(5)
    until(lambda: not run.session(), 5, lambda: f'still there: {run.session()}')


def test_terminated_launcher_stops_the_mesh(start, rows):
    run = start(*svm(4, rows, '--seconds', 60))
    run.wait_for_training(4)
    os.kill(run.pid, signal.SIGTERM)
    survivors_agree(run.done(5))


@pytest.mark.parametrize('which', [0, 1])
def test_frozen_node_comes_back(start, rows, which):
    """Three seconds: longer than until it is suspected, shorter than until it is given up."""
    run = start(*svm(4, rows, '--seconds', 6))
    frozen = sorted(run.wait_for_training(4))[which]
    os.kill(frozen, signal.SIGSTOP)
    time.sleep(3)
    os.kill(frozen, signal.SIGCONT)
    summary = run.done(30)
    survivors_agree(summary)
    assert summary['deltas']['lost'] == 0
    assert summary['train_seconds'] < 20


def test_frozen_node_does_not_hold_up_the_others(start, rows):
    """They go on working while it still counts as alive, which it does for eight seconds."""
    run = start(*svm(4, rows, '--seconds', 60))
    children = sorted(run.wait_for_training(4))
    os.kill(children[3], signal.SIGSTOP)

    def work():
        return [cpu_seconds(pid) for pid in children[:3]]
    before = work()
    until(lambda: all(now > was + .2 for was, now in zip(before, work())), 7, lambda: f'{before}, {work()}: {run}')
    os.kill(children[3], signal.SIGCONT)
    os.kill(run.pid, signal.SIGINT)
    survivors_agree(run.done(30))


def test_killed_while_the_others_wait_for_it(start, rows, tmp_path):
    """The mesh of all N cannot come about any more: the run says so at once, not after a time-out."""
    big = tmp_path / 'big.svm'
    big.write_bytes(rows.train.read_bytes() * 10)
    run = start(*svm(3, rows._replace(train=big)))
    children = until(lambda: len(run.children()) == 3 and run.children(), 5, lambda: str(run))
    os.kill(children[1], signal.SIGKILL)
    run.wait(10)
    assert run.code in (1, 4) and f'(pid {children[1]}) died' in run.err, run
    assert not run.session()


# ---- strangers ----

def test_strangers_do_no_harm(start, rows):
    port = free_port()
    first = start('join', 'svm', '--train', rows.train, '--json', '--expect', 2, '--seconds', 5,
                  '--bind', f'127.0.0.1:{port}')
    second = start('join', 'svm', '--train', rows.train, '--json', '--expect', 2, '--peer', first.address())
    first.wait_for('train ')
    for text in GARBAGE.values():
        for p in port, port + 1:
            talk(('127.0.0.1', p), text)
    idle = [socket.create_connection(('127.0.0.1', p)) for p in (port, port + 1) for _ in range(20)]
    a, b = first.done(20), second.done(20)
    for connection in idle:
        connection.close()
    assert a['clean'] and b['clean'] and a['model_hash'] == b['model_hash']
    assert a['deltas']['lost'] == 0
    assert not re.search('Assertion|assert', first.err + second.err)


def test_strangers_while_it_waits(start, small):
    """Garbage before the mesh stands does not stop it from coming about."""
    port = free_port()
    first = start('join', 'svm', '--train', small.train, '--json', '--expect', 2, '--seconds', 1,
                  '--bind', f'127.0.0.1:{port}')
    first.address()
    for text in GARBAGE.values():
        for p in port, port + 1:
            talk(('127.0.0.1', p), text)
    second = start('join', 'svm', '--train', small.train, '--json', '--expect', 2, '--peer', first.address())
    assert first.done()['model_hash'] == second.done()['model_hash']
