"""`core/lines.py`: ports as legs, on a recorded media side, a manual clock and the real bus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.call.model import (
    Alert,
    Cause,
    EndpointState,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegEvent,
    LegFlash,
    LegKind,
    LegOffered,
    LegProgress,
    LegRinging,
    LineMissed,
    Party,
)
from firmware.config.schema.people import Extension
from firmware.config.schema.ports import FxoLine, FxsPhone, Ports
from firmware.config.schema.tree import Config
from firmware.core.lines import _TRANSLATE, Lines, translate
from firmware.errors import ConfigError, EngineBusy
from firmware.hal.board import load_board
from firmware.line import callerid
from firmware.line import signals as s
from firmware.line.profiles import profile
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids

CONFIG = Config(
    ports=Ports(
        fxo={"1": FxoLine(number="01055550001"), "2": FxoLine(), "3": FxoLine(group="fax"), "4": FxoLine(enabled=False)},
        fxs={"1": FxsPhone(), "2": FxsPhone()},
    ),
    extensions={"101": Extension(kind="fxs", jack="1"), "201": Extension(kind="sip")},
)


class Wire:
    """The media side of the seam: keeps every command; refuses while `busy`."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, int, dict[str, Any]]] = []
        self.busy = False
        self.broken_slot = -1

    def __getattr__(self, name: str) -> Any:
        def command(port: int, *values: Any, **named: Any) -> None:
            if self.busy:
                raise EngineBusy("command ring is full; try again")
            if port == self.broken_slot and name == "open_line":
                raise RuntimeError("a bug of this port")
            named.update({f"value{index}": value for index, value in enumerate(values)})
            self.commands.append((name, port, named))

        return command

    def waiting(self, port: int) -> frozenset[str]:
        return frozenset()

    def drives(self, slot: int) -> list[int]:
        return [named["value0"] for name, port, named in self.commands if name == "drive" and port == slot]

    def names(self, slot: int) -> list[str]:
        return [name for name, port, _ in self.commands if port == slot]


def media_event(kind: str, port: int, at: int, /, **fields: Any) -> Any:
    """An event as `firmware/media.py` gives it."""
    names = ["port", "at", "wall_ms", *fields]
    return msgspec.defstruct(kind, names, frozen=True)(port, at, at, **fields)


class Site:
    """A branch without calls logic: the test gives the commands."""

    def __init__(self, config: Config = CONFIG, *, adopting: bool = False, clock: ManualClock | None = None, start: bool = True) -> None:
        self.clock = clock or ManualClock(now=10_000)
        self.bus, self.wire, self.events = Bus(), Wire(), []
        self.bus.subscribe((LegEvent, EndpointState, LineMissed), self.events.append)
        board = load_board("world")
        self.lines = Lines(config, profile("CN"), board, self.wire, self.clock, self.bus, Ids(1).leg, self.dial_check)
        self.asked: list[tuple[str, str]] = []
        if start:
            self.lines.start(adopting=adopting)
            if not adopting:
                self.run(500)
                for slot in range(3):
                    self.fact("Battery", slot, present=True, volts=48.0)

    def dial_check(self, extension: str, digits: str) -> Any:
        self.asked.append((extension, digits))
        return "complete" if len(digits) == 3 else "more"

    def fact(self, kind: str, slot: int, /, **fields: Any) -> Site:
        self.lines.media_event(media_event(kind, slot, self.clock.now(), **fields))
        return self

    def run(self, ms: int) -> Site:
        self.clock.advance(ms)
        return self

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def ring_in(self, slot: int = 0) -> LegOffered:
        for burst in range(2):
            self.fact("RingBurst", slot, on=True).run(1000).fact("RingBurst", slot, on=False)
            if burst == 0:
                self.run(700).fact("FskMessage", slot, standard="bell202", payload=callerid.build_mdmf(Party("13912345678"))).run(3300)
        offer: LegOffered = self.all(LegOffered)[-1]
        return offer

    def talk_in(self, slot: int = 0) -> str:
        leg = self.ring_in(slot).leg
        self.lines.answer(leg)
        self.run(30).fact("LoopCurrent", slot, flowing=True, milliamps=24.0).run(1000)
        assert self.all(LegAnswered)[-1].leg == leg
        return leg

    def row(self, endpoint: str) -> Any:
        return next(row for row in self.lines.status() if row.endpoint == endpoint)


