"""The conduct of a peer (WIRE.md 9) in one thread: it joins, applies, acknowledges, repairs, publishes if asked, and ends."""
import json
import random
import time

import numpy
import zmq
import zmq.utils.z85

from . import body, custom, hashes, wire

JOINING, READY, RUNNING, DONE, QUIET, EXITING = range(6)
SILENT_S, GONE_S = 2, 8
CHUNKS_AT_ONCE = 4


class GivenUp(Exception):
    """It cannot take part; says why."""


class Peer:
    """What is known of another life."""

    def __init__(self, life, label, rpc, pub, dealer, now):
        self.life, self.label, self.rpc, self.pub, self.dealer = life, label, rpc, pub, dealer
        self.heard_at, self.known_at, self.beat, self.beat_at = None, now, None, now
        self.vector, self.lists_me, self.left, self.gone = {}, False, None, False
        self.hello_wait, self.hello_at, self.welcome = .002, now, False

    @property
    def phase(self):
        return self.beat['phase'] if self.beat else JOINING

    @property
    def live(self):
        return self.heard_at is not None and self.left is None and not self.gone


class Stream:
    """Deltas of one life: the log, what is held back for a gap, and the questions asked."""

    def __init__(self):
        self.log, self.held = {}, {}
        self.ask_at, self.wait, self.asked, self.refused = None, .1, 0, set()


