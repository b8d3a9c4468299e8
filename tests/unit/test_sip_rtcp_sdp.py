"""Where reports go, as SDP says it: `a=rtcp`, `a=rtcp-mux`, and neither."""

from __future__ import annotations

import pytest

from firmware.sip.offer import OfferAnswer
from firmware.sip.sdp import parse_sdp

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"


def side() -> OfferAnswer:
    return OfferAnswer("192.0.2.9", 20_000, "7", ("pcma",))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("a=rtcp:53020\r\n", ("192.0.2.1", 53020)),
        ("a=rtcp:53020 IN IP4 198.51.100.4\r\n", ("198.51.100.4", 53020)),
        ("a=rtcp:53020 IN IP6 2001:db8::4\r\n", ("2001:db8::4", 53020)),
        ("a=rtcp:0\r\n", None),
        ("a=rtcp:70000\r\n", None),
        ("a=rtcp:5 IN IP4\r\n", None),
        ("a=rtcp:5 IN IP4 224.0.0.1\r\n", None),
        ("a=rtcp:5 IN IP4 0.0.0.0\r\n", None),
        ("a=rtcp:5 IN IP4 name.example\r\n", None),
        ("a=rtcp\r\n", None),
    ],
)
def test_the_address_of_reports_is_taken_from_an_offer(line: str, expected: tuple[str, int] | None) -> None:
    ours = side()
    answer = ours.receive_offer(parse_sdp((HEAD + line).encode())).build().decode()
    assert ours.path is not None
    assert (ours.path.rtcp, ours.path.mux) == (expected, False)
    assert "rtcp" not in answer


def test_a_shared_port_is_agreed_when_it_is_offered_and_stays_agreed() -> None:
    ours = side()
    answer = ours.receive_offer(parse_sdp((HEAD + "a=rtcp:4001\r\na=rtcp-mux\r\n").encode())).build().decode()
    assert "a=rtcp-mux\r\n" in answer
    assert ours.path is not None
    assert (ours.path.mux, ours.path.rtcp) == (True, None)
    ours.hold = True
    assert "a=rtcp-mux\r\n" in ours.offer().build().decode()


def test_we_do_not_offer_to_share_and_take_no_sharing_that_was_not_offered() -> None:
    ours = side()
    assert "rtcp-mux" not in ours.offer().build().decode()
    path = ours.receive_answer(parse_sdp((HEAD + "a=rtcp-mux\r\na=rtcp:4444\r\n").encode()))
    assert (path.mux, path.rtcp) == (False, ("192.0.2.1", 4444))
