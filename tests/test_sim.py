"""hogmesh sim: what it promises of its summary, its repetition, its traces and its refusals."""
import json

import pytest


def sim(n, rows, *flags):
    return ['sim', 'svm', '-n', n, '--train', rows.train, '--test', rows.test, '--json', '--quiet', *flags]


def check_end(summary, n):
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    assert len({node['hash'] for node in summary['per_node'] if node['hash']}) == 1
    assert len(summary['per_node']) == n == summary['nodes']
    assert summary['deltas']['lost'] == summary['deltas']['abandoned'] == 0


def test_summary(run, small):
    process = run(*sim(4, small, '--seed', 3, '--epochs', 20, '--speed', '1M'))
    summary = process.done()
    check_end(summary, 4)
    assert (summary['mode'], summary['workload'], summary['seed']) == ('sim', 'svm', 3)
    assert len(summary['links']) == 12
    world = summary['sim']
    assert world['virtual_seconds'] > summary['train_seconds'] > .009
    assert world['events'] > 100 and world['events_per_second'] > 0 and world['wall_seconds'] > 0
    assert summary['steps'] >= 40000 and summary['test']['accuracy'] > .7
    assert process.out.count('\n') == 1 and process.err == ''


def test_tables_for_people(run, small):
    process = run('sim', 'svm', '--train', small.train, '-n', 3).wait()
    assert process.code == 0
    assert 'node2' in process.out and 'virtual seconds' in process.out and 'balanced' in process.out


def test_who_left_is_no_part_of_the_end(run, small, tmp_path):
    (tmp_path / 'plan.json').write_text('{"events": [{"at": "5ms", "do": "leave", "node": 1}, {"at": "8ms", "do": "join"}]}')
    summary = run(*sim(3, small, '--epochs', 60, '--speed', '1M', '--faults', tmp_path / 'plan.json')).done()
    check_end(summary, 4)
    left = [node for node in summary['per_node'] if node['hash'] is None]
    assert [node['label'] for node in left] == ['node1'] and left[0]['ended'].startswith('left')


BAD_NETWORK = ('--latency', 'lognormal:300us,0.7', '--drop', '0.2', '--duplicate', '0.1', '--reorder', '0.3',
               '--link-bandwidth', '10MB', '--epochs', '10', '--speed', '1M')


def test_same_seed_same_trace(run, small, tmp_path):
    traces = [tmp_path / name for name in 'abc']
    ends = [run(*sim(3, small, *BAD_NETWORK, '--seed', seed, '--trace', trace)).done()
            for seed, trace in zip((5, 5, 6), traces)]
    for end in ends:
        check_end(end, 3)
    a, b, c = (trace.read_bytes() for trace in traces)
    assert a == b and a != c
    assert ends[0]['sim']['trace_hash'] == ends[1]['sim']['trace_hash'] != ends[2]['sim']['trace_hash']
    assert ends[0]['model_hash'] == ends[1]['model_hash'] != ends[2]['model_hash']
    assert ends[0]['deltas']['repaired'] > 0


PLAN = {'links': [{'from': '*', 'to': '1', 'drop': .3}],
        'nodes': [{'node': 2, 'speed': 300e3}],
        'events': [{'at': '30ms', 'do': 'kill', 'node': 0}, {'at': '60ms', 'do': 'restart', 'node': 0},
                   {'at': '50ms', 'do': 'cut', 'from': '1', 'to': '2', 'one_way': True, 'for': '40ms'},
                   {'at': '70ms', 'do': 'pause', 'node': 3, 'for': '20ms'}]}


@pytest.fixture
def faulty(run, small, tmp_path):
    """A run with a fault plan, and its trace."""
    plan, trace = tmp_path / 'plan.json', tmp_path / 'trace'
    plan.write_text(json.dumps(PLAN))
    summary = run(*sim(4, small, '--epochs', 200, '--speed', '1M', '--faults', plan, '--trace', trace)).done(120)
    plan.unlink()  # the trace has it
    return summary, trace


