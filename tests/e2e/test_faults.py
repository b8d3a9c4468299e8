"""Bad input and faults: wrong files, noisy lines, people who do not behave, full and stalled disks, killed processes.

After each of them: no stuck port, no zombie call, no lost record, no gap in anybody else's audio. Where no real SIP client
takes part the world runs faster than real time.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import evidence as seen
from tests.e2e.appliance import ROOT, SITE, Appliance, alive, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
OUTSIDE_HZ, INSIDE_HZ = 600, 880
FAST = ("--speed", "1500")
STRAIGHT_TO_SALES = {'[[inbound]]\nto = "menu/language"': '[[inbound]]\nto = "queue/sales"\ngreeting = false'}
CLONE_NEWNS, MS_REC_PRIVATE = 0x00020000, 0x44000


def speed(box: Appliance, percent: int) -> None:
    box.world({"do": "speed", "percent": percent})


def sit_at(box: Appliance, phone: int, **plan: Any) -> None:
    """Somebody at an analog phone answers."""
    box.world({"do": "phone", "phone": phone, "action": "answer", "after": 1, "tone_hz": INSIDE_HZ, "partners_hz": [OUTSIDE_HZ], **plan})


def call_in(box: Appliance, number: str, line: int = 1, **plan: Any) -> str:
    facts = {"caller_id": "dtmf", "tone_hz": OUTSIDE_HZ, "partners_hz": [INSIDE_HZ], **plan}
    return str(box.world({"do": "call", "from": number, "line": line, **facts})["person"])


def until_phase(box: Appliance, phase: str, timeout: float = 20) -> str:
    """The contact that has come to this phase."""
    def look() -> str:
        return next((str(row["contact"]) for row in box.ctl("show calls") if row["phase"] == phase), "")

    found: str = wait_until(look, f"a call in {phase}", timeout)
    return found


def until_met(box: Appliance, ident: str) -> None:
    wait_until(lambda: seen.person(box, ident)["met"] >= 0, "they talk", 30)


def agent_state(box: Appliance, agent: str) -> str:
    return next(str(row["state"]) for row in box.ctl("show agents") if row["agent"] == agent)


def alarms(box: Appliance) -> dict[str, str]:
    return {row["kind"]: row["text"] for row in box.ctl("show alarms")}


# --- wrong configuration ------------------------------------------------------------------------------------------------


def branchpbx(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firmware", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def wrong_site(tmp_path: Path) -> Path:
    text = SITE.read_text()
    for right, wrong in (
        ("record = true", "record = true\nring_s = 1"),
        ('kind = "fxs"\njack = "1"', 'kind = "fxs"\njack = "9"'),
        ('to = "menu/language"', 'to = "menu/langage"'),
        ('country = "CN"', 'country = "XX"'),
    ):
        assert right in text
        text = text.replace(right, wrong, 1)
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    return file


def test_wrong_configuration_starts_nothing_and_says_what_to_do(wrong_site: Path, tmp_path: Path) -> None:
    done = branchpbx("run", "--config", str(wrong_site), "--state", str(tmp_path / "state"))
    assert done.returncode == 2
    assert not (tmp_path / "state").exists()
    for path, value in (("queues.sales.ring_s", "1"), ("extensions.101.jack", "9"), ("menu/langage", "langage"), ("site.country", "XX")):
        line = next((line for line in done.stderr.splitlines() if path in line), "")
        assert str(wrong_site) in line and value in line, (path, done.stderr)
    assert "Traceback" not in done.stderr


def test_check_lists_every_mistake_at_once(wrong_site: Path) -> None:
    done = branchpbx("check", str(wrong_site), "--json")
    assert done.returncode == 2
    report = json.loads(done.stdout)
    assert not report["ok"]
    assert len(report["errors"]) == 4, report["errors"]
    for error in report["errors"]:
        assert error["file"] == str(wrong_site)
        assert error["path"] and error["value"] and error["remedy"], error


# --- lines and people ---------------------------------------------------------------------------------------------------


def test_noisy_line_carries_a_call_from_caller_id_to_rating(appliance: Start) -> None:
    box = appliance(extra=FAST)
    seen.log_in(box, "8004", "102")
    sit_at(box, 2, talk=8)
    box.world({"do": "exchange", "line": 2, "fault": "noise", "value": -35})
    box.world({"do": "exchange", "line": 2, "fault": "hum"})
    box.world({"do": "exchange", "line": 3, "fault": "false-ring"})
    caller = call_in(box, "13900139000", 2, caller_id="fsk", press="2@menu,1@menu,3@rating")
    seen.wait_done(box, caller, 60)
    record = seen.contact_of(box, "13900139000")
    assert (record["language"], record["queue"], record["agent"], record["rating"]) == ("en", "sales", "8004", 3)
    assert record["cause"] == "normal"
    assert str(INSIDE_HZ) in seen.person(box, caller)["partners"]
    box.world({"do": "exchange", "line": 3, "fault": "false-ring", "on": False})
    assert len(seen.contacts(box, closed=False)) == 1, "the stray ringing was no call"
    seen.check_at_rest(box)


def test_line_that_is_cut_in_mid_call_ends_it_and_comes_back(appliance: Start) -> None:
    box = appliance(overrides=STRAIGHT_TO_SALES, extra=FAST)
    seen.log_in(box, "8004", "102")
    sit_at(box, 2, times=0)
    caller = call_in(box, "13900139001", 2)
    until_met(box, caller)
    box.world({"do": "exchange", "line": 2, "fault": "cut"})
    record = seen.contact_of(box, "13900139001", 30)
    assert record["evidence"] == "loop-drop"
    wait_until(
        lambda: next(row for row in box.ctl("show lines") if row["endpoint"] == "line/2")["available"] == "fault", "the line is at fault"
    )
    box.world({"do": "exchange", "line": 2, "fault": "cut", "on": False})
    box.world({"do": "hang-up", "person": caller})
    seen.check_at_rest(box)
    again = call_in(box, "13900139002", 2)
    until_met(box, again)
    box.world({"do": "hang-up", "person": again})
    seen.check_at_rest(box)


def test_agent_who_never_answers_loses_the_caller_to_the_next_and_is_paused(appliance: Start) -> None:
    """8004's phone rings in vain: the first caller stays at the head, 8002 gets him first, and 8004 is paused after the third miss."""
    short = {"[queues.sales]\nrecord = true": "[queues.sales]\nring_s = 5\nwrap_up_s = 0\nrating = false"}
    box = appliance(overrides={**STRAIGHT_TO_SALES, **short}, extra=FAST)
    seen.log_in(box, "8004", "102")
    first = call_in(box, "13800000001", 1)
    until_phase(box, "queued")
    second = call_in(box, "13800000002", 2)
    wait_until(lambda: agent_state(box, "8004") == "paused", "8004 is paused", 30)
    wait_until(lambda: [row["waiting"] for row in box.ctl("show queues") if row["queue"] == "sales"] == [2], "both wait")
    sit_at(box, 3, talk=6, times=0)
    seen.log_in(box, "8002", "103")
    for ident in (first, second):
        seen.wait_done(box, ident, 60)
    records = [seen.contact_of(box, f"1380000000{n}") for n in (1, 2)]
    assert [row["agent"] for row in records] == ["8002", "8002"]
    assert [row["misses"] for row in records] == [3, 0]
    assert records[0]["connected_ms"] < records[1]["connected_ms"]
    log = [row["event"] for row in box.ctl("show queue-log", lines=50) if row["agent"] == "8004"]
    assert log.count("RINGNOANSWER") == 3
    assert agent_state(box, "8004") == "paused"
    seen.check_at_rest(box)


