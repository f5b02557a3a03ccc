#!/usr/bin/python3
"""Manual page and shell completions, made of what `hogmesh --help` and `hogmesh COMMAND --help` say, which is one table.

    pages.py HOGMESH man|bash|zsh|fish > FILE
"""
import collections
import re
import subprocess
import sys

Flag = collections.namedtuple('Flag', 'letter name value help')
Command = collections.namedtuple('Command', 'name help examples synopsis notes flags')
FLAG = re.compile(r'  (?:-(\w), )?--([\w-]+)(?: (\S+))? +(\S.*)')


def ask(program, *words):
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


def listed(text, heading):
    """Name and help of the lines of a list."""
    part = text.partition(heading)[2] if heading else text
    part = part.lstrip('\n').partition('\n\n')[0]
    return [tuple(line.split(None, 1)) for line in part.splitlines()]


def command_of(program, name, help_):
    text = ask(program, name, '--help')
    blocks = text.rstrip('\n').split('\n\n')
    i = next(i for i, block in enumerate(blocks) if re.match(rf'hogmesh {name}\b.*\n    \S', block))
    flags = [Flag(*FLAG.fullmatch(line).groups()) for block in blocks[i + 1:] for line in block.splitlines() if line.startswith('  ')]
    return Command(name, help_, blocks[0].splitlines(), blocks[i].splitlines()[0], '\n\n'.join(blocks[1:i]), flags)


def read(program):
    overview = ask(program, '--help')
    examples = overview.split('\n\n')[1]
    commands = [command_of(program, *entry) for entry in listed(overview, examples)]
    exits = ask(program, 'run', '--help').rpartition('Exit codes: ')[2].strip().rstrip('.').split(', ')
    return commands, listed(overview, 'Workloads:'), exits, ask(program, '--version').split()[1]


# The manual page

def roff(text):
    text = text.replace('\\', '\\e').replace('-', '\\-').replace("'", '\\(aq').replace('^', '\\(ha').replace('~', '\\(ti').replace('`', '\\(ga')
    return '\\&' + text if text.startswith('.') else text


def man(commands, workloads, exits, version):
    out = [f'.TH HOGMESH 1 "" "hogmesh {version}" "User Commands"', '.SH NAME',
           'hogmesh \\- trains models on many machines without a coordinator', '.SH SYNOPSIS']
    for command in commands:
        words = command.synopsis.split(' ', 2)
        out += [f'.B hogmesh {words[1]}', roff(' '.join(words[2:])), '.br']
    out[-1:] = ['.SH DESCRIPTION', 'Every node holds the full model, its threads apply their own sparse gradients, and one thread broadcasts',
                'compressed deltas to all peers and applies theirs. Nobody waits for anybody, any node may die, and when training',
                'stops all replicas are bit\\-identical: every node prints the same hash.', '.SS Workloads']
    for name, text in workloads:
        out += ['.TP', f'.B {name}', roff(text)]
    out.append('.SH COMMANDS')
    for command in commands:
        out += [f'.SS hogmesh {command.name}', roff(command.help[0].upper() + command.help[1:]) + '.', '.PP', '.nf']
        out += [roff(line) for line in command.examples] + ['.fi']
        if command.notes:
            out += ['.PP', roff(' '.join(command.notes.split()))]
        for flag in command.flags:
            names = ', '.join(f'\\fB{roff(name)}\\fR' for name in ([f'-{flag.letter}'] if flag.letter else []) + [f'--{flag.name}'])
            out += ['.TP', names + (f' \\fI{roff(flag.value)}\\fR' if flag.value else ''), roff(flag.help)]
    out.append('.SH EXIT STATUS')
    for entry in exits:
        number, _, meaning = entry.partition(' ')
        out += ['.TP', f'.B {number}', roff(meaning)]
    out += ['.SH ENVIRONMENT', '.TP', '.B HOGMESH_SSH', 'how', '.B run \\-\\-hosts', 'reaches other machines, unless', '.B \\-\\-ssh', 'says it.',
            '.TP', '.B XDG_CACHE_HOME', 'where caches of data are kept that cannot lie beside it.',
            '.SH FILES', '.TP', '.I FILE.hmcache', 'what was read of FILE; made anew when FILE changes.',
            '.TP', '.I DIR/model.hm, DIR/summary.json, DIR/curve.jsonl, DIR/LABEL.ckpt', 'what', '.B \\-\\-out', '.I DIR', 'keeps.']
    return '\n'.join(out) + '\n'


# Completions. A value is a word for what may stand there, or alternatives.

def kind(value):
    if value is None:
        return None
    if re.match(r'(FILE|PATH)', value):
        return 'file'
    if value == 'DIR':
        return 'folder'
    words = [word for word in value.split('|') if re.fullmatch('[a-z][a-z0-9-]*', word)]
    return words if len(words) > 1 else 'other'


def merged(flags):
    """Flags of one name (the table may have several) once."""
    return list({flag.name: flag for flag in reversed(flags)}.values())[::-1]


