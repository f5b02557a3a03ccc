"""Train one set of parameters on many machines without a coordinator.

    import hogmesh, numpy

    with hogmesh.Mesh({'line': numpy.zeros(2)}, peer='127.0.0.1:7000', bind='127.0.0.1:7000', expect=2, steps=20_000) as mesh:
        w = mesh.weights['line']                # shared with the other nodes: add in place
        for _ in mesh.steps(1):
            x = numpy.random.rand()
            error = w[0] * x + w[1] - (2 * x + 1)
            w -= .1 * error * numpy.array([x, 1])
    print(w, mesh.result.hash)                  # the same on every node, to the bit

Weights are numpy arrays over the library's memory, without copying; `torch.from_numpy` makes tensors of them. While the run
lasts the other nodes' steps reach them, so change them in place and shortly (`w += u`), rather than storing what was computed
from a copy. They stay valid as long as anybody holds them, also after the mesh was closed.
"""
import ctypes
import dataclasses
import logging
import operator
import os
import threading
import typing
import weakref

import numpy

from ._library import (DivergedError, Err, HogmeshError, Log, NotInTimeError, RefusedError, ResultStruct, Status, StatusStruct,
                       StoppedError, UsageError, check, library)

if typing.TYPE_CHECKING:
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float32]

__all__ = ['Mesh', 'MeshStatus', 'Result', 'Status', 'HogmeshError', 'UsageError', 'RefusedError', 'NotInTimeError',
           'StoppedError', 'DivergedError', 'version', '__version__']

__version__ = '0.1.0'

_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR)
_TURN = .2  # seconds after which Python may look at its signals
_log = logging.getLogger('hogmesh')


def version() -> str:
    """Of the library that was loaded."""
    return str(library.hm_version_text().decode())


@dataclasses.dataclass(frozen=True)
class MeshStatus:
    """How a node stands, a quarter of a second ago at the most."""
    stage: str
    """new, open, join, train, agree, done or failed"""
    steps: int
    """examples of all nodes, as far as known here"""
    budget: int
    """until the run ends; 0: no such budget"""
    own_steps: int
    own_rate: int
    """examples of this node a second, lately"""
    published: int
    """own deltas"""
    repaired: int
    """deltas that had to be asked for again"""
    bytes_sent: int
    bytes_received: int
    seconds: float
    """of training"""
    staleness: float
    """of what others publish when it is applied here: flushes, mean"""
    n_live: int
    """nodes that train"""
    lag: int
    """flushes that the slowest of them is behind this one"""


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run went."""
    hash: str
    """64 hexadecimal digits, of configuration, steps and weights: the same on every node, unless this one has left"""
    text: str
    """why it ended"""
    steps: int
    """examples that the weights contain"""
    own_steps: int
    """of these, this node's"""
    lost: int
    """deltas that are in no node's weights, as of nodes that died"""
    seconds: float
    """of training"""
    clean: bool
    """all that was there to the end agree"""


def _fields(struct: typing.Union[StatusStruct, ResultStruct]) -> typing.Dict[str, typing.Any]:
    values = {field[0]: getattr(struct, field[0]) for field in struct._fields_}
    return {name: value.decode(errors='replace') if isinstance(value, bytes) else value for name, value in values.items()}


_hearing = threading.local()  # .now: this is a thread of the library, in a log callback


def _elsewhere(function: typing.Callable[..., typing.Any], *arguments: typing.Any) -> None:
    """Calls what waits for the library's threads. Garbage may be collected in a log callback, that is by one of them: it would
    wait for itself."""
    if getattr(_hearing, 'now', False):
        threading.Thread(target=function, args=arguments, daemon=True).start()
    else:
        function(*arguments)


class _Replica:
    """The library's memory: freed when neither a mesh nor a view of its weights is left."""

    def __init__(self) -> None:
        self.pointer = ctypes.c_void_p()
        self.log: typing.Any = None
        check(library.hm_replica_new, ctypes.byref(self.pointer))

    def close(self) -> None:
        pointer, self.pointer = self.pointer, ctypes.c_void_p()
        if pointer and library:
            _elsewhere(_close, pointer, self.log)

    def __del__(self) -> None:
        self.close()


