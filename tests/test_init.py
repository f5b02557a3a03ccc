"""--init: training begins with weights from files of other tools, or of a former run."""
import gzip
import json
import lzma
import os
import shutil
import struct

import numpy
import pytest

UNIT = 1 / 32  # of w, as V form begins on these rows: the first step size times its grid


@pytest.fixture
def score(run):
    def score_of(workload, folder, *flags):
        process = run('eval', workload, folder, *flags, '--json').wait()
        assert process.code == 0, process
        return json.loads(process.out.splitlines()[-1])
    return score_of


def first_weights(run, out, workload, *flags):
    """What a run with these flags begins with: the first point of its trajectory."""
    process = run('sim', workload, '-n', '1', *flags, '--steps', '64', '--trajectory', '1000', '--out', out, '--quiet').wait()
    assert process.code == 0, process
    return numpy.load(out / 'trajectory-node0.npy')[0]


def ok(process):
    assert process.code == 0, process
    return process


def refused(process, *says):
    assert process.code != 0
    for text in says:
        assert text in process.err, process


# ---- svm ----

@pytest.fixture(scope='module')
def svm(small, tmp_path_factory):
    import subprocess
    from processes import BINARY
    folder = tmp_path_factory.mktemp('svm')
    for command in ((f'run svm -n 1 --train {small.train} --test {small.test} --epochs 3 --quiet --out {folder}/out'),
                    f'export svm {folder}/out --to {folder}/a.model', f'export svm {folder}/out --to {folder}/a.npy'):
        subprocess.run([BINARY, *command.split()], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize('name', ['a.model', 'a.npy'])
@pytest.mark.parametrize('flags', [(), ('--momentum', '.9', '--batch', '32')])
def test_svm_begins_where_an_export_ended(run, score, small, svm, tmp_path, name, flags):
    data = ('--train', small.train, '--test', small.test)
    w = first_weights(run, tmp_path / 'out', 'svm', *data, *flags, '--init', svm / name)
    exported = numpy.load(svm / 'a.npy')
    assert w.shape == exported.shape
    assert abs(w - exported).max() <= (2e-3 if flags else UNIT / 2)
    before, after = (score('svm', folder, '--test', small.test) for folder in (svm / 'out', tmp_path / 'out'))
    numpy.save(tmp_path / 'w.npy', w)
    again = score('svm', svm / 'out', '--test', small.test, '--weights', tmp_path / 'w.npy')
    assert again['loss'] == pytest.approx(before['loss'], rel=.01)
    assert abs(again['accuracy'] - before['accuracy']) <= .005
    assert after['n'] == before['n']


def test_svm_reads_liblinears_other_forms(run, small, svm, tmp_path):
    """Labels the other way round, no bias, fewer features and more, compressed."""
    lines = (svm / 'a.model').read_text().splitlines()
    at = lines.index('w')
    w = [float(line) for line in lines[at + 1:]]
    turned = ['solver_type L2R_LR', 'nr_class 2', 'label -1 1', f'nr_feature {len(w) - 1}', 'bias -1', 'w', *(repr(-x) for x in w[:-1])]
    with gzip.open(tmp_path / 'turned.model.gz', 'wt') as file:
        file.write('\n'.join(turned) + '\n')
    read = first_weights(run, tmp_path / 'a', 'svm', '--train', small.train, '--init', tmp_path / 'turned.model.gz')
    assert abs(read[:-1] - w[:-1]).max() <= UNIT / 2 and read[-1] == 0
    longer = [*lines[:at - 2], f'nr_feature {len(w) + 1}', 'bias 2', 'w', *map(repr, w[:-1]), '0.5', '0', repr(w[-1] / 2)]
    (tmp_path / 'longer.model').write_text('\n'.join(longer) + '\n')
    process = ok(run('run', 'svm', '-n', '1', '--train', small.train, '--init', tmp_path / 'longer.model', '--steps', '64'))
    assert '1 weights of' in process.err and 'left out' in process.err
    for wrong, says in ((turned[:1] + ['nr_class 3'] + turned[2:], 'two classes'), (turned[:-1], 'are expected'),
                        (turned + ['1'], 'more weights'), (turned[:6] + ['nan'] * (len(w) - 1), 'line 7'),
                        (['hello'], 'no model of LIBLINEAR')):
        (tmp_path / 'wrong.model').write_text('\n'.join(wrong) + '\n')
        refused(run('sim', 'svm', '--train', small.train, '--init', tmp_path / 'wrong.model'), 'wrong.model', says)


def test_arrays_that_do_not_fit_are_refused(run, small, tmp_path):
    for array, says in ((numpy.zeros(7, 'f4'), '1 x 7 numbers; the model has'), (numpy.full(3, numpy.nan), 'the model has')):
        numpy.save(tmp_path / 'a.npy', array)
        refused(run('sim', 'svm', '--train', small.train, '--init', tmp_path / 'a.npy'), '--init', 'a.npy', says)
    refused(run('sim', 'svm', '--train', small.train, '--init', tmp_path / 'none.npy'), 'none.npy', 'No such file')


@pytest.mark.skipif(not shutil.which('liblinear-train'), reason='liblinear-train is missing: install liblinear-tools')
@pytest.mark.parametrize('flags', [('-s', '2', '-B', '1'), ('-s', '3', '-B', '1'), ('-s', '0',), ('-s', '6', '-c', '.5')], ids=' '.join)
def test_svm_begins_with_a_model_of_liblinear(run, small, tmp_path, flags):
    """Trained by itself; who reads which label first differs from file to file."""
    lines = small.train.read_text().splitlines()
    turned = [line for line in lines if line.startswith('-1')] + [line for line in lines if not line.startswith('-1')]
    for i, order in enumerate((turned, turned[::-1])):
        (tmp_path / 'rows').write_text('\n'.join(order) + '\n')
        ok(run('-q', *flags, 'rows', 'a.model', program=('liblinear-train',)))
        header, w = (tmp_path / 'a.model').read_text().split('\nw\n')
        sign = -1 if 'label -1 1' in header else 1
        w = sign * numpy.array(w.split(), float)
        read = first_weights(run, tmp_path / f'out{i}', 'svm', '--train', small.train, '--init', tmp_path / 'a.model')
        n = read.size - 1
        features = w[:-1] if '-B' in flags else w
        assert abs(read[:len(features)] - features[:n]).max() <= UNIT / 2 and not read[len(features):n].any()
        assert abs(read[n] - (w[-1] if '-B' in flags else 0)) <= UNIT / 2


def test_any_of_them_may_be_compressed(run, small, svm, images, lenet5, tmp_path):
    for source in (svm / 'a.npy', svm / 'a.model'):
        (tmp_path / 'x.gz').write_bytes(gzip.compress(source.read_bytes()))
        w = first_weights(run, tmp_path / source.name, 'svm', '--train', small.train, '--init', tmp_path / 'x.gz')
        assert abs(w - numpy.load(svm / 'a.npy')).max() <= UNIT / 2
    (tmp_path / 'x.xz').write_bytes(lzma.compress((lenet5 / 'a.safetensors').read_bytes()))
    w = first_weights(run, tmp_path / 'lenet5', 'lenet5', '--data', images, '--init', tmp_path / 'x.xz')
    assert (w == numpy.load(lenet5 / 'a.npy')).all()


def test_what_is_no_file_is_refused(run, small, tmp_path):
    (tmp_path / 'empty').touch()
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'pipe')
    for name, says in (('empty', 'a model of LIBLINEAR, .npy or'), ('folder', 'is a folder'), ('pipe', 'no regular file')):
        refused(run('sim', 'svm', '--train', small.train, '--init', tmp_path / name), '--init', name, says)
    refused(run('sim', 'svm', '--train', small.train, '--init', '/dev/null'), '/dev/null', 'no regular file')


