"""--staleness-bound: how far nodes get ahead of the slowest, and synchronous rounds, where they do not."""
import collections
import json
import os
import random
import signal

import pytest

from processes import free_port

BATCH = 10


def sim(n, train, *flags):
    return ['sim', 'svm', '-n', n, '--train', train, '--json', '--quiet', '--batch', BATCH, '--no-cache', *flags]


def check_end(summary):
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    assert summary['deltas']['lost'] == 0


@pytest.fixture
def few(tmp_path):
    """800 rows: what one node may take as one batch."""
    draw = random.Random(7)
    rows = []
    for _ in range(800):
        label = draw.choice((-1, 1))
        ids = sorted(draw.sample(range(1, 60), 6))
        rows.append(f'{label:+d} ' + ' '.join(f'{i}:{draw.gauss(.3 * label * (i % 3 - 1), .4):.3f}' for i in ids))
    path = tmp_path / 'few.svm'
    path.write_text('\n'.join(rows) + '\n')
    return path


def weights(run, out, tmp_path):
    model = tmp_path / 'a.model'
    assert run('export', 'svm', out, '--to', model).wait().code == 0
    return [float(line) for line in model.read_text().split('w\n', 1)[1].split()]


def apart(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b)) ** .5 / sum(x * x for x in a) ** .5


def test_the_sum_of_a_round_is_a_larger_batch(run, few, tmp_path):
    """Four nodes that take their gradients at one base and add them up do what one node does with all rows as one batch.
    Without rounds they do something else."""
    common = ['--epochs', 60, '--lr', .01, '--step-time', 'uniform:1ms,3ms']

    def learned(name, n, batch, *flags):
        check_end(run(*sim(n, few, *common, '--batch', batch, *flags, '--out', name)).done())
        return weights(run, name, tmp_path)
    alone = learned('alone', 1, 800)
    rounds = learned('rounds', 4, 200, '--partition', 'split', '--staleness-bound', 0, '--sync-sum')
    loose = learned('loose', 4, 200, '--partition', 'split', '--combine', 'sum', '--flush', 'step')
    mean = learned('mean', 4, 200, '--partition', 'split', '--staleness-bound', 0)
    assert apart(alone, rounds) < .004 < .01 < apart(alone, loose), (apart(alone, rounds), apart(alone, loose))
    assert apart(alone, mean) > .01


def ahead(trace):
    """The most deltas that a node has sent more than another one, at any time. Each ends with one that is no batch's."""
    events = [json.loads(line) for line in trace.read_text().splitlines()[1:-1]]
    sent = [event['node'] for event in events
            if event['event'] == 'sent' and event.get('type') == 'DELTA' and 'peer' not in event]
    batches, so_far, most = collections.Counter(sent), collections.Counter(), 0
    for node in sent:
        so_far[node] += so_far[node] < batches[node] - 1
        counts = [so_far[node] for node in range(3)]
        most = max(most, max(counts) - min(counts))
    return most


@pytest.mark.parametrize('bound', [0, 1, 5, None])
def test_nobody_gets_further_ahead(run, small, tmp_path, bound):
    trace = tmp_path / 'trace'
    flags = [] if bound is None else ['--staleness-bound', bound]
    summary = run(*sim(3, small.train, '--epochs', 3, '--step-time', 'const:5ms@0', '--delay', 'uniform:0ms,1ms@1,2',
                       '--flush', 'step', '--trace', trace, *flags)).done()
    check_end(summary)
    if bound is None:
        assert ahead(trace) > 20
    else:
        assert ahead(trace) == bound + 1
    steps = [node['steps'] for node in summary['per_node']]
    assert (max(steps) - min(steps) <= (2 + (bound or 0)) * BATCH) == (bound is not None)


@pytest.mark.parametrize('seed', range(5))
def test_threads_share_the_lead(run, small, seed):
    summary = run(*sim(3, small.train, '-t', 3, '--epochs', 3, '--step-time', 'const:5ms@0', '--delay',
                       'uniform:0ms,1ms@1,2', '--staleness-bound', 4, '--seed', seed)).done()
    check_end(summary)
    steps = [node['steps'] for node in summary['per_node']]
    assert max(steps) - min(steps) <= 5 * BATCH


def test_a_bound_without_a_cadence(run, small):
    """Who waits publishes first, or all would wait for each other until a timer runs out."""
    summary = run(*sim(4, small.train, '--epochs', 5, '--step-time', 'const:1ms', '--staleness-bound', 2)).done()
    check_end(summary)
    assert summary['train_seconds'] < 1.5 * summary['steps'] / 4 / BATCH * .001


def test_rounds_repeat(run, small):
    def end(seed):
        return run(*sim(3, small.train, '--epochs', 1, '--step-time', 'uniform:1ms,9ms', '--staleness-bound', 0,
                        '--partition', 'split', '--latency', 'uniform:100us,5ms', '--seed', seed)).done()
    a, b, c = end(1), end(1), end(2)
    assert a['sim']['trace_hash'] == b['sim']['trace_hash'] != c['sim']['trace_hash']