def test_call_from_outside_is_offered_answered_and_ended_by_the_far_end() -> None:
    site = Site()
    offer = site.ring_in()
    assert (offer.kind, offer.endpoint, offer.port, offer.caller.number, offer.rings) == (LegKind.FXO, "line/1", 0, "13912345678", 2)
    assert site.row("line/1").leg == offer.leg and site.row("line/1").caller.number == "13912345678"
    site.lines.answer(offer.leg)
    site.run(30).fact("LoopCurrent", 0, flowing=True, milliamps=24.0).run(1000)
    assert site.wire.drives(0)[-1] == s.LINE_OFF_HOOK and "open_line" in site.wire.names(0)
    assert site.row("line/1").milliamps == 24.0
    site.fact("Digit", 0, digit="1", duration_ms=100, source="inband", level=-10.0)
    assert site.all(LegDigit)[-1].digit == "1"
    site.run(3000).fact("ToneHeard", 0, name="busy", cycles=3, start_at=site.clock.now() - 2100, confidence=0.9)
    ended = site.all(LegEnded)
    assert len(ended) == 1 and ended[0].by_far and ended[0].evidence.kind == "busy-tone"
    assert site.wire.drives(0)[-1] == s.LINE_ON_HOOK and site.wire.names(0)[-1] == "close_line"       # then it rests
    assert site.lines.snapshot() == {} and site.row("line/1").available == "busy"
    assert site.run(3000).row("line/1").available == "idle"


def test_a_fax_that_answers_makes_the_channel_clear_for_its_call_only() -> None:
    site = Site()

    def fax(kind: str) -> list[Any]:
        site.fact("FaxTone", 0, kind=kind, start=site.clock.now(), duration_ms=500, level=-12.0, confidence=1.0)
        return [named["value0"] for name, port, named in site.wire.commands if name == "clear_channel" and port == 0]

    assert fax("ced") == []  # nobody is in a call
    site.talk_in()
    detects = [named for name, port, named in site.wire.commands if name == "detect" and port == 0]
    assert detects[-1]["fax"] is True
    assert fax("cng") == []
    assert fax("ced") == [True]


def test_the_end_of_a_talk_is_looked_at_for_the_disconnect_tone_of_the_line() -> None:
    site = Site()
    site.talk_in()
    detects = [named for name, port, named in site.wire.commands if name == "detect" and port == 0]
    assert detects[-1]["learn"] is True
    assert "learn" not in site.wire.names(0)
    site.fact("LoopCurrent", 0, flowing=False, milliamps=0.0).run(3000)
    assert site.all(LegEnded)
    assert site.wire.names(0).count("learn") == 1
    tone = {"freqs_hz": (450.0,), "cadence_ms": (350, 350), "levels_db": (0.0, -90.0), "level_dbm0": -12.0, "purity": 0.99, "jitter": 0.01}
    site.fact("LearnedTone", 0, reason="", start=site.clock.now() - 3000, confidence=0.97, repetitions=6, **tone)
    assert any("450 Hz, 350,350 ms, 6 cycles" in entry.text for entry in site.lines.trace("line/1"))
    site.ring_in(1)
    site.fact("LoopCurrent", 1, flowing=False, milliamps=0.0).run(3000)
    assert "learn" not in site.wire.names(1)  # nobody talked


def test_missed_ring_is_told_without_a_leg() -> None:
    site = Site()
    site.fact("RingBurst", 1, on=True).run(1000).fact("RingBurst", 1, on=False).run(10_000)
    assert site.all(LineMissed)[0].endpoint == "line/2" and not site.all(LegOffered)


