"""Layout and bodies of deltas (WIRE.md 6, 7)."""
import lz4.block
import numpy

from .hashes import digest, multipliers
from .wire import Refused

BITS_MAX = 8388608
LIST_R = [None, 5, 4, 4, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1]


class Bits:
    def __init__(self, data):
        self.data, self.at, self.n = data + bytes(9), 0, 8 * len(data)

    def take(self, n):
        """The next n bits, at most 64, the first of them the least significant."""
        if self.at + n > self.n:
            raise Refused('the end lies within a token')
        byte = self.at >> 3
        word = int.from_bytes(self.data[byte:byte + 9], 'little') >> (self.at & 7)
        self.at += n
        return word & ((1 << n) - 1)

    def zeros(self, most):
        """So many zero bits before a one bit, which is taken, too."""
        n = 0
        while not self.take(1):
            n += 1
            if n > most:
                raise Refused(f'more than {most} zero bits')
        return n


def values(bits, n, k, plus):
    """Values of n coordinates; plus: 1 in list and bitmap, 0 in dense."""
    v = [0] * n
    for i in range(k):
        plane = bits.take(n)
        for c in range(n):
            v[c] |= (plane >> c & 1) << i
    d, j = range(n), k
    while True:
        layer = bits.take(len(d))
        g = [c for at, c in enumerate(d) if layer >> at & 1]
        if j > k:
            for at, c in enumerate(d):
                if not layer >> at & 1:
                    v[c] |= 1 << (j - 1)
        if not g:
            break
        if j == 24:
            raise Refused('a one in layer 24')
        if j > k:
            plane = bits.take(len(g))
            for at, c in enumerate(g):
                v[c] |= (plane >> at & 1) << (j - 1)
        d, j = g, j + 1
    q = [value + plus for value in v]
    nonzero = [c for c in range(n) if q[c]]
    signs = bits.take(len(nonzero))
    for at, c in enumerate(nonzero):
        if q[c] > 2**23:
            raise Refused('a value above 2^23')
        if signs >> at & 1:
            q[c] = -q[c]
    return q


def positions(bits, n):
    r = LIST_R[n]
    low = [bits.take(r) for _ in range(n)]
    out, position = [], -1
    for i in range(n):
        position += 1 + (bits.zeros(64) << r | low[i])
        if position > 63:
            raise Refused('a position above 63')
        out.append(position)
    return out


def unpack_bits(data, n_blocks):
    """(coordinates, values), coordinates counted from the first of the range."""
    bits, block = Bits(data), 0
    where, what = [], []
    while block < n_blocks:
        if bits.take(1):
            n = bits.take(4) + 1
            k = bits.take(3)
            at = positions(bits, n)
            q = values(bits, n, k, 1)
        elif not bits.take(1):
            e = bits.zeros(25)
            block += (1 << e) + bits.take(e)
            if block > n_blocks:
                raise Refused('a run passes the end of the range')
            continue
        else:
            dense = bits.take(1)
            k = bits.take(5)
            if k > 23:
                raise Refused('k above 23')
            if dense:
                at, q = range(64), values(bits, 64, k, 0)
                if not any(q):
                    raise Refused('a dense block of zeros')
            else:
                mask = bits.take(64)
                at = [j for j in range(64) if mask >> j & 1]
                if not at:
                    raise Refused('an empty bitmap')
                q = values(bits, len(at), k, 1)
        where += [64 * block + j for j in at]
        what += q
        block += 1
    fill = bits.n - bits.at
    if fill >= 8 or bits.take(fill):
        raise Refused('bits behind the range')
    where, what = numpy.array(where, dtype=numpy.int64), numpy.array(what, dtype=numpy.int64)
    return where[what != 0], what[what != 0]


def unpack(data, encoding, raw_n, n_blocks, n_nonzero):
    """Body of a DELTA or CHUNK."""
    if n_nonzero == 0:
        return numpy.zeros(0, numpy.int64), numpy.zeros(0, numpy.int64)
    if encoding:
        if raw_n > BITS_MAX or raw_n > 255 * len(data) + 64:
            raise Refused('raw_n is more than LZ4 could make of the body')
        try:
            data = lz4.block.decompress(data, uncompressed_size=raw_n)
        except lz4.block.LZ4BlockError as error:
            raise Refused(f'LZ4: {error}') from None
    if len(data) != raw_n:
        raise Refused(f'{len(data)} bytes in the place of {raw_n}')
    where, what = unpack_bits(data, n_blocks)
    if len(where) != n_nonzero:
        raise Refused(f'{len(where)} coordinates in the place of {n_nonzero}')
    return where, what


class Writer:
    def __init__(self):
        self.bits, self.n = 0, 0

    def put(self, value, n):
        self.bits |= value << self.n
        self.n += n

    def bytes(self):
        return self.bits.to_bytes((self.n + 7) // 8, 'little')


def pack(where, what, n_blocks):
    """The plainest body: runs and bitmaps with k = 0."""
    parts, blocks = [], {}
    for i, q in zip(where, what):
        if q:
            blocks.setdefault(int(i) // 64, {})[int(i) % 64] = int(q)
    out, block = Writer(), 0
    for b in [*sorted(blocks), n_blocks]:
        if b > block:
            e = (b - block).bit_length() - 1
            out.put(0, 2 + e)
            out.put(1, 1)
            out.put(b - block - (1 << e), e)
        if b < n_blocks:
            put_bitmap(out, blocks[b])
        block = b + 1
        parts.append(out)
    return out.bytes()


def put_bitmap(out, q):
    out.put(0b010, 3)  # 0, 1, 0 in the order of the string
    out.put(0, 5)
    out.put(sum(1 << j for j in q), 64)
    d, j = sorted(q), 0
    while True:
        v = {c: abs(q[c]) - 1 for c in d}
        g = [c for c in d if v[c] >= 1 << j]
        out.put(sum(1 << at for at, c in enumerate(d) if c in g), len(d))
        if not g:
            break
        if j > 0:
            out.put(sum((v[c] >> (j - 1) & 1) << at for at, c in enumerate(g)), len(g))
        d, j = g, j + 1
    coordinates = sorted(q)
    out.put(sum((q[c] < 0) << at for at, c in enumerate(coordinates)), len(coordinates))


class Layout:
    """Of the field `tensors`."""

    def __init__(self, text):
        block, self.tensors, used = 0, {}, []
        for tensor in text.split(','):
            name, shape, e = tensor.split(':')
            rows, cols = map(int, shape.split('x'))
            stride = 1 if cols == 1 else -(-cols // 16) * 16
            n_blocks = -(-rows * stride // 64)
            self.tensors[name] = (64 * block, rows, cols, stride, int(e))
            row = numpy.zeros(stride, bool)
            row[:cols] = True
            mask = numpy.zeros(64 * n_blocks, bool)
            mask[:rows * stride] = numpy.tile(row, rows)
            used.append(mask)
            block += n_blocks
        self.n_blocks = block
        self.used = numpy.concatenate(used)
        self.m = multipliers(block)

    def digest(self, where, what):
        return digest(self.m[where], what)

    def digest_of_all(self, base):
        return digest(self.m, base)
