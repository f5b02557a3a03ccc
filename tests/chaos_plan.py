"""What happens to whom and when: drawn from a seed before anything runs, so that the same seed is the same plan."""
import collections
import random

import strangers

Fault = collections.namedtuple('Fault', 'at kind nodes seconds args')  # nodes: numbers from 1 on; args: a dict

Kind = collections.namedtuple('Kind', 'weight least most needs')

# Seconds that a fault lasts are drawn between least and most, more often short. needs: 'links' or 'proxy'.
KINDS = {
    'stop': Kind(3, .2, 12, None),        # SIGSTOP, SIGCONT
    'kill': Kind(3, .5, 8, None),         # SIGKILL, and a fresh process at the same address after so long
    'leave': Kind(1, .5, 5, None),        # SIGINT, and a fresh process
    'link': Kind(2, .3, 10, 'links'),     # a node's cable out
    'cut': Kind(1, .5, 10, 'links'),      # two groups do not reach each other
    'oneway': Kind(1, .5, 10, 'links'),   # packets of one node do not reach another
    'partial': Kind(1, .5, 10, 'links'),  # two nodes do not reach each other, all others do
    'slow': Kind(1, 2, 10, 'links'),      # a node receives at most 1 MB/s
    'delay': Kind(2, 1, 10, 'proxy'),
    'throttle': Kind(1, 1, 10, 'proxy'),
    'stall': Kind(2, .3, 10, 'proxy'),    # connections stand and carry nothing, one way or both
    'refuse': Kind(1, .5, 6, 'proxy'),
    'reset': Kind(2, 0, 2, 'proxy'),      # a storm of resets
    'garbage': Kind(1, 0, 0, 'proxy'),
    'message': Kind(1, 0, 0, 'proxy'),
    'oversize': Kind(1, 0, 0, 'proxy'),
    'truncate': Kind(1, 0, 0, 'proxy'),
    'flip': Kind(1, 0, 0, 'proxy'),
    'stranger': Kind(3, 0, 0, None),
    'idlers': Kind(1, 1, 10, None),       # many connections that say nothing
}
HEAVY = {'stop', 'kill', 'leave', 'link', 'slow'}  # a node bears one at a time, and the mesh few
NET = {'cut', 'oneway', 'partial'}                 # one at a time


class Calendar:
    """Who is impaired from when to when."""

    def __init__(self):
        self.of = collections.defaultdict(list)

    def free(self, who, begin, end):
        return all(end <= b or begin >= e for b, e in self.of[who])

    def n_busy(self, begin, end, n):
        return sum(not self.free(i, begin, end) for i in range(1, n + 1))

    def take(self, who, begin, end):
        self.of[who].append((begin, end))


def draw_args(rng, kind, n):
    two = tuple(rng.sample(range(1, n + 1), 2))
    way = rng.choice(['up', 'down'])
    if kind == 'cut':
        group = rng.sample(range(1, n + 1), rng.randint(1, max(1, n // 2)))
        return tuple(sorted(group)), {}
    if kind in ('oneway', 'partial'):
        return two, {}
    if kind == 'slow':
        return two[:1], {'rate': 1000000}
    if kind == 'delay':
        return rng.choice([two, (0, two[1])]), {'ms': rng.choice([1, 10, 50, 200]), 'jitter': rng.choice([0, 10, 100])}
    if kind == 'throttle':
        return rng.choice([two, (0, two[1])]), {'rate': rng.choice([20000, 200000, 1000000])}
    if kind == 'stall':
        return rng.choice([two, (0, two[1])]), {'way': rng.choice(['up', 'down', 'both'])}
    if kind in ('refuse', 'reset'):
        return rng.choice([two, (0, two[1])]), {}
    if kind in ('garbage', 'message', 'oversize', 'truncate', 'flip'):
        return rng.choice([two, (0, two[1])]), {'way': way, 'n': rng.randint(1, 3000)}
    if kind == 'stranger':
        return two[:1], {'says': rng.choice([*strangers.GARBAGE, 'noise']), 'port': rng.randint(0, 1)}
    if kind == 'idlers':
        return two[:1], {'n': rng.randint(5, 40)}
    return two[:1], {}


def plan(seed, n, late, seconds, kinds, has, every, longest):
    """Faults from second 1 on, all over by `seconds`. Of n nodes the last `late` come later. One node, drawn, keeps its
    life to the end. has: what this machine can do, of 'links' and 'proxy'; every: seconds between faults, on average."""
    rng = random.Random(seed)
    keeper = rng.randint(1, n - late)
    calendar, faults = Calendar(), []
    for node in range(n - late + 1, n + 1):
        at = rng.uniform(.5, max(1, .6 * seconds))
        calendar.take(node, 0, at + 3)
        faults.append(Fault(at, 'join', (node,), 0, {}))
    names = [name for name in kinds if KINDS[name].needs in (None, *has)]
    at = 1.
    while names:
        at += rng.expovariate(1 / every)
        name = rng.choices(names, [KINDS[name].weight for name in names])[0]
        kind = KINDS[name]
        most = min(kind.most, longest)
        lasts = kind.least + max(0, most - kind.least) * rng.random() ** 2
        nodes, args = draw_args(rng, name, n)
        if at > seconds:
            break
        end = at + lasts
        if end > seconds or (name in ('kill', 'leave') and nodes[0] == keeper):
            continue
        who = nodes[0] if name in HEAVY else 'net' if name in NET else (name, nodes)
        if not calendar.free(who, at, end + 2):
            continue
        if name in HEAVY and calendar.n_busy(at, end, n) >= max(1, (n - 1) // 2):
            continue
        calendar.take(who, at, end + 2)
        faults.append(Fault(at, name, nodes, lasts, args))
    return keeper, sorted(faults, key=lambda fault: fault.at)


def describe(fault):
    args = ' '.join(f'{key} {value}' for key, value in fault.args.items())
    nodes = ' '.join(map(str, fault.nodes))
    return f'{fault.at:7.2f} {fault.kind:9s} {nodes}' + (f' for {fault.seconds:.2f} s' if fault.seconds else '') + (
        f'  {args}' if args else '')
