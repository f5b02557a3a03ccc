"""Figures of an experiment, as SVG and PNG.

    [[figure]]
    title = "..."
    kind = "curves"                what B scores on the way, a band for the interval over the seeds
    x = "steps"                    or "seconds"; x_unit and x_scale say what is written
    y = "loss"                     a field of the curve's points; y_scale, y_label
    panels = "workers"             an axis, one panel for each of its values
    lines = "delay"                an axis, one line for each

    kind = "intervals"             a figure of each setting with its interval, as [[table]] has it (measure, scale, unit, chance)
    x = "workers", lines = "delay", panels = "parts"

    kind = "landscape"             loss around the paths of weights (flags need "--trajectory"), from above and in 3-D
    lines = "momentum"             one path for each value, all in one plane; panels have planes of their own
    points = 31                    of the grid, each way
    view = "top"                   or "3d"

Colours are those of Okabe and Ito, which all can tell apart; lines are named where they end.
"""

import math

import matplotlib
import numpy

import stats
import table
from experiment import listed
from landscape import plane_of

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"]
DASHES = ["-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E0E0E0",
         "grid.linewidth": .6, "axes.axisbelow": True, "svg.hashsalt": "hogmesh", "figure.dpi": 110, "legend.frameon": False,
         "axes.titlesize": 9.5, "axes.titlelocation": "left"}
GRID = 200


def colour(i):
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


def band(results, spec):
    """x, mean and half of the interval of the curves of some runs, where all of them have points; None: there are none."""
    x_of, y_of = spec.get("x", "steps"), spec.get("y", "loss")
    curves = []
    for r in results:
        points = [(p[x_of], p[y_of]) for p in r.curve if p.get(y_of) is not None]
        if len(points) > 1:
            curves.append(numpy.array(points).T)
    if not curves:
        return None
    x = numpy.linspace(max(c[0][0] for c in curves), min(c[0][-1] for c in curves), GRID)
    y = numpy.array([numpy.interp(x, *c) for c in curves]) * spec.get("y_scale", 1)
    half = stats.quantile(len(y) - 1) * y.std(axis=0, ddof=1) / math.sqrt(len(y)) if len(y) > 1 else numpy.zeros_like(x)
    return x * spec.get("x_scale", 1), y.mean(axis=0), half


def name_ends(axes, ends):
    """Names lines at their right ends, pushed apart where they would lie on each other."""
    if not ends:
        return
    low, high = axes.get_ylim()
    points = axes.get_window_extent().height * 72 / axes.figure.dpi
    place = -math.inf
    for y, x, name, c in sorted(ends):
        place = max(y, place + (high - low) * .05)
        axes.annotate(name, (x, y), xytext=(4, (place - y) / (high - low) * points), textcoords="offset points", color=c, fontsize=8,
                      va="center", annotation_clip=False)


def panels_of(experiment, spec):
    axis = spec.get("panels")
    return [{axis: value} for value in experiment.axes[axis]] if axis else [{}]


def lines_of(experiment, spec):
    return table.positions(experiment, listed(spec.get("lines", [])))


def curves(experiment, results, spec, axes, where):
    ends = []
    for i, line in enumerate(lines_of(experiment, spec)):
        found = band(table.chosen(results, {**where, **line}), spec)
        if found is None:
            continue
        (c, dash), (x, y, half) = colour(i), found
        axes.fill_between(x, y - half, y + half, color=c, alpha=.18, linewidth=0)
        axes.plot(x, y, color=c, linestyle=dash, linewidth=1.4)
        ends.append((y[-1], x[-1], table.label(line) if line else "", c))
    axes.set_xlabel(spec.get("x_label", {"steps": "examples, mesh-wide", "seconds": "seconds of training"}.get(spec.get("x", "steps"), "")))
    return ends


def intervals(experiment, results, spec, axes, where):
    values, lines = experiment.axes[spec["x"]], lines_of(experiment, spec)
    for i, line in enumerate(lines):
        c, _ = colour(i)
        for k, value in enumerate(values):
            there = table.chosen(results, {**where, **line, spec["x"]: value})
            if not there:
                continue
            cell = table.Cell(there, spec)
            x = k + (i - (len(lines) - 1) / 2) * .7 / max(len(lines), 2)
            if math.isfinite(cell.mean.mean):
                axes.errorbar(x, cell.mean.mean, cell.mean.half if math.isfinite(cell.mean.half) else 0, color=c, marker="o", markersize=4,
                              capsize=2, linewidth=1.2, label=table.label(line) if k == 0 and line else None)
            single = [v for v in cell.values.values() if math.isfinite(v)]
            axes.plot([x] * len(single), single, ".", color=c, alpha=.35, markersize=3)
    axes.set_xticks(range(len(values)), values)
    axes.set_xlabel(spec["x"])
    axes.grid(axis="x", visible=False)
    return []


