"""hogmesh vocab, eval word2vec, similar and synth word2vec, beside Python's own view of text and beside gensim."""
import bz2
import collections
import gzip
import json
import lzma
import os
import pathlib
import random
import struct
import subprocess
import unicodedata
import zipfile

import pytest

from processes import BINARY, ROOT

SEED = int(os.environ.get('HOGMESH_SEED', '1'))
DATA = pathlib.Path(os.environ.get('HOGMESH_DATA') or ROOT.parent / 'shared' / 'data') / 'word-eval'


def hogmesh(*arguments, code=0):
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, timeout=120)
    assert done.returncode == code, (done.returncode, done.stderr.decode(errors='replace'))
    return done.stdout.decode(), done.stderr.decode(errors='replace')


def refused(*arguments, says, code=1):
    out, err = hogmesh(*arguments, code=code)
    assert not out
    for part in says:
        assert part in err, err


# ---- vocab ----

def vocab(folder, *files, flags=()):
    out = folder / 'out.vocab'
    hogmesh('vocab', *files, '--to', out, '--min-count', 1, '--quiet', *flags)
    return out.read_text()


def expected(words, min_count=1):
    counts = collections.Counter(words)
    kept = [(w, n) for w, n in counts.items() if n >= min_count]
    return ''.join(f'{w} {n}\n' for w, n in sorted(kept, key=lambda entry: (-entry[1], entry[0].encode())))


def random_text(seed, n):
    """Letters, marks, digits, punctuation, white space of several scripts."""
    rng = random.Random(seed)
    blocks = [(0x20, 0x7F)] * 6 + [(0xA0, 0x17F), (0x250, 0x2AF), (0x300, 0x340), (0x391, 0x3A1), (0x410, 0x44F), (0x621, 0x63A),
                                   (0x915, 0x94D), (0x10A0, 0x10C5), (0x1E00, 0x1EFF), (0x2000, 0x2060), (0x2C00, 0x2C2E),
                                   (0x3000, 0x3020), (0x4E00, 0x4E40), (0xFF10, 0xFF40), (0x10400, 0x1044F), (0x1F600, 0x1F640)]
    text = [rng.choice('   \n') if rng.random() < .2 else chr(rng.randint(*rng.choice(blocks))) for _ in range(n)]
    return ''.join(text)


def lower_words(text):
    """Runs of letters, marks and numbers, character by character in lower case."""
    return ''.join(c.lower()[0] if unicodedata.category(c)[0] in 'LMN' else ' ' for c in text).split(' ')


def test_words_are_those_of_python(tmp_path):
    text = random_text(SEED, 60000)
    path = tmp_path / 'a.txt'
    path.write_bytes(text.encode())
    print(f'repeat with HOGMESH_SEED={SEED}')
    assert vocab(tmp_path, path) == expected(w for w in text.split() if w != '</s>')
    assert vocab(tmp_path, path, flags=['--lowercase']) == expected(w for w in lower_words(text) if w)


def test_min_count_and_vocab_max(tmp_path):
    words = random_text(SEED + 1, 30000).split()
    path = tmp_path / 'a.txt'
    path.write_text(' '.join(words))
    all_of_them = expected(words, 2)
    assert vocab(tmp_path, path, flags=['--min-count', 2]) == all_of_them
    assert vocab(tmp_path, path, flags=['--min-count', 2, '--vocab-max', 10]) == ''.join(all_of_them.splitlines(True)[:10])


def test_compressed_texts(tmp_path):
    text = random_text(SEED + 2, 20000).encode()
    (tmp_path / 'a.txt').write_bytes(text)
    (tmp_path / 'a.gz').write_bytes(gzip.compress(text))
    (tmp_path / 'a.bz2').write_bytes(bz2.compress(text))
    (tmp_path / 'a.xz').write_bytes(lzma.compress(text))
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.txt', text)
    plain = vocab(tmp_path, tmp_path / 'a.txt')
    for name in ('a.gz', 'a.bz2', 'a.xz', 'a.zip'):
        assert vocab(tmp_path, tmp_path / name) == plain


