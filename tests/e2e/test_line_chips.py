"""The product on its line chips: a port in trouble is alone with it, restarted processes take the chips over, the copper tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
FAST = ("--speed", "1500")


def row(box: Appliance, endpoint: str) -> dict[str, Any]:
    found: dict[str, Any] = next(line for line in box.ctl("show lines") if line["endpoint"] == endpoint)
    return found


def alarms(box: Appliance) -> dict[str, dict[str, str]]:
    return {alarm["kind"]: alarm for alarm in box.ctl("show alarms")}


def rested(box: Appliance) -> None:
    """Every chip is up, every line idle."""
    wait_until(lambda: {line["available"] for line in box.ctl("show lines")} == {"idle"}, "the lines rest", 40)


def raised(box: Appliance) -> set[str]:
    """Kinds of the alarms so far, also of those that are over: management writes them down."""
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(  # its data base may not be there yet
        sqlite3.connect(f"file:{box.state / 'manage.db'}?mode=ro", uri=True)
    ) as db:
        return {kind for (kind,) in db.execute("SELECT kind FROM alarms")}
    return set()


def fault(box: Appliance, place: str, number: str, name: str, **plan: Any) -> None:
    box.world({"do": "fault", "place": place, "number": number, "fault": name, **plan})


def call_between_telephones(box: Appliance, caller: int = 2, called: int = 3) -> None:
    """Two people at analog phones hear one another."""
    box.world({"do": "phone", "phone": called, "action": "answer", "after": 1, "tone_hz": 880, "partners_hz": [440]})
    plan = {"number": f"10{called}", "tone_hz": 440, "talk": 10, "partners_hz": [880], "wait": True}
    seen = box.world({"do": "phone", "phone": caller, "action": "dial", **plan})["result"]
    assert seen["partners"]["880"] == pytest.approx(-16, abs=1.5)


def said(box: Appliance, process: str) -> list[str]:
    """The messages in the log of `process` so far."""
    return [str(line["message"]) for line in box.log(process)]


def test_a_telephone_line_on_earth_shuts_down_alone_and_comes_back_by_itself(appliance: Start) -> None:
    box = appliance(extra=FAST)
    rested(box)
    fault(box, "fxs", "1", "earth")
    alarm = wait_until(lambda: alarms(box).get("chip:101"), "the alarm", 20)
    assert "touches earth" in alarm["text"]
    assert "分机 101" in alarm["text_zh"]
    wait_until(lambda: "out of service" in alarms(box).get("chip:101", alarm)["text"], "the port gives up", 30)
    assert row(box, "101")["available"] == "fault"
    call_between_telephones(box)
    assert set(alarms(box)) == {"chip:101"}
    fault(box, "fxs", "1", "earth", on=False)
    wait_until(lambda: row(box, "101")["available"] == "idle", "the port comes back", 40)
    wait_until(lambda: alarms(box) == {}, "the alarm goes", 20)
    call_between_telephones(box, 1, 2)
    illegal = box.world({"do": "oracle"})["illegal"]
    assert illegal == [], "an access that the data sheets forbid, or a transistor that burned"


def test_a_line_chip_that_resets_itself_is_brought_up_and_its_neighbours_do_not_notice(appliance: Start) -> None:
    box = appliance(extra=FAST)
    rested(box)
    for number in ("1", "3"):
        fault(box, "fxo", number, "reset")
    fault(box, "fxs", "4", "reset")
    wait_until(lambda: {"chip:line/1", "chip:line/3", "chip:104"} <= raised(box), "the alarms", 20)
    wait_until(lambda: alarms(box) == {}, "the alarms go", 30)
    rested(box)
    wait_until(lambda: sum("brought up again" in text for text in said(box, "media")) == 3, "the log tells of three", 20)
    call_between_telephones(box, 4, 2)


def test_a_media_process_that_is_replaced_takes_the_chips_over(appliance: Start) -> None:
    box = appliance(extra=FAST)
    rested(box)
    old = box.kill("media")
    wait_until(lambda: box.pid("media") != old, "a new media process", 20)
    wait_until(lambda: any("8 ports taken over" in text for text in said(box, "media")), "the chips are taken over", 20)
    rested(box)
    call_between_telephones(box)
    assert not any("lifeline" in text and "joined" in text for text in said(box, "parent"))


def test_measured_calibrations_are_kept_for_the_next_start(appliance: Start) -> None:
    box = appliance(extra=FAST)
    wait_until((box.state / "chips.json").is_file, "the chips are up", 30)  # core answers before
    kept = json.loads((box.state / "chips.json").read_text())
    assert kept["board"] == "world"
    assert sorted(kept["fxs"]) == ["1", "2", "3", "4"]
    assert all(len(values) == 10 for values in kept["fxs"].values())


def test_a_port_that_does_not_come_up_stays_out_with_its_reason_until_it_does(appliance: Start) -> None:
    box = appliance(extra=FAST)
    rested(box)
    fault(box, "fxs", "3", "no-power")
    fault(box, "fxs", "3", "reset")
    old = box.kill("media")
    wait_until(lambda: box.pid("media") != old, "a new media process", 20)

    def started() -> dict[str, str] | None:
        """The alarm of the new process: the old one may have had time for one of its own."""
        found = alarms(box).get("chip:103")
        return found if found is not None and "the port did not come up (start)" in found["text"] else None

    alarm = wait_until(started, "the alarm", 30)
    assert "register 82" in alarm["text"], "what was read is told"
    assert row(box, "103")["available"] == "fault"
    call_between_telephones(box, 1, 2)
    fault(box, "fxs", "3", "no-power", on=False)
    wait_until(lambda: row(box, "103")["available"] == "idle", "the port comes back by itself", 40)
    wait_until(lambda: alarms(box) == {}, "the alarm goes", 20)
    call_between_telephones(box, 2, 3)


def test_a_card_that_lost_its_supply_is_brought_up_again_by_the_running_media_process(appliance: Start) -> None:
    """A world that is killed comes back with chips as after a power failure; media goes on."""
    box = appliance()
    rested(box)
    media, old = box.pid("media"), box.kill("world")
    wait_until(lambda: box.pid("world") != old, "a new world", 20)
    wait_until(lambda: sum("brought up again" in text for text in said(box, "media")) >= 8, "eight chips are brought up", 40)
    rested(box)
    wait_until(lambda: alarms(box) == {}, "the alarms go", 30)
    assert box.pid("media") == media


def test_the_lifeline_joins_line_and_telephone_when_nobody_serves_them_for_ten_seconds(appliance: Start) -> None:
    """Call control is held still, and each one that is started in its place: the exchange rings the telephone through the relay."""
    box = appliance(extra=FAST)

    def relay() -> str:
        return str(box.world({"do": "oracle"})["lifeline"])

    wait_until(lambda: relay() == "apart", "the relay has current", 30)
    began, stopped, held = time.monotonic(), set(), threading.Event()

    def hold_still() -> None:
        while not held.wait(0.002):
            with contextlib.suppress(OSError, ValueError):
                core = box.pid("core")
                if core not in stopped:
                    os.kill(core, signal.SIGSTOP)
                    stopped.add(core)

    holder = threading.Thread(target=hold_still)
    holder.start()
    try:
        wait_until(lambda: relay() == "joined", "the relay lets go", 60)
        assert time.monotonic() - began > 10, "a restart is waited for"
        wait_until(lambda: any("the jacks are joined" in text for text in said(box, "parent")), "the log tells of it", 10)
        box.world({"do": "phone", "phone": 1, "action": "answer", "after": 1, "tone_hz": 880, "partners_hz": [620]})
        plan = {"from": "13900000000", "line": 1, "tone_hz": 620, "partners_hz": [880], "hang_up_after": 6, "wait": True}
        caller = box.world({"do": "call", **plan})["result"]
        assert caller["outcome"] == "answered" and "880" in caller["partners"], "they talk without the appliance"
    finally:
        held.set()
        holder.join()
        for core in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(core, signal.SIGKILL)
    wait_until(lambda: relay() == "apart", "a new call control takes the jacks back", 40)
    rested(box)
