"""Wrong usage and wrong input: refused with file, line and remedy, with the right exit code, and nothing half-written."""
import gzip
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile

import pytest

import processes

GOOD = '1 1:1 3:0.5\n-1 2:1 4:0.25\n'

# name: (text, words that the message contains)
INPUTS = {
    'no colon': ('1 1:1\n-1 nonsense\n', ['line 2', 'nonsense']),
    'no value': ('1 1:1\n-1 2:\n', ['line 2']),
    'feature 0': (GOOD + '1 0:1\n', ['line 3', '0']),
    'descending': (GOOD + GOOD + '1 5:1 3:1\n', ['line 5', '3']),
    'repeated': (GOOD + '1 5:1 5:1\n', ['line 3', '5']),
    'nan': (GOOD + '-1 1:nan\n', ['line 3', 'nan']),
    'inf': (GOOD + '-1 1:1e999\n', ['line 3', '1e999']),
    'label': (GOOD + 'spam 1:1\n', ['line 3', 'spam']),
    'binary': (GOOD + '\0\1\2\n', ['line 3']),
    'too many features': (GOOD + '1 99999999999:1\n', ['line 3', '99999999999']),
    'one class': ('1 1:1\n1 2:1\n', ['class', '1']),
    'empty': ('', ['no rows']),
    'comments alone': ('# nothing\n\n', ['no rows']),
}


def check_refused(process, code, *words):
    assert process.code == code, process
    assert process.out == '' or process.out.startswith('{'), process
    assert process.err.startswith('hogmesh'), process
    assert 'Assertion' not in process.err
    for word in words:
        assert str(word) in process.err, process


def nothing_left(folder, *but):
    left = {path.name for path in folder.iterdir() if not path.name.startswith('process')} - set(but)
    assert not left, left


@pytest.mark.parametrize('name, where', [(name, where) for name in INPUTS for where in ('--train', '--test')
                                         if (name, where) != ('one class', '--test')])
def test_input(run, small, tmp_path, name, where):
    text, words = INPUTS[name]
    (tmp_path / 'rows.svm').write_text(text)
    files = ['--train', 'rows.svm'] if where == '--train' else ['--train', small.train, '--test', 'rows.svm']
    process = run('run', 'svm', '-n', 2, *files, '--epochs', 1)
    check_refused(process, 1, 'rows.svm', *words)
    nothing_left(tmp_path, 'rows.svm')
    assert process.seconds < 5


def test_message_is_said_once(run, tmp_path):
    (tmp_path / 'rows.svm').write_text(INPUTS['nan'][0])
    process = run('run', 'svm', '-n', 4, '--train', 'rows.svm')
    assert process.err.count('line 3') == 1, process


def test_truncated_gz(run, tmp_path):
    packed = gzip.compress((GOOD * 5000).encode())
    (tmp_path / 'rows.svm.gz').write_bytes(packed[:-20])
    check_refused(run('run', 'svm', '-n', 2, '--train', 'rows.svm.gz'), 1, 'rows.svm.gz', 'cut off')
    nothing_left(tmp_path, 'rows.svm.gz')
    (tmp_path / 'rows.svm.gz').write_bytes(packed)
    assert run('run', 'svm', '-n', 2, '--train', 'rows.svm.gz', '--epochs', 1).code == 0


def test_missing_file(run, small, tmp_path):
    check_refused(run('run', 'svm', '-n', 2, '--train', 'no/such.svm'), 1, 'no/such.svm', 'No such file')
    check_refused(run('run', 'svm', '-n', 2, '--train', os.fsdecode(b'no/caf\xe9.svm')), 1, 'no/caf?.svm', 'No such file')
    check_refused(run('run', 'svm', '-n', 2, '--train', small.train, '--test', 'nope.svm'), 1, 'nope.svm')
    check_refused(run('run', 'svm', '-n', 2, '--train', tmp_path), 1, tmp_path)
    check_refused(run('eval', 'svm', 'nowhere', '--test', small.test), 1, 'nowhere')
    check_refused(run('export', 'svm', 'nowhere', '--to', 'x.npy'), 1, 'nowhere')
    nothing_left(tmp_path)


