"""Faults of real processes and networks, one by one and all together. tests/chaos.py is the long form, and measures.

Jumps of the clock are left to the simulator: nodes read CLOCK_MONOTONIC only, which nobody can set.
"""
import random
import signal
import socket
import subprocess
import time

import pytest

import chaos
import chaos_mesh
import chaos_plan
import strangers
from chaos_mesh import check_end
from processes import cpu_seconds, until

DONE = 3


@pytest.fixture
def mesh(tmp_path):
    """mesh(n, seconds, ...) -> n nodes at work, which is what the seconds count from."""
    opened = []

    def make(n, seconds, *flags, links=False, rows=1000, features=500, start=True, **options):
        train = chaos_mesh.write_rows(tmp_path / 'train.svm', rows, features)
        try:
            one = chaos_mesh.Mesh(tmp_path, n, train, ['--flush', '10ms', *flags], ['--seconds', seconds],
                                  net='lan' if links else 'auto', **options)
        except RuntimeError as error:
            pytest.skip(str(error))
        opened.append(one)
        if start:
            one.wait_running(one.start_together(range(1, n + 1)))
        return one

    yield make
    for one in opened:
        one.close()


def finish(mesh, timeout=40, killed=False):
    """All end by themselves, in time, equal, clean, and balanced; returns what they counted, by label."""
    until(lambda: not any(life.alive for life in mesh.lives) or [life.sample() for life in mesh.living()] is None, timeout,
          lambda: '\n'.join(str(life.process) for life in mesh.lives if life.alive))
    bad = check_end(mesh.lives, mesh.watch, killed, chaos.sanitized())
    assert not bad, '\n'.join(bad)
    return {life.label: life.own['counters'] for life in mesh.lives if life.own}


def total(counters, *names):
    return sum(one[name] for one in counters.values() for name in names)


def steps(mesh):
    return max(beat.steps for beat in mesh.watch.beats().values())


# ---- all together ----

@pytest.mark.parametrize('seed', [1, None], ids=['fixed', 'random'])
def test_chaos_of_eight_processes(seed):
    options = chaos.Options(seed=random.SystemRandom().randrange(1 << 31) if seed is None else seed, seconds=20, every=.6,
                            longest=5, calm=4, flags='--flush 20ms')
    print(options.command())
    lines = []
    violations, _ = chaos.run(options, lines.append)
    assert not violations, '\n'.join([*lines[-60:], *violations, f'again: {options.command()}'])


def test_the_same_seed_is_the_same_plan():
    def plan(seed):
        return chaos_plan.plan(seed, 8, 2, 60, list(chaos_plan.KINDS), ['links', 'proxy'], .5, 12)
    assert plan(7) == plan(7) != plan(8)
    kinds = {fault.kind for seed in range(20) for fault in plan(seed)[1]}
    assert kinds == {*chaos_plan.KINDS, 'join'}
    for seed in range(20):
        keeper, faults = plan(seed)
        assert all(fault.at + fault.seconds <= 60 for fault in faults)
        assert not any(fault.kind in ('kill', 'leave') and fault.nodes == (keeper,) for fault in faults)


# ---- processes ----

@pytest.mark.parametrize('seconds', [1, 5])
def test_sigstop(mesh, seconds):
    """A node that stands still for a while catches up, and meanwhile nobody waits for it."""
    four = mesh(4, seconds + 5)
    time.sleep(.5)
    before = steps(four)
    four.signal(2, signal.SIGSTOP)
    time.sleep(seconds)
    assert steps(four) > before, 'the others stood still too'
    silent = time.monotonic() - four.beat(four.nodes[2]).at
    four.signal(2, signal.SIGCONT)
    finish(four)
    assert silent > seconds / 2, 'it was not felt'


def test_sigkill_and_rejoin(mesh):
    """The same address, a new life: it has what was published before, and the end is one for all."""
    four = mesh(4, 8)
    time.sleep(.5)
    four.kill(1)
    time.sleep(1)
    again = four.start(1)
    four.wait_running([again], 10)
    counters = finish(four, killed=True)
    assert counters['n1.1']['published'] > 0, 'it only watched'


def test_many_lives_at_one_address(mesh):
    """Killed and begun anew, five times, sooner than it counts as dead: answers go to the life that asks."""
    three = mesh(3, 9)
    for _ in range(5):
        three.kill(2)
        again = three.start(2)
        three.wait_running([again], 4)
        time.sleep(.2)
    finish(three, killed=True)


def test_sigkill_and_going_on_from_a_checkpoint(mesh):
    """The others have gone on meanwhile; no seq is published with two contents (the listener compares)."""
    three = mesh(3, 12, checkpoints=.3, deltas=True)
    for i in 1, 3:
        time.sleep(1)
        three.kill(i)
        again = three.start(i)
        three.wait_running([again], 8)
        assert '--resume' in again.process.command
    finish(three, killed=True)