def test_subscriber_may_answer_within_the_offer() -> None:
    site = Site()
    site.bus.subscribe(LegOffered, lambda event: site.lines.answer(event.leg))
    site.ring_in()
    site.run(30).fact("LoopCurrent", 0, flowing=True, milliamps=24.0).run(1000)
    assert [type(event) for event in site.all(LegEvent)] == [LegOffered, LegAnswered]


def test_telephone_dials_and_talks() -> None:
    site = Site().fact("Loop", 4, closed=True)
    for key in "201":
        site.run(100).fact("Digit", 4, digit=key, duration_ms=80, source="inband", level=-8.0)
    offer = site.all(LegOffered)[0]
    assert (offer.kind, offer.endpoint, offer.called, offer.port) == (LegKind.FXS, "101", "201", 4)
    assert site.asked[-1] == ("101", "201")
    site.lines.progress(offer.leg)
    site.lines.answer(offer.leg)
    site.run(500).fact("Loop", 4, closed=False).run(200).fact("Loop", 4, closed=True).run(100)
    assert site.all(LegFlash)[0].leg == offer.leg
    site.lines.hang_up(offer.leg, Cause.NORMAL)
    assert site.all(LegEnded)[0].by_far is False and site.wire.drives(4)[-1] == s.FEED_OPEN


def test_jack_without_extension_still_reaches_emergency_numbers() -> None:
    site = Site().fact("Loop", 5, closed=True)
    for key in "110":
        site.run(100).fact("Digit", 5, digit=key, duration_ms=80, source="inband", level=-8.0)
    assert (site.all(LegOffered)[0].endpoint, site.all(LegOffered)[0].called) == ("fxs/2", "110")


def test_extension_is_rung_with_caller_id_in_local_time() -> None:
    site = Site()
    site.lines.originate("LX", "101", number="101", caller=Party("13900000000"), alert=Alert.NORMAL, ring_ms=20_000)
    assert not site.all(LegRinging)                       # nothing before the call returned
    site.run(3000)
    assert site.all(LegRinging)[0].leg == "LX"
    payload = next(named["value0"] for name, _, named in site.wire.commands if name == "send_fsk")
    assert callerid.parse(payload, "gbk").when == "01010800"      # 2026-01-01 00:00 UTC in Shanghai
    site.fact("Loop", 4, closed=True).run(10)
    assert site.all(LegAnswered)[0].port == 4
    site.fact("Loop", 4, closed=False).run(1000)
    assert site.all(LegEnded)[0].cause is Cause.NORMAL


def test_outside_number_is_dialled_on_the_line() -> None:
    site = Site()
    site.lines.originate("LX", "line/2", number="13912345678", caller=Party("101"), alert=Alert.NORMAL, ring_ms=20_000)
    assert site.wire.drives(1)[-1] == s.LINE_OFF_HOOK
    site.run(20).fact("LoopCurrent", 1, flowing=True, milliamps=24.0).run(700)
    site.fact("ToneHeard", 1, name="dial", cycles=5, start_at=site.clock.now() - 500, confidence=0.9).run(400)
    sent = next(named for name, _, named in site.wire.commands if name == "send_dtmf")
    assert sent["value0"] == "13912345678"
    site.run(2200).fact("DtmfSent", 1, token=sent["token"])
    assert site.all(LegProgress)[0].port == 1
    site.fact("ToneHeard", 1, name="busy", cycles=3, start_at=site.clock.now(), confidence=0.9)
    assert site.all(LegEnded)[0].cause is Cause.BUSY


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [("line/1", Cause.UNREACHABLE), ("line/4", Cause.UNREACHABLE), ("999", Cause.UNREACHABLE), ("line/3", Cause.LINE_FAULT)],
)
def test_failures_of_originate_come_as_an_ended_leg_afterwards(endpoint: str, cause: Cause) -> None:
    site = Site()
    site.ring_in(0)
    site.fact("Battery", 2, present=False, volts=0.0).run(1500)
    site.lines.originate("LX", endpoint, number="5551234", caller=Party(), alert=Alert.NORMAL, ring_ms=1000)
    assert not [event for event in site.all(LegEnded) if event.leg == "LX"]
    site.run(10)
    assert [event.cause for event in site.all(LegEnded) if event.leg == "LX"] == [cause]


