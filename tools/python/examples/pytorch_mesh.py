"""A PyTorch model on a mesh; what the mesh adds to an ordinary training script is marked with #+.

    python3 pytorch_mesh.py --bind 127.0.0.1:7000 --peer 127.0.0.1:7000      the first node
    python3 pytorch_mesh.py --bind 127.0.0.1:7002 --peer 127.0.0.1:7000      and on any machine, others; --expect says how many
"""
import argparse
import json

import torch

import hogmesh  #+

parser = argparse.ArgumentParser()
parser.add_argument('--bind', default='127.0.0.1:7000')  #+
parser.add_argument('--peer', default='127.0.0.1:7000')  #+
parser.add_argument('--expect', type=int, default=2)  #+
parser.add_argument('--steps', type=int, default=200_000, help='examples of all nodes together')
parser.add_argument('--seed', type=int, default=0, help="of this node's data")
arguments = parser.parse_args()

BATCH = 64
torch.set_num_threads(1)
torch.manual_seed(1)  # all nodes begin with the same weights
model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.Tanh(),
                            torch.nn.Linear(32, 2))
draws = torch.Generator().manual_seed(arguments.seed)


def examples(n):
    """Points of the plane, and which arm of a spiral they are near."""
    arm = torch.randint(2, (n,), generator=draws)
    radius = torch.rand(n, generator=draws) * .9 + .1
    angle = 4 * radius + torch.pi * arm + .1 * torch.randn(n, generator=draws)
    return torch.stack((radius * angle.cos(), radius * angle.sin()), 1), arm


def loss_of(n):
    points, arms = examples(n)
    return torch.nn.functional.cross_entropy(model(points), arms)


with torch.no_grad():
    first = loss_of(4096).item()

mesh = hogmesh.Mesh(dict(model.named_parameters()), bind=arguments.bind, peer=arguments.peer,  #+
                    expect=arguments.expect, steps=arguments.steps)  #+
with mesh:  #+
    for name, parameter in model.named_parameters():  #+
        parameter.data = torch.from_numpy(mesh.weights[name])  #+
    optimiser = torch.optim.SGD(model.parameters(), lr=.1, momentum=.9)
    for _ in mesh.steps(BATCH):  #+
        optimiser.zero_grad()
        loss_of(BATCH).backward()
        optimiser.step()

with torch.no_grad():
    last = loss_of(4096).item()
print(json.dumps({'first_loss': first, 'last_loss': last, 'hash': mesh.result.hash, 'own_steps': mesh.result.own_steps}))
