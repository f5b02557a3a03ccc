"""Figures of faults: tests/chaos.py --measure NAME [--nodes N] [--flags '...'] prints one JSON object, and what it means.

Times are those of the machine: to be taken when nothing else runs on it.
"""
import collections
import json
import pathlib
import signal
import statistics
import tempfile
import time

import chaos_mesh
import chaos_watch
import processes
import strangers

REJOIN_FEATURES = 14_000_000  # 57 MB of float32


def opened(options, folder, n, seconds, **more):
    train = options.train or chaos_mesh.write_rows(pathlib.Path(folder) / 'train.svm', options.rows, more.pop('features', options.features))
    return chaos_mesh.Mesh(folder, n, train, options.flags.split(), ['--seconds', seconds], net=options.net, **more)


def finish(mesh, result, killed=False):
    mesh.wait_ends(60)
    result['violations'] = chaos_mesh.check_end(mesh.lives, mesh.watch, killed)
    return result


def median(values):
    values = list(values)
    return statistics.median(values) if values else None


def mean(values):
    values = list(values)
    return statistics.fmean(values) if values else None


def ratio(during, before):
    return during / before if during is not None and before else None


# ---- one node of many stands still ----

class Flushes:
    """Every flush that was published, when, and what its origin had applied of the others'."""

    def __init__(self):
        self.of, self.acks = collections.defaultdict(list), collections.defaultdict(list)

    def take(self, at, life, flush, last, payload):
        del last
        if self.of[life] and self.of[life][-1][1] == flush:
            return  # another piece
        self.of[life].append((at, flush))
        for other, have in chaos_watch.read_spans(payload).items():
            newest = self.of[other][-1][1] if self.of[other] else 0
            self.acks[life, other].append((at, have, max(0, newest - have)))

    def intervals(self, life, begin, end):
        times = [at for at, _ in self.of[life] if begin <= at < end]
        return [b - a for a, b in zip(times, times[1:])]

    def lags(self, life, other, begin, end):
        return [lag for at, _, lag in self.acks[life, other] if begin <= at < end]


def sigstop(options):
    """One of N stands still for 5 s: the others' flush intervals and their lag behind each other, and how fast it comes back."""
    n, before, pause, after = options.nodes, 8, 5, 8
    flushes = Flushes()
    with tempfile.TemporaryDirectory() as folder:
        mesh = opened(options, folder, n, before + pause + after + 4, deltas=True, on_delta=flushes.take)
        try:
            mesh.wait_running(mesh.start_together(range(1, n + 1)))
            time.sleep(3)
            begin = time.monotonic()
            time.sleep(before)
            stop = time.monotonic()
            mesh.signal(n, signal.SIGSTOP)
            time.sleep(pause)
            go_on = time.monotonic()
            heads = {life: seen[-1][1] for life, seen in flushes.of.items() if seen}
            mesh.signal(n, signal.SIGCONT)
            time.sleep(after)
            name = {beat.life: beat.label for beat in mesh.watch.beats().values()}
            frozen = next(life for life, label in name.items() if label == f'n{n}.0')
            others = [life for life in name if life != frozen]
            result = {'measure': 'sigstop', 'nodes': n, 'seconds': pause}
            for key, since, until in ('before', begin, stop), ('during', stop, go_on):
                result[f'interval_ms_{key}'] = 1000 * median(x for life in others for x in flushes.intervals(life, since, until))
                result[f'lag_{key}'] = mean(x for a in others for b in others if a != b for x in flushes.lags(a, b, since, until))
            result['interval_ratio'] = ratio(result['interval_ms_during'], result['interval_ms_before'])
            result['catch_up_seconds'] = caught_up(flushes, frozen, others, heads, go_on)
            return finish(mesh, result)
        finally:
            mesh.close()


def caught_up(flushes, frozen, others, heads, since):
    """When a flush of the frozen one says that it had applied all that there was when it went on."""
    times = []
    for other in others:
        times.append(next((at - since for at, have, _ in flushes.acks[frozen, other] if at > since and have >= heads[other]), None))
    return None if None in times else max(times)


# ---- a node dies and comes back ----

