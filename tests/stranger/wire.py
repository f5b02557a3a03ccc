"""Letters as WIRE.md has them: headers and flat payloads."""
import collections
import re
import struct

import msgpack

from .hashes import varint, xxh64

VERSION = 2
U32, U64 = 2**32 - 1, 2**64 - 1
SEQ_MAX = 2**32 - 2
BLOCKS_MAX = 2**25
PAYLOAD_MAX = 1048576


class Refused(Exception):
    """What is to be refused, and why."""


LABEL, ENDPOINT = object(), object()
LIFE, FLAG, N32, N64 = (1, U64), (0, 1), (0, U32), (0, U64)


class Text(int):
    """A text of at most so many bytes."""


TYPES = {
    'DELTA': (1, dict(stream=LIFE, lo=(0, SEQ_MAX - 1), hi=(1, SEQ_MAX), flush=(1, U32), last_piece=FLAG, digest=N64, steps=N64,
                      encoding=FLAG, block=(0, BLOCKS_MAX), n_blocks=(0, BLOCKS_MAX), n_nonzero=(0, 64 * BLOCKS_MAX),
                      raw_n=(0, 8388608), vectors_n=(0, PAYLOAD_MAX), check=N64)),
    'BEAT': (2, dict(number=(1, U32), label=LABEL, phase=(0, 5), stop=FLAG, stop_reason=Text(127), digest=N64, steps=N64, lag=N32,
                     rpc=ENDPOINT, pub=ENDPOINT)),
    'HELLO': (3, dict(label=LABEL, rpc=ENDPOINT, pub=ENDPOINT)),
    'HELLO_OK': (4, dict(label=LABEL, rpc=ENDPOINT, pub=ENDPOINT)),
    'REJECT': (5, dict(field=Text(31), ours=Text(127), yours=Text(127), reason=Text(127))),
    'WANT': (6, {'stream': LIFE, 'from': (1, SEQ_MAX), 'bytes_max': (1, U32)}),
    'NOHAVE': (7, dict(stream=LIFE, have_from=(0, SEQ_MAX))),
    'STATE_REQ': (8, dict(decide=FLAG)),
    'STATE_META': (9, dict(id=N64, verdict=(0, 4), n_chunks=N32, chunk_blocks=(0, 4096), digest=N64, steps=N64)),
    'CHUNK_REQ': (10, dict(id=LIFE, chunk=(0, BLOCKS_MAX - 1))),
    'CHUNK': (11, dict(id=LIFE, chunk=(0, BLOCKS_MAX - 1), encoding=FLAG, raw_n=(0, 8388608), n_nonzero=(0, 64 * 4096))),
    'YIELD': (12, dict(successor=LIFE, seq=(0, SEQ_MAX), renounced=(1, U32))),
    'LEAVE': (13, dict(seq=(0, SEQ_MAX), digest=N64, clean=FLAG)),
    'ASK': (14, dict(number=N64, what=FLAG)),
    'STATUS': (15, dict(number=N64, what=FLAG)),
}
NAMES = {number: name for name, (number, _) in TYPES.items()}
Letter = collections.namedtuple('Letter', 'kind fingerprint life fields payload')
Entry = collections.namedtuple('Entry', 'seq flush steps digest')
Known = collections.namedtuple('Known', 'label rpc pub phase gone beat age_us')


def check_grammar(raw):
    """Refuses what section 3 forbids, before a library sees it."""
    if not raw or len(raw) > 4096:
        raise Refused(f'a header of {len(raw)} bytes')
    at, left = 0, [1]
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        if at >= len(raw):
            raise Refused('a header that is cut off')
        byte, at = raw[at], at + 1
        width = {0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4}.get(byte, 0)
        if at + width > len(raw):
            raise Refused('a header that is cut off')
        number = int.from_bytes(raw[at:at + width], 'big')
        at += width
        if byte < 0x80 or 0xcc <= byte <= 0xcf:
            if len(left) == 1:
                raise Refused('a header that is no array')
        elif 0xa0 <= byte <= 0xbf or 0xd9 <= byte <= 0xdb:
            n = number if width else byte & 31
            if len(left) == 1 or n > len(raw) - at:
                raise Refused('a string beyond the header')
            at += n
        elif 0x90 <= byte <= 0x9f or 0xdc <= byte <= 0xdd:
            n = number if width else byte & 15
            if n > len(raw) - at or len(left) > 3:
                raise Refused('an array beyond the header, or nested too deep')
            left.append(n)
        else:
            raise Refused(f'a header with the format {byte:#x}')
    if at != len(raw):
        raise Refused('bytes behind the header')


