"""Figures of an experiment, as SVG and PNG.

    [[figure]]
    title = "..."
    kind = "curves"                what B scores on the way, a band for the interval over the seeds
    x = "steps"                    or "seconds"; x_unit and x_scale say what is written
    y = "loss"                     a field of the curve's points; y_scale, y_label, y_log, y_min, y_max (what is beyond is cut off)
    only = { delay = ["0 ms"] }    the values of an axis that are looked at; of all kinds
    panels = "workers"             an axis, one panel for each of its values
    lines = "delay"                an axis, one line for each; line_unit is written behind their names

    kind = "intervals"             a figure of each setting with its interval, as [[table]] has it (measure, scale, unit, chance)
    x = "workers", lines = "delay", panels = "parts"

    kind = "scatter"               two measures against each other, a point for each setting with the intervals of both
    x = "currencies.updates.mean"  and measure; lines = "workload" gives colours, along = "delay" joins points; y_log, x_log ("symlog": with 0)

    kind = "distribution"          part of the deltas that were at most so stale when they came, in flushes; lines, panels, x_log

    kind = "law"                   see law.py

    kind = "nodes"                 curves of each node of the first run (flags need "--node-curves"), with a mark where y is first no
    converged = 1e-3               further than this from the point before; panels

    kind = "confusion"             of the classes of images, as which of them they were taken, in %; panels

    kind = "landscape"             loss around the paths of weights (flags need "--trajectory"), from above and in 3-D
    lines = "momentum"             one path for each value, all in one plane; panels have planes of their own
    points = 31                    of the grid, each way
    view = "top"                   or "3d"

Colours are those of Okabe and Ito, which all can tell apart; lines are named where they end.
"""

import json
import math

import matplotlib
import matplotlib.ticker
import numpy

import law
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
MARKERS = "osD^"
GRID = 200


def colour(i):
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


def around(values):
    """Half widths below and above the mean, [2][...]: the 95 % interval; of two only their range, as their interval is wider than any axis."""
    n, mean = len(values), numpy.mean(values, axis=0)
    if n < 3:
        return numpy.array([mean - numpy.min(values, axis=0), numpy.max(values, axis=0) - mean])
    half = stats.quantile(n - 1) * numpy.std(values, axis=0, ddof=1) / math.sqrt(n)
    return numpy.array([half, half])


def note_on_seeds(experiment):
    n = len(experiment.seeds)
    return f"{n} seed{'s' * (n > 1)}" + (", 95 % intervals" if n > 2 else ", their range" if n > 1 else "")


def band(results, spec):
    """x, [runs][x] and what is around their mean, of the curves of some runs, where all of them have points; None: there are none."""
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
    return x * spec.get("x_scale", 1), y, around(y)


LINE, LETTER = 9.5, 5.  # of names, points


def spread(places, top):
    """Heights in ascending order, pushed apart to a line each, and back where they would be above the top."""
    places = list(places)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + LINE)
    if places and places[-1] > top:
        places[-1] = top
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - LINE)
    return places


def name_ends(axes, ends):
    """Names lines at their right ends, pushed apart where names would lie on each other."""
    (low, high), points = axes.get_ylim(), 72 / axes.figure.dpi
    at = []
    for y, x, name, c in ends:
        y = min(max(y, low), high)  # beyond what is shown: at the edge
        left, place = axes.transData.transform((x, y)) * points
        at.append((left, place, x, y, name, c))
    columns = []  # of names that would touch if they stood at one height
    for entry in sorted(at):
        for column in columns:
            if any(entry[0] < left + LETTER * len(name) for left, _, _, _, name, _ in column):
                column.append(entry)
                break
        else:
            columns.append([entry])
    top = axes.transData.transform((0, high))[1] * points if axes.get_xscale() == "linear" else math.inf
    for column in columns:
        column.sort(key=lambda entry: entry[1])
        for (_, at_y, x, y, name, c), place in zip(column, spread([entry[1] for entry in column], top)):
            axes.annotate(name, (x, y), xytext=(5, place - at_y), textcoords="offset points", color=c, fontsize=8, va="center", annotation_clip=False)


