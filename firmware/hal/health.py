"""Health of a line chip: what is wrong, what is done about it, how often, and when to call for a person (L3).

Theory of operation
-------------------
`Keeper` watches one port. Each `poll` looks at the chip (`check`, read-only) when a look is due and decides by a table:
* a fault counts when it was seen `confirm` times in a row (a flipped bit is not a fault, it is counted);
* *garbage* (all ones, all zeros, bits that cannot be) is a matter of the wire: the chip is left alone until its reads are sane again, and
  only then looked at for what it lost; writing to a chip that cannot be read would be blind. Only the framing of its chain is put right
  now and then, because a chip that reset itself may have fallen out of the chain's mode or lost count of the bytes;
* stopped PCM clocks are the cause of lost links and supplies: while they stand nothing is done, and when they are back the chips get
  `grace_ms`; what is wrong after that is brought up, not shut;
* settings that changed are written again, which no call hears; a chip that reset itself or lost its link is brought up alone. Both at
  most `attempts` times with growing pauses; then the port is *out* with an alarm, until `retry`;
* a power alarm is answered by applying the feed again (ringing becomes active), at most ten times with growing pauses; the count falls
  by one every ten seconds; then the line stays open and the alarm stands;
* lost supply switches the port off at once.
Who looks is told by `due`: every `look_ms` while something is wrong, every `patrol_ms` while all is well; `nudge` asks for a look now.
Everything that writes to the chip is done inside `work()`, with which an owner keeps others off the chip meanwhile.
Facts for logs and alarms are `HealthEvent`s; a stand is raised once and cleared once. A time of health as long as `forget_ms` gives all
attempts back. Ports are independent: what happens to one never touches the chip of another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, TypeGuard

import msgspec

from firmware.errors import PbxError
from firmware.hal.api import Fault, FaultKind, Feed, FxsPort, LinePort
from firmware.hal.bus import ChipError, Clock

log = logging.getLogger("branchpbx.hal")

HealthState = Literal["well", "suspect", "unreadable", "recovering", "out"]
Remedy = Literal["wait", "rewrite", "reinitialise", "feed", "shut", "report"]


class Answer(NamedTuple):
    """What a kind of fault is answered with, after how many equal looks."""

    remedy: Remedy
    confirm: int


ANSWERS: dict[FaultKind, Answer] = {
    "clocks": Answer("wait", 1),
    "bus": Answer("wait", 3),
    "all-ones": Answer("wait", 3),
    "all-zeros": Answer("wait", 3),
    "garbage": Answer("wait", 3),
    "busy": Answer("reinitialise", 3),
    "chip-reset": Answer("reinitialise", 3),
    # Off-hook the line feeds the line side: a loop break that tells a hang-up (up to 900 ms) may take the link with it for as long.
    "link": Answer("reinitialise", 20),
    "settings": Answer("rewrite", 3),
    "hook": Answer("reinitialise", 3),
    "power-alarm": Answer("feed", 1),
    "supply": Answer("shut", 2),
    "overload": Answer("report", 1),
}


NEVER = 1 << 62
START = "start"  # kind of the event of a port that did not come up
MIXED_LOOKS = 6  # looks in a row that are bad in changing ways (a chip out of step with the bus) are as good as confirmed


class Limits(msgspec.Struct, frozen=True):
    """Numbers of the policy; times in ms."""

    look_ms: int = 100
    patrol_ms: int = 100
    attempts: int = 5
    first_pause_ms: int = 1000
    longest_pause_ms: int = 60_000
    forget_ms: int = 600_000
    rest_ms: int = 0
    """A port that is out is tried again so often, as if a person had asked; 0: never."""
    feeds: int = 10
    feed_decay_ms: int = 10_000
    longest_feed_ms: int = 5_000
    grace_ms: int = 500


class HealthEvent(msgspec.Struct, frozen=True):
    """A fact for log and alarms. `raised` false: it is over."""

    at: int
    where: str
    kind: str
    raised: bool
    step: str
    text: str
    register: int = -1
    read: int = -1
    attempt: int = 0
    final: bool = False
    """The port is out of service until a person or a restart helps."""


class Keeper:
    """Keeps one port alive."""

    def __init__(
        self, port: LinePort, clock: Clock, limits: Limits = Limits(), *, work: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.port = port
        self._work = work
        self.state: HealthState = "well"
        self.garbage_looks = 0
        self.recoveries = 0
        self._clock = clock
        self._limits = limits
        self._seen: tuple[Remedy, int] = ("wait", 0)
        self._bad_looks = 0
        self._standing: str = ""
        self._attempts = 0
        self._feeds = 0.0
        self._feed_counted = clock.now()
        self._due = clock.now()
        self._well_since = clock.now()
        self._pause = limits.first_pause_ms
        self._unfinished: Fault | None = None
        self._asked: Fault | None = None
        self._clocks_stood = False
        self._grace_until = 0
        self._resync_at = 0
        self._resync_pause = limits.first_pause_ms
        self._events: list[HealthEvent] = []
        self._raised: HealthEvent | None = None

    @property
    def due(self) -> int:
        """When `poll` wants to be called."""
        return NEVER if self.state == "out" and not self._limits.rest_ms else self._due

    def poll(self) -> tuple[HealthEvent, ...]:
        """Look if a look is due, act, and give what happened."""
        now = self._clock.now()
        if self.state == "out" and self._limits.rest_ms and now >= self._due:
            self.retry()
        if now >= self._due and self.state != "out":
            self._due = now + self._limits.look_ms
            faults = self.port.check()
            if not faults and self.state == "well":
                self._due = now + self._limits.patrol_ms
            self._judge(faults, now)
        events, self._events = tuple(self._events), []
        return events

    @property
    def standing(self) -> HealthEvent | None:
        """What is raised now, for whoever comes later."""
        return self._raised

    def nudge(self) -> None:
        """Somebody saw something: look now, unless a pause between attempts runs."""
        if self.state == "well":
            self._due = min(self._due, self._clock.now())

    def postpone(self, ms: int) -> None:
        """Look so much later: the chip has just been told something else."""
        self._due = self._clock.now() + ms

    def put_out(self, error: PbxError) -> None:
        """The port did not come up: out, with the step that failed, until `retry`."""
        register, read = (error.register, error.read) if isinstance(error, ChipError) else (None, None)
        step = error.step if isinstance(error, ChipError) else "start"
        fault = Fault("chip-reset", str(error), -1 if register is None else register, -1 if read is None else read)
        self.state, self._standing, self._unfinished = "out", START, fault
        self._due = self._clock.now() + self._limits.rest_ms
        self._tell(START, raised=True, step=step, text=str(error), fault=fault, final=True)

    def retry(self) -> None:
        """A person says: try again."""
        if self.state == "out":
            self.state, self._asked = "suspect", self._unfinished
        self._attempts, self._feeds, self._pause = 0, 0.0, self._limits.first_pause_ms
        self._seen = (self._seen[0], max(answer.confirm for answer in ANSWERS.values()))
        self._due = self._clock.now()

    def _judge(self, faults: tuple[Fault, ...], now: int) -> None:
        self._feeds = max(0.0, self._feeds - (now - self._feed_counted) / self._limits.feed_decay_ms)
        self._feed_counted = now
        asked, self._asked = self._asked, None
        if not faults and asked is not None:
            faults = (asked,)       # switched off it looks well
        if not faults:
            self._be_well(now)
            return
        fault = faults[0]
        self._well_since = now
        if fault.kind == "clocks":
            self._clocks_stood, self._grace_until = True, now + self._limits.grace_ms
        elif now < self._grace_until:
            return
        answer = ANSWERS[fault.kind]
        if answer.remedy != "wait" and (self._unfinished is not None or (self._clocks_stood and answer.remedy in ("shut", "feed"))):
            # A port that could not be brought up looks like one that lost its settings: what began it counts.
            answer, fault = Answer("reinitialise", 1), self._unfinished or fault
        count = self._seen[1] + 1 if self._seen[0] == answer.remedy else 1
        self._seen = (answer.remedy, count)
        if answer.remedy == "wait":
            self.garbage_looks += 1
        self._bad_looks += 1
        if count < answer.confirm and self._bad_looks < max(answer.confirm, MIXED_LOOKS):
            self.state = "suspect" if self.state == "well" else self.state
            return
        self._raise(fault)
        if answer.remedy == "wait":
            self._wait(fault, now)
        elif answer.remedy == "rewrite":
            self._recover(fault, self.port.restore)
        elif answer.remedy == "reinitialise":
            self._recover(fault, self.port.reinitialise)
        elif answer.remedy == "feed":
            self._feed_again(fault)
        elif answer.remedy == "shut":
            self._give_up(fault, "the port is switched off")
        elif answer.remedy == "report":
            self.state = "suspect"           # the chip itself serves, whatever it was brought up for before

    def _wait(self, fault: Fault, now: int) -> None:
        """The wire: put the framing right, at once and then less and less often."""
        if self.state != "unreadable":
            self._resync_at, self._resync_pause = now, self._limits.first_pause_ms
        self.state = "unreadable"
        if fault.kind == "clocks" or now < self._resync_at:
            return
        self._resync_at = now + self._resync_pause
        self._resync_pause = min(self._resync_pause * 2, self._limits.longest_pause_ms)
        try:
            with self._work():
                self.port.resync()
        except (PbxError, OSError) as error:
            log.info("%s: framing could not be put right: %s", self.port.where, error)

    def _be_well(self, now: int) -> None:
        self.state = "well"
        self._seen = ("wait", 0)
        self._bad_looks = 0
        self._unfinished = None
        self._clocks_stood = False
        if self._standing:
            self._tell(self._standing, raised=False, step="health", text="the chip is well again")
            self._standing = ""
        if now - self._well_since >= self._limits.forget_ms:
            self._attempts, self._pause = 0, self._limits.first_pause_ms

    def _raise(self, fault: Fault) -> None:
        if self._standing == fault.kind:
            return
        if self._standing:
            self._tell(self._standing, raised=False, step="health", text=f"followed by {fault.kind}")
        self._standing = fault.kind
        self._tell(fault.kind, raised=True, step="health", text=fault.text, fault=fault)

    def _recover(self, fault: Fault, remedy: Callable[[], None]) -> None:
        """Bring up this chip alone or write its settings again, with a limit and growing pauses."""
        if self._attempts >= self._limits.attempts:
            self._give_up(fault, f"{self._attempts} attempts did not help")
            return
        self._attempts += 1
        self.state = "recovering"
        self._unfinished = fault
        try:
            with self._work():
                remedy()
        except (PbxError, OSError) as error:
            step = error.step if isinstance(error, ChipError) else "recovery"
            self._tell(fault.kind, raised=True, step=step, text=str(error), fault=fault, attempt=self._attempts)
            if self._attempts >= self._limits.attempts:
                self._give_up(fault, f"{self._attempts} attempts did not help")
                return
            self._due = self._clock.now() + self._pause
            self._pause = min(self._pause * 2, self._limits.longest_pause_ms)
            return
        self.recoveries += 1
        self._unfinished = None
        self._seen = ("reinitialise", 0)
        self._bad_looks = 0
        self._tell(
            "recovered", raised=True, step="recovery", text=f"brought up again after: {fault.text}", fault=fault, attempt=self._attempts
        )
        # A chip that loses itself again and again is looked at less and less often, too.
        self._due = self._clock.now() + self._limits.look_ms
        self._pause = min(self._pause * 2, self._limits.longest_pause_ms)

    def _feed_again(self, fault: Fault) -> None:
        """Ringing becomes active, another feed is applied again; too often: the line stays open."""
        port = self.port
        if not is_feed_port(port):
            return
        if self._feeds + 1 > self._limits.feeds:
            self._give_up(fault, "too many power alarms, the line stays open")
            return
        self._feeds += 1
        self.state = "recovering"
        # A wire that still touches earth heats the transistors at each try: longer and longer between them.
        self._due = self._clock.now() + min(self._limits.look_ms * 2 ** max(0, round(self._feeds) - 1), self._limits.longest_feed_ms)
        feed = Feed.ACTIVE if port.feed == Feed.RINGING else port.feed
        try:
            with self._work():
                port.clear_alarms()
                port.drive(feed)
        except (PbxError, OSError) as error:
            step = error.step if isinstance(error, ChipError) else "power alarm"
            self._tell(fault.kind, raised=True, step=step, text=str(error), fault=fault, attempt=round(self._feeds))

    def _give_up(self, fault: Fault, why: str) -> None:
        self.state, self._unfinished = "out", fault
        self._due = self._clock.now() + self._limits.rest_ms
        with self._work():
            self.port.power_down()
        self._tell(
            fault.kind, raised=True, step="out of service", text=f"{fault.text}; {why}", fault=fault, attempt=self._attempts, final=True
        )

    def _tell(
        self, kind: str, *, raised: bool, step: str, text: str, fault: Fault | None = None, attempt: int = 0, final: bool = False
    ) -> None:  # fmt: skip
        register, read = (fault.register, fault.read) if fault is not None else (-1, -1)
        event = HealthEvent(self._clock.now(), str(self.port.where), kind, raised, step, text, register, read, attempt, final)
        level = logging.ERROR if final else logging.WARNING if raised and kind != "recovered" else logging.INFO
        log.log(level, "%s, step %r: %s: %s", event.where, step, kind, text)
        if kind != "recovered":
            self._raised = event if raised else None
        self._events.append(event)


def is_feed_port(port: object) -> TypeGuard[FxsPort]:
    """True for a port that feeds a telephone."""
    return hasattr(port, "clear_alarms")
