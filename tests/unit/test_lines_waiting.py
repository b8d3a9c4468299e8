"""Call waiting on an analogue telephone: tone and caller id, flash switches, who leaves when, and what is never interrupted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from firmware.call.call_waiting import may_interrupt
from firmware.call.model import (
    Alert,
    Cause,
    LegAnswered,
    LegEnded,
    LegFlash,
    LegHeld,
    LegKind,
    LegOffered,
    LegResumed,
    LegRinging,
    Party,
)
from firmware.call.state import Attempt, ContactState, Kind, Leg, Phase, Recording, Transfer
from firmware.config.schema.ports import FxsPhone
from firmware.core.lines_waiting import AGAIN_MS, HELD_RING_MS, RING_AGAIN_MS
from firmware.line import callerid
from tests.unit.test_line_ports import CONFIG, Site

PHONE = 4                       # slot of extension 101
CALLER = Party("13900000000")


def _site(**phone: Any) -> Site:
    """Telephone 101 talks: leg L1 of its own call to 201."""
    fxs = {"1": FxsPhone(call_waiting=True, **phone), "2": FxsPhone()}
    site = Site(msgspec.structs.replace(CONFIG, ports=msgspec.structs.replace(CONFIG.ports, fxs=fxs)))
    site.lines.interrupt_when(lambda leg: True)
    site.fact("Loop", PHONE, closed=True)
    for key in "201":
        site.run(100).fact("Digit", PHONE, digit=key, duration_ms=80, source="inband", level=-8.0)
    site.lines.answer(_first(site))
    return site.run(1000)


def _first(site: Site) -> str:
    return str(site.all(LegOffered)[0].leg)


def _call(site: Site, leg: str = "W", ring_ms: int = 30_000) -> Site:
    site.lines.originate(leg, "101", number="101", caller=CALLER, alert=Alert.NORMAL, ring_ms=ring_ms)
    return site.run(10)


def _flash(site: Site) -> Site:
    return site.fact("Loop", PHONE, closed=False).run(300).fact("Loop", PHONE, closed=True).run(100)


def _acknowledged(site: Site) -> Site:
    """The telephone hears the tone, acknowledges and shows who calls."""
    site.run(450)
    tones = [named for name, slot, named in site.wire.commands if name == "tone" and slot == PHONE]
    site.fact("Played", PHONE, token=tones[-1]["token"], finished=True, digit="").run(60)
    site.fact("Digit", PHONE, digit="D", duration_ms=60, source="inband", level=-8.0).run(200)
    sent = [named for name, slot, named in site.wire.commands if name == "send_fsk" and slot == PHONE]
    site.fact("FskSent", PHONE, token=sent[-1]["token"]).run(50)
    return site


def _told(site: Site, *kinds: type[Any]) -> list[tuple[str, str]]:
    return [(type(event).__name__, event.leg) for event in site.events if isinstance(event, kinds)]


def test_a_second_caller_hears_ringing_and_the_telephone_shows_who_it_is() -> None:
    site = _acknowledged(_call(_site()))
    assert [event.leg for event in site.all(LegRinging)] == ["W"] and not site.all(LegEnded)
    sent = next(named for name, slot, named in site.wire.commands if name == "send_fsk" and slot == PHONE)
    assert callerid.parse(sent["value0"], "gbk").party.number == CALLER.number and sent["in_call"] is True
    tones = site.wire.names(PHONE).count("tone")
    site.run(AGAIN_MS)
    assert site.wire.names(PHONE).count("tone") > tones, "told again"


def test_a_flash_takes_the_waiting_call_and_another_one_goes_back() -> None:
    site = _call(_site()).run(2000)
    first = _first(site)
    site.events.clear()
    _flash(site)
    assert _told(site, LegHeld, LegAnswered, LegFlash) == [("LegHeld", first), ("LegAnswered", "W")]
    assert site.all(LegAnswered)[0].port == PHONE and site.row("101").leg == "W" and site.row("101").caller == CALLER
    site.events.clear()
    _flash(site.run(1000))
    assert _told(site, LegHeld, LegResumed, LegFlash) == [("LegHeld", "W"), ("LegResumed", first)]
    site.events.clear()
    site.lines.send_digits("W", "5")
    site.lines.send_digits(first, "7")
    site.run(10)
    assert [named["value0"] for name, slot, named in site.wire.commands if name == "send_dtmf" and slot == PHONE] == ["7"]


def test_a_flash_during_the_tone_switches_when_the_tone_is_over() -> None:
    site = _call(_site(call_waiting_id=False))
    first = _first(site)
    site.fact("Loop", PHONE, closed=False).run(90).fact("Loop", PHONE, closed=True).run(20)
    machine: Any = site.lines.ports["101"].machine
    assert machine.state.muted and not site.all(LegHeld)
    site.run(600)
    assert _told(site, LegHeld) == [("LegHeld", first)] and site.row("101").leg == "W"


def test_the_held_one_talks_again_when_the_far_end_leaves() -> None:
    site = _flash(_call(_site()).run(2000))
    first = _first(site)
    site.events.clear()
    site.lines.hang_up("W", Cause.NORMAL)
    site.run(100)
    assert _told(site, LegEnded, LegResumed) == [("LegEnded", "W"), ("LegResumed", first)]
    assert site.lines.ports["101"].machine.state.state == "TALKING" and site.row("101").leg == first
    site.fact("Loop", PHONE, closed=False).run(1500)
    assert _told(site, LegEnded)[-1] == ("LegEnded", first) and site.run(5000).row("101").available == "idle"


def test_whoever_gives_up_while_waiting_or_held_is_gone_and_nobody_else() -> None:
    site = _call(_site()).run(2000)
    site.lines.hang_up("W", Cause.CANCELLED)
    site.run(10)
    assert [(event.leg, event.cause) for event in site.all(LegEnded)] == [("W", Cause.CANCELLED)]
    _flash(site)
    assert [event.leg for event in site.all(LegFlash)] == [_first(site)], "the flash is call control's again"
    _call(site, "V").run(AGAIN_MS - 2000)
    _flash(site)
    site.lines.hang_up(_first(site), Cause.NORMAL)
    site.run(10)
    assert site.all(LegEnded)[-1].leg == _first(site) and site.row("101").leg == "V"


def test_a_call_that_nobody_takes_ends() -> None:
    site = _site()
    site.lines.partners("W", ["L9"])
    _call(site, ring_ms=15_000).run(15_100)
    assert "W" not in site.lines._clear._with, "forgotten"
    assert [(event.leg, event.cause) for event in site.all(LegEnded)] == [("W", Cause.NO_ANSWER)]


@pytest.mark.parametrize("held", [False, True])
def test_a_telephone_that_is_put_down_rings_for_the_other_one(held: bool) -> None:
    site = _call(_site()).run(2000)
    first, other = _first(site), "W"
    if held:
        _flash(site)
        first, other = other, first
    site.events.clear()
    site.fact("Loop", PHONE, closed=False).run(900 + RING_AGAIN_MS + 200)
    assert _told(site, LegEnded) == [("LegEnded", first)] and site.row("101").state == "RINGING"
    site.run(1500).fact("Loop", PHONE, closed=True).run(100)
    answer = LegResumed if held else LegAnswered
    assert _told(site, LegAnswered, LegResumed) == [(answer.__name__, other)] and site.row("101").leg == other
    again = _flash(_call(_site()).run(2000)) if held else _call(_site()).run(2000)
    again.fact("Loop", PHONE, closed=False).run(2100 + HELD_RING_MS)
    assert len(again.all(LegEnded)) == 2 and again.all(LegEnded)[-1].cause is Cause.NO_ANSWER, "nobody lifts it"


def test_the_waiting_call_rings_on_when_the_far_end_of_the_first_leaves() -> None:
    site = _call(_site()).run(2000)
    site.lines.hang_up(_first(site), Cause.NORMAL)
    site.run(4500).fact("Loop", PHONE, closed=False).run(900 + 2 * RING_AGAIN_MS)
    assert site.row("101").state == "RINGING" and site.row("101").leg == "W"


def test_a_third_caller_a_fax_and_who_may_not_be_interrupted_hear_busy() -> None:
    site = _call(_call(_site()).run(500), "V")
    assert [(event.leg, event.cause) for event in site.all(LegEnded)] == [("V", Cause.BUSY)]
    for quiet in (_site(terminal="fax"), _site()):
        quiet.lines.interrupt_when(lambda leg: False)
        assert [event.cause for event in _call(quiet).all(LegEnded)] == [Cause.BUSY]
    faxing = _site()
    faxing.fact("FaxTone", PHONE, kind="ced", start=0, duration_ms=500, level=-15.0, confidence=0.9)
    assert [event.cause for event in _call(faxing).all(LegEnded)] == [Cause.BUSY], "a fax machine talks"
    off = Site().fact("Loop", PHONE, closed=True)
    off.lines.interrupt_when(lambda leg: True)
    assert [event.cause for event in _call(off).all(LegEnded)] == [Cause.BUSY], "call_waiting is off"


def test_a_port_that_fails_ends_both_and_one_of_them_is_kept_for_a_restart() -> None:
    site = _call(_site()).run(500)
    assert set(site.lines.snapshot()) == {_first(site)} and site.lines.snapshot_leg("W") == b""
    site.lines.set_health("101", "the chip is gone", dropped=True)
    site.run(3000)
    assert sorted(event.leg for event in site.all(LegEnded)) == sorted((_first(site), "W"))


def _contact(**more: Any) -> ContactState:
    legs = {name: Leg(name, LegKind.FXS, "101", "caller", False, 0) for name in ("a", "b")}
    return ContactState("C1", Kind.INTERNAL, 0, phase=Phase.TALKING, a="a", b="b", legs=legs, **more)


@pytest.mark.parametrize(
    "why",
    [
        {"held_by": "a"}, {"agent": "8001"}, {"emergency_number": "110"}, {"recordings": [Recording(1, "a")]},
        {"transfer": Transfer("a", "b")}, {"attempt": Attempt("dial", [], "1", Alert.NORMAL, 1)},
    ],
)  # fmt: skip
def test_only_an_ordinary_conversation_of_two_is_interrupted(why: dict[str, Any]) -> None:
    assert may_interrupt({"C1": _contact()}, "a") and may_interrupt({"C1": _contact()}, "b")
    assert not may_interrupt({"C1": _contact()}, "x")
    assert not may_interrupt({"C1": _contact(**why)}, "a")
    early = _contact()
    early.phase = Phase.DIALLING
    assert not may_interrupt({"C1": early}, "a")