LEAVES = {
    "greeting": ("abandoned", "greeting"),
    "notice": ("abandoned", "notice"),
    "menu": ("abandoned", "menu"),
    "queued": ("abandoned", "queued"),
    "ringing": ("abandoned", "queued"),
    "connecting": ("abandoned", "connecting"),   # nobody could talk to him yet
    "talking": ("normal", "talking"),
    "rating": ("normal", "rating"),
}


def test_caller_may_hang_up_in_every_state(appliance: Start) -> None:
    box = appliance(extra=FAST)
    for line in (1, 2, 3, 4):
        box.world({"do": "exchange", "line": line, "release": "polarity+busy"})
    seen.log_in(box, "8004", "102")

    gave_up = call_in(box, "13700000000", 1, patience=1.5)
    seen.wait_done(box, gave_up)
    seen.check_at_rest(box)

    for at, (state, (cause, phase)) in enumerate(LEAVES.items(), 1):
        number, line = f"1370000000{at}", at % 4 + 1
        if state == "queued":
            box.ctl("agent pause", agent="8004", reason="1")
        elif state == "ringing":
            box.ctl("agent ready", agent="8004")
        elif state == "connecting":
            sit_at(box, 2, talk=0, times=0)
        elif state == "rating":
            sit_at(box, 2, talk=7, times=0)
        speed(box, 300)               # the greeting takes 3 s, and so does the agent's number: a second in which that must be seen
        caller = call_in(box, number, line, press="" if state in ("greeting", "notice", "menu") else "1@voice,1@voice")
        until_phase(box, phase, 40)
        if state == "ringing":
            wait_until(lambda: agent_state(box, "8004") == "offered", "8004 is rung")
        elif state == "talking":
            until_met(box, caller)
        elif state == "greeting":
            seen.world_sleep(box, 1500)  # a reversal right after the answer may belong to it
        box.world({"do": "hang-up", "person": caller})
        record = seen.contact_of(box, number)
        speed(box, 1500)
        who = "agent" if state == "rating" else "caller"
        assert (state, record["cause"], record["first_to_leave"], record["evidence"]) == (state, cause, who, "polarity")
        gone = seen.person(box, caller)["ended"] + seen.wall_base(box)
        assert abs(record["ended_ms"] - gone) <= 100, state
        if state in ("talking", "rating"):
            box.ctl("agent ready", agent="8004")
        seen.check_at_rest(box)


