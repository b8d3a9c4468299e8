"""Core is killed in the middle of calls: people go on talking, and what they do meanwhile is acted on afterwards.

Evidence: what both sides recorded across the kill, what the simulated exchange and phones saw of the line (every hook and
feed change), and the records. Times are those of the world and of the records; the wall clock only bounds waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import evidence as seen
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import read_recording
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
OUTSIDE_HZ, INSIDE_HZ = 600, 880  # 440 Hz would be dial tone here
STRAIGHT_TO_SALES = {'[[inbound]]\nto = "menu/language"': '[[inbound]]\nto = "queue/sales"\ngreeting = false'}
BACK_MS = 2000
NEAR_MS = 100
TURN_MS, VOICE_MS = 4000, 1600  # how people in the world talk


def kill_core(box: Appliance) -> int:
    """SIGKILL core; the world's time just before."""
    killed = int(box.world({"do": "status"})["now_ms"])
    box.kill("core")
    return killed


def adoptions(box: Appliance, contact: str) -> list[int]:
    """Unix ms at which a restarted core took the contact over."""
    return [row["at_ms"] for row in seen.rows(box, "contact_events", contact) if row["kind"] == "adopted"]


def check_adopted(box: Appliance, killed: int, calls: int = 1) -> list[str]:
    """Core is back within 2 s of event time and knows the calls; their contact ids."""
    known = [row["contact"] for row in box.ctl("show calls")]  # waits in the control socket until core is back
    assert len(known) == calls, known
    assert box.ctl("show status")["adopted"]
    base = seen.wall_base(box)
    for contact in known:
        adopted = wait_until(partial(adoptions, box, contact), f"{contact} is noted as taken over")
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
    voice = {"say": f"tone:{OUTSIDE_HZ}@-16", "partners_hz": [INSIDE_HZ]}
    caller = box.world({"do": "call", "from": "13800138000", "line": 1, **voice})["person"]
    wait_until(lambda: seen.person(box, caller)["met"] >= 0, "caller and agent talk", 60)
    seen.world_sleep(box, 3500)
    killed = kill_core(box)
    (contact,) = check_adopted(box, killed)
    (agent,) = [row for row in box.ctl("show agents") if row["agent"] == "8001"]
    assert (agent["state"], agent["contact"]) == ("talking", contact)
    seen.world_sleep(box, 2000)
    box.world({"do": "hang-up", "person": caller})
    anna.wait("CALL_CLOSED")

    saw = seen.person(box, caller)
    assert [note for note in drives(box, killed) if note["at"] < saw["ended"]] == [], "the adoption drove a line"
    record = seen.contact_of(box, "13800138000")
    base = seen.wall_base(box)
    assert (record["agent"], record["queue"], record["cause"], record["first_to_leave"]) == ("8001", "sales", "normal", "caller")
    assert record["evidence"] == "polarity"
    assert abs(record["answered_ms"] - base - saw["answered"]) <= NEAR_MS
    assert abs(record["ended_ms"] - base - saw["ended"]) <= NEAR_MS
    assert abs(record["talk_ms"] - (saw["ended"] - saw["met"])) <= NEAR_MS + 100  # the first tone is only noticed after some blocks

    heard, _ = seen.tape_of(box, caller, tmp_path / "caller.wav")
    left, right = read_recording(box.state, record["recording"])
    assert abs(left.seconds * 1000 - record["talk_ms"]) < 500
    across = (saw["ended"] - killed) / 1000 + 1  # from a second before the kill to the end; all four recordings end together
    for sound, hz in ((heard, INSIDE_HZ), (anna.heard(), OUTSIDE_HZ), (left, OUTSIDE_HZ), (right, INSIDE_HZ)):
        part = sound.part(sound.seconds - across, sound.seconds - 0.3)
        assert part.first_heard_s(hz, -26) < 0.1
        assert part.longest_gap_ms(hz, -26) <= 60
    seen.check_at_rest(box)


def hang_up(box: Appliance, phone: Baresip) -> tuple[int, int]:
    """A SIP phone says BYE; the world's times just before and after."""
    before = int(box.world({"do": "status"})["now_ms"])
    phone.hang_up()
    return before, int(box.world({"do": "status"})["now_ms"])


