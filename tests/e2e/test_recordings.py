"""Recordings and a listening shift leader, with telephones: who hears what, what lies on the disk, who can prove and erase it.

Evidence is what people heard, and the recording opened by another library than the product's (`audio.read_recording`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import branch as stage
from tests.e2e.appliance import ROOT, wait_until
from tests.e2e.audio import read_recording, read_wav
from tests.e2e.branch import CALLEE_HZ, CALLER_HZ, HZ, SITE, Branch, said
from tests.e2e.evidence import rows
from tests.tus_server import TusServer

pytestmark = [pytest.mark.e2e]

MORE = """
[recording]
format = "a-law"
[[recording.rules]]
queues = ["sales"]
keep = "complaint"
[[recording.rules]]
direction = "outbound"
[recording.classes]
complaint = 365
[rooms.board]
number = "700"
record = true
"""


# 202 supervises; calls to outside and of queue sales are recorded
BRANCH_SITE = SITE.replace('[extensions.202]\nkind = "sip"', '[extensions.202]\nkind = "sip"\nsupervises = ["sales"]').replace(
    'to = "queue/sales"\ngreeting = false\nnotice = false', 'to = "queue/sales"\ngreeting = false'
)
assert BRANCH_SITE.count("supervises") == 1 and BRANCH_SITE.count("notice = false") < SITE.count("notice = false")


def recordings(branch: Branch, *words: str) -> subprocess.CompletedProcess[str]:
    """`branchpbx recordings ...` as a person types it."""
    command = [sys.executable, "-m", "firmware", "recordings", *words, "--state", str(branch.box.state), "--lang", "en"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def listed(branch: Branch, contact: str) -> list[dict[str, object]]:
    return [row for row in branch.box.ctl("recordings list") if row["contact"] == contact]


def test_a_call_to_outside_is_recorded_after_the_notice_found_proven_and_erased(branch: Branch, tmp_path: Path) -> None:
    number = branch.number("7654321")
    ident = branch.dial("201", "9" + number, CALLEE_HZ, talk=24)
    branch.done(ident)
    callee = branch.who("callee", number)
    record, = branch.records()
    assert said(branch.heard(callee["ident"]), "en/rec.notice") > 0.5
    assert "recorded" in branch.history(record), [(one["kind"], one["data"]) for one in rows(branch.box, "contact_events", record["id"])]
    row = wait_until(lambda: next(iter(listed(branch, record["id"])), None), "the recording is in the list")
    assert row["state"] == "whole"
    path = str(row["path"])
    left, right = read_recording(branch.box.state, path)
    assert left.seconds * 1000 == pytest.approx(record["talk_ms"], abs=6000)        # without the notice
    assert max(left.tone_dbm0(HZ["201"]), right.tone_dbm0(HZ["201"])) > -30
    assert max(left.tone_dbm0(CALLEE_HZ), right.tone_dbm0(CALLEE_HZ)) > -30
    assert left.tone_dbm0(HZ["201"]) > right.tone_dbm0(HZ["201"]) + 20
    assert not list(branch.box.state.rglob("*.wav"))

    found = recordings(branch, "list", "--number", number)
    assert path in found.stdout, found
    copy = tmp_path / "copy.wav"
    assert recordings(branch, "export", path, str(copy)).returncode == 0
    assert (read_wav(copy)[0].samples[: len(left.samples)] == left.samples).all()
    assert b"export by" in copy.read_bytes()
    proven = recordings(branch, "verify")
    assert proven.returncode == 0, proven
    assert recordings(branch, "erase", "--number", number).stdout == "1 recordings erased.\n"
    assert not (branch.box.state / "recordings" / path).exists()
    assert path not in recordings(branch, "list").stdout
    assert recordings(branch, "verify").returncode == 0
    assert path in recordings(branch, "access").stdout


@pytest.mark.parametrize("killed", [False, True], ids=["", "core-killed"])
def test_the_shift_leader_hears_both_and_nobody_hears_him(branch: Branch, killed: bool) -> None:
    branch.box.ctl("agent login", agent="8001", extension="101")
    branch.answer("101", CALLER_HZ, HZ["202"], talk=900)       # all three stay however long a new core takes
    caller, number = branch.call("1310", HZ["101"], HZ["202"], hang_up_after=900)
    wait_until(lambda: any(row["phase"] == "talking" for row in branch.box.ctl("show calls")), "they talk", 60)
    leader = branch.dial("202", "*938001", CALLER_HZ, HZ["101"], talk=900)
    wait_until(lambda: any("202=answered" in row["legs"] for row in branch.box.ctl("show calls")), "the shift leader listens", 60)
    start = branch.sleep(3)
    if killed:
        branch.box.kill("core")
        wait_until(lambda: branch.box.ctl("show status")["adopted"], "core goes on", 30)
        start = branch.sleep(1)
    end = branch.sleep(9)
    branch.soft("202", "hang-up")
    branch.done(leader)
    branch.world("hang-up", person=caller)
    one = branch.done(caller)
    heard = branch.heard(leader, start, end)
    assert heard.tone_dbm0(CALLER_HZ) > -35
    assert heard.tone_dbm0(HZ["101"]) > -35
    agent = branch.at("101")
    for ident in (caller, agent["ident"]):
        assert branch.heard(ident, start, end).tone_dbm0(HZ["202"]) < stage.LEVEL - 30
    record, = branch.records()
    assert one["met"] > 0
    assert record["caller"] == number
    history = branch.history(record)
    assert "supervised" in history
    assert "supervised-ended" in history
    row = wait_until(lambda: next(iter(listed(branch, record["id"])), None), "the recording is in the list")
    assert row["keep_until"][:4] > str(row["time"])[:4]         # a year, as its class says
    left, right = read_recording(branch.box.state, str(row["path"]))
    assert left.tone_dbm0(CALLER_HZ) > -35
    assert right.tone_dbm0(HZ["101"]) > -35
    assert right.tone_dbm0(HZ["202"]) < stage.LEVEL - 30


def test_a_conference_is_recorded_with_everybody_in_it(branch: Branch) -> None:
    first = branch.dial("201", "700", HZ["202"], talk=40)
    wait_until(lambda: any(row["phase"] == "room" for row in branch.box.ctl("show calls")), "the first one is in the room", 60)
    others = [branch.dial(own, "700", HZ["201"], talk=25) for own in ("202", "101")]
    for one in (*others, first):
        branch.done(one)
    row, = wait_until(lambda: [row for row in branch.box.ctl("recordings list") if str(row["called"]) == "700"], "it is in the list")
    assert row["caller"] == "201"
    left, right = read_recording(branch.box.state, str(row["path"]))
    assert left.tone_dbm0(HZ["201"]) > -35 > right.tone_dbm0(HZ["201"])
    for other in ("202", "101"):
        assert right.tone_dbm0(HZ[other]) > -40, f"{other} is recorded at {right.tone_dbm0(HZ[other]):.1f} dBm0"
        assert str(row["path"]) in recordings(branch, "list", "--number", other).stdout


def test_an_agent_hears_his_own_call_again_by_telephone(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8001", extension="101")
    branch.answer("101", CALLER_HZ, talk=40)
    caller, _ = branch.call("1310", HZ["101"], talk=20)
    branch.done(caller)
    record, = branch.records()
    row = wait_until(lambda: next(iter(listed(branch, record["id"])), None), "the recording is in the list")
    drawn = recordings(branch, "draw", "--agent", "8001").stdout.splitlines()
    assert drawn[0].startswith("for  by  time") and any(line.startswith("8001  chance") and str(row["path"]) in line for line in drawn)
    leader = branch.dial("202", "*948001", talk=900)            # the recording is unsealed beside the world's time: as long as it takes
    wait_until(lambda: "replay" in recordings(branch, "access").stdout, "it is opened", 120)
    branch.sleep(60)
    branch.soft("202", "hang-up")
    branch.done(leader)
    heard = branch.heard(leader)
    assert heard.tone_dbm0(CALLER_HZ) > -45
    assert heard.tone_dbm0(HZ["101"]) > -45
    access = [line for line in recordings(branch, "access").stdout.splitlines() if str(row["path"]) in line]
    assert len(access) == 1, access
    assert "extension 202" in access[0]
    assert "replay" in access[0]
    assert not list(branch.box.state.rglob("*.wav"))


def test_recordings_reach_the_centre_whole_and_once_over_a_cut_and_a_restart(branch: Branch, tmp_path: Path) -> None:
    number = branch.number("7654322")
    branch.done(branch.dial("201", "9" + number, CALLEE_HZ, talk=24))
    record, = branch.records()
    wait_until(lambda: listed(branch, record["id"]), "the recording is in the list")
    paths = sorted(str(row["path"]) for row in branch.box.ctl("recordings list", lines=1000))
    centre = TusServer(tmp_path, branch.box.bind).start()
    centre.cuts = [60_000]
    try:
        for name, value in (("url", centre.url), ("ca", str(centre.ca)), ("kbit_s", "100000")):
            branch.box.manage("set", setting=f"recording.upload.{name}", value=value)
        branch.box.manage("commit")
        branch.box.manage("upload now")
        wait_until(lambda: "not reached" in branch.box.manage("show upload")["says"], "the connection is cut within a recording", 30)
        assert centre.whole("recording") == {}
        pid = branch.box.kill("manage")
        wait_until(lambda: branch.box.pid("manage") != pid, "management is started again", 40)

        def again() -> bool:
            try:
                return bool(branch.box.manage("upload now"))
            except OSError:
                return False

        wait_until(again, "management answers again", 30)
        wait_until(lambda: branch.box.manage("show upload")["state"] == "idle", "all is at the centre", 60)
    finally:
        centre.stop()
    folder = branch.box.state / "recordings"
    assert centre.whole("recording") == {path: (folder / path).read_bytes() for path in paths}
    assert sorted(centre.whole("record")) == [f"{path}.json" for path in paths]
    assert centre.total == sum(one.length for one in centre.files.values()), "a byte went out twice"
    sent = [line.split() for line in recordings(branch, "access", "--lines", "1000").stdout.splitlines() if "  send  " in line]
    assert sorted(words[words.index("send") + 1] for words in sent) == paths
    assert branch.box.manage("show upload")["sent"] == len(paths)
