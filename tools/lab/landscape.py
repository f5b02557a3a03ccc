"""The loss around the paths that weights take in training, in the plane that holds most of what they move.

The plane is that of the first two principal components of all points of all paths (Li et al., "Visualizing the Loss Landscape of
Neural Nets", 2018). With k points of d weights, k is hundreds and d tens of thousands: components are those of the k x k matrix of
inner products, never of one of d x d.
"""

import dataclasses
import hashlib
import json
import subprocess

import numpy

from experiment import Wrong

MARGIN = .15


@dataclasses.dataclass
class Plane:
    paths: dict     # name: [points][2]
    explained: list  # shares of the variance
    x: numpy.ndarray
    y: numpy.ndarray
    loss: numpy.ndarray  # [len(y)][len(x)]

    def at(self, x, y):
        """The loss at a point, between those of the grid."""
        i, j = (numpy.clip(numpy.interp(v, grid, range(len(grid))), 0, len(grid) - 1.001) for v, grid in ((y, self.y), (x, self.x)))
        a, b = int(i), int(j)
        u, v, f = i - a, j - b, self.loss
        return (1 - u) * ((1 - v) * f[a, b] + v * f[a, b + 1]) + u * ((1 - v) * f[a + 1, b] + v * f[a + 1, b + 1])


def components(points, n=2):
    """Mean, [n][d] directions of length 1, and shares of the variance, of points [k][d]."""
    centre = points.mean(axis=0, dtype="f8")
    x = points.astype("f8") - centre
    values, vectors = numpy.linalg.eigh(x @ x.T)
    order = numpy.argsort(values)[::-1][:n]
    total = values.clip(0).sum()
    directions = (vectors[:, order].T @ x) / numpy.sqrt(values[order].clip(total * 1e-30))[:, None]
    # A direction's sign is anybody's choice: the largest of its numbers is positive.
    signs = numpy.sign(directions[range(n), numpy.abs(directions).argmax(axis=1)])
    return centre, directions * signs[:, None], values[order] / total


def path_of(result):
    files = sorted(result.folder.glob("trajectory-*.npy"))
    if not files:
        raise Wrong(f"{' '.join(result.command)}: a landscape needs \"--trajectory\" among the flags")
    return numpy.load(files[0])


def axis_of(coordinates, n):
    low, high = coordinates.min(), coordinates.max()
    margin = MARGIN * max(high - low, 1e-9)
    return numpy.linspace(low - margin, high + margin, n)


def score(made, result, rows):
    """The losses of rows of weights, in place of a run's model; what was scored before is not scored again."""
    key = hashlib.sha256(made.version.encode() + rows.tobytes()).hexdigest()[:20]
    kept = made.store / f"landscape-{key}.json"
    if kept.exists():
        return numpy.array(json.loads(kept.read_text()))
    file = made.store / f"landscape-{key}.npy"
    numpy.save(file, rows)
    command = [made.binary, "eval", result.run.setting.workload, result.folder, *made.data[result.run.setting.data], "--weights", file, "--quiet"]
    out = subprocess.run([str(x) for x in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    file.unlink()
    if out.returncode:
        raise Wrong(f"{' '.join(map(str, command))}: {out.stderr.decode(errors='replace').strip()}")
    losses = [json.loads(line)["loss"] for line in out.stdout.splitlines()]
    kept.write_text(json.dumps(losses))
    return numpy.array(losses)


def plane_of(made, results, n):
    """The plane of some runs, {name: Result}, with a grid of n x n losses."""
    paths = {name: path_of(result) for name, result in results.items()}
    # Of a run that diverged what is no number is left out.
    paths = {name: path[numpy.isfinite(path).all(axis=1)] for name, path in paths.items()}
    centre, directions, explained = components(numpy.concatenate(list(paths.values())))
    flat = {name: (path - centre) @ directions.T for name, path in paths.items()}
    every = numpy.concatenate(list(flat.values()))
    x, y = axis_of(every[:, 0], n), axis_of(every[:, 1], n)
    rows = numpy.array([centre + a * directions[0] + b * directions[1] for b in y for a in x], dtype="<f4")
    return Plane(flat, list(explained), x, y, score(made, next(iter(results.values())), rows).reshape(n, n))
