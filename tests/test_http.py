"""--http: the page, its data, metrics; whoever comes, the training does not suffer."""
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from processes import until


def join(start, rows, *flags, seconds=4, at='0', prefix=()):
    """A node alone that trains and serves; and where."""
    node = start('join', 'svm', '--train', rows.train, '--test', rows.test, '--expect', 1, '--seconds', seconds, '--json', '--http', at, *flags,
                 prefix=prefix)
    return node, node.wait_for(r'watch it at http://\S+:(\d+)/').group(1)


def ask(port, path='/', method='GET', host=None, **headers):
    connection = http.client.HTTPConnection('127.0.0.1', int(port), timeout=10)
    connection.request(method, path, headers={**({'Host': host} if host else {}), **headers})
    answer = connection.getresponse()
    return answer, answer.read().decode()


def status(port):
    return json.loads(ask(port, '/status.json')[1])


def training(port):
    return until(lambda: (s := status(port))['stage'] == 'train' and s['training']['steps'] and s, 20, lambda: 'no training')


def test_what_is_served(start, small):
    node, port = join(start, small)
    s = training(port)
    assert s['schema'] == 1 and s['healthy'] and s['node']['workload'] == 'svm' and s['peers'] == [] and s['config']['workload'] == 'svm'
    until(lambda: status(port)['training']['accuracy'], 10, lambda: 'no score')
    until(lambda: (t := status(port)) and len(t['curve'].get('loss', [])) > 1 and len(t['history'].get('steps', [])) > 1, 10, lambda: 'no curve')
    later = until(lambda: (t := status(port))['training']['steps'] > s['training']['steps'] and t, 10, lambda: 'no progress')
    h, c = later['history'], later['curve']
    for columns in h, c:
        assert len({len(values) for values in columns.values()}) == 1
        for name in 'seconds', 'steps':
            assert columns[name] == sorted(columns[name]) and 0 < columns[name][-1] <= later['training'][name]
    assert h['own_steps'][-1] > 0 and h['seconds'][-1] >= .5 and h['live'][-1] == 1 and h['staleness'][-1] >= 0
    assert abs(c['accuracy'][-1] - later['training']['accuracy']) < .3 and all(loss > 0 for loss in c['loss'])
    answer, page = ask(port)
    assert answer.status == 200 and answer.headers['Content-Type'].startswith('text/html')
    policy = answer.headers['Content-Security-Policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy and answer.headers['X-Content-Type-Options'] == 'nosniff'
    assert not re.search(r'(src|href)="(?!/|data:)', page) and '<script>' in page
    answer, body = ask(port, '/', 'HEAD')
    assert answer.status == 200 and body == '' and int(answer.headers['Content-Length']) == len(page.encode())
    assert ask(port, '/healthz')[1] == 'ok\n' and ask(port, '/metrics?x=1')[0].status == 200
    assert ask(port, '/nothing')[0].status == 404
    for method in 'POST', 'PUT', 'DELETE', 'OPTIONS', 'BREW':
        answer, _ = ask(port, '/', method)
        assert answer.status == 405 and answer.headers['Allow'] == 'GET, HEAD'
    assert node.done()['clean']


def test_a_name_that_was_bent_here_gets_nothing(start, small):
    """DNS rebinding: a browser that was told that evil.example is 127.0.0.1 says which name it asked for."""
    node, port = join(start, small, seconds=2)
    for host in 'evil.example', f'evil.example:{port}', '127.0.0.1.evil.example', '10.0.0.1', ' ':
        assert ask(port, '/status.json', host=host)[0].status in (400, 421), host
    for host in 'localhost', f'LOCALHOST:{port}', f'127.0.0.1:{port}', '127.1.2.3', f'[::1]:{port}':
        assert ask(port, '/status.json', host=host)[0].status == 200, host
    assert node.done()['clean']


def test_a_page_has_the_end(start, small):
    """Who looks on sees how it ended, and nobody waits for who looked on once; a page that does not come again holds nothing up."""
    node, port = join(start, small, seconds=3)
    stages = []
    with contextlib.suppress(OSError):
        while True:
            stages.append(status(port)['stage'])
            time.sleep(.1)
    assert stages[-1] == 'done' and 'train' in stages, stages
    assert node.done()['clean']
    node, port = join(start, small, seconds=1)
    status(port)
    assert node.done(20)['clean']


def test_a_node_that_fails_says_so_on_its_page(start, small, tmp_path):
    """Nobody is there to train with: an error, and not "done"."""
    node = start('join', 'svm', '--train', small.train, '--expect', 2, '--join-timeout', '2s', '--http', '0')
    port = node.wait_for(r'watch it at http://\S+:(\d+)/').group(1)
    seen = []
    with contextlib.suppress(OSError):
        while True:
            seen.append(status(port))
            time.sleep(.1)
    assert node.wait().code != 0
    assert seen[-1]['stage'] == 'failed' and seen[-1]['events'][-1]['level'] == 'error', (seen[-1]['stage'], seen[-1]['events'])
    assert seen[-1]['events'][-1]['text'] in node.err


def samples(text):
    """{name: [(labels, value)]} of Prometheus' text format."""
    found = {}
    for line in text.splitlines():
        if not line.startswith('#'):
            name, labels, value = re.fullmatch(r'([a-z_]+)(?:\{(.*)\})? (\S+)', line).groups()
            found.setdefault(name, []).append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or '')), float(value)))
    return found