def test_shards_have_the_vocabulary_of_the_whole(tmp_path):
    text = random_text(SEED + 3, 40000)
    lines = text.splitlines(True)
    (tmp_path / 'whole.txt').write_text(text)
    for i in range(3):
        (tmp_path / f'part{i}.txt').write_text(''.join(lines[i::3]))
        hogmesh('vocab', tmp_path / f'part{i}.txt', '--to', tmp_path / f'part{i}.vocab', '--min-count', 1, '--quiet')
    whole = vocab(tmp_path, tmp_path / 'whole.txt', flags=['--min-count', 3])
    merged = vocab(tmp_path, *(tmp_path / f'part{i}.vocab' for i in range(3)), flags=['--merge', '--min-count', 3])
    assert merged == whole
    assert vocab(tmp_path, *(tmp_path / f'part{i}.txt' for i in range(3)), flags=['--min-count', 3]) == whole


def test_vocab_says_what_it_met(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'a b\xFF c ' + 2000 * b'x' + b' a\n')
    _, err = hogmesh('vocab', tmp_path / 'a.txt', '--to', tmp_path / 'v', '--min-count', 1)
    assert '1 bytes of the text are not UTF-8' in err and '1 words of more than 1000 bytes' in err
    assert '3 words, counted 4 times in all (of 3 different words and 4)' in err
    assert (tmp_path / 'v').read_text() == 'a 2\nb\uFFFD 1\nc 1\n'


def test_vocab_refuses(tmp_path):
    good, bad, to = tmp_path / 'good', tmp_path / 'bad', tmp_path / 'to'
    good.write_text('a 1\n')
    bad.write_text('a 1\nb many\n')
    refused('vocab', '--merge', bad, '--to', to, says=['bad: line 2', "'many'", "'b'"])
    refused('vocab', '--merge', good, '--to', to, says=['good', '--min-count'])
    refused('vocab', '--merge', good, '--to', to, '--lowercase', says=['--lowercase'], code=2)
    refused('vocab', tmp_path / 'none', '--to', to, says=['none', 'No such file'])
    bad.write_bytes(b'a\nb\0c\n')
    refused('vocab', bad, '--to', to, says=['bad: line 2: a NUL byte'])
    assert not to.exists()


# ---- vectors ----

def write_text(path, words, vectors):
    with open(path, 'w') as file:
        file.write(f'{len(words)} {len(vectors[0])}\n')
        for word, vector in zip(words, vectors):
            file.write(word + ''.join(f' {x:.9g}' for x in vector) + '\n')


def write_binary(path, words, vectors, end=b'\n'):
    with open(path, 'wb') as file:
        file.write(f'{len(words)} {len(vectors[0])}\n'.encode())
        for word, vector in zip(words, vectors):
            file.write(word.encode() + b' ' + struct.pack(f'<{len(vector)}f', *vector) + end)


def scored(path, *flags):
    out, _ = hogmesh('eval', 'word2vec', path, '--json', '--quiet', *flags)
    return json.loads(out)


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
    """Vectors that answer about half of the questions of synth word2vec right, in several spellings; files and folder."""
    numpy = pytest.importorskip('numpy')
    folder = tmp_path_factory.mktemp('planted')
    hogmesh('synth', 'word2vec', '--out', folder, '--rows', 100, '--quiet')
    rng = numpy.random.default_rng(SEED)
    lines = [line.split() for line in (folder / 'questions.txt').read_text().splitlines() if line[0] != ':']
    pairs = sorted({tuple(line[:2]) for line in lines})
    words, rows, roles = [], [], rng.normal(size=(2, 30))
    for pair in pairs:
        subject = rng.normal(size=30)
        for role, word in enumerate(pair):
            words.append(word)
            rows.append(subject + roles[role] + .75 * rng.normal(size=30))
    for word in words[::3]:  # the same word again in another spelling, and not quite in the same place
        rows.append(rows[words.index(word)] + .3 * rng.normal(size=30))
        words.append(word.capitalize())
    for i in range(700):
        words.append(f'stra\u00dfe{i}')
        rows.append(rng.normal(size=30))
    order = rng.permutation(len(words))
    words, rows = [words[i] for i in order], numpy.array(rows)[order].astype(numpy.float32)
    write_text(folder / 'v.txt', words, rows)
    write_binary(folder / 'v.bin', words, rows)
    write_binary(folder / 'gensim.bin', words, rows, end=b'')
    return folder


