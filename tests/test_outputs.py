"""What a run leaves in its folder beside the model: curves of nodes, trajectories."""
import json
import math
import os
import struct

import pytest

numpy = pytest.importorskip('numpy')

NORMS = ['conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias', 'fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias',
         'fc3.weight', 'fc3.bias']


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_curve(path, label, norms):
    """The points, in order, each with all that it is to have. No label: of whoever was scored for all."""
    points = lines_of(path)
    assert points, path
    for point in points:
        assert set(point) == {'label', 'seconds', 'steps', 'own_steps', 'loss', 'cost', 'train_loss', 'accuracy', 'norm', 'norms'}
        assert point['label'] == label or not label
        assert list(point['norms']) == norms
        assert point['norm'] == pytest.approx(math.hypot(*point['norms'].values()), rel=1e-6)
        assert 0 <= point['accuracy'] <= 1 and point['loss'] > 0 and point['own_steps'] <= point['steps']
    for a, b in zip(points, points[1:]):
        assert a['steps'] <= b['steps'] and a['seconds'] <= b['seconds']
        assert a['own_steps'] <= b['own_steps'] or a['label'] != b['label']
    return points


class Trajectory:
    def __init__(self, folder, label):
        self.points = numpy.load(folder / f'trajectory-{label}.npy')
        self.head, *self.index = lines_of(folder / f'trajectory-{label}.jsonl')
        assert self.points.dtype == numpy.float32 and self.points.shape == (len(self.index), self.head['numbers'])
        assert [line['point'] for line in self.index] == list(range(len(self.index)))
        assert all(line['label'] == label == self.head['label'] for line in self.index)
        at = 0
        for part in self.head['parts']:
            assert part['at'] == at and part['n'] == math.prod(part['shape'])
            at += part['n']
        assert at == self.head['numbers']

    def steps(self):
        return [line['steps'] for line in self.index]

    def parts(self, row):
        return {part['name']: self.points[row][part['at']:][:part['n']].reshape(part['shape']) for part in self.head['parts']}


def safetensors(path):
    data = path.read_bytes()
    n, = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8 + n])
    header.pop('__metadata__')
    return {name: numpy.frombuffer(data[8 + n:][slice(*entry['data_offsets'])], '<f4').reshape(entry['shape'])
            for name, entry in header.items()}


def check_last_point(run, trajectory, out):
    """It is the model that the run has ended with, to the bit, part by part."""
    export = out.parent / 'export.safetensors'
    assert run('export', 'lenet5', out, '--to', export).code == 0
    expected, parts = safetensors(export), trajectory.parts(-1)
    assert list(parts) == list(expected) == NORMS
    for name, part in parts.items():
        assert part.shape == expected[name].shape and part.tobytes() == expected[name].tobytes(), name
    assert [line['final'] for line in trajectory.index] == (len(trajectory.index) - 1) * [False] + [True]


# ---- simulated ----

WORLD = ('-n', 3, '--epochs', 1, '--step-time', 'const:17ms', '--delay', 'const:60ms@1', '--flush', 'step', '--partition',
         'split', '--json', '--quiet')


def sim(images, *flags):
    return ['sim', 'lenet5', '--data', images, *WORLD, *flags]


@pytest.fixture(scope='module')
def looked_at(tmp_path_factory, images):
    """A world that was looked at in every way: its folder and its summary."""
    import processes
    folder = tmp_path_factory.mktemp('looked_at')
    out = folder / 'out'
    process = processes.Hogmesh(folder, *sim(images, '--out', out, '--score-every', 500, '--node-curves', '--trajectory', 500,
                                             '--trace', folder / 'trace'))
    return out, process.done()


def test_who_looks_changes_nothing(run, images, looked_at, tmp_path):
    out, summary = looked_at
    trace = (out.parent / 'trace').read_bytes().splitlines()[1:]
    for flags in (), ('--score-every', '10ms'), ('--score-every', 700, '--out', tmp_path / 'out', '--trajectory', 90):
        other = run(*sim(images, *flags, '--trace', tmp_path / 'trace')).done()
        assert other['model_hash'] == summary['model_hash']
        assert other['sim']['trace_hash'] == summary['sim']['trace_hash']
        assert other['sim']['events'] == summary['sim']['events']
        assert other['sim']['virtual_seconds'] == summary['sim']['virtual_seconds']
        assert (tmp_path / 'trace').read_bytes().splitlines()[1:] == trace
    again = run('sim', 'lenet5', '--replay', out.parent / 'trace', '--out', tmp_path / 'again', '--trajectory', 500, '--json',
                '--quiet').done()
    assert again['model_hash'] == summary['model_hash']
    for name in 'trajectory-node1.npy', 'trajectory-node1.jsonl':
        assert (tmp_path / 'again' / name).read_bytes() == (out / name).read_bytes()


