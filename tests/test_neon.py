"""The models' kernels on aarch64: cross-built, and run under qemu's emulator of programs."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
COMPILER, EMULATOR = 'aarch64-linux-gnu-gcc', 'qemu-aarch64'
# As models/meson.build and sparse/meson.build have them.
FLAGS = ['-std=gnu11', '-O3', '-D_GNU_SOURCE', '-fno-math-errno', '-fno-trapping-math', f'-I{ROOT}']
PLAIN = ['sparse/delta.c', 'sparse/kernels.c', 'sparse/kernels_ref.c', 'sparse/layout.c', 'sparse/status.c', 'sparse/weights.c']
LENET5 = ['tests/neon_lenet5.c', 'models/lenet5_net.c', 'models/lenet5_ref.c']
SATURATE = ['tests/neon_saturate.c', 'models/saturate.c']
WORD2VEC = ['tests/neon_word2vec.c', 'models/word2vec_isa.c', 'models/word2vec_ref.c']


def build(folder, sources, kernels):
    """A program of plain sources and of kernels: (source, name, flags)."""
    objects = []

    def compile_one(source, name, *flags):
        objects.append(folder / f'{name}.o')
        subprocess.run([COMPILER, *FLAGS, *flags, '-c', ROOT / source, '-o', objects[-1]], check=True)

    for source in PLAIN + sources: # gcc 12 crashes where it vectorises the checks themselves
        compile_one(source, pathlib.Path(source).stem, '-fno-tree-vectorize', '-ffp-contract=off')
    compile_one('sparse/kernels_fast.c', 'fast', '-ffp-contract=off', '-DHM_TABLE=hm_kernels_neon', '-DHM_TABLE_NAME="neon"')
    for source, name, *flags in kernels:
        compile_one(source, name, '-ffp-contract=fast', '-DHM_VL=4', '-DHM_TABLE_NAME="neon"', *flags)
    subprocess.run([COMPILER, '-static', *objects, '-lm', '-o', folder / 'neon'], check=True)
    return folder / 'neon'


def run(folder, sources, kernels):
    missing = [tool for tool in (COMPILER, EMULATOR) if not shutil.which(tool)]
    if missing:
        assert os.environ.get('CI') != 'true', f'{missing} must be installed (tools/install.sh test field)'
        pytest.skip(f'{missing[0]} is not installed; tools/install.sh test field installs it')
    done = subprocess.run([EMULATOR, build(folder, sources, kernels)], capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


def test_lenet5_agrees_with_ref(tmp_path):
    kernels = [('models/lenet5_kernels.c', f'lenet5_{channels}', f'-DHM_CHANNELS={channels}',
                f'-DHM_TABLE=hm_lenet5_neon_{channels}') for channels in '13']
    said = run(tmp_path, LENET5, kernels)
    assert 'neon, 1 channels' in said and 'neon, 3 channels' in said


def test_word2vec_agrees_with_ref(tmp_path):
    assert 'neon: ' in run(tmp_path, WORD2VEC, [('models/word2vec_kernels.c', 'word2vec', '-DHM_TABLE=hm_w2v_neon')])


def test_saturate_agrees_with_ref(tmp_path):
    assert 'neon: ' in run(tmp_path, SATURATE, [('models/saturate_kernels.c', 'saturating', '-DHM_TABLE=hm_saturate_neon')])
