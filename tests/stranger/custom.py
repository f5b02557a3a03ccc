"""Parameters of programs (WIRE.md 8, fields of `custom`): what the list says, and where B0 has its numbers."""
import hashlib
import itertools
import math
import struct
import typing

import numpy


class Tensor(typing.NamedTuple):
    name: str
    exponent: int
    dims: typing.Tuple[int, ...]

    @property
    def n(self):
        return math.prod(self.dims)


def short_hash(data):
    return hashlib.blake2b(data, digest_size=32).digest()[:8].hex()


def read_list(data):
    """Tensors, and the first values of all of them (None: they do not follow)."""
    count, follows = struct.unpack_from('<IB', data)
    at, tensors = 5, []
    for _ in range(count):
        length = data[at]
        name = data[at + 1:at + 1 + length].decode('ascii')
        at += 1 + length
        exponent, n_dims = struct.unpack_from('<bB', data, at)
        dims = struct.unpack_from(f'<{n_dims}I', data, at + 2)
        at += 2 + 4 * n_dims
        tensors.append(Tensor(name, exponent, dims))
    if not follows:
        assert at == len(data)
        return tensors, None
    units = numpy.frombuffer(data, numpy.uint8, offset=at).reshape(-1, 3).astype(numpy.int32)
    units = units[:, 0] | units[:, 1] << 8 | units[:, 2] << 16
    return tensors, numpy.where(units >= 1 << 23, units - (1 << 24), units).astype(numpy.int32)


def start(fields, bulk, layout):
    """B0, where it can be known from what HELLO_OK brought, else None."""
    tensors, values = read_list(bulk)
    text = b''.join(' '.join(map(str, [t.name, t.exponent, *t.dims])).encode() + b'\0' for t in tensors)
    n = sum(t.n for t in tensors)
    assert fields['parameters'] == f'{len(tensors)} tensors, {n} numbers, {short_hash(text)}'
    base = numpy.zeros(64 * layout.n_blocks, numpy.int32)
    if fields['values'] == 'zero':
        return base
    if values is None:
        return None
    assert len(values) == n and fields['values'] == short_hash(values.astype('<i4').tobytes())
    groups = {}
    for t, begin in zip(tensors, itertools.accumulate([t.n for t in tensors], initial=0)):
        name, used = groups.setdefault(t.exponent, [f'p{len(groups)}', 0])
        first, rows, cols, _, exponent = layout.tensors[name]
        assert (rows, exponent) == (1, t.exponent) and used + t.n <= cols
        base[first + used:first + used + t.n] = values[begin:begin + t.n]
        groups[t.exponent][1] = used + -(-t.n // 16) * 16
    return base