def rejoin(options):
    """SIGKILL, and a fresh process at once: seconds until it trains with all that there was, for a model of 57 MB."""
    features = REJOIN_FEATURES if options.features == type(options)().features else options.features
    with tempfile.TemporaryDirectory() as folder:
        mesh = opened(options, folder, 3, 60, features=features)
        try:
            mesh.wait_running(mesh.start_together([1, 2, 3]), 120)
            time.sleep(5)
            mesh.kill(3)
            heads = {life: beat.vector[life].seq for life, beat in mesh.watch.beats().items() if life in beat.vector}
            began = time.monotonic()
            again = mesh.start(3)
            processes.until(lambda: mesh.is_running(again) or not again.alive, 60, lambda: str(again.process))
            result = {'measure': 'rejoin', 'model_bytes': 4 * features, 'joined': again.alive}
            if again.alive:
                beat = mesh.beat(again)
                result['seconds'] = beat.at - began
                result['current'] = all(beat.vector.get(life) and beat.vector[life].seq >= seq for life, seq in heads.items()
                                        if mesh.watch.beats()[life].label != 'n3.0')
            else:
                result['says'] = again.process.err[-500:]
            return finish(mesh, result, killed=True)
        finally:
            mesh.close()


# ---- others ----

def rate(mesh, seconds):
    steps = lambda: max(beat.steps for beat in mesh.watch.beats().values())  # noqa: E731
    first, began = steps(), time.monotonic()
    time.sleep(seconds)
    return (steps() - first) / (time.monotonic() - began)


def slow(options):
    """A receiver at 1 MB/s: the throughput of the mesh, and how far the slow one is behind."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = opened(options, folder, options.nodes, 20)
        try:
            mesh.wait_running(mesh.start_together(range(1, options.nodes + 1)))
            time.sleep(2)
            result = {'measure': 'slow', 'nodes': options.nodes, 'steps_before': rate(mesh, 6)}
            mesh.lan.rate(options.nodes, 1000000)
            result['steps_during'] = rate(mesh, 6)
            result['lag'] = max(beat.lag for beat in mesh.watch.beats().values())
            mesh.lan.rate(options.nodes, None)
            result['ratio'] = ratio(result['steps_during'], result['steps_before'])
            return finish(mesh, result)
        finally:
            mesh.close()


def storm(options):
    """All others ask the first for everything at once: seconds until they train, and what it made meanwhile."""
    n = options.nodes
    with tempfile.TemporaryDirectory() as folder:
        mesh = opened(options, folder, n, 20 + 2 * n)
        try:
            mesh.wait_running(mesh.start_together([1, 2]))
            time.sleep(4)
            result = {'measure': 'storm', 'nodes': n, 'steps_before': rate(mesh, 4)}
            began = time.monotonic()
            late = [mesh.start(i, peers=[1]) for i in range(3, n + 1)]
            mesh.wait_running(late, 60)
            result['seconds'] = time.monotonic() - began
            result['steps_after'] = rate(mesh, 4)
            return finish(mesh, result)
        finally:
            mesh.close()


def knocks(options):
    """Strangers without a pause: the throughput of the mesh with and without."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = opened(options, folder, 3, 20)
        try:
            mesh.wait_running(mesh.start_together([1, 2, 3]))
            time.sleep(2)
            result = {'measure': 'strangers', 'steps_before': rate(mesh, 6)}
            end = time.monotonic() + 6
            first = max(beat.steps for beat in mesh.watch.beats().values())
            result['knocks'] = 0
            while time.monotonic() < end:
                for text in strangers.GARBAGE.values():
                    mesh.talk(1 + result['knocks'] % 3, result['knocks'] % 2, text)
                    result['knocks'] += 1
                    time.sleep(.02)
            result['steps_during'] = (max(beat.steps for beat in mesh.watch.beats().values()) - first) / 6
            result['ratio'] = ratio(result['steps_during'], result['steps_before'])
            return finish(mesh, result)
        finally:
            mesh.close()


MEASURES = {'sigstop': sigstop, 'rejoin': rejoin, 'slow': slow, 'storm': storm, 'strangers': knocks}


def run(name, options):
    if name not in MEASURES:
        print('\n'.join(f'{key:10s} {call.__doc__.strip()}' for key, call in MEASURES.items()))
        return 0 if name == 'list' else 2
    result = MEASURES[name](options)
    print(json.dumps(result))
    return 1 if result['violations'] else 0
