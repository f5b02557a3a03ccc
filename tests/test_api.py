"""The public header, hogmesh.h: its example, what the shared library exports, and programs against what is installed."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from processes import BINARY, ROOT, free_port

BUILD = pathlib.Path(BINARY).resolve().parent.parent
HEADER = (ROOT / 'node' / 'hogmesh.h').read_text()
LIBRARY = BUILD / 'node' / 'libhogmesh.so'

if not LIBRARY.exists():
    pytest.skip('built without the shared library', allow_module_level=True)


def two_lines(program, env=None):
    """Two nodes of the header's example: what they print."""
    first, second = (f'127.0.0.1:{free_port()}' for _ in range(2))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    nodes = [subprocess.Popen([program, address, first], **pipes) for address in (first, second)]
    try:
        said = [node.communicate(timeout=60) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], said
    return [out for out, _ in said]


def test_the_headers_example_runs_on_two_nodes():
    lines = two_lines(BUILD / 'tests' / 'line')
    assert lines[0] == lines[1]
    assert re.fullmatch(r'-?\d+\.\d\d x \+ -?\d+\.\d\d, model [0-9a-f]{64}\n', lines[0])


def test_an_error_names_what_is_wrong():
    run = subprocess.run([BUILD / 'tests' / 'line', '192.0.2.1:7000', '127.0.0.1:7000'], capture_output=True, text=True)
    assert run.returncode == 1
    assert 'line: ' in run.stderr and '192.0.2.1' in run.stderr


def test_nothing_but_the_headers_functions_is_exported():
    declared = set(re.findall(r'^[a-z].*?\b(hm_\w+)\(', HEADER, re.MULTILINE))
    assert 'hm_replica_step' in declared and len(declared) > 15
    symbols = subprocess.run(['nm', '-D', '--defined-only', '--format=posix', LIBRARY], check=True, capture_output=True,
                             text=True).stdout.split('\n')
    kinds = {line.split()[0]: line.split()[1] for line in symbols if line}
    assert kinds.pop('HOGMESH_0') == 'A' and set(kinds.values()) == {'T'}, 'data is exported, too'
    assert set(kinds) == {f'{name}@@HOGMESH_0' for name in declared}
    dynamic = subprocess.run(['readelf', '-d', LIBRARY], check=True, capture_output=True, text=True).stdout
    assert 'Library soname: [libhogmesh.so.0]' in dynamic


def test_the_library_neither_ends_the_process_nor_talks():
    """By what it is linked with: nothing that exits, prints, or handles signals. (An assertion that fails is a bug of ours.)"""
    text = subprocess.run(['nm', '-D', '--undefined-only', '--format=posix', LIBRARY], check=True, capture_output=True, text=True).stdout
    used = {line.split()[0].split('@')[0] for line in text.splitlines()}
    assert 'pthread_create' in used
    assert not used & {'exit', '_exit', '_Exit', 'quick_exit', 'abort', 'system', 'fork', 'execve', 'printf', '__printf_chk', 'puts', 'putchar',
                       'perror', 'psignal', 'stdout', 'stderr', 'err', 'errx', 'warn', 'warnx', 'syslog', 'signal', 'sigaction', 'sigset',
                       'setlocale', 'chdir', 'umask', 'atexit', 'putenv', 'setenv'}


def test_header_and_build_have_one_version():
    numbers = re.findall(r'#define HM_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)', HEADER)
    assert f"version: '{'.'.join(numbers)}'" in (ROOT / 'meson.build').read_text()


def test_header_has_the_statuses_of_the_library():
    def statuses(text):
        body = re.search(r'enum hm_status \{(.*?)\}', text, re.DOTALL)[1]
        return re.findall(r'HM_[A-Z]+', re.sub(r'/\*.*?\*/', '', body, flags=re.DOTALL))

    inner = (ROOT / 'sparse' / 'status.h').read_text()
    assert statuses(HEADER) == statuses(inner)
    room = r'struct hm_err \{\s*char text\[(\d+)\]'
    assert re.search(room, HEADER)[1] == re.search(room, inner)[1]


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder in which all is installed."""
    folder = tmp_path_factory.mktemp('installed')
    meson = shutil.which('meson')
    if not meson:
        pytest.skip('no meson')
    subprocess.run([meson, 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', folder], check=True)
    return folder


def pkg_config(installed, *words):
    folders = [str(path.parent) for path in installed.rglob('hogmesh.pc')]
    assert len(folders) == 1
    env = {**os.environ, 'PKG_CONFIG_PATH': folders[0], 'PKG_CONFIG_SYSROOT_DIR': str(installed)}
    run = subprocess.run(['pkg-config', *words, 'hogmesh'], check=True, capture_output=True, text=True, env=env)
    return run.stdout.split()


@pytest.mark.skipif(not shutil.which('pkg-config') or not shutil.which('cc'), reason='no pkg-config or no compiler')
def test_a_program_outside_is_built_with_pkg_config(installed, tmp_path):
    source = re.search(r'/\*(.*?)\*/', HEADER, re.DOTALL)[1].split('\n')
    example = [line[7:] for line in source if line.startswith(' *     ') or line == ' *']
    (tmp_path / 'line.c').write_text('\n'.join(example))
    subprocess.run(['cc', '-Wall', '-Wextra', '-Werror', '-std=c99', '-pedantic', 'line.c', *pkg_config(installed, '--cflags', '--libs'), '-o',
                    'line'], check=True, cwd=tmp_path)
    library = next(installed.rglob('libhogmesh.so.0')).parent
    lines = two_lines(tmp_path / 'line', {**os.environ, 'LD_LIBRARY_PATH': str(library)})
    assert lines[0] == lines[1] and 'model' in lines[0]
    assert pkg_config(installed, '--modversion') == [re.search(r"version: '([\d.]+)'", (ROOT / 'meson.build').read_text())[1]]


@pytest.mark.skipif(not shutil.which('c++'), reason='no C++ compiler')
def test_the_header_is_cpp_and_includes_nothing_of_ours(tmp_path):
    assert set(re.findall(r'#include [<"](.*?)[>"]', HEADER.split('*/', 1)[1])) == {'stddef.h', 'stdint.h'}
    (tmp_path / 'a.cpp').write_text('#include <hogmesh.h>\nint main() { return hm_version() == 0; }\n')
    for standard in ('c++11', 'c++17'):
        subprocess.run(['c++', f'-std={standard}', '-Wall', '-Wextra', '-pedantic', '-Wold-style-cast', '-Werror', f'-I{ROOT / "node"}',
                        '-fsyntax-only', 'a.cpp'], check=True, cwd=tmp_path)
