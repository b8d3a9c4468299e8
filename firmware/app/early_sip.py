"""SIP over UDP while media still brings its lines up: telephones register, the rest waits in order (L6).

Theory of operation
-------------------
A start of the appliance takes as long as its line chips need. Registrations need neither media nor lines nor the clock of the engine,
which stands at its beginning until then, so they are answered at once: after a power cut every telephone of the branch asks, and one that
is not heard may try again only after minutes. Whatever else comes (calls, subscriptions, keys) waits here in the order of its coming and
is handled when call control is complete, with the time it waited: an emergency call is late by a moment instead of being refused.
Invariant: at most MOST datagrams wait; UDP may lose what is beyond, and its sender repeats it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from firmware.sip.flow import Address

MOST = 1000

log = logging.getLogger("branchpbx.core")
Deliver = Callable[[bytes, Address, str, Address, int], None]


class EarlySip:
    """`deliver` handles a datagram; `seconds()` is real time."""

    def __init__(self, deliver: Deliver, seconds: Callable[[], float]) -> None:
        self._deliver = deliver
        self._seconds = seconds
        self._waiting: deque[tuple[float, bytes, Address, str, Address, int]] | None = deque()
        self.registered = self.dropped = 0

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int) -> None:
        """A datagram."""
        if self._waiting is None:
            self._deliver(data, source, transport, local, waited_ms)
        elif data.startswith(b"REGISTER "):
            self.registered += 1
            self._deliver(data, source, transport, local, waited_ms)
        elif len(self._waiting) < MOST:
            self._waiting.append((self._seconds(), data, source, transport, local, waited_ms))
        else:
            self.dropped += 1

    def open(self) -> None:
        """Call control is complete: handle what waited, and everything at once from now on."""
        waiting, self._waiting = self._waiting or deque(), None
        if self.registered or waiting:
            facts = self.registered, len(waiting), self.dropped
            log.info("before media was there: %d registrations handled, %d datagrams waited, %d lost", *facts)
        for came, data, source, transport, local, waited_ms in waiting:
            late = waited_ms + round((self._seconds() - came) * 1000)
            try:
                self._deliver(data, source, transport, local, late)
            except Exception:
                log.exception("datagram from %s:%d failed", *source)
