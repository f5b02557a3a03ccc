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
import threading
import typing
import weakref

import numpy

from ._library import (DivergedError, Err, HogmeshError, Log, NotInTimeError, RefusedError, ResultStruct, Status, StatusStruct,
                       StoppedError, UsageError, check, library)

__all__ = ['Mesh', 'MeshStatus', 'Result', 'Status', 'HogmeshError', 'UsageError', 'RefusedError', 'NotInTimeError',
           'StoppedError', 'DivergedError', 'version', '__version__']

__version__ = '0.1.0'

_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR)
_TURN = .2  # seconds after which Python may look at its signals
_log = logging.getLogger('hogmesh')


def version() -> str:
    """Of the library that was loaded."""
    return library.hm_version_text().decode()


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


def _fields(kind, struct):
    values = {name: getattr(struct, name) for name, *_ in struct._fields_}
    return kind(**{name: value.decode(errors='replace') if isinstance(value, bytes) else value for name, value in values.items()})


class _Replica:
    """The library's memory: freed when neither a mesh nor a view of its weights is left."""

    def __init__(self):
        self.pointer = ctypes.c_void_p()
        self.log = None
        check(library.hm_replica_new, ctypes.byref(self.pointer))

    def __del__(self):
        if self.pointer and library:
            library.hm_replica_close(self.pointer)


def _leave(replica: _Replica) -> None:
    """Whatever becomes of the mesh, the others are told, and the protocol's thread ends."""
    library.hm_replica_stop(replica.pointer, 1)
    library.hm_replica_finish(replica.pointer, -1, None, 0, ctypes.byref(Err()))


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return str(value)


def _numbers_of(value: typing.Any) -> numpy.ndarray:
    """float32, row by row; a tensor of PyTorch, too."""
    if hasattr(value, 'detach'):
        value = value.detach().cpu().numpy()
    return numpy.array(value, dtype=numpy.float32, order='C')


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
        self._weights: typing.Dict[str, numpy.ndarray] = {}
        self._over = threading.Event()
        self._started = False
        self._finalizer: typing.Optional[weakref.finalize] = None
        self.result: typing.Optional[Result] = None
        """How the run went, once it is over."""
        self._hear(log)
        for name, value in options.items():
            self._set(name, value)
        for name, value in tensors.items():
            self._add(name, _numbers_of(value), grids.get(name) if isinstance(grids, typing.Mapping) else grids)
        check(library.hm_replica_open, self._pointer)

    @property
    def _pointer(self) -> ctypes.c_void_p:
        return self._replica.pointer

    def _hear(self, log):
        def hear(context, level, text):
            try:
                (log or _log.log)(_LEVELS[min(level, 2)], text.decode(errors='replace'))
            except Exception:  # nobody is there to catch it
                _log.exception('a log callback failed')

        self._replica.log = Log(hear)
        library.hm_replica_on_log(self._pointer, self._replica.log, None)

    def _set(self, name, value):
        if value is None:
            return
        for one in value if isinstance(value, (list, tuple)) else [value]:
            check(library.hm_replica_set, self._pointer, name.replace('_', '-').encode(), _text_of(one).encode())

    def _add(self, name, values, grid):
        self._set('grid', -16 if grid is None else grid)
        shape = (ctypes.c_uint32 * max(values.ndim, 1))(*values.shape)
        if values.ndim and not values.size:
            raise UsageError(f"tensor '{name}' is empty: its shape is {values.shape}", Status.USAGE)
        check(library.hm_replica_add, self._pointer, name.encode(), values.ndim, shape, values.ctypes.data)
        self._shapes[name] = values.shape

    # ---- the run ----

    @property
    def endpoint(self) -> str:
        """HOST:PORT, for `peer` of others."""
        return library.hm_replica_endpoint(self._pointer).decode()

    def start(self, timeout: typing.Optional[float] = None) -> None:
        """Joins or founds the mesh, and waits for `expect` nodes; NotInTimeError after `timeout` seconds, and then start may be
        called again, or when nobody has answered within join_timeout."""
        if not self._started:
            self._started = True
            self._finalizer = weakref.finalize(self, _leave, self._replica)
        left = timeout
        while True:
            turn = _TURN if left is None else min(left, _TURN)
            try:
                check(library.hm_replica_start, self._pointer, turn)
                return
            except NotInTimeError:
                left = None if left is None else left - turn
                if self.status().stage == 'failed' or (left is not None and left <= 0):
                    raise

    @property
    def weights(self) -> typing.Mapping[str, numpy.ndarray]:
        """The tensors, by name, once training has begun: float32, of the shapes that were given, shared with the mesh."""
        if not self._weights:
            for name, shape in self._shapes.items():
                self._weights[name] = self._view(name, shape)
        return self._weights

    def _view(self, name, shape):
        n = ctypes.c_size_t()
        at = library.hm_replica_weights(self._pointer, name.encode(), ctypes.byref(n))
        if not at:
            raise UsageError('there are no weights before start', Status.USAGE)
        memory = (ctypes.c_float * n.value).from_address(at)
        memory._replica = self._replica  # lives as long as any array over it
        return numpy.frombuffer(memory, dtype=numpy.float32).reshape(shape)

    def step(self, examples: int = 0) -> bool:
        """This thread has trained on so many more examples, and wants to go on: waits while it has to. False: the run is over;
        what is added to the weights from then on is left out, here as everywhere."""
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

    def touch(self, part: typing.Optional[numpy.ndarray] = None) -> None:
        """With `marks`: this thread has added to this part of the weights (a slice without gaps; None: to anything)."""
        if part is None:
            library.hm_replica_touch(self._pointer, None, 0)
        elif not part.flags.c_contiguous or part.dtype != numpy.float32:
            raise UsageError('touch: a slice of the weights without gaps is expected', Status.USAGE)
        elif not any(numpy.may_share_memory(part, whole) for whole in self._weights.values()):
            raise UsageError('touch: this array is no part of the weights', Status.USAGE)
        else:
            library.hm_replica_touch(self._pointer, part.ctypes.data, part.size)

    @property
    def scale(self) -> float:
        """By what a thread multiplies what it adds: 1, but with combine='amplify' or 'hold'."""
        return library.hm_replica_scale(self._pointer)

    def status(self) -> MeshStatus:
        """How this node stands."""
        struct = StatusStruct()
        library.hm_replica_status(self._pointer, ctypes.byref(struct), ctypes.sizeof(struct))
        return _fields(MeshStatus, struct)

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
            turn = _TURN if left is None else min(left, _TURN)
            try:
                check(library.hm_replica_finish, self._pointer, turn, ctypes.byref(struct), ctypes.sizeof(struct))
            except NotInTimeError:
                left = None if left is None else left - turn
                if self.status().stage == 'failed' or (left is not None and left <= 0):
                    raise
                continue
            self._over.set()
            values = _fields(dict, struct)
            self.result = Result(**{**values, 'clean': bool(values['clean'])})
            return self.result

    def save(self, path: typing.Any) -> None:
        """Writes the model: .safetensors, .npy, or .hm for `hogmesh inspect` and `hogmesh export custom`. After finish."""
        check(library.hm_replica_save, self._pointer, str(path).encode())

    def close(self) -> None:
        """Leaves the mesh, if it is still in one. Weights stay as they are, for those who hold them."""
        self._over.set()
        if self._finalizer:
            self._finalizer()

    def __enter__(self) -> 'Mesh':
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, error, trace) -> None:
        if not self._over.is_set() or error:
            self.stop(leave=True)
        if error:
            self.close()
        else:
            self.finish()
            self.close()
