"""The live table of run and join, on terminals of several sizes and where there is none."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from processes import BINARY, until


class Terminal:
    """A terminal of so many columns and rows: what a program's stderr makes of it, with the few sequences that it may send."""

    def __init__(self, columns, rows):
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.lines, self.row, self.column = [''], 0, 0
        self.rest, self.most_in_a_frame, self.unknown = '', 0, []

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def feed(self, text):
        self.rest += text
        while self.rest:
            match = re.match(r'\x1b\[(\d*)([A-Za-z])', self.rest)
            if match:
                self.rest = self.rest[match.end():]
                n = int(match.group(1) or 1)
                if match.group(2) == 'A':
                    self.row, self.column = max(0, self.row - n), self.column
                elif match.group(2) == 'J':
                    self.lines = self.lines[:self.row] + [self.lines[self.row][:self.column]]
                else:
                    self.unknown.append(match.group())
                continue
            if self.rest[0] == '\x1b':
                return  # the rest of it is on its way
            c, self.rest = self.rest[0], self.rest[1:]
            if c == '\r':
                self.column = 0
            elif c == '\n':
                self.new_line()
            else:
                if self.column == self.columns:
                    self.column = 0
                    self.new_line()
                self.lines[self.row] = self.lines[self.row][:self.column] + c
                self.column += 1

    def new_line(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append('')

    def read(self, seconds=0.):
        end = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self.master], [], [], max(0, min(.05, end - time.monotonic())))
            if ready:
                self.feed(os.read(self.master, 65536).decode(errors='replace'))
            elif time.monotonic() >= end:
                return

    @property
    def text(self):
        return '\n'.join(self.lines)


@pytest.fixture
def on_terminal(tmp_path):
    started = []

    def start(columns, rows, *arguments):
        terminal = Terminal(columns, rows)
        with open(tmp_path / 'out', 'wb') as out:
            process = subprocess.Popen([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=terminal.slave,
                                       cwd=tmp_path, start_new_session=True)
        started.append((process, terminal))
        return process, terminal
    yield start
    for process, terminal in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(terminal.master)
        os.close(terminal.slave)


def look(process, terminal, condition, timeout=30):
    """Reads until the table is as wanted; whatever stands there in between is no wider than the window."""
    def seen():
        terminal.read(.1)
        assert max(map(len, terminal.lines)) < terminal.columns, terminal.text
        return condition(terminal.text)
    return until(seen, timeout, lambda: terminal.text)


COLUMNS = ['state', 'examples', 'examples/s', 'staleness', 'lag', 'repaired', 'MB/s']


@pytest.mark.parametrize('columns, shown', [(100, COLUMNS), (60, ['state', 'examples/s', 'staleness', 'lag', 'MB/s']), (30, ['examples/s', 'lag'])])
def test_run(on_terminal, rows, columns, shown):
    process, terminal = on_terminal(columns, 30, 'run', 'svm', '-n', 2, '--train', rows.train, '--test', rows.test, '--seconds', 4)
    look(process, terminal, lambda text: re.search(r'node0 .*\d', text) and re.search(r'train +\d+ s left', text))
    header = next(line for line in terminal.lines if line.startswith('node '))
    assert header.split()[1:] == shown
    whole = re.compile(r'train( +\d+ s left)?(  [\d.]+( [kMG])?/s)?(  accuracy \d+\.\d\d %)?(  loss \d\.\d{4})?(  cost \d\.\d{4})?(  [\d.]+( [kMG])? examples)?')
    assert whole.fullmatch(terminal.lines[0]), f'half a number is another one: {terminal.lines[0]}'
    if columns == 100:
        look(process, terminal, lambda text: re.search(r'/s  accuracy \d+\.\d+ %  loss [01]\.\d+', text))
    look(process, terminal, lambda text: re.search(r'(?m)^node1 .* \d', text))
    for _ in range(10):
        terminal.read(.1)
        assert terminal.text.count('\nnode ') <= 1, f'a frame was not overwritten:\n{terminal.text}'
    until(lambda: terminal.read(.1) or process.poll() is not None, 30, lambda: terminal.text)
    assert process.returncode == 0 and not terminal.unknown
    assert 'node0' not in terminal.text, f'the last frame is wiped:\n{terminal.text}'


def test_more_nodes_than_rows(on_terminal, small):
    process, terminal = on_terminal(80, 8, 'run', 'svm', '-n', 6, '--train', small.train, '--seconds', 3)
    look(process, terminal, lambda text: re.search(r'and 2 more: 2 train|and 2 more: 1 \w+, 1 \w+', text))
    assert 'node3' in terminal.text and 'node4' not in terminal.text and len(terminal.lines) <= 8
    look(process, terminal, lambda text: process.poll() is not None)
    assert process.returncode == 0


def test_a_window_that_shrinks(on_terminal, small):
    """What a narrower window has broken is wiped as well."""
    process, terminal = on_terminal(100, 30, 'run', 'svm', '-n', 2, '--train', small.train, '--seconds', 4)
    look(process, terminal, lambda text: re.search(r'(?m)^node1 .* \d', text))
    broken = [line[at:at + 40] for line in terminal.lines[:-1] for at in range(0, max(1, len(line)), 40)]
    terminal.lines, terminal.row = broken + [''], len(broken)
    terminal.resize(40, 30)
    until(lambda: terminal.read(.1) or re.search(r'(?m)^node1 ', terminal.text) and max(map(len, terminal.lines)) < 40, 20, lambda: terminal.text)
    assert terminal.text.count('node ') == terminal.text.count('node1') == 1, terminal.text


def test_long_names_in_a_narrow_window(on_terminal, small):
    """A name is not worth all the numbers."""
    process, terminal = on_terminal(40, 24, 'join', 'svm', '--train', small.train, '--expect', 1, '--seconds', 20, '--label', 'a-node-with-a-name-of-31-bytes')
    until(lambda: terminal.read(.1) or re.search(r'(?m)^node +examples/s +lag\na-node-with-a-name-o +[\d.]+ [kMG] +0$', terminal.text), 20, lambda: terminal.text)


def test_join(on_terminal, start, rows):
    """This node and each peer."""
    first = start('join', 'svm', '--train', rows.train, '--expect', 2, '--seconds', 5, '--label', 'anna', '--flush', '50ms')
    process, terminal = on_terminal(90, 24, 'join', 'svm', '--train', rows.train, '--expect', 2, '--label', 'bert', '--peer', first.address())
    look(process, terminal, lambda text: re.search(r'(?m)^bert +here +\S+ k|M', text) and re.search(r'(?m)^anna +live +\S+ [kM] +[\d.]+ [kM] +\d+\.\d', text))
    look(process, terminal, lambda text: process.poll() is not None, 40)
    assert process.returncode == 0 and first.wait().code == 0


@pytest.mark.parametrize('command', ['run', 'join'])
def test_plain_lines_elsewhere(run, rows, command):
    done = run(command, 'svm', *(['-n', 2] if command == 'run' else ['--expect', 1]), '--train', rows.train, '--test', rows.test, '--seconds', 3.5)
    assert done.code == 0 and '\x1b' not in done.err and '\r' not in done.err, done
    lines = [line for line in done.err.splitlines() if line.startswith('train ')]
    assert lines, done
    assert re.match(r'train  \d nodes, \S+( [kMG])? examples \(\S+( [kMG])?/s, \d s left\), accuracy \d+\.\d\d %, loss [01]\.\d+(, cost [01]\.\d+)?, '
                    r'staleness \d+\.\d, lag \d+, repaired \d+(, \d+\.\d\d MB/s)?$', lines[-1]), lines
