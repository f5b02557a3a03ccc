"""run --hosts: nodes on other machines, by ssh. Here ssh is a script that goes nowhere, or into a network namespace."""
import os
import signal
import stat

import pytest

import processes
from lan import Lan, opened
from processes import free_port, until


@pytest.fixture
def ssh(tmp_path):
    """Does as ssh does: one text for a shell. Hosts called dead cannot be reached."""
    path = tmp_path / 'fake ssh'
    path.write_text('#!/bin/sh\ncase $1 in\n*dead) echo "ssh: connect to host $1 port 22: No route to host" >&2; exit 255 ;;\n'
                    'netns-*) exec ip netns exec "${1#netns-}" sh -c "$2" ;;\nesac\nexec sh -c "$2"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    link = tmp_path / 'ssh'
    link.symlink_to(path)
    return link


@pytest.fixture
def launch(start, ssh, small, tmp_path):
    """launch(line, ..., flag, ...) -> a running `run --hosts` on these lines."""
    def one(lines, *flags, **options):
        (tmp_path / 'hosts').write_text('# hosts of a test\n\n' + '\n'.join(lines) + '\n')
        return start('run', 'svm', '--hosts', tmp_path / 'hosts', '--ssh', ssh, '--program', processes.BINARY, '--train', small.train,
                     '--json', *flags, **options)
    return one


def three(names=('a', 'b', 'c')):
    return [f'me@{name} 127.0.0.1:{free_port()}' for name in names]


def test_three_hosts(launch):
    summary = launch(three(), '--seconds', 1).done()
    assert summary['clean'] and summary['equal_hashes'] and summary['nodes'] == 3
    assert sorted(node['label'] for node in summary['per_node']) == ['a', 'b', 'c']


def test_a_page_on_another_machine(launch):
    """Where it is, and how it is seen from here."""
    running = launch(three('ab'), '--seconds', 1, '--http', 0)
    port, again = running.wait_for(r"watch it at http://127\.0\.0\.1:(\d+)/ of a, on that machine; 'ssh -L (\d+):127\.0\.0\.1:\d+ me@a' brings").groups()
    assert port == again
    assert running.done()['clean']


def test_flags_of_a_host_and_awkward_words(launch, small, tmp_path):
    """What is quoted twice arrives as it was; a host's own flags go before those of all."""
    path = tmp_path / "it's a \"file\" $HOME; x.svm"
    path.write_bytes(small.train.read_bytes())
    lines = [f'a 127.0.0.1:{free_port()} -t 2 --label anna  # two threads', f'a 127.0.0.1:{free_port()}']
    summary = launch(lines, '--seconds', 1, '--train', path).done()
    assert sorted(node['label'] for node in summary['per_node']) == ['a-2', 'anna'] and summary['clean']


def test_a_host_that_cannot_be_reached_is_named(launch):
    done = launch([*three('ab'), 'me@dead'], '--seconds', 60).wait(30)
    assert done.code == 1 and 'host me@dead: ssh failed' in done.err and 'stopping the others' in done.err, done
    until(lambda: not done.session(), 30, lambda: f'left behind: {done.session()}')


def test_a_host_without_the_program_is_named(launch):
    done = launch(three('a'), '--seconds', 60, '--program', '/no/hogmesh').wait(30)
    assert done.code == 1 and 'host me@a: the program is not there' in done.err and '--program' in done.err, done


def test_ctrl_c_ends_the_mesh_with_a_model(launch):
    running = launch(three(), '--seconds', 60)
    running.wait_for(r'train +3 nodes|train.*nodes')
    os.kill(running.pid, signal.SIGINT)
    summary = running.done(30)
    assert summary['clean'] and summary['equal_hashes'] and summary['train_seconds'] < 50


def nodes_of(running):
    """Pids of the nodes that it started: those of the session that are hogmesh and have a label."""
    found = {}
    for pid in running.session():
        try:
            words = open(f'/proc/{pid}/cmdline', 'rb').read().split(b'\0')
        except OSError:
            continue
        if words[1:2] == [b'join'] and b'--label' in words:
            found[words[words.index(b'--label') + 1].decode()] = pid
    return found


def test_a_node_that_dies_is_named_and_the_others_go_on(launch):
    running = launch(three(), '--seconds', 4)
    running.wait_for('train.*nodes')
    os.kill(nodes_of(running)['b'], signal.SIGKILL)
    running.wait(40)
    assert 'host me@b: it ended without a word (status 137); the others go on' in running.err, running
    assert sum(node['clean'] for node in running.summary['per_node']) == 2, running


def test_nothing_is_left_when_the_launcher_dies(launch):
    running = launch(three('ab'), '--seconds', 60)
    running.wait_for('train.*nodes')
    assert len(nodes_of(running)) == 2
    os.kill(running.pid, signal.SIGKILL)
    running.process.wait(10)
    until(lambda: not nodes_of(running), 20, lambda: f'left behind: {nodes_of(running)}')


def test_hosts_of_a_lan(run, launch, tmp_path):
    with opened(Lan(2)) as lan:
        assert run('keygen', tmp_path / 'mesh.key').code == 0
        lines = [f'netns-{lan.host(i)} {lan.address(i)}:7000' for i in (1, 2)]
        summary = launch(lines, '--seconds', 1, '--key', tmp_path / 'mesh.key').done()
        assert summary['clean'] and summary['nodes'] == 2


def test_the_command_may_come_from_the_environment(start, ssh, small, tmp_path):
    (tmp_path / 'hosts').write_text('\n'.join(three('ab')))
    summary = start('run', 'svm', '--hosts', 'hosts', '--program', processes.BINARY, '--train', small.train, '--json', '--epochs', 1,
                    env={'HOGMESH_SSH': str(ssh)}).done()
    assert summary['clean'] and summary['nodes'] == 2


@pytest.mark.parametrize('lines, words', [([], ['no host in it']), (['a x'], ['line 3', "'x' is not an address"]), (['a b:c'], ['line 3', 'HOST:PORT']),
                                          (['-oProxyCommand=x'], ['line 3', 'no host']), (['a', 'x' * 5000], ['line 4', 'longer'])])
def test_files_that_are_wrong(launch, lines, words):
    done = launch(lines).wait(10)
    assert done.code == 2 and all(word in done.err for word in words), done


def test_what_does_not_go_together(launch, start, small, tmp_path):
    done = launch(three(), '-n', 2).wait(10)
    assert done.code == 2 and 'names 3 hosts' in done.err
    done = start('run', 'svm', '--hosts', 'none', '--train', small.train).wait(10)
    assert done.code == 2 and 'No such file' in done.err
