"""The main job: a PSTN call rings in, is greeted, chooses, waits, is answered by a person, recorded, rated and written down.

Evidence is what each side recorded: the caller's handset in the simulated PSTN, the phone's own decoder, and the recording.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound, read_recording, read_wav
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
CALLER_HZ, AGENT_HZ = 440, 880


def contacts(box: Appliance) -> list[dict[str, Any]]:
    """Closed contacts as they are on disk, oldest first."""
    with sqlite3.connect(f"file:{box.state / 'calls.db'}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM contacts WHERE ended_ms IS NOT NULL ORDER BY seq")]


def contact_of(box: Appliance, caller: str, timeout: float = 30) -> dict[str, Any]:
    """The closed contact of this caller."""
    found: dict[str, Any] = wait_until(
        lambda: next((row for row in contacts(box) if row["caller"] == caller), None), f"the record of {caller}", timeout
    )
    return found


def person(box: Appliance, ident: str) -> dict[str, Any]:
    people: list[dict[str, Any]] = box.world({"do": "results", "person": ident})["people"]
    return people[0]


def log_in(box: Appliance, agent: str, extension: str) -> None:
    box.ctl("agent login", agent=agent, extension=extension)


def check_hears(sound: Sound, other: float, own: float, level: float, who: str) -> None:
    """The other party's tone at its level within 1 dB, no gap over 60 ms, nothing of the own voice."""
    assert sound.tone_dbm0(other) == pytest.approx(level, abs=1), who
    assert sound.longest_gap_ms(other, level - 10) <= 60, who
    assert sound.tone_dbm0(own) < level - 30, f"{who} hears itself"


def test_caller_reaches_an_agent_through_menu_and_queue(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    box = appliance()
    anna = phone(box, "201", hz=AGENT_HZ, level=-16)
    log_in(box, "8001", "201")
    tape = tmp_path / "caller.wav"
    caller = box.world(
        {
            "do": "call",
            "from": "13800138000",
            "line": 1,
            "caller_id": "fsk",
            "press": "2@voice,1@voice",  # English, then sales, both while the prompt speaks
            "say": f"tone:{CALLER_HZ}",  # steadily, so that both directions carry sound at the same time
            "partners_hz": [AGENT_HZ],
            "talk": 6,
            "record": str(tape),
        }
    )["person"]
    anna.wait("CALL_INCOMING", 60)
    anna.answer()
    anna.wait("CALL_ESTABLISHED")
    wait_until(lambda: person(box, caller)["done"], "the caller is done", 60)
    anna.wait("CALL_CLOSED", 15)

    record = contact_of(box, "13800138000")
    assert record["language"] == "en"
    assert record["queue"] == "sales"
    assert record["agent"] == "8001"
    assert record["rings"] >= 1
    assert record["cause"] == "normal"
    assert record["first_to_leave"] == "caller"
    assert record["evidence"] in ("polarity", "loop-drop", "busy-tone")
    assert 3000 <= record["talk_ms"] <= 12_000
    assert record["notice"] == 1

    talk = anna.heard()
    start = talk.first_heard_s(CALLER_HZ, -19, block_ms=200) + 1  # the words that Anna hears before it have that pitch for moments only
    check_hears(talk.part(start, start + 3.5), CALLER_HZ, AGENT_HZ, -16, "Anna")
    heard = read_wav(tape)[0]  # ends when the caller hangs up
    check_hears(heard.part(heard.seconds - 5, heard.seconds - 1), AGENT_HZ, CALLER_HZ, -16, "the caller")

    left, right = read_recording(box.state, record["recording"])
    assert left.tone_dbm0(CALLER_HZ) > -25
    assert right.tone_dbm0(AGENT_HZ) > -25
    assert right.tone_dbm0(CALLER_HZ) < left.tone_dbm0(CALLER_HZ) - 25


def test_analog_agent_answers_and_the_caller_rates(appliance: Start) -> None:
    box = appliance()
    log_in(box, "8004", "102")
    box.world({"do": "phone", "phone": 2, "action": "answer", "after": 2, "tone_hz": AGENT_HZ, "talk": 9, "partners_hz": [CALLER_HZ]})
    caller = box.world(
        {
            "do": "call", "from": "13900139000", "line": 2, "caller_id": "dtmf", "press": "1@voice,1@voice,2@rating",
            "partners_hz": [AGENT_HZ],
        }
    )["person"]  # fmt: skip
    wait_until(lambda: person(box, caller)["done"], "the caller is done", 120)
    record = contact_of(box, "13900139000")
    assert record["language"] == "zh"
    assert record["agent"] == "8004"
    assert record["rating"] == 2
    assert record["first_to_leave"] == "agent"
    seen = person(box, caller)
    assert str(AGENT_HZ) in seen["partners"]


def test_call_without_caller_id_is_answered_all_the_same(appliance: Start) -> None:
    box = appliance()
    caller = box.world({"do": "call", "from": "", "line": 3, "caller_id": "none", "hang_up_after": 4})["person"]
    wait_until(lambda: person(box, caller)["done"], "the caller is done", 60)
    wait_until(lambda: contacts(box), "a record", 30)
    record = contacts(box)[0]
    assert record["caller"] == ""
    assert record["cause"] == "abandoned"
    assert record["first_to_leave"] == "caller"
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")


def test_outbound_call_from_a_sip_phone_reaches_the_pstn(appliance: Start, phone: Phone) -> None:
    box = appliance()
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 3, "say": f"tone:{CALLER_HZ}"})
    anna = phone(box, "201", hz=AGENT_HZ, level=-16)
    anna.dial("962001234")
    anna.wait("CALL_ESTABLISHED", 30)

    def callee() -> dict[str, Any]:
        return next((one for one in box.world({"do": "results"})["people"] if one["kind"] == "callee"), {})

    wait_until(lambda: callee().get("answered", -1) >= 0, "dial tone, dialling, ringing, and somebody answers", 30)
    box.world({"do": "sleep", "ms": 6000})  # the conversation
    anna.hang_up()
    wait_until(lambda: contacts(box), "a record", 30)
    record = contacts(box)[0]
    assert record["kind"] == "outbound"
    assert record["called"].endswith("62001234")
    assert record["cause"] == "normal"
    heard = anna.heard()
    start = heard.first_heard_s(CALLER_HZ, -26)
    assert start < 14
    wait_until(lambda: callee()["done"], "the exchange sees the line on-hook")
    assert callee()["ended_by"] == "far"


def test_analog_phones_call_each_other(appliance: Start) -> None:
    box = appliance()
    box.world({"do": "phone", "phone": 2, "action": "answer", "after": 2, "tone_hz": 880, "partners_hz": [440]})
    call = {"number": "102", "tone_hz": 440, "talk": 8, "partners_hz": [880], "wait": True}
    seen = box.world({"do": "phone", "phone": 1, "action": "dial", **call})["result"]
    assert seen["partners"]["880"] == pytest.approx(-16, abs=1)
    record = wait_until(lambda: contacts(box), "a record", 30)[0]
    assert record["kind"] == "internal"
    assert record["talk_ms"] > 2000