def test_metrics(start, rows):
    """Of a run its first node serves."""
    launcher = start('run', 'svm', '-n', 2, '--train', rows.train, '--test', rows.test, '--seconds', 5, '--json', '--http', '0', '--flush', '50ms')
    port = launcher.wait_for(r'watch it at http://127.0.0.1:(\d+)/').group(1)
    until(lambda: (s := status(port)).get('links') and s['links'][0]['staleness']['n'] > 5, 20, lambda: 'no links')
    text = ask(port, '/metrics')[1]
    if shutil.which('promtool'):
        checked = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr, checked
    m = samples(text)
    for name in re.findall(r'# TYPE (\S+) counter', text):
        assert name.endswith('_total'), name
    for name in m:
        family = re.sub(r'_(bucket|sum|count)$', '', name)
        assert f'# HELP {family} ' in text or f'# HELP {name} ' in text, name
    (labels, count), = m['hogmesh_link_staleness_flushes_count']
    assert labels['peer'] == 'node1' and re.fullmatch('[0-9a-f]{16}', labels['life'])
    buckets = [value for _, value in m['hogmesh_link_staleness_flushes_bucket']]
    assert buckets == sorted(buckets) and buckets[-1] == count > 5
    watching = {labels['thread']: value for labels, value in m['hogmesh_watching_cpu_seconds_total']}
    assert watching['node'] > 0 and watching['http'] > 0 and max(watching.values()) < m['process_cpu_seconds_total'][0][1]
    assert m['hogmesh_nodes_live'] == [({}, 2)] and m['hogmesh_peer_up'][0][1] == 1
    assert sum(value for _, value in m['hogmesh_stage']) == 1
    assert m['hogmesh_mesh_examples_total'][0][1] >= m['hogmesh_peer_examples_total'][0][1] > 0
    again = samples(until(lambda: (t := ask(port, '/metrics')[1]) != text and t, 5, lambda: 'no change'))
    for name in m:
        if name.endswith('_total'):
            for (_, old), (_, new) in zip(m[name], again[name]):
                assert new >= old, name
    summary = launcher.done()
    assert summary['clean'] and summary['equal_hashes']


def test_labels_are_escaped(start, small):
    node, port = join(start, small, '--label', 'a{b}=,c', seconds=1.5)
    assert samples(ask(port, '/metrics')[1]).get('hogmesh_node_info', [({}, 0)])[0][0].get('node') in ('', 'a{b}=,c')
    training(port)
    assert until(lambda: samples(ask(port, '/metrics')[1])['hogmesh_node_info'][0][0]['node'] == 'a{b}=,c', 5, lambda: 'no label')
    assert node.done()['clean']


