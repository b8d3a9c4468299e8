"""Transfer keys and lamps of real SIP programs: baresip hands over (REFER), SIPp watches (SUBSCRIBE, NOTIFY). Audio is the evidence."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware.sip.message import Request
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.desk import Desk

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def hears(phone: Baresip, hz: float, *, last_s: float, call: int = -1) -> None:
    """The last seconds of what a phone decoded are this tone, at the level it was sent."""
    heard = phone.heard(call)
    seconds = len(heard.samples) / heard.rate
    part = heard.part(seconds - last_s, seconds - 0.5)
    assert part.tone_dbm0(hz) == pytest.approx(-10, abs=1), f"{phone.user} does not hear {hz} Hz"


def talk(caller: Baresip, number: str) -> None:
    caller.dial(number)
    caller.wait("CALL_ESTABLISHED")
    time.sleep(1)  # real phones talk in real time


def test_blind_transfer_by_the_key_of_the_phone(appliance: Callable[..., Appliance], phone: Callable[..., Baresip]) -> None:
    box = appliance()
    anna, bo = phone(box, "201", hz=440), phone(box, "202", hz=660, answer="auto")
    eva = phone(box, "203", hz=880, answer="auto")
    talk(anna, "202")
    anna.command("transfer", f"sip:203@{box.sip}")
    eva.wait("CALL_ESTABLISHED")
    anna.wait("CALL_CLOSED")
    time.sleep(3)
    eva.hang_up()
    bo.wait("CALL_CLOSED")
    hears(bo, 880, last_s=2)
    hears(eva, 660, last_s=2)
    wait_until(lambda: not box.ctl("show calls"), "all calls are gone")


def test_a_failed_transfer_gives_the_call_back(appliance: Callable[..., Appliance], phone: Callable[..., Baresip]) -> None:
    box = appliance()
    anna, bo = phone(box, "201", hz=440), phone(box, "202", hz=660, answer="auto")
    talk(anna, "202")
    anna.command("transfer", f"sip:299@{box.sip}")
    anna.wait("TRANSFER_FAILED")
    anna.resume()
    time.sleep(3)
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    hears(bo, 440, last_s=2)
    wait_until(lambda: not box.ctl("show calls"), "all calls are gone")


def test_attended_transfer_joins_the_two_calls_of_a_phone(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str
) -> None:
    box = appliance()
    bo, eva = phone(box, "202", hz=660, answer="auto"), phone(box, "203", hz=880, answer="auto")
    desk = Desk(box, "201", network)
    first, second = desk.call("202", "desk-one"), desk.call("203", "desk-two")
    target = f"<sip:203@{box.sip}?Replaces=desk-two%3Bto-tag%3D{second}%3Bfrom-tag%3Dft>"
    assert desk.ask(desk.make("REFER", "202", "desk-one", first, Refer_To=target)).status == 202

    def got(method: str) -> list[Request]:      # each once, however often it was sent
        desk.listen(0.2)
        return list({(one.call_id, one.cseq.number): one for one in desk.requests if one.method == method}.values())

    wait_until(lambda: len(got("NOTIFY")) >= 2 and len(got("BYE")) >= 2, "the telephone is told, and both its calls end")
    assert [one.body.split()[1] for one in got("NOTIFY")] == [b"100", b"200"]
    assert sorted(one.call_id for one in got("BYE")) == ["desk-one", "desk-two"]
    time.sleep(3)  # real phones talk in real time
    assert len(box.ctl("show calls")) == 1
    eva.hang_up()
    bo.wait("CALL_CLOSED")
    hears(bo, 880, last_s=2)
    hears(eva, 660, last_s=2)
    wait_until(lambda: not box.ctl("show calls"), "all calls are gone")
    desk.close()


WATCH = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="a lamp">
  <send retrans="500"><![CDATA[
SUBSCRIBE sip:{watched}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{watched}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 SUBSCRIBE
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
Event: dialog
Accept: application/dialog-info+xml
Expires: 300
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="407" auth="true"/>
  <send retrans="500"><![CDATA[
SUBSCRIBE sip:{watched}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{watched}@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 SUBSCRIBE
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
[authentication username={user} password={secret}]
Event: dialog
Accept: application/dialog-info+xml
Expires: 300
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
{steps}
</scenario>
"""

# SIPp reads the state out of the body: an unexpected one fails the call. It logs which one it has seen (`wait_for_state`).
STEP = """  <recv request="NOTIFY"><action>
    <ereg regexp="{state}" search_in="body" check_it="true" assign_to="{n}"/>
    <log message="SEEN {n} [${n}]"/>
  </action></recv>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
"""


LOG = ["-trace_logs", "-log_file", "log"]


def wait_for_state(watcher: subprocess.Popen[bytes], folder: Path, n: int) -> None:
    """Until SIPp has seen its state number `n`, or has ended: then its status tells."""
    log = folder / "log"

    def seen() -> bool:
        return watcher.poll() is not None or (log.exists() and f"SEEN {n} " in log.read_text(errors="replace"))

    wait_until(seen, f"state {n} of {folder.name} is told", 30)


def watchers_kept(box: Appliance) -> bool:
    """Whether a process that takes over finds a subscription."""
    with sqlite3.connect(f"file:{box.state / 'state.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT 1 FROM kept WHERE part = 'watchers'").fetchone() is not None


@pytest.mark.parametrize(("transport", "killed"), [("u1", False), ("t1", False), ("u1", True)])
def test_a_lamp_follows_a_call(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str, tmp_path: Path, transport: str, killed: bool
) -> None:
    box = appliance()
    anna, bo = phone(box, "201", hz=440), phone(box, "202", hz=660)
    called = "recipient[^~]*state>{}[^~]*sip:201@"
    states = ["state>terminated", called.format("early"), called.format("confirmed"), "state>terminated"]
    if killed:
        states.insert(3, called.format("confirmed"))  # told again by the new core
    folder = tmp_path / "lamp"
    folder.mkdir()
    steps = "".join(STEP.format(state=state, n=n + 1) for n, state in enumerate(states))
    (folder / "scenario.xml").write_text(WATCH.format(watched="202", user="203", secret=box.accounts()["203"], steps=steps))
    watcher = subprocess.Popen(
        ["sipp", box.sip, "-sf", "scenario.xml", "-i", network, "-m", "1", "-t", transport, "-nostdin", "-trace_err", "-error_file", "err",
         *LOG],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_for_state(watcher, folder, 1)
        anna.dial("202")
        bo.wait("CALL_INCOMING")
        wait_for_state(watcher, folder, 2)
        bo.answer()
        anna.wait("CALL_ESTABLISHED")
        wait_for_state(watcher, folder, 3)
        if killed:
            wait_until(lambda: watchers_kept(box), "the subscription is on disk")
            before = box.pid("core")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: box.pid("core") != before and box.ctl("show calls"), "the call goes on", 20)
            wait_for_state(watcher, folder, 4)
        anna.hang_up()
        assert watcher.wait(30) == 0, (folder / "err").read_text(errors="replace")[-3000:]
    finally:
        watcher.kill()
        watcher.wait()