def test_sigkill_of_all_but_one(mesh):
    four = mesh(4, 12)
    for i in 1, 2, 4:
        four.kill(i)
        time.sleep(.2)
    finish(four, killed=True)


def test_leave_and_return(mesh):
    four = mesh(4, 8)
    life = four.nodes[3]
    life.end = 'leave'
    four.signal(3, signal.SIGINT)
    assert life.process.wait(10).code == 0, life.process
    assert life.own['lost'] == 0
    four.wait_running([four.start(3)], 10)
    finish(four)


def test_clocks_apart(mesh):
    """Ten days and the other way round: clocks count from the start of a machine, so they never agree."""
    if subprocess.run(['unshare', '-T', '--monotonic', '864000', 'true'], capture_output=True, check=False).returncode:
        pytest.skip('needs the privilege to make time namespaces')
    three = mesh(3, 3, start=False)
    prefix = three.lan.prefix
    offset = {1: 0, 2: 864000, 3: 40000000}
    three.lan.prefix = lambda i: (*prefix(i), 'unshare', '-T', '--monotonic', str(offset[i])) if i else prefix(i)
    three.wait_running(three.start_together([1, 2, 3]))
    finish(three)


def test_idle_mesh(mesh):
    """While three wait for one to agree on the end, nothing but beats is sent, and nobody works."""
    four = mesh(4, 3, deltas=True)
    four.signal(4, signal.SIGSTOP)
    waiting = four.living()[:3]
    until(lambda: all(four.beat(life).phase == DONE for life in waiting), 15, lambda: 'the others are not done')
    time.sleep(.5)
    n_deltas, n_beats = four.watch.n_deltas, four.watch.n_beats
    work = sum(cpu_seconds(life.process.pid) for life in waiting)
    time.sleep(2)
    work = sum(cpu_seconds(life.process.pid) for life in waiting) - work
    assert four.watch.n_deltas == n_deltas
    assert 0 < four.watch.n_beats - n_beats < 2 * 3 * 45, 'a beat every 25 ms is as much as is allowed'
    assert work < .8, 'of two seconds, three nodes'
    four.signal(4, signal.SIGCONT)
    finish(four)


# ---- networks ----

@pytest.mark.parametrize('until_dead', [False, True], ids=['short', 'until_dead'])
def test_partition(mesh, until_dead):
    """Two and two, for less or for more than it takes to count as dead: both sides go on, and come together again."""
    four = mesh(4, 18 if until_dead else 7, links=True)
    pairs = [(a, b) for a in (1, 2) for b in (3, 4)]
    for a, b in pairs:
        four.lan.silence(a, b, True)
        four.lan.silence(b, a, True)
    if until_dead:
        until(lambda: all('counts as dead' in life.process.err for life in four.lives), 14, lambda: 'it was not felt')
    else:
        until(lambda: max(beat.lag for beat in four.watch.beats().values()) > 30, 5, lambda: 'it was not felt')
    for a, b in pairs:
        four.lan.silence(a, b, False)
        four.lan.silence(b, a, False)
    finish(four, 60)


@pytest.mark.parametrize('ways', [1, 2], ids=['one_way', 'both_ways'])
def test_partial_partition(mesh, ways):
    """Two that do not hear each other hear of each other from the third."""
    three = mesh(3, 9, links=True)
    for a, b in [(1, 2), (2, 1)][:ways]:
        three.lan.silence(a, b, True)
    until(lambda: max(beat.lag for beat in three.watch.beats().values()) > 30, 6, lambda: 'it was not felt')
    for a, b in [(1, 2), (2, 1)][:ways]:
        three.lan.silence(a, b, False)
    finish(three, 60)


def test_one_way_connections(mesh):
    """What one node says to another is stuck in the middle, the other way is free."""
    three = mesh(3, 8, links=True, proxied=[1, 2, 3])
    three.proxy.tell('set 1 2 stall up')
    three.proxy.tell('set 2 1 stall down')
    time.sleep(4)
    three.proxy.tell('set 1 2 stall none')
    three.proxy.tell('set 2 1 stall none')
    finish(three, 60)


def test_receiver_at_one_megabyte_a_second(mesh):
    """More is published than it can take: it is repaired as far as it gets, the others do not wait, all end equal."""
    four = mesh(4, 6, links=True, rows=3000, features=40000)
    time.sleep(.5)
    four.lan.rate(2, 1000000)
    before = steps(four)
    time.sleep(4)
    assert steps(four) > before
    four.lan.rate(2, None)
    finish(four, 60)


def test_unreachable_peers_at_shutdown(mesh):
    """The cable of one is out when training ends: it ends by itself, the others agree without it."""
    three = mesh(3, 3, links=True)
    three.lan.link(3, 'down')
    assert not three.wait_ends(40), 'somebody waits for ever'
    one, two, alone = three.lives
    assert one.own['hash'] == two.own['hash'] and one.own['clean'] and two.own['clean']
    assert alone.process.code == 0, alone.process


