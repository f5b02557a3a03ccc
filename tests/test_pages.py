"""The manual page and the completions: they say what --help says, and are installed where they are looked for."""
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import processes

spec = importlib.util.spec_from_file_location('pages', processes.ROOT / 'tools' / 'pages.py')
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)
BUILD = pathlib.Path(processes.BINARY).parent.parent


@pytest.fixture(scope='module')
def read():
    return pages.read(processes.BINARY)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    if not (BUILD / 'build.ninja').exists():
        pytest.skip(f'{BUILD} is no build folder')
    folder = tmp_path_factory.mktemp('installed')
    subprocess.run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', folder], check=True, capture_output=True)
    return folder


def test_every_command_and_flag_is_read(read):
    """What begins like a flag in a help text is one here."""
    commands = read[0]
    assert len(commands) >= 11 and {'run', 'join', 'keygen'} <= {command.name for command in commands}
    for command in commands:
        text = subprocess.run([processes.BINARY, command.name, '--help'], capture_output=True, text=True, check=True).stdout
        assert len(command.flags) == len(re.findall(r'^  -', text, re.M)), command.name
        assert command.examples and command.help


def rendered(page, tmp_path):
    (tmp_path / 'hogmesh.1').write_text(page)
    done = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', tmp_path / 'hogmesh.1'], capture_output=True, text=True, check=True,
                          env={**os.environ, 'MANWIDTH': '200', 'LC_ALL': 'C.UTF-8', 'MAN_KEEP_FORMATTING': '', 'PAGER': 'cat'})
    assert done.stderr == '', done.stderr
    return re.sub('.\b', '', done.stdout)


@pytest.mark.skipif(not shutil.which('man') or not shutil.which('groff'), reason='man-db or groff is missing')
def test_every_flag_is_in_the_manual_page(read, tmp_path):
    text = rendered(pages.man(*read), tmp_path)
    flat = ' '.join(text.split())
    for command in read[0]:
        part = text[text.index(f'hogmesh {command.name}\n'):]
        for flag in command.flags:
            assert re.search(rf'^ +(-\w, )?--{flag.name}\b', part, re.M), f'{command.name} --{flag.name}'
            assert ' '.join(flag.help.split())[:60] in flat, flag
    for word in 'NAME', 'SYNOPSIS', 'EXIT STATUS', 'the nodes did not agree':
        assert word in text


def complete(script, *words):
    """What bash offers after these words, of which the last one is being written."""
    line = ' '.join(f"'{word}'" for word in words)
    code = f'source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _hogmesh; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(['bash', '-u', '-c', code], capture_output=True, text=True, check=True)
    assert done.stderr == '', done.stderr
    return done.stdout.split()


@pytest.fixture
def script(read, tmp_path):
    (tmp_path / 'hogmesh').write_text(pages.bash(*read))
    return tmp_path / 'hogmesh'


def test_bash_completes_commands_workloads_and_flags(read, script):
    assert complete(script, 'hogmesh', 'j') == ['join']
    assert set(complete(script, 'hogmesh', '')) >= {command.name for command in read[0]}
    assert complete(script, 'hogmesh', 'run', 's') == ['svm']
    assert complete(script, 'hogmesh', 'join', 'svm', '--disc') == ['--discover']
    assert complete(script, 'hogmesh', 'keygen', '--fi') == ['--first']
    assert complete(script, 'hogmesh', 'run', 'svm', '--combine', 'h') == ['hold']
    for command in read[0]:
        assert set(complete(script, 'hogmesh', command.name, 'x', '--')) == set(pages.words_of(command))


def test_bash_completes_values(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data.svm').touch()
    (tmp_path / 'dates').mkdir()
    assert set(complete(script, 'hogmesh', 'run', 'svm', '--train', 'da')) == {'data.svm', 'dates'}
    assert complete(script, 'hogmesh', 'run', 'svm', '--out', 'da') == ['dates']
    assert complete(script, 'hogmesh', 'run', 'svm', '--seconds', '') == []
    assert set(complete(script, 'hogmesh', 'inspect', 'da')) == {'data.svm', 'dates'}


def test_other_shells_understand_theirs(read, tmp_path):
    """Those that are there; all of them know every flag."""
    for shell in 'zsh', 'fish':
        text = getattr(pages, shell)(*read)
        assert all(re.search(rf'(--|-l ){flag.name}\b', text) for command in read[0] for flag in command.flags)
        (tmp_path / 'script').write_text(text)
        if shutil.which(shell):
            subprocess.run([shell, '-n', tmp_path / 'script'], check=True)


def test_they_are_installed(read, installed):
    """And are those of the program beside them."""
    for name, text in (('man/man1/hogmesh.1', pages.man(*read)), ('bash-completion/completions/hogmesh', pages.bash(*read)),
                       ('zsh/site-functions/_hogmesh', pages.zsh(*read)), ('fish/vendor_completions.d/hogmesh.fish', pages.fish(*read))):
        found = [path for path in installed.rglob(pathlib.Path(name).name) if str(path).endswith(name)]
        assert len(found) == 1 and found[0].read_text() == text, name
