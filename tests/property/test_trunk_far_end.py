"""Whatever a carrier says, nothing raises, nothing grows, and one right answer later the trunk works."""

from __future__ import annotations

import logging
import random

import pytest

from firmware.call.model import Cause, LegEnded
from firmware.config.schema.trunks import Trunk
from firmware.sip.message import Request, respond
from tests.unit.trunk_stage import ANSWER, CARRIER, TrunkStage

STATUSES = (100, 180, 183, 200, 202, 301, 401, 403, 404, 407, 408, 420, 422, 423, 480, 481, 486, 488, 491, 500, 503, 600, 606, 699)
HEADERS = (
    ("Contact", "<sip:02112345@192.0.2.1:5060;line={line}>;expires={number}"), ("Contact", "*"), ("Contact", "<sip:x@203.0.113.5>"),
    ("WWW-Authenticate", 'Digest realm="c", nonce="{number}", qop="auth", stale=true'), ("Min-SE", "{number}"), ("RSeq", "{number}"),
    ("Proxy-Authenticate", 'Digest realm="{number}", nonce="x", algorithm=SHA-256, qop="auth,auth-int"'), ("Require", "100rel, timer"),
    ("Expires", "{number}"), ("Min-Expires", "{number}"), ("Retry-After", "{number} (a;b)"), ("Service-Route", "<sip:s@x;lr>, <sip:t;lr>"),
    ("Session-Expires", "{number};refresher=uac"), ("Unsupported", "timer"), ("Allow", "INVITE, UPDATE"), ("Record-Route", "<sip:p;lr>"),
    ("Server", "Carrier"), ("P-Asserted-Identity", '"x" <sip:1@x>'), ("Supported", "100rel"),
)  # fmt: skip


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """The message as it is, or with some bytes changed, lost or repeated."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 0, 1, 3, 10))):
        at = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at : at + rng.randrange(1, 8)]
            case _:
                changed[at:at] = changed[at : at + rng.randrange(1, 30)]
    return bytes(changed)


@pytest.mark.parametrize("round_", range(6))
def test_no_answer_of_a_carrier_breaks_a_trunk(rng: random.Random, caplog: pytest.LogCaptureFixture, round_: int) -> None:
    caplog.set_level(logging.ERROR)
    rng = random.Random(rng.randrange(2**32) + round_)
    trunk = Trunk(domain="carrier.example", user="02112345", secret="x", qualify_s=30, calls_minute=0, reliable_provisional=True)
    house = TrunkStage({"c": trunk})
    requests: list[tuple[Request, tuple[str, int]]] = []
    for step in range(400):
        requests += [(message, where) for where, message in house.sent if isinstance(message, Request) and message.method != "ACK"]
        house.sent.clear()
        house.raw.clear()
        requests = requests[-12:]
        if rng.random() < 0.1:
            house.originate(str(rng.randrange(10**6)), leg=f"L{step}")
        if rng.random() < 0.05:
            house.phones.hang_up(f"L{step - rng.randrange(20)}", Cause.NORMAL)
        if requests and rng.random() < 0.8:
            request, where = rng.choice(requests)
            line = house.phones.endpoint.trunks.trunks["c"].spec.line
            chosen = [(name, value.format(line=line, number=rng.choice((0, 1, 30, 90, 3600, 2**31, 10**30)))) for name, value in
                      rng.sample(HEADERS, rng.randrange(6))]  # fmt: skip
            answer = respond(request, rng.choice(STATUSES), to_tag=rng.choice(("a", "b", "")), headers=chosen,
                             body=rng.choice((b"", ANSWER)), content_type="application/sdp")  # fmt: skip
            house.phones.receive(spoilt(answer.render(), rng), where, "udp", ("192.0.2.1", 5060))
        house.run(rng.choice((0, 50, 500, 5_000, 40_000)))
    assert not caplog.records, [record.getMessage() for record in caplog.records]
    statistics = house.phones.endpoint.statistics()
    assert statistics["sessions"] <= 80 and statistics["transactions"] <= 200, statistics
    # The carrier is itself again.
    for leg in list(house.phones.snapshot()):
        house.phones.hang_up(leg, Cause.NORMAL)
    for _ in range(2_000):
        if house.state() == "idle":
            break
        for where, message in list(house.sent):
            if isinstance(message, Request) and message.method in ("REGISTER", "OPTIONS"):
                contact = message.headers.get("contact")
                house.reply(message, 200, source=where, headers=[("Contact", contact + ";expires=3600")])
        house.sent.clear()
        house.raw.clear()
        house.run(5_000)
    assert house.state() == "idle", house.phones.trunks.list()
    house.of(LegEnded)
    house.sent.clear()
    house.reply(house.call("1", leg="last"), 486, source=CARRIER)
    assert house.of(LegEnded)[-1].leg == "last"