def panels_of(experiment, spec):
    return table.positions(experiment, listed(spec.get("panels", [])), spec.get("only"))


def lines_of(experiment, spec):
    return table.positions(experiment, listed(spec.get("lines", [])), spec.get("only"))


def x_label(spec):
    return spec.get("x_label", {"steps": "examples, mesh-wide", "seconds": "seconds of training"}.get(spec.get("x", "steps"), spec.get("x", "")))


def counted(number, unit):
    """ "1 worker", "4 workers"."""
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}".strip()


def curves(experiment, results, spec, axes, where):
    ends, drawn, axes.measured = [], [], []
    for i, line in enumerate(lines_of(experiment, spec)):
        found = band(table.chosen(results, {**where, **line}), spec)
        if found is None:
            continue
        (c, dash), (x, y, half) = colour(i), found
        mean = y.mean(axis=0)
        axes.fill_between(x, mean - half[0], mean + half[1], color=c, alpha=.18, linewidth=0)
        drawn += axes.plot(x, mean, color=c, linestyle=dash, linewidth=1.4)
        ends.append((mean[-1], x[-1], counted(table.label(line), spec.get("line_unit", "")) if line else "", c))
        axes.measured += [y.min(), y.max()]
    if len(ends) > 3 and not spec.get("x_log") and max(x for _, x, _, _ in ends) > 1.1 * min(x for _, x, _, _ in ends):  # names would lie on lines that go on
        for one, (_, _, name, _) in zip(drawn, ends):
            one.set_label(name)
        ends = []
    axes.set_xlabel(x_label(spec))
    return ends


def first_settled(points, y, within):
    """The first of the points whose value is no further than that from the one before; None: there is none."""
    return next((b for a, b in zip(points, points[1:]) if abs(b[y] - a[y]) <= within), None)


def nodes(experiment, results, spec, axes, where):
    """Node by node, of one run, with a mark where each has settled."""
    there = table.chosen(results, where)[:1]
    x, y = spec.get("x", "steps"), spec.get("y", "loss")
    ends, axes.measured = [], []
    files = sorted(file for r in there for file in r.folder.glob("curve-*.jsonl"))
    for i, file in enumerate(files):
        points = [json.loads(line) for line in file.read_text().splitlines()]
        points = [p for p in points if p.get(y) is not None]
        if len(points) < 2:
            continue
        c, dash = colour(i)
        xs = [p[x] * spec.get("x_scale", 1) for p in points]
        axes.plot(xs, [p[y] for p in points], color=c, linestyle=dash, linewidth=1.2)
        settled = first_settled(points, y, spec.get("converged", 0))
        if settled:
            axes.plot(settled[x] * spec.get("x_scale", 1), settled[y], marker="v", color=c, markersize=7, markeredgecolor="white")
        ends.append((points[-1][y], xs[-1], file.stem.removeprefix("curve-"), c))
        axes.measured += [p[y] for p in points]
    axes.set_xlabel(x_label(spec))
    return ends


def confusion(experiment, results, spec, axes, where):
    there = [r for r in table.chosen(results, where) if r.summary.get("report")]
    if not there:
        return []
    counts = numpy.mean([r.summary["report"]["confusion"] for r in there], axis=0)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for i, line in enumerate(shares):
        for j, share in enumerate(line):
            if share >= .5:
                axes.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=7, color="white" if share > 55 else "black")
    axes.set_xticks(range(len(shares)))
    axes.set_yticks(range(len(shares)))
    axes.grid(visible=False)
    axes.set_xlabel("taken as class")
    return []


