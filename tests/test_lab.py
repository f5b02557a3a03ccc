"""The laboratory (tools/lab): statistics, experiments from files, resuming, tables that repeat, landscapes; one small run of each kind."""
import csv
import json
import math
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

import pytest

from processes import BINARY

numpy = pytest.importorskip('numpy')
pytest.importorskip('matplotlib')

LAB = pathlib.Path(__file__).resolve().parent.parent / 'tools' / 'lab'
sys.path.insert(0, str(LAB))
sys.dont_write_bytecode = True
import claim  # noqa: E402
import estimate  # noqa: E402
import experiment  # noqa: E402
import landscape  # noqa: E402
import law  # noqa: E402
import runs  # noqa: E402
import stats  # noqa: E402
import table  # noqa: E402

SVM = '''
title = "A small one"
asks = "Does it work?"
workload = "svm"
data = ["--train", "{train}", "--test", "{test}"]
seeds = 3
[flags]
"--no-cache" = true
"--step-time" = "const:1ms"
"--batch" = 16
"--epochs" = 3
"--score-every" = "500"
[axis.nodes]
"2" = {{ "-n" = 2 }}
"3" = {{ "-n" = 3 }}
[axis.again]
"a" = {{}}
"b" = {{}}
[quick]
seeds = 2
keep = {{ nodes = ["2"] }}
[[table]]
title = "Accuracy"
rows = ["nodes"]
columns = ["again"]
measure = "test.accuracy"
scale = 100
against = {{ again = "a" }}
[[figure]]
kind = "curves"
title = "Loss"
panels = "nodes"
lines = "again"
[[figure]]
kind = "intervals"
title = "Accuracy"
x = "nodes"
lines = "again"
measure = "test.accuracy"
'''


@pytest.fixture
def small_experiment(small, tmp_path):
    file = tmp_path / 'small.toml'
    file.write_text(SVM.format(train=small.train, test=small.test))
    return file


def lab(tmp_path, *arguments, code=0, **options):
    done = subprocess.run(['/usr/bin/python3', LAB / 'lab', *map(str, arguments)], cwd=tmp_path, text=True, capture_output=True,
                          env={**os.environ, 'HOGMESH': str(BINARY)}, timeout=400, **options)
    assert done.returncode == code, done
    return done


# ---- statistics ----

def test_intervals_are_students():
    values = [90.1, 89.7, 90.4, 90.0, 89.9]
    m = stats.mean(values)
    assert m.mean == pytest.approx(90.02) and m.half == pytest.approx(2.776 * statistics.stdev(values) / math.sqrt(5), rel=1e-3)
    assert stats.mean([5]).half == math.inf and stats.mean([]) is None
    assert math.isnan(stats.mean([1, float('nan')]).mean) and math.isnan(stats.mean([1, None]).mean)


def test_better_is_said_only_where_the_pairs_say_so():
    base = {1: 80., 2: 85., 3: 90., 4: 95., 5: 82.}
    more = {seed: value + .5 + .01 * seed for seed, value in base.items()}
    assert stats.verdict(stats.difference(more, base)) == 'better'  # although single values differ by far more
    assert stats.verdict(stats.difference(base, more)) == 'worse'
    assert stats.verdict(stats.difference(more, base), more_is_better=False) == 'worse'
    noise = {1: 81., 2: 84., 3: 91., 4: 94., 5: 82.}
    assert stats.verdict(stats.difference(noise, base)) == 'no difference'
    assert stats.verdict(stats.difference({1: 1.}, {1: 0.})) == 'unknown'


def test_principal_components_are_numpys():
    rng = numpy.random.default_rng(3)
    points = (rng.normal(size=(40, 3)) * [5, 2, .1]) @ rng.normal(size=(3, 700)) + rng.normal(size=700)
    centre, directions, explained = landscape.components(points)
    _, s, v = numpy.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    for ours, theirs in zip(directions, v):
        assert abs(ours @ theirs) == pytest.approx(1, abs=1e-5)
    assert explained == pytest.approx(s[:2] ** 2 / (s ** 2).sum(), abs=1e-5)
    assert centre == pytest.approx(points.mean(axis=0))