def hostile(port):
    """Sockets that are kept open, each with something else that is no proper request."""
    kinds = [b'', b'G', b'GET / HTTP/1.1\r\nHost: localhost\r\nX: ', b'\x16\x03\x01\x02\x00' + bytes(300), b'\xff' * 2000,
             b'GET / HTTP/1.1\r\nX: ' + b'a' * 100000, b'GET ' + b'/' * 70000 + b' HTTP/1.1\r\n\r\n',
             b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n' + bytes(1000),
             b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' * 50, b'GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n' * 50,
             b'GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n', b'\r\n' * 5000]
    for i in range(1000):
        with contextlib.suppress(OSError):
            s = socket.create_connection(('127.0.0.1', int(port)), .05)
            s.setblocking(False)
            with contextlib.suppress(OSError):
                s.send(kinds[i % len(kinds)])
            yield s


def test_a_thousand_hostile_clients_change_nothing(start, rows):
    """Half-requests, noise, endless headers, pipelines that nobody reads: the mesh trains, agrees and ends as without."""
    launcher = start('run', 'svm', '-n', 2, '--train', rows.train, '--test', rows.test, '--seconds', 6, '--json', '--http', '0')
    port = launcher.wait_for(r'watch it at http://127.0.0.1:(\d+)/').group(1)
    training(port)
    crowd = []
    for s in hostile(port):
        crowd.append(s)
    end = time.monotonic() + 2
    while time.monotonic() < end:  # slow lorises: a byte now and then
        for s in crowd:
            with contextlib.suppress(OSError):
                s.send(b'a')
        time.sleep(.2)
    assert len(crowd) > 100
    summary = launcher.done(30)
    for s in crowd:
        s.close()
    assert summary['clean'] and summary['equal_hashes'] and summary['test']['accuracy'] > .9
    assert summary['deltas']['lost'] == 0


def test_connections_are_limited(start, small):
    """Connections are limited; when those that were there are gone, the next is served."""
    node, port = join(start, small, seconds=3)
    crowd = [socket.create_connection(('127.0.0.1', int(port)), 5) for _ in range(100)]
    for s in crowd:
        s.close()
    assert training(port)['healthy']
    assert node.done()['clean']


def test_who_takes_too_long_is_hung_up_on(start, small):
    """A byte now and then is no way to keep a connection; the thread that hears them gives way to all others."""
    node, port = join(start, small, seconds=40)
    with socket.create_connection(('127.0.0.1', int(port)), 5) as s:
        training(port)
        nice = [int(open(f'/proc/{node.pid}/task/{task}/stat').read().rpartition(')')[2].split()[16]) for task in os.listdir(f'/proc/{node.pid}/task')]
        assert sorted(nice)[-1] == 19 and sorted(nice)[-2] <= max(0, os.nice(0)), nice
        s.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nX: ')
        began = time.monotonic()
        s.settimeout(.5)
        while time.monotonic() - began < 25:
            with contextlib.suppress(TimeoutError):
                try:
                    s.sendall(b'a')
                    if not s.recv(1000):
                        break
                except ConnectionError:
                    break
        assert 8 < time.monotonic() - began < 20
    assert ask(port, '/healthz')[1] == 'ok\n'
    node.kill()


def test_page_while_data_is_read(start, rows, tmp_path):
    """The page is there before the node is."""
    fifo = tmp_path / 'slow.svm'
    os.mkfifo(fifo)
    node = start('join', 'svm', '--train', rows.train, '--test', fifo, '--expect', 1, '--seconds', 1, '--no-cache', '--http', '0')
    port = node.wait_for(r'watch it at http://\S+:(\d+)/').group(1)
    s = status(port)
    assert s['stage'] == 'load' and 'node' not in s
    assert ask(port, '/healthz')[0].status == 200 and 'hogmesh_stage{stage="load"} 1' in ask(port, '/metrics')[1]
    node.kill()


def test_folders_whose_names_are_no_utf8(start, run, small, tmp_path):
    """What JSON does not take is shown as '?'; the page stays."""
    folder = os.fsencode(tmp_path) + b'/caf\xe9'
    first = run('join', 'svm', '--train', small.train, '--expect', 1, '--steps', 2000, '--out', os.fsdecode(folder))
    assert first.code == 0, first
    node, port = join(start, small, '--out', os.fsdecode(folder), '--resume')
    events = until(lambda: training(port)['events'], 10, lambda: 'no events')
    assert any('going on from' in e['text'] and '/caf?/' in e['text'] for e in events), events
    node.kill()


