#!/usr/bin/python3
"""Chaos on real processes: nodes in network namespaces, a proxy between them, and a plan of faults drawn from a seed.

    tests/chaos.py                                   8 nodes, 30 s, a random seed
    tests/chaos.py --nodes 16 --minutes 30 --seed S --report DIR       a soak; DIR gets report.md, log.jsonl, plot.png
    tests/chaos.py --nodes 64 --minutes 10 --every 1                   as many as a mesh bears
    tests/chaos.py --faults FILE --nodes 4           a fault plan of tools/FAULTS.md on processes
    tests/chaos.py --plan --seed S                   what would happen, without doing it
    tests/chaos.py --measure NAME         figures of single faults: sigstop, rejoin ...; --measure list

The same seed and flags are the same plan; what a failure prints repeats it. Exit code 0: nothing was violated. The
build is ./build, or that of $HOGMESH (also a build with sanitizers).
"""
import argparse
import dataclasses
import heapq
import itertools
import json
import pathlib
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import chaos_faults  # noqa: E402
import chaos_mesh  # noqa: E402
import chaos_plan  # noqa: E402
import processes   # noqa: E402
import strangers   # noqa: E402

JOINS_MOST = 5  # of one node, while the network is bad


@dataclasses.dataclass
class Options:
    nodes: int = 8
    late: int = 1              # of these, nodes that come while the others train
    seconds: float = 30
    seed: int = 0
    every: float = 0           # seconds between faults; 0: 12 / nodes
    longest: float = 12        # seconds that a fault lasts
    calm: float = 5            # seconds without faults before the end
    kinds: str = ','.join(chaos_plan.KINDS)
    net: str = 'auto'          # lan, loopback
    proxied: str = 'half'      # of the first 16; or all, none
    rows: int = 2000
    features: int = 2000
    train: str = ''            # a file instead
    flags: str = ''            # more for every node
    checkpoints: float = 0     # seconds between checkpoints; nodes that begin anew then go on from them
    faults: str = ''           # a fault plan (tools/FAULTS.md) instead of one drawn; --late is then its joins
    report: str = ''

    def command(self):
        """What repeats this."""
        words = ['tests/chaos.py']
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default or field.name == 'seed':
                words += [f'--{field.name}', str(value)]
        return shlex.join(words)