def test_when_a_loss_is_reached():
    points = [{'seconds': x, 'loss': y} for x, y in ((0, 5), (1, 3), (2, 3.5), (3, 2))]
    assert table.reached(points, 'seconds', 'loss', 3.2) == pytest.approx(2.2)  # for good, not for a moment
    assert table.reached(points, 'seconds', 'loss', 1) is None and table.reached(points, 'seconds', 'loss', 6) == 0


@pytest.mark.parametrize('expect, low, high, says', [
    ('less', -3, -1, 'holds'), ('less', -3, 1, 'not shown'), ('less', 1, 3, 'does not hold'), ('more', 1, 3, 'holds'), ('more', -3, -1, 'does not hold'),
    ('same', -.5, .9, 'holds'), ('same', -.5, 1.1, 'not shown'), ('same', 1.1, 2, 'does not hold'), ('same', -2, -1.1, 'does not hold')])
def test_a_claim_is_judged_by_its_interval(expect, low, high, says):
    assert claim.judge(stats.Mean((low + high) / 2, (high - low) / 2, 5), {'expect': expect, 'within': 1}) == says


def test_a_claim_of_an_amount():
    for expect, sign in (('more', 1), ('less', -1)):
        spec = {'expect': expect, 'by': 2}
        assert claim.judge(stats.Mean(sign * 3, .5, 5), spec) == 'holds'
        assert claim.judge(stats.Mean(sign * 1, .5, 5), spec) == 'does not hold'
        assert claim.judge(stats.Mean(sign * 2, .5, 5), spec) == 'not shown'


def test_a_claim_of_ratios_and_of_nothing():
    spec = {'expect': 'same', 'within': 1.25, 'ratio': True}
    assert claim.judge(stats.Mean(math.log(1.1), .1, 5), spec) == 'holds'
    assert claim.judge(stats.Mean(math.log(1.1), .2, 5), spec) == 'not shown'
    assert claim.judge(stats.Mean(math.log(2), .2, 5), spec) == 'does not hold'
    spec = {'expect': 'more', 'by': 2, 'ratio': True}  # at least twice as much
    assert claim.judge(stats.Mean(math.log(2.5), .2, 5), spec) == 'holds'
    assert claim.judge(stats.Mean(math.log(1.5), .2, 5), spec) == 'does not hold'
    assert claim.judge(stats.Mean(math.log(2), .2, 5), {'expect': 'more', 'ratio': True}) == 'holds'
    assert claim.judge(stats.Mean(1, math.inf, 1), spec) == claim.judge(stats.Mean(math.nan, math.nan, 5), spec) == claim.judge(None, spec) == 'not shown'


def result(summary, seed=1, flags=(), values=()):
    return runs.Result(experiment.Run(experiment.Setting(values, flags, 'svm', (), 'sim'), seed), [], summary, [], None, 1.5)


def test_a_run_that_diverged_counts_what_a_guess_gets_where_a_claim_says_so():
    there = [result({'test': {'accuracy': None if seed < 5 else .11}}, seed, values=(('m', '.99'),)) for seed in range(1, 6)]
    about = type('', (), {'axes': {'m': ['.99']}})()
    spec = {'measure': 'test.accuracy', 'scale': 100, 'of': {'m': '.99'}, 'than': 12, 'expect': 'less'}
    assert claim.held(about, there, spec)[0] == 'not shown'
    verdict, said = claim.held(about, there, {**spec, 'diverged': .1})
    assert verdict == 'holds' and said.startswith('10.20 ± ')


def test_measures_are_reckoned():
    r = result({'a': {'b': 12}, 'c': 3}, flags=(('--x', 1), ('unit', .5)))
    for text, value in (('a.b', 12), ('a.b - c', 9), ('a.b / c * unit + 1', 3), ('a.b - c * 2 - 1', 5), ('cpu_seconds', 1.5), ('a.x + c', None)):
        assert table.measure(r, {'measure': text}) == value, text


