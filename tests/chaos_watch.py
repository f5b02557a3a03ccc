"""A stranger who listens: subscribes to every node's publisher, reads beats (and deltas), and compares.

It knows the wire from protocol/WIRE.md alone. What it checks while a mesh runs:

- a (stream, seq) has one digest, whoever names it (G6), and one content, however often it is published
- nodes with equal vectors have equal digests (G1, G7)
- the vector of a life never goes back (G2)
"""
import collections
import hashlib
import selectors
import socket
import struct
import threading
import time

from strangers import GREETING, ready

BEAT, DELTA = 2, 1
PHASES = 'joining', 'ready', 'running', 'done', 'quiet', 'exiting'
KEPT = 20000  # of what is remembered for comparison
REDIAL = .3


def frame(body, flags=0):
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack('>Q', len(body)) + body


def beats_only():
    """Prefixes of the headers of beats, whatever the version and the number of elements."""
    for version in range(1, 8):
        for head in [bytes([0x90 + n]) for n in range(12, 16)] + [b'\xdc\x00' + bytes([n]) for n in range(16, 24)]:
            yield head + bytes([version, BEAT])


# ---- the wire ----

def unpack(data, at=0):
    """One MessagePack value of those that headers may have."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    if 0xcc <= byte <= 0xcf:
        n = 1 << byte - 0xcc
        return int.from_bytes(data[at:at + n], 'big'), at + n
    if 0xa0 <= byte < 0xc0 or 0xd9 <= byte <= 0xdb:
        n = byte & 31
        if byte >= 0xd9:
            width = 1 << byte - 0xd9
            n, at = int.from_bytes(data[at:at + width], 'big'), at + width
        return data[at:at + n].decode(), at + n
    if 0x90 <= byte < 0xa0 or 0xdc <= byte <= 0xdd:
        n = byte & 15
        if byte >= 0xdc:
            width = 2 << byte - 0xdc
            n, at = int.from_bytes(data[at:at + width], 'big'), at + width
        values = []
        for _ in range(n):
            value, at = unpack(data, at)
            values.append(value)
        return values, at
    raise ValueError(f'byte {byte:02x} in a header')


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def u64(self):
        self.at += 8
        return int.from_bytes(self.data[self.at - 8:self.at], 'little')

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7


Stream = collections.namedtuple('Stream', 'seq flush steps digest')


def read_vector(payload):
    reader = Reader(payload)
    vector = {}
    for _ in range(reader.varint()):
        life = reader.u64()
        vector[life] = Stream(reader.varint(), reader.varint(), reader.varint(), reader.u64())
    return vector


def read_spans(payload):
    """What the origin had applied when it flushed: {life: flush}."""
    reader = Reader(payload)
    spans = {}
    for _ in range(reader.varint()):
        life = reader.u64()
        spans[life] = reader.varint() + reader.varint()
        reader.varint(), reader.varint()
    return spans


class Beat:
    """What a life said of itself last."""

    def __init__(self, node, header, payload):
        self.at, self.node = time.monotonic(), node
        (_, _, self.fingerprint, self.life, self.number, self.label, self.phase, self.stop, self.reason, self.digest,
         self.steps, self.lag) = header[:12]
        self.vector = read_vector(payload)

    @property
    def seqs(self):
        return {life: stream.seq for life, stream in self.vector.items()}


# ---- listening ----

class Connection:
    def __init__(self, node, address, deltas):
        self.node, self.address = node, address
        self.socket, self.buffer, self.skip, self.due = None, bytearray(), 64, 0
        self.hello = [GREETING, ready(b'SUB'), frame(b'\x01') if deltas else b''.join(frame(b'\x01' + p) for p in beats_only())]

    def dial(self, selector):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.buffer, self.skip, self.out = bytearray(), 64, list(self.hello)
        self.heard = 0
        self.socket.connect_ex(self.address)
        selector.register(self.socket, selectors.EVENT_WRITE, self)

    def say(self):
        """The next piece: libzmq hangs up on who talks on before it has read what came before."""
        self.socket.sendall(self.out.pop(0))  # small: there is room for it
        self.say_at = time.monotonic() + .1

    def may_say(self):
        return self.socket and self.out and self.heard >= 64 and time.monotonic() >= self.say_at

    def drop(self, selector):
        if self.socket:
            selector.unregister(self.socket)
            self.socket.close()
        self.socket, self.due = None, time.monotonic() + REDIAL

    def frames(self):
        """Yields (flags, body) of what is complete."""
        cut = min(self.skip, len(self.buffer))
        self.skip -= cut
        at, data = cut, self.buffer
        while not self.skip and len(data) - at >= 2:
            flags = data[at]
            if flags & 2 and len(data) - at < 9:
                break
            n = struct.unpack_from('>Q', data, at + 1)[0] if flags & 2 else data[at + 1]
            begin = at + (9 if flags & 2 else 2)
            if len(data) - begin < n:
                break
            yield flags, bytes(data[begin:begin + n])
            at = begin + n
        del self.buffer[:at]


class Watch:
    """Listens to nodes from a thread of its own. `violations` is what must not be; `newest` the last beat of each life."""

    def __init__(self, lan, deltas=False, on_delta=None):
        self.lan, self.deltas, self.on_delta = lan, deltas, on_delta
        self.violations, self.newest, self.n_beats, self.n_deltas = [], {}, 0, 0
        self.delta_bytes = 0
        self.digests, self.contents, self.sums = (collections.OrderedDict() for _ in range(3))
        self.fallbacks = {}  # label: sentence; who takes over another's state may go back, nobody else
        self.connections, self.wanted, self.lock = {}, {}, threading.Lock()
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def listen(self, node, host, port):
        """To a node's publisher, until it is told otherwise; anew when the node has been started again."""
        with self.lock:
            self.wanted[node] = Connection(node, (host, port), self.deltas)

    def forget(self, node):
        with self.lock:
            self.wanted.pop(node, None)

    def close(self):
        self.ended = True
        self.thread.join(10)

    def beats(self):
        """The newest of every life."""
        with self.lock:
            return dict(self.newest)

    def say(self, text):
        if len(self.violations) < 50:
            self.violations.append(text)

    def run(self):
        with self.lan.on_switch(), selectors.DefaultSelector() as selector:
            while not self.ended:
                self.tend(selector)
                for key, events in selector.select(.05):
                    self.serve(selector, key.data, events)
            for connection in self.connections.values():
                connection.drop(selector)

    def tend(self, selector):
        with self.lock:
            wanted = dict(self.wanted)
        for node, connection in list(self.connections.items()):
            if wanted.get(node) is not connection:
                connection.drop(selector)
                del self.connections[node]
        for node, connection in wanted.items():
            self.connections[node] = connection
            if not connection.socket and time.monotonic() >= connection.due:
                connection.dial(selector)
            if connection.may_say():
                try:
                    connection.say()
                except OSError:
                    connection.drop(selector)

    def serve(self, selector, connection, events):
        try:
            if events & selectors.EVENT_WRITE:
                connection.say()
                selector.modify(connection.socket, selectors.EVENT_READ, connection)
                return
            data = connection.socket.recv(1 << 18)
        except OSError:
            data = b''
        if not data:
            connection.drop(selector)
            return
        connection.buffer += data
        connection.heard += len(data)
        for flags, body in connection.frames():
            if flags & 4:
                continue
            self.message(connection.node, flags, body)

    def message(self, node, flags, letter):
        try:
            if flags & 1:
                raise ValueError('a message of several frames')
            header, payload = unpack(letter)[0], letter[int.from_bytes(letter[-2:], 'little'):-2]
            if header[1] == BEAT:
                self.beat(Beat(node, header, payload))
            elif header[1] == DELTA:
                self.delta(node, header, payload)
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            self.say(f'node {node} published what is not in WIRE.md: {error}: {letter[:60].hex()}')

    # ---- comparing ----

    def remember(self, memory, key, value):
        """Returns the value that was there, if it was another."""
        old = memory.setdefault(key, value)
        if len(memory) > KEPT:
            memory.popitem(last=False)
        return old if old != value else None

    def beat(self, beat):
        self.n_beats += 1
        before = self.newest.get(beat.life)
        if before and beat.number <= before.number:
            return
        for life, stream in beat.vector.items():
            if self.remember(self.digests, (life, stream.seq), (stream.digest, stream.steps)) is not None:
                self.say(f'delta {stream.seq} of {life:016x} has another digest or other steps in a beat of {beat.label}')
        key = hashlib.blake2b(repr(sorted(beat.seqs.items())).encode(), digest_size=16).digest()
        if self.remember(self.sums, key, beat.digest) is not None:
            self.say(f'{beat.label} has an equal vector and another digest')
        if before:
            for life, stream in before.vector.items():
                now = beat.vector.get(life)
                if now and now.seq < stream.seq:
                    self.fallbacks[beat.label] = f'the vector of {beat.label} went back from {stream.seq} to {now.seq} for {life:016x}'
        with self.lock:
            self.newest[beat.life] = beat

    def delta(self, node, header, payload):
        stream, seq, flush = header[4], header[6], header[7]
        self.n_deltas += 1
        self.delta_bytes += len(payload)
        content = hashlib.blake2b(repr(header[4:]).encode() + payload, digest_size=16).digest()
        if self.remember(self.contents, (stream, seq), content) is not None:
            self.say(f'delta {seq} of {stream:016x} was published with two contents')
        if self.on_delta:
            self.on_delta(time.monotonic(), stream, flush, header[16], payload)
