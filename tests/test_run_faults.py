"""Fault plans on real processes: what can be done is done in time, what cannot is refused before anything starts."""
import json
import os
import signal

import pytest

from processes import processes, until


GONE = 25  # seconds: who lives waits 8 for a node that died, before it ends


def plan(folder, *events, **parts):
    path = folder / 'plan.json'
    path.write_text(json.dumps({**parts, 'events': events}))
    return path


def event(at, do, node=None, **more):
    return {'at': at, 'do': do, **({} if node is None else {'node': node}), **more}


def svm(n, rows, *flags):
    return ['run', 'svm', '-n', n, '--train', rows.train, '--json', *flags]


def lives(summary, label):
    return [node for node in summary['per_node'] if node['label'] == label]


def test_pause_kill_restart_leave_and_join(start, rows, tmp_path):
    path = plan(tmp_path, event('1s', 'pause', 1, **{'for': '1s'}), event('2.2s', 'kill', 2, restart_after='1s'),
                event('3.4s', 'join'), event('0.2s', 'leave', 3), event('1000s', 'kill', 0))
    run = start(*svm(4, rows, '--seconds', 6, '--faults', path))
    summary = run.done(60)
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], run
    assert [(fault['do'], fault['node'], fault['done']) for fault in summary['faults']] == [
        ('leave', 3, True), ('pause', 1, True), ('resume', 1, True), ('kill', 2, True), ('restart', 2, True),
        ('join', 4, True), ('kill', 0, False)]
    assert all(fault['done_at'] >= fault['at'] for fault in summary['faults'] if fault['done'])
    assert summary['faults'][-1]['note'] == 'training had ended'
    assert len(summary['per_node']) == 6
    killed, again = lives(summary, 'node2')
    assert killed['hash'] is None and killed['ended'] == 'died of signal 9'
    assert again['hash'] == summary['model_hash'] and again['clean'] and again['steps'] > 0
    assert again['pid'] != killed['pid'] and again['life'] != killed.get('life')
    left, = lives(summary, 'node3')
    assert left['hash'] is None and left['ended'] == 'left by request' and left['steps'] > 0
    joined, = lives(summary, 'node4')
    assert joined['hash'] == summary['model_hash'] and joined['clean'] and joined['steps'] > 0
    for label in 'node0', 'node1':
        node, = lives(summary, label)
        assert node['hash'] == summary['model_hash'] and node['clean']
    assert 'not: kill node 0 at 1000 s: training had ended' in run.err


def test_children_are_its_nodes(start, rows, tmp_path):
    """Also those that come late are children of the launcher itself, and end with it."""
    run = start(*svm(3, rows, '--seconds', 60, '--faults', plan(
        tmp_path, event('0.2s', 'kill', 1, restart_after='0.3s'), event('0.6s', 'join', count=2))))
    run.wait_for(r'join node 4', 20)
    children = until(lambda: len(run.children()) == 5 and run.children(), 10, lambda: str(run))
    assert sorted(run.session()) == sorted([run.pid, *children])
    os.kill(run.pid, signal.SIGKILL)
    run.wait(5)
    until(lambda: not run.session(), GONE, lambda: f'still there: {run.session()}')


def paused_run(start, rows, tmp_path, *flags):
    run = start(*svm(3, rows, '--faults', plan(tmp_path, event('0.3s', 'pause', 1)), *flags))
    run.wait_for('pause node 1', 20)
    child, = until(lambda: [pid for pid, parent, _, state in processes() if parent == run.pid and state == 'T'], 5, lambda: str(run))
    return run, child


def test_stopped_while_a_node_is_paused(start, rows, tmp_path):
    """Ctrl-C lets it go on, so that it can end with the others."""
    run, _ = paused_run(start, rows, tmp_path, '--seconds', 60)
    os.kill(run.pid, signal.SIGINT)
    summary = run.done(20)
    assert summary['clean'] and summary['equal_hashes'] and all(node['clean'] for node in summary['per_node']), run