def test_no_permission(tmp_path):
    """Root may read everything: the command is then run as nobody, who has to be able to reach it."""
    as_nobody = ['setpriv', '--reuid', 65534, '--regid', 65534, '--clear-groups'] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        command = shutil.copy(processes.BINARY, folder)
        rows = pathlib.Path(folder) / 'rows.svm'
        rows.write_text(GOOD)
        os.chmod(rows, 0)
        done = subprocess.run([*map(str, as_nobody), command, 'run', 'svm', '-n', '1', '--train', rows], cwd=folder,
                              capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stdout == '', done
    assert str(rows) in done.stderr and 'Permission denied' in done.stderr, done


USAGE = [
    (['run', 'svm', '-n', 2, '--spam', 1], ['--spam', '--help']),
    (['run', 'svm', '-z'], ['-z', '--help']),
    (['run', 'svm', '--train'], ['--train', 'value']),
    (['run', 'svm', '-n'], ['-n', 'value']),
    (['run', 'spam', '-n', 2], ['spam', 'svm']),
    (['run'], ['workload', 'svm']),
    (['spam'], ['spam', '--help']),
    (['run', 'svm', '-n', 2], ['--train']),
    (['run', 'svm', '-n', 0, '--train', 'ROWS'], ['--nodes', '0']),
    (['run', 'svm', '-n', 100, '--train', 'ROWS'], ['100', '64']),
    (['run', 'svm', '-n', -1, '--train', 'ROWS'], ['-1']),
    (['run', 'svm', '-n', 'two', '--train', 'ROWS'], ['two', 'number']),
    (['run', 'svm', '-n', 1.5, '--train', 'ROWS'], ['1.5']),
    (['run', 'svm', '-t', 0, '--train', 'ROWS'], ['threads']),
    (['run', 'svm', '-t', 1000, '--train', 'ROWS'], ['threads']),
    (['run', 'svm', '--epochs', 0, '--train', 'ROWS'], ['--epochs', '0']),
    (['run', 'svm', '--epochs', 'nan', '--train', 'ROWS'], ['--epochs', 'nan']),
    (['run', 'svm', '--lambda', -1, '--train', 'ROWS'], ['--lambda', '-1']),
    (['run', 'svm', '--lambda', '1e-4x', '--train', 'ROWS'], ['--lambda', '1e-4x']),
    (['run', 'svm', '--lr', 'fast', '--train', 'ROWS'], ['--lr', 'fast']),
    (['run', 'svm', '--seconds', '', '--train', 'ROWS'], ['--seconds']),
    (['run', 'svm', '--target-accuracy', 95, '--train', 'ROWS'], ['--target-accuracy', '95']),
    (['run', 'svm', '--partition', 'half', '--train', 'ROWS'], ['half', 'split']),
    (['run', 'svm', '--combine', 'add', '--train', 'ROWS'], ['add', 'sum']),
    (['run', 'svm', '--flush', 'often', '--train', 'ROWS'], ['often', '20ms']),
    (['run', 'svm', '--bandwidth', '0', '--train', 'ROWS'], ['--bandwidth', '50MB']),
    (['run', 'svm', '--isa', 'mmx', '--train', 'ROWS'], ['mmx', 'auto']),
    (['run', 'svm', 'extra', '--train', 'ROWS'], ['extra']),
    (['run', 'svm', '--batch', 0, '--train', 'ROWS'], ['--batch', '0']),
    (['join', 'svm', '--rank', '2/2', '--train', 'ROWS'], ['2/2']),
    (['join', 'svm', '--label', 'a b', '--train', 'ROWS'], ['a b']),
    (['join', 'svm', '--expect', 0, '--train', 'ROWS'], ['--expect']),
    (['join', 'svm', '--expect', 100, '--train', 'ROWS'], ['100', '64']),
    (['join', 'svm', '--bind', 'nonsense', '--train', 'ROWS'], ['--bind', 'nonsense']),
    (['eval', 'svm', '--test', 'ROWS'], ['--out']),
    (['eval', 'svm', 'folder'], ['--test']),
    (['export', 'svm', 'folder'], ['--to']),
    (['synth', 'svm'], ['--out']),
    (['synth', 'word2vecs', '--out', 'x'], ['word2vecs']),
    (['synth', 'word2vec'], ['--out']),
    (['eval', 'word2vec', 'x'], ['--analogies', '--pairs']),
    (['eval', 'word2vec', '--pairs', 'x'], ['argument']),
    (['vocab', 'x'], ['--to']),
    (['vocab', '--to', 'x'], ['FILE']),
    (['similar', 'word'], ['--model']),
    (['similar', '--model', 'x'], ['WORD']),
    (['vocab', 'ROWS', '--to', 'x', '--min-count', 'few'], ['--min-count', 'few']),
]


@pytest.mark.parametrize('arguments, words', USAGE, ids=[' '.join(map(str, a)) for a, _ in USAGE])
def test_usage(run, small, tmp_path, arguments, words):
    process = run(*[small.train if a == 'ROWS' else a for a in arguments], timeout=20)
    check_refused(process, 2, *words)
    assert process.out == '' and process.seconds < 3
    nothing_left(tmp_path)


@pytest.mark.parametrize('arguments', [['--help'], ['help'], ['run', '--help'], ['join', 'svm', '--help'], ['eval', '--help'],
                                       ['export', '-h'], ['synth', '--help'], ['inspect', '--help'], ['--version']])
def test_help(run, arguments):
    process = run(*arguments)
    assert process.code == 0 and process.err == '' and 'hogmesh' in process.out.splitlines()[0], process


def test_no_arguments(run):
    process = run()
    assert process.code == 2 and 'run' in process.err and process.out == ''


def test_out_that_cannot_be(run, small, tmp_path):
    (tmp_path / 'file').write_text('')
    for out in 'file', 'file/out', 'no/such/parent':
        check_refused(run('run', 'svm', '-n', 2, '--train', small.train, '--out', out, timeout=10), 1, out)
    nothing_left(tmp_path, 'file')


def test_full_disk(run, small, tmp_path):
    """A model that cannot be written is an error, not a footnote."""
    out = tmp_path / 'out'
    out.mkdir()
    os.symlink('/dev/full', out / 'summary.json')
    process = run('run', 'svm', '-n', 1, '--train', small.train, '--epochs', 1, '--out', out)
    assert process.code == 1 and 'summary.json' in process.err, process


def test_damaged_model(run, small, tmp_path):
    out = tmp_path / 'out'
    assert run('run', 'svm', '-n', 1, '--train', small.train, '--epochs', 1, '--out', out).code == 0
    model = out / 'model.hm'
    good = model.read_bytes()
    for name, bad in {'flipped': good[:-1000] + bytes([good[-1000] ^ 1]) + good[-999:], 'truncated': good[:len(good) // 2],
                      'longer': good + b'x', 'empty': b'', 'other': b'spam' * 1000, 'header': good[:20]}.items():
        model.write_bytes(bad)
        for command in ['eval', 'svm', out, '--test', small.test], ['export', 'svm', out, '--to', tmp_path / 'x.npy']:
            process = run(*command)
            assert process.code in (1, 3) and 'model.hm' in process.err, f'{name}: {process}'
            assert not (tmp_path / 'x.npy').exists(), name


def test_export_to_what_is_not_known(run, small, tmp_path):
    assert run('run', 'svm', '-n', 1, '--train', small.train, '--epochs', 1, '--out', 'out').code == 0
    process = run('export', 'svm', 'out', '--to', 'model.bin')
    assert process.code in (1, 2), process
    assert '.model' in process.err and '.npy' in process.err, process
    assert not (tmp_path / 'model.bin').exists()
    check_refused(run('export', 'svm', 'out', '--to', 'no/such/x.npy'), 1, 'no/such/x.npy')


def test_cache_is_not_trusted_blindly(run, small, tmp_path):
    rows = tmp_path / 'rows.svm'
    rows.write_bytes(small.train.read_bytes())
    flags = ['run', 'svm', '-n', 1, '--train', 'rows.svm', '--steps', 1000, '--json', '--quiet']
    first = run(*flags).done()
    cache = tmp_path / 'rows.svm.hmcache'
    bytes_ = bytearray(cache.read_bytes())
    bytes_[len(bytes_) // 2] ^= 0xff
    cache.unlink()
    cache.write_bytes(bytes_)
    assert run(*flags).done()['model_hash'] == first['model_hash']
    assert stat.S_IMODE(cache.stat().st_mode) & 0o111 == 0