def test_fault_plan(faulty):
    summary, trace = faulty
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    happened = [(line['event'], line['node']) for line in lines[1:-1]]
    for event in ('killed', 0), ('started', 0), ('paused', 3), ('resumed', 3), ('ended', 2), ('training', 1):
        assert event in happened
    assert happened.count(('started', 0)) == 2
    assert any(line['event'] == 'lost' and (line['node'], line['peer']) == (1, 2) for line in lines[1:-1])
    assert not any(line['event'] == 'lost' and (line['node'], line['peer']) == (2, 0) for line in lines[1:-1])
    dead = [node for node in summary['per_node'] if node['hash'] is None]
    assert [node['label'] for node in dead] == ['node0'] and 'killed' in dead[0]['ended']
    by_label = {node['label']: node['steps'] for node in summary['per_node']}
    assert by_label['node2'] < by_label['node1'] * .6
    assert summary['clean'] and summary['equal_hashes']
    times = [line['us'] for line in lines[1:]]
    assert times == sorted(times)


def test_replay(run, faulty):
    summary, trace = faulty
    again = run('sim', 'svm', '--replay', trace, '--json', '--quiet').done(120)
    assert again['model_hash'] == summary['model_hash']
    assert again['sim']['trace_hash'] == summary['sim']['trace_hash']


def test_replay_names_the_first_difference(run, faulty):
    _, trace = faulty
    lines = trace.read_text().splitlines(keepends=True)
    lines[99] = lines[99].replace('"us":', '"us":9')
    trace.write_text(''.join(lines))
    process = run('sim', 'svm', '--replay', trace, '--quiet').wait(120)
    assert process.code == 1
    assert f'{trace}, line 100: recorded' in process.err


def test_replay_of_what_goes_on(run, faulty):
    _, trace = faulty
    lines = trace.read_text().splitlines(keepends=True)
    trace.write_text(''.join(lines[:-1]))
    process = run('sim', 'svm', '--replay', trace, '--quiet').wait(120)
    assert process.code == 1 and 'recorded nothing more' in process.err


def test_replay_refuses_what_is_no_trace(run, tmp_path):
    other = tmp_path / 'other'
    other.write_text('{"hogmesh_trace": 99}\n')
    process = run('sim', 'svm', '--replay', other).wait()
    assert process.code != 0 and 'line 1 is not the head of a trace' in process.err


def test_every_isa_the_same(run, small):
    ends = [run(*sim(3, small, *BAD_NETWORK, '--isa', isa)).done() for isa in ('ref', 'portable', 'auto')]
    assert len({end['sim']['trace_hash'] for end in ends}) == 1
    assert len({end['model_hash'] for end in ends}) == 1


def test_speed_and_latency(run, rows):
    def seconds(*flags):
        return run(*sim(2, rows, '--epochs', 5, *flags)).done()['train_seconds']
    slow, fast = seconds('--speed', '1M'), seconds('--speed', '2M')
    assert .05 <= slow < .06 and .025 <= fast < .035
    assert seconds('--speed', '1M', '--latency', 'const:50ms') > slow + .04


def test_step_time_and_delay(run, small):
    summary = run(*sim(3, small, '--batch', 10, '--epochs', 2, '--step-time', 'const:10ms', '--delay',
                       'const:30ms@2', '--flush', 'step')).done()
    check_end(summary, 3)
    steps = [node['steps'] for node in summary['per_node']]
    assert steps[0] == steps[1] and 3.8 < steps[0] / steps[2] < 4.2
    assert abs(summary['train_seconds'] - 400 / 2.25 * .01) < .05


def test_curve_and_target(run, rows):
    summary = run(*sim(2, rows, '--target-cost', '.3', '--score-every', '5k', '--speed', '1M')).done()
    costs = [point['cost'] for point in summary['curve']]
    assert costs[-1] <= .3 < min(costs[:-1])
    assert [point['steps'] for point in summary['curve']] == sorted({point['steps'] for point in summary['curve']})


def test_server(run, rows):
    one, many = (run(*sim(m, rows, '--topology', 'server', '--serve', 'turns', '--batch', 8, '--step-time',
                          'const:1ms')).done() for m in (1, 10))
    assert one['staleness']['max'] == 0 and many['staleness']['p50'] == many['staleness']['max'] == 9
    assert one['steps'] == many['steps'] == 100000
    assert abs(one['sim']['virtual_seconds'] / many['sim']['virtual_seconds'] - 10) < .1
    assert one['test']['accuracy'] > .9 and many['test']['accuracy'] > .9