def test_the_cost_line_names_the_first_that_is_faster_for_sure():
    def line(*times):
        rows = [{'nodes': name} for name in ('1', '2', '4')]
        cells = [[table.Cell([result({'t': t + wobble}, seed) for seed, wobble in enumerate((0, .01, .02, .01, 0), 1)], {'measure': 't'})] for t in times]
        return table.cost([{}], rows, cells, {'alone': {'nodes': '1'}, 'unit': 's'})[-1]
    assert 'takes 1.01 ± 0.01 s; beaten from 4 on' in line(1, 1, .5)
    assert 'beaten from 2 on' in line(1, .9, 1.2) and 'never beaten' in line(1, 1.1, 1.2)


# ---- files ----

PAPERS = {'lenet5': ['table1', 'table2', 'table3', 'table4', 'table5', 'table6', 'table7', 'fig1', 'fig2', 'fig3', 'fig4', 'fig5', 'fig6', 'fig7'],
          'cifar10': ['fig1', 'fig2', 'fig3'], 'word2vec': ['fig1', 'fig2', 'fig3'],
          'rcv1': ['table1', 'table2', 'fig1', 'fig2', 'fig3', 'fig4', 'fig5', 'fig6', 'fig7']}


def test_every_table_and_figure_of_the_papers_has_an_experiment():
    assert not {f'{paper}-{what}' for paper, all_ in PAPERS.items() for what in all_} - set(experiment.names())


def test_what_there_is_can_be_done_in_time():
    """As reckoned: the tables of the LeNet5 paper in three hours of two cores, --quick in two minutes an experiment, 40 in all."""
    def seconds(name, quick=False):
        e = experiment.load(name, quick)
        return estimate.of_experiment(e, e.runs()) + estimate.landscape_seconds(e)
    assert sum(seconds(f'lenet5-table{i}') for i in range(2, 8)) < 2 * 3 * 3600
    quick = {name: seconds(name, True) for name in experiment.names()}
    assert max(quick.values()) < 2 * 100, quick
    assert sum(quick.values()) < 2 * 35 * 60


def test_all_experiments_can_be_read():
    assert len(experiment.names()) >= 10
    for name in experiment.names():
        for quick in (False, True):
            e = experiment.load(name, quick)
            assert e.runs() and e.about['title'] and len(e.runs()) == len(set(e.runs()))
            for spec in e.about.get('table', []):
                shape = [len(table.positions(experiment.load(name), experiment.listed(spec.get(key, [])))) for key in ('rows', 'columns')]
                shape = [10, 3] if spec.get('kind') == 'classes' else shape
                paper = spec.get('paper')
                assert not paper or [len(paper), *{len(row) for row in paper}] == shape, (name, spec['title'])


@pytest.mark.parametrize('line, says', [
    ('[axis.nodes]', "Cannot declare"), ('titel = "x"', "'titel' is not known"), ('mode = "real"', 'sim or run'),
    ('without = [{ nodes = "7" }]', "nodes = '7'"), ('title = ', 'Invalid value')])
def test_what_is_wrong_in_a_file_is_said(small_experiment, tmp_path, line, says):
    text = small_experiment.read_text()
    small_experiment.write_text(line + '\n' + text if line[0] != '[' else text + line)
    assert says in lab(tmp_path, 'run', small_experiment, code=1).stderr


def test_unknown_names(tmp_path):
    assert 'lenet5-table2' in lab(tmp_path, 'run', 'lenet5-table99', code=1).stderr
    assert 'lenet5-table2' in lab(tmp_path, 'list').stdout


# ---- runs ----

