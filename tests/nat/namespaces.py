"""Network namespaces with cables between them and routers that translate addresses, all gone with the test.

A namespace is a process that sleeps in it; commands enter by its id, so nothing is mounted and no name can be in the way. Needs root or
user namespaces, like all end-to-end tests.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from tests.e2e.appliance import DIE_WITH_TEST, wait_until

CLONE_NEWNET = 0x40000000
_names = itertools.count()
T = TypeVar("T")


class Namespace:
    """One machine of the test's network."""

    def __init__(self, stack: ExitStack, *, forward: bool = False) -> None:
        self._process = subprocess.Popen([*DIE_WITH_TEST, "unshare", "--net", "sleep", "600"], stdin=subprocess.DEVNULL)
        stack.callback(self._process.wait, 5)
        stack.callback(self._process.kill)
        own, its = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{self._process.pid}/ns/net")
        wait_until(lambda: its.readlink() != own, "a network namespace")
        self.prefix = ("nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--")
        self.run("ip", "link", "set", "lo", "up")
        if forward:
            self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, *command: str, text: str = "") -> str:
        """Run a command there to its end; what it wrote."""
        done = subprocess.run([*self.prefix, *command], input=text, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in a thread that is there: sockets made so stay there."""

        def enter() -> T:
            descriptor = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(descriptor)
            return work()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(enter).result(15)

    def cable(self, other: Namespace, address: str, far: str, *, device: str = "", far_device: str = "") -> None:
        """A cable to another machine, with addresses (a.b.c.d/len; "" for none) at both ends."""
        number = next(_names)
        mine, theirs = device or f"v{number}a", far_device or f"v{number}b"
        self.run("ip", "link", "add", mine, "type", "veth", "peer", "name", theirs, "netns", str(other.pid))
        for side, name, own in ((self, mine, address), (other, theirs, far)):
            if own:
                side.run("ip", "addr", "add", own, "dev", name, *(("nodad",) if ":" in own else ()))
            side.run("ip", "link", "set", name, "up")

    def route(self, via: str, destination: str = "default") -> None:
        self.run("ip", *(("-6",) if ":" in via else ()), "route", "add", destination, "via", via)

    def nft(self, rules: str) -> None:
        """Load packet filter rules."""
        self.run("nft", "-f", "-", text=rules)


class Switch(Namespace):
    """A machine that joins cables into one network."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self._ports = 0
        self.run("ip", "link", "add", "bridge", "type", "bridge")
        self.run("ip", "link", "set", "bridge", "up")

    def plug(self, machine: Namespace, *addresses: str, device: str = "") -> None:
        """Connect a machine with its address in this network (a.b.c.d/len), or several."""
        self._ports += 1
        port, name = f"port{self._ports}", device or f"e{next(_names)}"
        machine.cable(self, addresses[0], "", device=name, far_device=port)
        for more in addresses[1:]:
            machine.run("ip", "addr", "add", more, "dev", name, *(("nodad",) if ":" in more else ()))
        self.run("ip", "link", "set", port, "master", "bridge")


def masquerade(device: str) -> str:
    """Rules of a router whose outer side is `device`."""
    return f"table ip nat {{\n chain out {{ type nat hook postrouting priority srcnat; oifname \"{device}\" masquerade; }}\n}}\n"


def forward(outside: str, inside: str, ports: str, *, device: str = "", hairpin: bool = False) -> str:
    """Rules that send what reaches `outside` on these UDP and TCP ports to `inside`; `hairpin`: for those within, too."""
    where = "" if hairpin else f'iifname "{device}" '
    rules = "".join(f" {where}ip daddr {outside} {kind} dport {{ {ports} }} dnat to {inside};\n" for kind in ("udp", "tcp"))
    back = f"ip daddr {inside} ct status dnat masquerade;" if hairpin else ""
    return (
        f"table ip ports {{\n chain in {{ type nat hook prerouting priority dstnat;\n{rules} }}\n"
        f" chain back {{ type nat hook postrouting priority srcnat; {back} }}\n}}\n"
    )
