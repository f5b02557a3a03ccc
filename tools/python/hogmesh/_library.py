"""libhogmesh.so by ctypes: the functions of hogmesh.h, and its errors as exceptions."""
import ctypes
import enum
import os
import pathlib
import typing

SONAME = 'libhogmesh.so.0'
NEEDED = 'libzmq5 libmsgpackc2 liblz4-1 libarchive13 libjansson4 libsodium23 libxxhash0 zlib1g'


class Status(enum.IntEnum):
    """What kind of failure it was (enum hm_status)."""
    OK = 0
    IO = 1
    INPUT = 2
    CORRUPT = 3
    MEMORY = 4
    USAGE = 5
    REFUSED = 6
    TIMEOUT = 7
    STOPPED = 8
    DIVERGED = 9
    UNKNOWN = -1
    """of a later version of the library"""


class HogmeshError(RuntimeError):
    """Something failed; the text says what, where, and what to do. `status` is the kind of failure."""

    def __init__(self, text: str, status: Status):
        super().__init__(text)
        self.status = status


class UsageError(HogmeshError, ValueError):
    """An option, a name, a shape or a value that cannot be."""


class RefusedError(HogmeshError):
    """The mesh refuses this node, by the name of a field, or this node the mesh."""


class NotInTimeError(HogmeshError, TimeoutError):
    """Something expected did not happen in time."""


class StoppedError(HogmeshError):
    """Stopped before training began."""


class DivergedError(HogmeshError):
    """Training went wrong: weights that are no numbers, or leap out of range."""


_EXCEPTIONS = {Status.USAGE: UsageError, Status.INPUT: UsageError, Status.REFUSED: RefusedError, Status.TIMEOUT: NotInTimeError,
               Status.STOPPED: StoppedError, Status.DIVERGED: DivergedError}


class Err(ctypes.Structure):
    _fields_ = [('text', ctypes.c_char * 1024)]


class StatusStruct(ctypes.Structure):
    """struct hm_replica_status"""
    _fields_ = [('stage', ctypes.c_char * 16),
                *((name, ctypes.c_uint64) for name in ('steps', 'budget', 'own_steps', 'own_rate', 'published', 'repaired',
                                                       'bytes_sent', 'bytes_received')),
                ('seconds', ctypes.c_double), ('staleness', ctypes.c_double), ('n_live', ctypes.c_uint32), ('lag', ctypes.c_uint32)]


class ResultStruct(ctypes.Structure):
    """struct hm_replica_result"""
    _fields_ = [('hash', ctypes.c_char * 72), ('text', ctypes.c_char * 512), ('steps', ctypes.c_uint64),
                ('own_steps', ctypes.c_uint64), ('lost', ctypes.c_uint64), ('seconds', ctypes.c_double), ('clean', ctypes.c_int32)]


Log = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)

_POINTER, _TEXT, _SECONDS, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double, ctypes.c_size_t
_ERR = ctypes.POINTER(Err)
_FUNCTIONS: typing.Dict[str, typing.Tuple[typing.Any, typing.Tuple[typing.Any, ...]]] = {  # name: (what comes back, arguments); a status is a c_int
    'version': (ctypes.c_uint, ()),
    'version_text': (_TEXT, ()),
    'replica_new': (ctypes.c_int, (ctypes.POINTER(_POINTER), _ERR)),
    'replica_set': (ctypes.c_int, (_POINTER, _TEXT, _TEXT, _ERR)),
    'replica_on_log': (None, (_POINTER, Log, _POINTER)),
    'replica_add': (ctypes.c_int, (_POINTER, _TEXT, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint32), _POINTER, _ERR)),
    'replica_open': (ctypes.c_int, (_POINTER, _ERR)),
    'replica_endpoint': (_TEXT, (_POINTER,)),
    'replica_start': (ctypes.c_int, (_POINTER, _SECONDS, _ERR)),
    'replica_weights': (_POINTER, (_POINTER, _TEXT, ctypes.POINTER(_SIZE))),
    'replica_touch': (None, (_POINTER, _POINTER, _SIZE)),
    'replica_step': (ctypes.c_int, (_POINTER, ctypes.c_uint64, _SECONDS)),
    'replica_scale': (ctypes.c_float, (_POINTER,)),
    'replica_status': (None, (_POINTER, ctypes.POINTER(StatusStruct), _SIZE)),
    'replica_checkpoint': (ctypes.c_int, (_POINTER, _ERR)),
    'replica_stop': (None, (_POINTER, ctypes.c_int)),
    'replica_finish': (ctypes.c_int, (_POINTER, _SECONDS, ctypes.POINTER(ResultStruct), _SIZE, _ERR)),
    'replica_save': (ctypes.c_int, (_POINTER, _TEXT, _ERR)),
    'replica_close': (None, (_POINTER,)),
}


def _candidates() -> typing.Iterator[str]:
    """HOGMESH_LIB; beside this file, where a wheel has it; where the system's linker finds it."""
    if os.environ.get('HOGMESH_LIB'):
        yield os.environ['HOGMESH_LIB']
        return
    beside = pathlib.Path(__file__).parent / SONAME
    if beside.exists():
        yield str(beside)
    yield SONAME


def load() -> ctypes.CDLL:
    """The library, with its functions declared. ImportError, saying where it was looked for."""
    tried = []
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
            break
        except OSError as error:
            tried.append(str(error))
    else:
        raise ImportError(f'hogmesh: no library ({"; ".join(tried)}); build and install hogmesh (ninja install), or name the '
                          f'file by HOGMESH_LIB=.../{SONAME}. If it is another library that is missing, install that: on Debian '
                          f'{NEEDED} are needed')
    for name, (result, arguments) in _FUNCTIONS.items():
        try:
            function = getattr(library, f'hm_{name}')
        except AttributeError:
            raise ImportError(f'hogmesh: {library._name} has no hm_{name}: it is of another version than this package; '
                              'install both of one version') from None
        function.restype, function.argtypes = result, list(arguments)
    return library


library = load()


def check(function: typing.Any, *arguments: object) -> None:
    """Calls a function whose last argument is where its error goes, and raises it."""
    err = Err()
    status = function(*arguments, ctypes.byref(err))
    if status:
        kind = Status(status) if status in list(Status) else Status.UNKNOWN
        text = err.text.decode(errors='replace')
        if kind is Status.MEMORY:
            raise MemoryError(text)
        raise _EXCEPTIONS.get(kind, HogmeshError)(text, kind)
