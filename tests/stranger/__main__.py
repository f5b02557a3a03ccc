"""python3 -m stranger HOST:PORT ...: a peer in Python, for tests. Its last line is a summary, as JSON."""
import argparse
import json
import sys

import numpy

from . import node as nodes


def publish_now_and_then(flushes, every):
    """Small deltas of no use: what a stranger writes has to be as good as what it reads."""
    state = dict(at=0., left=flushes)

    def training(node, now):
        if state['left'] and now >= state['at']:
            state['at'], state['left'] = now + every, state['left'] - 1
            used = numpy.flatnonzero(node.layout.used)
            where = numpy.sort(numpy.array(node.random.sample(list(used[:5000]), min(300, len(used[:5000])))))
            what = numpy.array([node.random.choice([-70, -3, -2, -1, 1, 2, 3, 1000]) for _ in where])
            node.publish(where, what, 10)
    return training


def say(text):
    print(f'stranger: {text}', file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(prog='stranger')
    parser.add_argument('seeds', nargs='+')
    parser.add_argument('--key')
    parser.add_argument('--label', default='stranger')
    parser.add_argument('--expect', type=int, default=2)
    parser.add_argument('--drop', type=float, default=0., help='part of new deltas that it throws away, to repair them')
    parser.add_argument('--cut', type=float, default=0., help='seconds after which it breaks one of its connections, again and again')
    parser.add_argument('--publish', type=int, default=0, help='deltas of its own')
    parser.add_argument('--insist', action='append', default=[], help='NAME=VALUE of the configuration')
    parser.add_argument('--timeout', type=float, default=60)
    parser.add_argument('--seed', type=int, default=1)
    arguments = parser.parse_args()
    node = nodes.Node(arguments.seeds, arguments.label, arguments.expect, arguments.key, arguments.drop, arguments.seed,
                      dict(word.split('=', 1) for word in arguments.insist), cut=arguments.cut, say=say)
    say(f"others reach this node by --peer {node.rpc.removeprefix('tcp://')}")
    if arguments.publish:
        node.training = publish_now_and_then(arguments.publish, .1)
    try:
        node.run(arguments.timeout)
    except nodes.GivenUp as error:
        say(error)
        return 1
    finally:
        node.close()
    assert node.layout.digest_of_all(node.base) == node.digest()
    print(json.dumps(dict(model_hash=node.model_hash(), digest=f'{node.digest():016x}', steps=node.steps(), streams=len(node.vector), fields=node.fields,
                          published=node.flush_own, counters=node.counters)))
    return 0


sys.exit(main())
