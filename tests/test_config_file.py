"""--config FILE: options of training by name, from lines or JSON; a flag that says otherwise is refused."""
import json

import pytest

LINES = """# a remark
lambda = 1e-3   # behind a value, too
  lr=20

epochs\t=\t2
combine = sum
seed = 5
workload = svm
"""
SAME = ['--lambda', '1e-3', '--lr', '20', '--epochs', '2', '--combine', 'sum', '--seed', '5']


def config_of(run, out):
    inspected = run('inspect', out / 'model.hm')
    assert inspected.code == 0, inspected
    return json.loads(inspected.out)['config']


def test_says_what_flags_say(run, small, tmp_path):
    (tmp_path / 'lines.conf').write_text(LINES)
    (tmp_path / 'object.json').write_text(json.dumps(
        {'workload': 'svm', 'lambda': 1e-3, 'lr': 20, 'epochs': '2', 'combine': 'sum', 'seed': 5}))
    configs = []
    for i, flags in enumerate((SAME, ['--config', 'lines.conf'], ['--config', 'object.json'],
                               ['--config', 'lines.conf', *SAME])):
        out = tmp_path / f'out{i}'
        run('run', 'svm', '-n', 2, '--train', small.train, '--quiet', '--json', '--out', out, *flags).done()
        configs.append(config_of(run, out))
    assert configs[0] == configs[1] == configs[2] == configs[3]
    assert configs[0]['lambda'] == '0.001'


@pytest.mark.parametrize('text, words', [
    ('lambda = 0.002', ['line 1', 'lambda', '0.002', '--lambda', '0.001']),
    ('{"lambda": 0.002}', ['lambda', '0.002', '--lambda', '0.001']),
    ('epochs = 2\ncolour = red', ['line 2', 'colour', '--help']),
    ('threads = 2', ['line 1', 'threads']),
    ('t0 = 100', ['line 1', 't0']),
    ('workload = word2vec', ['line 1', 'word2vec', 'svm'])])
def test_contradictions(run, small, tmp_path, text, words):
    (tmp_path / 'wrong').write_text(text)
    process = run('run', 'svm', '-n', 2, '--train', small.train, '--lambda', '0.001', '--config', 'wrong')
    assert process.code == 2 and process.out == '' and process.seconds < 3, process
    for word in ('wrong', *words):
        assert word in process.err, process


@pytest.mark.parametrize('text, words', [
    ('lr = fast', ['line 1', 'fast', 'number']), ('lr =', ['line 1', 'NAME = VALUE']), ('= 3', ['line 1']),
    ('\n\nnonsense', ['line 3', 'NAME = VALUE']), ('lr = 1\nlr = 2', ['line 2', 'second time']),
    ('{"lr": 1, "lr": 2}', ['duplicate']), ('{"lr": [1]}', ['numbers or texts']), ('{"lr": 1', ['line 1']),
    ('a' * 40 + ' = 1', ['line 1']), ('lr = 1\0', ['no text'])])
def test_files_that_are_wrong(run, small, tmp_path, text, words):
    (tmp_path / 'wrong').write_text(text)
    process = run('run', 'svm', '-n', 2, '--train', small.train, '--config', 'wrong')
    assert process.code == 1 and process.out == '', process
    for word in ('wrong', *words):
        assert word in process.err, process


def test_file_that_is_not_there(run, small):
    process = run('run', 'svm', '-n', 2, '--train', small.train, '--config', 'no/such')
    assert process.code == 1 and 'no/such' in process.err and 'No such file' in process.err, process


def test_joiner_whose_file_contradicts_the_mesh(start, small, tmp_path):
    (tmp_path / 'other.conf').write_text('lambda = 0.5\n')
    first = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 2, '--json')
    other = start('join', 'svm', '--train', small.train, '--peer', first.address(), '--config', 'other.conf').wait(10)
    assert other.code == 4 and 'lambda' in other.err and '0.5' in other.err and other.seconds < 5, other
    assert first.done()['clean']
