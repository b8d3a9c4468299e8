"""Answering a colleague's call with real telephones: by code, by the key beside a lamp (RFC 3891), and what each display is told."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable

import pytest

from firmware.sip.message import respond
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.desk import Desk
from tests.e2e.test_sip_transfer import hears

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]


def history(box: Appliance, kind: str) -> list[str]:
    with sqlite3.connect(f"file:{box.state / 'calls.db'}?mode=ro", uri=True) as db:
        return [str(row[0]) for row in db.execute("SELECT data FROM contact_events WHERE kind = ?", (kind,))]


def test_a_colleagues_call_is_picked_up_by_code(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna, bo, eva = phone(box, "201", hz=440), phone(box, "202", hz=660), phone(box, "203", hz=880)
    anna.dial("202")
    bo.wait("CALL_INCOMING")
    eva.dial("**202")
    eva.wait("CALL_ESTABLISHED")
    anna.wait("CALL_ESTABLISHED")
    bo.wait("CALL_CLOSED")
    time.sleep(3)  # real phones talk in real time
    assert len(box.ctl("show calls")) == 1
    anna.hang_up()
    eva.wait("CALL_CLOSED")
    hears(anna, 880, last_s=2)
    hears(eva, 440, last_s=2)
    wait_until(lambda: history(box, "picked-up"), "the history tells who picked up")
    assert '"by": "203"' in history(box, "picked-up")[0].replace('":"', '": "')


def test_a_telephone_that_forwards_sends_the_caller_on(appliance: Start, phone: Phone, network: str) -> None:
    box = appliance()
    anna, eva = phone(box, "201", hz=440), phone(box, "203", hz=880, answer="auto")
    bo = Desk(box, "202", network)
    bo.register()
    anna.dial("202")
    bo.seen("INVITE")
    assert bo.waiting is not None
    contact = (("Contact", f"<sip:203@{box.sip}>"),)
    bo.socket.sendto(respond(bo.waiting, 302, to_tag="desk", headers=contact).render(), bo.server)
    anna.wait("CALL_ESTABLISHED")
    time.sleep(3)  # real phones talk in real time
    anna.hang_up()
    eva.wait("CALL_CLOSED")
    hears(anna, 880, last_s=2)
    hears(eva, 440, last_s=2)
    wait_until(lambda: history(box, "forwarded"), "the history tells who sent the call on")
    bo.close()


def test_the_key_beside_a_lamp_answers_and_both_displays_are_told(appliance: Start, phone: Phone, network: str) -> None:
    box = appliance()
    anna = phone(box, "201", hz=440)
    bo, eva = Desk(box, "202", network), Desk(box, "203", network)
    bo.register()
    anna.dial("202")
    bo.seen("INVITE")
    _, answer = eva.prove("SUBSCRIBE", "202", "lamp", Event="dialog", Expires="300", Accept="application/dialog-info+xml")
    assert answer.status == 200
    lamp = eva.seen("NOTIFY").body.decode()
    named = re.search(r'call-id="([^"]+)" local-tag="([^"]+)" remote-tag="([^"]+)"', lamp)
    assert named and "<state>early" in lamp
    replaces = f"{named[1]};to-tag={named[2]};from-tag={named[3]};early-only"
    assert eva.invite("202", "key", Replaces=replaces).status == 200
    anna.wait("CALL_ESTABLISHED")
    assert bo.seen("CANCEL").headers.get("reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    # Eva's telephone names no methods, so a re-INVITE tells it; its answer ends the waiting.
    told = eva.seen("INVITE")
    assert f"<sip:201@{box.sip}>" in told.headers.get("p-asserted-identity")
    assert eva.invite("202", "late", Replaces=replaces).status in (481, 603)
    anna.hang_up()
    eva.seen("BYE")
    wait_until(lambda: not box.ctl("show calls"), "all calls are gone")
    bo.close()
    eva.close()
