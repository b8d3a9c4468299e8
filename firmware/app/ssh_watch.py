"""What the SSH daemon tells: wrong passwords into the audit trail, and a pause after each.

Theory of operation
-------------------
dropbear writes a line for each log-in, with the number of the process that serves the connection. After a wrong password that process is
stopped (SIGSTOP) for a second, twice as long after each further one from the same address, up to `console.wrong_wait_s`: the answer comes
late, as at the serial line. Another connection from there is stopped as it comes, before it can try anything, until the pause of the latest
wrong password is over: who hangs up and calls again has won nothing. A source is an address, of IPv6 the network of 64 bits that a site has
to itself. Nothing is ever locked: nobody waits longer than `console.wrong_wait_s` for the first question, what others try meanwhile makes
that no longer, the right password ends the pauses of its source, and an hour forgives. Other sources and the serial line do not wait.
Only a child of the daemon that is a dropbear itself is ever stopped, whatever a line says. The trail gets `TOLD` wrong ones in a minute,
and how many more there were with the next: a flood pushes nothing else out of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

FORGIVEN_S = 3600.0
TOLD = 30
ADDRESSES = 512
MOST_STOPPED = 64
LINE = re.compile(
    r"^\[(?P<pid>[0-9]{1,10})\] .{0,40}?(?:(?P<came>Child connection)|(?P<right>Password|Pubkey) auth succeeded for .{0,200}?"
    r"|Bad password attempt for '(?P<user>[^']{0,64})'|Login attempt for nonexistent user)"
    r"(?: from (?P<address>[0-9A-Fa-f:.]{2,45}):[0-9]{1,5})?\s*$"
)
Audit = Callable[[str, str, str], None]


def source(address: str) -> str:
    """Whom an address stands for: itself, or the IPv6 network of 64 bits that it is in."""
    with contextlib.suppress(ValueError):
        if ":" in address:
            return str(ip_network((address, 64), strict=False))
    return address


class Pauses:
    """How long each source waits after wrong passwords; the latest `ADDRESSES` of them are remembered."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float, float]] = {}
        """Wrong ones, when the latest came, when its pause ends."""

    def wrong(self, address: str, now: float, most_s: float) -> float:
        """One more; seconds to wait."""
        count, last, _ = self._known.pop(address, (0, now, now))
        count = count + 1 if now - last < FORGIVEN_S else 1
        if len(self._known) >= ADDRESSES:
            del self._known[next(iter(self._known))]
        pause = min(most_s, float(1 << min(count - 1, 20)))
        self._known[address] = (count, now, now + pause)
        return pause

    def left(self, address: str, now: float, most_s: float) -> float:
        """Seconds that a new connection from there waits before it is served; 0 for nobody we know."""
        _, _, until = self._known.get(address, (0, now, now))
        return min(most_s, max(0.0, until - now))

    def right(self, address: str) -> None:
        """Somebody from there is known."""
        self._known.pop(address, None)


class SshWatch:
    """See the theory of operation above. `audit` takes user, where, outcome; `most_s` is the longest pause."""

    def __init__(self, audit: Audit, most_s: Callable[[], float]) -> None:
        self._audit, self._most_s = audit, most_s
        self._pauses = Pauses()
        self._from: dict[int, str] = {}
        """Where the latest connections come from, by process."""
        self._stopped: dict[int, float] = {}
        self._times: deque[float] = deque(maxlen=TOLD)
        self._untold = 0

    def heard(self, text: str, daemon: int, now: float) -> None:
        """A line of the daemon with the process number `daemon`, at `now` (seconds of a steady clock)."""
        found = LINE.match(text)
        if found is None:
            return
        pid = int(found["pid"])
        address = (found["address"] or self._from.get(pid, "?")).removeprefix("::ffff:")
        if found["came"]:
            self._from.pop(pid, None)
            if len(self._from) >= ADDRESSES:
                del self._from[next(iter(self._from))]
            self._from[pid] = address
            self._stop(pid, daemon, now, self._pauses.left(source(address), now, self._most_s()))
            return
        if found["right"]:
            self._pauses.right(source(address))
            return
        self._stop(pid, daemon, now, self._pauses.wrong(source(address), now, self._most_s()))
        if len(self._times) == TOLD and now - self._times[0] < 60:
            self._untold += 1
            return
        self._times.append(now)
        self._audit(found["user"] or "?", f"ssh {address}", "wrong")
        if self._untold:
            self._audit("?", "ssh", f"wrong, {self._untold} times more")
            self._untold = 0

    def _stop(self, pid: int, daemon: int, now: float, pause: float) -> None:
        if pause > 0 and len(self._stopped) < MOST_STOPPED and _is_child(pid, daemon):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped[pid] = now + pause

    def look(self, now: float, *, all_of_them: bool = False) -> None:
        """Let those go on whose pause is over."""
        for pid in [pid for pid, until in self._stopped.items() if all_of_them or now >= until]:
            del self._stopped[pid]
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if _name(pid) == "dropbear":
                    os.kill(pid, signal.SIGCONT)


def _name(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "comm").read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _is_child(pid: int, daemon: int) -> bool:
    """A dropbear that the daemon has started."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return False
    return _name(pid) == "dropbear" and int(fields[1]) == daemon
