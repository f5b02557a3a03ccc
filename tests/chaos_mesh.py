"""Real nodes with addresses of their own, a proxy before some of them, a stranger who listens: the stage for faults."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import chaos_watch
import lan as lans
import processes
import strangers

PROXY = os.environ.get('HOGMESH_PROXY') or str(pathlib.Path(processes.BINARY).parent.parent / 'tests' / 'chaos_proxy')
PORT, PROXY_PORT = 7000, 20000
RUNNING = 2
ALARMS = re.compile(r'differs|corrupts data|another model|another process publishes|is faulty|diverged|Sanitizer|runtime error:'
                    r'|[Aa]ssertion|panic')


def write_rows(path, rows, features, seed=1, words=20):
    """An svmlight file of separable rows whose rarest feature is `features`, small where RCV1's 47,236 are too many."""
    rng = random.Random(seed)
    w = [rng.gauss(0, 1) for _ in range(997)]
    with open(path, 'w') as file:
        for i in range(rows):
            at = sorted({1 + int(features * rng.random() ** 3) for _ in range(words)} | ({features} if not i else set()))
            label = 1 if sum(w[k % 997] for k in at) > 0 else -1
            file.write(f'{label} ' + ' '.join(f'{k}:{1 / words ** .5:.4f}' for k in at) + '\n')
    return path