def test_rows_show_the_voltage_last_measured_also_of_a_line_taken_into_service_a_moment_ago_and_of_telephones() -> None:
    site = Site(start=False)
    site.lines.start()
    site.run(200).fact("Battery", 0, present=True, volts=-48.0).run(200).fact("Battery", 4, present=True, volts=48.0)
    assert (site.row("line/1").volts, site.row("101").volts) == (-48.0, 48.0)
    site.run(1000)
    leg = site.talk_in()
    site.fact("Battery", 0, present=True, volts=-8.1)
    assert (site.row("line/1").volts, site.row("line/1").milliamps) == (-8.1, 24.0)
    site.lines.hang_up(leg, Cause.NORMAL)
    site.run(500).fact("Battery", 0, present=True, volts=-48.0).run(3000)
    assert (site.row("line/1").volts, site.row("line/1").state) == (-48.0, "IDLE")


def test_a_parallel_telephone_makes_a_line_in_use_until_it_is_put_down() -> None:
    site = Site()
    site.run(1000).fact("Battery", 0, present=True, volts=8.0)
    assert site.row("line/1").state == "IN_USE"
    site.run(1000).fact("Battery", 0, present=True, volts=48.0)
    assert site.row("line/1").state == "IDLE"


def test_lifted_telephone_is_busy() -> None:
    site = Site().fact("Loop", 4, closed=True)
    site.lines.originate("LX", "101", number="101", caller=Party(), alert=Alert.NORMAL, ring_ms=1000)
    site.run(1)
    assert site.all(LegEnded)[0].cause is Cause.BUSY


def test_number_that_no_line_can_dial_is_refused() -> None:
    site = Site()
    site.lines.originate("LX", "line/1", number="hello", caller=Party(), alert=Alert.NORMAL, ring_ms=1000)
    site.run(1)
    assert site.all(LegEnded)[0].cause is Cause.UNREACHABLE and site.lines.free_line("pstn") == "line/2"


def test_commands_for_unknown_legs_do_nothing() -> None:
    site = Site()
    before = list(site.wire.commands)
    for command in (site.lines.answer, site.lines.progress):
        command("L0")
    site.lines.hang_up("L0", Cause.NORMAL)
    site.lines.send_digits("L0", "1")
    assert site.wire.commands == before


def test_crash_in_one_port_ends_its_leg_only() -> None:
    site = Site()
    other = site.talk_in(0)
    offer = site.ring_in(1)
    site.wire.broken_slot = 1
    site.lines.answer(offer.leg)
    site.wire.broken_slot = -1
    ended = site.all(LegEnded)
    assert [(event.leg, event.cause) for event in ended] == [(offer.leg, Cause.SYSTEM)]
    assert site.row("line/2").restarts == 1 and site.row("line/1").leg == other
    site.run(1000).fact("RingBurst", 1, on=False).run(10_000)
    assert site.ring_in(1).endpoint == "line/2"


def test_full_command_ring_delays_on_hook_but_never_loses_it() -> None:
    site = Site()
    leg = site.talk_in()
    site.wire.busy = True
    site.lines.hang_up(leg, Cause.NORMAL)
    assert site.wire.drives(0)[-1] == s.LINE_OFF_HOOK and site.all(LegEnded)
    site.run(50)
    site.wire.busy = False
    site.run(50)
    assert site.wire.drives(0)[-1] == s.LINE_ON_HOOK and site.wire.names(0)[-1] == "close_line"


