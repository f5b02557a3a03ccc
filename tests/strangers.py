"""What may knock at a node's ports: other programs, other versions, noise, and wrecks of our own protocol."""
import random
import socket
import struct

GREETING = b'\xff' + b'\0' * 8 + b'\x7f\x03\x00NULL' + b'\0' * 16 + b'\0' + b'\0' * 31


def ready(kind):
    body = b'\x05READY\x0bSocket-Type' + struct.pack('>I', len(kind)) + kind
    return bytes([4, len(body)]) + body


DEALER, SUB = GREETING + ready(b'DEALER'), GREETING + ready(b'SUB')


def message(*parts):
    """Frames of one message."""
    last = len(parts) - 1
    return b''.join(bytes([2 | (i < last)]) + struct.pack('>Q', len(part)) + part for i, part in enumerate(parts))


def letter(header, payload=b''):
    """A message as WIRE.md has it."""
    return message(header + payload + struct.pack('<H', len(header)))


LIFE = b'\xcf' + bytes(range(1, 9))
HELLO = b'\xa1x\xb1tcp://127.0.0.1:1\xb1tcp://127.0.0.1:2'

GARBAGE = {
    'http': b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'tls': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(500),
    'ssh': b'SSH-2.0-OpenSSH_9.2\r\n',
    'zeros': b'\x00' * 4096,
    'count': bytes(range(256)) * 256,
    'long_greeting': b'\xff' * 10 + b'\x7f' + b'\xff' * 100000,
    'zmtp1': b'\x01\x00' + b'\x05\x00junk' * 100,
    'zmtp_other_mechanism': GREETING[:12] + b'CURVE'.ljust(20, b'\0') + bytes(32) + bytes(300),
    'zmtp_half_greeting': GREETING[:30],
    'zmtp_without_frames': DEALER,
    'zmtp_oversize': DEALER + b'\x02\xff\xff\xff\xff\xff\xff\xff\xff',
    'zmtp_three_megabytes': DEALER + message(bytes(3 << 20)),
    'zmtp_noise': DEALER + b'\x01\x40' + b'x' * 64 + b'\x00\x40' + b'\x93' * 64,
    'zmtp_truncated': DEALER + letter(b'\x97\x02\x03', bytes(1000))[:-500],
    'zmtp_many_frames': DEALER + message(*[b'\x97\x02\x03'] * 500),
    'header_bomb': DEALER + letter(b'\xdd\xff\xff\xff\xff'),
    'header_of_nested_arrays': DEALER + letter(b'\x91' * 4000),
    'other_version': DEALER + letter(b'\x97\x63\x03\x00' + LIFE + HELLO, b'\0\0\0'),
    'other_fingerprint': DEALER + letter(b'\x97\x02\x03\xcd\x12\x34' + LIFE + HELLO, b'\0\0\0'),
    'other_workload': DEALER + letter(b'\x97\x02\x03\x00' + LIFE + HELLO, b'\x01\x08workload\x05chess\0\0'),
    'hello_in_two_frames': DEALER + message(b'\x97\x02\x03\x00' + LIFE + HELLO, b'\0\0\0'),
    'hello_without_tail': DEALER + message(b'\x97\x02\x03\x00' + LIFE + HELLO),
    'tail_beyond_message': DEALER + message(b'\x97\x02\x03\xff\xff'),
    'empty_message': DEALER + message(b''),
    'subscription': SUB + b'\x00\x01\x01',
    'subscriptions': SUB + b''.join(b'\x00\x04\x01' + struct.pack('<H', i) + b'x' for i in range(2000)),
}


def noise(seed, n):
    return random.Random(seed).randbytes(n)


def pieces(text):
    """libzmq hangs up on who talks on before it has answered: greeting, READY and the rest are said one by one."""
    if not text.startswith(GREETING):
        return [text]
    cut = 66 + text[65] if len(text) > 66 and text[64] == 4 else 64
    return [piece for piece in (text[:64], text[64:cut], text[cut:]) if piece]


def say(connection, text, wait=.1):
    """Says it all, listening for a moment after each piece."""
    connection.settimeout(2)
    for piece in pieces(text):
        for at in range(0, len(piece), 50000):
            connection.sendall(piece[at:at + 50000])
        connection.settimeout(wait)
        try:
            connection.recv(1000)
        except TimeoutError:
            pass


def talk(address, text):
    """Says it all and hangs up."""
    try:
        with socket.create_connection(address, 2) as connection:
            say(connection, text)
    except OSError:
        pass  # it may hang up on us: that is its good right