def gensim_vectors(path):
    models = pytest.importorskip('gensim.models', reason='python3-gensim is not installed: nothing to compare with')
    return models.KeyedVectors.load_word2vec_format(str(path), binary=path.suffix == '.bin')


def check_analogies(vectors, ours, questions, **settings):
    _, sections = vectors.evaluate_word_analogies(str(questions), **settings)
    theirs = [(s['section'], len(s['correct']), len(s['correct']) + len(s['incorrect'])) for s in sections]
    assert [(s['section'], s['right'], s['n']) for s in ours['sections']] == theirs[:-1]
    assert (ours['right'], ours['n']) == theirs[-1][1:]


def check_pairs(vectors, ours, pairs, within=1e-6, **settings):
    pearson, spearman, unknown = vectors.evaluate_word_pairs(str(pairs), **settings)
    assert ours['pearson'] == pytest.approx(pearson[0], abs=within)
    assert ours['spearman'] == pytest.approx(spearman[0], abs=within)
    assert 100 * ours['unknown_part'] == pytest.approx(unknown)


@pytest.mark.parametrize('flags, settings', [
    ((), {}),
    (('--restrict-vocab', 500), {'restrict_vocab': 500}),
    (('--case-sensitive',), {'case_insensitive': False}),
    (('--restrict-vocab', 130, '--case-sensitive'), {'restrict_vocab': 130, 'case_insensitive': False}),
])
def test_scores_are_those_of_gensim(planted, flags, settings):
    vectors = gensim_vectors(planted / 'v.bin')
    ours = scored(planted / 'v.bin', '--analogies', planted / 'questions.txt', '--pairs', planted / 'pairs.txt', *flags)
    check_analogies(vectors, ours['analogies'], planted / 'questions.txt', **settings)
    check_pairs(vectors, ours['pairs'][0], planted / 'pairs.txt', **settings)
    if not flags:
        assert 200 < ours['analogies']['right'] < 1700, 'neither all right nor all wrong, or the test shows little'


def test_scores_on_the_sets_of_the_field(tmp_path):
    """questions-words.txt and word pairs as they are published, with vectors drawn for their words."""
    numpy = pytest.importorskip('numpy')
    questions = DATA / 'questions-words.txt'
    if not questions.exists():
        pytest.skip(f'no {questions}; HOGMESH_DATA names the folder that holds word-eval/')
    rng = numpy.random.default_rng(SEED)
    vectors = {}
    for line in questions.read_text().splitlines():
        if line[0] != ':':
            a, b, c, d = line.split()
            for first, second in ((a, b), (c, d)):
                base = vectors.setdefault(first, rng.normal(size=20))
                vectors.setdefault(second, base + numpy.arange(20) % 3 - 1 + .5 * rng.normal(size=20))
    for line in (DATA / 'EN-MEN-TR-3k.txt').read_text().splitlines()[:2000]:
        for word in line.split()[:2]:
            vectors.setdefault(word, rng.normal(size=20))
    write_binary(tmp_path / 'v.bin', list(vectors), list(vectors.values()))
    pairs = ('EN-WS-353-ALL.txt', 'SimLex-999.txt', 'EN-MEN-TR-3k.txt', 'EN-MTurk-771.txt', 'EN-RW-STANFORD.txt')
    ours = scored(tmp_path / 'v.bin', '--analogies', questions, *(f'--pairs={DATA / name}' for name in pairs))
    assert [p['n'] + p['unknown'] for p in ours['pairs']] == [353, 999, 3000, 771, 2034]
    theirs = gensim_vectors(tmp_path / 'v.bin')
    check_analogies(theirs, ours['analogies'], questions)
    for name, own in zip(pairs, ours['pairs']):
        column = 3 if name.startswith('SimLex') else 2  # gensim wants three columns
        rows = [line.split('\t') for line in (DATA / name).read_text().splitlines()[name.startswith('SimLex'):]]
        (tmp_path / name).write_text(''.join(f'{r[0]}\t{r[1]}\t{r[column]}\n' for r in rows))
        check_pairs(theirs, own, tmp_path / name)