def test_killed_launcher_leaves_no_paused_node(start, rows, tmp_path):
    run, _ = paused_run(start, rows, tmp_path, '--seconds', 60)
    os.kill(run.pid, signal.SIGKILL)
    run.wait(5)
    until(lambda: not run.session(), GONE, lambda: f'still there: {run.session()}')


def test_paused_to_the_end(start, rows, tmp_path):
    """Nobody waits for ever for a node that the plan never lets go on."""
    run, child = paused_run(start, rows, tmp_path, '--seconds', 1)
    summary = run.done(40)
    assert summary['clean'] and summary['equal_hashes'], run
    node, = lives(summary, 'node1')
    assert node['pid'] == child and node['hash'] is None and node['ended'] == 'died of signal 9'
    assert 'node1 stands still and all others have ended: killed' in run.err


def test_nobody_left_to_join(start, rows, tmp_path):
    run = start(*svm(2, rows, '--seconds', 60, '--faults', plan(
        tmp_path, event('0.3s', 'kill', '*'), event('0.4s', 'restart', 1))))
    run.wait(20)
    assert run.code == 1, run
    assert run.summary['model_hash'] is None
    assert [fault['done'] for fault in run.summary['faults']] == [True, True, False]
    assert not run.session()


def test_pace_of_a_node(start, rows, tmp_path):
    """A node whose batches take 10 ms makes a hundred a second; so does its next life; the trace is beside the plan."""
    (tmp_path / 'slow').write_text('10ms\n')
    run = start(*svm(3, rows, '--seconds', 3, '--faults', plan(
        tmp_path, event('0.5s', 'kill', 1, restart_after='0.2s'),
        nodes=[{'node': 1, 'step_time': 'trace:slow'}, {'node': 2, 'delay': 'const:10ms'}])))
    summary = run.done(40)
    assert summary['clean'] and summary['equal_hashes'], run
    assert len(lives(summary, 'node1')) == 2
    for node in lives(summary, 'node1') + lives(summary, 'node2'):
        assert node['steps'] <= 320, node
    assert lives(summary, 'node0')[0]['steps'] > 10000


@pytest.mark.parametrize('parts, text', [
    (dict(links=[{'drop': .1}]), r'plan.json:1:12: links\[0\]: links between processes cannot be changed; '
                                 r"'hogmesh sim --faults' can, and so can network namespaces"),
    (dict(nodes=[{'node': 0, 'delay': 'const:1ms'}, {'node': 1, 'speed': 5}]),
     r'plan.json:1:\d+: nodes\[1\]: the speed of processes cannot be set'),
    (dict(events=[event('1s', 'kill', 0), event('1s', 'cut', **{'from': 0, 'to': 1})]),
     r"plan.json:1:\d+: events\[1\]: cut: processes of one host cannot be cut off from each other; 'hogmesh sim"),
    (dict(events=[event('1s', 'reset')]), r'events\[0\]: reset: connections of processes cannot be broken'),
    (dict(events=[event('1s', 'flip', 0)]), r'events\[0\]: flip: what processes send cannot be changed'),
    (dict(events=[event('1s', 'clock', 0, by='1s')]), r'events\[0\]: clock: the clock of a process cannot be set'),
    (dict(events=[event('1s', 'join', count=63)]), r'events\[0\]: with this more than 64 processes are started'),
    (dict(events=[event('1s', 'kill', 2)]), r'events\[0\].node: there is no node 2; expected 0 to 1'),
])
def test_refused_before_anything_starts(run, small, tmp_path, parts, text):
    path = tmp_path / 'plan.json'
    path.write_text(json.dumps(parts))
    out = tmp_path / 'out'
    ended = run(*svm(2, small, '--faults', path, '--out', out), timeout=10)
    assert ended.code == 2, ended
    ended.wait_for(text, 1)
    assert not out.exists() and ended.seconds < 3


def test_no_plan_there(run, small, tmp_path):
    ended = run(*svm(2, small, f'--faults={tmp_path}/none.json'), timeout=10)
    assert ended.code == 1
    ended.wait_for(r'cannot read .*none\.json: No such file', 1)
