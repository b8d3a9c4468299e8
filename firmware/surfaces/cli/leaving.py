"""What breaks a conversation off, without a terminal of this system: the host's tool asks the same questions where there is none."""

from __future__ import annotations


class Stop(Exception):
    """^C was pressed while something ran."""
