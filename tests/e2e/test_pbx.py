"""What telephones of a branch do together, by the same codes on analog and SIP telephones: people hear it, records and lamps show it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.appliance import wait_until
from tests.e2e.branch import CALLER_HZ, HZ, JACKS, Branch, music_dbm0, said

pytestmark = [pytest.mark.e2e]

MORE = """
[groups.desk]
number = "600"
members = ["102", "202"]
ring_s = 15
[rooms.board]
number = "700"
pin = "4711"
[speed_dials]
01 = "202"
[parking]
timeout_s = 600
"""


def code(branch: Branch, extension: str, keys: str, *clips: str) -> None:
    """Somebody dials a code and keys what belongs to it, hears every clip of the confirmation, and the call ends by itself."""
    ident = branch.dial(extension, keys[:3], tone_hz=0, keys=f"{keys[3:]}@{2 if extension in JACKS else 1}" if keys[3:] else "", talk=25)
    branch.done(ident)
    branch.sleep(2)
    heard = branch.heard(ident)
    for clip in clips:
        assert said(heard, clip) > 0.5, f"{extension} {keys}: {clip} is heard with {said(heard, clip):.2f}"


@pytest.mark.parametrize("own", ["101", "201"])
def test_codes_are_the_same_on_every_telephone(branch: Branch, own: str) -> None:
    code(branch, own, "*61202#", "en/fwd.on.1", "en/n.2")
    assert [(row["extension"], row["always"]) for row in branch.box.ctl("show forwards")] == [(own, "202")]
    branch.answer("202", HZ["102"])
    ident = branch.dial("102", own, HZ["202"], talk=13)
    one, two = branch.done(ident), branch.at("202")
    branch.hears(ident, HZ["202"], HZ["102"], two["answered"] + 1000, one["ended"] - 500, called=True)
    code(branch, own, "*61#", "en/fwd.off")
    assert branch.box.ctl("show forwards") == []
    code(branch, own, "*65", "en/dnd.on")
    assert branch.done(branch.dial("202", own))["outcome"] == "sip-486"
    code(branch, own, "*65", "en/dnd.off")
    code(branch, own, "*56", "en/night.on")
    code(branch, own, "*56", "en/night.off")
    branch.answer("202", HZ[own])
    short = branch.dial(own, "*5001", HZ["202"], talk=12)
    assert branch.done(short)["ended"] - branch.at("202")["answered"] > 5000


@pytest.mark.parametrize(("own", "taker"), [("101", "202"), ("201", "103")])
def test_a_call_is_parked_and_taken_back_elsewhere(branch: Branch, own: str, taker: str) -> None:
    branch.answer("102", HZ[own], HZ[taker], talk=60)
    parker = branch.dial(own, "102", HZ["102"], keys="*70@12", talk=40)
    branch.done(parker)
    assert said(branch.heard(parker), "en/park.at.1") > 0.5
    branch.sleep(4)
    back = branch.dial(taker, "*711", HZ["102"], talk=13)
    two, held = branch.done(back), branch.at("102")
    assert HZ["102"] in [float(hz) for hz in two["partners"]]
    assert branch.heard(held["ident"], two["ended"] - 8000, two["ended"] - 500).tone_dbm0(HZ[taker]) > -30
    parked = wait_until(lambda: next((row for row in branch.records() if "parked" in branch.history(row)), None), "the record", 30)
    assert "unparked" in branch.history(parked)
    assert [leg["endpoint"] for leg in branch.legs(parked)] == [own, "102", taker]


@pytest.mark.parametrize(("own", "keys"), [("101", "!@12,202@2,!@14"), ("101", "*3202@12,*72@14"), ("201", "*3202@12,*72@14")])
def test_three_talk_and_two_go_on(branch: Branch, own: str, keys: str) -> None:
    branch.answer("102", HZ[own], HZ["202"], talk=80)
    branch.answer("202", HZ[own], HZ["102"], talk=80)
    ident = branch.dial(own, "102", HZ["102"], HZ["202"], keys=keys, talk=70)
    one, two, three = branch.done(ident), branch.at("102"), branch.at("202")
    wait_until(lambda: any("three-party" in branch.history(row) for row in branch.records()), "the record of the three", 30)
    began = one["pressed"][-1][1] + 2000
    ends = min(one["ended"], two["ended"], three["ended"]) - 500
    for person, others in ((ident, ("102", "202")), (two["ident"], (own, "202")), (three["ident"], (own, "102"))):
        sound = branch.heard(person, began, ends)
        for other in others:
            assert sound.tone_dbm0(HZ[other]) > -32, f"{person} hears {other} at {sound.tone_dbm0(HZ[other]):.1f} dBm0"


def test_a_group_rings_and_the_first_has_the_call(branch: Branch) -> None:
    branch.answer("202", HZ["101"], after=3)
    ident = branch.dial("101", "600", HZ["202"], talk=20)
    one, two = branch.done(ident), branch.at("202")
    branch.hears(ident, HZ["202"], HZ["101"], two["answered"] + 1000, one["ended"] - 500, called=True)
    record = branch.records()[0]
    assert {leg["endpoint"]: leg["cause"] for leg in branch.legs(record)[1:]} == {"102": "answered-elsewhere", "202": "normal"}


def test_a_conference_of_three_with_pin(branch: Branch) -> None:
    everybody = ("101", "201", "202")
    people = [branch.dial(own, "700", *(HZ[one] for one in everybody), keys="4711#@2", talk=60) for own in everybody]
    done = [branch.done(one) for one in people]
    began = max(one["pressed"][-1][1] for one in done) + 8000
    ends = min(one["ended"] for one in done) - 500
    for person, own in zip(people, everybody, strict=True):
        sound = branch.heard(person, began, ends)
        for other in set(everybody) - {own}:
            assert sound.tone_dbm0(HZ[other]) > -32, f"{own} hears {other} at {sound.tone_dbm0(HZ[other]):.1f} dBm0"
        assert music_dbm0(sound) < -40


def test_who_holds_by_code_and_hangs_up_is_rung_again(branch: Branch) -> None:
    ident, _ = branch.call("1350", HZ["101"], hang_up_after=60)
    branch.answer("101", CALLER_HZ, keys="*2@talk,h@4")
    first = branch.at("101")
    branch.answer("101", CALLER_HZ, talk=12)
    caller = branch.done(ident)

    def rung_again() -> dict[str, Any] | None:
        people = branch.world("results")["people"]
        return next((p for p in people if p["number"] == "1" and p["started"] > first["ended"] and p["done"]), None)

    again = wait_until(rung_again, "the call after the recall is over", 30)
    branch.hears(ident, HZ["101"], CALLER_HZ, again["answered"] + 1500, min(again["ended"], caller["ended"]) - 1000, called=True)
    assert "held-recall" in branch.history(branch.records()[0])


@pytest.mark.parametrize("own", ["101", "202"])
def test_a_colleague_is_found_by_name_and_called(branch: Branch, own: str) -> None:
    branch.answer("201", HZ[own])
    ident = branch.dial(own, "*51", HZ["201"], keys="2662#@3,1@8", talk=30)
    one, two = branch.done(ident), branch.at("201")
    heard = branch.heard(ident)
    assert said(heard, "en/dir.ask") > 0.5 and said(heard, "en/dir.hit.1") > 0.5
    assert HZ["201"] in [float(hz) for hz in one["partners"]] and two["display"].get("number") == own
    assert "directory" in branch.history(branch.records()[0])
