"""Requests that cross on the wire of the running box: CANCEL and 200 both ways, re-INVITE glare (RFC 3261 9.1, 13.2.2.4, 14)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from firmware.sip.message import Response, respond
from firmware.sip.parse import parse_datagram
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.desk import Desk
from tests.unit.sip_stage import SDP

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


class Racer(Desk):
    """A telephone whose answers a test gives by hand."""

    def say(self, message: Response) -> None:
        self.socket.sendto(message.render(), self.server)

    def next(self, seconds: float = 20) -> object:
        self.socket.settimeout(seconds)
        return parse_datagram(self.socket.recv(65536))

    def answer_with_sdp(self, status: int) -> None:
        assert self.waiting is not None
        contact = (("Contact", f"<sip:{self.user}@{self.source[0]}:{self.source[1]}>"),)
        body = SDP.replace(b"192.0.2.20", self.source[0].encode())
        self.say(respond(self.waiting, status, to_tag="desk", headers=contact, body=body, content_type="application/sdp"))


def test_an_answer_that_crosses_our_cancel_gets_ack_and_bye(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str
) -> None:
    box = appliance()
    anna, bo = phone(box, "201", hz=440), Racer(box, "202", network)
    bo.register()
    anna.dial("202")
    bo.seen("INVITE")
    invite = bo.waiting
    assert invite is not None
    anna.hang_up()
    while True:                                          # the CANCEL is there: the answer was on its way already
        message = bo.next()
        if getattr(message, "method", "") == "CANCEL":
            break
    bo.answer_with_sdp(200)
    bo.say(respond(message, 200, to_tag="desk"))         # type: ignore[arg-type]
    bo.requests.clear()
    bo.waiting = None                                    # it is answered: a CANCEL that comes again ends nothing
    bo.seen("BYE")
    methods = [one.method for one in bo.requests if one.method != "CANCEL"]
    assert methods[0] == "ACK" and "BYE" in methods
    wait_until(lambda: not box.ctl("show calls"), "nothing is left")
    bo.close()


def test_a_cancel_that_crosses_our_answer_changes_nothing(appliance: Callable[..., Appliance], network: str) -> None:
    box = appliance()
    eva = Racer(box, "203", network)
    tag = eva.call("*43", "race")
    invite = eva.make("CANCEL", "*43", "race", cseq=eva.cseq)
    invite.set_top_via(eva.make("INVITE", "*43", "race", cseq=eva.cseq).via)
    answer = eva.ask(invite)
    assert answer.status == 200 and answer.cseq.method == "CANCEL"
    time.sleep(0.5)  # an echo that goes on does so in real time
    assert len(box.ctl("show calls")) == 1
    assert eva.ask(eva.make("BYE", "*43", "race", tag)).status == 200
    wait_until(lambda: not box.ctl("show calls"), "nothing is left")
    eva.close()


def test_two_offers_that_cross_are_both_refused_and_ours_comes_again(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str
) -> None:
    box = appliance()
    anna, eva = phone(box, "201", hz=440), Racer(box, "203", network)
    phone(box, "202", hz=660)
    anna.dial("202")
    anna.wait("CALL_RINGING")
    tag = eva.call("**202", "glare")                     # answers for 202: its display is told by a re-INVITE, as it allows no UPDATE
    ours = eva.next()
    while getattr(ours, "method", "") != "INVITE":
        ours = eva.next()
    theirs = eva.ask(eva.make("INVITE", "**202", "glare", tag, body=SDP.replace(b"192.0.2.20", eva.source[0].encode())))
    assert theirs.status == 491
    eva.say(respond(ours, 491))                          # type: ignore[arg-type]
    before = ours.cseq.number                            # type: ignore[attr-defined]

    def again() -> bool:
        eva.listen(1, until="INVITE")
        return any(one.method == "INVITE" and one.cseq.number > before for one in eva.requests)

    wait_until(again, "our offer comes again", 20)
    trace = [row for row in box.ctl("show trace", call="203") if row["source"] == "sip"]
    refused = next(row["at"] for row in trace if row["direction"] == "in" and " SIP/2.0 491" in row["text"])
    repeated = next(row["at"] for row in trace if row["direction"] == "out" and " INVITE " in row["text"] and row["at"] > refused)
    assert repeated - refused < 2500
    eva.requests.clear()
    eva.answer_with_sdp(200)
    eva.seen("ACK")
    anna.hang_up()
    eva.seen("BYE")
    wait_until(lambda: not box.ctl("show calls"), "nothing is left")
    eva.close()