def check_label(value):
    if not re.fullmatch(rb'[\x21-\x7e]{1,31}', value) or re.search(rb'["\'`]', value):
        raise Refused(f'the label {value!r}')
    return value.decode()


def check_endpoint(value):
    if value and (len(value) > 127 or not re.fullmatch(rb'(tcp|ipc|inproc)://[\x21-\x7e]+', value)):
        raise Refused(f'the endpoint {value!r}')
    return value.decode()


def check_text(value, most):
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Refused('a text that is not UTF-8') from None
    if len(value) > most or re.search('[\0-\x1f\x7f-\x9f]', text):
        raise Refused(f'the text {text!r}')
    return text


def check_element(name, rule, value):
    if isinstance(rule, tuple):
        if not isinstance(value, int) or not rule[0] <= value <= rule[1]:
            raise Refused(f'{name} is {value!r}')
        return value
    if not isinstance(value, bytes):
        raise Refused(f'{name} is {value!r}')
    if rule is LABEL:
        return check_label(value)
    return check_endpoint(value) if rule is ENDPOINT else check_text(value, rule)


def check_delta(f, payload):
    if f['hi'] != f['lo'] + 1 or f['block'] + f['n_blocks'] > BLOCKS_MAX or f['n_nonzero'] > 64 * f['n_blocks']:
        raise Refused('a delta of another range')
    if f['vectors_n'] > len(payload) or (f['raw_n'] == 0) != (f['n_nonzero'] == 0):
        raise Refused('a delta whose sizes contradict')
    if f['n_nonzero'] == 0 and (f['encoding'] or f['vectors_n'] != len(payload)):
        raise Refused('an empty delta with a body')


def check_more(kind, life, f, payload):
    if kind == 'DELTA':
        check_delta(f, payload)
    if kind == 'BEAT' and not f['stop'] and f['stop_reason']:
        raise Refused('a reason without a stop')
    if kind == 'YIELD' and (f['successor'] == life or f['renounced'] <= f['seq']):
        raise Refused('a yield to itself')
    if kind == 'STATE_META':
        rest = [f[name] for name in ('id', 'n_chunks', 'chunk_blocks', 'digest', 'steps')]
        if f['verdict'] >= 2 and any(rest):
            raise Refused('a refusal with a snapshot')
        if f['verdict'] < 2 and not (f['id'] and f['n_chunks'] and f['chunk_blocks'] and
                                     (f['n_chunks'] - 1) * f['chunk_blocks'] < BLOCKS_MAX):
            raise Refused('a snapshot of no shape')
    if kind in ('REJECT', 'WANT', 'NOHAVE', 'CHUNK_REQ', 'YIELD', 'LEAVE') and payload:
        raise Refused(f'{kind} with a payload')


def decode(frames):
    """The Letter of a message."""
    if len(frames) != 1 or len(frames[0]) < 3:
        raise Refused('not one frame')
    message = frames[0]
    header_n = struct.unpack('<H', message[-2:])[0]
    if not 0 < header_n <= len(message) - 2:
        raise Refused('no room for the header')
    raw, payload = message[:header_n], message[header_n:-2]
    if len(payload) > PAYLOAD_MAX:
        raise Refused('a payload that is too long')
    check_grammar(raw)
    elements = msgpack.unpackb(raw, raw=True, strict_map_key=False)
    if len(elements) < 4 or any(not isinstance(element, int) for element in elements[:4]):
        raise Refused('a header without its first elements')
    version, number, fingerprint, life = elements[:4]
    if version != VERSION or number not in NAMES:
        raise Refused(f'version {version}, type {number}')
    if not life:
        raise Refused('life 0')
    kind = NAMES[number]
    rules = TYPES[kind][1]
    if len(elements) != 4 + len(rules):
        raise Refused(f'{kind} of {len(elements)} elements')
    fields = {name: check_element(name, rule, value) for (name, rule), value in zip(rules.items(), elements[4:])}
    check_more(kind, life, fields, payload)
    return Letter(kind, fingerprint, life, fields, payload)


