"""The SVM with an optimiser, in w form: it learns by each, in every mode; who joins adopts it or is refused by name."""
import json
import re
import shutil
import subprocess

import pytest

from test_run import check_end

PREDICT = shutil.which('liblinear-predict')

BATCHES = ('--batch', 64, '--epochs', 6)
MOMENTUM = ('--momentum', .9)


def svm(mode, rows, *flags):
    return [mode, 'svm', '--train', rows.train, '--test', rows.test, '--json', '--quiet', *flags]


def config(run, out):
    return json.loads(run('inspect', out / 'model.hm').out)['config']


# ---- learning ----

OPTIONS = [MOMENTUM, ('--nesterov',), (*MOMENTUM, '--nesterov', '--clip', .3), ('--momentum', 0),
           ('--schedule', 'constant', '--lr', .05), ('--schedule', 'step'), ('--schedule', 'cosine'),
           ('--schedule', 'inverse'), ('--compensate', 1), ('--compensate', 'adaptive:.1'), ('--staleness-aware',),
           ('--dropout', .2), ('--warmup', '2k', '--schedule', 'linear'), (*MOMENTUM, '--combine', 'hold'), (*MOMENTUM, '--combine', 'sum'), (*MOMENTUM, '-t', 2),
           (*MOMENTUM, '--partition', 'split'), (*MOMENTUM, '--lambda', '1e-3', '--isa', 'ref')]


@pytest.mark.parametrize('flags', OPTIONS, ids=lambda flags: ' '.join(map(str, flags)))
def test_two_nodes_learn(run, rows, flags):
    summary = run(*svm('run', rows, '-n', 2, *BATCHES, *flags)).done()
    check_end(summary, 2)
    assert summary['test']['accuracy'] > .8  # .93, but a node that is held up for long is stale for long


@pytest.mark.parametrize('flags', [flags for flags in OPTIONS if '-t' not in flags and '--isa' not in flags],
                         ids=lambda flags: ' '.join(map(str, flags)))
def test_late_nodes_learn(run, small, flags):
    """Virtual ones, every gradient of which is three steps old."""
    late = ('--batch', 32, '--epochs', 10, '--step-time', 'const:1ms', '--delay', 'const:3ms', '--flush', 'step')
    summary = run(*svm('sim', small, '-n', 2, *late, *flags)).done()
    check_end(summary, 2)
    assert summary['test']['accuracy'] > .85


def test_momentum_alone_changes_little(run, rows):
    flags = ('-n', 1, *BATCHES)
    plain, still, heavy = (run(*svm('sim', rows, *flags, *more)).done() for more in ((), ('--momentum', 0), MOMENTUM))
    assert still['train']['cost'] == pytest.approx(plain['train']['cost'], rel=1e-3)
    assert heavy['train']['cost'] == pytest.approx(plain['train']['cost'], rel=.05)


@pytest.mark.parametrize('rule', ['hold', 'lookahead'])
def test_labels_apart(run, small, rule):
    """Each of two nodes sees one class alone, so that only together they learn."""
    summary = run(*svm('sim', small, '-n', 2, '--partition', 'labels', '--batch', 32, '--step-time', 'const:1ms', '--flush',
                       'step', '--epochs', 20, *MOMENTUM, '--combine', rule)).done()
    check_end(summary, 2)
    assert summary['test']['accuracy'] > .85


def test_server(run, rows):
    late = ('--topology', 'server', '--serve', 'turns', '--step-time', 'const:1ms')
    for flags in MOMENTUM, ('--compensate', 1), ('--staleness-aware', '--dropout', .1):
        summary = run(*svm('sim', rows, '-n', 5, *late, *BATCHES, *flags)).done()
        assert summary['staleness']['p50'] == 4
        assert summary['test']['accuracy'] > .9


def test_simulation_repeats(run, small):
    flags = ('-n', 3, '--batch', 8, '--epochs', 4, '--step-time', 'gauss:1ms,300us', '--delay', 'const:2ms@1', *MOMENTUM,
             '--dropout', .2, '--compensate', 'adaptive:.1', '--staleness-aware')
    ends = [run(*svm('sim', small, *flags, '--seed', seed)).done() for seed in (1, 1, 2)]
    check_end(ends[0], 3)
    assert ends[0]['model_hash'] == ends[1]['model_hash'] != ends[2]['model_hash']
    assert ends[0]['sim']['trace_hash'] == ends[1]['sim']['trace_hash'] != ends[2]['sim']['trace_hash']


# ---- the mesh's form ----