class Proxy:
    """tests/proxy.c, told what to do by lines."""

    def __init__(self, lan, folder, seed):
        self.err = open(folder / 'proxy.err', 'wb')
        self.process = subprocess.Popen([*lan.prefix(None), PROXY] if lan.has_links else [PROXY], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.err, text=True, start_new_session=True)
        try:  # it stands for a network, which does not wait for processors
            os.sched_setscheduler(self.process.pid, os.SCHED_RR, os.sched_param(1))
        except OSError:
            pass
        self.tell(f'seed {seed}')

    def tell(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith('error'):
            raise RuntimeError(f'the proxy says {answer!r} to {line!r}')
        return answer

    def stats(self):
        return json.loads(self.tell('stats'))

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.err.close()


class Life:
    """One process of a node, and what was seen of it."""

    def __init__(self, node, number, process):
        self.node, self.number, self.process = node, number, process
        self.label = f'n{node}.{number}'
        self.began, self.ended, self.end = time.monotonic(), None, None  # end: 'kill', 'leave', 'failed' or None
        self.rss, self.fds, self.samples, self.kept = 0, 0, [], None

    @property
    def alive(self):
        return self.process.process.poll() is None

    def sample(self):
        """(seconds of life, own memory, file descriptors, processor seconds), or None when it is over."""
        pid = self.process.pid
        try:
            rss, fds = processes.peak_memory(pid), len(os.listdir(f'/proc/{pid}/fd'))
        except OSError:
            return None
        self.rss, self.fds = max(self.rss, rss), max(self.fds, fds)
        self.samples.append((time.monotonic() - self.began, rss, fds, processes.cpu_seconds(pid)))
        return self.samples[-1]

    def alarms(self):
        return [line for line in self.process.err.splitlines() if ALARMS.search(line)]

    @property
    def summary(self):
        if self.kept is None and not self.alive:  # the files go with the folder
            try:
                self.kept = self.process.summary
            except (AssertionError, OSError, json.JSONDecodeError):
                self.kept = {}
        return self.kept

    @property
    def own(self):
        return self.summary and self.summary['per_node'][0]


class Mesh:
    """Nodes 1 to n. `flags` go to every node, `found` besides to those that start together. With `checkpoints`, seconds, nodes keep
    them so often, and go on from them when they begin anew."""

    def __init__(self, folder, n, train, flags=(), found=(), net='auto', proxied=(), seed=0, deltas=False, on_delta=None,
                 checkpoints=0):
        self.checkpoints = checkpoints
        self.folder, self.n, self.train, self.flags, self.found = pathlib.Path(folder), n, train, flags, found
        self.proxied, self.nodes, self.lives = set(proxied), {}, []
        self.lan = self.open_lan(net, n)
        self.proxy = self.watch = None
        try:
            if self.proxied:
                self.proxy = self.open_proxy(seed)
            self.watch = chaos_watch.Watch(self.lan, deltas, on_delta)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def open_lan(net, n):
        if net != 'loopback':
            try:
                return lans.Lan(n).open()
            except RuntimeError:
                if net == 'lan':
                    raise
        return lans.Loopback(n).open()

    def open_proxy(self, seed):
        proxy = Proxy(self.lan, self.folder, seed)
        host = self.lan.switch_address
        for i in range(1, self.n + 1):
            if self.lan.has_links:
                proxy.tell(f'node {i} {self.lan.address(i)}')
            for k in 0, 1:
                proxy.tell(f'listen {i} {host} {self.proxy_port(i) + k} {self.lan.address(i)} {PORT + k}')
        return proxy

    def proxy_port(self, i):
        return PROXY_PORT + 2 * i + (0 if self.lan.has_links else 200 * (os.getpid() % 100))

    def address(self, i):
        """As peers dial it."""
        return f'{self.lan.switch_address}:{self.proxy_port(i)}' if i in self.proxied else f'{self.lan.address(i)}:{PORT}'

    def start(self, i, *flags, peers=None, expect=None):
        """A fresh process of node i, which joins by up to three of those that live."""
        number = sum(life.node == i for life in self.lives)
        if peers is None:
            peers = [k for k, life in sorted(self.nodes.items()) if k != i and life.alive and not life.end][:3]
        words = ['join', 'svm', '--train', self.train, '--json', '--label', f'n{i}.{number}', '--expect', expect or self.n,
                 '--bind', f'{self.lan.address(i)}:{PORT}', '--insecure', '--join-timeout', f'{30 + 2 * self.n}s', *self.flags,
                 *flags]
        if i in self.proxied:
            words += ['--advertise', self.address(i)]
        for peer in peers:
            words += ['--peer', self.address(peer)]
        if self.checkpoints:
            words += self.keep(i, number)
        life = Life(i, number, processes.Hogmesh(self.folder, *words, prefix=self.lan.prefix(i)))
        self.nodes[i] = life
        self.lives.append(life)
        self.watch.listen(i, self.lan.address(i), PORT + 1)
        return life

    def keep(self, i, number):
        """Flags of checkpoints, which are found again by the label."""
        out = self.folder / f'out{i}'
        out.mkdir(exist_ok=True)
        resume = ['--resume'] if number and (out / f'n{i}.ckpt').exists() else []
        return ['--label', f'n{i}', '--out', out, '--checkpoint-every', f'{self.checkpoints}s', *resume]

    def start_together(self, nodes):
        nodes = list(nodes)
        self.start(nodes[0], *self.found, peers=[], expect=len(nodes))
        self.nodes[nodes[0]].process.address(60)
        for i in nodes[1:]:
            self.start(i, *self.found, peers=nodes[:1], expect=len(nodes))
        return [self.nodes[i] for i in nodes]

    def beat(self, life):
        """The newest that it said, or None."""
        said = [beat for beat in self.watch.beats().values() if beat.label in (life.label, f'n{life.node}') and beat.at > life.began]
        return max(said, key=lambda beat: beat.at, default=None)

    def is_running(self, life):
        beat = self.beat(life)
        return bool(beat) and beat.phase >= RUNNING

    def wait_running(self, lives, timeout=60):
        for life in lives:
            processes.until(lambda life=life: self.is_running(life) or not life.alive, timeout,
                            lambda life=life: f'training of {life.process}')
            assert life.alive or life.summary, f'over before it was seen at work: {life.process}'

    def living(self):
        return [life for life in self.nodes.values() if life.alive and not life.end]

    def signal(self, i, number):
        try:
            os.kill(self.nodes[i].process.pid, number)
        except ProcessLookupError:
            pass

    def kill(self, i):
        self.nodes[i].end = 'kill'
        self.signal(i, signal.SIGKILL)
        self.nodes[i].process.process.wait(10)

    def connect(self, i, port):
        """A socket of the switch to a port of node i."""
        with self.lan.on_switch():
            connection = socket.socket()
        connection.settimeout(1)
        connection.connect((self.lan.address(i), PORT + port))
        return connection

    def talk(self, i, port, text):
        """In a thread: a stranger may have to wait."""
        def run():
            try:
                connection = self.connect(i, port)
                with connection:
                    strangers.say(connection, text)
            except OSError:
                pass
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def wait_ends(self, timeout):
        """Until all processes have ended; returns those that have not."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and any(life.alive for life in self.lives):
            time.sleep(.05)
        return [life for life in self.lives if life.alive]

    def close(self):
        for life in self.lives:
            life.process.kill()
        if self.watch:
            self.watch.close()
        if self.proxy:
            self.proxy.close()
        self.lan.close()


def stacks(pid):
    """Where all threads of a process stand, for a hang."""
    if not shutil.which('gdb'):
        return 'no gdb here'
    done = subprocess.run(['gdb', '-batch', '-p', str(pid), '-ex', 'thread apply all bt'], capture_output=True, text=True,
                          check=False, timeout=60)
    return done.stdout[-6000:]


# ---- what holds at the end ----

def survivors(lives):
    return [life for life in lives if life.end is None]


def check_end(lives, watch=None, killed=False, sanitized=False):
    """What must not be, as a list of sentences; empty when all is well. killed: some lives were ended by force."""
    bad = list(watch.violations) if watch else []
    ended = survivors(lives)
    for life in lives:
        bad += [f'{life.label} says: {line}' for line in life.alarms()]
        if watch and life.label in watch.fallbacks and 'took over the state of' not in life.process.err:
            bad.append(watch.fallbacks[life.label])
    for life in ended:
        if life.process.code != 0 or not life.own:
            bad.append(f'{life.label} ended with {life.process.code}: {life.process.err[-1500:]}')
    own = [(life, life.own) for life in ended if life.own]
    for name in 'hash', 'mesh_steps', 'vector_seq':
        values = {node[name] for _, node in own}
        if len(values) > 1:
            bad.append(f'{name} differs at the end: ' + ', '.join(f'{life.label} {node[name]}' for life, node in own))
    for life, node in own:
        counters = node['counters']
        owed = node['vector_seq'] - node['own_seq']
        if not node['clean']:
            bad.append(f'{life.label} is not clean: {node["ended"]}')
        if counters['applied'] + counters['covered'] - counters['undone'] != owed:
            bad.append(f'ledger of {life.label}: {counters["applied"]} applied, {counters["covered"]} covered, '
                       f'{counters["undone"]} undone of {owed}')
        if counters['abandoned'] or (node['lost'] and not killed):
            bad.append(f'{life.label} lost {node["lost"]}, abandoned {counters["abandoned"]}')
    return bad if sanitized else bad + check_memory(lives)


def check_memory(lives):
    bad = []
    bounds = [life.own['memory']['bound'] for life in lives if life.own]
    for life in lives:
        bound = life.own['memory']['bound'] if life.own else max(bounds, default=0)
        if bound and life.rss >= bound:
            bad.append(f'{life.label} had {life.rss / 1e6:.1f} MB, its bound is {bound / 1e6:.1f} MB')
        if life.fds > 100 + 8 * len(lives):
            bad.append(f'{life.label} had {life.fds} file descriptors among {len(lives)} lives')
    return bad