def test_a_mesh_has_one_file(start, run, small, svm, tmp_path):
    """Nodes with another file, or with none, are refused by name."""
    def join(*flags):
        return run('join', 'svm', '--train', small.train, '--expect', '2', '--peer', address, '--steps', '2000', *flags)

    first = start('join', 'svm', '--train', small.train, '--expect', '2', '--init', svm / 'a.model', '--steps', '2000', '--json')
    address = first.address()
    refused(join('--init', svm / 'a.npy'), "'initial'", 'same')
    refused(join(), "'initial'", 'add --init and the same file')
    last = ok(join('--init', svm / 'a.model', '--json'))
    assert last.summary['model_hash'] == first.done()['model_hash']


def test_resumed_runs_need_no_file(run, small, svm, tmp_path):
    flags = ('--train', small.train, '--out', tmp_path / 'out', '--json')
    first = run('run', 'svm', '-n', '2', *flags, '--init', svm / 'a.model', '--steps', '1000').done()
    second = run('run', 'svm', *flags, '--resume', '--steps', '2000').done()
    assert second['steps'] > first['steps'] and second['equal_hashes'] and first['equal_hashes']
    ok(run('export', 'svm', tmp_path / 'out', '--to', tmp_path / 'b.model'))


# ---- lenet5 ----

@pytest.fixture(scope='module')
def lenet5(images, tmp_path_factory):
    import subprocess
    from processes import BINARY
    folder = tmp_path_factory.mktemp('lenet5')
    for command in (f'run lenet5 -n 1 --data {images} --steps 8000 --quiet --out {folder}/out',
                    f'export lenet5 {folder}/out --to {folder}/a.safetensors', f'export lenet5 {folder}/out --to {folder}/a.npy'):
        subprocess.run([BINARY, *command.split()], check=True, capture_output=True)
    return folder