def _close(pointer: ctypes.c_void_p, log: typing.Any) -> None:
    """log: what the library calls until then."""
    library.hm_replica_close(pointer)


def _leave(replica: _Replica) -> None:
    """Whatever becomes of the mesh, the others are told, and the protocol's thread ends."""
    library.hm_replica_stop(replica.pointer, 1)
    _elsewhere(_end, replica)


def _end(replica: _Replica) -> None:
    """Who waits keeps the replica: it is closed afterwards."""
    library.hm_replica_finish(replica.pointer, -1, None, 0, ctypes.byref(Err()))


class _Weights(typing.Dict[str, 'Floats']):
    """Arrays that are changed, never replaced: nobody would train on what is put in their place."""

    def __setitem__(self, name: str, value: 'Floats') -> None:
        if value is not self.get(name):  # weights['x'] += u puts back what it took
            raise UsageError(f"weights are changed in place: weights['{name}'][...] = ... copies numbers into them", Status.USAGE)


def _text_of(value: object) -> bytes:
    if isinstance(value, bool):
        return b'yes' if value else b'no'
    text = os.fsencode(value) if isinstance(value, (str, os.PathLike)) else str(value).encode()
    if b'\0' in text:
        raise UsageError(f'{value!r}: a text without NUL is expected', Status.USAGE)
    return text


def _numbers_of(name: object, value: typing.Any) -> 'Floats':
    """float32, row by row; a tensor of PyTorch, too."""
    if hasattr(value, 'detach'):
        value = value.detach().cpu()
        value = (value if value.is_complex() else value.float()).numpy()
    value = numpy.asarray(value)
    if value.dtype.kind not in 'fiub':
        raise UsageError(f"tensor '{name}' is of {value.dtype}; real numbers are expected", Status.USAGE)
    return numpy.array(value, dtype=numpy.float32, order='C')


def _turn(left: typing.Optional[float]) -> float:
    """Seconds to wait at a time; the library takes those below 0 for no limit."""
    return _TURN if left is None else min(max(left, 0), _TURN)


