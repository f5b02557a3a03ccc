"""tools/get-data against a server on loopback that cuts, lies, refuses and has no Range."""
import fcntl
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import threading
import zipfile

import pytest

import processes

PROGRAM = processes.ROOT / 'tools' / 'get-data'
TEXT = b''.join(b'%d the quick brown fox\n' % i for i in range(60000))  # more than what buffers on the way hold


class Server(http.server.ThreadingHTTPServer):
    """Serves self.files; how well is up to the test."""
    daemon_threads = True

    def __init__(self):
        self.files, self.asked = {}, []
        self.cut_after, self.cuts, self.errors = None, 0, []
        self.ranges, self.etag, self.length = True, '"one"', True
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_address[1]}'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.rpartition('/')[2]
        wanted = self.headers.get('Range')
        server.asked.append((name, wanted))
        if server.errors:
            self.send_error(server.errors.pop(0))
            return
        if name not in server.files:
            self.send_error(404)
            return
        body, begin = server.files[name], 0
        if wanted and server.ranges and self.headers.get('If-Range') == server.etag:
            begin = int(re.match(r'bytes=(\d+)-$', wanted).group(1))
        if begin > len(body) or begin == len(body) and begin:
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(body)}')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header('Content-Range', f'bytes {begin}-{len(body) - 1}/{len(body)}')
        if server.length:
            self.send_header('Content-Length', str(len(body) - begin))
        if server.etag:
            self.send_header('ETag', server.etag)
        self.end_headers()
        rest = body[begin:]
        if server.cuts:
            server.cuts -= 1
            rest = rest[:server.cut_after]
        self.wfile.write(rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={'poll_interval': .02})
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def get(folder, *words, env=None, **options):
    done = subprocess.run([PROGRAM, '--catalogue', folder / 'catalogue.json', '--to', folder / 'to', *map(str, words)], capture_output=True,
                          text=True, timeout=60, check=False, env={**os.environ, **(env or {})}, **options)
    done.at = folder / 'to'
    return done


def catalogue(folder, *files):
    (folder / 'catalogue.json').write_text(json.dumps({'set': {'what': 'x', 'files': files, 'use': ['hogmesh run --train DIR/a']}}))


def file(server, name, contents, **known):
    """Served, with its entry in the catalogue."""
    server.files[name] = contents
    return {'name': name, 'sources': [{'url': f'{server.url}/there/{name}'}], **known}


def sha(contents):
    return hashlib.sha256(contents).hexdigest()


def check_there(done, name='a.txt', contents=TEXT):
    assert done.returncode == 0, done
    assert (done.at / name).read_bytes() == contents
    assert sorted(os.listdir(done.at)) == [name], 'something is left over'