OPTIMISERS = {'V form': [], 'momentum': ['--momentum', .9], 'all at once': ['--nesterov', '--clip', 1, '--dropout', .1, '--schedule',
              'cosine', '--compensate', 'adaptive:.5']}


@pytest.mark.parametrize('optimiser', OPTIMISERS)
def test_rounds_do_not_know_the_network(run, small, optimiser):
    """What is learned depends on the order of deltas in no way: only when it is learned does."""
    def end(*flags):
        summary = run(*sim(4, small.train, '--epochs', 2, '--staleness-bound', 0, '--partition', 'split', *OPTIMISERS[optimiser],
                           *flags)).done(60)
        check_end(summary)
        return summary['model_hash']
    quiet = end('--step-time', 'const:1ms', '--latency', 'const:10us')
    assert quiet == end('--step-time', 'uniform:100us,5ms', '--latency', 'lognormal:1ms,1')
    assert quiet == end('--step-time', 'const:1ms', '--drop', .2, '--reorder', .2, '--duplicate', .1)


def test_rounds_with_a_divisor_that_does_not_suit_rounding(run, small):
    """The mean over three nodes leaves parts of grid units behind everywhere."""
    def end(*flags):
        return run(*sim(3, small.train, '--epochs', 2, '--staleness-bound', 0, '--momentum', .5, *flags)).done(60)['model_hash']
    assert end('--latency', 'const:10us') == end('--latency', 'uniform:1us,3ms')


def svm(command, train, *flags):
    return [command, 'svm', '--train', train, '--json', '--quiet', '--batch', BATCH, *flags]


def check_processes_and_simulator(run, *flags):
    summary = run('run', *flags, '--json', '--quiet').done()
    check_end(summary)
    simulated = run('sim', *flags, '--json', '--quiet').done()
    assert summary['model_hash'] == simulated['model_hash']
    steps = [node['steps'] for node in summary['per_node']]
    assert max(steps) == min(steps)


@pytest.mark.parametrize('optimiser', OPTIMISERS)
def test_rounds_of_processes_are_those_of_the_simulator(run, small, optimiser):
    check_processes_and_simulator(run, 'svm', '--train', small.train, '--batch', BATCH, '-n', 3, '--epochs', 2,
                                  '--staleness-bound', 0, '--partition', 'split', '--lr', 1, *OPTIMISERS[optimiser])


def test_scores_are_of_bases(run, small, tmp_path):
    """Between them B has the steps of some nodes and lacks those of others, and nobody trains there."""
    flags = ['svm', '--train', small.train, '--batch', BATCH, '-n', 3, '--steps', 1200, '--step-time', 'const:5ms', '--staleness-bound', 0,
             '--partition', 'split', '--json', '--quiet']

    def curve(command, every, out):
        run(command, *flags, '--score-every', every, '--out', tmp_path / out).done()
        return [json.loads(line) for line in (tmp_path / out / 'curve.jsonl').read_text().splitlines()]
    loss = {point['steps']: point['loss'] for point in curve('sim', 1, 'all')}
    assert list(loss) == list(range(0, 1201, 3 * BATCH))
    for command in 'sim', 'run':
        some = curve(command, 100, command)
        assert len(some) > 4 and all(loss[point['steps']] == point['loss'] and 3 * point['own_steps'] == point['steps'] for point in some), command


@pytest.mark.parametrize('seed', range(6))
def test_scores_do_not_know_the_network(run, small, tmp_path, seed):
    """Not behind the last round either, where some have published what they owed while others' deltas are on their way."""
    def curves(*flags):
        run(*sim(3, small.train, '--steps', 1200, '--staleness-bound', 0, '--partition', 'split', '--seed', seed, *flags,
                 '--score-every', 1, '--node-curves', '--out', 'scored')).done()
        return [json.loads(line) for file in (tmp_path / 'scored').glob('curve*.jsonl') for line in file.read_text().splitlines()]
    loss = {point['steps']: point['loss'] for point in curves('--step-time', 'const:5ms')}
    assert sorted(loss) == list(range(0, 1201, 3 * BATCH))
    for latency in 'lognormal:5ms,1', 'lognormal:300us,2':
        for point in curves('--step-time', 'uniform:1ms,9ms', '--latency', latency, '--drop', .05):
            assert point['loss'] == loss.get(point['steps']), (latency, point)


def test_rounds_of_lenet5(run):
    run('synth', 'lenet5', '--rows', 1000, '--out', 'images', '--quiet').wait(60)
    check_processes_and_simulator(run, 'lenet5', '--data', 'images', '-n', 3, '--epochs', 2, '--staleness-bound', 0, '--partition',
                                  'split')


