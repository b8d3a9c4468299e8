"""Transfer keys and lamps of real SIP programs: baresip hands over (REFER), SIPp watches (SUBSCRIBE, NOTIFY). Audio is the evidence."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware.sip.message import Request
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.desk import Desk
from tests.e2e.sipp_watcher import watch

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
    with watch(box, network, tmp_path / "lamp", "202", states, transport=transport) as watcher:
        watcher.told(1)
        anna.dial("202")
        bo.wait("CALL_INCOMING")
        watcher.told(2)
        bo.answer()
        anna.wait("CALL_ESTABLISHED")
        watcher.told(3)
        if killed:
            wait_until(lambda: watchers_kept(box), "the subscription is on disk")
            before = box.pid("core")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: box.pid("core") != before and box.ctl("show calls"), "the call goes on", 20)
            watcher.told(4)
        anna.hang_up()
        watcher.all_told()