def test_lost_media_ends_every_leg_and_lines_return() -> None:
    site = Site()
    leg = site.talk_in()
    site.lines.media_event(media_event("MediaLost", -1, site.clock.now(), epoch=2))
    assert [(event.leg, event.cause) for event in site.all(LegEnded)] == [(leg, Cause.MEDIA_LOST)]
    assert site.wire.names(0).count("watch_line") == 2
    assert site.run(1000).ring_in(0).endpoint == "line/1"


def test_hunting_goes_from_the_far_end_and_leaves_failed_lines_for_last() -> None:
    site = Site()
    assert site.lines.free_line("pstn") == "line/2"
    assert site.lines.free_line("pstn", prefer_reverse=False) == "line/1"
    assert site.lines.free_line("fax") == "line/3" and site.lines.free_line("none") is None
    site.lines.originate("LX", "line/2", number="110", caller=Party(), alert=Alert.NORMAL, ring_ms=1000)
    site.run(20).fact("LoopCurrent", 1, flowing=True, milliamps=24.0).run(9000)
    assert site.all(LegEnded)[0].cause is Cause.NO_DIAL_TONE
    assert site.row("line/2").available == "idle" and site.lines.free_line("pstn") == "line/1"
    site.ring_in(0)
    assert site.lines.free_line("pstn") == "line/2"
    assert [row.endpoint for row in site.lines.lines_in("pstn")] == ["line/1", "line/2"]


def test_core_killed_in_a_call_takes_it_over_untouched() -> None:
    first = Site()
    leg = first.talk_in()
    journal = first.lines.snapshot()
    first.run(1500)
    second = Site(adopting=True, clock=first.clock)
    assert second.lines.adopt(leg, journal[leg], 0)
    second.lines.finish_adoption()
    assert second.wire.drives(0) == [] and second.wire.drives(1) == [s.LINE_ON_HOOK]
    assert second.row("line/1").leg == leg and second.row("line/1").available == "busy"
    second.fact("LoopCurrent", 0, flowing=False, milliamps=0.0).run(500)
    assert [(event.leg, event.evidence.kind) for event in second.all(LegEnded)] == [(leg, "loop-drop")]


def dialled(site: Site) -> None:
    """Leg LX has dialled on line/1 and waits for an answer."""
    site.lines.originate("LX", "line/1", number="5550100", caller=Party(), alert=Alert.NORMAL, ring_ms=60_000)
    site.run(20).fact("LoopCurrent", 0, flowing=True, milliamps=24.0).run(700)
    site.fact("ToneHeard", 0, name="dial", cycles=5, start_at=site.clock.now() - 500, confidence=0.9).run(3000)
    site.fact("DtmfSent", 0, token=1).run(100)
    assert site.row("line/1").state == "WAIT_ANSWER"


def test_what_a_line_hears_is_journaled_though_no_event_tells_it() -> None:
    """Core goes on from the journal: an answer by ear is believed although all that spoke for it was heard by the core that was killed."""
    first, journal = Site(), {}
    first.lines.remember_with(lambda leg: journal.update({leg: first.lines.snapshot_leg(leg)}))
    dialled(first)
    first.fact("ToneHeard", 0, name="ringback", cycles=1, start_at=first.clock.now() - 5000, confidence=0.9).run(2000)
    before = journal["LX"]
    first.fact("ToneStopped", 0, name="ringback")
    assert journal["LX"] != before
    first.run(100)
    before = journal["LX"]
    first.fact("Voice", 0, active=True)
    assert journal["LX"] != before
    first.run(500)
    due = first.clock.now() + 1100                      # 1.7 s after the ringback stopped
    second = Site(adopting=True, clock=first.clock)
    assert second.lines.adopt("LX", journal["LX"], 0)
    second.lines.finish_adoption()
    assert not second.run(1000).all(LegAnswered)
    (answer,) = second.run(200).all(LegAnswered)
    assert (answer.leg, answer.at) == ("LX", due)
    assert answer.evidence.detail.endswith("then voice") or answer.evidence.kind == "voice"


