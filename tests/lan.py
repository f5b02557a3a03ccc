"""Hosts for tests: network namespaces on a bridge, each with an address of its own, and links that fail.

Where namespaces may not be made, Loopback gives every host an address 127.0.1.x on this one: what needs links is then
left out, and says so.
"""
import contextlib
import ctypes
import os
import subprocess

NETWORK = '10.91.7'
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def ip(*words, batch=None):
    return subprocess.run(['ip', *map(str, words)], check=True, capture_output=True, text=True, input=batch).stdout


@contextlib.contextmanager
def opened(net):
    """A net while a test lasts, which is skipped where it may not be made."""
    import pytest  # who is no test manages without
    try:
        net.open()
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        yield net
    finally:
        net.close()


def hardware(i):
    return f'02:00:00:00:07:{i:02x}'


class Lan:
    """Hosts 10.91.7.1 to .n on a switch, all in namespaces named after this process; the switch itself is .254."""
    has_links = True

    def __init__(self, n=3):
        self.n, self.name, self.made = n, f'hm{os.getpid()}', []
        self.silenced = set()

    def host(self, i):
        return f'{self.name}-{i}'

    def address(self, i):
        return f'{NETWORK}.{i}'

    @property
    def switch(self):
        return f'{self.name}-s'

    switch_address = f'{NETWORK}.254'

    def prefix(self, i):
        """Words before a command that is to run on host i; None: on the switch."""
        return 'ip', 'netns', 'exec', self.switch if i is None else self.host(i)

    def make(self, name):
        ip('netns', 'add', name)
        self.made.append(name)
        ip('-n', name, 'link', 'set', 'lo', 'up')

    def open(self):
        """Raises RuntimeError where it may not."""
        try:
            self.make(self.switch)
            ip('-n', self.switch, 'link', 'add', 'bridge', 'type', 'bridge')
            ip('-n', self.switch, 'address', 'add', f'{self.switch_address}/24', 'dev', 'bridge')
            ip('-n', self.switch, 'link', 'set', 'bridge', 'up')
            for i in range(1, self.n + 1):
                self.make(self.host(i))
                ip('-n', self.switch, 'link', 'add', f'port{i}', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', self.host(i))
                ip('-n', self.switch, 'link', 'set', f'port{i}', 'master', 'bridge')
                ip('-n', self.switch, 'link', 'set', f'port{i}', 'up')
                ip('-n', self.host(i), 'address', 'add', f'{self.address(i)}/24', 'dev', 'eth0')
                ip('-n', self.host(i), 'link', 'set', 'eth0', 'address', hardware(i), 'up')
                # The table of own addresses comes first; rules that silence somebody have to come before it.
                ip('-n', self.host(i), 'rule', 'add', 'pref', 100, 'lookup', 'local')
                ip('-n', self.host(i), 'rule', 'del', 'pref', 0)
            self.introduce()
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.close()
            text = getattr(error, 'stderr', '') or str(error)
            raise RuntimeError(f'needs the privilege to make network namespaces: {text.strip()}') from None
        return self

    def introduce(self):
        """Everybody's hardware address to everybody: what is asked for lands in one table of the kernel with 1,024 entries,
        too few for 32 hosts that all talk to each other."""
        ip('-n', self.switch, 'link', 'set', 'bridge', 'address', hardware(254))
        known = {self.address(i): hardware(i) for i in range(1, self.n + 1)}
        lines = {address: f'neigh replace {address} lladdr {mac} dev DEV nud permanent' for address, mac in known.items()}
        ip('-n', self.switch, '-batch', '-', batch='\n'.join(lines.values()).replace('DEV', 'bridge') + '\n')
        lines[self.switch_address] = f'neigh replace {self.switch_address} lladdr {hardware(254)} dev DEV nud permanent'
        for i in range(1, self.n + 1):
            text = '\n'.join(line for address, line in lines.items() if address != self.address(i)).replace('DEV', 'eth0')
            ip('-n', self.host(i), '-batch', '-', batch=text + '\n')

    def link(self, i, state):
        ip('-n', self.switch, 'link', 'set', f'port{i}', state)

    def rate(self, i, bytes_a_second):
        """What reaches host i is slowed down to so much; None: no longer."""
        if bytes_a_second is None:
            subprocess.run(['tc', '-n', self.switch, 'qdisc', 'del', 'dev', f'port{i}', 'root'], capture_output=True, check=False)
            return
        subprocess.run(['tc', '-n', self.switch, 'qdisc', 'replace', 'dev', f'port{i}', 'root', 'tbf', 'rate',
                        f'{8 * bytes_a_second}bit', 'burst', '32k', 'latency', '300ms'], check=True, capture_output=True)

    def silence(self, i, j, on):
        """Packets of host i no longer reach host j, without either being told; those of j still reach i."""
        if ((i, j) in self.silenced) == on:
            return
        (self.silenced.add if on else self.silenced.remove)((i, j))
        ip('-n', self.host(j), 'rule', 'add' if on else 'del', 'pref', 10, 'from', f'{self.address(i)}/32', 'blackhole')

    @contextlib.contextmanager
    def on_switch(self):
        """Sockets that this thread makes meanwhile are the switch's."""
        with open('/proc/thread-self/ns/net') as home, open(f'/run/netns/{self.switch}') as there:
            if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), 'setns')
            try:
                yield
            finally:
                libc.setns(home.fileno(), CLONE_NEWNET)

    def close(self):
        for name in self.made:
            subprocess.run(['ip', 'netns', 'delete', name], check=False, capture_output=True)
        self.made = []


class Loopback:
    """The same without namespaces: addresses, and nothing that could fail."""
    has_links = False
    switch_address = '127.0.0.1'

    def __init__(self, n):
        self.n = n

    def address(self, i):
        return f'127.0.{1 + os.getpid() % 250}.{i}'

    def prefix(self, i):
        return ()

    def open(self):
        return self

    @contextlib.contextmanager
    def on_switch(self):
        yield

    def close(self):
        pass