def test_an_experiment(small_experiment, tmp_path):
    """All that it leaves; A/A is no difference; a rerun makes nothing anew and leaves the same tables and figures."""
    out = tmp_path / 'out'
    first = lab(tmp_path, 'run', small_experiment, '--out', out)
    assert '6 of 6 runs' in first.stderr and '| 2 | ' in first.stdout and 'no difference' in first.stdout
    rows = list(csv.DictReader(open(out / 'table1.csv')))
    assert [(row['nodes'], row['again']) for row in rows] == [('2', 'a'), ('2', 'b'), ('3', 'a'), ('3', 'b')]
    assert rows[1]['verdict'] == 'no difference' and float(rows[1]['difference']) == 0
    runs = [json.loads(line) for line in (out / 'runs.jsonl').read_text().splitlines()]
    assert len(runs) == 12 and all(run['summary']['clean'] for run in runs)
    of_two = [100 * run['summary']['test']['accuracy'] for run in runs if run['setting'] == {'nodes': '2', 'again': 'a'}]
    assert float(rows[0]['mean']) == pytest.approx(statistics.mean(of_two))
    page = (out / 'report.html').read_text()
    assert page.count('data:image/svg+xml') == 2 and page.count('hogmesh sim svm') == 12 and 'http' not in re.sub(r'base64,[^"]+', '', page)
    names = ['table1.csv', 'report.md', 'report.html', 'figure1.svg', 'figure1.png', 'figure2.svg', 'figure2.png', 'runs.jsonl']
    before = {name: (out / name).read_bytes() for name in names}
    assert before['figure1.png'][:4] == b'\x89PNG'
    second = lab(tmp_path, 'run', small_experiment, '--out', out)
    assert '6 of 6 runs are there already' in second.stderr
    assert {name: (out / name).read_bytes() for name in names} == before
    lab(tmp_path, 'report', out)
    assert (out / 'table1.csv').read_bytes() == before['table1.csv']
    # Elsewhere, from nothing: what is simulated repeats to the byte.
    lab(tmp_path, 'run', small_experiment, '--out', tmp_path / 'other', '--jobs', 1)
    for name in ('table1.csv', 'figure1.svg', 'figure2.svg'):
        assert (tmp_path / 'other' / name).read_bytes() == before[name], name


def test_experiments_share_runs_and_seeds_may_differ(small_experiment, tmp_path):
    """Two files in one command: what both need is made once. A half with seeds of its own is other runs, and no difference."""
    other = tmp_path / 'other.toml'
    # The same flags from elsewhere in the file, and one setting of other seeds.
    text = small_experiment.read_text().replace('"--batch" = 16\n', '').replace('"a" = {}', '"a" = { "--batch" = 16 }')
    other.write_text(text.replace('"b" = {}', '"b" = { "--batch" = 16, seed_from = 100 }') + '''
[[claim]]
says = "They are alike"
measure = "test.accuracy"
scale = 100
of = { nodes = "3", again = "b" }
than = { again = "a" }
expect = "same"
within = 20
''')
    assert '6 runs, 6 to be made' in lab(tmp_path, 'run', '--dry-run', small_experiment, '--out', 'out').stdout and not (tmp_path / 'out').exists()
    done = lab(tmp_path, 'run', small_experiment, other, '--out', 'out')
    assert '6 of 12 runs are there already' in done.stderr
    assert '| They are alike | **holds** |' in done.stdout
    seeds = {line.split('--seed ')[1] for line in (tmp_path / 'out' / 'other' / 'commands.txt').read_text().splitlines()}
    assert seeds == {'1', '2', '3', '101', '102', '103'}
    lab(tmp_path, 'report', tmp_path / 'out' / 'other')

    # What is kept of them: a page each and one of all verdicts, however often and in whatever order they are published.
    kept = tmp_path / 'kept'
    for names in (['other'], [small_experiment.stem, 'other']):
        lab(tmp_path, 'publish', *(tmp_path / 'out' / name for name in names), '--out', kept)
    assert (kept / 'README.md').read_text().count('They are alike') == 1 and 'Of 1 statements 1 hold' in (kept / 'README.md').read_text()
    with open(kept / 'claims.csv', newline='') as file:
        assert [(row['experiment'], row['here']) for row in csv.DictReader(file)] == [('other', 'holds')]
    page = (kept / 'other.md').read_text()
    assert '| They are alike | **holds** |' in page and 'lab run other' in page and str(tmp_path) not in page.split('One of its runs')[0]
    for figure in re.findall(r'\]\((.*\.png)\)', page):
        assert (kept / figure).exists()
    (tmp_path / 'out' / 'runs' / sorted(path.name for path in (tmp_path / 'out' / 'runs').iterdir() if path.is_dir())[0] / 'result.json').unlink()
    assert 'runs are missing' in lab(tmp_path, 'publish', tmp_path / 'out' / 'other', '--out', kept, code=1).stderr


