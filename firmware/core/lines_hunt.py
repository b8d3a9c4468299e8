"""Which line of a group an outgoing call takes (L5; B10).

Theory of operation
-------------------
A group says in which order its free lines are tried (`ports.groups`): along the order of the jacks (the default), against it (it avoids
glare where the operator offers calls from the first line on), by turns, or the longest idle one. `reserve` lines stay free for callers
and for emergency calls, which ask without a group and are bound by nothing. Lines that failed within the last minute come last whatever
the order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from firmware.config.schema.ports import LineGroup
from firmware.config.schema.tree import Config


class LineHunt:
    """`idle_since(line)`: engine ms of its last use; `failed(line)`: it failed lately."""

    def __init__(self, config: Config, idle_since: Callable[[str], int], failed: Callable[[str], bool]) -> None:
        self.groups = config.ports.groups
        self._idle_since, self._failed = idle_since, failed
        self._last: dict[str, str] = {}

    def order(self, group: str | None, free: Sequence[str]) -> list[str]:
        """The free lines of a group (in jack order) that a call may take, best first."""
        rule = self.groups.get(group, LineGroup()) if group is not None else LineGroup()
        if group is not None and rule.reserve:
            may = len(free) - rule.reserve
            if may <= 0:
                return []
        else:
            may = len(free)
        return sorted(self._sorted(group or "", rule, list(free)), key=self._failed)[:may]

    def _sorted(self, group: str, rule: LineGroup, free: list[str]) -> list[str]:
        if rule.order == "longest-idle":
            return sorted(free, key=self._idle_since)
        if rule.order == "round-robin":
            last = _number(self._last.get(group, ""))
            return sorted(free, key=lambda line: (_number(line) <= last, _number(line)))
        return free[::-1] if rule.order == "last-first" else free

    def taken(self, group: str, line: str) -> None:
        """A call took this line."""
        self._last[group] = line


def _number(line: str) -> int:
    jack = line.rpartition("/")[2]
    return int(jack) if jack.isdigit() else 0
