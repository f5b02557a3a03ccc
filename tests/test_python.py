"""The Python package over the shared library: tools/python."""
import ctypes
import gc
import importlib.util
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from processes import BINARY, ROOT, free_port

numpy = pytest.importorskip('numpy')
BUILD = pathlib.Path(BINARY).resolve().parent.parent
LIBRARY = BUILD / 'node' / 'libhogmesh.so'
PACKAGE = ROOT / 'tools' / 'python'
if not LIBRARY.exists():
    pytest.skip('built without the shared library', allow_module_level=True)
os.environ['HOGMESH_LIB'] = str(LIBRARY)
sys.path.insert(0, str(PACKAGE))
import hogmesh  # noqa: E402

HEADER = (ROOT / 'node' / 'hogmesh.h').read_text()
ENV = {**os.environ, 'PYTHONPATH': str(PACKAGE)}


def pair(tensors, first=None, second=None, **options):
    """Two meshes that are about to train together."""
    a = hogmesh.Mesh(tensors, expect=2, **{**options, **(first or {})})
    b = hogmesh.Mesh(tensors, expect=2, peer=a.endpoint, **{**options, **(second or {})})
    with pytest.raises(hogmesh.NotInTimeError):
        a.start(timeout=0)
    b.start()
    a.start()
    return a, b