def test_what_is_interrupted_goes_on(small_experiment, tmp_path):
    out = tmp_path / 'out'
    small_experiment.write_text(small_experiment.read_text().replace('"--epochs" = 3', '"--epochs" = 400'))
    process = subprocess.Popen(['/usr/bin/python3', LAB / 'lab', 'run', small_experiment, '--out', out, '--jobs', '1'], cwd=tmp_path,
                               env={**os.environ, 'HOGMESH': str(BINARY)}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob('runs/*/result.json'))) < 1 and time.monotonic() < deadline:
        time.sleep(.02)
    process.send_signal(signal.SIGINT)
    assert 'interrupted' in process.communicate(timeout=60)[1] and process.returncode != 0
    kept = {path: path.stat().st_mtime_ns for path in out.glob('runs/*/result.json')}
    assert 1 <= len(kept) < 6
    assert f'{len(kept)} of 6 runs are there already' in lab(tmp_path, 'run', small_experiment, '--out', out).stderr
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert len(list(out.glob('runs/*/result.json'))) == 6


def test_quick_is_smaller_and_says_so(small_experiment, tmp_path):
    done = lab(tmp_path, 'run', '--quick', small_experiment, '--out', 'out')
    assert '2 of 2 runs' in done.stderr and '--quick' in done.stdout
    assert 'not for a result' in lab(tmp_path, 'publish', tmp_path / 'out', '--out', 'kept', code=1).stderr
    assert 'quick' in (tmp_path / 'out' / 'report.html').read_text()


def test_a_run_that_fails_says_its_command(small_experiment, tmp_path):
    small_experiment.write_text(small_experiment.read_text().replace('"--batch" = 16', '"--batch" = "many"'))
    said = lab(tmp_path, 'run', small_experiment, code=1).stderr
    assert 'hogmesh sim svm' in said and '--batch' in said


def test_a_landscape(run, tmp_path):
    run('synth', 'lenet5', '--rows', 400, '--out', 'images', '--quiet').wait(60)
    file = tmp_path / 'paths.toml'
    file.write_text(f'''
title = "Paths"
asks = "Where do they go?"
workload = "lenet5"
data = ["--data", "{tmp_path / 'images'}"]
seeds = 1
[flags]
"--topology" = "server"
"-n" = 2
"--step-time" = "const:1ms"
"--epochs" = 2
"--trajectory" = "100"
[axis.momentum]
"0" = {{ "--momentum" = 0 }}
"0.9" = {{ "--momentum" = 0.9 }}
[[figure]]
kind = "landscape"
title = "From above"
lines = "momentum"
points = 5
[[figure]]
kind = "confusion"
title = "Classes"
panels = "momentum"
[[table]]
kind = "classes"
title = "By class"
of = {{ momentum = "0.9" }}
[[table]]
kind = "confusion"
title = "Taken as"
of = {{ momentum = "0.9" }}
[[claim]]
says = "It learns"
measure = "report.classes.0.recall"
of = {{ momentum = "0.9" }}
than = 0.1
expect = "more"
[[figure]]
kind = "landscape"
title = "3-D"
lines = "momentum"
view = "3d"
points = 5
''')
    out = tmp_path / 'out'
    lab(tmp_path, 'run', file, '--out', 'out')
    assert len(list((out / 'runs').glob('landscape-*.json'))) == 1, 'both figures are of the same points'
    assert all((out / f'figure{i}.png').stat().st_size > 5000 for i in (1, 2, 3))
    summary = json.loads((out / 'runs.jsonl').read_text().splitlines()[1])['summary']['report']
    classes, confusion = (list(csv.reader(open(out / f'table{i}.csv'))) for i in (1, 2))
    assert [float(line[2]) for line in classes[1:]] == pytest.approx([100 * c['recall'] for c in summary['classes']], abs=.051)
    assert float(confusion[1][1]) == pytest.approx(100 * summary['confusion'][0][0] / sum(summary['confusion'][0]), abs=.051)


