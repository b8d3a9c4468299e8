"""Heartbeats: a process shows that its loop turns, the parent sees when it stops.

A heartbeat word is a counter that its process raises about once a second of real time. The parent reads all of them; one
that stands still for `limit_ms` while the process lives means a wedged process. Real time (not the engine clock) is meant:
a wedged engine must be seen too.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

BEAT_MS = 500
_WORD = struct.Struct("=Q")


class Heartbeats:
    """Counters shared between the parent and its children: an anonymous memory file, inherited by fork."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._memory = mmap.mmap(-1, max(mmap.PAGESIZE, 8 * len(names)))

    def beat(self, name: str) -> None:
        """Raise the counter of this process."""
        at = 8 * self.names.index(name)
        (count,) = _WORD.unpack_from(self._memory, at)
        _WORD.pack_into(self._memory, at, (count + 1) & 0xFFFF_FFFF_FFFF_FFFF)

    def read(self, name: str) -> int:
        """The counter of one process."""
        count: int = _WORD.unpack_from(self._memory, 8 * self.names.index(name))[0]
        return count


class Watch:
    """Judges one heartbeat: `stale(count, now_ms)` is True once it has not moved for `limit_ms`."""

    def __init__(self, limit_ms: int) -> None:
        self.limit_ms = limit_ms
        self._count = -1
        self._since = 0

    def restart(self, now_ms: int) -> None:
        """The process began anew."""
        self._count = -1
        self._since = now_ms

    def stale(self, count: int, now_ms: int) -> bool:
        """Note a reading."""
        if count != self._count:
            self._count = count
            self._since = now_ms
            return False
        return now_ms - self._since >= self.limit_ms


def memory_kb(pid: int) -> int:
    """Proportional set size of a process in kB, resident size where the kernel does not tell, 0 when it is gone."""
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text("ascii", "replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    return 0


def alive(pid: int) -> bool:
    """True while a process with this id exists and is not a zombie."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OSError:
        return False
    return bool(state) and state[0] != "Z"