class Campaign:
    def __init__(self, options, folder, say=print):
        self.o, self.folder, self.say_line = options, pathlib.Path(folder), say
        self.log, self.violations, self.undo, self.failed_joins = [], [], {}, {}
        self.queue, self.count = [], itertools.count()
        train = options.train or chaos_mesh.write_rows(self.folder / 'train.svm', options.rows, options.features, options.seed)
        n = options.nodes
        proxied = {'all': range(1, n + 1), 'half': range(2, min(n, 16) + 1, 2), 'none': ()}[options.proxied]
        self.rng = random.Random(options.seed + 1)
        self.mesh = chaos_mesh.Mesh(self.folder, n, train, flags=shlex.split(options.flags),
                                    found=['--seconds', options.seconds], net=options.net, proxied=proxied, seed=options.seed,
                                    checkpoints=options.checkpoints)
        has = (['links'] if self.mesh.lan.has_links else []) + (['proxy'] if self.mesh.proxy else [])
        self.keeper, self.faults = self.plan(has)
        self.began = time.monotonic()
        self.calm, self.silenced = False, set()

    def plan(self, has):
        o = self.o
        if o.faults:
            return 0, chaos_faults.read(o.faults, o.nodes, o.nodes - o.late)
        return chaos_plan.plan(o.seed, o.nodes, o.late, o.seconds - o.calm, o.kinds.split(','), has,
                               o.every or 12 / o.nodes, o.longest)

    # ---- telling ----

    def now(self):
        return time.monotonic() - self.began

    def say(self, what, **more):
        self.log.append({'t': round(self.now(), 3), 'what': what, **more})
        self.say_line(f'{self.now():7.2f} {what} ' + ' '.join(f'{k}={v}' for k, v in more.items()))

    def violated(self, text):
        self.violations.append(text)
        self.say('VIOLATED', text=text)

    # ---- time ----

    def at(self, t, call, *args):
        heapq.heappush(self.queue, (t, next(self.count), call, args))

    def run_until(self, end):
        """Carries out what is due, looks after processes, samples."""
        while self.now() < end and not self.violations:
            while self.queue and self.queue[0][0] <= self.now():
                _, _, call, args = heapq.heappop(self.queue)
                call(*args)
            self.look_after()
            time.sleep(max(0, min(.05, end - self.now())))

    def look_after(self):
        for life in list(self.mesh.nodes.values()):
            if not life.alive and life.ended is None:
                life.ended = self.now()
                self.node_ended(life)
        for text in self.mesh.watch.violations:
            if text not in self.violations:
                self.violated(text)

    def node_ended(self, life):
        if life.end:
            return
        code = life.process.code
        if code == 0 and self.now() > self.o.seconds - 2:
            return
        if code == 4 and life.number + (life.node > self.o.nodes - self.o.late) > 0 and not self.mesh.is_running(life):
            life.end = 'failed'
            tries = self.failed_joins[life.node] = self.failed_joins.get(life.node, 0) + 1
            self.say('join failed', node=life.node, tries=tries, text=life.process.err.strip()[-300:])
            if tries < JOINS_MOST and not self.calm:
                self.at(self.now() + 1, self.start, life.node)
            else:
                self.violated(f'node {life.node} could not join: {life.process.err[-600:]}')
            return
        self.violated(f'{life.label} ended by itself with {code} at {self.now():.1f} s: {life.process.err[-2500:]}')

    def sample(self):
        lives = [(life, life.sample()) for life in self.mesh.living()]
        row = {life.label: [*(round(x, 3) for x in seen), *self.of_beat(self.mesh.beat(life))] for life, seen in lives if seen}
        self.log.append({'t': round(self.now(), 3), 'what': 'sample', 'lives': row})
        self.at(self.now() + (.5 if self.o.seconds < 120 else 2), self.sample)

    @staticmethod
    def of_beat(beat):
        return [beat.phase, beat.steps, beat.lag, len(beat.vector)] if beat else [-1, 0, 0, 0]

    # ---- faults ----

    def start(self, i):
        if i in self.mesh.nodes and self.mesh.nodes[i].alive:
            self.at(self.now() + .2, self.start, i)  # it is still leaving
            return
        life = self.mesh.start(i)
        self.say('start', node=i, life=life.label)

    def begin(self, fault):
        if fault.kind == 'join':
            self.start(fault.nodes[0])
            return
        reached = [life.node for life in self.mesh.living()]
        if fault.kind in ('stop', 'kill', 'leave') and fault.nodes[0] not in reached:
            self.say('skipped', fault=fault.kind, nodes=fault.nodes)
            return
        self.say(fault.kind, nodes=fault.nodes, seconds=round(fault.seconds, 2), **fault.args)
        end = getattr(self, f'do_{fault.kind}')(fault)
        if end:
            key = next(self.count)
            self.undo[key] = fault, end
            self.at(self.now() + fault.seconds, self.finish, key, fault)

    def finish(self, key, fault):
        if self.undo.get(key):
            self.undo.pop(key)[1]()
            self.say(f'{fault.kind} ends', nodes=fault.nodes)

    def do_stop(self, fault):
        i = fault.nodes[0]
        self.mesh.signal(i, signal.SIGSTOP)
        return lambda: self.mesh.signal(i, signal.SIGCONT)

    def do_kill(self, fault):
        self.mesh.kill(fault.nodes[0])
        return lambda: self.start(fault.nodes[0])

    def do_leave(self, fault):
        self.mesh.nodes[fault.nodes[0]].end = 'leave'
        self.mesh.signal(fault.nodes[0], signal.SIGINT)
        return lambda: self.start(fault.nodes[0])

    def do_link(self, fault):
        self.mesh.lan.link(fault.nodes[0], 'down')
        return lambda: self.mesh.lan.link(fault.nodes[0], 'up')

    def do_slow(self, fault):
        self.mesh.lan.rate(fault.nodes[0], fault.args['rate'])
        return lambda: self.mesh.lan.rate(fault.nodes[0], None)

    def silence(self, pairs, on=True):
        """Packets of a do not reach b, for (a, b) in pairs; nor do bytes through the proxy."""
        (self.silenced.update if on else self.silenced.difference_update)(pairs)
        for a, b in pairs:
            if self.mesh.lan.has_links:
                self.mesh.lan.silence(a, b, on)
            if self.mesh.proxy:  # what a sends to b goes up where a dialled, and down where b did
                for dialler, target in (a, b), (b, a):
                    up, down = (dialler, target) in self.silenced, (target, dialler) in self.silenced
                    way = 'both' if up and down else 'up' if up else 'down' if down else 'none'
                    self.proxy_set(dialler, target, f'stall {way}')
        return lambda: self.silence(pairs, False)

    def do_cut(self, fault):
        outside = set(range(1, self.o.nodes + 1)) - set(fault.nodes)
        return self.silence([pair for a in fault.nodes for b in outside for pair in ((a, b), (b, a))])

    def do_partial(self, fault):
        return self.silence([fault.nodes, fault.nodes[::-1]])

    def do_oneway(self, fault):
        return self.silence([fault.nodes])

    def do_silence(self, fault):
        return self.silence(fault.args['pairs'])

    def do_heal_links(self, fault):
        self.silence(fault.args['pairs'], False)

    def do_resume(self, fault):
        self.mesh.signal(fault.nodes[0], signal.SIGCONT)

    def proxy_set(self, dialler, target, rule):
        self.mesh.proxy.tell(f'set {dialler} {target} {rule}')

    def proxy_rule(self, fault, on, off):
        self.proxy_set(*fault.nodes, on)
        return lambda: self.proxy_set(*fault.nodes, off)

    def do_delay(self, fault):
        return self.proxy_rule(fault, f'delay {fault.args["ms"]} {fault.args["jitter"]}', 'delay 0 0')

    def do_throttle(self, fault):
        return self.proxy_rule(fault, f'rate {fault.args["rate"]}', 'rate 0')

    def do_stall(self, fault):
        return self.proxy_rule(fault, f'stall {fault.args["way"]}', 'stall none')

    def do_refuse(self, fault):
        return self.proxy_rule(fault, 'refuse 1', 'refuse 0')

    def do_reset(self, fault):
        dialler, target = fault.nodes
        end = self.now() + fault.seconds

        def again():
            self.mesh.proxy.tell(f'do {dialler} {target} reset')
            if self.now() + .05 < end:
                self.at(self.now() + .05, again)
        again()

    def inject(self, fault):
        dialler, target = fault.nodes
        self.mesh.proxy.tell(f'do {dialler} {target} {fault.kind} {fault.args["way"]} {fault.args["n"]}')

    do_garbage = do_message = do_oversize = do_truncate = do_flip = inject

    def do_stranger(self, fault):
        says = fault.args['says']
        text = strangers.noise(self.rng.random(), 20000) if says == 'noise' else strangers.GARBAGE[says]
        self.mesh.talk(fault.nodes[0], fault.args['port'], text)

    def do_idlers(self, fault):
        connections = []
        for k in range(fault.args['n']):
            try:
                connections.append(self.mesh.connect(fault.nodes[0], k % 2))
            except OSError:
                break
        return lambda: [connection.close() for connection in connections]

    def heal(self):
        """Whatever still lasts ends now, restarts included."""
        for key in list(self.undo):
            fault, end = self.undo.pop(key)
            if fault.seconds < chaos_faults.FOREVER or fault.kind not in ('kill', 'leave'):
                end()

    # ---- the whole ----

    def run(self):
        """Returns what was violated."""
        try:
            self.train()
            self.come_to_an_end()
        except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            self.violated(f'{type(error).__name__}: {error}')
        finally:
            self.mesh.close()
            self.kept = [life.summary for life in self.mesh.lives]
        return self.violations

    def train(self):
        n_first = self.o.nodes - self.o.late
        lives = self.mesh.start_together(range(1, n_first + 1))
        self.mesh.wait_running(lives, 60 + 3 * n_first)
        self.began = time.monotonic()
        self.say('training', nodes=n_first, keeper=self.keeper)
        for fault in self.faults:
            self.at(fault.at, self.begin, fault)
        self.at(0, self.sample)
        self.run_until(self.o.seconds - self.o.calm)
        self.heal()
        self.calm = True
        self.say('calm')
        self.run_until(self.o.seconds - .2)

    def come_to_an_end(self):
        """All that live end by themselves, in bounded time."""
        bound = (40 + self.o.nodes) * (4 if sanitized() else 1)
        deadline = self.now() + bound
        while self.now() < deadline and not self.violations and any(life.alive for life in self.mesh.lives):
            self.run_until(min(deadline, self.now() + .2))
        hung = [] if self.violations else [life for life in self.mesh.lives if life.alive]
        if hung:
            self.say('beats', text='\n' + self.vectors())
        for life in hung:
            self.violated(f'{life.label} hangs, {bound} s after the end; it says\n{life.process.err[-1500:]}\n'
                          f'{chaos_mesh.stacks(life.process.pid) if life is hung[0] else ""}')
        if not self.violations:
            self.say('all have ended')
            killed = any(life.end in ('kill', 'failed') for life in self.mesh.lives)
            for text in chaos_mesh.check_end(self.mesh.lives, self.mesh.watch, killed, sanitized()) + self.growth():
                self.violated(text)

    def vectors(self):
        """Where everybody's newest beat stands."""
        beats = self.mesh.watch.beats()
        name = {life: beat.label for life, beat in beats.items()}
        now = time.monotonic()
        return '\n'.join(f'{beat.label} {now - beat.at:.1f} s ago, phase {beat.phase}, lag {beat.lag}: ' + ' '.join(
            f'{name.get(life, hex(life))}={stream.seq}' for life, stream in sorted(beat.vector.items()))
            for beat in sorted(beats.values(), key=lambda beat: beat.label))

    def growth(self):
        """Memory of who lived for long and has told what its log holds: nothing but that grows."""
        bad = []
        for life in self.mesh.lives if not sanitized() else []:
            if not life.own:
                continue
            rss = [sample[1] for sample in life.samples]
            if len(rss) < 60 or life.samples[-1][0] < 120:
                continue
            part = len(rss) // 4
            early, late = sorted(rss[part:2 * part])[part // 2], sorted(rss[-part:])[part // 2]
            if late > 1.15 * early + 1.1 * life.own['memory']['log'] + (8 << 20):
                bad.append(f'{life.label} grew from {early / 1e6:.1f} to {late / 1e6:.1f} MB')
        return bad


def sanitized():
    return 'asan' in processes.BINARY or 'tsan' in processes.BINARY


def run(options, say=print):
    """Runs a campaign; returns (violations, campaign). With --report its files stay there."""
    with tempfile.TemporaryDirectory(prefix='chaos') as temporary:
        folder = pathlib.Path(options.report or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        campaign = Campaign(options, folder, say)
        violations = campaign.run()
        if options.report:
            import chaos_report
            chaos_report.write(campaign, folder)
        return violations, campaign


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Options):
        parser.add_argument(f'--{field.name}', type=field.type, default=None if field.name == 'seed' else field.default)
    parser.add_argument('--minutes', type=float)
    parser.add_argument('--plan', action='store_true')
    parser.add_argument('--measure')
    args = parser.parse_args()
    if args.faults:
        args.late = chaos_faults.joins(args.faults)
        args.nodes += args.late
        args.proxied = 'all'
    if args.minutes:
        args.seconds = 60 * args.minutes
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 31)
    return args, Options(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Options)})


def interrupt(*_):
    """Once, so that what was made is taken away undisturbed."""
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    args, options = read_options()
    if args.measure:
        import chaos_measure
        return chaos_measure.run(args.measure, options)
    print(options.command(), flush=True)
    if args.plan and not options.faults:
        keeper, faults = chaos_plan.plan(options.seed, options.nodes, options.late, options.seconds - options.calm,
                                         options.kinds.split(','), ['links', 'proxy'], options.every or 12 / options.nodes,
                                         options.longest)
        print(f'node {keeper} keeps its life', *map(chaos_plan.describe, faults), sep='\n')
        return 0
    violations, campaign = run(options, lambda text: print(text, flush=True))
    lives = campaign.mesh.lives
    print(json.dumps({'violations': len(violations), 'faults': len(campaign.faults), 'lives': len(lives),
                      'repaired': sum(life.own['counters']['repaired'] for life in lives if life.own)}))
    if violations:
        print('\n'.join(violations), f'again: {options.command()}', sep='\n', file=sys.stderr)
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
