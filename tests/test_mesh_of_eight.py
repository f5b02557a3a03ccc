"""A mesh of eight nodes of two threads. tools/test.sh runs this under the sanitizers too: what they find goes to files."""
import os

import pytest


@pytest.mark.parametrize('flags', [['--flush', 'auto', '--target-accuracy', .9999], ['--flush', 'step'], ['--partition', 'labels', '--flush', '2ms']])
def test_mesh_of_eight(start, rows, tmp_path, flags):
    log = f'log_path={tmp_path}/sanitizer'
    env = {name: f'{os.environ.get(name, "")}:{log}'.lstrip(':')
           for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS')}
    run = start('run', 'svm', '-n', 8, '-t', 2, '--train', rows.train, '--test', rows.test, '--json', '--quiet',
                '--out', tmp_path / 'out', '--checkpoint-every', '300ms', '--seconds', 2, *flags, env=env)
    summary = run.done(120)
    found = ''.join(path.read_text() for path in tmp_path.glob('sanitizer*'))
    assert not found, found[:8000]
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced']
    assert len(summary['per_node']) == 8 and summary['threads'] == 2
    if 'labels' not in flags:  # of one class each: how soon they learn is a matter of speed, which sanitizers change
        assert summary['test']['accuracy'] > .8


@pytest.mark.parametrize('flags', [['--flush', '20ms'], ['--hogbatch'], ['--batch', 64, '--flush', 'step']])
def test_word_vectors(run, tmp_path, flags):
    """Threads add to rows and mark them while the driver takes marked rows away."""
    env = {name: f'{os.environ.get(name, "")}:log_path={tmp_path}/sanitizer'.lstrip(':')
           for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS')}
    run('synth', 'word2vec', '--out', tmp_path, '--rows', 3000, '--quiet', env=env).wait()
    summary = run('run', 'word2vec', '-n', 2, '-t', 2, '--train', tmp_path / 'train.txt', '--dim', 32, '--epochs', 1, '--json',
                  '--quiet', *flags, env=env).done(120)
    found = ''.join(path.read_text() for path in tmp_path.glob('sanitizer*'))
    assert not found, found[:8000]
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced']
