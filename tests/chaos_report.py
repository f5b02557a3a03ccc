"""What a campaign leaves behind: report.md for people, log.jsonl for programs, plot.png where matplotlib is installed."""
import json

INTERESTING = ('repaired', 'covered', 'duplicates', 'redials', 'peers_gone', 'refused_malformed', 'refused_fingerprint',
               'refused_version', 'refused_digest', 'refused_overflow', 'refused_hello', 'nohaves')


def write(campaign, folder):
    with open(folder / 'log.jsonl', 'w') as file:
        for line in campaign.log:
            file.write(json.dumps(line) + '\n')
    plotted = plot(campaign, folder / 'plot.png')
    (folder / 'report.md').write_text('\n'.join([*head(campaign), *table(campaign), *totals(campaign), *happenings(campaign),
                                                 '', plotted, '']))


def head(campaign):
    o, lives = campaign.o, campaign.mesh.lives
    faults = [line for line in campaign.log if line['what'] in o.kinds.split(',')]
    yield f'# Chaos: {o.nodes} nodes, {o.seconds:.0f} s, seed {o.seed}'
    yield ''
    yield f'`{o.command()}`'
    yield ''
    yield f'- {len(faults)} faults of {len({fault["what"] for fault in faults})} kinds, {len(lives)} lives'
    yield f'- network: {"namespaces" if campaign.mesh.lan.has_links else "loopback, without links that fail"}; '\
          f'{len(campaign.mesh.proxied)} nodes behind the proxy'
    yield f'- {campaign.mesh.watch.n_beats} beats compared'
    yield f'- **{len(campaign.violations)} violations**'
    yield from (f'  - {text}' for text in campaign.violations)
    yield ''


def table(campaign):
    """Memory and descriptors: of what a life had most, and by halves of its time."""
    yield '| life | end | seconds | memory most, MB | bound, MB | 2nd and 4th quarter, MB | descriptors most | last | steps | published | hash |'
    yield '|---|---|---|---|---|---|---|---|---|---|---|'
    for life in campaign.mesh.lives:
        own = life.own or {}
        rss = [sample[1] for sample in life.samples] or [0]
        part = max(1, len(rss) // 4)
        halves = [max(rss[part:2 * part] or [0]) / 1e6, max(rss[-part:]) / 1e6]
        bound = own.get('memory', {}).get('bound', 0) / 1e6
        yield (f'| {life.label} | {life.end or own.get("ended", "?")} | {life.samples[-1][0] if life.samples else 0:.0f} '
               f'| {life.rss / 1e6:.1f} | {bound:.1f} | {halves[0]:.1f}, {halves[1]:.1f} | {life.fds} '
               f'| {life.samples[-1][2] if life.samples else 0} | {own.get("steps", "")} | {own.get("own_seq", "")} '
               f'| {(own.get("hash") or "")[:12]} |')
    yield ''


def totals(campaign):
    ended = [life.own for life in campaign.mesh.lives if life.own]
    yield '| counter | sum over lives that told |'
    yield '|---|---|'
    for name in INTERESTING:
        yield f'| {name} | {sum(own["counters"].get(name, 0) for own in ended)} |'
    yield ''


def happenings(campaign):
    yield '```'
    for line in campaign.log:
        if line['what'] != 'sample':
            rest = ' '.join(f'{key}={value}' for key, value in line.items() if key not in ('t', 'what'))
            yield f'{line["t"]:8.2f} {line["what"]} {rest}'
    yield '```'


def series(campaign):
    """Of each life: times, memory, descriptors, steps mesh-wide, lag."""
    of = {}
    for line in campaign.log:
        for label, row in line.get('lives', {}).items():
            one = of.setdefault(label, ([], [], [], [], []))
            for values, value in zip(one, (line['t'], row[1] / 1e6, row[2], row[5], row[6])):
                values.append(value)
    return of


def throughput(campaign):
    """Steps a second of the whole mesh, between samples."""
    times, rates, last = [], [], None
    for line in campaign.log:
        steps = max((row[5] for row in line.get('lives', {}).values()), default=0)
        if not steps:
            continue
        if last and line['t'] > last[0]:
            times.append(line['t'])
            rates.append(max(0, steps - last[1]) / (line['t'] - last[0]) / 1e6)
        last = line['t'], steps
    return times, rates


def plot(campaign, path):
    try:
        import matplotlib
        matplotlib.use('Agg')
        from matplotlib import pyplot
    except ImportError:
        return 'No plot: matplotlib is not installed (apt-get install python3-matplotlib).'
    figure, axes = pyplot.subplots(4, 1, sharex=True, figsize=(14, 12))
    of = series(campaign)
    axes[0].plot(*throughput(campaign), linewidth=1)
    for times, memory, descriptors, _, lag in of.values():
        axes[1].plot(times, lag, linewidth=.8)
        axes[2].plot(times, memory, linewidth=.8)
        axes[3].plot(times, descriptors, linewidth=.8)
    for axis, name in zip(axes, ('million steps/s', 'lag, flushes', 'own memory, MB', 'descriptors')):
        axis.set_ylabel(name)
    axes[1].set_yscale('symlog')
    colours = {kind: f'C{i % 10}' for i, kind in enumerate(campaign.o.kinds.split(','))}
    for line in campaign.log:
        if line['what'] in colours:
            for axis in axes:
                axis.axvspan(line['t'], line['t'] + max(line['seconds'], campaign.o.seconds / 500), alpha=.12,
                             color=colours[line['what']], linewidth=0)
            axes[0].text(line['t'], axes[0].get_ylim()[1], line['what'], rotation=90, fontsize=5, va='top')
    axes[-1].set_xlabel('seconds')
    figure.suptitle(campaign.o.command(), fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return '![throughput, lag, memory, descriptors; faults shaded](plot.png)'