def test_curves_of_virtual_nodes(looked_at):
    out, summary = looked_at
    curves = [check_curve(out / f'curve-node{i}.jsonl', f'node{i}', NORMS) for i in range(3)]
    mesh = check_curve(out / 'curve.jsonl', None, NORMS)
    assert 7 <= len(mesh) <= 9 and len(summary['curve']) == len(mesh)
    assert all(point in curves[int(point['label'][4:])] for point in mesh) and mesh[-1] in curves[0]
    at = [{point['seconds']: point for point in curve} for curve in curves]
    together = set(at[0]) & set(at[1]) & set(at[2])
    assert len(together) >= 7, 'nodes are scored at the same moments'
    assert any(at[0][t]['loss'] != at[1][t]['loss'] for t in together), 'each by its own B'
    assert curves[1][-1]['own_steps'] < .5 * curves[0][-1]['own_steps'], 'node1 is slow'
    assert curves[0][-1]['accuracy'] > curves[0][0]['accuracy']


def test_trajectories_of_virtual_nodes(run, looked_at):
    out, summary = looked_at
    paths = [Trajectory(out, f'node{i}') for i in range(3)]
    for path in paths:
        assert path.steps() == sorted(path.steps()) and path.steps()[0] == 0
        assert len(path.index) in (9, 10)
        for k, steps in enumerate(path.steps()[:-1]):
            assert 500 * k <= steps < 500 * (k + 1)
        assert path.steps()[-1] == summary['steps']
        check_last_point(run, path, out)
    assert (paths[0].points[0] == paths[1].points[0]).all() and not (paths[0].points[3] == paths[1].points[3]).all()
    assert [node['trajectory_points'] for node in summary['per_node']] == [len(path.index) for path in paths]


def test_norms_are_those_of_the_weights(looked_at):
    """Curve and trajectory are of the same moments here."""
    out, _ = looked_at
    path, curve = Trajectory(out, 'node0'), lines_of(out / 'curve-node0.jsonl')
    by_steps = {point['steps']: point for point in curve}
    shared = [k for k, steps in enumerate(path.steps()[:-1]) if steps in by_steps]
    assert len(shared) >= 7
    for k in shared:
        point = by_steps[path.steps()[k]]
        assert path.index[k]['own_steps'] == point['own_steps']
        assert point['norm'] == pytest.approx(numpy.linalg.norm(path.points[k].astype('f8')), rel=1e-8)
        for name, part in path.parts(k).items():
            assert point['norms'][name] == pytest.approx(numpy.linalg.norm(part.astype('f8')), rel=1e-8, abs=1e-12)


def test_svm(run, small, tmp_path):
    out = tmp_path / 'out'
    summary = run('sim', 'svm', '-n', 2, '--train', small.train, '--test', small.test, '--epochs', 20, '--speed', '1M', '--json',
                  '--out', out, '--trajectory', '5k', '--score-every', '5ms', '--node-curves').done()
    path = Trajectory(out, 'node1')
    assert [part['name'] for part in path.head['parts']] == ['w', 'bias'] and path.steps()[-1] == summary['steps']
    assert run('export', 'svm', out, '--to', tmp_path / 'w.npy').code == 0
    exported = numpy.load(tmp_path / 'w.npy')
    assert (path.points[-1] == exported.astype('f4')).all() and numpy.count_nonzero(exported) > 100
    last = check_curve(out / 'curve-node1.jsonl', 'node1', ['w', 'bias'])[-1]
    assert last['cost'] == pytest.approx(last['loss'] + .5e-4 * last['norms']['w'] ** 2, rel=1e-6)


def scored_rows(run, tmp_path, model, rows, *flags):
    numpy.save(tmp_path / 'rows.npy', rows)
    return [json.loads(line) for line in run('eval', *model, '--weights', tmp_path / 'rows.npy', '--quiet', *flags).wait().out.splitlines()]


