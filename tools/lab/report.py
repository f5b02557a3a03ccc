"""What an experiment leaves: tables, figures, and a page that has all of it, with the commands, in one file."""

import base64
import html
import json
import os
import pathlib
import platform
import re
import subprocess

import claim
import data
import experiment as experiments
import figure
import runs
import table

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; margin: .7em 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }}
td, th {{ border-bottom: 1px solid #ddd; padding: .25em .8em; text-align: left; white-space: nowrap }}
img {{ max-width: 100% }} code, pre {{ font-size: 85% }} pre {{ overflow-x: auto; background: #f6f6f6; padding: .7em }}
.claims td {{ white-space: normal; vertical-align: top }}
.quick {{ background: #fff3cd; padding: .5em 1em }} .about {{ color: #555 }}
</style>
{body}
</html>
"""


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{len(os.sched_getaffinity(0))} cores of {model[1] if model else platform.machine()}, {platform.system()}"


def version(binary):
    out = subprocess.run([binary, "--version"], capture_output=True, text=True)
    return out.stdout.strip() or "hogmesh"


def emphasised(text):
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))


def as_html(text):
    """Of the Markdown that tables are written in: paragraphs, emphasis, tables."""
    out, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([emphasised(cell.strip()) for cell in line.strip("|").split("|")])
            continue
        if rows:
            head, body = rows[0], rows[2:]
            out.append("<table><tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"
                       + "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body) + "</table>")
            rows = []
        if line.strip():
            out.append(f"<p>{emphasised(line)}</p>")
    return "\n".join(out)


def paragraphs(experiment):
    about = experiment.about
    quick = ["**--quick**: fewer settings, seeds and examples than the experiment has; for a look, not for a conclusion."] if experiment.quick else []
    said = [f"Asked: {about['asks']}"] + [f"{head}: {about[key]}" for key, head in (("paper", "Paper"), ("explains", "Why")) if key in about]
    return quick + said


def write(experiment, made, results):
    """All files of DIR but those of the runs; the page is the one to open. `made` is the Runs that brought the results."""
    folder = made.folder
    title = experiment.about["title"]
    unclean = [r for r in results if not r.summary.get("clean")]
    claims = claim.markdown(experiment, results)
    texts, pictures = [], []
    for i, spec in enumerate(experiment.about.get("table", []), 1):
        texts.append(table.markdown(experiment, results, spec))
        table.write_csv(folder / f"table{i}.csv", experiment, results, spec)
    for i, spec in enumerate(experiment.about.get("figure", []), 1):
        figure.draw(folder / f"figure{i}", made, experiment, results, spec)
        pictures.append((f"figure{i}", spec["title"]))
    notes = [f"{len(results)} runs on {made.about_data}; {version(made.binary)} (build {made.version}); {machine()}; "
             f"{sum({str(r.folder): r.cpu for r in results}.values()):.0f} seconds of processor time."]
    if unclean:
        notes.append(f"{len(unclean)} runs did not end clean, as runs that diverge do: "
                     + "; ".join(f"{r.run.setting.name()}, seed {r.run.seed}" for r in unclean[:20]) + ("; ..." if len(unclean) > 20 else "") + ".")
    commands = [typed(r.command, made) for r in results]
    (folder / "report.md").write_text("\n".join(
        [f"# {title}", "", *(p + "\n" for p in paragraphs(experiment)), *([claims] if claims else []), *texts, *(f"![{alt}]({name}.png)\n" for name, alt in pictures), *notes, ""]))
    (folder / "commands.txt").write_text("\n".join(commands) + "\n")
    body = [f"<h1>{html.escape(title)}</h1>", as_html("\n\n".join(paragraphs(experiment)))]
    if experiment.quick:
        body[1] = body[1].replace("<p>", '<p class="quick">', 1)
    body.append(f'<div class="claims">{as_html(claims)}</div>')
    for name, alt in pictures:
        encoded = base64.b64encode((folder / f"{name}.svg").read_bytes()).decode()
        body.append(f'<p><img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{encoded}"></p>')
    body += [as_html(text) for text in texts] + [f'<p class="about">{html.escape(note)}</p>' for note in notes]
    body.append(f"<details><summary>{len(commands)} commands</summary><pre>{html.escape(chr(10).join(commands))}</pre></details>")
    page = folder / "report.html"
    page.write_text(PAGE.format(title=html.escape(title), body="\n".join(body)))
    return page


def typed(command, made):
    """As one would type it, on this machine or on another."""
    places = {f"{data.given()}/": "$HOGMESH_DATA/", f"{data.cache()}/": "~/.cache/hogmesh/lab/", f"{made.store}/": "lab/runs/"}
    for place, name in places.items():
        command = [name + word.removeprefix(place) if word.startswith(place) else word for word in command]
    return " ".join(command)


def describe(experiment, folder, store):
    """What `lab report DIR` needs to know again."""
    (folder / "experiment.json").write_text(json.dumps({"experiment": experiment.source, "quick": experiment.quick,
                                                        "store": os.path.relpath(store, folder)}) + "\n")


def described(folder):
    return json.loads((pathlib.Path(folder) / "experiment.json").read_text())


def of_folder(folder):
    """(experiment, Runs, results that are there) of a folder that describe() was told of."""
    about = described(folder)
    e = experiments.load(about["experiment"], about["quick"])
    made = runs.Runs(e, runs.binary(), folder, pathlib.Path(folder) / about.get("store", "runs"))
    results = [r for r in map(made.finished, e.runs()) if r]
    if not results:
        raise experiments.Wrong(f"{folder}: no run of this program is there; lab run {about['experiment']}")
    return e, made, results
