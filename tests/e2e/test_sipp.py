"""SIPp as phone: strict about every message; and hostile datagrams beside a call in progress."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import sipp
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import write_tone
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "sip-torture"


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_registers_and_calls_the_echo_test(appliance: Callable[..., Appliance], network: str, tmp_path: Path, transport: str) -> None:
    box = appliance()
    user, secret = "203", box.accounts()["203"]
    sipp.run_sipp(tmp_path / "register", sipp.REGISTER, box.sip, host=network, transport=transport, user=user, secret=secret)
    audio = write_tone(tmp_path / "speech.wav", 440, 2)
    who = {"user": user, "secret": secret, "to": "*43", "audio": audio, "talk_ms": 1500}
    sipp.run_sipp(tmp_path / "call", sipp.CALL, box.sip, host=network, calls=5, rate=5, transport=transport, **who)
    wait_until(lambda: not box.ctl("show calls"), "all calls are gone")


def test_malformed_packets_disturb_no_call(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str, rng: random.Random
) -> None:
    box = appliance()
    anna, bo = phone(box, "201", hz=440), phone(box, "202", hz=880, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    host, port = box.sip.split(":")
    packets = [file.read_bytes() for file in sorted(VECTORS.rglob("*.dat"))]
    assert len(packets) > 40
    packets += [rng.randbytes(rng.randrange(1, 1400)) for _ in range(100)]
    packets += [bytes(b if rng.random() > 0.02 else rng.randrange(256) for b in packet) for packet in packets[:50]]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind((network, 0))
        for packet in packets:
            attacker.sendto(packet, (host, int(port)))
    with socket.create_connection((host, int(port))) as stream, contextlib.suppress(ConnectionError):  # the box may close it before the end
        stream.sendall(rng.randbytes(70_000))
    time.sleep(3)  # the call goes on in real time
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    heard = anna.heard().part(0.5)
    assert heard.tone_dbm0(880) == pytest.approx(-10, abs=1)
    assert heard.longest_gap_ms(880, -20) <= 60
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
