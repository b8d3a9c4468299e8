"""Line cards that misbehave while people talk: what they heard proves that calls go on.

One branch in virtual time. A person in a call must hear the other in every turn, at level and without a gap; a sound device that stalls
may cost its 200 ms, and not more than 100 ms after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.branch import HZ, LEVEL, Branch

pytestmark = [pytest.mark.e2e]
STALL_MS = 200
BACK_MS = 100
TURN_MS = 4000
ECHO_MS = 300  # of residual echo that is compared with what it was before
QUIET = -65.0  # dBm0: what nobody hears is as good as silence


def talk(branch: Branch, caller: str, called: str, seconds: float) -> tuple[str, dict[str, Any]]:
    """Two people begin to talk; (the caller's name, the called one)."""
    branch.answer(called, HZ[caller], after=1)
    ident = branch.dial(caller, called, HZ[called], talk=seconds)

    def met() -> dict[str, Any] | None:
        people = branch.status()["people"]
        return next((p for p in people if p["ident"] != ident and p["met"] > 0 and str(int(HZ[caller])) in p["partners"]), None)

    wait_until(lambda: any(p["ident"] == ident and p["met"] > 0 for p in branch.status()["people"]), f"{caller} hears {called}")
    return ident, wait_until(met, f"{called} hears {caller}")


@pytest.mark.parametrize(
    ("place", "number", "name", "value"),
    [
        ("chain", "fxo", "all-ff", None), ("chain", "fxs", "all-ff", None), ("chain", "fxs", "all-00", None),
        ("chain", "fxs", "flip", 0.001),
        ("chain", "fxs", "slip", None), ("chain", "fxs", "int-stuck", None), ("fxs", "3", "reset", None), ("fxs", "3", "short", None),
    ],
    ids=lambda value: str(value) if value is not None else "",
)  # fmt: skip
def test_calls_on_other_ports_go_on_undisturbed(branch: Branch, place: str, number: str, name: str, value: float | None) -> None:
    """101 and 102 talk on FXS jacks 1 and 2 while something on their chain, or jack 3 beside them, goes wrong for 4 s."""
    ident, other = talk(branch, "101", "102", 30)
    begun = branch.world("status")["now_ms"]
    facts = {} if value is None else {"value": value}
    branch.world("fault", place=place, number=number, fault=name, seconds=4, **facts)
    one, two = branch.done(ident), branch.done(other["ident"])
    assert one["ended"] > begun + 5_000, "the call ended with the fault"
    assert one["ended_by"] == "me"
    start = max(begun - 3_000, one["met"], two["met"])  # the turn in which they met was heard in part
    branch.hears(ident, HZ["102"], HZ["101"], start, one["ended"] - 500, called=True)
    branch.hears(two["ident"], HZ["101"], HZ["102"], start, one["ended"] - 500, called=False)
    wait_until(lambda: {row["available"] for row in branch.box.ctl("show lines")} == {"idle"}, "all ports are in service again", 60)


def residual(branch: Branch, ident: str, begin: int, end: int) -> float:
    """All that comes back while the other is silent, dBm0."""
    return max(QUIET, branch.heard(ident, begin, end).level_dbm0())


@pytest.mark.parametrize("name", ["stall", "xrun"])
def test_a_stalled_sound_device_costs_its_time_and_no_call(branch: Branch, name: str) -> None:
    """In the turn of a SIP phone (201) towards an analogue one (101), and in that of another pair of SIP phones (203, 202)."""
    pure, other = talk(branch, "203", "202", 60)
    ident, partner = talk(branch, "101", "201", 40)
    now = branch.world("status")["now_ms"]
    turn = (now // TURN_MS + 4) * TURN_MS + 2000  # the called one speaks from here for 1.6 s
    lost = STALL_MS if name == "stall" else 10
    branch.world("fault", place="board", fault=name, at=turn + 500, **({"value": lost} if name == "stall" else {}))
    one, partner = branch.done(ident), branch.done(partner["ident"])
    heard = branch.heard(ident, turn + 200, turn + 1500)
    assert heard.longest_gap_ms(HZ["201"], LEVEL - 10) <= lost + BACK_MS
    after = branch.heard(ident, turn + 500 + lost + BACK_MS, turn + 1500)
    assert after.tone_dbm0(HZ["201"]) == pytest.approx(LEVEL, abs=1)
    assert after.longest_gap_ms(HZ["201"], LEVEL - 10) <= 20
    echo = branch.heard(partner["ident"], turn + 200, turn + 1500)
    assert echo.tone_dbm0(HZ["201"]) < LEVEL - 30, "the phone hears itself after the stall"
    worst = residual(branch, partner["ident"], turn + 200, turn + 500)
    for begin in range(turn + 500 + lost + BACK_MS, turn + 1500 - ECHO_MS + 1, ECHO_MS // 3):
        found = residual(branch, partner["ident"], begin, begin + ECHO_MS)
        assert found < worst + 3, f"echo of {found:.1f} dBm0 {begin - turn - 500} ms after the stall began, {worst:.1f} before it"
    branch.hears(ident, HZ["201"], HZ["101"], turn + 3000, one["ended"] - 500, called=True)
    branch.hears(partner["ident"], HZ["101"], HZ["201"], turn + 1800, one["ended"] - 500, called=False)
    sip, other = branch.done(pure), branch.done(other["ident"])
    branch.hears(pure, HZ["202"], HZ["203"], turn - 3000, sip["ended"] - 500, called=True)
    branch.hears(other["ident"], HZ["203"], HZ["202"], turn - 3000, sip["ended"] - 500, called=False)
    assert branch.heard(pure, turn + 200, turn + 1500).longest_gap_ms(HZ["202"], LEVEL - 10) <= 20, "SIP phones heard the stall"


@pytest.mark.realtime
def test_cards_that_lost_their_power_come_back_by_themselves(appliance: Callable[..., Appliance]) -> None:
    """A world that is killed takes its chips with it: those of the next are as after a power failure."""
    box = appliance(extra=("--speed", "1500"))
    old = box.kill("world")
    wait_until(lambda: box.pid("world") != old, "a new world", 20)
    failed: set[str] = set()             # each for ten seconds of the box's time: those of the first may be over with the last

    def all_failed() -> bool:
        failed.update(alarm["kind"] for alarm in box.ctl("show alarms") if alarm["kind"].startswith("chip:"))
        return len(failed) == 8

    wait_until(all_failed, "all ports fail", 30)
    wait_until(lambda: {line["available"] for line in box.ctl("show lines")} == {"idle"}, "all ports are back", 60)
    wait_until(lambda: box.ctl("show alarms") == [], "no alarm stands", 30)
    box.world({"do": "phone", "phone": 3, "action": "answer", "after": 1, "tone_hz": 880, "partners_hz": [440]})
    plan = {"number": "103", "tone_hz": 440, "talk": 5, "partners_hz": [880], "wait": True}
    seen = box.world({"do": "phone", "phone": 2, "action": "dial", **plan})["result"]
    assert seen["partners"]["880"] == pytest.approx(-16, abs=1)