@pytest.mark.parametrize('at', ['[::1]:0', 'localhost:0', '[::ffff:127.0.0.1]:0'])
def test_addresses_of_this_machine(start, small, at):
    """Where it says that it is, it is, for this machine alone."""
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 30, '--http', at)
    url, name, port = node.wait_for(r'watch it at (http://(.*):(\d+)/)\n').groups()
    assert name == at.removesuffix(':0')
    with urllib.request.urlopen(url + 'healthz', timeout=10) as answer:
        assert answer.read() == b'ok\n'
    with pytest.raises(urllib.error.HTTPError, match='421'):
        urllib.request.urlopen(urllib.request.Request(url, headers={'Host': 'evil.example'}), timeout=10)
    node.kill()


def test_all_addresses(start, small):
    """0.0.0.0 is nowhere to go to: the name of the machine is."""
    node = start('join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 30, '--http', '0.0.0.0:0')
    name, port = node.wait_for(r'watch it at http://(.*):(\d+)/\n').groups()
    assert name == socket.gethostname()
    assert ask(port, '/healthz', host='any.name')[1] == 'ok\n'
    node.kill()


@pytest.mark.parametrize('at, text', [
    ('::1:8080', 'in brackets'), ('[::1]', 'in brackets'), ('http', 'a port such as 8080'), ('localhost:', 'a port'), (':8080', 'a port'), ('99999', 'a port'),
    ('-1', 'a port'), ('nowhere.invalid:80', 'is not the name of a host'), ('192.0.2.1:0', 'is not an address of this machine')])
def test_refused_addresses(run, small, at, text):
    node = run('join', 'svm', '--train', small.train, '--expect', 1, f'--http={at}', timeout=20)
    assert node.code in (1, 2) and '--http' in node.err and text in node.err, node


def test_port_in_use(run, small):
    with socket.create_server(('127.0.0.1', 0)) as other:
        node = run('join', 'svm', '--train', small.train, '--expect', 1, '--http', other.getsockname()[1])
    assert node.code == 1 and 'is in use by another process' in node.err, node


@pytest.fixture(scope='module')
def chromium():
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not program:
        pytest.skip('no chromium; tools/install.sh field')
    return program


def look(chromium, folder, url, width, scheme, *what):
    return subprocess.run([chromium, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
                           f'--user-data-dir={folder}/profile', f'--window-size={width},1500', '--virtual-time-budget=3000',
                           '--enable-logging=stderr', f'--blink-settings=preferredColorScheme={int(scheme == "light")}', *what, url],
                          capture_output=True, text=True, timeout=60)


def test_page_in_a_browser(start, rows, tmp_path, chromium):
    """It draws what there is, again and again, without an error and without anything from elsewhere."""
    launcher = start('run', 'svm', '-n', 2, '--train', rows.train, '--test', rows.test, '--seconds', 60, '--http', 0, '--flush', '50ms')
    url, port = launcher.wait_for(r'watch it at (http://127.0.0.1:(\d+)/)').groups()
    until(lambda: len(status(port).get('history', {}).get('steps', [])) > 3, 20, lambda: 'no history')
    for width, scheme in (1200, 'dark'), (500, 'light'):
        done = look(chromium, tmp_path, url, width, scheme, '--dump-dom')
        dom, said = done.stdout, [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
        assert not said, said
        assert int(re.search(r'data-looks="(\d+)"', dom).group(1)) >= 2, 'it does not look again'
        assert re.search('class="pill *">training<', dom)
        for name in 'loss', 'accuracy', 'speed', 'network', 'mesh', 'staleness':
            body = re.search(rf'id="{name}"[^>]*>(.*?)</svg>', dom, re.S)
            assert body and '<svg' in body.group(1), name
            assert 'NaN' not in body.group(1) and 'Infinity' not in body.group(1), name
        assert dom.count('<tr>') >= 3 and 'from node1' in dom
    look(chromium, tmp_path, url, 500, 'light', f'--screenshot={tmp_path}/page.png')
    assert (tmp_path / 'page.png').stat().st_size > 20000
    launcher.kill()