def tensors_of(path):
    data = path.read_bytes()
    n, = struct.unpack('<Q', data[:8])
    return json.loads(data[8:8 + n]), data[8 + n:]


def write_tensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


def test_lenet5_begins_where_an_export_ended(run, score, images, lenet5, tmp_path):
    exported = numpy.load(lenet5 / 'a.npy')
    assert exported.shape == (61706,) and exported.dtype == numpy.float32
    for i, name in enumerate(('a.safetensors', 'a.npy')):
        w = first_weights(run, tmp_path / str(i), 'lenet5', '--data', images, '--init', lenet5 / name)
        assert (w == exported).all()
    before = score('lenet5', lenet5 / 'out', '--data', images)
    numpy.save(tmp_path / 'w.npy', w)
    after = score('lenet5', lenet5 / 'out', '--data', images, '--weights', tmp_path / 'w.npy')
    assert after['accuracy'] == pytest.approx(before['accuracy'], abs=1e-9)


def test_lenet5_takes_tensors_by_name(run, images, lenet5, tmp_path):
    header, data = tensors_of(lenet5 / 'a.safetensors')
    turned = {'other': {'dtype': 'I64', 'shape': [0], 'data_offsets': [0, 0]}, **dict(reversed(header.items()))}
    write_tensors(tmp_path / 'turned.safetensors', turned, data)
    w = first_weights(run, tmp_path / 'out', 'lenet5', '--data', images, '--init', tmp_path / 'turned.safetensors')
    assert (w == numpy.load(lenet5 / 'a.npy')).all()

    def refuse(says, **changes):
        wrong = {name: {**entry, **changes.get(name.replace('.', '_'), {})} for name, entry in header.items()
                 if changes.get(name.replace('.', '_'), {}) is not None}
        write_tensors(tmp_path / 'wrong.safetensors', wrong, data)
        refused(run('sim', 'lenet5', '--data', images, '--init', tmp_path / 'wrong.safetensors'), 'wrong.safetensors', says)

    refuse("'conv1.bias' is missing", conv1_bias=None)
    refuse('another shape than 6 x 1 x 5 x 5', conv1_weight={'shape': [6, 25]})
    refuse('of type F16; F32', fc1_weight={'dtype': 'F16'})
    refuse('lies at', fc3_bias={'data_offsets': [0, 10**9]})
    (tmp_path / 'short.safetensors').write_bytes((lenet5 / 'a.safetensors').read_bytes()[:-4])
    refused(run('sim', 'lenet5', '--data', images, '--init', tmp_path / 'short.safetensors'), 'lies at')
    (tmp_path / 'a.txt').write_text('hello\n')
    refused(run('sim', 'lenet5', '--data', images, '--init', tmp_path / 'a.txt'), 'unknown format; .safetensors or .npy')


# ---- word2vec ----

@pytest.fixture(scope='module')
def words(tmp_path_factory):
    import subprocess
    from processes import BINARY
    folder = tmp_path_factory.mktemp('words')
    for command in (f'synth word2vec --out {folder} --rows 3000 --quiet',
                    f'run word2vec -n 1 --train {folder}/train.txt --dim 20 --epochs 1 --quiet --out {folder}/out',
                    *(f'export word2vec {folder}/out --to {folder}/a.{kind}' for kind in ('bin', 'txt', 'npy'))):
        subprocess.run([BINARY, *command.split()], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize('kind', ['bin', 'txt', 'npy'])
def test_word2vec_begins_with_vectors(run, words, tmp_path, kind):
    exported = numpy.load(words / 'a.npy')
    assert exported.shape[1] == 20
    w = first_weights(run, tmp_path / 'out', 'word2vec', '--train', words / 'train.txt', '--dim', '20', '--init', words / f'a.{kind}')
    assert w.size == 2 * exported.size and abs(w[:exported.size] - exported.ravel()).max() <= 2 ** -9
    assert not w[exported.size:].any()


def test_word2vec_says_what_it_found(run, words, tmp_path):
    lines = (words / 'a.txt').read_text().splitlines()
    n = len(lines) - 1
    (tmp_path / 'half.txt').write_text('\n'.join([f'{n // 2 + 1} 20', *lines[1:n // 2 + 1], 'unknown' + ' 1' * 20]) + '\n')
    flags = ('-n', '1', '--train', words / 'train.txt', '--dim', '20', '--steps', '2000')
    process = ok(run('run', 'word2vec', *flags, '--init', tmp_path / 'half.txt'))
    assert f'{n // 2} of the {n} words of the vocabulary begin with their vectors of' in process.err
    (tmp_path / 'none.txt').write_text('1 20\nunknown' + ' 1' * 20 + '\n')
    refused(run('run', 'word2vec', *flags, '--init', tmp_path / 'none.txt'), 'none of the', 'none.txt')
    refused(run('run', 'word2vec', *flags[:4], '--dim', '30', '--init', words / 'a.bin'), 'vectors of 20 components', '--dim 20')