@pytest.mark.parametrize("second", ["udp", "tcp"])
def test_sip_call_goes_on_and_a_bye_in_the_gap_counts(appliance: Start, phone: Phone, second: str) -> None:
    """Anna (UDP) calls Bo (UDP or TCP): core is killed, they talk on; it is killed again, and at once one of them hangs up."""
    box = appliance()
    anna = phone(box, "201", hz=OUTSIDE_HZ)
    bo = phone(box, "202", hz=INSIDE_HZ, answer="auto", transport=second)
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    seen.world_sleep(box, 1500)
    killed = kill_core(box)
    check_adopted(box, killed)
    assert box.ctl("show calls")[0]["phase"] == "talking"
    seen.world_sleep(box, 2000)
    leaver, other = (anna, bo) if second == "udp" else (bo, anna)
    killed = kill_core(box)
    before, after = hang_up(box, leaver)
    for one in (leaver, other):
        one.wait("CALL_CLOSED")
    record = seen.contact_of(box, "202")
    base = seen.wall_base(box)
    assert (record["cause"], record["evidence"]) == ("normal", "bye")
    assert record["first_to_leave"] == ("caller" if leaver is anna else "agent")
    (left,) = [leg for leg in seen.rows(box, "legs", record["id"]) if leg["endpoint"] == leaver.user]
    assert before - NEAR_MS <= left["ended_ms"] - base <= after + NEAR_MS
    assert before - NEAR_MS <= record["connected_ms"] + record["talk_ms"] - base <= after + NEAR_MS
    assert left["ended_ms"] <= record["ended_ms"] < killed + base + BACK_MS
    for listener, hz in ((anna, INSIDE_HZ), (bo, OUTSIDE_HZ)):
        talk = listener.heard().part(0.5)
        assert talk.seconds > 2.5
        assert talk.longest_gap_ms(hz, -20) <= 60, listener.user
    seen.check_at_rest(box)

    # The phone whose connection died with core is reached again, from both sides.
    events = len(bo.events)
    anna.dial("202")
    bo.wait("CALL_ESTABLISHED", start=events)
    box.ctl("show calls")
    anna.hang_up()
    bo.wait("CALL_CLOSED", start=events)
    seen.check_at_rest(box)


def outbound_talk(box: Appliance, number: str) -> tuple[str, str]:
    """Analog phone 1 calls out over a line and is answered; the idents of (desk, callee) once they hear each other."""
    desk = box.world({
        "do": "phone", "phone": 1, "action": "dial", "number": f"9{number}", "wait": False, "talk": 60, "tone_hz": INSIDE_HZ,
        "partners_hz": [OUTSIDE_HZ], "stay": False,
    })["person"]  # fmt: skip

    def callee() -> str:
        people = box.world({"do": "results"})["people"]
        return next((one["ident"] for one in people if one["kind"] == "callee" and not one["done"] and one["met"] >= 0), "")

    found: str = wait_until(callee, "desk and callee talk", 60)
    # A line that does not reverse its polarity is known to be answered by ear, some time after people have met.
    wait_until(lambda: [row for row in box.ctl("show calls") if row["phase"] == "talking"], "the answer is known", 60)
    return desk, found