def intervals(experiment, results, spec, axes, where):
    values = [where_x[spec["x"]] for where_x in table.positions(experiment, [spec["x"]], spec.get("only"))]
    lines, axes.measured = lines_of(experiment, spec), []
    for i, line in enumerate(lines):
        (c, _), name = colour(i), table.label(line) if line else None
        for k, value in enumerate(values):
            there = table.chosen(results, {**where, **line, spec["x"]: value})
            single = [v for v in table.by_seed(there, spec).values() if math.isfinite(v)]
            if not single:
                continue
            x = k + (i - (len(lines) - 1) / 2) * .7 / max(len(lines), 2)
            axes.errorbar(x, numpy.mean(single), around(single)[:, None], color=c, marker="o", markersize=4, capsize=2, linewidth=1.2, label=name)
            axes.plot([x] * len(single), single, ".", color=c, alpha=.35, markersize=3)
            axes.measured += single
            if len(single) >= 5:  # of fewer the quantile is most of it
                axes.measured += [numpy.mean(single) - around(single)[0], numpy.mean(single) + around(single)[1]]
            name = None
    long = sum(map(len, values)) > 45
    axes.set_xticks(range(len(values)), values, rotation=30 if long else 0, ha="right" if long else "center", fontsize=8 if long else None)
    axes.set_xlabel(spec.get("x_label", spec["x"]))
    axes.grid(axis="x", visible=False)
    return []


def crossed(axes, x, y, c, name, marker="o"):
    """A point with the intervals of both of its means."""
    halves = [m.half if math.isfinite(m.half) else 0 for m in (x, y)]
    axes.errorbar(x.mean, y.mean, xerr=halves[0] or None, yerr=halves[1], color=c, marker=marker, markersize=4.5, capsize=1.5, linewidth=.9, label=name)