def test_real_processes(small, tmp_path):
    file = tmp_path / 'real.toml'
    text = SVM.format(train=small.train, test=small.test).replace('seeds = 3', 'seeds = 2\nmode = "run"').replace('"--step-time" = "const:1ms"', '')
    file.write_text(text[:text.index('[[figure]]')] + '''
[[figure]]
kind = "nodes"
title = "Node by node"
panels = "nodes"
converged = 1.0
''')
    file.write_text(file.read_text().replace('"--score-every" = "500"', '"--score-every" = "500"\n"--node-curves" = true'))
    done = lab(tmp_path, 'run', file, '--out', 'out')
    assert '4 of 4 runs' in done.stderr and (tmp_path / 'out' / 'figure1.png').stat().st_size > 5000
    assert all(' run svm ' in line for line in (tmp_path / 'out' / 'commands.txt').read_text().splitlines())


@pytest.mark.parametrize('name', ['rcv1-fig3'])
def test_one_of_real_processes(tmp_path, name):
    if not (pathlib.Path(os.environ.get('HOGMESH_DATA', '')) / 'rcv1').is_dir():
        pytest.skip('RCV1 is not in $HOGMESH_DATA')
    assert '95.' in lab(tmp_path, 'run', '--quick', name, '--out', 'out').stdout


WORLDS = '''
title = "Several at once"
asks = "Do values have workloads, modes and plans of their own?"
workload = "svm"
data = ["--train", "{train}"]
seeds = 1
[flags]
"--no-cache" = true
"--batch" = 16
"--step-time" = "const:1ms"
"--steps" = 4000
[axis.world]
"calm" = {{}}
"churn" = {{ "--faults" = {{ events = [{{ at = "20ms", do = "kill", node = 1, restart_after = "30ms" }}] }} }}
"real" = {{ mode = "run", quick = {{ "--steps" = 2000 }} }}
"images" = {{ workload = "lenet5", data = ["--data", "{images}"], "--no-cache" = false, quick = {{ "--steps" = 1000 }} }}
[[table]]
title = "Examples"
rows = ["world"]
measure = "steps"
'''


def test_values_have_workloads_modes_and_plans_of_their_own(small, images, tmp_path):
    file = tmp_path / 'worlds.toml'
    file.write_text(WORLDS.format(train=small.train, images=images))
    lab(tmp_path, 'run', file, '--quick', '--out', 'a', '--quiet')
    runs = [json.loads(line) for line in open(tmp_path / 'a' / 'runs.jsonl')]
    by_world = {run['setting']['world']: run for run in runs}
    assert {world: run['command'].split()[1:3] for world, run in by_world.items()} == {
        'calm': ['sim', 'svm'], 'churn': ['sim', 'svm'], 'real': ['run', 'svm'], 'images': ['sim', 'lenet5']}
    ended = [node['ended'] for node in by_world['churn']['summary']['per_node']]
    assert 'killed by plan' in ended and len(ended) == 3
    assert by_world['calm']['summary']['steps'] >= 4000 > 3000 > by_world['real']['summary']['steps'] >= 2000
    # Wherever the plan lies, it is the same run.
    (tmp_path / 'a' / 'runs').rename(tmp_path / 'runs')
    (tmp_path / 'b').mkdir()
    (tmp_path / 'runs').rename(tmp_path / 'b' / 'runs')
    assert '4 of 4 runs are there already' in lab(tmp_path, 'run', file, '--quick', '--out', 'b', '--quiet').stderr


def test_a_value_is_of_flags(small_experiment, tmp_path):
    small_experiment.write_text(small_experiment.read_text().replace('"2" = { "-n" = 2 }', '"2" = { "-n" = 2, nodes = 3 }'))
    assert "'nodes' is neither a flag" in lab(tmp_path, 'run', small_experiment, code=1).stderr


# ---- laws ----

