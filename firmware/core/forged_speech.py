"""An alarm while a live call gets many packets that are not genuine under its keys (L5).

Theory of operation
-------------------
Media throws away SRTP packets that fail their check and counts them by call (`PortState.forged`). A few are ordinary: what was under way
while keys changed. Many mean that somebody sends into the call, or that the far end encrypts with other keys than it said: silence in
one direction, of which nothing else tells the reason. While any leg over IP talks, the counts are read every `LOOK_MS`. A leg that got
`MANY` since the last look raises its alarm; it clears by itself once the leg got fewer than `FEW` in each of `CALM` looks, or is over.
What the count came to is logged when the alarm begins and when it ends.
Invariants: nothing is asked while no call lives; memory is that of the legs that live; a count that fell (other keys) begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from firmware.call.model import LegAnswered, LegEnded, LegProgress
from firmware.errors import PbxError
from firmware.media.events import PortState
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

log = logging.getLogger("branchpbx.phones")

LOOK_MS: Final = 10_000
MANY: Final = 100                # two seconds of a stream whose keys do not fit
FEW: Final = 10
CALM: Final = 3
FIRST_RTP: Final = 16


class Asked(Protocol):
    """The part of a future that is used here."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> object: ...


class _Count:
    """What was seen of one leg. `calm`: looks without many; `raised`: its alarm stands."""

    __slots__ = ("calm", "endpoint", "last", "raised", "since")

    def __init__(self, last: int | None) -> None:
        self.last = last                 # None: whatever is found first was there before
        self.since = 0                   # not genuine since the alarm was raised, and what raised it
        self.calm = 0
        self.raised = False
        self.endpoint = ""               # whose leg it is, for the end of the alarm


class ForgedSpeech:
    """See the theory of operation. `ports()` asks media what runs; `endpoint(leg)` names the telephone or trunk of a leg."""

    def __init__(self, ports: Callable[[], Asked], endpoint: Callable[[str], str], alarms: Alarms, clock: Clock, bus: Bus) -> None:
        self._ports = ports
        self._endpoint = endpoint
        self._alarms = alarms
        self._clock = clock
        self._legs: dict[str, _Count] = {}
        self._timer: Timer | None = None
        bus.subscribe(LegProgress, lambda event: self._begun(event.leg, event.port, 0))
        bus.subscribe(LegAnswered, lambda event: self._begun(event.leg, event.port, 0))
        bus.subscribe(LegEnded, lambda event: self._over(event.leg))

    def going_on(self, ports: Iterable[PortState]) -> None:
        """After a restart: legs that media still runs. What they got until now an earlier process has told of."""
        for port in ports:
            if port.tag:
                self._begun(port.tag, port.port, None)

    def _begun(self, leg: str, port: int, last: int | None) -> None:
        if port < FIRST_RTP or leg in self._legs:
            return
        self._legs[leg] = _Count(last)
        if self._timer is None:
            self._timer = self._clock.call_later(LOOK_MS, self._look)

    def _over(self, leg: str) -> None:
        count = self._legs.pop(leg, None)
        if count is not None and count.raised:
            self._end(leg, count)
        if not self._legs and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.call_later(LOOK_MS, self._look)
        try:
            self._ports().add_done_callback(self._seen)
        except PbxError:                 # media has too much to do, or is being replaced: next time
            pass

    def _seen(self, answer: Any) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        for port in answer.result():
            count = self._legs.get(port.tag)
            if count is not None and port.open and port.port >= FIRST_RTP:
                self._compare(port.tag, count, port.forged)

    def _compare(self, leg: str, count: _Count, forged: int) -> None:
        last = count.last if count.last is not None else forged
        fresh = forged - last if forged >= last else forged
        count.last = forged
        if count.raised:
            count.since += fresh
            count.calm = 0 if fresh >= FEW else count.calm + 1
            if count.calm >= CALM:
                self._end(leg, count)
        elif fresh >= MANY:
            count.raised, count.since, count.calm = True, fresh, 0
            count.endpoint = self._endpoint(leg)
            self._tell(leg, count.endpoint, fresh)

    def _tell(self, leg: str, endpoint: str, fresh: int) -> None:
        seconds = LOOK_MS // 1000
        log.warning("leg %s of %s: %d packets in %d s are not genuine under its keys", leg, endpoint, fresh, seconds)
        self._alarms.raise_(
            f"srtp:{leg}",
            f"the call of {endpoint} gets speech that is not encrypted under its keys ({fresh} packets in {seconds} s were thrown away): "
            "somebody sends into it, or the far end uses other keys than it said",
            f"{endpoint} 的通话收到未用约定密钥加密的语音（{seconds} 秒内 {fresh} 个数据包，已丢弃）："
            "有人向通话注入数据，或对端所用密钥与其声明不符",
        )

    def _end(self, leg: str, count: _Count) -> None:
        log.warning("leg %s of %s: %d packets were not genuine while its alarm stood", leg, count.endpoint, count.since)
        count.raised, count.calm = False, 0
        self._alarms.clear(f"srtp:{leg}")