def test_joiner_adopts_the_form(start, run, rows, tmp_path):
    """In the order of features of the first."""
    lines = rows.train.read_text().splitlines(keepends=True)
    for name, part in ('one', lines[::2]), ('two', lines[1::2]):
        (tmp_path / f'{name}.svm').write_text(''.join(part))
    join = ('join', 'svm', '--test', rows.test, '--expect', 2, '--json')
    first = start(*join, '--train', 'one.svm', '--batch', 16, '--seconds', 2, *MOMENTUM, '--nesterov', '--dropout', .1,
                  '--lambda', '3e-4', '--out', tmp_path / 'a')
    second = start(*join, '--train', 'two.svm', '--peer', first.address(), '--lambda', '3e-4', '--out', tmp_path / 'b')
    a, b = first.done(), second.done()
    assert a['clean'] and b['clean'] and a['model_hash'] == b['model_hash']
    assert a['test']['accuracy'] == b['test']['accuracy'] > .9
    adopted = config(run, tmp_path / 'b')
    assert adopted == config(run, tmp_path / 'a')
    assert [adopted[name] for name in ('form', 'momentum', 'nesterov', 'dropout')] == ['w', '0.9', '1', '0.1']


def test_contradicting_joiner_is_refused_by_name(start, run, small):
    first = start('join', 'svm', '--train', small.train, '--seconds', 20, '--expect', 1, *MOMENTUM)
    plain = start('join', 'svm', '--train', small.train, '--seconds', 20, '--expect', 1)
    for founder, flags, field in [(first, ('--momentum', .5), 'momentum'), (first, ('--clip', 1), 'clip'),
                                  (first, ('--schedule', 'step'), 'schedule'), (first, ('--dropout', .1), 'dropout'),
                                  (first, ('--compensate', 1), 'compensate'), (first, ('--nesterov',), 'nesterov'),
                                  (first, ('--staleness-aware',), 'staleness_aware'), (first, ('--warmup', 9), 'warmup'), (first, ('--lambda', 1), 'lambda'),
                                  (plain, MOMENTUM, 'momentum'), (plain, ('--combine', 'lookahead'), 'combine')]:
        process = run('join', 'svm', '--train', small.train, '--peer', founder.address(), *flags)
        assert process.code == 4 and f"field '{field}'" in process.err, str(process)


def test_resumes(run, rows, tmp_path):
    out = tmp_path / 'out'
    first = run(*svm('run', rows, '-n', 2, '--out', out, '--batch', 64, '--epochs', 4, *MOMENTUM)).done()
    process = run(*svm('run', rows, '--out', out, '--resume', '--epochs', 8, '--momentum', .5))
    assert process.code == 2 and "field 'momentum'" in process.err, str(process)
    again = run(*svm('run', rows, '--out', out, '--resume', '--epochs', 8)).done()
    assert again['clean'] and again['equal_hashes'] and again['balanced'], again
    assert again['steps'] >= 8 * rows.n * .97 > first['steps']
    assert again['test']['accuracy'] > .9
    scored = run('eval', 'svm', out / 'node0.ckpt', '--test', rows.test, '--json').done()
    assert scored['accuracy'] == pytest.approx(again['test']['accuracy'], abs=1e-9)


# ---- what is made of it ----

def test_export_predicts_the_same(run, rows, tmp_path):
    numpy = pytest.importorskip('numpy')
    out = tmp_path / 'out'
    summary = run(*svm('run', rows, '-n', 2, '--out', out, *BATCHES, *MOMENTUM)).done()
    for name in 'svm.npy', 'svm.model':
        assert run('export', 'svm', out, '--to', name).code == 0
    scored = run('eval', 'svm', out, '--test', rows.test, '--json').done()
    assert scored['accuracy'] == pytest.approx(summary['test']['accuracy'], abs=1e-9)
    w, right, loss = numpy.load(tmp_path / 'svm.npy'), 0, 0.
    lines = rows.test.read_text().splitlines()
    for line in lines:
        label, *items = line.split()
        pairs = [item.split(':') for item in items]
        margin = float(label) * (w[-1] + sum(w[int(i) - 1] * float(x) for i, x in pairs if int(i) < len(w)))
        right += margin > 0
        loss += max(0, 1 - margin) / len(lines)
    assert right == round(scored['accuracy'] * len(lines))
    assert loss == pytest.approx(scored['loss'], rel=1e-5)
    if not PREDICT:
        pytest.skip('liblinear-predict is missing: install liblinear-tools')
    text = subprocess.run([PREDICT, rows.test, tmp_path / 'svm.model', tmp_path / 'labels'], check=True, capture_output=True,
                          text=True).stdout
    assert int(re.search(r'\((\d+)/(\d+)\)', text).group(1)) == right


# ---- usage ----

@pytest.mark.parametrize('flags, words', [
    (['--combine', 'lookahead'], ['--combine lookahead', 'add --momentum']),
    (['--schedule', 'step', '--seconds', 1], ['--schedule step', '--epochs or --steps']),
    (['--schedule', 'wavy'], ['wavy', 'constant|linear|step|cosine|inverse']),
    (['--momentum', 1], ['--momentum', 'up to, but not, 1']),
    (['--dropout', .95], ['--dropout', '0.9']),
    (['--momentum', .9, '--lambda', '1e-40'], ['--lambda', '1e-30 to 1e+06']),
    (['--data', 'images'], ['--data', '--train']),
], ids=lambda x: ' '.join(map(str, x)))
def test_usage(run, small, flags, words):
    for mode in 'run', 'sim':
        process = run(mode, 'svm', '--train', small.train, *flags)
        assert process.code == 2 and all(word in process.err for word in words), str(process)
