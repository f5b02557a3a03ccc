"""Word2Vec as a workload: trained in a mesh, simulated, in batches, exported, refused; on a text made here."""
import json
import subprocess

import pytest

from processes import BINARY
from test_words import check_analogies, check_pairs, gensim_vectors


@pytest.fixture(scope='module')
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp('words')
    subprocess.run([BINARY, 'synth', 'word2vec', '--out', folder, '--rows', '20000', '--quiet'], check=True)
    return folder


def corpus(text):
    return next(f for f in sorted(text.glob('*.txt')) if f.name not in ('questions.txt', 'pairs.txt'))


def flags(text, *more):
    return ['--train', corpus(text), '--dim', 32, '--no-cache', '--json', '--quiet', *more]


def check_end(summary, n):
    assert summary['clean'] and summary['equal_hashes'] and summary['balanced'], summary
    assert len(summary['per_node']) == n
    assert summary['deltas']['lost'] == 0


def test_nodes_and_threads_learn(run, text):
    for n, threads in (1, 2), (2, 1):
        summary = run('run', 'word2vec', '-n', n, '-t', threads, *flags(text, '--epochs', 3, '--test-fraction', .1,
                                                                          '--out', f'out{n}')).done()
        check_end(summary, n)
        assert summary['test']['loss'] < 3.2 < 6 * .693  # K + 1 times log 2 is what nothing learnt has
        assert summary['examples'] >= summary['steps'] * .99


def test_exported_vectors_are_those_of_the_model(run, text, tmp_path):
    run('run', 'word2vec', '-n', 1, *flags(text, '--epochs', 2, '--out', 'out')).done()
    for name in 'v.bin', 'v.txt':
        assert run('export', 'word2vec', 'out', '--to', name).wait().code == 0
    scores = [run('eval', 'word2vec', model, '--analogies', text / 'questions.txt', '--json').wait().out
              for model in ('out', 'v.bin', 'v.txt')]
    assert scores[0] == scores[1] == scores[2] != ''
    head = (tmp_path / 'v.txt').read_text().splitlines()[0].split()
    assert head[1] == '32'
    refused = run('export', 'word2vec', 'out', '--to', 'v.onnx').wait()
    assert refused.code == 2 and '.bin, .txt and .npy' in refused.err


def test_scores_of_a_run_are_those_of_gensim(run, text, tmp_path):
    run('run', 'word2vec', '-n', 1, *flags(text, '--epochs', 1, '--out', 'out')).done()
    assert run('export', 'word2vec', 'out', '--to', 'v.bin').wait().code == 0
    theirs = gensim_vectors(tmp_path / 'v.bin')
    asked = ('--analogies', text / 'questions.txt', '--pairs', text / 'pairs.txt')
    ours = json.loads(run('eval', 'word2vec', 'out', *asked, '--json').wait().out)
    check_analogies(theirs, ours['analogies'], text / 'questions.txt')
    check_pairs(theirs, ours['pairs'][0], text / 'pairs.txt', within=1e-4)  # gensim ranks float32 cosines, many of them near 1
    assert (ours['vectors'], ours['dim']) == (len(theirs), 32)
    a, b, c, _ = (text / 'questions.txt').read_text().splitlines()[1].split()
    ours = json.loads(run('similar', b, '--minus', a, '--plus', c, '--model', 'out', '--top', 25, '--json').wait().out)['similar']
    near = theirs.most_similar(positive=[b, c], negative=[a], topn=25)
    assert [x['word'] for x in ours] == [word for word, _ in near]
    assert [x['cosine'] for x in ours] == pytest.approx([cosine for _, cosine in near], abs=1e-5)


def test_one_dimension(run, text, tmp_path):
    """Its rows have a second column, which is padding and nobody's business."""
    run('run', 'word2vec', '-n', 1, *flags(text, '--epochs', .2, '--dim', 1, '--out', 'out')).done()
    assert run('export', 'word2vec', 'out', '--to', 'v.txt').wait().code == 0
    assert (tmp_path / 'v.txt').read_text().split()[1] == '1'
    ours = json.loads(run('eval', 'word2vec', 'out', '--pairs', text / 'pairs.txt', '--json').wait().out)
    assert ours['dim'] == 1


def test_what_is_odd_about_a_text_is_said(run, start, text, tmp_path):
    odd = tmp_path / 'odd.txt'
    odd.write_bytes(corpus(text).read_bytes() + b'caf\xe9 ' + 2000 * b'x' + b'\n')
    cache = tmp_path / 'odd.txt.hmcache'
    for command in (['run', '-n', 2], ['sim', '-n', 2], ['join', '--expect', 1]):
        given = [command[0], 'word2vec', *command[1:], '--train', odd, '--dim', 8, '--epochs', .1]
        err = run(*given).wait().err
        assert err.count('1 bytes of the text are not UTF-8; each counts as U+FFFD') == 1, err
        assert err.count('1 words of more than 1000 bytes are left out') == 1, err
        assert 'damaged' not in err
        content = bytearray(cache.read_bytes())
        content[-3] ^= 1
        cache.unlink()  # it may be mapped
        cache.write_bytes(content)
        assert run(*given).wait().err.count('the cache of the text was damaged; it was made anew') == 1