def test_formats_threads_and_instruction_sets_agree(planted):
    flags = ('--analogies', planted / 'questions.txt', '--pairs', planted / 'pairs.txt')
    first = scored(planted / 'v.bin', *flags)
    assert scored(planted / 'gensim.bin', *flags) == first
    assert scored(planted / 'v.txt', *flags) == first
    assert scored(planted / 'v.bin', '-t', 5, *flags) == first
    assert scored(planted / 'v.bin', '--isa', 'ref', *flags)['analogies'] == first['analogies']


def test_table(planted):
    out, _ = hogmesh('eval', 'word2vec', planted / 'v.bin', '--analogies', planted / 'questions.txt', '--pairs', planted / 'pairs.txt')
    lines = out.splitlines()
    assert len(lines) == 7 and lines[0].startswith('kind-1') and lines[5].startswith('all analogies')
    assert lines[6].startswith('pairs.txt') and 'Spearman' in lines[6] and '0.0 % unknown' in lines[6]


def test_similar_words_are_those_of_gensim(planted):
    vectors = gensim_vectors(planted / 'v.bin')
    a, b, c, _ = (planted / 'questions.txt').read_text().splitlines()[1].split()
    for flags, asked in (((a,), {'positive': [a]}), ((b, '--minus', a, '--plus', c), {'positive': [b, c], 'negative': [a]})):
        ours = json.loads(hogmesh('similar', *flags, '--model', planted / 'v.bin', '--top', 25, '--json')[0])['similar']
        theirs = vectors.most_similar(**asked, topn=25)
        assert [x['word'] for x in ours] == [word for word, _ in theirs]
        assert [x['cosine'] for x in ours] == pytest.approx([cosine for _, cosine in theirs], abs=1e-5)
    out, _ = hogmesh('similar', a, '--model', planted / 'v.txt', '--top', 3)
    assert len(out.splitlines()) == 3


def test_unknown_words_are_named(planted):
    word = (planted / 'questions.txt').read_text().splitlines()[1].split()[0]
    refused('similar', 'no-such-word', '--model', planted / 'v.bin', says=["'no-such-word' is not among"], code=2)
    refused('similar', word.upper(), '--model', planted / 'v.bin', says=[f"'{word.upper()}' is not among", f"'{word}' is"], code=2)


GOOD = b'2 3\na 1 2 3\nb 4 5 6\n'


@pytest.mark.parametrize('content, says', [
    (b'', ['line 1: two numbers']),
    (b'hello world\n', ['line 1: two numbers']),
    (b'2\na 1\n', ['line 1: two numbers']),
    (b'-2 3\n', ['line 1: two numbers']),
    (b'0 3\n', ['line 1: 0 vectors']),
    (b'2 99999999\n', ['line 1: 2 vectors of 99999999']),
    (b'2 3\na 1 2 3\n', ['only 1 of the 2 vectors']),
    (b'2 3\na 1 2 3\nb 4 5 6\nc 7 8 9\n', ['line 4: more than the 2 vectors']),
    (b'2 3\na 1 2 3\nb 4 5\n', ['line 3: 2 components; line 1 says 3']),
    (b'2 3\na 1 2 3 4\nb 4 5 6\n', ['line 2: more than the 3 components']),
    (b'2 3\na 1 2 3\nb 4 1e 6\n', ['line 3', "component 2 '1e'"]),
    (b'2 3\na 1 2 3\nb 4 1e99 6\n', ["line 3: component 2 of 'b' is not finite"]),
    (b'2 3\na 1 2 3\n 4 5 6\n', ['line 3', 'no word']),
    (b'2 1\na \0\0\x80\x3f\nb \0\0\x80', ['ends within vector 2 of 2']),
    (b'2 1\na \0\0\x80\x3f\nb \0\0\x80\x7f\n', ["component 1 of 'b' is not finite"]),
    (b'1 1\na \0\0\x80\x3f\nb \0\0\x80\x3f\n', ['goes on after the 1 vectors']),
    (b'900000000 65536\na \0', ['line 1: 900000000 vectors']),
    (b'90000000 65536\na \0', ['ends within vector 1']),
], ids=range(18))
def test_vectors_that_are_refused(tmp_path, content, says):
    path = tmp_path / 'v.bin'
    path.write_bytes(content)
    (tmp_path / 'pairs').write_text('a\tb\t1\n')
    refused('eval', 'word2vec', path, '--pairs', tmp_path / 'pairs', says=['v.bin', *says])