def landscape(made, experiment, results, spec, axes, where):
    lines = lines_of(experiment, spec)
    paths = {table.label(line) or "all": table.chosen(results, {**where, **line})[:1] for line in lines}
    n = spec.get("points", 31)
    plane = plane_of(made, {name: there[0] for name, there in paths.items() if there}, 11 if experiment.quick else n)
    x, y = numpy.meshgrid(plane.x, plane.y)
    loss = numpy.log10(plane.loss)
    if spec.get("view", "top") == "3d":
        axes.plot_surface(x, y, loss, cmap="Greys", alpha=.55, linewidth=0)
        axes.set_zlabel("log10 of the test loss")
    else:
        filled = axes.contourf(x, y, loss, 24, cmap="Greys")
        axes.figure.colorbar(filled, ax=axes, label="log10 of the test loss")
        axes.grid(visible=False)
    for i, (name, path) in enumerate(plane.paths.items()):
        c, dash = colour(i)
        height = [numpy.log10(plane.at(*point)) for point in path] if spec.get("view", "top") == "3d" else []
        axes.plot(*path.T, *([height] if height else []), color=c, linestyle=dash, linewidth=1.4, label=name)
        axes.plot(*path[-1:].T, *([height[-1:]] if height else []), color=c, marker="o", markersize=5)
    axes.set_xlabel(f"first principal component ({100 * plane.explained[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second ({100 * plane.explained[1]:.0f} %)")
    axes.legend(title=", ".join(listed(spec.get("lines", []))), fontsize=8, title_fontsize=8)


def draw_landscape(path, made, experiment, results, spec):
    with plt.rc_context(STYLE):
        panels = panels_of(experiment, spec)
        kind = {"projection": "3d"} if spec.get("view", "top") == "3d" else {}
        figure, grid = plt.subplots(1, len(panels), figsize=(6.4 * len(panels), 5), squeeze=False, subplot_kw=kind)
        for axes, where in zip(grid.flat, panels):
            landscape(made, experiment, results, spec, axes, where)
            if where:
                axes.set_title(", ".join(f"{axis}: {value}" for axis, value in where.items()))
        figure.suptitle(spec["title"], x=.01, ha="left", fontsize=11)
        figure.text(.01, .005, "seed 1; the plane holds most of what all paths move in; dots: where they end"
                    + ("; --quick: a coarse grid, shorter runs" if experiment.quick else ""), fontsize=7.5, color="#555555")
        figure.tight_layout(rect=(0, .02, 1, 1))
        save(figure, path)


def save(figure, path):
    figure.savefig(f"{path}.svg", metadata={"Date": None})
    figure.savefig(f"{path}.png", metadata={"Software": None}, dpi=130)
    plt.close(figure)


def draw(path, made, experiment, results, spec):
    """path.svg and path.png. `made` is the Runs that brought the results."""
    if spec["kind"] == "landscape":
        draw_landscape(path, made, experiment, results, spec)
        return
    with plt.rc_context(STYLE):
        panels = panels_of(experiment, spec)
        columns = min(len(panels), 3)
        lines = math.ceil(len(panels) / columns)
        figure, grid = plt.subplots(lines, columns, figsize=(max(4.6 * columns, 5.6), 3.3 * lines + .5), sharey=True, squeeze=False)
        ends = {}
        for axes, where in zip(grid.flat, panels):
            ends[axes] = {"curves": curves, "intervals": intervals}[spec["kind"]](experiment, results, spec, axes, where)
            if where:
                axes.set_title(", ".join(f"{axis}: {value}" for axis, value in where.items()))
            if spec.get("y_log"):
                axes.set_yscale("log")
        for axes in list(grid.flat)[len(panels):]:
            axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel(spec.get("y_label", spec.get("unit", spec.get("y", ""))))
        seeds = len(experiment.seeds)
        note = f"{seeds} seed{'s' * (seeds > 1)}" + (", 95 % intervals" if seeds > 1 else "") + ("; --quick: fewer settings and shorter runs" if experiment.quick else "")
        figure.suptitle(spec["title"], x=.01, ha="left", fontsize=11)
        figure.text(.01, .005, note, fontsize=7.5, color="#555555")
        figure.tight_layout(rect=(0, .02, .93 if any(ends.values()) else 1, 1))
        handles, labels = grid.flat[0].get_legend_handles_labels()
        if labels:
            grid.flat[0].legend(handles, labels, fontsize=8, title=", ".join(listed(spec.get("lines", []))), title_fontsize=8)
        for axes, names in ends.items():
            name_ends(axes, names)
        save(figure, path)