def test_on_hook_and_pstn_release_in_the_gap_end_the_call(appliance: Start, tmp_path: Path) -> None:
    """Analog phone to PSTN: talk goes on; then the phone is put down in a gap; then, in the next call, the far end leaves in one."""
    box = appliance(extra=("--speed", "1000"))
    box.world({"do": "partners", "partners_hz": [INSIDE_HZ]})
    for number in ("62001234", "62001235"):
        box.world({"do": "number", "number": number, "kind": "answer", "answer_after": 2, "say": f"tone:{OUTSIDE_HZ}@-16"})
    for line in (1, 2, 3, 4):
        box.world({"do": "exchange", "line": line, "release": "polarity+busy"})

    desk, callee = outbound_talk(box, "62001234")
    box.world({"do": "speed", "percent": 100})
    seen.world_sleep(box, 1000)
    killed = kill_core(box)
    check_adopted(box, killed)
    seen.world_sleep(box, 1500)
    assert drives(box, killed) == [], "the adoption drove a line"

    killed = kill_core(box)
    box.world({"do": "phone", "phone": 1, "action": "hang-up"})
    box.ctl("show calls")
    far = seen.wait_done(box, callee)
    base = seen.wall_base(box)
    down = next(n["at"] for n in box.world({"do": "observations", "since": killed})["seen"] if n["what"] == "phone-hung-up")
    record = seen.contact_of(box, "962001234")
    assert (record["cause"], record["evidence"], record["first_to_leave"]) == ("normal", "on-hook", "caller")
    ends = {leg["kind"]: leg["ended_ms"] - base for leg in seen.rows(box, "legs", record["id"])}
    assert abs(ends["fxo"] - far["ended"]) <= 500  # the exchange takes a hook flash for nothing worse for so long
    assert abs(record["connected_ms"] + record["talk_ms"] - base - down) <= NEAR_MS
    assert abs(ends["fxs"] - down) <= NEAR_MS
    heard, start = seen.tape_of(box, callee, tmp_path / "callee.wav")
    for turn in range(far["met"] // TURN_MS * TURN_MS, down, TURN_MS):  # the desk dialled, so it speaks first in every turn
        first, last = max(turn, far["met"]), min(turn + VOICE_MS, down)
        if last - first >= 500:
            talk = heard.part((first - start) / 1000, (last - start) / 1000)
            assert talk.longest_gap_ms(INSIDE_HZ, -26) <= 60
            assert talk.tone_dbm0(INSIDE_HZ) > -18
    seen.check_at_rest(box)

    box.world({"do": "speed", "percent": 1000})
    desk, callee = outbound_talk(box, "62001235")
    box.world({"do": "speed", "percent": 100})
    killed = kill_core(box)
    box.world({"do": "hang-up", "person": callee})
    saw = seen.wait_done(box, desk)
    record = seen.contact_of(box, "962001235")
    assert (record["cause"], record["evidence"], record["first_to_leave"]) == ("normal", "polarity", "agent")
    left = next(leg for leg in seen.rows(box, "legs", record["id"]) if leg["kind"] == "fxo")
    gone = seen.person(box, callee)["ended"]
    assert abs(left["ended_ms"] - base - gone) <= NEAR_MS
    assert abs(record["connected_ms"] + record["talk_ms"] - base - gone) <= NEAR_MS
    assert saw["ended_by"] == "far"
    seen.check_at_rest(box)


def test_keys_pressed_in_the_gap_choose(appliance: Start) -> None:
    """A caller in the language menu presses 2 while core is away: the main menu is English afterwards."""
    box = appliance(extra=("--speed", "400"))
    seen.log_in(box, "8004", "102")
    box.world({"do": "phone", "phone": 2, "action": "answer", "after": 1, "tone_hz": INSIDE_HZ, "talk": 3, "partners_hz": [OUTSIDE_HZ]})
    caller = box.world({"do": "call", "from": "13800138001", "line": 2, "caller_id": "dtmf", "partners_hz": [INSIDE_HZ]})["person"]
    wait_until(lambda: [row for row in box.ctl("show calls") if row["phase"] == "menu"], "the caller hears the menu", 30)
    box.world({"do": "speed", "percent": 100})
    killed = kill_core(box)
    box.world({"do": "press", "person": caller, "keys": "2"})
    (contact,) = check_adopted(box, killed)
    menus = wait_until(
        lambda: (found := [row["data"] for row in seen.rows(box, "contact_events", contact) if row["kind"] == "key"]) and found,
        "the key is noted",
    )
    assert '"2"' in menus[0]
    box.world({"do": "speed", "percent": 1000})
    seen.world_sleep(box, 1500)
    box.world({"do": "press", "person": caller, "keys": "1"})
    seen.wait_done(box, caller, 60)
    record = seen.contact_of(box, "13800138001")
    assert (record["language"], record["queue"], record["agent"], record["first_to_leave"]) == ("en", "sales", "8004", "agent")
    seen.check_at_rest(box)