@pytest.mark.parametrize('more', [[], ['--cbow'], ['--hogbatch'], ['--schedule', 'constant'], ['--batch', 128, '--step-time', 'const:1ms', '--delay', 'const:3ms'],
                                  ['--batch', 64, '--staleness-bound', 0], ['--combine', 'mean'], ['--combine', 'saturate'],
                                  ['--combine', 'saturate', '--bandwidth', '300KB', '--step-time', 'const:1ms', '--batch', 64],
                                  ['--combine', 'saturate', '--flush', 'step', '--batch', 256], ['--combine', 'hold', '--batch', 64]])
def test_simulations_repeat(run, text, more):
    command = ['sim', 'word2vec', '-n', 3, *flags(text, '--epochs', .2, *more)]
    first, second = run(*command).done(120), run(*command).done(120)
    check_end(first, 3)
    assert first['model_hash'] == second['model_hash']
    assert first['train']['loss'] < 4.3


def test_another_vocabulary_is_refused(start, text, tmp_path):
    other = tmp_path / 'other.txt'
    other.write_text(corpus(text).read_text().replace('a', 'e'))
    first = start('join', 'word2vec', '--train', corpus(text), '--no-cache', '--expect', 2)
    second = start('join', 'word2vec', '--train', other, '--no-cache', '--peer', first.address()).wait()
    assert second.code == 4
    assert "'vocabulary'" in second.err


def test_options_of_others_are_refused(run, text):
    for more, says in ((['--momentum', .9], '--momentum'), (['--warmup', 0], 'are for svm and lenet5'), (['--cbow', '--hogbatch'], '--hogbatch'),
                       (['--partition', 'labels'], 'no labels'), (['--combine', 'lookahead'], 'lookahead'),
                       (['--sample', 2], '--sample'), (['--schedule', 'step'], 'linear or constant'), (['--test-fraction', 1], '--test-fraction'), (['--dim', 1001], '1 to 1000')):
        process = run('run', 'word2vec', '-n', 1, *flags(text, *more)).wait()
        assert process.code != 0 and says in process.err, (more, process.err)


def test_a_cap_is_held_and_the_residual_told(run, text):
    """Hot rows first, the rest in rotation, the last flush too: no more than the cap allows, give or take a burst."""
    cap = 4e5
    summary = run('sim', 'word2vec', '-n', 3, *flags(text, '--epochs', 15, '--combine', 'saturate', '--speed', '100k',
                                                     '--bandwidth', int(cap))).done(120)
    check_end(summary, 3)
    for node in summary['per_node']:
        assert .8 < node['counters']['bytes_sent'] / cap / summary['train_seconds'] < 1.05, node
    assert 0 < summary['residual']['oldest_flushes'] <= 64


def test_a_late_node_and_a_resumed_mesh_go_on_saturating(run, start, text):
    """What the rule keeps of a process is estimated anew."""
    def own(*more):
        return [flag for flag in flags(text, *more) if flag != '--quiet']

    more = own('--seconds', 8, '--combine', 'saturate', '--flush', '20ms', '--out', 'out')
    first = start('join', 'word2vec', *more, '--expect', 2, '--label', 'first')
    second = start('join', 'word2vec', *own(), '--peer', first.address(), '--expect', 2, '--label', 'second', '--out', 'out')
    late = start('join', 'word2vec', *own(), '--peer', first.address(), '--label', 'late', '--out', 'out')
    ends = [node.done(120) for node in (first, second, late)]
    assert len({end['model_hash'] for end in ends}) == 1
    again = run('join', 'word2vec', *own('--seconds', 10), '--expect', 1, '--label', 'first', '--out', 'out', '--resume').done(120)
    assert again['clean'] and again['steps'] > ends[0]['steps']


def test_too_many_weights_are_refused(run, tmp_path):
    (tmp_path / 'many.vocab').write_text(''.join(f'w{i} 1\n' for i in range(1100000)))
    (tmp_path / 'text.txt').write_text('w1 w2 w3\n' * 100)
    process = run('run', 'word2vec', '-n', 1, '--train', 'text.txt', '--vocab', 'many.vocab', '--dim', 1000, '--no-cache').wait()
    assert process.code != 0
    for part in '1100000 words of dimension 1000 have more than 2^31 weights', '--dim', '--vocab-max', '--min-count':
        assert part in process.err, process.err