class Node:
    def __init__(self, seeds, label='stranger', expect=2, key_file=None, drop=0., seed=1, insist=None, bind='127.0.0.1', cut=0.,
                 say=print):
        self.random, self.say = random.Random(seed), say
        self.life = random.SystemRandom().getrandbits(64) or 1
        self.label, self.expect, self.drop, self.insist = label, expect, drop, insist or {}
        self.keys = hashes.read_keys(key_file) if key_file else []
        self.key_number = 0
        self.context = zmq.Context()
        self.zap = self.open_zap() if self.keys else None
        self.router, self.rpc = self.open_server(zmq.ROUTER, bind)
        self.router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.xpub, self.pub = self.open_server(zmq.XPUB, bind)
        self.xpub.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.sub = self.open_client(zmq.SUB)
        self.sub.subscribe(b'')
        self.seeds, self.seed_at, self.seed_number = list(seeds), 0, 0
        self.knocking = None
        self.peers, self.streams, self.vector = {}, {}, {}
        self.fields, self.fingerprint, self.bulk, self.layout = None, 0, b'', None
        self.base, self.start_digest, self.taken = None, None, None
        self.phase, self.stop, self.stop_reason = JOINING, 0, ''
        self.beat_number, self.beat_at, self.steps_own, self.flush_own = 0, 0, 0, 0
        self.beats_sent = {}
        self.entered_at = self.started_at = time.monotonic()
        self.counters = dict.fromkeys(['applied', 'duplicates', 'dropped', 'refused', 'held', 'wants', 'repaired', 'answered', 'chunks', 'cut'], 0)
        self.training = None
        self.cut_every, self.cut_at = cut, 0

    # Sockets

    def open_zap(self):
        zap = self.context.socket(zmq.REP)
        zap.bind('inproc://zeromq.zap.01')
        return zap

    def pair(self, secret, number):
        private = hashes.subkey(secret, number, 32)
        encoded = zmq.utils.z85.encode(private)
        return zmq.curve_public(encoded), encoded

    def open_server(self, kind, bind):
        socket = self.context.socket(kind)
        socket.linger, socket.maxmsgsize = 0, 2 << 20
        socket.sndhwm = socket.rcvhwm = 64
        if self.keys:
            socket.setsockopt(zmq.ZAP_DOMAIN, b'hogmesh')
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self.pair(self.keys[0], 1)
        port = socket.bind_to_random_port(f'tcp://{bind}')
        return socket, f'tcp://{bind}:{port}'

    def open_client(self, kind):
        socket = self.context.socket(kind)
        socket.linger, socket.maxmsgsize = 0, 2 << 20
        if self.keys:
            secret = self.keys[self.key_number % len(self.keys)]
            socket.curve_serverkey = self.pair(secret, 1)[0]
            socket.curve_publickey, socket.curve_secretkey = self.pair(secret, 2)
        return socket

    def dial(self, rpc, immediate=1):
        dealer = self.open_client(zmq.DEALER)
        dealer.setsockopt(zmq.ROUTING_ID, b'n' + self.life.to_bytes(8, 'little'))
        dealer.sndhwm = dealer.rcvhwm = 16
        dealer.setsockopt(zmq.IMMEDIATE, immediate)  # never again after connect: libzmq aborts
        dealer.connect(rpc)
        return dealer

    def answer_zap(self):
        version, number, domain, _, _, mechanism, *credentials = self.zap.recv_multipart()
        allowed = zmq.utils.z85.decode(self.pair(self.keys[0], 2)[0])
        good = domain == b'hogmesh' and mechanism == b'CURVE' and credentials == [allowed]
        self.zap.send_multipart([version, number, *([b'200', b'OK'] if good else [b'400', b'another key']), b'', b''])

    def close(self):
        for peer in self.peers.values():
            peer.dealer.close(0)
        for socket in self.sub, self.router, self.zap, self.knocking:
            if socket:
                socket.close(0)
        self.xpub.close(1000)
        self.context.term()

    # Sending

    def letter(self, kind, payload=b'', **fields):
        return wire.encode(kind, self.fingerprint, self.life, payload, **fields)

    def ask(self, peer, kind, payload=b'', **fields):
        try:
            peer.dealer.send(self.letter(kind, payload, **fields), zmq.NOBLOCK)
        except zmq.Again:
            pass

    def answer(self, routing, kind, payload=b'', fingerprint=None, **fields):
        letter = wire.encode(kind, self.fingerprint if fingerprint is None else fingerprint, self.life, payload, **fields)
        self.give(routing, letter)

    def give(self, routing, letter):
        try:
            self.router.send_multipart([routing, letter], zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError):
            pass

    def me(self):
        return dict(label=self.label, rpc=self.rpc, pub=self.pub)

    def known(self, now):
        out = {}
        for peer in self.peers.values():
            if peer.left is None:
                age = min(int(1e6 * (now - peer.beat_at)), wire.U32) if peer.beat else wire.U32
                out[peer.life] = wire.Known(peer.label, peer.rpc, peer.pub, peer.phase, int(peer.gone),
                                            peer.beat['number'] if peer.beat else 0, age)
        return out

    def digest(self):
        return (self.start_digest + sum(entry.digest for entry in self.vector.values())) & wire.U64

    def steps(self):
        return sum(entry.steps for entry in self.vector.values()) & wire.U64

    def model_hash(self):
        return hashes.model_hash(self.fingerprint, self.steps(), self.base)

    def lag(self):
        acknowledged = [peer.vector[self.life].flush if self.life in peer.vector else 0 for peer in self.peers.values() if peer.live]
        return max(0, self.flush_own - min(acknowledged, default=self.flush_own))

    def send_beat(self, now):
        self.beat_number += 1
        self.xpub.send(self.letter('BEAT', wire.vector(self.vector) + wire.peers(self.known(now)), number=self.beat_number,
                                   phase=self.phase, stop=self.stop, stop_reason=self.stop_reason, digest=self.digest(),
                                   steps=self.steps(), lag=self.lag(), **self.me()))
        n = sum(peer.live for peer in self.peers.values())
        pause = self.random.uniform(.25, .5) if self.phase == RUNNING else min(.25, .025 * max(1, n // 4))
        self.beat_at = now + pause

    def beat_soon(self, now, after=.002):
        self.beat_at = min(self.beat_at, now + after)

    # Receiving

    def receive(self, source, frames, now):
        routing = frames.pop(0) if source is self.router else None
        repaired = source is not self.sub
        try:
            letter = wire.decode(frames)
            if letter.life == self.life:
                return
            if letter.kind not in ('HELLO', 'REJECT', 'ASK') and letter.fingerprint != self.fingerprint:
                if letter.kind != 'HELLO_OK' or self.fields is not None:
                    raise wire.Refused('another fingerprint')
            if letter.kind != 'HELLO' and letter.life in self.peers:
                self.heard(self.peers[letter.life], now)
            getattr(self, 'on_' + letter.kind.lower())(letter, repaired if letter.kind == 'DELTA' else routing, now)
        except wire.Refused as error:
            self.counters['refused'] += 1
            if self.counters['refused'] == 1:
                self.say(f'first refusal: {error}')

    def heard(self, peer, now):
        if peer.heard_at is None:
            self.beat_soon(now)
        peer.heard_at, peer.gone = now, False

    def meet(self, life, label, rpc, pub, now, dealer=None):
        """The peer of that life, dialled if it is new."""
        if life == self.life:
            return None
        if life not in self.peers:
            for other in self.peers.values():
                if other.rpc == rpc and other.left is None:
                    if other.live and dealer is None:
                        return None  # out of date: somebody who lives is there
                    other.gone = True
            self.peers[life] = Peer(life, label, rpc, pub, dealer or self.dial(rpc), now)
            self.sub.connect(pub)
        return self.peers[life]

    def meet_all(self, known, now):
        for life, k in known.items():
            if not k.gone and life not in self.peers and k.rpc != self.rpc:
                self.meet(life, k.label, k.rpc, k.pub, now)

    def on_hello(self, letter, routing, now):
        fields, _, _ = wire.read_hello(letter.payload)
        if self.fields is None:
            return
        if letter.fingerprint:
            if letter.fingerprint != self.fingerprint:
                self.answer(routing, 'REJECT', field='fingerprint', ours=f'{self.fingerprint:016x}', yours=f'{letter.fingerprint:016x}',
                            reason='this mesh has another configuration')
                return
            peer = self.meet(letter.life, letter.fields['label'], letter.fields['rpc'], letter.fields['pub'], now)
            if peer:
                self.heard(peer, now)
            self.answer(routing, 'HELLO_OK', wire.hello({}, self.known(now), b''), **self.me())
            return
        for name, value in fields.items():
            if self.fields.get(name) != value:
                self.answer(routing, 'REJECT', field=name, ours=self.fields.get(name, '')[:127], yours=value[:127],
                            reason=f'the mesh has another {name}')
                return
        self.answer(routing, 'HELLO_OK', wire.hello(self.fields, self.known(now), self.bulk), **self.me())

    def on_hello_ok(self, letter, routing, now):
        fields, known, bulk = wire.read_hello(letter.payload)
        f = letter.fields
        if self.fields is None:
            if not fields or hashes.fingerprint(fields) != letter.fingerprint:
                raise wire.Refused('a configuration that is not that of its fingerprint')
            self.adopt(fields, letter.fingerprint, bulk)
            self.meet(letter.life, f['label'], f['rpc'], f['pub'], now, self.knocking)
            self.knocking = None
        if letter.life in self.peers:
            self.peers[letter.life].welcome |= not fields  # the answer to a HELLO that had the fingerprint
            self.heard(self.peers[letter.life], now)
        self.meet_all(known, now)

    def on_reject(self, letter, routing, now):
        f = letter.fields
        raise GivenUp(f"refused: {f['reason']} ({f['field']}: theirs {f['ours']}, ours {f['yours']})")

    def adopt(self, fields, fingerprint, bulk):
        self.fields, self.fingerprint, self.bulk = fields, fingerprint, bulk
        self.layout = body.Layout(fields['tensors'])
        self.base = numpy.zeros(64 * self.layout.n_blocks, numpy.int32)
        if fields['workload'] == 'svm' and 'initial' not in fields:
            self.start_digest, self.taken = 0, True
        elif fields['workload'] == 'custom':
            start = custom.start(fields, bulk, self.layout)
            if start is not None:
                self.base, self.start_digest, self.taken = start, self.layout.digest_of_all(start), True

    def on_beat(self, letter, routing, now):
        f = letter.fields
        vector, known = wire.read(letter.payload, 'vector', 'peers')
        if self.start_digest is None:  # B0 is not known here; what it sums up to shows in everybody's beats
            self.start_digest = (f['digest'] - sum(entry.digest for entry in vector.values())) & wire.U64
        peer = self.meet(letter.life, f['label'], f['rpc'], f['pub'], now)
        if peer is None:
            return
        self.heard(peer, now)
        if peer.beat and peer.beat['number'] - 1000 < f['number'] <= peer.beat['number']:
            return
        if peer.phase != f['phase'] or peer.beat is None:
            self.beat_soon(now)
        peer.beat, peer.beat_at, peer.vector = f, now, vector
        if self.life in known:
            peer.lists_me = known[self.life].beat > 0
        if f['stop'] and not self.stop:
            self.stop, self.stop_reason = 1, f['stop_reason']
            self.beat_soon(now, 0)
        self.compare(peer, vector)
        self.meet_all(known, now)
        for stream in vector:
            self.look_for_gap(stream, now, .005 if stream == peer.life else .1)

    def compare(self, peer, vector):
        for stream, entry in vector.items():
            mine = self.vector.get(stream)
            if mine and mine.seq == entry.seq and mine != entry and self.taken:
                raise GivenUp(f'{peer.label} contradicts us: {entry} against {mine} of stream {stream:x}')
        if vector == self.vector and peer.beat['digest'] != self.digest():
            raise GivenUp(f'{peer.label} has another H(B) at an equal vector')

    def on_leave(self, letter, routing, now):
        peer = self.peers.get(letter.life)
        if peer:
            peer.left = letter.fields
            if letter.fields['clean'] and self.phase >= DONE and letter.fields['digest'] != self.digest():
                raise GivenUp(f'{peer.label} left with another digest')
            self.look_for_gap(letter.life, now, .005)

    def on_ask(self, letter, routing, now):
        state = json.dumps(dict(schema=1, label=self.label, phase=self.phase)).encode() if letter.fields['what'] else b''
        self.answer(routing, 'STATUS', state, **letter.fields)

    def on_status(self, letter, routing, now):
        pass  # it asks nobody

    def on_yield(self, letter, routing, now):
        raise GivenUp('somebody yields: that is more than this peer was taught')

    # Deltas

    def on_delta(self, letter, repaired, now):
        f = letter.fields
        if not repaired and self.random.random() < self.drop:
            self.counters['dropped'] += 1  # as the network would
            return
        if f['stream'] == self.life or not self.taken:
            return
        if wire.delta_check(f, letter.payload) != f['check']:
            raise wire.Refused('a delta whose check fails')
        stream = self.streams.setdefault(f['stream'], Stream())
        at = self.vector.get(f['stream'], wire.Entry(0, 0, 0, 0))
        if f['hi'] <= at.seq:
            self.counters['duplicates'] += 1
        elif f['lo'] > at.seq:
            if len(stream.held) < 64:
                stream.held[f['hi']] = letter
                self.counters['held'] += 1
            self.look_for_gap(f['stream'], now, .005)
        else:
            self.apply(stream, letter)
            while self.vector[f['stream']].seq + 1 in stream.held:
                self.apply(stream, stream.held.pop(self.vector[f['stream']].seq + 1))
            self.counters['repaired'] += repaired
            if stream.ask_at is not None:
                stream.ask_at, stream.wait, stream.asked = now + .02, .1, 0
                stream.refused.clear()

    def apply(self, stream, letter):
        f = letter.fields
        at = self.vector.get(f['stream'], wire.Entry(0, 0, 0, 0))
        wire.read(letter.payload[:f['vectors_n']], 'spans')
        if f['flush'] != at.flush + 1 or f['steps'] < at.steps or (not f['last_piece'] and f['steps'] != at.steps):
            raise wire.Refused('a delta that does not continue its stream')
        where, what = self.unpack(letter.payload[f['vectors_n']:], f, f['block'], f['n_blocks'])
        if (at.digest + self.layout.digest(where, what)) & wire.U64 != f['digest']:
            raise wire.Refused('a delta whose digest does not fit')
        self.base[where] += what.astype(numpy.int32)
        self.vector[f['stream']] = wire.Entry(f['hi'], at.flush + f['last_piece'], f['steps'], f['digest'])
        stream.log[f['hi']] = letter
        self.counters['applied'] += 1
        if self.counters['applied'] in (1, 5, 25):
            self.say(f"applied {self.counters['applied']} deltas")

    def unpack(self, data, f, block, n_blocks):
        if block + n_blocks > self.layout.n_blocks:
            raise wire.Refused('blocks beyond the layout')
        where, what = body.unpack(data, f['encoding'], f['raw_n'], n_blocks, f['n_nonzero'])
        where = where + 64 * block
        if not self.layout.used[where].all():
            raise wire.Refused('a padding coordinate that is not 0')
        return where, what

    def missing(self, stream):
        """The highest seq of a stream that somebody has and we have not, or 0."""
        origin = self.peers.get(stream)
        seqs = [peer.vector[stream].seq for peer in self.peers.values() if peer.live and stream in peer.vector]
        if origin and origin.left and any(peer.live for peer in self.peers.values()):
            seqs.append(origin.left['seq'])
        held = self.streams[stream].held if stream in self.streams else {}
        if held and origin and origin.live:
            seqs.append(max(held))
        have = self.vector[stream].seq if stream in self.vector else 0
        most = max(seqs, default=0)
        return most if most > have and stream != self.life else 0

    def look_for_gap(self, life, now, after):
        if not self.missing(life) or not self.taken:
            return
        stream = self.streams.setdefault(life, Stream())
        if stream.ask_at is None:
            stream.ask_at = now + after * self.random.uniform(.5, 1.5)

    def holders(self, life, seq):
        origin = self.peers.get(life)
        others = [peer for peer in self.peers.values() if peer.live and peer is not origin and life in peer.vector and
                  peer.vector[life].seq >= seq]
        return ([origin] if origin and origin.live else []) + others

    def ask_for_gaps(self, now):
        for life, stream in self.streams.items():
            if stream.ask_at is None or now < stream.ask_at:
                continue
            if not self.missing(life):
                stream.ask_at = None
                continue
            seq = self.vector[life].seq + 1 if life in self.vector else 1
            holders = self.holders(life, seq)
            if holders:
                peer = holders[stream.asked % len(holders)]
                self.ask(peer, 'WANT', stream=life, bytes_max=1 << 20, **{'from': seq})
                stream.asked += 1
                self.counters['wants'] += 1
            stream.ask_at = now + stream.wait * self.random.uniform(1, 1.5)
            stream.wait = min(2 * stream.wait, 1.6)

    def on_want(self, letter, routing, now):
        f = letter.fields
        stream = self.streams.get(f['stream'])
        have = self.vector[f['stream']].seq if f['stream'] in self.vector else 0
        if have and f['from'] > have:
            return
        if not stream or f['from'] not in stream.log:
            self.answer(routing, 'NOHAVE', stream=f['stream'], have_from=min(stream.log, default=0) if stream else 0)
            return
        sent = 0
        for seq in range(f['from'], have + 1):
            kept = stream.log[seq]
            message = self.letter('DELTA', kept.payload, **kept.fields)
            if sent and sent + len(message) > f['bytes_max']:
                break
            self.give(routing, message)
            sent += len(message)
            self.counters['answered'] += 1

    def on_nohave(self, letter, routing, now):
        life = letter.fields['stream']
        if life not in self.streams or not self.missing(life):
            return
        wanted = self.vector[life].seq + 1 if life in self.vector else 1
        if letter.fields['have_from'] and letter.fields['have_from'] <= wanted:
            return  # out of date
        stream = self.streams[life]
        stream.refused.add(letter.life)
        if stream.refused >= {peer.life for peer in self.holders(life, wanted)}:
            self.taken = self.taken and None  # logs do not help any more: somebody's state (9.8)

    # State

    def want_state(self, now):
        """Asks for a snapshot, and for its chunks."""
        if self.taken is True or self.layout is None:
            return
        if self.taken is None:
            self.taken = dict(peer=None, at=0, meta=None, chunks={}, asked={}, turn=0)
        t = self.taken
        if t['meta'] is None:
            able = [peer for peer in self.peers.values() if peer.live and peer.phase > JOINING]
            if able and now >= t['at']:
                t['peer'], t['at'], t['turn'] = able[t['turn'] % len(able)], now + .25, t['turn'] + 1
                self.ask(t['peer'], 'STATE_REQ', wire.vector(self.vector), decide=0)
            return
        if now > t['at'] + 4:
            self.taken = None
            return
        for chunk in range(t['meta']['n_chunks']):
            if chunk in t['chunks'] or now < t['asked'].get(chunk, 0):
                continue
            if sum(c not in t['chunks'] and now < at for c, at in t['asked'].items()) >= CHUNKS_AT_ONCE:
                break
            t['asked'][chunk] = now + .5
            self.ask(t['peer'], 'CHUNK_REQ', id=t['meta']['id'], chunk=chunk)

    def on_state_req(self, letter, routing, now):
        self.answer(routing, 'STATE_META', id=0, verdict=3, n_chunks=0, chunk_blocks=0, digest=0, steps=0)

    def on_chunk_req(self, letter, routing, now):
        self.answer(routing, 'STATE_META', id=0, verdict=4, n_chunks=0, chunk_blocks=0, digest=0, steps=0)

    def on_state_meta(self, letter, routing, now):
        f, t = letter.fields, self.taken
        if not isinstance(t, dict) or not t['peer'] or t['peer'].life != letter.life:
            return
        if f['verdict'] >= 2:
            if t['meta']:
                self.taken = None
            return
        if t['meta'] is not None:
            return
        if f['id'] != wire.snapshot_id(letter.payload):
            raise wire.Refused('a snapshot whose vector fails its check')
        vector, = wire.read(letter.payload, 'vector')
        if f['digest'] != (self.start_digest + sum(entry.digest for entry in vector.values())) & wire.U64:
            raise wire.Refused('a snapshot whose digest is not that of its vector')
        if f['steps'] != sum(entry.steps for entry in vector.values()) & wire.U64:
            raise wire.Refused('a snapshot whose steps are not those of its vector')
        if self.life in self.vector and (self.life not in vector or vector[self.life].seq < self.vector[self.life].seq):
            return  # the own stream never falls back
        n_blocks = self.layout.n_blocks
        if -(-n_blocks // f['chunk_blocks']) != f['n_chunks']:
            raise wire.Refused('a snapshot of another layout')
        t.update(meta=f, at=now, vector=vector)

    def on_chunk(self, letter, routing, now):
        f, t = letter.fields, self.taken
        if not isinstance(t, dict) or not t['meta'] or t['meta']['id'] != f['id'] or t['peer'].life != letter.life:
            return
        each = t['meta']['chunk_blocks']
        if f['chunk'] >= t['meta']['n_chunks']:
            raise wire.Refused('a chunk that does not exist')
        n_blocks = min(each, self.layout.n_blocks - f['chunk'] * each)
        t['chunks'][f['chunk']] = self.unpack(letter.payload, f, f['chunk'] * each, n_blocks)
        t['at'] = now
        self.counters['chunks'] += 1
        if len(t['chunks']) == t['meta']['n_chunks']:
            self.install(t)

    def install(self, t):
        base = numpy.zeros_like(self.base)
        for where, what in t['chunks'].values():
            base[where] = what
        if self.layout.digest_of_all(base) != t['meta']['digest']:
            self.taken = None
            raise wire.Refused('a snapshot that is not what its digest says')
        vector, logs = dict(t['vector']), {life: stream.log for life, stream in self.streams.items()}
        self.base, former, self.vector, self.taken = base, self.vector, vector, True
        for life, stream in self.streams.items():
            stream.log = {}
            stream.refused.clear()
            at = vector[life].seq if life in vector else 0
            for seq in range(at + 1, (former[life].seq if life in former else 0) + 1):
                if seq not in logs[life]:
                    break
                self.apply(stream, logs[life][seq])

    # Publishing

    def publish(self, where, what, steps, spans=b'\0'):
        """One flush of one piece: the coordinates (ascending) and what is added to them."""
        at = self.vector.get(self.life, wire.Entry(0, 0, 0, 0))
        first = int(where[0]) // 64 if len(where) else 0
        n_blocks = int(where[-1]) // 64 + 1 - first if len(where) else 0
        raw = body.pack(where - 64 * first, what, n_blocks) if len(where) else b''
        f = dict(stream=self.life, lo=at.seq, hi=at.seq + 1, flush=at.flush + 1, last_piece=1,
                 digest=(at.digest + self.layout.digest(where, what)) & wire.U64, steps=at.steps + steps, encoding=0, block=first,
                 n_blocks=n_blocks, n_nonzero=len(where), raw_n=len(raw), vectors_n=len(spans))
        payload = spans + raw
        f['check'] = wire.delta_check(f, payload)
        self.base[where] += what.astype(numpy.int32)
        self.vector[self.life] = wire.Entry(f['hi'], f['flush'], f['steps'], f['digest'])
        self.flush_own = f['flush']
        self.streams.setdefault(self.life, Stream()).log[f['hi']] = wire.Letter('DELTA', self.fingerprint, self.life, f, payload)
        self.xpub.send(self.letter('DELTA', payload, **f))

    # Phases

    def set_phase(self, phase, now):
        self.phase, self.entered_at = phase, now
        self.send_beat(now)

    def others(self):
        return [peer for peer in self.peers.values() if peer.live]

    def nothing_missing(self):
        return not any(self.missing(life) for life in {life for peer in self.others() for life in peer.vector} | set(self.streams))

    def agree(self, least):
        return all(peer.phase >= least and peer.vector == self.vector and peer.beat['digest'] == self.digest() for peer in self.others()
                   if peer.beat) and all(peer.beat for peer in self.others()) and self.nothing_missing()

    def is_ready(self, now):
        live = self.others()
        if not live or any(not peer.lists_me for peer in live) or self.taken is not True or not self.nothing_missing():
            return False
        waited = [peer for peer in self.peers.values() if peer.heard_at is None and now < peer.known_at + 1]
        return not waited and (len(live) + 1 >= self.expect or any(peer.phase >= RUNNING for peer in live))

    def step_phase(self, now):
        """Returns whether it is over."""
        live = self.others()
        if self.phase == JOINING and self.fields and self.is_ready(now):
            self.set_phase(READY, now)
        elif self.phase == READY and (all(peer.phase >= READY for peer in live) or any(peer.phase >= RUNNING for peer in live)):
            self.set_phase(RUNNING, now)
        elif self.phase == RUNNING and self.stop:
            self.set_phase(DONE, now)
        elif self.phase == DONE and self.agree(DONE):
            self.set_phase(QUIET, now)
        elif self.phase in (QUIET, EXITING) and not self.agree(DONE):
            self.set_phase(DONE, now)
        elif self.phase == QUIET and self.agree(QUIET):
            self.set_phase(EXITING, now)
            self.send_leave(1)
        elif self.phase == EXITING:
            return not live or now > self.entered_at + 5
        return False

    def send_leave(self, clean):
        f = dict(seq=self.vector[self.life].seq if self.life in self.vector else 0, digest=self.digest(), clean=clean)
        self.xpub.send(self.letter('LEAVE', **f))
        for peer in self.others():
            self.ask(peer, 'LEAVE', **f)

    # Time

    def knock(self, now):
        """Asks one address after the other for the configuration."""
        if self.fields or now < self.seed_at:
            return
        if self.knocking:
            self.knocking.close(0)
            self.key_number += self.seed_number % len(self.seeds) == 0
        self.knocking = self.dial('tcp://' + self.seeds[self.seed_number % len(self.seeds)], 0)
        self.knocking.send(self.letter('HELLO', wire.hello(self.insist, {}, b''), **self.me()))
        self.seed_at, self.seed_number = now + 1, self.seed_number + 1

    def tend_peers(self, now):
        for peer in self.peers.values():
            if peer.left is not None:
                continue
            if peer.heard_at is not None and now - peer.heard_at > GONE_S:
                peer.gone = True
            silent = now - peer.beat_at > SILENT_S
            if silent and now >= peer.hello_at:
                peer.dealer.close(0)
                peer.dealer = self.dial(peer.rpc)
                self.sub.disconnect(peer.pub)
                self.sub.connect(peer.pub)
            if now >= peer.hello_at and (silent or not (peer.welcome or peer.lists_me)):
                self.ask(peer, 'HELLO', wire.hello({}, {}, b''), **self.me())
                peer.hello_wait = min(2 * peer.hello_wait, 4)
                peer.hello_at = now + peer.hello_wait

    def cut(self, now):
        """As a network does whose connections break, one after the other: what was on its way is lost."""
        if not self.cut_every or now < self.cut_at or not self.peers:
            return
        self.cut_at = now + self.cut_every * self.random.uniform(.5, 1.5)
        peer = self.random.choice(list(self.peers.values()))
        if peer.left is not None:
            return
        self.counters['cut'] += 1
        if self.random.random() < .5:
            peer.dealer.close(0)
            peer.dealer = self.dial(peer.rpc)
        else:
            self.sub.disconnect(peer.pub)
            self.sub.connect(peer.pub)

    def turn(self):
        """Waits for what comes next, at most a few milliseconds, and does what is due. Returns whether it is over."""
        poller = zmq.Poller()
        sockets = [self.router, self.sub, self.xpub, *([self.zap] if self.zap else []), *([self.knocking] if self.knocking else []),
                   *(peer.dealer for peer in self.peers.values())]
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(2))
        now = time.monotonic()
        for socket in ready:
            self.take(socket, now)
        self.knock(now)
        if self.fields is None:
            return False
        self.tend_peers(now)
        self.cut(now)
        self.want_state(now)
        self.ask_for_gaps(now)
        if self.start_digest is not None and now >= self.beat_at:
            self.send_beat(now)
        if self.training and self.phase == RUNNING:  # once at least, also where the end comes early
            self.training(self, now)
        return self.step_phase(now)

    def take(self, socket, now):
        for _ in range(50):
            try:
                if socket is self.zap:
                    if not socket.poll(0):
                        return
                    self.answer_zap()
                    continue
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except (zmq.Again, zmq.ZMQError):
                return
            if socket is self.xpub:
                self.beat_soon(now)
            else:
                self.receive(socket, frames, now)

    def run(self, timeout):
        end = time.monotonic() + timeout
        while not self.turn():
            if time.monotonic() > end:
                raise GivenUp(f'not over after {timeout} s: phase {self.phase}, {self.counters}, '
                              f'{[(p.label, p.phase, p.live) for p in self.peers.values()]}')
