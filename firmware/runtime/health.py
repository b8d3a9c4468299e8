"""Signs of life: how the parent judges a heartbeat, and what the system says of a process.

Each process writes the time into its heartbeat word of the ring segment (`RingSegment.beat`) about twice a second of real
time; one whose word is older than the limit is wedged. Real time (not the engine clock) is meant: a wedged engine must be
seen too.
"""

from __future__ import annotations

import os
from pathlib import Path

BEAT_MS = 500


def stale(beat_ns: int, started_ns: int, now_ns: int, limit_ms: int) -> bool:
    """True when neither the last heartbeat nor the start lies within `limit_ms` (all CLOCK_MONOTONIC)."""
    return now_ns - max(beat_ns, started_ns) > limit_ms * 1_000_000


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