def test_two_meshes_end_alike():
    a, b = pair({'line': numpy.zeros(2)}, steps=4000)

    def fit(mesh):
        w = mesh.weights['line']
        for i in mesh.steps(1):
            x = i % 8 / 8
            error = w[0] * x + w[1] - (2 * x + 1)
            w -= .05 * error * numpy.array([x, 1])

    threads = [threading.Thread(target=fit, args=(mesh,)) for mesh in (a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [mesh.finish() for mesh in (a, b)]
    assert results[0].hash == results[1].hash == a.result.hash
    assert results[0].clean and re.fullmatch('[0-9a-f]{64}', results[0].hash)
    assert results[0].steps == results[0].own_steps + results[1].own_steps >= 3990
    assert (a.weights['line'] == b.weights['line']).all()


def test_weights_are_shared_and_keep_their_shapes():
    first = {'layer.weight': numpy.arange(6).reshape(2, 3), 'one': numpy.float32(.5), 'table': numpy.zeros((5, 3, 2))}
    a, b = pair(first, combine='sum', marks=True)
    for name, values in first.items():
        w = a.weights[name]
        assert w.dtype == numpy.float32 and w.shape == numpy.shape(values) and (w == values).all()
        assert w.flags.writeable and w.ctypes.data % 64 == 0
    assert a.weights['table'] is a.weights['table']
    assert hogmesh.Mesh._view(a, 'table', (30,)).ctypes.data == a.weights['table'].ctypes.data
    b.weights['table'][4, 2, 1] += 3
    b.touch(b.weights['table'][4])
    b.weights['one'][...] += 1
    b.touch()
    assert b.step(1)
    until = time.monotonic() + 30
    while (a.weights['table'][4, 2, 1] != 3 or a.weights['one'] != 1.5) and time.monotonic() < until:
        assert a.step(1)
        time.sleep(.001)
    assert a.weights['table'].sum() == 3 and a.weights['one'] == 1.5
    assert a.status().n_live == 2 and a.status().stage == 'train'
    for wrong in (numpy.zeros(3, numpy.float32), a.weights['table'][:, 0], a.weights['table'].astype(float)):
        with pytest.raises(hogmesh.UsageError):
            a.touch(wrong)
    a.stop()
    assert a.finish().hash == b.finish().hash


def test_weights_outlive_the_mesh():
    mesh = hogmesh.Mesh({'x': numpy.full(1000, .25)}, steps=10)
    with mesh:
        view = mesh.weights['x'][::2]
        assert list(mesh.steps(5)) == [0, 1]
    memory = weakref.ref(mesh._replica)
    del mesh
    gc.collect()
    assert memory() and view.sum() == 125
    view += 1
    assert view.sum() == 625
    del view
    gc.collect()
    assert not memory()


def test_leaving_early_takes_the_node_out():
    a, b = pair({'x': numpy.zeros(3)})
    with b:
        b.step(1)
    assert b.result and b.result.own_steps == 1
    assert a.step(1)
    a.stop()
    assert a.finish().clean
    with pytest.raises(ZeroDivisionError):
        with hogmesh.Mesh({'x': numpy.zeros(3)}):
            raise ZeroDivisionError


def test_errors_are_exceptions_with_the_librarys_text():
    with pytest.raises(hogmesh.UsageError, match="'combine' is 'vote'; mean, sum") as caught:
        hogmesh.Mesh({'x': numpy.zeros(1)}, combine='vote')
    assert caught.value.status is hogmesh.Status.USAGE and isinstance(caught.value, ValueError)
    for options, text in (({'perr': 'x'}, "no option 'perr'"), ({'bind': '192.0.2.1:0'}, '192.0.2.1'),
                          ({'insecure': 'maybe'}, 'yes or no')):
        with pytest.raises(hogmesh.HogmeshError, match=text):
            hogmesh.Mesh({'x': numpy.zeros(1)}, **options)
    for tensors, text in (({}, 'without tensors'), ({'a b': [1]}, 'without spaces'), ({'x': [numpy.nan]}, 'value 0 is'),
                          ({'x': [100]}, 'coarser grid'), ({'x': numpy.zeros((0, 3))}, 'empty')):
        with pytest.raises(hogmesh.UsageError, match=text):
            hogmesh.Mesh(tensors)
    hogmesh.Mesh({'x': [100]}, grids=-10)
    hogmesh.Mesh({'x': [100], 'y': [1]}, grids={'x': -10})
    mesh = hogmesh.Mesh({'x': [1]})
    with pytest.raises(hogmesh.UsageError, match='before start'):
        mesh.weights
    with pytest.raises(hogmesh.NotInTimeError, match='no peer answered'):
        hogmesh.Mesh({'x': [1]}, peer=f'127.0.0.1:{free_port()}', join_timeout=.3).start()


def test_others_are_refused_by_name_or_adopt():
    a = hogmesh.Mesh({'x': [1, 2]}, expect=2)
    with pytest.raises(hogmesh.NotInTimeError):
        a.start(timeout=0)
    with pytest.raises(hogmesh.RefusedError, match="'parameters'"):
        hogmesh.Mesh({'x': [[1, 2]]}, expect=2, peer=a.endpoint).start()
    with pytest.raises(hogmesh.RefusedError, match="'values'"):
        hogmesh.Mesh({'x': [1, 3]}, expect=2, peer=a.endpoint).start()
    with hogmesh.Mesh({'x': [1, 3]}, expect=2, peer=a.endpoint, adopt=True) as b:
        assert list(b.weights['x']) == [1, 2]
        a.start()
        a.stop()


def test_what_cannot_be_meant_is_refused():
    def refuse(text, tensors=None, **options):
        with pytest.raises(hogmesh.UsageError, match=text):
            hogmesh.Mesh({'x': [1]} if tensors is None else tensors, **options)

    refuse('complex128; real numbers', {'x': [1j]})
    refuse('real numbers', {'x': ['1.5']})
    refuse('real numbers', {'x': [None]})
    refuse('a name is a text', {5: [1]})
    refuse('without NUL', {'x\0y': [1]})
    refuse('without NUL', label='x\0y')
    refuse("no tensor 'y'", grids={'y': -10})
    with hogmesh.Mesh({'x': [1], 'y': [[1, 2], [3, 4]]}, marks=True) as mesh:
        for wrong in (-1, 2 ** 64):
            with pytest.raises(hogmesh.UsageError, match=f'step: {wrong} examples'):
                mesh.step(wrong)
        with pytest.raises(TypeError):
            mesh.step(.5)
        assert mesh.step(numpy.int64(3))
        with pytest.raises(hogmesh.UsageError, match='in place'):
            mesh.weights['x'] = numpy.zeros(1)
        before = mesh.weights['y']
        mesh.weights['y'] += 1
        assert mesh.weights['y'] is before and list(before[0]) == [2, 3]
        for wrong in ([1], mesh.weights['x'][0]):
            with pytest.raises(hogmesh.UsageError, match='touch'):
                mesh.touch(wrong)
    with pytest.raises(hogmesh.UsageError, match='without NUL'):
        mesh.save('a\0.npy')


def test_keys_and_labels_are_those_of_the_mesh(tmp_path):
    key = tmp_path / 'mesh.key'
    subprocess.run([BINARY, 'keygen', key], check=True, capture_output=True)
    a = hogmesh.Mesh({'x': [1]}, expect=2, key=key, label='the-first-one')
    with pytest.raises(hogmesh.NotInTimeError):
        a.start(timeout=0)
    with pytest.raises(hogmesh.HogmeshError, match='key'):
        hogmesh.Mesh({'x': [1]}, expect=2, peer=a.endpoint, join_timeout=3).start()
    with hogmesh.Mesh({'x': [1]}, expect=2, peer=a.endpoint, key=key, label='the-second-one') as b:
        a.start()
        said = subprocess.run([BINARY, 'status', a.endpoint, '--key', key, '--json'], check=True, capture_output=True, text=True)
        status = json.loads(said.stdout)
        assert status['node']['label'] == 'the-first-one' and [peer['label'] for peer in status['peers']] == ['the-second-one']
        b.stop()
        a.finish()
    assert a.result.hash == b.result.hash
    with pytest.raises(hogmesh.HogmeshError, match='no.key'):
        hogmesh.Mesh({'x': [1]}, key=tmp_path / 'no.key')


def test_any_layout_of_real_numbers_will_do():
    first = {'fortran': numpy.asfortranarray(numpy.arange(6).reshape(2, 3)), 'strided': numpy.arange(10)[::-3], 'flag': True,
             'half': numpy.float16([.5, -.5]), 'list': [[1, 2], [3, 4]], 'wide': numpy.float64([2 ** -16, 1 / 3])}
    with hogmesh.Mesh(first) as mesh:
        for name, values in first.items():
            w = mesh.weights[name]
            assert w.flags.c_contiguous and w.shape == numpy.shape(values) and abs(w - numpy.array(values, float)).max() <= 2 ** -17


def test_a_tensor_of_pytorch_is_as_good_as_an_array():
    torch = pytest.importorskip('torch')
    first = {'half': torch.tensor([1, 2.5], dtype=torch.bfloat16, requires_grad=True), 'turned': torch.arange(6.).reshape(2, 3).T,
             'parameter': torch.nn.Parameter(torch.ones(2))}
    with hogmesh.Mesh(first, marks=True) as mesh:
        assert list(mesh.weights['half']) == [1, 2.5] and mesh.weights['turned'].tolist() == [[0, 3], [1, 4], [2, 5]]
        mesh.touch(torch.from_numpy(mesh.weights['half']))
        with pytest.raises(hogmesh.UsageError, match='no part'):
            mesh.touch(torch.zeros(3))
    with pytest.raises(hogmesh.UsageError, match='complex'):
        hogmesh.Mesh({'x': torch.zeros(1, dtype=torch.complex64)})


def test_what_was_closed_says_so():
    mesh = hogmesh.Mesh({'x': [1]})
    address = mesh.endpoint
    mesh.close()
    mesh.close()
    again = hogmesh.Mesh({'x': [1]}, bind=address)
    assert again.endpoint == address and mesh.endpoint == '' and mesh.status().stage == '' and not mesh.step()
    for call in (mesh.start, mesh.finish, mesh.checkpoint, lambda: mesh.weights, lambda: mesh.save('x.npy')):
        with pytest.raises(hogmesh.UsageError, match='NULL|before start'):
            call()
    with again:
        view = again.weights['x']
    for closed in range(2):
        assert again.status().stage == 'done' and list(view) == [1] and again.finish().hash and not again.step()
        again.close()


@pytest.mark.parametrize('u, says', [(numpy.nan, 'nan where 0 is published'), (1e30, 'published, within 64'), (50, 'published, within 64')])
def test_divergence_is_said_in_the_programs_own_names(u, says):
    with pytest.raises(hogmesh.DivergedError, match=r"tensor 'layer\.weight', number 150 of 500: .*" + says):
        with hogmesh.Mesh({'other': numpy.zeros(50), 'layer.weight': numpy.zeros((10, 50))}, seconds=30) as mesh:
            for _ in mesh.steps(1):
                mesh.weights['layer.weight'][3:] += u
                time.sleep(.001)


def test_no_time_left_is_no_time():
    """Not "as long as it takes", which nobody could interrupt."""
    mesh = hogmesh.Mesh({'x': [1]}, expect=2)
    for timeout in (0, -1, -numpy.inf):
        with pytest.raises(hogmesh.NotInTimeError):
            mesh.start(timeout=timeout)
    with hogmesh.Mesh({'x': [1]}) as mesh:
        for timeout in (0, -1, -numpy.inf):
            with pytest.raises(hogmesh.NotInTimeError):
                mesh.finish(timeout=timeout)


def alone(program, *arguments, timeout=60):
    """A process that may hang, or crash: what it printed."""
    run = subprocess.run([sys.executable, '-X', 'faulthandler', '-c', program, *map(str, arguments)], env=ENV, timeout=timeout,
                         capture_output=True, text=True)
    assert run.returncode == 0, run
    return run.stdout


def test_a_fork_leaves_its_parents_mesh_alone():
    out = alone('''
import gc, multiprocessing, os, sys, hogmesh
mesh = hogmesh.Mesh({'x': [1, 2]})
mesh.start()
view = mesh.weights['x']
def child(q):
    q.put((list(view), mesh.step(1), mesh.status().stage))
context = multiprocessing.get_context('fork')
q = context.Queue()
process = context.Process(target=child, args=(q,))
process.start()
print(q.get(), flush=True)
process.join()
pid = os.fork()
if not pid:
    try:
        mesh.finish()
    except hogmesh.UsageError as error:
        print('fork' in str(error))
    del mesh, view
    gc.collect()
    with hogmesh.Mesh({'x': [1]}) as own:
        print(own.step(1), flush=True)
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), process.exitcode, mesh.step(1))
mesh.stop()
print(mesh.finish().own_steps)
''')
    assert out == "([1.0, 2.0], False, '')\nTrue\nTrue\n3 0 True\n1\n"


def test_garbage_may_be_collected_in_a_log_callback(tmp_path):
    """By the library's own thread, of a mesh that is still running: it must not wait for itself."""
    out = alone('''
import gc, sys, threading, time, hogmesh
gc.disable()
said = threading.Event()
def log(level, text):
    gc.collect()
    said.set()
for again in range(2):  # the second one says that there is a checkpoint of the first
    said.clear()
    mesh = hogmesh.Mesh({'x': [1]}, checkpoint=sys.argv[1], steps=again and 5, log=log)
    mesh.itself = mesh
    start, finalizer = mesh.start, None
    if not again:
        start()
        mesh.stop()
        mesh.finish()
        del start, mesh
        gc.collect()
    else:
        pointer, library = mesh._replica.pointer, hogmesh.library
        mesh.start(timeout=30)
        finalizer = mesh._finalizer
        view = mesh.weights['x']
        del start, mesh
        hogmesh._hearing.now = True  # as in a callback
        gc.collect()
        hogmesh._hearing.now = False
        print(finalizer.alive, list(view))
        del view
until = time.monotonic() + 30
while threading.active_count() > 1 and time.monotonic() < until:
    time.sleep(.01)
print(threading.active_count())
''', tmp_path / 'x.ckpt')
    assert out == 'False [1.0]\n1\n'


def test_every_thread_sees_all_weights():
    """Also those that ask at the same time for the first time."""
    with hogmesh.Mesh({f'x{i}': [i] for i in range(500)}, grids=-10) as mesh:
        seen, gate = [], threading.Barrier(8)

        def look():
            gate.wait()
            seen.append([mesh.weights[f'x{i}'][0] for i in reversed(range(500))])

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
        assert seen == [list(reversed(range(500)))] * 8


def test_types_are_right(tmp_path):
    if not importlib.util.find_spec('mypy'):
        pytest.skip('no mypy')
    (tmp_path / 'use.py').write_text('''import numpy
import hogmesh
with hogmesh.Mesh({'x': numpy.zeros(3)}, peer=['a:1'], grids={'x': -10}, steps=5) as mesh:
    for i in mesh.steps(1):
        mesh.weights['x'] += float(i)
        mesh.touch(mesh.weights['x'][:2])
    n: int = mesh.status().own_steps
    mesh.finish(timeout=3).hash.upper()
mesh.finish(timeout='soon')
''')
    run = subprocess.run([sys.executable, '-m', 'mypy', '--strict', '--cache-dir', tmp_path / 'cache', PACKAGE / 'hogmesh', 'use.py'],
                         cwd=tmp_path, env={**ENV, 'MYPYPATH': str(PACKAGE)}, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and 'use.py:9' in lines[0] and '"finish"' in lines[0], run


def test_files_and_logs(tmp_path, caplog):
    heard = []
    for resume in (False, True):
        mesh = hogmesh.Mesh({'x': numpy.ones((2, 2))}, steps=2000 if resume else 1000, checkpoint=tmp_path / 'x.ckpt', resume=resume,
                            log=lambda level, text: heard.append((level, text)))
        with mesh:
            for _ in mesh.steps(10):
                mesh.weights['x'][0, 1] += .001
        assert mesh.result.steps >= 990
    assert any(level == logging.INFO and 'going on from' in text for level, text in heard)
    mesh.save(tmp_path / 'x.npy')
    assert (numpy.load(tmp_path / 'x.npy') == mesh.weights['x'].ravel()).all()
    mesh.save(tmp_path / 'x.hm')
    run = subprocess.run([BINARY, 'inspect', tmp_path / 'x.hm'], check=True, capture_output=True, text=True)
    assert mesh.result.hash in run.stdout
    subprocess.run([BINARY, 'export', 'custom', tmp_path / 'x.hm', '--to', tmp_path / 'y.npy'], check=True)
    assert (tmp_path / 'y.npy').read_bytes() == (tmp_path / 'x.npy').read_bytes()
    for command in ('run', 'join', 'sim', 'synth', 'eval'):
        run = subprocess.run([BINARY, command, 'custom'], capture_output=True, text=True)
        assert run.returncode == 2 and 'unknown workload custom' in run.stderr
    with pytest.raises(hogmesh.UsageError, match='exports'):
        mesh.save(tmp_path / 'x.txt')
    with caplog.at_level(logging.INFO, 'hogmesh'), hogmesh.Mesh({'x': [1]}, checkpoint=tmp_path / 'x.ckpt', steps=1):
        pass
    assert 'of a former run' in caplog.text


def test_interrupts_are_heard_while_it_waits():
    # A shell's background jobs ignore interrupts, and those they start inherit that.
    program = ('import hogmesh, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n'
               'mesh = hogmesh.Mesh({"x": [1]}, expect=2)\n'
               'try:\n    print("waits", flush=True)\n    mesh.start()\nexcept KeyboardInterrupt:\n    print("interrupted")\n')
    with subprocess.Popen([sys.executable, '-c', program], env=ENV, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == 'waits\n'
        time.sleep(.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert out == 'interrupted\n' and process.returncode == 0


def test_pytorch_gossips():
    pytest.importorskip('torch')
    ports = [free_port(), free_port()]
    nodes = [subprocess.Popen([sys.executable, PACKAGE / 'examples' / 'pytorch_mesh.py', '--bind', f'127.0.0.1:{port}', '--peer',
                               f'127.0.0.1:{ports[0]}', '--seed', str(port), '--steps', '80000'], env=ENV, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) for port in ports]
    try:
        said = [node.communicate(timeout=120) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], said
    summaries = [json.loads(out) for out, _ in said]
    assert summaries[0]['hash'] == summaries[1]['hash']
    for summary in summaries:
        assert summary['last_loss'] < .7 * summary['first_loss'], summary
    added = (PACKAGE / 'examples' / 'pytorch_mesh.py').read_text().count('#+\n')
    assert added <= 10


# ---- the package and the header ----

def test_every_function_of_the_header_is_declared():
    from hogmesh import _library
    declared = set(re.findall(r'^[a-z].*?\bhm_(\w+)\(', HEADER, re.MULTILINE))
    assert set(_library._FUNCTIONS) == declared


@pytest.mark.skipif(not shutil.which('cc'), reason='no compiler')
def test_structs_are_those_of_the_header(tmp_path):
    from hogmesh import _library
    kinds = {'status': _library.StatusStruct, 'result': _library.ResultStruct}
    lines = [f'printf("%zu ", offsetof(struct hm_replica_{kind}, {name}));' for kind, struct in kinds.items()
             for name, *_ in struct._fields_]
    lines += [f'printf("%zu ", sizeof(struct hm_replica_{kind}));' for kind in kinds] + ['printf("%zu", sizeof(struct hm_err));']
    (tmp_path / 'a.c').write_text('#include <hogmesh.h>\n#include <stdio.h>\nint main(void) { ' + ' '.join(lines) + ' return 0; }\n')
    subprocess.run(['cc', f'-I{ROOT / "node"}', 'a.c', '-o', 'a'], cwd=tmp_path, check=True)
    out = subprocess.run([tmp_path / 'a'], check=True, capture_output=True, text=True).stdout
    ours = [getattr(struct, name).offset for struct in kinds.values() for name, *_ in struct._fields_]
    ours += [ctypes.sizeof(struct) for struct in kinds.values()] + [ctypes.sizeof(_library.Err)]
    assert [int(number) for number in out.split()] == ours
    names = {hogmesh.Status.MEMORY: 'ENOMEM'}
    statuses = re.findall(r'HM_[A-Z]+', re.sub(r'/\*.*?\*/', '', re.search(r'enum hm_status \{(.*?)\}', HEADER, re.DOTALL)[1],
                                               flags=re.DOTALL))
    assert [f'HM_{"" if status.value in (0, 4) else "E"}{names.get(status, status.name)}' for status in hogmesh.Status
            if status.value >= 0] == statuses


def test_versions_agree():
    numbers = '.'.join(re.findall(r'#define HM_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)', HEADER))
    assert hogmesh.version() == hogmesh.__version__ == numbers
    assert f'version = "{numbers}"' in (PACKAGE / 'pyproject.toml').read_text()


def test_a_missing_library_is_named():
    run = subprocess.run([sys.executable, '-c', 'import hogmesh'], env={**ENV, 'HOGMESH_LIB': '/nowhere/libhogmesh.so.0'},
                         capture_output=True, text=True)
    assert run.returncode == 1 and '/nowhere/libhogmesh.so.0' in run.stderr and 'HOGMESH_LIB=' in run.stderr
    needed = subprocess.run(['objdump', '-p', LIBRARY], check=True, capture_output=True, text=True).stdout
    for name in re.findall(r'NEEDED +lib([a-z]+)[\w-]*\.so', needed):
        assert name in ('m', 'c', 'pthread', 'dl') or name in run.stderr or {'z': 'zlib'}.get(name, '?') in run.stderr, name


def test_a_wheel_brings_the_library_along(tmp_path):
    for module in ('pip', 'setuptools', 'wheel'):
        if not importlib.util.find_spec(module):
            pytest.skip(f'no {module}')
    shutil.copytree(PACKAGE, tmp_path / 'source', ignore=shutil.ignore_patterns('build', '*.egg-info', '__pycache__'))
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    subprocess.run([*pip, 'wheel', '--no-build-isolation', '--no-deps', '--no-index', '-w', tmp_path, tmp_path / 'source'], check=True,
                   env=ENV, capture_output=True)
    wheel, = tmp_path.glob('hogmesh-*.whl')
    assert wheel.name.startswith('hogmesh-0.1.0-py3-none-linux')
    subprocess.run([*pip, 'install', '--no-deps', '--no-index', '--target', tmp_path / 'site', wheel], check=True, capture_output=True)
    assert (tmp_path / 'site' / 'hogmesh' / 'py.typed').exists()
    plain = {name: value for name, value in os.environ.items() if name not in ('HOGMESH_LIB', 'PYTHONPATH')}
    program = 'import hogmesh; print(hogmesh.library._name, hogmesh.version())'
    run = subprocess.run([sys.executable, '-c', program], env={**plain, 'PYTHONPATH': str(tmp_path / 'site')}, cwd=tmp_path, check=True,
                         capture_output=True, text=True)
    assert run.stdout.split() == [str(tmp_path / 'site' / 'hogmesh' / 'libhogmesh.so.0'), hogmesh.version()]
