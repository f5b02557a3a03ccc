"""hogmesh feed: trainers without data, on real processes; feeders and trainers that die, stand still, come back."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import processes
import strangers
import zmtp
from processes import BINARY

# What a feeder may have under way to a trainer: high-water marks, the system's buffers (the kernel doubles what it is asked
# for, on either side), what libzmq reads and writes at once, the trainer's slots, and what it has not said yet.
SYSTEM_BYTES, SLOTS = 2 * 2 * 65536 + 2 * 8192, 4


def most_under_way(trainers, batch_bytes):
    return trainers * (2 + 2 + SLOTS + 4 + SYSTEM_BYTES / batch_bytes + 4)


@pytest.fixture(scope='module')
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp('words')
    subprocess.run([BINARY, 'synth', 'word2vec', '--out', folder, '--rows', '20000', '--quiet'], check=True)
    return folder / 'train.txt'


def data_of(workload, text, rows, images):
    return {'word2vec': ['--train', text, '--test-fraction', .1], 'svm': ['--train', rows.train, '--test', rows.test],
            'lenet5': ['--data', images]}[workload]


def address(feeder):
    return feeder.wait_for(r'--feed (\S+)').group(1)


def at(port):
    return ['--bind', f'127.0.0.1:{port}']


def check_end(summary, n):
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    assert len(summary['per_node']) == n
    assert summary['deltas']['lost'] == 0


def fed(summary, what):
    return sum(node['feed'][what] for node in summary['per_node'] if node.get('feed'))


@pytest.mark.parametrize('workload, epochs, flags, accuracy', [
    ('word2vec', 3, ['--dim', 32], .6), ('svm', 3, [], .9), ('lenet5', 3, [], .9)])
def test_trainers_without_data(start, text, rows, images, workload, epochs, flags, accuracy):
    feeder = start('feed', workload, *data_of(workload, text, rows, images), '--epochs', epochs, '--json')
    run = start('run', workload, '-n', 2, '--feed', address(feeder), *flags, '--json', '--quiet', '--out', 'out')
    summary, feed = run.done(), feeder.done()
    check_end(summary, 2)
    assert feed['complete'] and feed['trainers'] == 2 and feed['gone'] == 0
    assert feed['received'] == feed['batches'] == fed(summary, 'batches')
    assert feed['examples'] == fed(summary, 'examples') == summary['feed']['examples']
    # The budget is that of all passes: where it ends training, up to a batch of each node may not have been used up.
    assert feed['lost'] == fed(summary, 'lost') <= 2 and fed(summary, 'refused') == 0
    assert feed['examples'] * .97 < summary['examples'] <= feed['examples'] * 1.03
    assert summary['test']['n'] and summary['train']['n']
    assert summary['test']['accuracy'] > accuracy, summary['test']
    assert feed['most_under_way'] <= most_under_way(2, feed['bytes'] / feed['batches'])
    assert run.process.returncode == 0


def test_fed_as_good_as_local(start, run, text):
    flags = ['--dim', 32, '--json', '--quiet']
    local = run('run', 'word2vec', '-n', 1, '--train', text, '--test-fraction', .1, '--epochs', 3, *flags).done()
    feeder = start('feed', 'word2vec', '--train', text, '--test-fraction', .1, '--epochs', 3, '--json')
    far = run('run', 'word2vec', '-n', 1, '--feed', address(feeder), *flags).done()
    feed = feeder.done()
    assert feed['bytes_per_example'] < 2
    assert abs(far['examples'] / local['examples'] - 1) < .02
    assert far['test']['loss'] < local['test']['loss'] * 1.03, (far['test'], local['test'])


def test_same_batches_same_order(start, run, text):
    """One thread that nobody else writes to has the same batches in the same order, and learns the same."""
    losses = []
    for seed in 0, 0, 1:
        feeder = start('feed', 'word2vec', '--train', text, '--epochs', 1, '--seed', seed, '--json', '--quiet', *at(processes.free_port()))
        bind = feeder.command[feeder.command.index('--bind') + 1]
        losses.append(run('run', 'word2vec', '-n', 1, '--feed', bind, '--dim', 16, '--json', '--quiet').done()['train']['loss'])
        assert feeder.done()['complete']
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # deltas are rounded when time says, as without a feeder
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


def test_several_feeders(start, run, text):
    feeders = [start('feed', 'word2vec', '--train', text, '--epochs', 2, '--seed', seed, '--json') for seed in (1, 2)]
    flags = [flag for feeder in feeders for flag in ('--feed', address(feeder))]
    summary = run('run', 'word2vec', '-n', 2, *flags, '--dim', 16, '--json', '--quiet').done()
    feeds = [feeder.done() for feeder in feeders]
    check_end(summary, 2)
    assert all(feed['complete'] and feed['lost'] <= 2 for feed in feeds)
    assert sum(feed['examples'] for feed in feeds) == fed(summary, 'examples')
    assert all(node['feed']['feeders'] == 2 for node in summary['per_node'])


HELLO, FACTS, WANT, PIECE, BEAT, STATE, BATCH = range(16, 23)


def pull(address, n):
    """Key and payload of the first batches, taken by somebody who never answers."""
    host, _, port = address.rpartition(':')
    peer = zmtp.Peer(socket.create_connection((host, int(port) + 1), 5), kind=b'PULL')
    batches = []
    for number in range(1, n + 1):
        header, payload = peer.receive()
        assert header[:2] == [2, BATCH] and header[4] == number, header
        batches.append((header[5], payload))
    peer.connection.close()
    return batches


@pytest.mark.parametrize('workload, n', [('word2vec', 70), ('svm', 90), ('lenet5', 40)])
def test_a_feeder_repeats_to_the_byte(start, text, rows, images, workload, n):
    """More than a pass: each has an order of its own."""
    took = [pull(address(start('feed', workload, *data_of(workload, text, rows, images), '--epochs', 9, '--seed', seed,
                               *at(processes.free_port()))), n) for seed in (5, 5, 6)]
    assert took[0] == took[1]
    assert took[0][0][1] != took[2][0][1]
    assert len({payload for _, payload in took[0]}) >= n / 2
    assert len({key for key, _ in took[0]}) == n


def test_whatever_knocks_at_a_feeder(start, run, text):
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 3, '--json', *at(processes.free_port()))
    host, _, port = address(feeder).rpartition(':')
    for name, said in strangers.GARBAGE.items():
        for p in int(port), int(port) + 1:
            strangers.talk((host, p), said)
        assert feeder.process.poll() is None, name
    rogue = zmtp.connect(address(feeder))
    for header in ([2, WANT, 0, 7, 2, 4095], [2, BEAT, 0, 7, 1, 9, 9, 1, 1], [2, BATCH, 0, 7, 1, 1], [2, STATE, 0, 7, 9, 1], [2, HELLO, 0, 7, 'x']):
        rogue.send(zmtp.pack(header))
    header, payload = rogue.receive()
    assert header[1] == FACTS and zmtp.read_fields(payload)['workload'] == 'word2vec'
    # It claims to have had all batches, and is not believed; but it is there, so the end waits until it counts as gone.
    rogue.send(zmtp.pack([2, BEAT, header[2], 7, header[3], 1 << 60, 1 << 60, 1, 0]))
    check_end(run('run', 'word2vec', '-n', 2, '--feed', address(feeder), '--dim', 16, '--json', '--quiet').done(), 2)
    feed = feeder.done()
    # Without a key whoever speaks ZMTP, of 2010 even, may take batches: they are counted as lost, and no more than queues hold.
    # Of what was received, a batch of each node may be left over where training ends.
    not_received = feed['batches'] - feed['received']
    assert feed['complete'] and not_received <= feed['lost'] <= not_received + 2
    assert feed['lost'] <= most_under_way(2, feed['bytes'] / feed['batches'])


def test_batches_that_are_none(start, text):
    """Somebody who knows all that a feeder tells pushes what it likes: refused, counted, said once; the rest is trained on."""
    feeder = start('feed', 'word2vec', '--train', text, '--test-fraction', .1, '--epochs', 9, *at(processes.free_port()))
    real = zmtp.connect(address(feeder))
    real.send(zmtp.pack([2, HELLO, 0, 7, 'mallory']))
    facts, fields = real.receive()
    good = pull(address(feeder), 4)
    listeners = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]
    rpc, pub = (listener.getsockname()[1] for listener in listeners)
    words = int(zmtp.read_fields(fields)['words'])
    bad = [b'', b'\0', zmtp.varint(1) + zmtp.varint(words + 1), zmtp.varint(9000) + b'\1' * 9000, good[0][1][:-1], good[0][1] + b'\1',
           zmtp.varint(1 << 31) + b'\1' * 100, os.urandom(5000)]

    def answer():
        peer = zmtp.Peer(listeners[0].accept()[0], kind=b'ROUTER')
        asked, taken = 0, True
        while True:
            try:
                header, payload = peer.receive()
            except (EOFError, OSError):
                if not taken:
                    return
                peer, taken = zmtp.Peer(listeners[0].accept()[0], kind=b'ROUTER'), False  # it dials anew when it trains
                continue
            if header[1] == HELLO:
                peer.send(zmtp.pack(facts[:5] + [f'tcp://127.0.0.1:{pub}'] + facts[6:]), fields)
            elif header[1] == WANT:
                real.send(zmtp.pack([2, WANT, facts[2], 7] + header[4:]))
                piece, bytes_ = real.receive()
                peer.send(zmtp.pack(piece), bytes_)
                asked += 1
            elif header[1] == BEAT:
                peer.send(zmtp.pack([2, STATE, facts[2], facts[3], len(good) + len(bad), 0]))

    def push():
        peer = zmtp.Peer(listeners[1].accept()[0], kind=b'PUSH')
        number = 0
        for payload in [good[0][1], *bad, *(payload for _, payload in good[1:])]:
            number += 1
            peer.send(zmtp.pack([2, BATCH, facts[2], facts[3], number, number]), payload)
        peer.send(zmtp.pack([2, BATCH, facts[2] ^ 1, facts[3], number, number]), good[0][1])  # of other facts
        peer.send(b'\xdd\xff\xff\xff\xff', b'x' * 100)
        time.sleep(5)

    for part in answer, push:
        threading.Thread(target=part, daemon=True).start()
    node = start('join', 'word2vec', '--expect', 1, '--feed', f'127.0.0.1:{rpc}', '--dim', 16, '--seconds', 3, '--json')
    node.done()
    feed = node.summary['per_node'][0]['feed']
    assert feed['batches'] == len(good) and feed['refused'] == len(bad) + 1, feed
    assert feed['lost'] == 0 and node.err.count('a batch was refused') == 1
    check_end(node.summary, 1)
    assert node.summary['steps'] == feed['examples']


SLOW = ['--dim', 16, '--batch', 2000, '--step-time', 'const:10ms']


def at_work(run, feeder, n):
    """The nodes of a run, when they train on what they are fed."""
    for node in range(n):
        feeder.wait_for(f'trainer node{node} is here')
    feeder.wait_for(rf'feed +{n} trainers, [1-9]\d* batches sent')
    assert run.process.poll() is None, f'over before it was seen at work: {run}'
    return run.children()


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.process.wait(10)


def test_a_feeder_dies_and_comes_back(start, text):
    port = processes.free_port()
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 1000, *at(port))
    run = start('run', 'word2vec', '-n', 2, '--feed', f'127.0.0.1:{port}', *SLOW, '--seconds', 14, '--json')
    at_work(run, feeder, 2)
    kill(feeder)
    for node in 'node0', 'node1':
        run.wait_for(node + r': the feeder at \S+ is gone; .* start it again at that address \(hogmesh feed word2vec --bind')
    again = start('feed', 'word2vec', '--train', text, '--epochs', 1000, '--json', *at(port))
    for node in 'node0', 'node1':
        run.wait_for(node + r': the feeder at \S+ is back, and begins anew')
    summary = run.done()
    check_end(summary, 2)
    for node in summary['per_node']:
        said = re.findall(node['label'] + r': the feeder at \S+ is (gone|back)', run.err)
        assert said == ['gone', 'back'], run.err
        assert node['feed']['gone'] == 1 and node['feed']['refused'] == 0
    again.wait_for('trainer node0 has ended')
    again.wait_for('nobody takes batches now')
    again.process.send_signal(signal.SIGINT)
    feed = again.done()
    assert not feed['complete'] and feed['received'] > 0


def test_a_feeder_dies_for_good(start, text):
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 1000)
    run = start('run', 'word2vec', '-n', 2, '--feed', address(feeder), *SLOW, '--json')
    children = at_work(run, feeder, 2)
    kill(feeder)
    run.wait_for('node0: the feeder at .* is gone')
    run.wait_for('node1: the feeder at .* is gone')
    time.sleep(2)  # what has come is used up
    before = [processes.cpu_seconds(pid) for pid in children]
    time.sleep(1.5)
    assert all(processes.cpu_seconds(pid) - b < .3 for pid, b in zip(children, before)), 'they wait busily'
    run.process.send_signal(signal.SIGINT)
    summary = run.done()
    check_end(summary, 2)
    assert fed(summary, 'waited_seconds') > 1


def test_a_feeder_that_comes_back_with_another_text(start, text, tmp_path):
    other = tmp_path / 'other.txt'
    other.write_text(text.read_text().replace('a', 'e'))
    port = processes.free_port()
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 1000, *at(port))
    run = start('run', 'word2vec', '-n', 1, '--feed', f'127.0.0.1:{port}', *SLOW, '--json')
    at_work(run, feeder, 1)
    kill(feeder)
    run.wait_for('is gone')
    start('feed', 'word2vec', '--train', other, '--no-cache', '--epochs', 1000, *at(port))
    run.wait_for('has come back with other data|a batch was refused')
    run.process.send_signal(signal.SIGINT)
    check_end(run.done(), 1)


def test_a_trainer_dies(start, text):
    """What it held is lost, and said; everybody else goes on to the end."""
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 9, '--json')
    run = start('run', 'word2vec', '-n', 2, '--feed', address(feeder), *SLOW, '--json')
    children = at_work(run, feeder, 2)
    os.kill(children[1], signal.SIGKILL)
    feeder.wait_for(r'trainer node\d is gone: \d+ batches that it had received, and what was on its way to it, are lost; '
                    'the others get the rest')
    run.wait()
    feed, summary = feeder.done(), run.summary
    assert feed['complete'] and feed['gone'] == 1 and feed['trainers'] == 2
    assert 0 < feed['lost'] <= most_under_way(1, feed['bytes'] / feed['batches'])
    left = [node for node in summary['per_node'] if node['hash']]
    assert len(left) == 1 and left[0]['clean']
    assert 'has delivered all' in run.err or left[0]['feed']['lost'] == 0


def test_a_trainer_that_stands_still(start, text):
    """Nothing piles up for it, the other one is fed, and memory stays what it was."""
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 60, '--json')
    alone = ['--expect', 1, '--dim', 16, '--no-cache', '--epochs', 1000, '--json', '--quiet']
    frozen = start('join', 'word2vec', '--feed', address(feeder), *alone, '--label', 'frozen', '--step-time', 'const:50ms', '--batch', 500)
    feeder.wait_for('trainer frozen is here')
    time.sleep(1)
    os.kill(frozen.pid, signal.SIGSTOP)
    memory = processes.peak_memory(feeder.pid)
    quick = start('join', 'word2vec', '--feed', address(feeder), *alone, '--label', 'quick')
    feeder.wait_for('trainer frozen is gone')
    feed = feeder.done()
    assert feed['complete']
    assert quick.done()['per_node'][0]['feed']['batches'] > .9 * feed['batches']
    assert feed['most_under_way'] <= most_under_way(2, feed['bytes'] / feed['batches'])
    assert feed['lost'] <= most_under_way(1, feed['bytes'] / feed['batches'])
    assert feed['bytes'] > 20e6 and memory < 60e6, 'too little to see anything pile up'
    os.kill(frozen.pid, signal.SIGCONT)


def test_memory_of_a_feeder_is_bounded(start, text):
    """A trainer that takes little, and a feeder that could send a hundred times as much."""
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 1000, '--json')
    slow = start('join', 'word2vec', '--feed', address(feeder), '--expect', 1, *SLOW, '--json', '--quiet')
    feeder.wait_for('batches sent, [1-9]')
    before = processes.peak_memory(feeder.pid)
    time.sleep(3)
    grown, trainer = processes.peak_memory(feeder.pid) - before, processes.peak_memory(slow.pid)
    assert grown < 32e6, grown
    slow.process.send_signal(signal.SIGINT)
    node = slow.done()['per_node'][0]
    assert trainer < node['memory']['bound']
    assert node['feed']['buffer_bytes'] < 1e6
    feeder.wait_for('nobody takes batches now')
    feeder.process.send_signal(signal.SIGINT)
    feed = feeder.done()
    assert feed['waits'] > 0
    assert feed['most_under_way'] <= most_under_way(1, feed['bytes'] / feed['batches'])


def test_a_slow_trainer_gets_fewer_batches(start, run, text):
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 12, '--json')
    summary = run('run', 'word2vec', '-n', 2, '--feed', address(feeder), '--dim', 16, '--batch', 1000, '--step-time', 'const:2ms@0',
                  '--step-time', 'const:40ms@1', '--json', '--quiet')
    check_end(summary.done(), 2)
    feed = feeder.done()
    got = [node['feed']['batches'] for node in summary.summary['per_node']]
    assert got[1] < got[0] and feed['complete'], got


def test_a_feeder_without_trainers_waits(start, text):
    feeder = start('feed', 'word2vec', '--train', text)
    feeder.wait_for('waiting for trainers')
    time.sleep(.5)
    before = processes.cpu_seconds(feeder.pid)
    time.sleep(1.5)
    assert feeder.process.poll() is None
    assert processes.cpu_seconds(feeder.pid) - before < .2
    feeder.process.send_signal(signal.SIGINT)
    assert feeder.wait().code == 0


def test_the_feeder_is_stopped(start, text):
    """Ctrl-C at the feeder is an end of the data: trainers end as they should."""
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 1000, '--json')
    run = start('run', 'word2vec', '-n', 2, '--feed', address(feeder), *SLOW, '--json')
    at_work(run, feeder, 2)
    feeder.process.send_signal(signal.SIGINT)
    summary = run.done()
    check_end(summary, 2)
    feed = feeder.done()
    assert not feed['complete'] and feed['lost'] == 0
    assert fed(summary, 'lost') == 0


def test_what_is_refused(start, run, text, small, tmp_path):
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 10)
    there = ['--feed', address(feeder)]
    for arguments, code, says in (
            (['run', 'svm', '-n', 1, *there], 4, 'feeds word2vec, this node trains svm'),
            (['run', 'word2vec', '-n', 1, *there, '--train', text], 2, "--train is the feeder's to say"),
            (['run', 'word2vec', '-n', 1, *there, '--test-fraction', .1], 2, '--test-fraction'),
            (['run', 'word2vec', '-n', 1, *there, '--partition', 'split'], 2, '--partition'),
            (['run', 'word2vec', '-n', 1, *there, '--staleness-bound', 0], 2, 'synchronous rounds'),
            (['join', 'word2vec', '--expect', 1, '--feed', f'127.0.0.1:{processes.free_port()}', '--join-timeout', '1s'], 4,
             'no feeder answered within 1 s'),
            (['join', 'word2vec', '--expect', 1, '--feed', 'nowhere'], 2, '--feed: '),
            (['join', 'word2vec', '--expect', 1, '--feed', '192.168.255.1:7100'], 2, '--key'),
            (['sim', 'word2vec', *there], 2, '--feed is not a flag'),
            (['feed', 'word2vec'], 2, 'nothing to feed; give --train FILE'),
            (['feed', 'word2vec', '--train', text, '--batch', 3], 2, '16 to 65536'),
            (['feed', 'word2vec', '--train', text, '--epochs', '1e30'], 2, '--epochs makes'),
            (['feed', 'word2vec', '--train', text, '--epochs', '1e-9'], 2, '--epochs makes'),
            (['feed', 'word2vec', '--train', text, '--bind', '0.0.0.0:0'], 2, '--key'),
            (['feed', 'word2vec', '--train', tmp_path / 'none.txt'], 1, 'none.txt')):
        process = run(*arguments)
        assert process.code == code and says in process.err, process


def test_a_mesh_with_another_vocabulary(start, text, tmp_path):
    other = tmp_path / 'other.txt'
    other.write_text(text.read_text().replace('a', 'e'))
    feeder = start('feed', 'word2vec', '--train', other, '--no-cache')
    first = start('join', 'word2vec', '--train', text, '--expect', 2)
    second = start('join', 'word2vec', '--feed', address(feeder), '--peer', first.address()).wait()
    assert second.code == 4 and "'vocabulary'" in second.err, second


def test_a_mesh_with_another_order(start, small, rows):
    feeder = start('feed', 'svm', '--train', small.train, '--no-cache')
    first = start('join', 'svm', '--train', rows.train, '--expect', 2)
    second = start('join', 'svm', '--feed', address(feeder), '--peer', first.address()).wait()
    assert second.code == 4 and "'order'" in second.err, second


def test_with_a_key(start, run, text, tmp_path):
    keys = [tmp_path / 'one.key', tmp_path / 'other.key']
    for key in keys:
        subprocess.run([BINARY, 'keygen', key], check=True, stdout=subprocess.DEVNULL)
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 2, '--key', keys[0], '--json')
    there = ['--feed', address(feeder), '--dim', 16, '--json', '--quiet']
    alone = ['join', 'word2vec', '--expect', 1, '--join-timeout', '5s', *there]
    plain = run(*alone)
    assert plain.code == 4 and re.search('key', plain.err), plain
    wrong = run(*alone, '--key', keys[1])
    assert wrong.code == 4 and 'key' in wrong.err, wrong
    feeder.wait_for(r'refused connections from (127\.0\.0\.1|an address that is not known any more): .*key that is not ours')
    summary = run('run', 'word2vec', '-n', 2, *there, '--key', keys[0]).done()
    check_end(summary, 2)
    feed = feeder.done()
    assert feed['complete'] and feed['refused']['key'] > 0


def test_mixed_mesh(start, text):
    """A node with the text and one that is fed with it are one mesh."""
    feeder = start('feed', 'word2vec', '--train', text, '--epochs', 50, '--json')
    flags = ['--dim', 16, '--json', '--quiet']
    run_ = ['join', 'word2vec', '--expect', 2]
    first = start(*run_, '--train', text, '--dim', 16, '--seconds', 3, '--json')
    second = start(*run_, '--feed', address(feeder), '--peer', first.address(), *flags)
    one, two = first.done(), second.done()
    assert one['model_hash'] == two['model_hash']
    assert two['per_node'][0]['feed']['batches'] > 0
    feeder.wait_for('has ended')
    feeder.process.send_signal(signal.SIGINT)
    assert json.loads(feeder.wait().out.splitlines()[-1])['received'] > 0
