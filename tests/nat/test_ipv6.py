"""IPv6: phones and SIPp over it, calls between the two families, over UDP, TCP and TLS."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e import sipp
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import write_tone
from tests.nat.branch import SIP_PORT, Net, talk

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

BOX, DESK, OTHER = "fd00:5::1", "fd00:5::2", "fd00:5::3"


def where(box: Appliance, number: str) -> str:
    (row,) = [row for row in box.ctl("show phones") if row["extension"] == number]
    return str(row["where"])


def test_phones_of_both_families_talk(net: Net) -> None:
    """One listener for both: a phone over IPv6, one over IPv6 and TCP, one over IPv4."""
    lan, server = net.switch(), net.machine()
    desks = [net.machine() for _ in range(3)]
    lan.plug(server, "10.5.0.1/24", f"{BOX}/64")
    for machine, addresses in zip(desks, ((f"{DESK}/64",), (f"{OTHER}/64",), ("10.5.0.4/24",)), strict=True):
        lan.plug(machine, *addresses)
    box = net.box(server, bind="::")
    six = "prefer_ipv6 yes\n"
    anna = net.phone(box, desks[0], "201", f"[{BOX}]", DESK, 440, more=six)
    bo = net.phone(box, desks[1], "202", f"[{BOX}]", OTHER, 880, more=six, transport="tcp")
    chen = net.phone(box, desks[2], "203", "10.5.0.1", "10.5.0.4", 620)
    assert where(box, "201").startswith(f"[{DESK}]:") and where(box, "203").startswith("10.5.0.4:")
    to_anna, to_bo = talk(box, anna, bo, (440, 880))
    for text in (to_anna, to_bo):
        assert f"c=IN IP6 {BOX}" in text and f"[{BOX}]" in text and "10.5.0.1" not in text and "::ffff" not in text
    to_chen, to_anna = talk(box, chen, anna, (620, 440))
    assert "c=IN IP4 10.5.0.1" in to_chen and BOX not in to_chen and "::ffff" not in to_chen
    assert f"c=IN IP6 {BOX}" in to_anna and "10.5.0.1" not in to_anna


def test_sipp_over_the_loopback_of_ipv6(net: Net, tmp_path: Path) -> None:
    server = net.machine()
    box = net.box(server, bind="::1")
    user, secret = "203", box.accounts()["203"]
    audio = write_tone(tmp_path / "speech.wav", 440, 2)
    who = {"user": user, "secret": secret, "to": "*43", "audio": audio, "talk_ms": 1000}
    for transport in ("u1", "t1"):
        folder = tmp_path / transport
        options = {"host": "::1", "transport": transport, "prefix": server.prefix}
        sipp.run_sipp(folder / "register", six(sipp.REGISTER), f"[::1]:{SIP_PORT}", user=user, secret=secret, **options)  # type: ignore[arg-type]
        assert where(box, user).startswith("[::1]:")
        sipp.run_sipp(folder / "call", six(sipp.CALL), f"[::1]:{SIP_PORT}", calls=3, rate=5, **options, **who)  # type: ignore[arg-type]
        wait_until(lambda: not box.ctl("show calls"), "all calls are gone")


def six(scenario: str) -> str:
    """SIPp writes its own address in brackets, and needs the description's family said."""
    return scenario.replace("IN IP4 [local_ip]", "IN IP[local_ip_type] [local_ip]").replace("IN IP4 [media_ip]", "IN IP6 [media_ip]")


def test_a_phone_over_tls_and_ipv6(net: Net) -> None:
    lan, server, desk = net.switch(), net.machine(), net.machine()
    lan.plug(server, f"{BOX}/64")
    lan.plug(desk, f"{DESK}/64")
    box = net.box(server, bind=BOX)
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made")
    port = json.loads((box.state / "run" / "endpoints.json").read_text())["sip_tls_port"]
    anna = net.phone(box, desk, "201", f"[{BOX}]", DESK, 440, port=port, more="prefer_ipv6 yes\n", transport="tls",
                     trusted=box.state / "tls" / "ca.crt")  # fmt: skip
    anna.dial("*43")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(2.5)  # real time: a real phone speaks
    anna.hang_up()
    anna.wait("CALL_CLOSED")
    heard = anna.heard().part(0.7)
    assert heard.tone_dbm0(440) == pytest.approx(-10, abs=1) and heard.longest_gap_ms(440, -20) <= 60
