"""Results to keep: of every experiment a page of Markdown with its figures, and one page that lists what was found.

    lab publish lab/NAME ... --out DIR      DIR/NAME.md, DIR/NAME-figureN.png, DIR/claims.csv, DIR/README.md

Experiments may be published one after another: claims.csv keeps the verdicts of those that were there before.
"""

import csv
import pathlib
import re
import shutil

import claim
import experiment
import report
import table

PAPERS = {"lenet5": "Delays and momentum, LeNet5 on Fashion-MNIST", "cifar10": "Delay and momentum, CIFAR-10",
          "word2vec": "Staleness of Word2Vec", "rcv1": "SVM on RCV1, in rounds and without", "beyond": "Beyond the papers",
          "cost": "Against the best single thread", "aa": "A setting against itself", "": "Others"}
COLUMNS = ["experiment", "says", "here", "measured", "build"]


def publish(e, made, results, out):
    """One experiment; `results` are those of `made`."""
    out.mkdir(parents=True, exist_ok=True)
    text = (made.folder / "report.md").read_text()
    for figure in sorted(made.folder.glob("figure*.png")):
        shutil.copyfile(figure, out / f"{e.name}-{figure.name}")
    text = re.sub(r"\]\((figure\d+\.png)\)", rf"]({e.name}-\1)", text)
    example = report.typed(results[0].command, made)
    (out / f"{e.name}.md").write_text(f"{text}\nAll of it again: `tools/lab/lab run {e.name}`. One of its runs:\n\n```\n{example}\n```\n")
    lines = [line for line in kept(out) if line["experiment"] != e.name]
    for says, verdict, measured, _ in claim.judged(e, results):
        lines.append(dict(zip(COLUMNS, [e.name, says, verdict, measured, made.version])))
    lines.sort(key=lambda line: line["experiment"])
    with open(out / "claims.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    (out / "README.md").write_text(overview(out, lines))


def kept(out):
    try:
        with open(out / "claims.csv", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def overview(out, claims):
    """What was found, paper by paper."""
    verdicts = [line["here"] for line in claims]
    said = ["# What the laboratory found", "",
            "Means over five seeds and more with 95 % intervals; a verdict is what the interval of the paired differences leaves no doubt about. Each line leads",
            "to the tables and figures of its experiment; [claims.csv](claims.csv) has the same for programs.", "",
            f"Of {len(verdicts)} statements {verdicts.count('holds')} hold, {verdicts.count('does not hold')} do not, "
            f"{verdicts.count('not shown')} are not shown.", ""]
    pages = sorted((page for page in out.glob("*.md") if page.name != "README.md"), key=in_order)
    for prefix, title in PAPERS.items():
        of_paper = [page for page in pages if group(page) == prefix]
        if not of_paper:
            continue
        said += [f"## {title}", ""]
        lines = []
        for page in of_paper:
            link = f"[{page.stem.removeprefix(prefix + '-')}]({page.name})"
            lines += [[link, line["says"], f"**{line['here']}**", line["measured"]] for line in claims if line["experiment"] == page.stem] \
                or [[link, page.read_text().splitlines()[0].lstrip("# "), "", ""]]
        said += [*table.rows_of_markdown(["", "statement", "here", "measured"], lines), ""]
    return "\n".join(said)


def group(page):
    prefix = page.stem.split("-")[0]
    return prefix if prefix in PAPERS else ""


def in_order(page):
    """table2 before table10, tables before figures."""
    kind, number = re.fullmatch(r"(.*?)(\d*)", page.stem).groups()
    return kind.replace("-table", "-a"), int(number or 0)


def of(folder):
    """(experiment, Runs, results) of a folder of `lab run`, with its report written again."""
    e, made, results = report.of_folder(folder)
    if e.quick:
        raise experiment.Wrong(f"{folder}: made with --quick, which is for a look and not for a result")
    if missing := len(e.runs()) - len(results):
        raise experiment.Wrong(f"{folder}: {missing} of {len(e.runs())} runs are missing; lab run {e.name} makes them")
    report.write(e, made, results)
    return e, made, results


def publish_all(folders, out):
    for folder in folders:
        publish(*of(folder), pathlib.Path(out))