@pytest.mark.parametrize('workload', ['svm', 'lenet5', 'word2vec'])
def test_weights_are_scored_in_place_of_the_model(run, small, images, tmp_path, workload):
    """The final weights come to what the model does, and what is far from them to less."""
    if workload == 'word2vec':
        run('synth', 'word2vec', '--out', 'text', '--rows', 3000, '--quiet').wait()
    text = tmp_path / 'text' / 'train.txt'
    data = {'svm': ['--train', small.train, '--test', small.test], 'lenet5': ['--data', images],
            'word2vec': ['--train', text, '--test', text, '--no-cache', '--min-count', 1]}[workload]
    shape = ['--dim', 8] if workload == 'word2vec' else []
    out = tmp_path / 'out'
    run('sim', workload, '-n', 1, *data, *shape, '--epochs', 1, '--out', out, '--trajectory', '1k', '--json', '--quiet').done()
    path = numpy.load(out / 'trajectory-node0.npy')
    rows = numpy.stack([path[-1], path[0], path[-1]])
    scores = scored_rows(run, tmp_path, [workload, out], rows, *data)
    whole = [json.loads(line) for line in run('eval', workload, out, *data, '--json').wait().out.splitlines()]
    test = next(score for score in whole if score['set'] == scores[0]['set'])
    assert [score['row'] for score in scores] == [0, 1, 2]
    assert scores[0]['loss'] == scores[2]['loss'] == pytest.approx(test['loss'], rel=1e-6)
    assert scores[1]['loss'] > scores[0]['loss'] and scores[0]['n'] == test['n']
    for wrong, says in ((rows[:, :-1], 'the model has'), (rows * 1e9, 'at most'), (rows.astype('i4'), "astype('<f4')"),
                        (numpy.full_like(rows, numpy.nan), 'row 0, column 0')):
        numpy.save(tmp_path / 'rows.npy', wrong)
        process = run('eval', workload, out, *data, '--weights', tmp_path / 'rows.npy').wait()
        assert process.code != 0 and says in process.err, process


def test_server(run, images, tmp_path):
    base = ['sim', 'lenet5', '-n', 3, '--data', images, '--topology', 'server', '--step-time', 'const:17ms', '--epochs', 1, '--lr',
            .005, '--json', '--quiet']
    plain = run(*base).done()
    summary = run(*base, '--out', tmp_path / 'out', '--trajectory', 800, '--score-every', 800, '--node-curves').done()
    assert summary['model_hash'] == plain['model_hash'] and summary['sim'].items() >= {
        key: plain['sim'][key] for key in ('trace_hash', 'events', 'virtual_seconds')}.items()
    path = Trajectory(tmp_path / 'out', 'server')
    assert path.steps() == [0, 800, 1600, 2400, 3200, 4000, 4000]
    assert (path.points[-1] == path.points[-2]).all() and not (path.points[0] == path.points[1]).all()
    curve = check_curve(tmp_path / 'out' / 'curve-server.jsonl', 'server', NORMS)
    assert curve == lines_of(tmp_path / 'out' / 'curve.jsonl')
    assert curve[-1]['norm'] == pytest.approx(numpy.linalg.norm(path.points[-1].astype('f8')), rel=1e-8)


def test_lives_have_files_of_their_own(run, small, tmp_path):
    plan = tmp_path / 'plan.json'
    plan.write_text(json.dumps({'events': [{'at': '1s', 'do': 'kill', 'node': 1, 'restart_after': '500ms'}]}))
    out = tmp_path / 'out'
    run('sim', 'svm', '-n', 3, '--train', small.train, '--epochs', 400, '--speed', '20k', '--json', '--out', out, '--trajectory',
        '20k', '--score-every', '200ms', '--node-curves', '--faults', plan).done()
    first, second, other = (Trajectory(out, label) for label in ('node1', 'node1.2', 'node0'))
    assert not first.index[-1]['final'] and second.index[-1]['final']
    assert second.steps()[0] >= first.steps()[-1] > 0
    assert (second.points[-1] == other.points[-1]).all()
    for label in 'node1', 'node1.2':
        check_curve(out / f'curve-{label}.jsonl', label, ['w', 'bias'])


# ---- processes ----

