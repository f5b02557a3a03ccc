"""tests/count.py, which has the last word of tools/test.sh: what it lists, what it counts, how it ends."""
import json
import os
import subprocess
import sys

import processes

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="good"/>
<testcase classname="tests.test_a" name="as_root"><skipped message="needs the privilege to do much"/></testcase>
{more}</testsuite></testsuites>"""
SKIPPED = '<testcase classname="tests.test_a" name="lazy"><skipped message="xz is missing"/></testcase>'
FAILED = '<testcase classname="tests.test_a" name="bad"><failure message="no">line 7: no</failure></testcase>'


def count(folder, *files, ci=False):
    env = {name: value for name, value in os.environ.items() if name != 'CI'}
    done = subprocess.run([sys.executable, processes.ROOT / 'tests' / 'count.py', *files], cwd=folder, capture_output=True,
                          text=True, check=False, env={**env, 'CI': 'true'} if ci else env)
    return done.returncode, done.stdout.splitlines()


def meson(folder, output, result='OK'):
    """What meson notes of one program, `c`."""
    (folder / 'testlog.json').write_text(json.dumps({'name': 'c', 'result': result, 'stdout': output}) + '\n')
    return 'release=testlog.json'


def test_skipped_tests_are_listed_above_the_sum(tmp_path):
    (tmp_path / 'a.xml').write_text(JUNIT.format(more=SKIPPED))
    code, lines = count(tmp_path, 'processes=a.xml', meson(tmp_path, '1..2\nok 1 - one\nno data here\nok 2 # SKIP two\n'))
    assert code == 0
    assert lines == ['skipped  processes: tests.test_a.as_root: needs the privilege to do much',
                     'skipped  processes: tests.test_a.lazy: xz is missing', 'skipped  release: c.two: no data here',
                     '2 passed, 0 failed']


def test_only_a_privilege_excuses_where_it_counts(tmp_path):
    (tmp_path / 'a.xml').write_text(JUNIT.format(more=SKIPPED))
    code, lines = count(tmp_path, 'processes=a.xml', meson(tmp_path, '1..2\nok 1 - one\nok 2 # SKIP two\n'), ci=True)
    assert code == 1
    assert lines[0] == 'skipped  processes: tests.test_a.as_root: needs the privilege to do much'
    assert 'FAILED   processes: tests.test_a.lazy' in lines and any('xz is missing' in line for line in lines)
    assert 'FAILED   release: c.two' in lines
    assert lines[-1] == '2 passed, 2 failed'
    (tmp_path / 'a.xml').write_text(JUNIT.format(more=''))
    assert count(tmp_path, 'processes=a.xml', ci=True)[0] == 0


def test_failures_are_shown_and_counted(tmp_path):
    (tmp_path / 'a.xml').write_text(JUNIT.format(more=FAILED))
    code, lines = count(tmp_path, 'processes=a.xml', meson(tmp_path, '1..2\nok 1 - one\nsays why\nnot ok 2 - two\n', 'FAIL'))
    assert code == 1 and lines[-1] == '2 passed, 2 failed'
    assert any('line 7: no' in line for line in lines) and any('says why' in line for line in lines)


def test_what_is_not_there_has_failed(tmp_path):
    """A program that died in the middle, one that said nothing, a file that nobody wrote, one without a case."""
    assert count(tmp_path, meson(tmp_path, '1..3\nok 1 - one\n', 'FAIL'))[1][-1] == '1 passed, 2 failed'
    assert count(tmp_path, meson(tmp_path, '', 'OK'))[1][-1] == '0 passed, 1 failed'
    assert count(tmp_path, meson(tmp_path, '1..1\nok 1 - one\n', 'TIMEOUT'))[1][-1] == '1 passed, 1 failed'
    code, lines = count(tmp_path, 'tsan=nowhere.json')
    assert code == 1 and lines[-1] == '0 passed, 1 failed' and 'nowhere.json' in '\n'.join(lines)
    (tmp_path / 'b.xml').write_text('<testsuite/>')
    assert count(tmp_path, 'b=b.xml')[0] == 1