def scatter(experiment, results, spec, axes, where):
    others = [axis for axis in experiment.axes if axis not in listed(spec.get("lines", [])) and axis not in where]
    for i, line in enumerate(lines_of(experiment, spec)):
        (c, _), named = colour(i), table.label(line) if line else None
        for rest in table.positions(experiment, [axis for axis in others if axis != spec.get("along")]):
            path = []
            for value in experiment.axes[spec["along"]] if "along" in spec else [None]:
                there = table.chosen(results, {**where, **line, **rest, **({spec["along"]: value} if value else {})})
                if not there:
                    continue
                x, y = (table.Cell(there, {**spec, "measure": m, "scale": spec.get(scale, 1)}).mean
                        for m, scale in ((spec["x"], "x_scale"), (spec["measure"], "scale")))
                if math.isfinite(x.mean) and math.isfinite(y.mean):
                    crossed(axes, x, y, c, named, MARKERS[i // len(COLOURS) % len(MARKERS)])
                    path.append((x.mean, y.mean))
                    named = None
            if len(path) > 1:
                axes.plot(*zip(*path), color=c, linewidth=.8, alpha=.5)
    axes.set_xlabel(spec.get("x_label", spec["x"]))
    return []


def distribution(experiment, results, spec, axes, where):
    for i, line in enumerate(lines_of(experiment, spec)):
        shares = [numpy.array(r.summary["staleness"]["histogram"]).T for r in table.chosen(results, {**where, **line})
                  if r.summary.get("staleness", {}).get("histogram")]
        if not shares:
            continue
        (c, dash), x = colour(i), numpy.arange(max(s[0][-1] for s in shares) + 2)
        parts = numpy.array([[s[1][s[0] <= at].sum() / s[1].sum() for at in x] for s in shares])
        half = stats.quantile(len(parts) - 1) * parts.std(axis=0, ddof=1) / math.sqrt(len(parts)) if len(parts) > 1 else 0 * x
        axes.fill_between(x, 100 * (parts.mean(axis=0) - half), 100 * (parts.mean(axis=0) + half), step="post", color=c, alpha=.18, linewidth=0)
        axes.step(x, 100 * parts.mean(axis=0), where="post", color=c, linestyle=dash, linewidth=1.4, label=table.label(line) if line else None)
    axes.set_xlabel("flushes that one side had and the other had not")
    return []


def held_law(experiment, results, spec, axes, where):
    found = [f for f in law.predictions(experiment, results, spec) if all(f[0][axis] == value for axis, value in where.items())]
    lines, seen = lines_of(experiment, spec), set()
    top = 0.
    for values, predicted, measured in found:
        i = next((i for i, line in enumerate(lines) if all(values[axis] == value for axis, value in line.items())), 0)
        seeds = law.finite(predicted, measured)
        if not seeds:
            continue
        p, m = (stats.mean(some[seed] for seed in seeds) for some in (predicted, measured))
        crossed(axes, stats.Mean(p.mean, 0, p.n), m, colour(i)[0], None if i in seen or not lines[i] else table.label(lines[i]))
        seen.add(i)
        top = max(top, p.mean)
    if not spec.get("drop"):
        axes.plot([0, top], [0, top], color="#888888", linewidth=.9, linestyle=(0, (4, 2)), zorder=0)
    k = law.slope(found)
    if k is not None and math.isfinite(k.mean):
        axes.plot([0, top], [0, k.mean * top], color="black", linewidth=.9, zorder=0)
        axes.set_title(f"measured = {k.mean:.3g}" + (f" ± {k.half:.2g}" if math.isfinite(k.half) else "") + " x predicted", fontsize=8.5)
    axes.set_xlim(0, top * 1.05 or 1)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_xlabel(spec.get("x_label", f"predicted: {spec['law']}"))
    return []


def landscape(made, experiment, results, spec, axes, where):
    lines = lines_of(experiment, spec)
    paths = {table.label(line): table.chosen(results, {**where, **line})[:1] for line in lines}
    n = spec.get("points", 31)
    plane = plane_of(made, {name: there[0] for name, there in paths.items() if there}, 11 if experiment.quick else n)
    x, y = numpy.meshgrid(plane.x, plane.y)
    loss = numpy.log10(plane.loss)
    if spec.get("view", "top") == "3d":
        axes.plot_surface(x, y, loss, rstride=1, cstride=1, cmap="Greys", alpha=.55, edgecolor="#8886", linewidth=.3)
        axes.set_zlabel("log10 of the test loss")
        axes.set_box_aspect(None, zoom=.86)  # of the three axes' labels this one is not reckoned with, and would be cut off
    else:
        filled = axes.contourf(x, y, loss, 24, cmap="Greys")
        axes.figure.colorbar(filled, ax=axes, label="log10 of the test loss")
        axes.grid(visible=False)
    for i, (name, path) in enumerate(plane.paths.items()):
        c, dash = colour(i)
        height = [numpy.log10(plane.at(*point)) for point in path] if spec.get("view", "top") == "3d" else []
        axes.plot(*path.T, *([height] if height else []), color=c, linestyle=dash, linewidth=1.4, label=name)
        axes.plot(*path[-1:].T, *([height[-1:]] if height else []), color=c, marker="o", markersize=5)
    axes.set_xlabel(f"component 1: {100 * plane.explained[0]:.1f} % of the variance")
    axes.set_ylabel(f"component 2: {100 * plane.explained[1]:.1f} %")
    if len(paths) > 1:
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
        figure.tight_layout(rect=(0, .07 if kind else .03, 1, 1))
        save(figure, path)


KINDS = {"curves": curves, "intervals": intervals, "nodes": nodes, "confusion": confusion, "scatter": scatter, "distribution": distribution, "law": held_law}


def thousands(x, _):
    return f"{x / 1e6:g}M" if abs(x) >= 1e6 else f"{x / 1e3:g}k" if abs(x) >= 1e4 else f"{x:g}"


def save(figure, path):
    figure.savefig(f"{path}.svg", metadata={"Date": None}, bbox_inches="tight")
    figure.savefig(f"{path}.png", metadata={"Software": None}, dpi=130, bbox_inches="tight")
    plt.close(figure)


def reach(axes, spec):
    """From where to where a panel is drawn: what was measured, since intervals of few seeds dwarf it."""
    measured = [y for y in getattr(axes, "measured", []) if math.isfinite(y)]
    if not measured:
        return axes.get_ylim()
    low, high = min(measured), min(max(measured), spec.get("y_max", math.inf))
    if spec.get("y_log"):
        axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.yaxis.set_major_formatter(thousands)
        return low / 1.1, high * 1.1
    margin = .06 * (high - low) or .1 * abs(high) or 1
    return low - margin, high + margin


def set_heights(panels, spec):
    heights = [reach(axes, spec) for axes in panels]
    if spec.get("share_y", True):
        heights = [(min(low for low, _ in heights), max(high for _, high in heights))] * len(panels)
    for axes, (low, high) in zip(panels, heights):  # what diverges would hide all else
        axes.set_ylim(max(low, spec.get("y_min", low)), min(high, spec.get("y_max", high)))


def draw(path, made, experiment, results, spec):
    """path.svg and path.png. `made` is the Runs that brought the results."""
    results = table.chosen(results, spec.get("only", {}))
    if spec["kind"] == "landscape":
        draw_landscape(path, made, experiment, results, spec)
        return
    with plt.rc_context(STYLE):
        panels = panels_of(experiment, spec)
        columns = 2 if len(panels) == 4 else min(len(panels), 3)
        lines = math.ceil(len(panels) / columns)
        figure, grid = plt.subplots(lines, columns, figsize=(max(4.6 * columns, 5.6), 3.3 * lines + .5), sharey=spec.get("share_y", True), squeeze=False)
        ends = {}
        for axes, where in zip(grid.flat, panels):
            ends[axes] = KINDS[spec["kind"]](experiment, results, spec, axes, where)
            if where:
                said = axes.get_title(loc="left")
                axes.set_title(", ".join(f"{axis}: {value}" for axis, value in where.items()) + (f"; {said}" if said else ""))
            if log := spec.get("x_log"):
                axes.set_xscale("log" if log is True else log)
                axes.xaxis.set_major_formatter(thousands)
            if spec.get("y_log"):
                axes.set_yscale("log")
        set_heights(list(grid.flat)[:len(panels)], spec)  # once all of them have said how far they reach
        for axes in ends:
            if spec["kind"] in ("curves", "nodes") and axes.get_xscale() == "linear":
                axes.xaxis.set_major_formatter(thousands)
        for axes in list(grid.flat)[len(panels):]:
            axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel(spec.get("y_label", spec.get("unit", spec.get("y", ""))))
        note = ("seed 1" if spec["kind"] == "nodes" else note_on_seeds(experiment)) + ("; --quick: fewer settings and shorter runs" if experiment.quick else "")
        figure.suptitle(spec["title"], x=.01, ha="left", fontsize=11)
        figure.text(.01, .005, note, fontsize=7.5, color="#555555")
        room = .075 * max((len(name) for names in ends.values() for _, _, name, _ in names), default=0)  # inches for names behind lines
        figure.tight_layout(rect=(0, .02, 1 - room / figure.get_figwidth(), 1), w_pad=1.08 + 8 * room)
        named = {}
        for axes in grid.flat:  # not all panels have all
            for handle, label in zip(*axes.get_legend_handles_labels()):
                named.setdefault(label, handle)
        about = {"fontsize": 8, "title": ", ".join(listed(spec.get("lines", []))), "title_fontsize": 8}
        if len(named) > 4:  # they would hide what they explain
            figure.legend(named.values(), named, loc="center left", bbox_to_anchor=(1, .5), **about)
        elif named:
            grid.flat[0].legend(named.values(), named, **about)
        for axes, names in ends.items():
            name_ends(axes, names)
        save(figure, path)