def words_of(command):
    return [f'--{flag.name}' for flag in merged(command.flags)] + ['--help']


def bash(commands, workloads, _exits, _version):
    names = ' '.join(name for name, _ in workloads)
    out = ['# bash completion for hogmesh, made by tools/pages.py of what --help says', '', '_hogmesh()', '{',
           '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} flags= values= workload=',
           '    COMPREPLY=()', '    if ((COMP_CWORD == 1)); then',
           f'        COMPREPLY=($(compgen -W "{" ".join(c.name for c in commands)} --help --version" -- "$word"))', '        return', '    fi',
           '    case $command in']
    for command in commands:
        takes = ' WORKLOAD ' in command.synopsis + ' '
        out.append(f'    {command.name})')
        if takes:
            out.append(f'        workload="{names}"')
        out.append(f'        flags="{" ".join(words_of(command))}"')
        out.append('        case $before in')
        groups = collections.defaultdict(list)
        for flag in merged(command.flags):
            k = kind(flag.value)
            patterns = [f'--{flag.name}'] + ([f'-{flag.letter}'] if flag.letter else [])
            if k:
                groups[' '.join(k) if isinstance(k, list) else f'@{k}'] += patterns
        for values, patterns in groups.items():
            out.append(f'        {" | ".join(patterns)}) values="{values}" ;;')
        out += ['        esac', '        ;;']
    out += ['    esac', '    if [[ $before == -* && -n $values ]]; then', '        case $values in',
            '        @file) COMPREPLY=($(compgen -f -- "$word")) ;;', '        @folder) COMPREPLY=($(compgen -d -- "$word")) ;;',
            '        @other) ;;', '        *) COMPREPLY=($(compgen -W "$values" -- "$word")) ;;', '        esac',
            '    elif [[ $word == -* ]]; then', '        COMPREPLY=($(compgen -W "$flags" -- "$word"))',
            '    elif ((COMP_CWORD == 2)) && [[ -n $workload ]]; then', '        COMPREPLY=($(compgen -W "$workload" -- "$word"))',
            '    else', '        COMPREPLY=($(compgen -f -- "$word"))', '    fi', '}',
            'complete -o filenames -F _hogmesh hogmesh']
    return '\n'.join(out) + '\n'


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def zsh(commands, workloads, _exits, _version):
    out = ['#compdef hogmesh', '# made by tools/pages.py of what --help says', '', '_hogmesh() {', '    local -a commands workloads',
           '    commands=(' + ' '.join(quoted(f'{c.name}:{c.help}') for c in commands) + ')',
           '    workloads=(' + ' '.join(name for name, _ in workloads) + ')',
           '    if ((CURRENT == 2)); then', '        _describe command commands', '        return', '    fi',
           '    local command=$words[2]', '    shift words', '    ((CURRENT--))', '    case $command in']
    for command in commands:
        out.append(f'    {command.name})')
        out.append('        _arguments \\')
        for flag in merged(command.flags):
            k = kind(flag.value)
            text = flag.help.replace('[', '(').replace(']', ')').replace(':', ' -')
            action = {'file': ':file:_files', 'folder': ':folder:_files -/', 'other': ':value: ', None: ''}.get(k if not isinstance(k, list) else '', '')
            if isinstance(k, list):
                action = f':value:({" ".join(k)})'
            out.append('            ' + quoted(f'*--{flag.name}[{text}]{action}') + ' \\')
        first = "'1:workload:(" + ' '.join(name for name, _ in workloads) + ")' " if ' WORKLOAD ' in command.synopsis + ' ' else ''
        out += [f"            {first}'*:file:_files'", '        ;;']
    return '\n'.join(out + ['    esac', '}', '', '_hogmesh "$@"']) + '\n'


def fish(commands, workloads, _exits, _version):
    names = ' '.join(c.name for c in commands)
    out = ['# made by tools/pages.py of what --help says', f'set -l commands {names}']
    for command in commands:
        out.append(f'complete -c hogmesh -f -n "not __fish_seen_subcommand_from $commands" -a {command.name} -d {quoted(command.help)}')
    for command in commands:
        seen = f'-n "__fish_seen_subcommand_from {command.name}"'
        if ' WORKLOAD ' in command.synopsis + ' ':
            out.append(f'complete -c hogmesh {seen} -a {quoted(" ".join(name for name, _ in workloads))}')
        for flag in merged(command.flags):
            k = kind(flag.value)
            short = f' -s {flag.letter}' if flag.letter else ''
            value = '' if k is None else f' -x -a {quoted(" ".join(k))}' if isinstance(k, list) else ' -r -F' if k != 'other' else ' -x'
            out.append(f'complete -c hogmesh {seen} -l {flag.name}{short}{value} -d {quoted(flag.help)}')
    return '\n'.join(out) + '\n'


if __name__ == '__main__':
    sys.stdout.write({'man': man, 'bash': bash, 'zsh': zsh, 'fish': fish}[sys.argv[2]](*read(sys.argv[1])))
