"""hogmesh processes for tests: started, watched, ended; what they leave behind is found by their session."""
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get('HOGMESH') or str(ROOT / 'build' / 'tools' / 'hogmesh')


class Hogmesh:
    """One `hogmesh ...` in a session of its own, with stdout and stderr in files."""

    def __init__(self, folder, *arguments, prefix=(), env=None, program=(BINARY,)):
        folder = pathlib.Path(folder)
        n = len(list(folder.glob('process*.out')))
        self.out_path, self.err_path = folder / f'process{n}.out', folder / f'process{n}.err'
        self.command = [*map(str, prefix), *program, *map(str, arguments)]
        self.began = time.monotonic()
        with open(self.out_path, 'wb') as out, open(self.err_path, 'wb') as err:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
                                            env={**os.environ, **(env or {})}, start_new_session=True)
        self.pid = self.process.pid

    @property
    def out(self):
        return self.out_path.read_text(errors='replace')

    @property
    def err(self):
        return self.err_path.read_text(errors='replace')

    @property
    def code(self):
        return self.process.returncode

    def wait(self, timeout=60):
        """Waits for the end; returns self."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'{self} did not end within {timeout} s') from None
        self.seconds = time.monotonic() - self.began
        return self

    def done(self, timeout=60):
        """Waits for the end, which has to be a good one; returns the summary."""
        self.wait(timeout)
        assert self.code == 0, str(self)
        return self.summary

    @property
    def summary(self):
        lines = self.out.splitlines()
        assert lines, f'no summary: {self}'
        return json.loads(lines[-1])

    def children(self):
        """Processes started by it, alive or not yet reaped."""
        return [pid for pid, parent, _, _ in processes() if parent == self.pid]

    def session(self):
        """Who is alive of those that it started, directly or not."""
        return [pid for pid, _, session, state in processes() if session == self.pid and state != 'Z']

    def wait_for(self, pattern, timeout=20):
        """Waits until stderr matches; returns the match."""
        return until(lambda: re.search(pattern, self.err), timeout, lambda: f'{pattern!r} is not said by {self}')

    def address(self, timeout=20):
        """Where it listens."""
        return self.wait_for(r'--peer (\S+)', timeout).group(1)

    def wait_for_training(self, n_children, timeout=30, seconds=.3):
        """Waits until the nodes of a run have used so many seconds, more than loading takes; returns their pids."""
        until(lambda: len(self.children()) == n_children, timeout, lambda: f'{n_children} nodes of {self}')
        children = self.children()
        until(lambda: self.process.poll() is not None or all(cpu_seconds(pid) >= seconds for pid in children), timeout,
              lambda: f'no work in {self}')
        assert self.process.poll() is None, f'over before it was seen at work: {self}'
        return children

    def kill(self):
        """Ends it and all that it started, whatever their state."""
        for pid in {*self.session(), self.pid} if self.process.poll() is None else self.session():
            for number in signal.SIGKILL, signal.SIGCONT:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        self.process.wait(10)

    def __str__(self):
        return f'{" ".join(self.command)}\nexit {self.code}\n{self.err[-3000:]}\n{self.out[-1500:]}'

    __repr__ = __str__


def processes():
    """(pid, parent, session, state) of all."""
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            with open(f'/proc/{entry}/stat') as file:
                rest = file.read().rpartition(')')[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(entry), int(rest[1]), int(rest[3]), rest[0]


def cpu_seconds(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            rest = file.read().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(rest[11]) + int(rest[12])) / os.sysconf('SC_CLK_TCK')


def peak_memory(pid):
    """Most anonymous memory and stack in bytes now: what the process has of its own, without mapped files."""
    with open(f'/proc/{pid}/status') as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(('RssAnon', 'RssShmem')))


def until(condition, timeout, text):
    """Waits for a condition and returns it."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'not within {timeout} s: {text()}')
        time.sleep(.02)


handed_out = set()


def free_port():
    """A port with the next one free too, as a node wants it; never the same one again.

    Below those that the kernel gives to whoever connects: one of these could be taken before the node that it is for begins.
    """
    for _ in range(1000):
        port = random.randrange(20000, 32767, 2)
        if port in handed_out:
            continue
        try:
            for each in port, port + 1:
                with socket.socket() as one:
                    one.bind(('127.0.0.1', each))
        except OSError:
            continue
        handed_out.add(port)
        return port
    raise AssertionError('no free ports')