def test_leave_with_unreachable_peers(mesh):
    three = mesh(3, 20, links=True)
    three.lan.link(3, 'down')
    three.signal(3, signal.SIGINT)
    three.nodes[3].process.wait(8)
    three.nodes[3].end = 'leave'
    three.signal(1, signal.SIGINT)
    three.nodes[1].end = 'leave'
    three.nodes[1].process.wait(8)


# ---- connections ----

def test_reset_storm(mesh):
    """Every connection through the proxy is reset twenty times a second for three seconds."""
    four = mesh(4, 8, proxied=[1, 2, 3, 4])
    for _ in range(60):
        four.proxy.tell('do 0 0 reset')
        time.sleep(.05)
    assert four.proxy.stats()['resets'] > 20
    finish(four)


@pytest.mark.parametrize('what', ['oversize', 'garbage', 'message', 'truncate'])
def test_bytes_in_between(mesh, what):
    """Wrecks of the protocol on connections of its own: libzmq may give a connection up for good, we dial anew."""
    four = mesh(4, 8, proxied=[1, 2, 3, 4])
    for way in 'up', 'down':
        four.proxy.tell(f'do 0 0 {what} {way} 1000')
        time.sleep(1)
    assert four.proxy.stats()['injected'] >= 12
    counters = finish(four)
    if what == 'message':
        assert total(counters, 'refused_malformed', 'refused_version') > 0, counters


def test_flipped_bit_in_a_delta(mesh):
    """It changes nothing but a counter, and the delta is asked for again."""
    four = mesh(4, 6, proxied=[1, 2, 3, 4], features=5000)
    for _ in range(20):
        four.proxy.tell('do 0 0 flip down 0')
        time.sleep(.1)
    assert four.proxy.stats()['injected'] > 20
    counters = finish(four)
    assert total(counters, 'refused_digest', 'refused_malformed') > 5 and total(counters, 'repaired') > 5, counters


def test_stalled_and_slow_connections(mesh):
    four = mesh(4, 9, proxied=[1, 2, 3, 4], features=20000)
    four.proxy.tell('set 0 1 stall both')
    four.proxy.tell('set 0 2 rate 20000')
    four.proxy.tell('set 0 3 delay 200 100')
    time.sleep(4)
    for rule in '1 stall none', '2 rate 0', '3 delay 0 0':
        four.proxy.tell(f'set 0 {rule}')
    finish(four)


# ---- strangers ----

def frozen_receivers(mesh, i, n):
    """Subscribers that complete the handshake and then never read."""
    for _ in range(n):
        connection = mesh.connect(i, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for piece in strangers.pieces(strangers.SUB + b'\x00\x01\x01'):
            connection.sendall(piece)
            time.sleep(.1)
        yield connection


def test_frozen_receiver(mesh):
    """Twenty who subscribe and never read: queues are bounded, and the others get what is published. On a busy machine some
    of it is repaired; were they starved, nearly all would be."""
    three = mesh(3, 8, features=40000)
    connections = list(frozen_receivers(three, 1, 20))
    life, most = three.nodes[1], 0
    time.sleep(1)
    for _ in range(20):
        most = max(most, life.sample()[1])
        time.sleep(.1)
    counters = finish(three)
    for connection in connections:
        connection.close()
    assert chaos.sanitized() or most < life.own['memory']['bound']
    assert total(counters, 'repaired') < .5 * total(counters, 'applied'), 'somebody else was starved'


@pytest.mark.parametrize('port', [0, 1], ids=['rpc', 'pub'])
def test_http_random_bytes_and_other_versions_on_the_port(mesh, port):
    three = mesh(3, 8)
    threads = [three.talk(1, port, text) for text in strangers.GARBAGE.values()]
    threads += [three.talk(1, port, strangers.noise(seed, 1 + 50 * seed)) for seed in range(60)]
    for thread in threads:
        thread.join(20)
    assert all(life.alive for life in three.lives), three.lives
    counters = finish(three)
    if port == 0:
        assert counters['n1.0']['refused_version'] > 0 and counters['n1.0']['refused_malformed'] > 1, counters


def test_repair_storm(mesh):
    """Six newcomers ask one holder at once for all that was ever published; it goes on training meanwhile."""
    eight = mesh(8, 14, start=False, features=5000)
    eight.wait_running(eight.start_together([1, 2]))
    time.sleep(3)
    late = [eight.start(i, peers=[1]) for i in range(3, 9)]
    before = steps(eight)
    eight.wait_running(late, 12)
    assert steps(eight) > before
    counters = finish(eight, 60)
    assert all(counters[life.label]['repaired'] + counters[life.label]['covered'] > 50 for life in late), counters