@pytest.mark.parametrize("gap", [0, 500])
def test_a_parallel_telephone_is_seen_in_a_call_that_was_taken_over(gap: int) -> None:
    """Its loop current is known from the killed core, and another telephone takes part of it now, or took it in the gap."""
    first, journal = Site(), {}
    first.lines.remember_with(lambda leg: journal.update({leg: first.lines.snapshot_leg(leg)}))
    leg = first.talk_in()
    first.run(2000)
    second = Site(adopting=True, clock=first.clock)
    if gap:
        second.run(100).fact("LoopCurrent", 0, flowing=True, milliamps=14.0).run(gap)
    assert second.lines.adopt(leg, journal[leg], 0)
    second.lines.finish_adoption()
    assert second.row("line/1").milliamps == (14.0 if gap else 24.0)
    if not gap:
        second.run(3000).fact("LoopCurrent", 0, flowing=True, milliamps=14.0)
    assert any(state.detail == "a parallel telephone is off-hook" for state in second.all(EndpointState))


def test_only_news_is_journaled() -> None:
    site, told = Site(), []
    site.lines.remember_with(told.append)
    leg = site.talk_in()
    for active in (True, False):
        told.clear()
        site.fact("Voice", 0, active=active)
        assert told == [leg]
        site.run(100).fact("Voice", 0, active=active)
        site.fact("Battery", 0, present=True, volts=9.0).fact("Battery", 0, present=True, volts=9.0)
        assert told.count(leg) <= 3
    site.run(10_000)
    told.clear()
    site.run(10_000)
    assert told == []                                    # time alone is no news


def test_somebody_who_talks_for_long_is_not_taken_for_silent_by_a_new_core() -> None:
    """The limit of silence ran when the call was answered; the voice that ended it is no event of the call."""
    first, journal = Site(), {}
    first.lines.remember_with(lambda leg: journal.update({leg: first.lines.snapshot_leg(leg)}))
    leg = first.talk_in()
    first.fact("Voice", 0, active=True).run(profile("CN").silence_release_ms + 60_000)
    second = Site(adopting=True, clock=first.clock)
    assert second.lines.adopt(leg, journal[leg], 0)
    second.lines.finish_adoption()
    assert not second.run(5000).all(LegEnded)


def test_facts_of_the_gap_are_acted_on_at_adoption() -> None:
    first = Site()
    leg = first.talk_in()
    journal = first.lines.snapshot()
    first.run(1500)
    second = Site(clock=first.clock, start=False)
    names = ["port", "battery", "volts", "reversed", "loop", "ringing"]
    port = msgspec.defstruct("PortState", names)(0, True, 48.0, False, False, False)
    second.lines.start([port], adopting=True)
    second.fact("Digit", 0, digit="5", duration_ms=80, source="inband", level=-9.0)     # keyed in the gap, read before adoption
    assert second.lines.adopt(leg, journal[leg], 0)
    second.run(1000)
    assert [event.digit for event in second.all(LegDigit)] == ["5"]
    assert second.all(LegEnded)[0].leg == leg


def test_adoption_that_cannot_be_is_refused() -> None:
    first = Site()
    leg = first.talk_in()
    journal = first.lines.snapshot()[leg]
    second = Site(adopting=True, clock=first.clock)
    assert not second.lines.adopt("L9", b"\x00junk", 0)
    assert not second.lines.adopt(leg, journal, 3)
    assert second.lines.adopt(leg, journal, -1) and not second.lines.adopt(leg, journal, -1)


def test_ports_are_supervised_even_if_nobody_finishes_the_adoption() -> None:
    site = Site(adopting=True)
    site.run(6000)
    assert site.wire.drives(0) == [s.LINE_ON_HOOK] and site.row("line/1").available == "idle"


def test_trace_tells_the_story_of_a_leg_and_is_bounded() -> None:
    site = Site()
    leg = site.talk_in()
    texts = [entry.text for entry in site.lines.trace(leg=leg)]
    assert any(text.startswith("Answered") for text in texts) and any(text.startswith("Drive") for text in texts)
    for _ in range(600):
        site.fact("Voice", 0, active=True)
    assert len(site.lines.trace("line/1")) == 400 and site.lines.trace("line/9") == []