class Mesh:
    """This process's part in a mesh over its own parameters.

    tensors: names and first values (arrays, or tensors of PyTorch, whose shapes are kept; `dict(model.named_parameters())`
    will do). All nodes of a mesh give the same names, shapes and values; `adopt=True` takes the values of the first node instead,
    if they are up to 300,000 numbers.

    grids: exponents, for all tensors or by name: weights are published in whole multiples of 2 ** grid and stay within
    2 ** (grid + 22). Default -16: within 64.

    log: called with a level of `logging` and a text, from the protocol's thread; by default they go to logging.getLogger('hogmesh').

    options: those that hogmesh.h lists, and `hogmesh join --help` explains, with _ for -: peer (one or several), bind, advertise,
    key, insecure, expect, join_timeout, label, steps, seconds, batch, combine, amplify, staleness_bound, flush, bandwidth,
    log_bytes, local_nodes, seed, adopt, marks, checkpoint, checkpoint_every, resume.

    A mesh is a context manager: it starts on entering, and on leaving waits for the end, if training is over, or takes this node
    out of the mesh, if it is not; then `result` is there. Any thread may train.
    """

    def __init__(self, tensors: typing.Mapping[str, typing.Any], *, grids: typing.Union[int, typing.Mapping[str, int], None] = None,
                 log: typing.Optional[typing.Callable[[int, str], None]] = None, **options: typing.Any):
        self._replica = _Replica()
        self._shapes: typing.Dict[str, typing.Tuple[int, ...]] = {}
        self._weights: typing.Optional[_Weights] = None
        self._weights_lock = threading.Lock()
        self._over = threading.Event()
        self._started = False
        self._finalizer: typing.Optional[weakref.finalize] = None
        self.result: typing.Optional[Result] = None
        """How the run went, once it is over."""
        self._hear(log)
        for name, value in options.items():
            self._set(name, value)
        by_name = grids if isinstance(grids, typing.Mapping) else dict.fromkeys(tensors, grids)
        unknown = set(by_name) - set(tensors)
        if unknown:
            raise UsageError(f'grids: there is no tensor {", ".join(map(repr, sorted(unknown, key=str)))}', Status.USAGE)
        for name, value in tensors.items():
            self._add(name, _numbers_of(name, value), by_name.get(name))
        check(library.hm_replica_open, self._pointer)

    @property
    def _pointer(self) -> ctypes.c_void_p:
        return self._replica.pointer

    def _hear(self, log: typing.Optional[typing.Callable[[int, str], None]]) -> None:
        def hear(context: object, level: int, text: bytes) -> None:
            before = getattr(_hearing, 'now', False)
            _hearing.now = True
            try:
                (log or _log.log)(_LEVELS[min(level, 2)], text.decode(errors='replace'))
            except Exception:  # nobody is there to catch it
                _log.exception('a log callback failed')
            finally:
                _hearing.now = before

        self._replica.log = Log(hear)
        library.hm_replica_on_log(self._pointer, self._replica.log, None)

    def _set(self, name: str, value: object) -> None:
        if value is None:
            return
        for one in value if isinstance(value, (list, tuple)) else [value]:
            check(library.hm_replica_set, self._pointer, _text_of(name.replace('_', '-')), _text_of(one))

    def _add(self, name: str, values: 'Floats', grid: typing.Optional[int]) -> None:
        self._set('grid', -16 if grid is None else grid)
        shape = (ctypes.c_uint32 * max(values.ndim, 1))(*values.shape)
        if values.ndim and not values.size:
            raise UsageError(f"tensor '{name}' is empty: its shape is {values.shape}", Status.USAGE)
        if not isinstance(name, str):
            raise UsageError(f'tensor {name!r}: a name is a text', Status.USAGE)
        check(library.hm_replica_add, self._pointer, _text_of(name), values.ndim, shape, values.ctypes.data)
        self._shapes[name] = values.shape

    # ---- the run ----

    @property
    def endpoint(self) -> str:
        """HOST:PORT, for `peer` of others."""
        return str(library.hm_replica_endpoint(self._pointer).decode())

    def start(self, timeout: typing.Optional[float] = None) -> None:
        """Joins or founds the mesh, and waits for `expect` nodes; NotInTimeError after `timeout` seconds, and then start may be
        called again, or when nobody has answered within join_timeout."""
        if not self._started:
            self._started = True
            self._finalizer = weakref.finalize(self, _leave, self._replica)
        left = timeout
        while True:
            turn = _turn(left)
            try:
                check(library.hm_replica_start, self._pointer, turn)
                return
            except NotInTimeError:
                left = None if left is None else left - turn
                if self.status().stage == 'failed' or (left is not None and left <= 0):
                    raise

    @property
    def weights(self) -> typing.Dict[str, 'Floats']:
        """The tensors, by name, once training has begun: float32, of the shapes that were given, shared with the mesh."""
        with self._weights_lock:
            if self._weights is None:
                self._weights = _Weights({name: self._view(name, shape) for name, shape in self._shapes.items()})
        return self._weights

    def _view(self, name: str, shape: typing.Tuple[int, ...]) -> 'Floats':
        n = ctypes.c_size_t()
        at = library.hm_replica_weights(self._pointer, name.encode(), ctypes.byref(n))
        if not at:
            raise UsageError('there are no weights before start', Status.USAGE)
        memory: typing.Any = (ctypes.c_float * n.value).from_address(at)
        memory._replica = self._replica  # lives as long as any array over it
        return numpy.frombuffer(memory, dtype=numpy.float32).reshape(shape)

    def step(self, examples: int = 0) -> bool:
        """This thread has trained on so many more examples, and wants to go on: waits while it has to. False: the run is over;
        what is added to the weights from then on is left out, here as everywhere."""
        examples = operator.index(examples)
        if not 0 <= examples < 2 ** 62:
            raise UsageError(f'step: {examples} examples; a number from 0 is expected', Status.USAGE)
        while not self._over.is_set():
            said = library.hm_replica_step(self._pointer, examples, _TURN)
            if said == 1:
                return True
            examples = 0
            if said == 0:
                self._over.set()
        return False

    def steps(self, examples: int) -> typing.Iterator[int]:
        """Counts the batches of this thread, of so many examples each, until the run is over."""
        i = 0
        while self.step(examples if i else 0):
            yield i
            i += 1

    def touch(self, part: typing.Any = None) -> None:
        """With `marks`: this thread has added to this part of the weights (a slice without gaps, or a tensor of PyTorch over
        one; None: to anything)."""
        if hasattr(part, 'detach'):
            part = part.detach().numpy()
        if part is None:
            library.hm_replica_touch(self._pointer, None, 0)
        elif not isinstance(part, numpy.ndarray):
            raise UsageError("touch: a slice of the weights is expected, such as weights['x'][3:4]", Status.USAGE)
        elif not part.flags.c_contiguous or part.dtype != numpy.float32:
            raise UsageError('touch: a slice of the weights without gaps is expected', Status.USAGE)
        elif not any(numpy.may_share_memory(part, whole) for whole in self.weights.values()):
            raise UsageError('touch: this array is no part of the weights', Status.USAGE)
        else:
            library.hm_replica_touch(self._pointer, part.ctypes.data, part.size)

    @property
    def scale(self) -> float:
        """By what a thread multiplies what it adds: 1, but with combine='amplify' or 'hold'."""
        return float(library.hm_replica_scale(self._pointer))

    def status(self) -> MeshStatus:
        """How this node stands."""
        struct = StatusStruct()
        library.hm_replica_status(self._pointer, ctypes.byref(struct), ctypes.sizeof(struct))
        return MeshStatus(**_fields(struct))

    def checkpoint(self) -> None:
        """Has a checkpoint taken soon; `checkpoint` names the file."""
        check(library.hm_replica_checkpoint, self._pointer)

    def stop(self, leave: bool = False) -> None:
        """Asks for the end of the whole mesh's run, or of this node's part in it."""
        library.hm_replica_stop(self._pointer, leave)

    # ---- the end ----

    def finish(self, timeout: typing.Optional[float] = None) -> Result:
        """Waits for the end of the run, when no thread of this node trains any more. Then the weights are the model's, the
        same on all nodes, and private. NotInTimeError after `timeout` seconds; what ended the run, if it was an error."""
        left, struct = timeout, ResultStruct()
        while True:
            turn = _turn(left)
            try:
                check(library.hm_replica_finish, self._pointer, turn, ctypes.byref(struct), ctypes.sizeof(struct))
            except NotInTimeError:
                left = None if left is None else left - turn
                if self.status().stage == 'failed' or (left is not None and left <= 0):
                    raise
                continue
            self._over.set()
            values = _fields(struct)
            values['clean'] = bool(values['clean'])
            self.result = Result(**values)
            return self.result

    def save(self, path: typing.Any) -> None:
        """Writes the model: .safetensors, .npy, or .hm for `hogmesh inspect` and `hogmesh export custom`. After finish."""
        check(library.hm_replica_save, self._pointer, _text_of(path))

    def close(self) -> None:
        """Leaves the mesh, if it is still in one. Weights stay as they are, for those who hold them."""
        self._over.set()
        if self._finalizer:
            self._finalizer()
        elif not self._started:
            self._replica.close()  # nothing is left of it, its address is free

    def __enter__(self) -> 'Mesh':
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, error: typing.Optional[BaseException], trace: object) -> None:
        if not self._over.is_set() or error:
            self.stop(leave=True)
        if error:
            self.close()
        else:
            self.finish()
            self.close()
