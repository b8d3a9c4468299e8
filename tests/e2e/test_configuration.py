"""Configurations are changed under people's calls, tried, taken back, and survive the death of every process; in virtual time.

Evidence: what people hear across a change, who can be dialled after it, and the product's own proof of what each process runs.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, alive, wait_until
from tests.e2e.branch import HZ, SITE, Branch

pytestmark = [pytest.mark.e2e]


@pytest.fixture(autouse=True)
def settled(branch: Branch) -> Iterator[None]:
    """Each test begins and ends with one and the same configuration."""
    before = branch.box.manage("show trial")["running"]
    start = branch.box.manage("export configuration", secrets=True)
    yield
    if branch.box.manage("show trial")["running"] != before:
        if branch.box.manage("show trial")["state"] == "trial":
            branch.box.manage("rollback", back=1)
        if branch.box.manage("export configuration", secrets=True) != start:
            branch.box.manage("load", text=start)
            branch.box.manage("commit")
        proved(branch.box)


def change(box: Appliance, **settings: str) -> None:
    for path, value in settings.items():
        box.manage("set", setting=path.replace("__", "."), value=value)


def proved(box: Appliance, timeout: float = 40) -> None:
    """Every process runs what is stored."""
    wait_until(lambda: box.manage("verify configuration")["right"], f"running equals stored: {box.manage('verify configuration')}", timeout)


def setting(box: Appliance, path: str) -> str:
    """A value as call control has it."""
    lines = box.ctl("show configuration", under=path)
    return str(lines[0]).rpartition(" ")[2] if lines else ""


def refused(box: Appliance, command: str, **args: Any) -> str:
    with pytest.raises(AssertionError) as told:
        box.manage(command, **args)
    return str(told.value)


def process(box: Appliance, name: str) -> int:
    """Its pid, 0 while there is none."""
    try:
        return box.pid(name)
    except FileNotFoundError:
        return 0


def talk(branch: Branch) -> str:
    """201 calls 202, and they talk until `heard_all_the_time`, however long the box takes meanwhile; the person at 201."""
    branch.answer("202", HZ["201"])
    ident = branch.dial("201", "202", HZ["202"], talk=900)
    wait_until(lambda: [call for call in branch.box.ctl("show calls") if call["phase"] == "talking"], "they talk", 30)
    branch.sleep(8)
    return ident


def heard_all_the_time(branch: Branch, ident: str) -> None:
    """The person hangs up; he heard the other in each turn, with no gap, from the answer to the end."""
    branch.soft("201", "hang-up")
    person, other = branch.done(ident), branch.at("202")
    branch.hears(ident, HZ["202"], HZ["201"], other["answered"] + 1000, person["ended"] - 1000, called=True)


def test_an_extension_is_taken_away_in_its_call_and_a_queue_changes(branch: Branch) -> None:
    ident = talk(branch)
    box = branch.box
    change(box, queues__sales__wrap_up_s="3", queues__late__max_wait_s="9")
    box.manage("delete", setting="extensions.202")
    box.manage("set", setting="lists", value="") if box.ctl("show configuration", under="lists") else None
    plan = box.manage("show plan")
    assert (plan["apply"], plan["problems"], plan["calls"]) == ("live", [], 1)
    pid = box.pid("core")
    assert box.manage("commit", note="202 moves out")["state"] == "running"
    proved(box)
    branch.sleep(8)
    assert len(box.ctl("show calls")) == 1
    heard_all_the_time(branch, ident)
    assert box.pid("core") == pid, "a live change needs no new process"
    assert "202" not in [row["extension"] for row in box.ctl("show phones")]
    assert "late" in [row["queue"] for row in box.ctl("show queues")]
    assert branch.done(branch.dial("201", "202"))["outcome"] == "sip-404"
    assert box.manage("show revisions")[0]["note"] == "202 moves out"
    box.manage("rollback", back=1)
    host, port = box.sip.split(":")
    branch.soft("202", "add", secret=box.accounts()["202"], server=[host, int(port)], host=host)
    wait_until(lambda: any(row["extension"] == "202" and row["where"] for row in box.ctl("show phones")), "202 registers again", 30)


def test_a_phone_registers_at_an_extension_that_was_added(branch: Branch) -> None:
    box = branch.box
    change(box, extensions__208__kind="sip", extensions__208__name="Gus")
    box.manage("commit")
    host, port = box.sip.split(":")
    branch.soft("208", "add", secret=box.accounts()["208"], server=[host, int(port)], host=host)
    wait_until(lambda: any(row["extension"] == "208" and row["where"] for row in box.ctl("show phones")), "208 registers", 30)
    branch.soft("208", "answer", after=2, tone_hz=HZ["203"], times=1, partners_hz=[HZ["201"]])
    person = branch.done(branch.dial("201", "208", HZ["203"], talk=12))
    assert branch.who("softphone", "208")["answered"] < person["ended"] - 5000


def test_call_control_starts_anew_with_a_setting_and_people_talk_on(branch: Branch) -> None:
    ident, box = talk(branch), branch.box
    pid = box.pid("core")
    change(box, sip__keep_alive_s="31", ports__fxo__2__echo_tail_ms="48")
    plan = {row["path"]: row["apply"] for row in box.manage("show plan")["rows"]}
    assert plan == {"sip.keep_alive_s": "control", "ports.fxo.2.echo_tail_ms": "restart-port"}
    box.manage("commit")
    wait_until(lambda: box.pid("core") != pid, "a new call process", 30)
    proved(box)
    branch.sleep(8)
    assert len(box.ctl("show calls")) == 1 and box.ctl("show status")["adopted"]
    heard_all_the_time(branch, ident)


def test_audio_starts_anew_when_no_call_is_up(branch: Branch) -> None:
    ident, box = talk(branch), branch.box
    media = box.pid("media")
    change(box, rtp__jitter_max_ms="160")
    result = box.manage("commit")
    assert (result["apply"], result["state"]) == ("calls-drain", "running") and "no call is up" in result["waits"]
    branch.sleep(60)
    assert box.pid("media") == media and not box.manage("verify configuration")["right"]
    heard_all_the_time(branch, ident)
    wait_until(lambda: box.pid("media") != media, "audio starts anew", 40)
    proved(box)
    branch.sleep(4)
    branch.answer("202", HZ["201"])
    assert branch.done(branch.dial("201", "202", HZ["202"], talk=10))["outcome"] in ("answered", "ok", "talked")


@pytest.mark.parametrize("victims", [(), ("manage", "core")])
def test_a_trial_that_nobody_confirms_is_taken_back(branch: Branch, victims: tuple[str, ...]) -> None:
    box = branch.box
    change(box, queues__sales__ring_s="33")
    result = box.manage("commit confirmed", seconds=10, note="try")
    assert (result["state"], setting(box, "queues.sales.ring_s")) == ("trial", "33")
    assert "on trial" in refused(box, "commit")
    for victim in victims:
        box.kill(victim)
    wait_until(lambda: setting(box, "queues.sales.ring_s") == "15", "the queue is as before", 60)
    proved(box)
    trial = box.manage("show trial")
    assert (trial["state"], trial["running"]) == ("running", trial["startup"])
    assert "not confirmed in time" in trial["reverted"] and "未及时确认" in trial["reverted_zh"]
    assert box.manage("show revisions")[0]["back"] == -1
    wait_until(lambda: any("config:reverted" in row["kind"] for row in box.ctl("show alarms")), "the alarm says so", 20)


def test_a_trial_that_is_confirmed_stays(branch: Branch) -> None:
    box = branch.box
    change(box, queues__sales__ring_s="34")
    box.manage("commit confirmed", seconds=30)
    assert box.manage("confirm")["state"] == "running"
    trial = box.manage("show trial")
    assert (trial["running"], trial["deadline_s"]) == (trial["startup"], 0)
    assert "nothing to confirm" in refused(box, "confirm")
    box.manage("rollback", back=1)
    assert setting(box, "queues.sales.ring_s") == "15"


def test_every_mistake_is_told_at_once_and_nothing_changes(branch: Branch) -> None:
    box = branch.box
    wrong = box.manage("export configuration") + '[queues.other]\nring_s = 5000\nmusic = 7\n[extensions.9]\nkind = "sop"\n'
    told = refused(box, "load", text=wrong)
    for word in ("queues.other.ring_s", "queues.other.music", "extensions.9.kind", "允许", "太大"):
        assert word in told
    assert box.manage("show diff") == []
    told = refused(box, "set", setting="queues.sales.ring_s", value="soon")
    assert "5" in told and "允许" in told
    assert box.manage("set", setting="inbound[0].to", value="queue/none")["problems"]
    assert "names no queue" in refused(box, "commit")
    box.manage("discard")
    assert "nothing to commit" in refused(box, "commit")


def test_an_appliance_that_dies_in_a_trial_comes_back_with_what_was_before(network: str, tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text(SITE)
    box = Appliance(tmp_path / "box", bind=network, config=config, extra=("--speed", "2500")).start()
    try:
        change(box, queues__sales__ring_s="32")
        box.manage("commit")
        change(box, queues__sales__ring_s="33")
        box.manage("commit confirmed", seconds=600)
        assert setting(box, "queues.sales.ring_s") == "33"
        assert box.process is not None
        children = [box.pid(name) for name in ("core", "media", "manage", "world")]
        box.process.send_signal(signal.SIGKILL)
        box.process.wait()
        wait_until(lambda: not any(alive(pid) for pid in children), "the children die with it", 20)
        box.start()
        assert setting(box, "queues.sales.ring_s") == "32", "startup, not the site file that was imported before it"
        trial = box.manage("show trial")
        assert trial["state"] == "running" and "started anew" in trial["reverted"]
        proved(box)
        # A setting of the sockets: the whole appliance starts anew by itself, and a trial goes on over that.
        change(box, rtp__calls="32")
        pid = box.pid("core")
        box.manage("commit confirmed", seconds=60)
        wait_until(lambda: process(box, "core") not in (0, pid), "the appliance starts anew", 45)
        wait_until(box._ready, "it answers", 45)
        proved(box)
        assert box.manage("show trial")["state"] == "trial"
        box.manage("confirm")
        assert setting(box, "rtp.calls") == "32"
    finally:
        assert box.stop() == 0, box.said()
