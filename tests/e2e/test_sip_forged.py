"""Somebody sends into an encrypted call: nobody hears it, `show calls` counts it, an alarm says so and clears with the call."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from firmware.sip.message import respond
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.test_sip_secrets import SecureDesk
from tests.unit.sip_stage import authorize

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def talk(anna: SecureDesk, bo: SecureDesk) -> bytes:
    """Both in conversation over SDES; the box's description for anna."""
    anna.register()
    bo.register()
    challenge = anna.ask(anna.make("INVITE", "202", "c1", body=anna.describe()))
    anna.socket.sendto(anna.make("ACK", "202", "c1", challenge.to.tag, cseq=anna.cseq).render(), anna.server)
    invite = authorize(anna.make("INVITE", "202", "c1", body=anna.describe()), challenge, "201", anna.secret)
    anna.socket.sendto(invite.render(), anna.server)
    asked = bo.seen("INVITE")
    crypto = re.search(rb"a=crypto:(\d+ AES_CM_128_HMAC_SHA1_80)", asked.body)
    assert crypto is not None, asked.body
    contact = (("Contact", f"<sip:202@{bo.source[0]}:{bo.source[1]};transport=tls>"),)
    body = bo.describe(crypto[1].decode())
    bo.socket.sendto(respond(asked, 200, to_tag="desk", headers=contact, body=body, content_type="application/sdp").render(), bo.server)
    answer = anna.listen(20)
    assert answer is not None and answer.status == 200
    anna.tag = answer.to.tag             # type: ignore[attr-defined]
    anna.socket.sendto(anna.make("ACK", "202", "c1", answer.to.tag, cseq=anna.cseq).render(), anna.server)
    bo.seen("ACK")
    return answer.body


def test_forged_speech_raises_an_alarm_that_ends_with_the_call(appliance: Callable[..., Appliance], network: str) -> None:
    box = appliance()
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made", 30)
    anna, bo = SecureDesk(box, "201", network), SecureDesk(box, "202", network)

    def alarms() -> list[Any]:
        return [row for row in box.ctl("show alarms") if row["kind"].startswith("srtp:")]

    def counted() -> int:
        speech = " ".join(one for row in box.ctl("show calls") for one in row["speech"])
        found = re.search(r"201=\S+ \((\d+) not genuine\)", speech)
        return int(found[1]) if found is not None else 0

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        try:
            described = talk(anna, bo)
            port = re.search(rb"m=audio (\d+)", described)
            host = re.search(rb"c=IN IP4 (\S+)", described)
            assert port is not None and host is not None
            stranger.bind((network, 4000))                 # where anna says that she sends from
            port_of_anna = (host[1].decode(), int(port[1]))
            number = 0

            def forge() -> int:
                """A burst that the socket's buffer holds, whatever else the machine does."""
                nonlocal number
                for _ in range(20):
                    number += 1
                    stranger.sendto(struct.pack("!BBHII", 0x80, 8, number & 0xFFFF, number * 160, 0xBAD) + bytes(170), port_of_anna)
                return counted()

            wait_until(lambda: forge() >= 250, "what is not genuine is counted", 20)
            (raised,) = wait_until(alarms, "the alarm on forged speech", 25)
            assert "201" in raised["text"]
            anna.ask(anna.make("BYE", "202", "c1", anna.tag))      # type: ignore[attr-defined]
            wait_until(lambda: not alarms(), "the alarm is over with the call", 20)
        finally:
            anna.close()
            bo.close()