def test_the_model_of_a_server_is_kept(run, rows, tmp_path):
    out = tmp_path / 'out'
    summary = run(*sim(3, rows, '--topology', 'server', '--batch', 8, '--step-time', 'const:1ms', '--epochs', 1, '--out', out)).done()
    again = run('eval', 'svm', out, '--test', rows.test, '--json').wait()
    assert json.loads(again.out.splitlines()[-1])['loss'] == summary['test']['loss']
    assert summary['model_hash'] in run('inspect', out / 'model.hm').wait().out


def test_server_trace_replays(run, small, tmp_path):
    trace = tmp_path / 'trace'
    run(*sim(4, small, '--topology', 'server', '--batch', 4, '--step-time', 'gauss:5ms,2ms', '--trace', trace)).done()
    again = run('sim', 'svm', '--replay', trace, '--json', '--quiet').done()
    assert again['staleness']['mean'] > 2


@pytest.mark.parametrize('threads', [1, 3])
def test_staleness_counts_from_where_gradients_were_read(run, small, threads):
    """Nodes with one thread that take equally long meet each gradient with one of every other node; with more of them, none of a
    flush is older than what its eldest gradient has read."""
    summary = run('sim', 'svm', '-n', 4, '-t', threads, '--train', small.train, '--batch', 32, '--step-time', 'uniform:5ms,15ms',
                  '--latency', 'const:30us', '--flush', 'step', '--epochs', 30, '--json', '--quiet').done()
    staleness, steps = summary['staleness'], summary['staleness_steps']
    if threads == 1:
        assert abs(staleness['mean'] - 3) < .15 and abs(steps['mean'] - 96) < 5
    else:
        assert 96 < steps['mean'] and 3 < staleness['mean'] and staleness['max'] < 40


@pytest.mark.parametrize('flags, words', [
    (['--latency', 'often'], ['--latency']),
    (['--topology', 'ring'], ['--topology', 'mesh or server']),
    (['--serve', 'turns'], ['--topology server']),
    (['--topology', 'server', '--drop', '.1'], ['--topology server']),
    (['--score-every', 'soon'], ['--score-every', '10ms']),
    (['--delay', 'const:5ms@x'], ['--delay']),
    (['--drop', '1.5'], ['--drop', 'fraction']),
    (['--faults', '/nonexistent'], ['--faults', '/nonexistent']),
    (['-n', '2000'], ['1024']),
])
def test_refusals(run, small, flags, words):
    process = run('sim', 'svm', '--train', small.train, *flags).wait()
    assert process.code == 2, process
    assert all(word in process.err for word in words), process


def test_delay_in_processes(run, small):
    """Virtual and real delays agree."""
    flags = ['--batch', 10, '--epochs', 1, '--step-time', 'const:20ms', '--delay', 'const:40ms@1', '--flush', 'step']
    virtual = run(*sim(2, small, *flags)).done()
    real = run('run', 'svm', '-n', 2, '--train', small.train, '--test', small.test, '--json', '--quiet', *flags).done()
    for summary in virtual, real:
        a, b = (node['steps'] for node in summary['per_node'])
        assert 2 < a / b < 4.5
    assert real['train_seconds'] > virtual['train_seconds'] * .9  # a busy machine may take longer


def test_coarser_units_take_fewer_bytes(run, small):
    fine, coarse = (run(*sim(4, small, '--epochs', 20, '--speed', '1M', *flags)).done() for flags in ([], ['--coarser', 4]))
    assert coarse['bytes']['published'] < .7 * fine['bytes']['published'] and coarse['test']['accuracy'] > fine['test']['accuracy'] - .03
    assert run('sim', 'svm', '--train', small.train, '--coarser', 17).wait().code == 2


def test_the_largest_steps_take_fewer_bytes(run, small):
    flags = ['--epochs', 20, '--speed', '1M', '--flush', '1ms']
    all_of_them, top = (run(*sim(4, small, *flags, *more)).done() for more in ([], ['--top', .01]))
    assert top['clean'] and top['equal_hashes']
    assert top['bytes']['published'] < .7 * all_of_them['bytes']['published'] and top['test']['accuracy'] > all_of_them['test']['accuracy'] - .03
    rounds = run(*sim(4, small, '--epochs', 1, '--batch', 10, '--staleness-bound', 0, '--top', .01)).done()
    assert rounds['clean'] and rounds['equal_hashes']
    refused = run('sim', 'word2vec', '--train', '/etc/services', '--top', .1).wait()
    assert refused.code == 2 and 'in rotation' in refused.err
