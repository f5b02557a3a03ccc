"""Strangers that speak: ZMTP 3.0 (mechanism NULL) over a plain socket, and messages as protocol/WIRE.md writes them."""
import hashlib
import socket
import struct

DELTA, BEAT, HELLO, HELLO_OK, REJECT = 1, 2, 3, 4, 5
GREETING = b'\xff' + b'\0' * 8 + b'\x7f\x03\x00' + b'NULL'.ljust(20, b'\0') + b'\0' * 32


class Peer:
    """One end of a connection, a DEALER to whom it talks to."""

    def __init__(self, connection, kind=b'DEALER'):
        self.connection = connection
        self.connection.settimeout(5)
        connection.sendall(GREETING)
        self.read(64)
        body = b'\x05READY' + b'\x0bSocket-Type' + struct.pack('>I', len(kind)) + kind + b'\x08Identity' + struct.pack('>I', 0)
        connection.sendall(bytes([4, len(body)]) + body)
        self.frame(want_command=True)

    def read(self, n):
        data = b''
        while len(data) < n:
            more = self.connection.recv(n - len(data))
            if not more:
                raise EOFError('the other end has closed the connection')
            data += more
        return data

    def frame(self, want_command=False):
        """The next frame and whether more follow; commands (heartbeats) are answered or passed over unless wanted."""
        while True:
            flags = self.read(1)[0]
            n = struct.unpack('>Q', self.read(8))[0] if flags & 2 else self.read(1)[0]
            body = self.read(n)
            if flags & 4 and body.startswith(b'\x04PING'):
                pong = b'\x04PONG' + body[7:]
                self.connection.sendall(bytes([4, len(pong)]) + pong)
            if bool(flags & 4) == want_command:
                return body, bool(flags & 1)

    def send(self, header, payload=b''):
        letter = header + payload + struct.pack('<H', len(header))
        self.connection.sendall(b'\x02' + struct.pack('>Q', len(letter)) + letter)

    def receive(self):
        """The header's elements and the payload of the next message."""
        letter, more = self.frame()
        assert not more, letter
        return unpack(letter), letter[struct.unpack('<H', letter[-2:])[0]:-2]

    def ask(self, header, payload=b''):
        self.send(header, payload)
        return self.receive()


def connect(address):
    host, _, port = address.rpartition(':')
    return Peer(socket.create_connection((host, int(port)), 5))


def pack(elements):
    """A header: integers and texts as the shortest MessagePack."""
    out = bytes([0x90 | len(elements)]) if len(elements) < 16 else b'\xdc' + struct.pack('>H', len(elements))
    for e in elements:
        if isinstance(e, str):
            e = e.encode()
            out += (bytes([0xa0 | len(e)]) if len(e) < 32 else b'\xd9' + bytes([len(e)])) + e
        elif e < 128:
            out += bytes([e])
        else:
            out += b'\xcf' + struct.pack('>Q', e)
    return out


def unpack(data):
    """The elements of a header."""
    sizes = {0xcc: 'B', 0xcd: '>H', 0xce: '>I', 0xcf: '>Q'}

    def one(at):
        b = data[at]
        if b < 0x80:
            return b, at + 1
        if b in sizes:
            n = struct.calcsize(sizes[b])
            return struct.unpack_from(sizes[b], data, at + 1)[0], at + 1 + n
        n, at = (b & 31, at + 1) if b < 0xc0 else (data[at + 1], at + 2)
        return data[at:at + n].decode(), at + n
    n, at = (data[0] & 15, 1) if data[0] < 0xa0 else (struct.unpack_from('>H', data, 1)[0], 3)
    elements = []
    for _ in range(n):
        e, at = one(at)
        elements.append(e)
    return elements


def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def string(text):
    return varint(len(text)) + text.encode()


def fields_payload(fields, bulk=b''):
    """The payload of HELLO and HELLO_OK: fields, no peers, bulk."""
    text = b''.join(string(name) + string(value) for name, value in sorted(fields.items()))
    return varint(len(fields)) + text + varint(0) + varint(len(bulk)) + bulk


def read_fields(payload):
    """Fields of a HELLO_OK."""
    def number(at):
        n = shift = 0
        while True:
            b = payload[at]
            at += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n, at

    def text(at):
        n, at = number(at)
        return payload[at:at + n].decode(), at + n
    n, at = number(0)
    fields = {}
    for _ in range(n):
        name, at = text(at)
        fields[name], at = text(at)
    return fields


def fingerprint(fields):
    text = b''.join(string(name) + string(value) for name, value in sorted(fields.items()))
    return struct.unpack_from('<Q', hashlib.blake2b(b'hogmesh\x02' + text, digest_size=32).digest())[0] or 1


def hello(fields=None, version=2, print_=0, life=4711):
    """Header and payload of a greeting."""
    rest = ['mallory', 'tcp://127.0.0.1:9', 'tcp://127.0.0.1:10']
    return pack([version, HELLO, print_, life] + rest), fields_payload(fields or {})