def test_processes(run, images, tmp_path):
    out = tmp_path / 'out'
    base = ['run', 'lenet5', '-n', 2, '--data', images, '--out', out, '--json', '--quiet', '--flush', '5ms', '--node-curves',
            '--score-every', '3k', '--trajectory', '2k']
    summary = run(*base, '--epochs', 4).done()
    assert summary['clean'] and summary['equal_hashes']
    paths = [Trajectory(out, f'node{i}') for i in range(2)]
    for i, path in enumerate(paths):
        assert path.steps() == sorted(path.steps()) and path.steps()[-1] == summary['steps']
        assert all(a // 2000 < b // 2000 for a, b in zip(path.steps(), path.steps()[1:-1]))
        check_last_point(run, path, out)
        curve = check_curve(out / f'curve-node{i}.jsonl', f'node{i}', NORMS)
        assert all(a['steps'] // 3000 < b['steps'] // 3000 for a, b in zip(curve, curve[1:]))
    assert [node['trajectory_points'] for node in summary['per_node']] == [len(path.index) for path in paths]
    check_curve(out / 'curve.jsonl', 'node0', NORMS)
    # What goes on is written behind what is there.
    n_points, n_lines = [len(path.index) for path in paths], len(lines_of(out / 'curve-node1.jsonl'))
    again = run(*base, '--resume', '--epochs', 6).done()
    for path, n in zip([Trajectory(out, f'node{i}') for i in range(2)], n_points):
        assert len(path.index) > n and path.steps() == sorted(path.steps()) and path.steps()[-1] == again['steps']
        assert path.index[n - 1]['final'] and path.index[-1]['final']
        assert (path.points[n - 1] == path.points[n]).all(), 'it begins where it has ended'
    assert len(lines_of(out / 'curve-node1.jsonl')) > n_lines
    # And is no longer there when a run begins anew.
    run(*base, '--epochs', 1).done()
    assert [Trajectory(out, f'node{i}').steps()[0] for i in range(2)] == [0, 0]


def test_no_files_unless_asked(run, small, tmp_path):
    run('run', 'svm', '-n', 2, '--train', small.train, '--out', 'out', '--epochs', 2, '--json', '--quiet').done()
    assert not [name for name in os.listdir(tmp_path / 'out') if 'trajectory' in name or 'curve-' in name]


# ---- refusals ----

@pytest.mark.parametrize('flags, words', [
    (['--trajectory', '1k'], ['--trajectory', '--out DIR']),
    (['--node-curves', '--score-every', '1k'], ['--node-curves', '--out DIR']),
    (['--trajectory', '0', '--out', 'out'], ['--trajectory', 'whole number from 1 on']),
    (['--trajectory', '10ms', '--out', 'out'], ['--trajectory', 'whole number from 1 on']),
    (['--score-every', '0'], ['--score-every', '10ms', '50k']),
])
@pytest.mark.parametrize('command', ['sim', 'run', 'join'])
def test_wrong_usage(run, small, command, flags, words):
    process = run(command, 'svm', '--train', small.train, *flags)
    assert process.code == 2 and all(word in process.err for word in words), process


def test_curves_of_virtual_nodes_need_a_cadence(run, small):
    process = run('sim', 'svm', '--train', small.train, '--node-curves', '--out', 'out')
    assert process.code == 2 and '--score-every' in process.err, process


def test_no_trajectory_can_be_begun(run, small, tmp_path):
    out = tmp_path / 'out'
    (out / 'trajectory-node0.npy').mkdir(parents=True)
    for command in 'run', 'sim':
        process = run(command, 'svm', '--train', small.train, '--out', out, '--trajectory', '1k', '--quiet')
        assert process.code == 1 and 'trajectory-node0.npy: Is a directory' in process.err, process


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_full_disk(run, small, tmp_path):
    """The model is there, and what is missing is named."""
    for command, flags in ('run', ['--epochs', 5]), ('sim', ['--epochs', 5, '--score-every', '1k']):
        out = tmp_path / command
        out.mkdir()
        (out / 'curve-node1.jsonl').symlink_to('/dev/full')
        process = run(command, 'svm', '-n', 2, '--train', small.train, '--out', out, '--node-curves', '--json', '--quiet', *flags)
        assert process.code == 1 and 'curve-node1.jsonl: No space left' in process.err, process
        assert process.summary['clean'] and (out / 'model.hm').exists() and (out / 'curve-node0.jsonl').exists()