def test_words_twice_are_said(tmp_path):
    (tmp_path / 'v.txt').write_bytes(b'3 2\na 1 0\nb 1 1\na 0 1\n')
    (tmp_path / 'pairs').write_text('a\tb\t1\nb\ta\t2\na\ta\t3\n')
    out, err = hogmesh('eval', 'word2vec', tmp_path / 'v.txt', '--pairs', tmp_path / 'pairs')
    assert '1 words came again' in err and 'Spearman 0.8660' in out


@pytest.mark.parametrize('kind, content, says', [
    ('analogies', 'a b c d\n', ['line 1', 'before the first section']),
    ('analogies', ': x\na b c\n', ['line 2', 'four words', 'here are 3']),
    ('analogies', ': x\n\n', ['no questions in it']),
    ('pairs', '# only\n\n', ['no pairs in it']),
    ('pairs', 'a\tb\t1\nb\ta\n', ['line 2', 'two words and a number']),
    ('pairs', 'a\tb\t1\nb\ta\tx\n', ['line 2', 'two words and a number']),
    ('pairs', 'a\tb\t1\n\ta\t3\n', ['line 2', 'two words and a number']),
])
def test_questions_that_are_refused(tmp_path, kind, content, says):
    (tmp_path / 'v.txt').write_bytes(GOOD)
    (tmp_path / 'file.txt').write_text(content)
    refused('eval', 'word2vec', tmp_path / 'v.txt', f'--{kind}', tmp_path / 'file.txt', says=['file.txt', *says])


def test_headings_and_unknown_words(tmp_path):
    (tmp_path / 'v.txt').write_bytes(GOOD)
    (tmp_path / 'pairs').write_text('Word 1\tWord 2\tHuman\n# a comment\nA\tB\tN\t1.5\r\nx\ty\tN\t2\r\n\n')
    (tmp_path / 'questions').write_text(': nothing known \na b x y\n')
    out = scored(tmp_path / 'v.txt', '--pairs', tmp_path / 'pairs', '--analogies', tmp_path / 'questions')
    assert out['pairs'][0]['n'] == 1 and out['pairs'][0]['unknown'] == 1 and out['pairs'][0]['spearman'] is None
    assert out['analogies']['n'] == 0 and out['analogies']['unknown'] == 1 and out['analogies']['accuracy'] is None
    assert out['analogies']['sections'][0]['section'] == 'nothing known'


# ---- synth ----

def test_synth_repeats(tmp_path):
    def made(name, *flags):
        hogmesh('synth', 'word2vec', '--out', tmp_path / name, '--rows', 3000, '--quiet', *flags)
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    first = made('a')
    assert sorted(first) == ['pairs.txt', 'questions.txt', 'train.txt']
    assert first['train.txt'].count(b'\n') == 3000
    assert made('b') == first
    other = made('c', '--seed', 2)
    assert other['train.txt'] != first['train.txt'] and other['questions.txt'] == first['questions.txt']


def test_gensim_learns_what_is_planted(tmp_path):
    models = pytest.importorskip('gensim.models', reason='python3-gensim is not installed: nobody to learn it')
    hogmesh('synth', 'word2vec', '--out', tmp_path, '--rows', 20000, '--quiet')
    model = models.Word2Vec(corpus_file=str(tmp_path / 'train.txt'), vector_size=20, window=5, sg=1, negative=5, sample=1e-2,
                            alpha=.05, epochs=2, workers=1, seed=1)
    model.wv.save_word2vec_format(str(tmp_path / 'v.bin'), binary=True)
    out = scored(tmp_path / 'v.bin', '--analogies', tmp_path / 'questions.txt', '--pairs', tmp_path / 'pairs.txt')
    assert out['analogies']['accuracy'] > .8 and out['pairs'][0]['spearman'] > .7