# --- disks --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, *command: str) -> Iterator[Path]:
    """A file system of the test's own on `folder`, in a mount namespace of the tests' own."""
    folder.mkdir(parents=True)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
    subprocess.run(["mount", *command, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Leave not one free block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_full_disk_loses_no_call_and_no_record(network: str, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=40m", "tmpfs") as disk:
        box = Appliance(disk / "box", bind=network, overrides=STRAIGHT_TO_SALES, extra=FAST)
        box.start()
        try:
            for line in (1, 2):
                box.world({"do": "exchange", "line": line, "release": "polarity+busy"})
            seen.log_in(box, "8004", "102")
            sit_at(box, 2, times=0)
            first = call_in(box, "13600000001", 1)
            until_met(box, first)
            filler = fill(disk)
            seen.world_sleep(box, 5000)
            assert box.ctl("show calls")[0]["phase"] == "talking"
            box.world({"do": "hang-up", "person": first})
            wait_until(lambda: "disk:calls.db" in alarms(box), "the alarm of the full disk", 20)
            seen.world_sleep(box, 12_000)  # wrap-up
            second = call_in(box, "13600000002", 2)
            until_met(box, second)
            wait_until(lambda: any(kind.startswith("recording") for kind in alarms(box)), "the alarm that nothing is recorded")
            box.world({"do": "hang-up", "person": second})
            wait_until(lambda: not box.ctl("show calls"), "the calls are over")
            assert seen.contacts(box) == []
            filler.unlink()
            for number in ("13600000001", "13600000002"):
                record = seen.contact_of(box, number, 20)
                assert (record["cause"], record["first_to_leave"], record["agent"]) == ("normal", "caller", "8004")
            wait_until(lambda: "disk:calls.db" not in alarms(box), "the alarm is over", 20)
            seen.check_at_rest(box)
        finally:
            assert box.stop() == 0


def test_stalled_disk_stops_no_call_and_loses_no_record(network: str, tmp_path: Path) -> None:
    """The file system is frozen: whatever writes to it hangs until it is thawed. Calls and their audio go on."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk:
        box = Appliance(disk / "box", bind=network, overrides=STRAIGHT_TO_SALES)
        (tmp_path / "run").mkdir()
        (box.state / "run").symlink_to(tmp_path / "run")  # tmpfs on an appliance, and so is what it prints
        (box.state / "output.log").symlink_to(tmp_path / "output.log")
        box.start()
        frozen = False
        try:
            speed(box, 1500)
            box.world({"do": "exchange", "line": 1, "release": "polarity+busy"})
            seen.log_in(box, "8004", "102")
            sit_at(box, 2, times=0)
            caller = call_in(box, "13500000001", 1, record=str(tmp_path / "caller.wav"))
            until_met(box, caller)
            speed(box, 100)
            subprocess.run(["fsfreeze", "-f", str(disk)], check=True)
            frozen = True
            before = box.world({"do": "status"})
            seen.world_sleep(box, 5000)
            assert box.ctl("show calls")[0]["phase"] == "talking"
            late = box.world({"do": "status"})["underruns"] - before["underruns"]
            assert late == 0, "audio did not arrive in time"
            speed(box, 1500)
            box.world({"do": "hang-up", "person": caller})
            wait_until(lambda: not box.ctl("show calls"), "the call is over", 25)
            wait_until(lambda: any(kind.startswith("stall") for kind in alarms(box)), "the alarm of the stalled disk", 15)
            subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
            frozen = False
            record = seen.contact_of(box, "13500000001", 20)
            assert (record["cause"], record["first_to_leave"]) == ("normal", "caller")
            seen.check_at_rest(box)
        finally:
            if frozen:
                subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
            assert box.stop() == 0


# --- killed processes ---------------------------------------------------------------------------------------------------


def new_pid(box: Appliance, name: str, old: int) -> None:
    wait_until(lambda: box.pid(name) != old, f"{name} is started again", 20)


def world_lives(box: Appliance) -> bool:
    try:
        return bool(box.world({"do": "status"})["ok"])
    except OSError:
        return False


def test_media_killed_ends_its_calls_and_the_next_one_works(appliance: Start) -> None:
    box = appliance(overrides=STRAIGHT_TO_SALES, extra=FAST)
    seen.log_in(box, "8004", "102")
    sit_at(box, 2, times=0)
    caller = call_in(box, "13400000001", 1)
    until_met(box, caller)
    speed(box, 100)
    new_pid(box, "media", box.kill("media"))
    record = seen.contact_of(box, "13400000001")
    assert (record["cause"], record["agent"]) == ("media-lost", "8004")
    assert {leg["cause"] for leg in seen.rows(box, "legs", record["id"])} == {"media-lost"}
    wait_until(lambda: not [line for line in box.world({"do": "status"})["lines"] if line["off_hook"]], "the lines are on-hook")
    box.world({"do": "phone", "phone": 2, "action": "hang-up"})  # who hears dial tone instead of a caller puts the phone down
    seen.check_at_rest(box)
    sit_at(box, 2, times=0)
    speed(box, 1500)
    seen.world_sleep(box, 12_000)
    again = call_in(box, "13400000002", 1)
    until_met(box, again)
    box.world({"do": "hang-up", "person": again})
    seen.contact_of(box, "13400000002")
    seen.check_at_rest(box)


def test_manage_killed_disturbs_no_call(appliance: Start) -> None:
    box = appliance(overrides=STRAIGHT_TO_SALES, extra=FAST)
    seen.log_in(box, "8004", "102")
    sit_at(box, 2, times=0)
    caller = call_in(box, "13300000001", 1)
    until_met(box, caller)
    speed(box, 100)
    killed = box.world({"do": "status"})["now_ms"]
    new_pid(box, "manage", box.kill("manage"))
    seen.world_sleep(box, 1000)
    assert box.ctl("show calls")[0]["phase"] == "talking"
    hooks = [note for note in box.world({"do": "observations", "since": killed})["seen"] if note["what"] in ("hook", "phone-feed")]
    assert hooks == []
    speed(box, 1500)
    box.world({"do": "hang-up", "person": caller})
    assert seen.contact_of(box, "13300000001")["cause"] == "normal"
    seen.check_at_rest(box)


def test_world_killed_leaves_sip_calls_alone(appliance: Start, phone: Phone) -> None:
    """The world is the line card here: its loss ends calls on lines, never a call between SIP phones."""
    box = appliance()
    anna = phone(box, "201", hz=OUTSIDE_HZ)
    bo = phone(box, "202", hz=INSIDE_HZ, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(1)  # real phones talk in real time
    new_pid(box, "world", box.kill("world"))
    time.sleep(2.5)
    assert box.ctl("show calls")[0]["phase"] == "talking"
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, hz in ((anna, INSIDE_HZ), (bo, OUTSIDE_HZ)):
        heard = listener.heard().part(0.5)
        assert heard.seconds > 2.5
        assert heard.longest_gap_ms(hz, -20) <= 60, listener.user
    wait_until(lambda: world_lives(box), "the world is back", 20)
    speed(box, 1500)
    caller = call_in(box, "13200000001", 1, hang_up_after=2)
    seen.wait_done(box, caller, 30)
    assert seen.contact_of(box, "13200000001")["cause"] == "abandoned"
    seen.check_at_rest(box)


def test_parent_killed_leaves_nothing_and_the_next_start_closes_the_calls(appliance: Start) -> None:
    box = appliance(overrides=STRAIGHT_TO_SALES, extra=FAST)
    seen.log_in(box, "8004", "102")
    sit_at(box, 2, times=0)
    caller = call_in(box, "13100000001", 1)
    until_met(box, caller)
    pids = {name: box.pid(name) for name in ("media", "core", "manage", "world")}
    box.kill("parent")
    assert box.process is not None
    box.process.wait(5)
    for name, pid in pids.items():
        wait_until(lambda pid=pid: not alive(pid), f"{name} is gone", 10)
    box.start()
    record = seen.contact_of(box, "13100000001")
    assert record["cause"] == "system"
    assert record["ended_ms"] >= record["connected_ms"]
    assert agent_state(box, "8004") in ("ready", "wrap-up")
    seen.check_at_rest(box)
    sit_at(box, 2, times=0)
    again = call_in(box, "13100000002", 1)
    until_met(box, again)
    box.world({"do": "hang-up", "person": again})
    seen.check_at_rest(box)
