import collections
import os
import pathlib
import subprocess

import pytest

import processes

Rows = collections.namedtuple('Rows', 'train test n')


@pytest.fixture
def start(tmp_path):
    """start('run', 'svm', ...) -> a running Hogmesh; all of it is killed when the test ends."""
    started = []

    def start_one(*arguments, **options):
        started.append(processes.Hogmesh(tmp_path, *arguments, **options))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture
def run(start):
    """run(...) -> the Hogmesh at its end."""
    return lambda *arguments, timeout=60, **options: start(*arguments, **options).wait(timeout)


def synth(folder, n, test_rows):
    subprocess.run([processes.BINARY, 'synth', 'svm', '--out', folder, '--rows', str(n), '--quiet'], check=True)
    lines = (folder / 'test.svm').read_bytes().splitlines(keepends=True)[:test_rows]
    (folder / 'test.svm').write_bytes(b''.join(lines))
    return Rows(folder / 'train.svm', folder / 'test.svm', n)


@pytest.fixture(scope='session')
def small(tmp_path_factory):
    """2,000 synthetic rows."""
    return synth(tmp_path_factory.mktemp('small'), 2000, 500)


@pytest.fixture(scope='session')
def rows(tmp_path_factory):
    """20,000 synthetic rows in the shape of RCV1."""
    return synth(tmp_path_factory.mktemp('rows'), 20000, 3000)


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """4,000 synthetic images to train on, 4,000 to test."""
    folder = tmp_path_factory.mktemp('images')
    subprocess.run([processes.BINARY, 'synth', 'lenet5', '--out', folder, '--rows', '4000', '--quiet'], check=True)
    return folder


@pytest.fixture(scope='session')
def rcv1():
    """A subset of the real RCV1."""
    default = processes.ROOT.parent / 'shared' / 'data'
    data = pathlib.Path(os.environ.get('HOGMESH_DATA') or default) / 'rcv1'
    name = 'rcv1v2_subset.binary.{}.svm.xz'
    if not (data / name.format('train')).exists():
        pytest.skip(f'no {data / name.format("train")}; HOGMESH_DATA names the folder that holds rcv1/')
    return Rows(data / name.format('train'), data / name.format('test'), 18749)
