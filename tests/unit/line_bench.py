"""An FXO line and an FXS telephone in virtual time, for the tests of their machines."""

from __future__ import annotations

from typing import Any, Self

from firmware.call.model import Party
from firmware.config.schema.ports import FxoLine, FxsPhone
from firmware.line import callerid
from firmware.line import signals as s
from firmware.line.fxo import Fxo
from firmware.line.fxs import Fxs
from firmware.line.profiles import PROFILES, profile

COUNTRIES = list(PROFILES)


def carried_out(drives: list[tuple[int, int]], actions: list[s.Action], now: int) -> list[tuple[int, int]]:
    """What media makes of drives: each cancels a hold that still runs, and a hold ends by itself."""
    for action in actions:
        if isinstance(action, s.Drive):
            drives = [(at, code) for at, code in drives if at <= now] + [(now, action.code)]
            if action.hold_ms:
                drives.append((now + action.hold_ms, action.then))
    return drives


class Stage:
    """A machine in virtual time: facts at instants, timers run on the way, everything kept."""

    machine: Any
    now: int

    def _begin(self) -> None:
        self.actions: list[s.Action] = []
        self.events: list[s.Event] = []
        self.drives: list[tuple[int, int]] = []              # (instant, hook or feed) as media carries them out
        self.machine.start(self.now)
        self.drain()

    def drain(self) -> None:
        new = self.machine.actions()
        self.drives = carried_out(self.drives, new, self.now)
        self.actions += new
        self.events += self.machine.events()

    def run(self, ms: int) -> Self:
        end = self.now + ms
        while (due := self.machine.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.expire(self.now)
            self.drain()
        self.now = end
        self.machine.expire(self.now)
        self.drain()
        return self

    def fact(self, kind: type[s.Fact], *values: Any) -> Self:
        self.machine.receive(kind(self.now, *values))
        self.drain()
        return self

    def send(self, kind: type[s.Intention], *values: Any, **named: Any) -> Self:
        self.machine.send(kind(self.now, *values, **named))
        self.drain()
        return self


class Bench(Stage):
    """A line in virtual time."""

    def __init__(self, country: str = "CN", **config: Any) -> None:
        self.machine = Fxo(FxoLine(**config), profile(country))
        self.profile = profile(country)
        self.now = 100_000
        self._begin()
        self.run(500).fact(s.Battery, True, 48.0)

    @property
    def state(self) -> str:
        return self.machine.state.state

    def all(self, kind: type[Any]) -> list[Any]:
        return [thing for thing in (*self.actions, *self.events) if type(thing) is kind]

    def one(self, kind: type[Any]) -> Any:
        found = self.all(kind)
        assert len(found) == 1, found
        return found[0]

    def hook(self) -> int:
        return [code for at, code in self.drives if at <= self.now][-1]

    # what lines do

    def ring(self, times: int = 1) -> Bench:
        for _ in range(times):
            for index, ms in enumerate(self.profile.ring_cadence_ms):
                self.fact(s.RingBurst, index % 2 == 0)
                self.run(ms)
        return self

    def burst(self) -> Bench:
        """One ring without the silence behind it."""
        for index, ms in enumerate(self.profile.ring_cadence_ms[:-1]):
            self.fact(s.RingBurst, index % 2 == 0).run(ms)
        return self.fact(s.RingBurst, False)

    def fsk(self, party: Party) -> Bench:
        return self.fact(s.FskMessage, callerid.build_mdmf(party, "07041530", self.profile.caller_id.charset))

    def keys(self, keys: str) -> Bench:
        for key in keys:
            self.fact(s.Digit, key).run(140)
        return self

    def tone(self, name: str, cycles: int = 3) -> Bench:
        return self.fact(s.ToneHeard, name, cycles, self.now - cycles * (self.profile.tones[name.rstrip("?")].period_ms or 100))

    def talk_in(self) -> Bench:
        """An answered call from outside."""
        self.burst().run(600).fsk(Party("13912345678"))
        self.run(self.profile.ring_gap_ms() - 600).burst().run(500)
        assert self.all(s.Offered), "not offered"
        self.send(s.Answer).run(30).fact(s.LoopCurrent, True, 25.0).run(1000)
        assert self.state == "TALKING"
        return self

    def dialled(self, number: str = "13912345678", **named: Any) -> Bench:
        """An outside call up to the wait for its answer."""
        self.send(s.Dial, number, **named).run(20).fact(s.LoopCurrent, True, 25.0).run(700).tone("dial", 5).run(400)
        sent = self.all(s.SendDtmf)[-1]
        self.run(200 * len(number)).fact(s.PlayerDone, sent.token)
        assert self.state == "WAIT_ANSWER"
        return self

    def talk_out(self, **named: Any) -> Bench:
        self.dialled(**named).tone("ringback", 1).run(5000).fact(s.ToneStopped, "ringback").fact(s.Voice, True).run(3500)
        assert self.state == "TALKING"
        return self


def plan(digits: str) -> Any:
    """Three-digit extensions 1xx and 2xx, codes *11 and *43, outside 9 + any."""
    known = ("*11", "*43")
    if digits in known or (len(digits) == 3 and digits[0] in "12" and digits.isdigit()):
        return "complete"
    if digits and (any(code.startswith(digits) for code in known) or (digits[0] in "12" and digits.isdigit() and len(digits) < 3)):
        return "more"
    return "more" if digits.startswith("9") and digits.isdigit() else "impossible"


class Phone(Stage):
    """A telephone in virtual time."""

    def __init__(self, country: str = "CN", **config: Any) -> None:
        self.profile = profile(country)
        self.machine = Fxs(FxsPhone(**config), self.profile, plan, ("119",))
        self.now = 50_000
        self._begin()

    def lift(self) -> Phone:
        return self.fact(s.Loop, True)

    def put_down(self) -> Phone:
        return self.fact(s.Loop, False)

    def keys(self, keys: str) -> Phone:
        for key in keys:
            self.run(150).fact(s.Digit, key)
        return self

    def pulses(self, digits: str, rate: int = 100, share: int = 60) -> Phone:
        for digit in digits:
            for _ in range(int(digit) or 10):
                self.put_down().run(rate * share // 100).lift().run(rate - rate * share // 100)
            self.run(700)
        return self

    def flash(self, ms: int = 200) -> Phone:
        return self.put_down().run(ms).lift()

    def ring(self, **named: Any) -> Phone:
        return self.send(s.Ring, Party("13912345678", "Anna"), when="07041530", **named)

    def talk(self) -> Phone:
        return self.lift().keys("201").send(s.Progress).run(3000).send(s.Answer).run(1000)

    def talk_in(self) -> Phone:
        return self.ring().run(500).fact(s.RingTrip).run(20).lift().run(1000)

    @property
    def state(self) -> str:
        return self.machine.state.state

    def all(self, kind: type[Any]) -> list[Any]:
        return [thing for thing in (*self.actions, *self.events) if type(thing) is kind]

    def one(self, kind: type[Any]) -> Any:
        found = self.all(kind)
        assert len(found) == 1, found
        return found[0]

    def feeds(self) -> list[int]:
        return [code for at, code in self.drives if at <= self.now]

    def tone(self) -> str:
        """Name of what the player plays now."""
        for action in reversed(self.actions):
            if isinstance(action, s.PlayTone):
                return action.tone.name
            if isinstance(action, s.StopPlayer):
                return ""
        return ""
