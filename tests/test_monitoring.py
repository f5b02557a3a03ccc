"""tools/deploy/monitoring: alerts fire when they should, and what alerts and dashboard name is what /metrics serves."""
import json
import re
import shutil
import subprocess
import urllib.request

import pytest

from processes import ROOT, until

FOLDER = ROOT / 'tools' / 'deploy' / 'monitoring'
FUNCTIONS = {'rate', 'increase', 'histogram_quantile', 'sum', 'max', 'by', 'and', 'on', 'label_values'}


def expressions():
    """(where, PromQL) of all rules and panels."""
    rules = (FOLDER / 'hogmesh.rules.yml').read_text()
    for name, text in re.findall(r'alert: (\w+)\n +expr: (.*)', rules):
        yield name, text
    board = json.loads((FOLDER / 'grafana.json').read_text())
    for panel in board['panels']:
        for target in panel['targets']:
            yield panel['title'], target['expr']
    for variable in board['templating']['list']:
        if variable['type'] == 'query':
            yield variable['name'], variable['definition']


def names(text):
    """Metrics of an expression: what is neither a label, a string, a duration nor a function."""
    text = re.sub(r'"[^"]*"|\[[^]]*\]|\b(?:by|on) \([^)]*\)', ' ', text)
    text = re.sub(r'\{[^}]*\}', '{}', text)
    return {word for word in re.findall(r'[a-zA-Z_]\w*', text)} - FUNCTIONS - {'instance', 'job', 'le'}


@pytest.fixture(scope='module')
def promtool():
    if not shutil.which('promtool'):
        pytest.skip('no promtool; tools/install.sh field')
    return lambda *words: subprocess.run(['promtool', *words], cwd=FOLDER, capture_output=True, text=True, timeout=60)


def test_rules_are_well_formed(promtool):
    for words in ('check', 'rules', 'hogmesh.rules.yml'), ('check', 'config', 'prometheus.yml'):
        done = promtool(*words)
        assert done.returncode == 0, done


def test_every_alert_has_a_story_that_holds(promtool):
    alerts = set(re.findall(r'- alert: (\w+)', (FOLDER / 'hogmesh.rules.yml').read_text()))
    told = set(re.findall(r'alertname: (\w+)', (FOLDER / 'hogmesh.rules.test.yml').read_text()))
    assert alerts == told and len(alerts) > 10
    done = promtool('test', 'rules', 'hogmesh.rules.test.yml')
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_named_is_served(start, rows):
    launcher = start('run', 'svm', '-n', 2, '--train', rows.train, '--test', rows.test, '--seconds', 30, '--http', '0', '--flush', '50ms')
    url = launcher.wait_for(r'watch it at (http://127.0.0.1:\d+/)').group(1)

    def served():
        with urllib.request.urlopen(url + 'metrics') as answer:
            text = answer.read().decode()
        return 'hogmesh_loss ' in text and 'staleness_flushes_bucket{' in text and text
    text = until(served, 20, lambda: 'no metrics')
    have = {'up', *re.findall(r'(?m)^([a-z_]+)[{ ]', text)}  # up is Prometheus' own
    found = list(expressions())
    assert len(found) > 30
    for where, expression in found:
        assert names(expression) and names(expression) <= have, (where, names(expression) - have)
    stages = set(re.findall(r'stage="(\w+)"', ' '.join(e for _, e in found)))
    assert stages <= set(re.findall(r'hogmesh_stage\{stage="(\w+)"', text)) and stages
    reasons = {r for group in re.findall(r'reason=~?"([^"]*)"', ' '.join(e for _, e in found)) for r in group.split('|')}
    assert reasons <= set(re.findall(r'connections_refused_total\{reason="(\w+)"', text)) and reasons
    launcher.kill()
