"""LeNet5's kernels on aarch64: cross-built, and run under qemu's emulator of programs."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
COMPILER, EMULATOR = 'aarch64-linux-gnu-gcc', 'qemu-aarch64'
# As models/meson.build and sparse/meson.build have them.
FLAGS = ['-std=gnu11', '-O3', '-D_GNU_SOURCE', '-fno-math-errno', '-fno-trapping-math', f'-I{ROOT}']
PLAIN = ['tests/neon_lenet5.c', 'models/lenet5_net.c', 'models/lenet5_ref.c', 'sparse/delta.c', 'sparse/kernels.c',
         'sparse/kernels_ref.c', 'sparse/layout.c', 'sparse/status.c', 'sparse/weights.c']


def build(folder):
    objects = []

    def compile_one(source, name, *flags):
        objects.append(folder / f'{name}.o')
        subprocess.run([COMPILER, *FLAGS, *flags, '-c', ROOT / source, '-o', objects[-1]], check=True)

    for source in PLAIN:
        compile_one(source, pathlib.Path(source).stem, '-ffp-contract=off')
    compile_one('sparse/kernels_fast.c', 'fast', '-ffp-contract=off', '-DHM_TABLE=hm_kernels_neon', '-DHM_TABLE_NAME="neon"')
    for channels in '1', '3':
        compile_one('models/lenet5_kernels.c', f'lenet5_{channels}', '-ffp-contract=fast', '-DHM_VL=4',
                    f'-DHM_CHANNELS={channels}', f'-DHM_TABLE=hm_lenet5_neon_{channels}', '-DHM_TABLE_NAME="neon"')
    subprocess.run([COMPILER, '-static', *objects, '-lm', '-o', folder / 'neon'], check=True)
    return folder / 'neon'


def test_neon_agrees_with_ref(tmp_path):
    missing = [tool for tool in (COMPILER, EMULATOR) if not shutil.which(tool)]
    if missing:
        assert os.environ.get('CI') != 'true', f'{missing} must be installed (tools/install.sh test field)'
        pytest.skip(f'{missing[0]} is not installed; tools/install.sh test field installs it')
    run = subprocess.run([EMULATOR, build(tmp_path)], capture_output=True, text=True, timeout=300)
    print(run.stdout, run.stderr)
    assert run.returncode == 0
    assert 'neon, 1 channels' in run.stdout and 'neon, 3 channels' in run.stdout
