"""Training that goes wrong: the node that it happens to says where and ends; the others go on. When it happens to all, all say so."""
import re

import pytest

REPORT = (r"training diverged on node {}: tensor '\w+', row \d+, column \d+: \S+ where [^\s,]+ is published(, within \d+)? "
          r"\(step \d+, learning rate [\d.e+-]+\)")


@pytest.mark.parametrize('command', ['run', 'sim'])
@pytest.mark.parametrize('lr', ['1e30', '1e6'])
def test_rate_that_is_too_high_for_all(run, rows, lr, command):
    process = run(command, 'svm', '-n', 3, '--train', rows.train, '--epochs', 20, '--lr', lr, '--json', timeout=30)
    assert process.code == 1, process
    for node in process.summary['per_node']:
        assert node['clean'] is False and node['hash'] is None
        assert re.search(REPORT.format(node['label']), node['ended']), node
        assert re.search(REPORT.format(node['label']), process.err), process
    assert process.summary['model_hash'] is None and not process.summary['clean']


def test_a_server_says_where_it_diverged(run, rows, tmp_path):
    process = run('sim', 'svm', '--topology', 'server', '-n', 3, '--train', rows.train, '--epochs', 20, '--lr', '1e6', '--batch', 10,
                  '--step-time', 'const:1ms', '--momentum', .99, '--schedule', 'constant', '--out', tmp_path / 'out', '--json', '--quiet', timeout=30)
    assert process.code == 1, process
    assert re.search(r"training diverged: tensor '\w+', row \d+, column \d+: \S+ \(step \d+\)", process.err), process
    summary = process.summary
    assert summary['model_hash'] is None and not summary['clean'] and summary['test'] is None
    assert all(node['ended'].startswith('training diverged') for node in summary['per_node'])
    assert not (tmp_path / 'out' / 'model.hm').exists()


def wild(rows, folder, line=12345):
    """The rows, of which one has values that no weight can follow, and the wrong label. It is not among those that choose rate and grid."""
    lines = rows.train.read_text().splitlines(keepends=True)
    label, features = lines[line].split(' ', 1)
    lines[line] = f'{-int(label)} ' + re.sub(r':\S+', ':1e30', features)
    path = folder / 'wild.svm'
    path.write_text(''.join(lines))
    return path


def test_one_node_of_a_run(run, rows, tmp_path):
    """Its part of the rows leads one of four astray: the run goes on without it and its summary says why."""
    process = run('run', 'svm', '-n', 4, '--train', wild(rows, tmp_path), '--test', rows.test, '--partition', 'split',
                  '--seconds', 2, '--json', timeout=30)
    summary = process.summary
    dead = [node for node in summary['per_node'] if node['hash'] is None]
    assert len(dead) == 1 and dead[0]['clean'] is False, process
    assert re.search(REPORT.format(dead[0]['label']), dead[0]['ended']), dead
    assert process.code == 0 and summary['clean'] and summary['equal_hashes'] and summary['balanced'], process
    assert summary['test']['accuracy'] > .85


def test_one_node_of_a_lan(start, rows, tmp_path):
    first = start('join', 'svm', '--train', rows.train, '--test', rows.test, '--expect', 3, '--seconds', 3, '--json')
    address = first.address()
    second = start('join', 'svm', '--train', rows.train, '--expect', 3, '--peer', address, '--json')
    third = start('join', 'svm', '--train', wild(rows, tmp_path), '--expect', 3, '--peer', address, '--label', 'eve', '--json')
    third.wait(10)
    assert third.code == 1 and re.search(REPORT.format('eve'), third.err), third
    a, b = first.done(), second.done()
    assert a['clean'] and b['clean'] and a['model_hash'] == b['model_hash']
    assert 'node eve has left the mesh' in first.err
    assert a['test']['accuracy'] > .85
