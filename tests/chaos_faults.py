"""Fault plans (tools/FAULTS.md) on real processes with links: what `hogmesh run` cannot do, the harness can.

Latency, which has to be `const:`, and bandwidth are the proxy's, so all nodes stand behind it; drop, duplicate and reorder of single
messages, and clocks, are the simulator's alone and refused here.
"""
import json
import re

from chaos_plan import Fault

UNITS = {'us': 1e-6, 'ms': 1e-3, 's': 1, 'm': 60, 'h': 3600}
SIZES = {'': 1, 'k': 1e3, 'M': 1e6, 'G': 1e9, 'ki': 1024, 'Mi': 1 << 20, 'Gi': 1 << 30}
FOREVER = 1e9


class Unfit(Exception):
    """A plan that cannot be carried out here."""


def duration(text):
    match = re.fullmatch(r'([\d.]+)(us|ms|s|m|h)', text)
    if not match and text != '0':
        raise Unfit(f'"{text}" is no duration; such as "1.5s"')
    return float(match[1]) * UNITS[match[2]] if match else 0.


def rate(value):
    match = re.fullmatch(r'([\d.]+)([kMG]i?)?B?', str(value))
    if not match:
        raise Unfit(f'"{value}" is no rate; such as "10MB"')
    return int(float(match[1]) * SIZES[match[2] or ''])


def nodes(value, n):
    """Numbers of the plan, from 0 on, as ours, from 1 on."""
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, list):
        return sorted({i for one in value for i in nodes(one, n)})
    if value == '*':
        return list(range(1, n + 1))
    found = []
    for part in value.split(','):
        first, _, last = part.partition('-')
        found += range(int(first) + 1, int(last or first) + 2)
    return found


def links(plan, n):
    for entry in plan.get('links', []):
        unfit = {'drop', 'duplicate', 'reorder'} & entry.keys()
        if unfit:
            raise Unfit(f'links: {", ".join(sorted(unfit))}: of single messages, only the simulator can')
        since, until = duration(entry.get('since', '0')), entry.get('until')
        lasts = duration(until) - since if until else FOREVER
        for a in nodes(entry.get('from', '*'), n):
            for b in nodes(entry.get('to', '*'), n):
                if a == b:
                    continue
                if 'latency' in entry:
                    if not entry['latency'].startswith('const:'):
                        raise Unfit(f'links: latency "{entry["latency"]}": only const: can be done on processes')
                    yield Fault(since, 'delay', (a, b), lasts, {'ms': round(1000 * duration(entry['latency'][6:])), 'jitter': 0})
                if 'bandwidth' in entry:
                    yield Fault(since, 'throttle', (a, b), lasts, {'rate': rate(entry['bandwidth'])})


def pairs(event, n):
    """Ordered: packets of the first do not reach the second."""
    some = [(a, b) for a in nodes(event.get('from', '*'), n) for b in nodes(event.get('to', '*'), n) if a != b]
    return sorted({*some, *(() if event.get('one_way') else [(b, a) for a, b in some])})


def events(plan, n, n_first):
    joined = n_first
    for event in sorted(plan.get('events', []), key=lambda event: duration(event['at'])):
        at, what = duration(event['at']), event['do']
        who = tuple(nodes(event['node'], n)) if 'node' in event else ()
        if what == 'pause':
            yield Fault(at, 'stop', who, duration(event['for']) if 'for' in event else FOREVER, {})
        elif what == 'kill':
            yield Fault(at, 'kill', who, duration(event['restart_after']) if 'restart_after' in event else FOREVER, {})
        elif what == 'leave':
            yield Fault(at, 'leave', who, FOREVER, {})
        elif what == 'restart':
            yield Fault(at, 'join', who, 0, {})
        elif what == 'join':
            for _ in range(event.get('count', 1)):
                joined += 1
                yield Fault(at, 'join', (joined,), 0, {})
        elif what == 'resume':
            yield Fault(at, 'resume', who, 0, {})
        elif what == 'cut':
            yield Fault(at, 'silence', (), duration(event['for']) if 'for' in event else FOREVER, {'pairs': pairs(event, n)})
        elif what == 'heal':
            yield Fault(at, 'heal_links', (), 0, {'pairs': pairs(event, n)})
        elif what == 'reset':
            for pair in pairs(event, n):
                yield Fault(at, 'reset', pair, 0, {})
        elif what == 'flip' and event.get('what', 'delta') == 'delta':
            yield Fault(at, 'flip', (0, who[0]), 0, {'way': 'down', 'n': 0})
        else:
            raise Unfit(f'events: {what}: only the simulator can')


def joins(path):
    with open(path) as file:
        return sum(event.get('count', 1) for event in json.load(file).get('events', []) if event.get('do') == 'join')


def read(path, n, n_first):
    """The faults of a plan for n nodes, of which n_first start together. Raises Unfit."""
    with open(path) as file:
        plan = json.load(file)
    if plan.get('nodes'):
        raise Unfit('nodes: speeds and delays of single nodes are those of hogmesh run --faults')
    return sorted([*links(plan, n), *events(plan, n, n_first)], key=lambda fault: fault.at)
