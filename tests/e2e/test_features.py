"""Telephone features as people at telephones meet them: internal calls, outside calls, hold, transfer, agents and queues.

One branch in virtual time serves most tests; evidence is what its people heard, compared with the record. What only a real SIP
phone does (re-INVITE, its own RFC 4733 keys) is done by baresip in real time at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.branch import CALLEE_HZ, CALLER_HZ, HZ, SITE, SPEED, Branch, music_dbm0, said

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def shared(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branch]:
    """The branch of this file."""
    folder = tmp_path_factory.mktemp("branch")
    site = folder / "branch.toml"
    site.write_text(SITE)
    box = Appliance(folder / "box", bind=network, config=site, extra=("--speed", SPEED)).start()
    yield Branch(box, folder)
    assert box.stop() == 0, box.said()


@pytest.fixture
def branch(shared: Branch) -> Branch:
    """The branch at rest."""
    shared.fresh()
    return shared


# --- internal calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caller", "called"), [("101", "102"), ("201", "101"), ("102", "202"), ("201", "202")])
def test_internal_call_carries_speech_both_ways(branch: Branch, caller: str, called: str) -> None:
    branch.answer(called, HZ[caller], after=4)
    ident = branch.dial(caller, called, HZ[called], talk=13)
    one, two = branch.done(ident), branch.at(called)
    branch.hears(ident, HZ[called], HZ[caller], two["answered"] + 1000, one["ended"] - 500, called=True)
    branch.hears(two["ident"], HZ[caller], HZ[called], two["answered"] + 1000, one["ended"] - 500, called=False)
    assert two["display"].get("number") == caller
    record = branch.records()[0]
    assert (record["kind"], record["cause"], record["first_to_leave"]) == ("internal", "normal", "caller")
    # An analog phone's hang-up is known when the break is too long for a flash (0.8 s).
    assert 0 <= record["talk_ms"] - (one["ended"] - two["answered"]) <= 1000
    assert [leg["endpoint"] for leg in branch.legs(record)] == [caller, called]


def test_called_phone_that_is_in_a_call_is_busy(branch: Branch) -> None:
    branch.answer("102", HZ["101"])
    branch.dial("101", "102", HZ["102"], talk=14)
    wait_until(lambda: any(p["met"] > 0 for p in branch.status()["people"]), "the first two talk")
    sip = branch.dial("201", "102")
    assert branch.done(sip)["outcome"] == "sip-486"
    analog = branch.dial("103", "102")
    assert branch.done(analog)["ended_by"] == "far"  # two equal cycles of busy tone
    assert [row["cause"] for row in branch.records(2)[:2]] == ["busy", "busy"]


def test_phone_that_nobody_answers_stops_after_its_time(branch: Branch) -> None:
    analog = branch.dial("101", "202")
    heard = branch.done(analog)
    assert heard["ended_by"] == "far"  # busy tone after ringback
    record = branch.records()[0]
    assert record["cause"] == "no-answer"
    ringing = branch.legs(record)[1]
    assert 14_500 <= ringing["ended_ms"] - ringing["ringing_ms"] <= 16_000
    sip = branch.dial("201", "102")
    assert branch.done(sip)["outcome"] == "sip-480"
    assert branch.records(2)[1]["cause"] == "no-answer"
    assert branch.status()["phones"][1]["rings"] == 3


# --- outside calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["101", "201"])
def test_outside_call_waits_for_dial_tone_and_speech_goes_both_ways(branch: Branch, caller: str) -> None:
    branch.world("exchange", line=1, dial_tone_delay_ms=2500)
    branch.world("partners", partners_hz=[HZ[caller]])
    number = branch.number("62005678")
    ident = branch.dial(caller, f"9{number}", CALLEE_HZ, talk=24)
    one, two = branch.done(ident), branch.who("callee", number)
    digits = branch.seen("digit")
    seized = next(note for note in branch.seen("hook") if note["off"])
    assert "".join(note["key"] for note in digits) == number  # decoded by the exchange, nothing dialled twice
    assert digits[0]["at"] - seized["at"] >= 2500
    branch.hears(ident, CALLEE_HZ, HZ[caller], two["answered"] + 1000, one["ended"] - 500, called=True)
    branch.hears(two["ident"], HZ[caller], CALLEE_HZ, two["answered"] + 3000, one["ended"] - 500, called=False)
    assert two["ended_by"] == "far"
    record = branch.records()[0]
    assert (record["kind"], record["called"], record["cause"], record["first_to_leave"]) == ("outbound", f"9{number}", "normal", "caller")
    line = branch.legs(record)[1]
    assert (line["endpoint"], line["number"]) == ("line/1", number)
    assert line["answered_by"] in ("voice", "ringback-stopped")
    # Without a reversal the ear decides; it is late by what a refusal tone needs to be told from speech.
    answered = line["answered_ms"] - branch.wall_base
    assert 0 <= answered - two["answered"] <= 6000


def test_reversal_proves_the_answer(branch: Branch) -> None:
    number = branch.number("62005679", answer_after=4)
    branch.done(branch.dial("101", f"8{number}", CALLEE_HZ, talk=16))
    two = branch.who("callee", number)
    line = branch.legs(branch.records()[0])[1]
    assert (line["endpoint"], line["answered_by"]) == ("line/4", "polarity")
    assert abs(line["answered_ms"] - branch.wall_base - two["answered"]) <= 300


@pytest.mark.parametrize(("kind", "cause", "evidence"), [("busy", "busy", "busy-tone"), ("congestion", "congestion", "congestion-tone")])
@pytest.mark.parametrize("caller", ["101", "201"])
def test_refusal_of_the_exchange_is_heard_and_recorded(branch: Branch, caller: str, kind: str, cause: str, evidence: str) -> None:
    number = branch.number("62009999", kind)
    ident = branch.dial(caller, f"9{number}")
    seen = branch.done(ident)
    assert seen["ended_by"] == "far"
    assert branch.heard(ident).tone_dbm0(450) > -25
    record = branch.records()[0]
    assert record["cause"] == cause
    line = branch.legs(record)[1]
    assert (line["endpoint"], line["cause"], line["evidence"], line["answered_ms"]) == ("line/1", cause, evidence, None)


def test_line_without_dial_tone_gives_way_to_the_next(branch: Branch) -> None:
    branch.world("exchange", line=1, fault="no-dial-tone")
    number = branch.number("62005680")
    seen = branch.done(branch.dial("101", f"9{number}", CALLEE_HZ, talk=26))
    assert seen["met"] > 0
    legs = branch.legs(branch.records()[0])
    assert [(leg["endpoint"], leg["cause"]) for leg in legs] == [("101", "normal"), ("line/1", "no-dial-tone"), ("line/2", "normal")]
    branch.world("exchange", line=1, fault="no-dial-tone", on=False)
