"""The first steps of the README on two machines, word by word: two namespaces with the addresses that stand there."""
import os
import pathlib
import re
import subprocess

import pytest

import lan
import processes

README = (processes.ROOT / 'README.md').read_text()


def steps():
    """(machine, command) of the section `Two machines`."""
    block = README.split('### Two machines')[1].split('```')[1]
    return re.findall(r'^([ab])\$ (.+)$', block, re.M)


class Machines(lan.Lan):
    """Hosts 7 and 8 of 192.168.1."""

    def address(self, i):
        return f'192.168.1.{i + 6}'

    switch_address = '192.168.1.254'


@pytest.fixture
def machines():
    with lan.opened(Machines(2)) as net:
        yield net


def clone(folder):
    """As git does it. It is not compiled once more: the build that is tested stands in."""
    subprocess.run(['git', 'clone', '--quiet', '--depth', '1', f'file://{processes.ROOT}', folder / 'hogmesh'], check=True, capture_output=True)
    (folder / 'hogmesh' / 'build' / 'tools').mkdir(parents=True)
    (folder / 'hogmesh' / 'build' / 'tools' / 'hogmesh').symlink_to(processes.BINARY)


def scp(folder):
    """Machines are folders here."""
    path = folder / 'bin'
    path.mkdir()
    (path / 'scp').write_text(f'#!/bin/sh\nshift\nmachine=${{2%%:*}}\ncp -p "$1" "{folder}/$machine/${{2#*:}}"\n')
    (path / 'scp').chmod(0o755)
    return path


def test_the_first_steps(machines, start, tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        clone(tmp_path / name)
    environment = {'PATH': f'{scp(tmp_path)}:{os.environ["PATH"]}'}
    assert steps()[0] == ('a', 'tools/install.sh && meson setup build && ninja -C build') and steps()[1][1] == steps()[0][1]
    for script in 'tools/install.sh', 'meson.build':
        assert (tmp_path / 'a' / 'hogmesh' / script).exists()
    nodes = []
    for machine, command in steps()[2:]:
        prefix = [*machines.prefix(' ab'.index(machine)), 'env', '-C', tmp_path / machine / 'hogmesh']
        one = start(command, prefix=prefix, program=('sh', '-c'), env=environment)
        if ' join ' in command:
            nodes.append(one)
        else:
            assert one.wait(120).code == 0, one
    assert len(nodes) == 2
    for node in nodes:
        assert node.wait(120).code == 0, node
    models = [re.search(r'^model +([0-9a-f]{64})', node.out, re.M).group(1) for node in nodes]
    assert models[0] == models[1]
    assert pathlib.Path(tmp_path / 'b' / 'hogmesh' / 'mesh.key').stat().st_mode & 0o777 == 0o600
