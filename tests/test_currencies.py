"""--measure-staleness: three currencies of sampled gradients, which cost nothing but time and change nothing that is learned."""
import json
import subprocess

import pytest

import processes


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp('words')
    subprocess.run([processes.BINARY, 'synth', 'word2vec', '--out', folder, '--rows', '1500', '--quiet'], check=True)
    return folder / 'train.txt'


LATE = ['--step-time', 'uniform:5ms,15ms', '--delay', 'const:20ms', '--score-every', '2k']


def of_workload(workload, small, images, words):
    return {'svm': ['svm', '--train', small.train, '--batch', 16, '--steps', 10000],
            'lenet5': ['lenet5', '--data', images, '--batch', 16, '--steps', 6000, '--flush', 'step'],
            'word2vec': ['word2vec', '--train', words, '--batch', 128, '--steps', '40k', '--flush', 'step']}[workload]


def measured(run, flags, every=2):
    """The summary, which is that of a run that does not measure."""
    plain, gauged = (run('sim', *flags, '--json', '--quiet', *more).done() for more in ([], ['--measure-staleness', every]))
    assert plain['model_hash'] == gauged['model_hash'] and plain['sim']['trace_hash'] == gauged['sim']['trace_hash']
    assert 'currencies' not in plain and not any('cosine' in point for point in plain['curve'])
    return gauged


@pytest.mark.parametrize('workload', ['svm', 'lenet5', 'word2vec'])
@pytest.mark.parametrize('more', [['-n', 1], ['-n', 4], ['-n', 4, '--topology', 'server']], ids=['one', 'mesh', 'server'])
def test_whoever_measures_changes_nothing(run, small, images, words, workload, more):
    summary = measured(run, of_workload(workload, small, images, words) + LATE + more)
    c = summary['currencies']
    assert c['gradients'] > 50 and c['updates']['n'] == c['distance']['n'] == c['gradients']
    assert sum(node['currencies']['gradients'] for node in summary['per_node']) == c['gradients']
    if more == ['-n', 1]:  # nobody comes between, so nothing has moved, to the last bit
        assert c['updates']['max'] == c['distance']['max'] == 0 and c['cosine']['min'] == 1
        return
    assert 2.5 < c['updates']['mean'] < 3.5
    assert 0 < c['distance_relative']['mean'] and 0 < c['distance_in_steps']['mean'] and c['cosine']['mean'] < 1
    late = [point for point in summary['curve'] if 'cosine' in point]
    assert len(late) >= 3 and all(0 < point['distance_relative'] and point['cosine'] <= 1 for point in late[1:])


@pytest.mark.parametrize('more', [['--momentum', .9, '--compensate', 2, '--dropout', .2], ['--partition', 'labels', '--clip', 1]])
def test_with_optimisers(run, images, more):
    measured(run, ['lenet5', '-n', 3, '--data', images, '--steps', 4000, '--flush', 'step', *LATE, *more])


def test_turns_of_a_server_are_m_less_one_old(run, small):
    summary = run('sim', 'svm', '-n', 5, '--train', small.train, '--batch', 8, '--topology', 'server', '--serve', 'turns',
                  '--step-time', 'const:1ms', '--measure-staleness', 1, '--json', '--quiet').done()
    updates = summary['currencies']['updates']
    assert updates['n'] == summary['sim']['events'] and updates['p50'] == updates['max'] == 4
    assert summary['staleness']['max'] == 4


def test_synchronous_rounds_are_never_stale(run, small):
    summary = run('sim', 'svm', '-n', 3, '--train', small.train, '--batch', 16, '--staleness-bound', 0, '--measure-staleness', 1,
                  '--json', '--quiet').done()
    c = summary['currencies']
    assert c['gradients'] > 100 and c['updates']['max'] == c['distance']['max'] == 0 and c['cosine']['min'] == 1


def test_later_gradients_are_staler(run, small):
    """In all three currencies."""
    currencies = [run('sim', 'svm', '-n', 4, '--train', small.train, '--batch', 16, '--step-time', 'const:1ms', '--delay', f'const:{delay}ms@3',
                      '--steps', 20000, '--measure-staleness', 1, '--json', '--quiet').done()['per_node'][3]['currencies'] for delay in (1, 10)]
    a, b = currencies
    assert b['updates']['mean'] > 3 * a['updates']['mean']
    assert b['distance_relative']['mean'] > a['distance_relative']['mean'] and b['cosine']['mean'] < a['cosine']['mean']


def test_a_replay_may_measure(run, small, tmp_path):
    trace = tmp_path / 'trace'
    run('sim', 'svm', '-n', 2, '--train', small.train, '--batch', 16, '--step-time', 'const:1ms', '--measure-staleness', 4, '--trace', trace, '--json').done()
    assert 'measure' not in json.loads(trace.read_text().splitlines()[0])['arguments']
    again = run('sim', 'svm', '--replay', trace, '--measure-staleness', 2, '--json', '--quiet').done()
    assert again['currencies']['gradients'] > 100


def test_processes_measure(run, small):
    summary = run('run', 'svm', '-n', 2, '--train', small.train, '--batch', 20, '--epochs', 2, '--step-time', 'const:5ms', '--delay', 'const:20ms',
                  '--measure-staleness', 2, '--json', '--quiet').done()
    c = summary['currencies']
    assert c['gradients'] > 20 and c['updates']['mean'] > 0 and c['distance']['mean'] > 0 and c['cosine']['min'] >= -1


def test_for_people(run, small):
    out = run('sim', 'svm', '--train', small.train, '--batch', 16, '--step-time', 'const:1ms', '--measure-staleness', 4).wait().out
    assert 'updates old' in out and 'cosine' in out


def test_needs_gradients_that_take_time(run, small):
    for command in ['sim'], ['run']:
        process = run(*command, 'svm', '--train', small.train, '--measure-staleness', 4).wait()
        assert process.code == 2 and '--step-time' in process.err, process
