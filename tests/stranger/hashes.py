"""The hashes of WIRE.md: XXH64, digests, fingerprints, keys."""
import hashlib
import struct

import numpy

MASK = 2**64 - 1
P = (0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0x85ebca77c2b2ae63, 0x27d4eb2f165667c5)


def rotate(x, n):
    return (x << n | x >> (64 - n)) & MASK


def lane(state, word):
    return rotate((state + word * P[1]) & MASK, 31) * P[0] & MASK


def xxh64(data, seed):
    n, at = len(data), 0
    if n >= 32:
        states = [(seed + P[0] + P[1]) & MASK, (seed + P[1]) & MASK, seed, (seed - P[0]) & MASK]
        while n - at >= 32:
            states = [lane(state, word) for state, word in zip(states, struct.unpack_from('<4Q', data, at))]
            at += 32
        h = sum(rotate(state, n_bits) for state, n_bits in zip(states, (1, 7, 12, 18))) & MASK
        for state in states:
            h = ((h ^ lane(0, state)) * P[0] + P[3]) & MASK
    else:
        h = (seed + P[4]) & MASK
    h = (h + n) & MASK
    while n - at >= 8:
        h = (rotate(h ^ lane(0, struct.unpack_from('<Q', data, at)[0]), 27) * P[0] + P[3]) & MASK
        at += 8
    if n - at >= 4:
        h = (rotate(h ^ struct.unpack_from('<I', data, at)[0] * P[0] & MASK, 23) * P[1] + P[2]) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P[4] & MASK, 11) * P[0] & MASK
    h = (h ^ h >> 33) * P[1] & MASK
    h = (h ^ h >> 29) * P[2] & MASK
    return h ^ h >> 32


def mix(z):
    """Of an array of uint64."""
    z = (z ^ z >> numpy.uint64(30)) * numpy.uint64(0xbf58476d1ce4e5b9)
    z = (z ^ z >> numpy.uint64(27)) * numpy.uint64(0x94d049bb133111eb)
    return z ^ z >> numpy.uint64(31)


def multipliers(n_blocks):
    """m(i) of all coordinates (7.3)."""
    one = numpy.uint64(1)
    m = mix(numpy.arange(1, n_blocks + 1, dtype=numpy.uint64)) | one
    t = mix(numpy.arange(1, 65, dtype=numpy.uint64) * numpy.uint64(0x9e3779b97f4a7c15)) | one
    return (m[:, None] * t).ravel()


def digest(m, values):
    """H of values, whose multipliers are m."""
    return int((m * values.astype(numpy.int64).view(numpy.uint64)).sum(dtype=numpy.uint64))


def fingerprint(fields):
    """Of a configuration: a dict of texts (8)."""
    text = b'hogmesh\x02'
    for name, value in sorted((name.encode(), value.encode()) for name, value in fields.items()):
        text += varint(len(name)) + name + varint(len(value)) + value
    return int.from_bytes(hashlib.blake2b(text, digest_size=32).digest()[:8], 'little') or 1


def model_hash(fingerprint_, steps, base):
    """What every node prints at the end (7.4)."""
    return hashlib.blake2b(struct.pack('<QQ', fingerprint_, steps) + base.astype('<i4').tobytes(), digest_size=32).hexdigest()


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def subkey(secret, i, n):
    return hashlib.blake2b(digest_size=n, key=secret, salt=i.to_bytes(8, 'little') + bytes(8), person=b'hogmesh1' + bytes(8)).digest()


def read_keys(path):
    """The secrets of a key file (2.1)."""
    with open(path, encoding='ascii') as file:
        lines = [line for line in file.read().split('\n') if line and not line.startswith('#')]
    if lines[0] != 'hogmesh key file 1' or lines[-1] != 'end' or not 3 <= len(lines) <= 10:
        raise ValueError(f'{path} is no key file')
    secrets = []
    for line in lines[1:-1]:
        word, name, digits = line.split(' ')
        secret = bytes.fromhex(digits)
        if word != 'key' or len(secret) != 32 or subkey(secret, 3, 16)[:8].hex() != name or secret in secrets:
            raise ValueError(f'{path}: {name} is not the fingerprint of its key')
        secrets.append(secret)
    return secrets
