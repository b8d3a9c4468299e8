"""Core is killed in the middle of calls: people go on talking, and what they do meanwhile is acted on afterwards.

Evidence: what both sides recorded across the kill, what the simulated exchange and phones saw of the line (every hook and
feed change), and the records. Times are those of the world and of the records; the wall clock only bounds waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import evidence as seen
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import read_wav
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
OUTSIDE_HZ, INSIDE_HZ = 440, 880
STRAIGHT_TO_SALES = {'[[inbound]]\nto = "menu/language"': '[[inbound]]\nto = "queue/sales"\ngreeting = false'}
BACK_MS = 2000
NEAR_MS = 100


def kill_core(box: Appliance) -> int:
    """SIGKILL core; the world's time just before."""
    killed = int(box.world({"do": "status"})["now_ms"])
    box.kill("core")
    return killed


def check_adopted(box: Appliance, killed: int, calls: int = 1) -> list[str]:
    """Core is back within 2 s of event time and knows the calls; their contact ids."""
    known = [row["contact"] for row in box.ctl("show calls")]  # waits in the control socket until core is back
    assert len(known) == calls, known
    assert box.ctl("show status")["adopted"]
    base = seen.wall_base(box)
    for contact in known:
        adopted = wait_until(
            lambda contact=contact: [row["at_ms"] for row in seen.rows(box, "contact_events", contact) if row["kind"] == "adopted"],
            f"{contact} is noted as taken over",
        )
        assert adopted[-1] - base - killed < BACK_MS
    return known


def drives(box: Appliance, since: int) -> list[dict[str, Any]]:
    """Every change of hook or feed that the world saw on its wires."""
    notes = box.world({"do": "observations", "since": since})["seen"]
    return [note for note in notes if note["what"] in ("hook", "phone-feed", "phone-ring", "phone-tinkle", "released")]


def test_queue_call_goes_on_when_core_is_killed(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    box = appliance(overrides=STRAIGHT_TO_SALES)
    anna = phone(box, "201", hz=INSIDE_HZ, level=-16, answer="auto")
    seen.log_in(box, "8001", "201")
    box.world({"do": "exchange", "line": 1, "release": "polarity+busy"})
    caller = box.world({"do": "call", "from": "13800138000", "line": 1, "tone_hz": OUTSIDE_HZ, "partners_hz": [INSIDE_HZ]})["person"]
    wait_until(lambda: seen.person(box, caller)["met"] >= 0, "caller and agent talk", 60)
    seen.world_sleep(box, 1500)
    killed = kill_core(box)
    (contact,) = check_adopted(box, killed)
    (agent,) = [row for row in box.ctl("show agents") if row["agent"] == "8001"]
    assert (agent["state"], agent["contact"]) == ("talking", contact)
    seen.world_sleep(box, 2000)
    box.world({"do": "hang-up", "person": caller})
    anna.wait("CALL_CLOSED", 15)

    saw = seen.person(box, caller)
    assert [note for note in drives(box, killed) if note["at"] < saw["ended"]] == [], "the adoption drove a line"
    record = seen.contact_of(box, "13800138000")
    base = seen.wall_base(box)
    assert (record["agent"], record["queue"], record["cause"], record["first_to_leave"]) == ("8001", "sales", "normal", "caller")
    assert record["evidence"] == "polarity"
    assert abs(record["answered_ms"] - base - saw["answered"]) <= NEAR_MS
    assert abs(record["ended_ms"] - base - saw["ended"]) <= NEAR_MS
    assert abs(record["talk_ms"] - (saw["ended"] - saw["met"])) <= NEAR_MS + 100  # the first tone is only noticed after some blocks

    heard = seen.tape_of(box, caller, tmp_path / "caller.wav")[0]
    assert heard.longest_gap_ms(INSIDE_HZ, -26) <= 60
    assert anna.heard().part(0.2).longest_gap_ms(OUTSIDE_HZ, -26) <= 60
    left, right = read_wav(box.state / "recordings" / record["recording"])
    assert abs(left.seconds * 1000 - record["talk_ms"]) < 500
    assert left.part(0.5).longest_gap_ms(OUTSIDE_HZ, -26) <= 60
    assert right.part(0.5).longest_gap_ms(INSIDE_HZ, -26) <= 60
    seen.check_at_rest(box)