def test_formulas_are_arithmetic_and_nothing_else():
    assert law.evaluate('base / nodes + 2 * flush ** 2 - -1', {'base': 10, 'nodes': 4, 'flush': 3}) == 21.5
    assert law.evaluate('max(1, exp(0) + sqrt(4))', {}) == 3 and math.isnan(law.evaluate('1 / 0', {}))
    for formula in '__import__("os")', 'base.real', 'nodes', 'x[0]', '1 +', '"a"', 'exp(x=1)', '[1]':
        with pytest.raises(experiment.Wrong):
            law.evaluate(formula, {'base': 1})


def test_numbers_are_read_off_values():
    values = {'nodes': '16 nodes', 'flush': 'every step', 'latency': '0.5 ms', 'share of all': '2k', 'rule': 'hold'}
    assert law.numbers_of(values, {'numbers': {'flush': {'every step': 1}}}) == {
        'nodes': 16, 'flush': 1, 'latency': .0005, 'share_of_all': 2000}


def test_slopes_are_of_pairs():
    found = [({}, {1: 1., 2: 1.}, {1: 2., 2: 4.}), ({}, {1: 3., 2: 3.}, {1: 6., 2: 12.}), ({}, {1: 5., 2: 5.}, {1: math.nan, 2: math.nan})]
    assert law.slope(found).mean == pytest.approx(3) and law.slope(found).half == pytest.approx(12.706)
    assert 'correlation 1.00' in law.fit(found) and '2 settings (1 more without a figure)' in law.fit(found)


def test_how_far_curves_are_apart():
    a = [{'steps': x, 'loss': 2.} for x in (0, 10)]
    b = [{'steps': x, 'loss': 1.6} for x in (5, 20)]
    assert law.apart(a, b, 'steps', 'loss') == pytest.approx(.25)
    assert law.apart(a, [{'steps': x, 'loss': 1} for x in (50, 60)], 'steps', 'loss') is None and law.apart(a, [], 'steps', 'loss') is None


LAW = '''
[axis.latency]
"0.1 ms" = {{ "--latency" = "const:100us" }}
"2 ms" = {{ "--latency" = "const:2ms" }}
[[table]]
kind = "law"
title = "Time"
law = "base / nodes * 2 + latency"
base = {{ nodes = "2", again = "a" }}
measure = "train_seconds"
[[table]]
kind = "agreement"
title = "Worlds"
axis = "latency"
of = "2 ms"
than = "0.1 ms"
rows = ["nodes"]
only = {{ again = ["a"] }}
[[figure]]
kind = "law"
title = "Time"
law = "base / nodes * 2 + latency"
base = {{ nodes = "2", again = "a" }}
measure = "train_seconds"
lines = "latency"
[[figure]]
kind = "distribution"
title = "Staleness"
lines = "latency"
only = {{ nodes = ["3"] }}
[[figure]]
kind = "scatter"
title = "Age and direction"
x = "currencies.updates.mean"
measure = "currencies.cosine.mean"
lines = "latency"
along = "nodes"
x_log = "symlog"
'''


def test_laws_worlds_and_what_is_drawn_of_them(small, tmp_path):
    file = tmp_path / 'law.toml'
    text = SVM.replace('"--epochs" = 3', '"--epochs" = 3\n"--measure-staleness" = 3') + LAW
    file.write_text(text.format(train=small.train, test=small.test))
    lab(tmp_path, 'run', file, '--out', 'law', '--quiet')
    report = (tmp_path / 'law' / 'report.md').read_text()
    # Time is shared by nodes, to the end of a batch.
    ratios = [float(line.split('|')[4].split('±')[0]) for line in report.splitlines() if line.startswith('| nodes 3')]
    assert len(ratios) == 4 and all(.8 < ratio < 1.3 for ratio in ratios), report
    assert re.search(r'measured = \(\S+ ± \S+\) x predicted', report)
    assert re.search(r'\| 3 \| [\d.]+ ± [\d.]+ \| [\d.]+ \| [\d.]+', report), report
    assert len(list((tmp_path / 'law').glob('figure*.png'))) == 5