def encode(kind, fingerprint, life, payload=b'', **fields):
    """A message."""
    number, rules = TYPES[kind]
    header = msgpack.packb([VERSION, number, fingerprint, life, *(fields[name] for name in rules)])
    return header + payload + struct.pack('<H', len(header))


def delta_check(f, payload):
    """The element `check` of a DELTA."""
    words = struct.pack('<QIIIBQQBIIIII', f['stream'], f['lo'], f['hi'], f['flush'], f['last_piece'], f['digest'], f['steps'],
                        f['encoding'], f['block'], f['n_blocks'], f['n_nonzero'], f['raw_n'], f['vectors_n'])
    return xxh64(words, xxh64(payload, 0))


def snapshot_id(payload):
    """The element `id` of a STATE_META."""
    return xxh64(payload, 0) or 1


class Reader:
    """Of a payload."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Refused('a payload that is cut off')
        self.at += n
        return self.data[self.at - n:self.at]

    def u8(self, most):
        value = self.take(1)[0]
        if value > most:
            raise Refused(f'{value} is more than {most}')
        return value

    def u64(self):
        return struct.unpack('<Q', self.take(8))[0]

    def varint(self, most):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift == 70:
                raise Refused('a varint of more than ten bytes')
        if shift and not byte or value > most:
            raise Refused('a varint that is too long or too large')
        return value

    def string(self, most):
        return self.take(self.varint(most))

    def lives(self, most):
        """Counts down a list: one life after the other, ascending."""
        last = 0
        for _ in range(self.varint(most)):
            life = self.u64()
            if life <= last:
                raise Refused('lives that do not ascend')
            yield life
            last = life

    def vector(self):
        return {life: Entry(self.varint(SEQ_MAX), self.varint(U32), self.varint(U64), self.u64()) for life in self.lives(2048)}

    def peers(self):
        return {life: Known(check_label(self.string(31)), check_endpoint(self.string(127)), check_endpoint(self.string(127)),
                            self.u8(5), self.u8(1), self.varint(U32), self.varint(U32)) for life in self.lives(1024)}

    def spans(self):
        out = {}
        for life in self.lives(2048):
            start, more = self.varint(U32), self.varint(U32)
            steps, more_steps = self.varint(U64), self.varint(U64)
            if start + more > U32 or steps + more_steps > U64:
                raise Refused('sums that overflow')
            out[life] = (start, start + more, steps, steps + more_steps)
        return out

    def fields(self):
        out, last = {}, b''
        for _ in range(self.varint(64)):
            name, value = self.string(31), self.string(1023)
            if not re.fullmatch(b'[a-z0-9_]+', name) or name <= last:
                raise Refused(f'the field {name!r}')
            out[name.decode()] = check_text(value, 1023)
            last = name
        return out

    def end(self):
        if self.at != len(self.data):
            raise Refused('bytes behind the payload')


def read(data, *parts):
    """A payload of so many parts, each the name of a method of Reader."""
    reader = Reader(data)
    out = [getattr(reader, part)() for part in parts]
    reader.end()
    return out


def read_hello(data):
    reader = Reader(data)
    fields, peers = reader.fields(), reader.peers()
    bulk = reader.string(PAYLOAD_MAX)
    reader.end()
    return fields, peers, bulk


def string(value):
    value = value if isinstance(value, bytes) else value.encode()
    return varint(len(value)) + value


def vector(entries):
    return varint(len(entries)) + b''.join(
        struct.pack('<Q', life) + varint(e.seq) + varint(e.flush) + varint(e.steps) + struct.pack('<Q', e.digest)
        for life, e in sorted(entries.items()))


def peers(known):
    return varint(len(known)) + b''.join(
        struct.pack('<Q', life) + string(k.label) + string(k.rpc) + string(k.pub) + bytes([k.phase, k.gone]) + varint(k.beat) +
        varint(k.age_us) for life, k in sorted(known.items()))


def spans(entries):
    return varint(len(entries)) + b''.join(
        struct.pack('<Q', life) + varint(a) + varint(b - a) + varint(c) + varint(d - c) for life, (a, b, c, d) in sorted(entries.items()))


def hello(fields, known, bulk):
    return varint(len(fields)) + b''.join(string(n) + string(v) for n, v in sorted(fields.items())) + peers(known) + string(bulk)
