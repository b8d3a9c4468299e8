"""An FXO line in virtual time, for the tests of its machine."""

from __future__ import annotations

from typing import Any

from firmware.call.model import Party
from firmware.config.schema.ports import FxoLine
from firmware.line import callerid
from firmware.line import signals as s
from firmware.line.fxo import Fxo
from firmware.line.profiles import PROFILES, profile


class Bench:
    """A line in virtual time: facts at instants, timers run on the way, everything kept."""

    def __init__(self, country: str = "CN", **config: Any) -> None:
        self.machine = Fxo(FxoLine(**config), profile(country))
        self.profile = profile(country)
        self.now = 100_000
        self.actions: list[s.Action] = []
        self.events: list[s.Event] = []
        self.machine.start(self.now)
        self.drain()
        self.run(500).fact(s.Battery, True, 48.0)

    def drain(self) -> None:
        self.actions += self.machine.actions()
        self.events += self.machine.events()

    def run(self, ms: int) -> Bench:
        end = self.now + ms
        while (due := self.machine.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.expire(self.now)
            self.drain()
        self.now = end
        self.machine.expire(self.now)
        self.drain()
        return self

    def fact(self, kind: type[s.Fact], *values: Any) -> Bench:
        self.machine.receive(kind(self.now, *values))
        self.drain()
        return self

    def send(self, kind: type[s.Intention], *values: Any, **named: Any) -> Bench:
        self.machine.send(kind(self.now, *values, **named))
        self.drain()
        return self

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
        return self.all(s.Drive)[-1].code

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
        return self.fact(s.ToneHeard, name, cycles, self.now - cycles * (self.profile.tones[name].period_ms or 100))

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


COUNTRIES = list(PROFILES)
