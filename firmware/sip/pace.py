"""How many subscriptions a telephone may ask for in a row (L1).

Theory of operation
-------------------
A telephone that showed its password is never kept off (`guard.py`), and some of them, when a subscription does not go as they expect,
ask again the moment they are answered: thousands of SUBSCRIBEs in a second from one desk, at the expense of everybody's calls (seen
with the module for messages of baresip 1.0.0). Each address and port has a bucket; who has emptied it hears nothing until there is a
token again. Over UDP the telephone then repeats after half a second (RFC 3261 section 17.1.2.2), which is pace enough. Calls,
registrations and everything else of that telephone are not touched.
Invariants: the table is bounded, who was heard of longest ago goes first; a telephone that wakes up with all its keys is let in at once.
"""

from __future__ import annotations

from collections import OrderedDict

from firmware.sip.flow import Address

MOST = 1024


class Pace:
    """Buckets of `burst` that fill at `rate` a second, by source; rate 0: no bound."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate / 1000
        self._burst = burst
        self._buckets: OrderedDict[Address, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, source: Address, now: int) -> bool:
        """Whether one more from this source is let in at engine ms `now`."""
        if not self._rate:
            return True
        left, since = self._buckets.pop(source, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        let = left >= 1
        self._buckets[source] = (left - 1 if let else left, now)
        while len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return let