def test_keys_that_are_secret_are_stars_in_the_trace_also_of_the_next_core() -> None:
    site = Site()
    leg = site.talk_in()
    digit = {"duration_ms": 80, "source": "inband", "level": -8.0}
    site.fact("Digit", 0, digit="3", **digit)
    site.lines.hide_keys(leg, True)
    site.run(200).fact("Digit", 0, digit="7", **digit)
    second = Site(adopting=True, clock=site.clock)
    assert second.lines.adopt(leg, site.lines.snapshot()[leg], 0)
    second.lines.finish_adoption()
    second.run(200).fact("Digit", 0, digit="8", **digit)
    assert [event.digit for event in site.all(LegDigit)] == ["3", "7"] and second.all(LegDigit)[-1].digit == "8"
    keys = [entry.text for lines in (site.lines, second.lines) for entry in lines.trace(leg=leg) if "digit=" in entry.text]
    assert [text.split("digit=")[1][0] for text in keys] == ["3", "3", "*", "*", "*", "*"]
    second.lines.hide_keys(leg, False)
    second.run(200).fact("Digit", 0, digit="9", **digit)
    assert "digit=9" in second.lines.trace(leg=leg)[-1].text


def test_media_speaks_the_words_that_lines_translate() -> None:
    media = pytest.importorskip("firmware.media", reason="the engine's extensions are not built")
    samples: dict[type, Any] = {bool: True, int: s.TONE_TOKENS, float: 1.0, str: "5", bytes: b"\x80\x00"}
    for name in _TRANSLATE:
        kind = getattr(media, name)
        fields = {field.name: samples[_plain(field.type)] for field in msgspec.inspect.type_info(kind).fields}
        assert isinstance(translate(kind(**fields)), s.Fact)
    for name in ("battery", "volts", "reversed", "loop", "ringing", "closed", "watched", "port"):
        assert name in media.PortState.__struct_fields__


def _plain(kind: Any) -> type:
    return {"BoolType": bool, "IntType": int, "FloatType": float, "StrType": str, "BytesType": bytes}[type(kind).__name__]


def test_two_extensions_on_one_jack_are_refused_and_unknown_jacks_named() -> None:
    with pytest.raises(ConfigError, match="jack"):
        Site(Config(ports=Ports(fxo={"9": FxoLine()})))


def test_boards_are_found_by_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "board.toml").write_text('name = "tiny"\nseam = "world"\nslots_fxo = [3]\nslots_fxs = []\n')
    monkeypatch.setenv("BRANCHPBX_BOARDS", str(tmp_path))
    assert load_board("tiny").fxo_slot("1") == 3
    assert load_board("world").fxs_slot("1") == 4
    (folder / "board.toml").write_text('name = "other"\nseam = "world"\nslots_fxo = [3]\nslots_fxs = []\n')
    with pytest.raises(ConfigError, match="folder is 'tiny'"):
        load_board("tiny")
    for name in ("nowhere", "../world", ""):
        with pytest.raises(ConfigError):
            load_board(name)


def test_another_outside_line_behind_a_leg_is_told_to_the_machine_in_every_state_of_a_call() -> None:
    site = Site()
    leg = site.talk_in()
    site.lines.beside(leg, True)
    site.run(3000).fact("ToneHeard", 0, name="busy", cycles=3, start_at=site.clock.now() - 2100, confidence=0.9)
    assert not site.all(LegEnded), "the echo of the other line's tone ended the call"
    site.fact("ToneStopped", 0, name="busy").run(10_000)
    assert not site.all(LegEnded)
    site.lines.beside(leg, False)
    site.fact("ToneHeard", 0, name="busy", cycles=3, start_at=site.clock.now() - 2100, confidence=0.9)
    assert site.all(LegEnded)
    site.lines.beside(leg, True)
