"""What hogmesh learns, beside LIBLINEAR; and its exports, read by LIBLINEAR and numpy."""
import lzma
import re
import shutil
import subprocess

import pytest

TRAIN, PREDICT = shutil.which('liblinear-train'), shutil.which('liblinear-predict')
needs_liblinear = pytest.mark.skipif(not PREDICT, reason='liblinear-predict is missing: install liblinear-tools')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, rows):
    """A folder written by --out."""
    import processes
    folder = tmp_path_factory.mktemp('trained')
    processes.Hogmesh(folder, 'run', 'svm', '-n', 3, '--train', rows.train, '--test', rows.test, '--epochs', 20, '--out',
                      folder / 'out', '--json', '--quiet').done()
    return folder / 'out'


def predictions(tmp_path, test, model):
    text = subprocess.run([PREDICT, test, model, tmp_path / 'labels'], check=True, capture_output=True, text=True).stdout
    right, n = re.search(r'\((\d+)/(\d+)\)', text).groups()
    return [int(float(line)) for line in (tmp_path / 'labels').read_text().split()], int(right), int(n)


@needs_liblinear
def test_liblinear_predicts_the_same(run, rows, trained, tmp_path):
    assert run('export', 'svm', trained, '--to', 'svm.model').code == 0
    _, right, n = predictions(tmp_path, rows.test, tmp_path / 'svm.model')
    score = run('eval', 'svm', trained, '--test', rows.test, '--json').done()
    assert score['n'] == n == 3000
    assert round(score['accuracy'] * n) == right


@needs_liblinear
def test_numpy_predicts_the_same(run, rows, trained, tmp_path):
    numpy = pytest.importorskip('numpy')
    for name in 'svm.npy', 'svm.model':
        assert run('export', 'svm', trained, '--to', name).code == 0
    w = numpy.load(tmp_path / 'svm.npy')
    assert w.ndim == 1 and numpy.isfinite(w).all() and numpy.count_nonzero(w) > 1000
    labels, _, _ = predictions(tmp_path, rows.test, tmp_path / 'svm.model')
    with open(rows.test) as file:
        for line, label in zip(file, labels, strict=True):
            margin = w[-1]
            for feature, value in (item.split(':') for item in line.split()[1:]):
                margin += w[int(feature) - 1] * float(value) if int(feature) < len(w) else 0
            assert (1 if margin > 0 else -1) == label or abs(margin) < 1e-9


def test_eval_says_the_same_as_the_run(run, rows, trained):
    import json
    summary = json.loads((trained / 'summary.json').read_text())
    scores = [json.loads(line) for line in
              run('eval', 'svm', trained / 'model.hm', '--train', rows.train, '--test', rows.test, '--json').out.splitlines()]
    for score in scores:
        assert score['accuracy'] == pytest.approx(summary[score['set']]['accuracy'], abs=1e-8)
        assert score['cost'] == pytest.approx(summary[score['set']]['cost'], rel=1e-6)
    assert [score['set'] for score in scores] == ['train', 'test']


@needs_liblinear
def test_real_rcv1(run, rcv1, tmp_path):
    accuracy = []
    for seed in 1, 2, 3:
        summary = run('run', 'svm', '-n', 4, '--train', rcv1.train, '--test', rcv1.test, '--epochs', 5, '--seed', seed,
                      '--json', '--quiet').done()
        assert summary['clean'] and summary['equal_hashes'] and summary['balanced']
        assert summary['test']['n'] == 5000
        accuracy.append(summary['test']['accuracy'])
    for name, source in ('train', rcv1.train), ('test', rcv1.test):
        (tmp_path / name).write_bytes(lzma.decompress(source.read_bytes()))
    cost = 1 / (1e-4 * rcv1.n)
    subprocess.run([TRAIN, '-q', '-s', '3', '-c', str(cost), tmp_path / 'train', tmp_path / 'm'], check=True)
    _, right, n = predictions(tmp_path, tmp_path / 'test', tmp_path / 'm')
    mean = sum(accuracy) / 3
    assert mean >= .963 and abs(mean - right / n) <= .003, (accuracy, right / n)


def test_lyrl2004_and_topics(run, tmp_path):
    """Vectors and topics in the files of the RCV1 collection."""
    with open(tmp_path / 'v.dat', 'w') as vectors, open(tmp_path / 'topics.qrels', 'w') as topics:
        for document in range(1, 401):
            positive = document % 3 == 0
            vectors.write(f'{document}  {1 if positive else 2}:1 {document % 50 + 3}:0.1\n')
            topics.write(f'{"CCAT" if positive else "GCAT"} {document} 1\nALL {document} 1\n')
    summary = run('run', 'svm', '-n', 2, '--train', 'v.dat', '--topics', 'topics.qrels', '--epochs', 50, '--json').done()
    assert summary['train']['accuracy'] == 1 and summary['train']['n'] == 400
    other = run('run', 'svm', '-n', 1, '--train', 'v.dat', '--topics', 'topics.qrels', '--topic', 'NONE')
    assert other.code == 1 and 'NONE' in other.err, other
