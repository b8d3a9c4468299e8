"""The sign of life that the box's watchdog is fed by (L5).

On an appliance a script of the system (`overlay/.../system/watchdog`) makes `run/alive` and feeds the hardware watchdog only while this
file is touched. The parent touches it while call control shows its heartbeat, so both must live: a parent that hangs cannot start call
control again, and a call control that hangs carries no calls. The time in the file is that of the monotonic clock, which the script
compares with the uptime: a step of the wall clock means nothing. Where nobody watches there is no such file and nothing is written.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = "alive"
EVERY_MS = 5000


class Vital:
    """See above. `run`: the folder of the processes."""

    def __init__(self, run: Path) -> None:
        self._file = run / NAME
        self._told: int | None = None

    def keep(self, now_ms: int, core: bool) -> None:
        """Once around the parent: `core` says whether call control lives."""
        if core and (self._told is None or now_ms - self._told >= EVERY_MS):
            self._told = now_ms
            with contextlib.suppress(OSError):               # nobody watches
                os.utime(self._file, ns=(now_ms * 1_000_000, now_ms * 1_000_000))
