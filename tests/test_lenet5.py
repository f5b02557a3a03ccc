"""LeNet5 as a workload: trained in a mesh, simulated, scored, exported, resumed; on images made here."""
import json
import re
import struct

import pytest


def check_end(summary, n):
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    assert len(summary['per_node']) == n
    assert summary['deltas']['lost'] == 0


def test_two_nodes_learn(run, images, tmp_path):
    summary = run('run', 'lenet5', '-n', 2, '--data', images, '--epochs', 4, '--out', 'out', '--json', '--quiet',
                  '--flush', '5ms').done()
    check_end(summary, 2)
    assert summary['test']['accuracy'] > .9 and summary['test']['n'] == 4000
    assert 16000 <= summary['steps'] < 18000
    assert summary['bytes']['per_coordinate'] < 1
    scored = run('eval', 'lenet5', 'out', '--data', images, '--json').wait()
    assert scored.code == 0, str(scored)
    sets = {json.loads(line)['set']: json.loads(line) for line in scored.out.splitlines()}
    assert sets['test']['accuracy'] == pytest.approx(summary['test']['accuracy'], abs=1e-9)
    assert sets['train']['loss'] == pytest.approx(summary['train']['loss'], rel=1e-6)
    report = sets['test']['report']
    assert summary['report'] == report == json.loads((tmp_path / 'out' / 'summary.json').read_text())['report']
    table = report['confusion']
    assert sum(map(sum, table)) == 4000
    assert sum(table[i][i] for i in range(10)) == round(4000 * sets['test']['accuracy'])
    for i, figures in enumerate(report['classes']):
        assert figures['n'] == sum(table[i])
        assert figures['recall'] == pytest.approx(table[i][i] / sum(table[i]))
        assert figures['precision'] == pytest.approx(table[i][i] / sum(row[i] for row in table))
        assert figures['f1'] == pytest.approx(2 / (1 / figures['recall'] + 1 / figures['precision']))
    assert 'precision' in run('eval', 'lenet5', 'out', '--data', images).wait().out


def test_report_for_people(run, images):
    for command in ('sim', '-n', 2), ('run', '-n', 2), ('sim', '--topology', 'server'):
        process = run(command[0], 'lenet5', *command[1:], '--data', images, '--epochs', 1, '--flush', 'step')
        assert process.code == 0, process
        head, *rows = process.out[process.out.index('class  precision'):].splitlines()[:11]
        assert head.split() == ['class', 'precision', 'recall', 'f1', 'taken', 'for', *map(str, range(10))]
        assert sum(int(x) for row in rows for x in row.split()[4:]) == 4000
        accuracy = float(re.search(r'test +accuracy ([0-9.]+)', process.out)[1])
        assert accuracy == pytest.approx(sum(int(row.split()[4 + i]) for i, row in enumerate(rows)) / 40, abs=.01)


def test_threads_share_weights(run, images):
    summary = run('run', 'lenet5', '-n', 1, '-t', 2, '--data', images, '--epochs', 4, '--json', '--quiet').done()
    check_end(summary, 1)
    assert summary['test']['accuracy'] > .9


def sim(images, n, *flags):
    return ['sim', 'lenet5', '-n', n, '--data', images, '--json', '--quiet', *flags]


SLOW = ('--step-time', 'const:17ms', '--batch', 32, '--flush', 'step')


def test_simulation_repeats(run, images):
    flags = (*SLOW, '--partition', 'split', '--delay', 'const:60ms@1', '--epochs', 1, '--dropout', '.2', '--compensate',
             'adaptive:1')
    ends = [run(*sim(images, 3, *flags, '--seed', seed)).done() for seed in (1, 1, 2)]
    check_end(ends[0], 3)
    assert ends[0]['model_hash'] == ends[1]['model_hash'] != ends[2]['model_hash']
    assert ends[0]['sim']['trace_hash'] == ends[1]['sim']['trace_hash'] != ends[2]['sim']['trace_hash']
    assert ends[0]['sim']['virtual_seconds'] > 4000 / 32 / 3 * .017


@pytest.mark.parametrize('flags', [('--momentum', 0), ('--momentum', .9), ('--momentum', .5, '--nesterov'),
                                   ('--schedule', 'cosine'), ('--staleness-aware',), ('--warmup', '1k'), ('--compensate', 2),
                                   ('--lambda', '1e-4', '--clip', 0, '--lr', .01)])
def test_optimisers_learn(run, images, flags):
    summary = run(*sim(images, 1, *SLOW, '--epochs', 4, *flags)).done()
    check_end(summary, 1)
    assert summary['test']['accuracy'] > (.3 if '--momentum' in flags and 0 in flags else .85)


# ---- many nodes ----

# Steps of 17 ms that arrive a tenth of a step later: 20 epochs of small data are as many steps as 1.3 of Fashion-MNIST.
MANY = (*SLOW, '--latency', 'const:1.7ms', '--epochs', 20)


@pytest.mark.parametrize('flags, least', [(('--partition', 'split'), .93), (('--partition', 'labels', '--clip', 4), .93),
                                          (('--partition', 'split', '--momentum', .9, '--delay', 'const:90ms@0'), .93),
                                          (('--partition', 'split', '--delay', 'const:90ms'), .93)])
