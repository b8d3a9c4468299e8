"""The torture messages of RFC 4475 and RFC 5118: each gets the disposition its RFC demands."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.sip.endpoint import Endpoint
from firmware.sip.message import Request, Response
from firmware.sip.parse import StreamFramer, parse_datagram
from firmware.sip.validate import check_support, check_syntax, usable_response
from tests.unit.sip_stage import PBX, make_endpoint

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "sip-torture"

# 0: acceptable; a status: refused with it; "response": usable response; "stray": response that must be dropped
DISPOSITIONS: dict[str, int | str] = {
    "rfc4475/badaspec": 400, "rfc4475/badbranch": 0, "rfc4475/baddate": 0, "rfc4475/baddn": 0, "rfc4475/badinv01": 400,
    "rfc4475/badvers": 505, "rfc4475/bcast": "response", "rfc4475/bext01": 420, "rfc4475/bigcode": "stray", "rfc4475/clerr": 400,
    "rfc4475/cparam01": 0, "rfc4475/cparam02": 0, "rfc4475/dblreq": 0, "rfc4475/esc01": 0, "rfc4475/esc02": 501, "rfc4475/escnull": 0,
    "rfc4475/escruri": 400, "rfc4475/insuf": 400, "rfc4475/intmeth": 501, "rfc4475/inv2543": 0, "rfc4475/invut": 415,
    "rfc4475/longreq": 0, "rfc4475/ltgtruri": 400, "rfc4475/lwsdisp": 0, "rfc4475/lwsruri": 400, "rfc4475/lwsstart": 400,
    "rfc4475/mcl01": 400, "rfc4475/mismatch01": 400, "rfc4475/mismatch02": 400, "rfc4475/mpart01": 405, "rfc4475/multi01": 400,
    "rfc4475/ncl": 400, "rfc4475/noreason": "response", "rfc4475/novelsc": 416, "rfc4475/quotbal": 400, "rfc4475/regaut01": 0,
    "rfc4475/regbadct": 400, "rfc4475/regescrt": 0, "rfc4475/scalar02": 400, "rfc4475/scalarlg": "stray", "rfc4475/sdp01": 406,
    "rfc4475/semiuri": 0, "rfc4475/transports": 0, "rfc4475/trws": 400, "rfc4475/unkscm": 416, "rfc4475/unksm2": 0,
    "rfc4475/unreason": "response", "rfc4475/wsinv": 0, "rfc4475/zeromf": 483,
    "rfc5118/ipv4-mapped-ipv6": 0, "rfc5118/ipv6-bad": 400, "rfc5118/ipv6-bug-abnf-3-colons": 0, "rfc5118/ipv6-correct-abnf-2-colons": 0,
    "rfc5118/ipv6-good": 0, "rfc5118/ipv6-in-sdp": 0, "rfc5118/mult-ip-in-header": 0, "rfc5118/mult-ip-in-sdp": 0,
    "rfc5118/port-ambiguous": 0, "rfc5118/port-unambiguous": 0, "rfc5118/via-received-param-no-delim": 0,
    "rfc5118/via-received-param-with-delim": 0,
}  # fmt: skip
# What our endpoint answers a stranger: what is acceptable is challenged, asked (OPTIONS) or unknown (BYE of no dialog).
STRANGER = {"INVITE": 407, "REGISTER": 401, "OPTIONS": 200, "BYE": 481}
SOURCE = ("198.51.100.7", 5060)


def torture(name: str) -> bytes:
    return (FOLDER / f"{name}.dat").read_bytes()


def test_every_message_has_a_disposition() -> None:
    found = {f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.dat")}
    assert found == set(DISPOSITIONS) and len(found) == 61


@pytest.mark.parametrize("name", sorted(DISPOSITIONS))
def test_disposition(name: str) -> None:
    wanted = DISPOSITIONS[name]
    if name == "rfc4475/bigcode":
        from firmware.errors import RemoteProtocolError

        with pytest.raises(RemoteProtocolError):
            parse_datagram(torture(name))
        return
    message = parse_datagram(torture(name))
    if isinstance(wanted, str):
        assert isinstance(message, Response) and usable_response(message) is (wanted == "response")
        return
    assert isinstance(message, Request)
    refusal = check_syntax(message) or check_support(message)
    assert (refusal.status if refusal else 0) == wanted


@pytest.fixture
def endpoint(seed: int) -> Endpoint:
    return make_endpoint(seed)


@pytest.mark.parametrize("name", sorted(DISPOSITIONS))
def test_every_request_is_answered_over_udp_as_a_stranger_deserves(name: str, endpoint: Endpoint) -> None:
    endpoint.receive(torture(name), SOURCE, "udp", 1000, PBX)
    answers = [parse_datagram(outgoing.data) for outgoing in endpoint.output()]
    wanted = DISPOSITIONS[name]
    if isinstance(wanted, str):
        assert answers == []
        return
    assert len(answers) == 1 and isinstance(answers[0], Response)
    method = torture(name).split(None, 1)[0].decode()
    # authentication comes before support: 415 and 406 of an INVITE are for those whom we know
    if name == "rfc4475/wsinv":
        wanted = 481  # its To has a tag: a request of a dialog that we do not have
    expected = STRANGER[method] if wanted == 0 or (method == "INVITE" and wanted in (406, 415, 420)) else wanted
    assert answers[0].status == expected
    assert endpoint.statistics()["transactions"] == 0 and endpoint.statistics()["sessions"] == 0


@pytest.mark.parametrize("name", sorted(name for name, wanted in DISPOSITIONS.items() if not isinstance(wanted, str)))
def test_every_request_is_answered_over_tcp_byte_by_byte(name: str, endpoint: Endpoint) -> None:
    data = torture(name)
    for at in range(len(data)):
        endpoint.receive(data[at : at + 1], SOURCE, "tcp", 1000, PBX)
    statuses = [
        message.status for outgoing in endpoint.output() if (message := parse_datagram(outgoing.data)) and isinstance(message, Response)
    ]
    if name == "rfc4475/clerr":
        assert statuses == []  # 9999 bytes were announced: the rest may still come
    elif name == "rfc4475/inv2543":
        assert statuses == [400]  # Content-Length is mandatory on a stream
    elif name == "rfc4475/dblreq":
        assert statuses == [401, 407]  # on a stream the second message counts
    else:
        assert len(statuses) == 1
        wanted = DISPOSITIONS[name]
        if wanted not in (0, 406, 415, 420):
            assert statuses == [wanted]


def test_framer_finds_the_same_messages_however_the_stream_is_cut() -> None:
    # as framed once, so that a Content-Length that lies about its body does not end the stream early
    messages = [parse_datagram(torture(name)) for name in DISPOSITIONS if name not in ("rfc4475/bigcode", "rfc4475/esc02")]
    stream = b"\r\n".join(message.render() for message in messages if message is not None)

    def cut(size: int) -> list[bytes]:
        framer = StreamFramer()
        out: list[bytes] = []
        for at in range(0, len(stream), size):
            out += [message.render() for message in framer.feed(stream[at : at + size]) if isinstance(message, Request | Response)]
        return out

    whole = cut(len(stream))
    assert whole == cut(1) == cut(7) == cut(1460)
    assert len(whole) == len(messages)