def test_rounds_with_checkpoints(run, small):
    """What a checkpoint takes with it changes nothing; a mesh goes on from it."""
    flags = [*svm('run', small.train, '-n', 3, '--staleness-bound', 0, '--momentum', .9, '--partition', 'split')]
    plain = run(*flags, '--epochs', 20).done()
    saved = run(*flags, '--epochs', 20, '--out', 'out', '--checkpoint-every', '20ms').done()
    assert plain['model_hash'] == saved['model_hash']
    assert sum(node['checkpoints']['written'] for node in saved['per_node']) > 3
    more = run('run', 'svm', '--train', small.train, '--json', '--quiet', '--out', 'out', '--resume', '--epochs', 30).done()
    check_end(more)
    assert more['steps'] >= 30 * small.n and more['train']['cost'] < 1.1 * saved['train']['cost']


def check_the_others_went_on(summary, steps):
    alive = [node for node in summary['per_node'] if node['clean']]  # neither dead nor left
    assert len(alive) == 2 and len({node['hash'] for node in alive}) == 1
    assert min(node['steps'] for node in alive) > steps


def test_who_dies_is_not_waited_for(start, small):
    """It counts as dead after eight seconds; then the others go on."""
    run = start(*svm('run', small.train, '-n', 3, '--seconds', 11, '--staleness-bound', 0))
    children = sorted(run.wait_for_training(3))
    os.kill(children[1], signal.SIGKILL)
    check_the_others_went_on(run.done(40), 1000)


@pytest.mark.parametrize('bound', [0, 3])
@pytest.mark.parametrize('fault', ['kill', 'leave', 'pause'])
def test_faults_are_not_waited_for_for_ever(run, small, tmp_path, bound, fault):
    plan = tmp_path / 'plan.json'
    plan.write_text(json.dumps({'events': [{'at': '100ms', 'do': fault, 'node': 1, **({'for': '9s'} if fault == 'pause' else {})}]}))
    summary = run(*sim(3, small.train, '--seconds', 20, '--staleness-bound', bound, '--step-time', 'const:2ms', '--faults',
                       plan)).wait(60).summary
    steps = [node['steps'] for node in summary['per_node']]
    if fault == 'pause':  # and then it is waited for again
        assert summary['clean'] and summary['equal_hashes']
        assert max(steps) - steps[1] < 1.5 * BATCH / .002 and steps[1] > 8 / .002 * BATCH
    else:
        check_the_others_went_on(summary, 9 / .002 * BATCH)


def test_who_joins_is_in_step(start, small):
    port = free_port()
    flags = ['--staleness-bound', 1, '--step-time', 'const:2ms']
    first = start('join', 'svm', '--train', small.train, '--json', '--batch', BATCH, '--expect', 1, '--seconds', 4,
                  '--bind', f'127.0.0.1:{port}', *flags)
    address = first.address()
    second = start('join', 'svm', '--train', small.train, '--json', '--quiet', '--expect', 1, '--peer', address, '--step-time',
                   'const:2ms')
    ends = [first.done(30), second.done(30)]
    assert ends[0]['model_hash'] == ends[1]['model_hash']
    assert ends[1]['per_node'][0]['steps'] > 100


REFUSED = {
    'below nothing': (['--staleness-bound', '-1'], 'a whole number of batches'),
    'a part of a batch': (['--staleness-bound', '1.5'], 'a whole number of batches'),
    'a sum of what': (['--sync-sum'], '--sync-sum is about --staleness-bound 0'),
    'another combination': (['--staleness-bound', '0', '--combine', 'amplify'], 'leave --combine and --amplify away'),
    'a cadence': (['--staleness-bound', '0', '--flush', '20ms'], 'leave --flush away'),
    'threads': (['--staleness-bound', '0', '-t', '2'], 'give -t 1'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refusals(run, small, case):
    flags, words = REFUSED[case]
    process = run('sim', 'svm', '--train', small.train, *flags).wait()
    assert process.code == 2 and words in process.err and process.out == ''


def test_a_server_waits_for_nobody(run, small):
    process = run('sim', 'svm', '--train', small.train, '--topology', 'server', '--staleness-bound', 2).wait()
    assert process.code == 2 and '--staleness-bound is about meshes' in process.err


def test_a_joiner_that_insists_on_another_bound(start, small):
    first = start('join', 'svm', '--train', small.train, '--expect', 2, '--staleness-bound', 2)
    address = first.address()
    other = start('join', 'svm', '--train', small.train, '--quiet', '--peer', address, '--staleness-bound', 3)
    assert other.wait(20).code == 4 and 'staleness_bound' in other.err


def test_a_joiner_that_insists_on_another_grid(start, small):
    first = start('join', 'svm', '--train', small.train, '--expect', 2, '--coarser', 2)
    address = first.address()
    other = start('join', 'svm', '--train', small.train, '--quiet', '--peer', address, '--coarser', 3)
    assert other.wait(20).code == 4 and 'coarser' in other.err