def test_ten_nodes_learn_by_the_rule_of_their_partition(run, images, flags, least):
    summary = run(*sim(images, 10, *MANY, *flags)).done()
    check_end(summary, 10)
    assert summary['test']['accuracy'] > least
    assert summary['bytes']['per_coordinate'] < .5


def test_rules_for_labels_differ(run, images):
    """Otherwise the rules above show nothing."""
    accuracy = {rule: run(*sim(images, 10, *MANY, '--partition', 'labels', '--clip', 4, '--combine', rule)).done()['test']['accuracy']
                for rule in ('sum', 'hold', 'lookahead')}
    assert accuracy['lookahead'] > max(accuracy['sum'], accuracy['hold']) + .01, accuracy


def test_a_node_of_a_holding_mesh_may_die(run, images, tmp_path):
    plan = tmp_path / 'plan.json'
    plan.write_text(json.dumps({'events': [{'at': '1s', 'do': 'kill', 'node': 2}]}))
    summary = run(*sim(images, 4, *SLOW, '--partition', 'split', '--epochs', 8, '--faults', plan)).done()
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    assert summary['test']['accuracy'] > .9


def test_server(run, images):
    summary = run(*sim(images, 4, '--topology', 'server', '--batch', 32, '--step-time', 'const:17ms', '--epochs', 3,
                       '--lr', .005)).done()
    assert summary['test']['accuracy'] > .8


def test_contradicting_node_is_refused_by_name(start, run, images):
    first = start('join', 'lenet5', '--data', images, '--seconds', 20, '--expect', 1, '--bind', '127.0.0.1:0')
    endpoint = first.address()
    second = run('join', 'lenet5', '--data', images, '--peer', endpoint, '--momentum', .5)
    assert second.code == 4 and "'momentum'" in second.err, str(second)
    third = run('join', 'svm', '--train', 'none', '--peer', endpoint)
    assert third.code != 0


def test_wrong_usage(run, images, tmp_path):
    for flags, says in [(('--momentum', 1), 'from 0 up to'), (('--dropout', .95), '0.9'),
                        (('--schedule', 'wavy'), 'constant|linear|step|cosine'), (('--compensate', 'x'), '0 to 1e6'),
                        (('--seconds', 1, '--schedule', 'step'), '--epochs or --steps')]:
        process = run(*sim(images, 1, *flags))
        assert process.code == 2 and says in process.err, str(process)
    process = run('run', 'lenet5', '--json')
    assert process.code == 2 and '--data DIR' in process.err, str(process)
    process = run('run', 'lenet5', '--data', tmp_path)
    assert process.code == 1 and 'no images in this folder' in process.err, str(process)
    process = run('sim', 'svm', '--data', images)
    assert process.code == 2 and '--data is for images' in process.err, str(process)


def test_resumes(run, images):
    base = ('run', 'lenet5', '-n', 2, '--data', images, '--out', 'out', '--json', '--quiet')
    first = run(*base, '--epochs', 2).done()
    again = run(*base, '--resume', '--epochs', 4).done()
    check_end(again, 2)
    assert again['steps'] >= 16000 > first['steps']
    assert again['test']['accuracy'] > .9


# ---- export ----

def read_safetensors(path):
    import numpy
    data = path.read_bytes()
    n, = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8 + n])
    header.pop('__metadata__')
    return {name: numpy.frombuffer(data[8 + n:][slice(*entry['data_offsets'])], '<f4').reshape(entry['shape'])
            for name, entry in header.items()}


def test_pytorch_predicts_the_same(run, images, tmp_path):
    torch = pytest.importorskip('torch')
    import numpy
    summary = run('run', 'lenet5', '-n', 1, '--data', images, '--epochs', 2, '--out', 'out', '--json', '--quiet').done()
    process = run('export', 'lenet5', 'out', '--to', 'net.safetensors')
    assert process.code == 0, str(process)
    weight = {name: torch.tensor(value) for name, value in read_safetensors(tmp_path / 'net.safetensors').items()}
    assert sum(w.numel() for w in weight.values()) == 61706
    pixels = numpy.fromfile(images / 't10k-images-idx3-ubyte', 'u1')[16:].reshape(-1, 1, 28, 28)
    labels = torch.tensor(numpy.fromfile(images / 't10k-labels-idx1-ubyte', 'u1')[8:].astype('i8'))
    f = torch.nn.functional
    x = torch.tensor(pixels / numpy.float32(255), dtype=torch.float32)
    x = f.max_pool2d(f.relu(f.conv2d(x, weight['conv1.weight'], weight['conv1.bias'], padding=2)), 2)
    x = f.max_pool2d(f.relu(f.conv2d(x, weight['conv2.weight'], weight['conv2.bias'])), 2).flatten(1)
    x = f.relu(f.linear(x, weight['fc1.weight'], weight['fc1.bias']))
    x = f.relu(f.linear(x, weight['fc2.weight'], weight['fc2.bias']))
    x = f.linear(x, weight['fc3.weight'], weight['fc3.bias'])
    assert (x.argmax(1) == labels).float().mean().item() == pytest.approx(summary['test']['accuracy'], abs=2e-4)
    assert f.cross_entropy(x, labels).item() == pytest.approx(summary['test']['loss'], rel=1e-3)