def test_it_is_fetched_verified_and_not_fetched_again(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    first = get(tmp_path, 'set')
    check_there(first)
    assert f'hogmesh run --train {first.at}/a' in first.stdout and '100 %' in first.stderr and 'MB/s' in first.stderr
    second = get(tmp_path, 'set')
    check_there(second)
    assert 'there already, verified' in second.stderr and len(server.asked) == 1


def test_a_connection_that_is_cut_is_taken_up_again(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    server.cuts, server.cut_after = 3, 300000
    done = get(tmp_path, 'set')
    check_there(done)
    assert [wanted for _, wanted in server.asked] == [None, 'bytes=300000-', 'bytes=600000-', 'bytes=900000-']
    assert 'cut off after 300,000 of ' in done.stderr


def test_another_run_goes_on_where_the_first_one_gave_up(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    server.cuts, server.cut_after = 1, 500000
    first = get(tmp_path, 'set', '--tries', 1)
    assert first.returncode == 1 and 'the same command goes on from there' in first.stderr, first
    assert not (first.at / 'a.txt').exists()
    check_there(get(tmp_path, 'set'))
    assert server.asked[-1] == ('a.txt', 'bytes=500000-')


def test_a_part_of_another_version_is_not_mixed_in(server, tmp_path):
    other = TEXT.replace(b'fox', b'dog')
    catalogue(tmp_path, file(server, 'a.txt', TEXT))
    server.cuts, server.cut_after = 1, 500000
    get(tmp_path, 'set', '--tries', 1)
    server.files['a.txt'], server.etag = other, '"two"'
    check_there(get(tmp_path, 'set'), contents=other)


@pytest.mark.parametrize('lack', ['ranges', 'etag', 'length'])
def test_servers_that_cannot_go_on(server, tmp_path, lack):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    setattr(server, lack, None)
    server.cuts, server.cut_after = (1, 400000) if lack != 'length' else (0, 0)
    check_there(get(tmp_path, 'set'))


def test_a_part_that_is_all_of_it(server, tmp_path):
    """The server says 416."""
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    server.cuts, server.cut_after = 1, 500000
    at = get(tmp_path, 'set', '--tries', 1).at
    (at / 'a.txt.part').write_bytes(TEXT)
    check_there(get(tmp_path, 'set'))


def test_a_wrong_checksum(server, tmp_path):
    """A part from before may be to blame, so once more from the beginning; what was fetched whole is refused."""
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(b'x')))
    done = get(tmp_path, 'set')
    assert done.returncode == 1 and f'sha256 is {sha(TEXT)}, published is {sha(b"x")}' in done.stderr, done
    assert os.listdir(done.at) == [], 'neither the file nor its part may stay'
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    server.cuts, server.cut_after = 1, 500000
    get(tmp_path, 'set', '--tries', 1)
    (done.at / 'a.txt.part').write_bytes(bytes(500000))
    check_there(get(tmp_path, 'set'))


def test_what_lies_there_is_verified(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    done = get(tmp_path, 'set')
    (done.at / 'a.txt').write_bytes(TEXT[:-1] + b'?')
    check_there(get(tmp_path, 'set'))


def test_rows_are_counted_where_no_checksum_is_published(server, tmp_path):
    packed = gzip.compress(TEXT)
    catalogue(tmp_path, file(server, 'a.gz', packed, rows=60000))
    check_there(get(tmp_path, 'set'), 'a.gz', packed)
    for damaged, text in (gzip.compress(TEXT[:TEXT[:-1].rindex(b'\n') + 1]), '59,999 rows in the place of 60,000'), (packed[:-9], 'damaged'), (TEXT, 'damaged'):
        (tmp_path / 'to' / 'a.gz').unlink(missing_ok=True)
        server.files['a.gz'] = damaged
        done = get(tmp_path, 'set')
        assert done.returncode == 1 and text in done.stderr and os.listdir(done.at) == [], done


def tar(**members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as archive:
        for name, contents in members.items():
            info = tarfile.TarInfo(f'../../{name}')
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))
    return out.getvalue()


def test_members_of_archives(server, tmp_path):
    """They come out by name, into the folder, whatever folders the archive thinks of."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('deep/b.txt', TEXT)
    catalogue(tmp_path, file(server, 'a.tar.gz', tar(a=b'aa', evil=b'x'), members=[{'name': '../../a', 'bytes': 2}]),
              file(server, 'b.zip', packed.getvalue(), members=[{'name': 'deep/b.txt', 'sha256': sha(TEXT)}]))
    done = get(tmp_path, 'set')
    assert done.returncode == 0 and sorted(os.listdir(done.at)) == ['a', 'b.txt'], done
    assert not (tmp_path.parent / 'evil').exists()
    assert get(tmp_path, 'set').returncode == 0 and len(server.asked) == 2


@pytest.mark.parametrize('contents, text', [(b'no archive', 'not the archive'), (tar(b=b'aa'), 'not the archive'), (tar(a=b'aaa'), '3 bytes in the place of 2')])
def test_archives_that_are_none(server, tmp_path, contents, text):
    catalogue(tmp_path, file(server, 'a.tar.gz', contents, members=[{'name': '../../a', 'bytes': 2}]))
    done = get(tmp_path, 'set')
    assert done.returncode == 1 and text in done.stderr and os.listdir(done.at) == [], done


def test_missing_there(server, tmp_path):
    """404 is final for an address, the next one is tried; with the last one it ends and says what to do."""
    good = file(server, 'a.txt', TEXT, sha256=sha(TEXT))
    catalogue(tmp_path, {**good, 'sources': [{'url': server.url + '/gone'}, *good['sources']]})
    done = get(tmp_path, 'set')
    check_there(done)
    assert '/gone: HTTP 404' in done.stderr
    (done.at / 'a.txt').unlink()
    server.files.clear()
    done = get(tmp_path, 'set')
    assert done.returncode == 1 and '--mirror' in done.stderr and 'by hand' in done.stderr, done


def test_a_server_that_is_overloaded_is_asked_again(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    server.errors = [503, 429]
    check_there(get(tmp_path, 'set'))


def test_nobody_listens(tmp_path):
    catalogue(tmp_path, {'name': 'a.txt', 'sources': [{'url': f'http://127.0.0.1:{processes.free_port()}/a.txt'}]})
    done = get(tmp_path, 'set', '--tries', 2)
    assert done.returncode == 1 and 'Connection refused' in done.stderr and 'Look whether' in done.stderr, done


@pytest.mark.parametrize('how', ['flag', 'environment'])
def test_a_mirror(server, tmp_path, how):
    catalogue(tmp_path, {**file(server, 'a.txt', TEXT, sha256=sha(TEXT)), 'sources': [{'url': 'http://official.invalid/x/a.txt'}]})
    mirror = server.url + '/mirror/'
    done = get(tmp_path, 'set', '--mirror', mirror) if how == 'flag' else get(tmp_path, 'set', env={'HOGMESH_MIRROR': mirror})
    check_there(done)


def test_disk_errors(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT, sha256=sha(TEXT)))
    (tmp_path / 'to').mkdir()
    (tmp_path / 'to' / 'a.txt.part').symlink_to('/dev/full')
    done = get(tmp_path, 'set')
    assert done.returncode == 1 and 'No space left on device' in done.stderr and '--to' in done.stderr, done
    (tmp_path / 'to' / 'a.txt.part').unlink()
    shutil.rmtree(tmp_path / 'to')
    (tmp_path / 'to').write_text('a file')
    done = get(tmp_path, 'set')
    assert done.returncode == 1 and f'{tmp_path}/to: ' in done.stderr and '--to' in done.stderr, done
    assert 'Traceback' not in done.stderr


def test_no_room(server, tmp_path):
    """It says so before it begins."""
    entry = file(server, 'a.txt', TEXT)
    catalogue(tmp_path, entry)
    code = 'import shutil, sys, runpy; shutil.disk_usage = lambda _: type("u", (), {"free": 10}); ' \
           'sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")'
    done = subprocess.run(['/usr/bin/python3', '-c', code, PROGRAM, '--catalogue', tmp_path / 'catalogue.json', '--to', tmp_path / 'to', 'set'],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and 'are to come and 10 are free' in done.stderr and 'make room' in done.stderr, done


def test_two_at_once(server, tmp_path):
    catalogue(tmp_path, file(server, 'a.txt', TEXT))
    (tmp_path / 'to').mkdir()
    lock = os.open(tmp_path / 'to', os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = get(tmp_path, 'set')
    os.close(lock)
    assert done.returncode == 1 and 'another get-data' in done.stderr, done


@pytest.mark.parametrize('words', [[], ['nothing'], ['set', 'set', '--to', 'x']])
def test_wrong_usage(tmp_path, words):
    catalogue(tmp_path)
    done = subprocess.run([PROGRAM, '--catalogue', tmp_path / 'catalogue.json', *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and 'Traceback' not in done.stderr, done


def test_the_catalogue():
    """Every file is verified by something; the commands it prints name files that come."""
    sets = json.loads((processes.ROOT / 'tools' / 'data.json').read_text())
    assert set(sets) == {'rcv1', 'fashion-mnist', 'cifar10', 'text8', 'word-eval'}
    for one in sets.values():
        names = set()
        for entry in one['files']:
            parts = entry.get('members', [entry])
            assert all({'sha256', 'md5', 'rows', 'bytes'} & set(part) for part in parts)
            names |= {part['name'].rpartition('/')[2] for part in parts}
            for part in [*parts, *entry['sources']]:
                assert re.fullmatch('[0-9a-f]{64}', part.get('sha256', '0' * 64)) and re.fullmatch('[0-9a-f]{32}', part.get('md5', '0' * 32))
        assert {pathlib.Path(word).name for word in ' '.join(one['use']).split() if word.startswith('DIR/')} <= names


def test_the_checksums_are_those_of_the_data_at_hand():
    """Where the data of the tests has the same file, it has the published checksum."""
    folder = pathlib.Path(os.environ.get('HOGMESH_DATA') or processes.ROOT.parent / 'shared' / 'data') / 'word-eval'
    if not folder.exists():
        pytest.skip(f'no {folder}; HOGMESH_DATA names the folder that holds word-eval/')
    for entry in json.loads((processes.ROOT / 'tools' / 'data.json').read_text())['word-eval']['files']:
        for part in entry.get('members', [entry]):
            assert sha((folder / part['name'].rpartition('/')[2]).read_bytes()) == part['sha256'], part['name']


@pytest.mark.parametrize('words', ['run svm', 'run lenet5', 'run word2vec', 'run svm --train none', 'run svm --train none --no-cache',
                                   'run lenet5 --data none', 'run lenet5 --data .', 'run word2vec --train none', 'feed svm --train none',
                                   'vocab none --to x', 'eval word2vec v.txt --analogies none', 'eval word2vec v.txt --pairs none'])
def test_every_message_about_missing_data_names_it(run, tmp_path, words):
    (tmp_path / 'v.txt').write_text('2 1\na 1\nb 2\n')
    done = run(*words.split())
    assert done.code in (1, 2) and 'tools/get-data' in done.err, done
