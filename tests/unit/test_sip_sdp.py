"""Session descriptions and the rules of RFC 3264."""

from __future__ import annotations

import msgspec
import pytest

from firmware.sip.errors import SyntaxProblem
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.sdp import parse_sdp
from tests.unit.sip_stage import PBX, audio, sdp


def offer(lines: str, session: str = "c=IN IP4 192.0.2.9\r\nt=0 0\r\n", version: int = 1) -> bytes:
    return f"v=0\r\no=x 1 {version} IN IP4 192.0.2.9\r\ns=-\r\n{session}{lines}".encode()


AUDIO = "m=audio 4000 RTP/AVP 0 97\r\na=rtpmap:97 telephone-event/8000\r\na=ptime:30\r\n"


def answer_to(text: bytes, side: OfferAnswer | None = None) -> tuple[OfferAnswer, str]:
    side = side or audio(PBX, 5000)
    return side, side.receive_offer(parse_sdp(text)).build().decode()


def test_answer_names_one_codec_and_only_offered_numbers() -> None:
    side, text = answer_to(offer(AUDIO))
    assert "m=audio 5000 RTP/AVP 0 97\r\n" in text and "a=rtpmap:97 telephone-event/8000" in text
    assert side.path is not None
    assert (side.path.remote, side.path.codec, side.path.payload_type, side.path.dtmf_type, side.path.ptime_ms) == (
        ("192.0.2.9", 4000),
        "pcmu",
        0,
        97,
        30,
    )
    assert side.path.send and side.path.receive


def test_our_order_of_codecs_decides() -> None:
    both = offer("m=audio 4000 RTP/AVP 18 0 8\r\n")
    assert "m=audio 5000 RTP/AVP 8\r\n" in answer_to(both)[1]
    assert "m=audio 5000 RTP/AVP 0\r\n" in answer_to(both, OfferAnswer("192.0.2.1", 5000, "1", ("pcmu", "pcma")))[1]


def test_dynamic_number_for_g711_and_no_telephone_event() -> None:
    side, text = answer_to(offer("m=audio 4000 RTP/AVP 18 112\r\na=rtpmap:112 PCMA/8000/1\r\n"))
    assert "m=audio 5000 RTP/AVP 112\r\n" in text
    assert side.path is not None and (side.path.codec, side.path.payload_type, side.path.dtmf_type) == ("pcma", 112, None)


@pytest.mark.parametrize(
    ("theirs", "ours", "send", "receive"),
    [
        ("sendrecv", "sendrecv", True, True),
        ("sendonly", "recvonly", False, True),
        ("recvonly", "sendonly", True, False),
        ("inactive", "inactive", False, False),
    ],
)
def test_directions_are_mirrored(theirs: str, ours: str, send: bool, receive: bool) -> None:
    for text in (offer(AUDIO + f"a={theirs}\r\n"), offer(AUDIO, f"c=IN IP4 192.0.2.9\r\nt=0 0\r\na={theirs}\r\n")):
        side, answer = answer_to(text)
        assert f"a={ours}\r\n" in answer
        assert side.path is not None and (side.path.send, side.path.receive) == (send, receive)


def test_null_connection_address_is_hold() -> None:
    side, answer = answer_to(offer(AUDIO, "c=IN IP4 0.0.0.0\r\nt=0 0\r\n"))
    assert side.path is not None and side.path.remote is None and side.path.held and "a=recvonly" in answer


def test_m_lines_keep_their_order_and_refused_ones_get_port_0() -> None:
    side, answer = answer_to(offer("m=video 6000 RTP/AVP 31\r\nm=audio 7000 RTP/SAVP 0\r\n" + AUDIO + "m=audio 4002 RTP/AVP 8\r\n"))
    assert [line for line in answer.splitlines() if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 31", "m=audio 0 RTP/SAVP 0", "m=audio 5000 RTP/AVP 0 97", "m=audio 0 RTP/AVP 8",
    ]  # fmt: skip
    assert side.line == 2


def test_no_usable_audio_is_not_acceptable() -> None:
    for lines in ("", "m=audio 4000 RTP/AVP 18\r\n", "m=audio 0 RTP/AVP 0\r\n", "m=video 4000 RTP/AVP 31\r\n"):
        with pytest.raises(NotAcceptable):
            answer_to(offer(lines))


def test_version_rises_with_each_change_and_only_then() -> None:
    side, first = answer_to(offer(AUDIO))
    _, same = answer_to(offer(AUDIO, version=1), side)
    _, held = answer_to(offer(AUDIO + "a=sendonly\r\n", version=2), side)
    _, resumed = answer_to(offer(AUDIO, version=3), side)
    versions = [text.splitlines()[1].split()[2] for text in (first, same, held, resumed)]
    assert versions == ["1", "1", "2", "3"] and first == same


def test_the_t_line_of_an_answer_equals_the_offer() -> None:
    assert "t=3149328700 0\r\n" in answer_to(offer(AUDIO, "c=IN IP4 192.0.2.9\r\nt=3149328700 0\r\n"))[1]


def test_offer_and_answer_agree_on_a_path() -> None:
    caller, callee = audio(PBX, 5000), audio(("192.0.2.20", 4000), 4100)
    path = caller.receive_answer(callee.receive_offer(caller.offer()))
    assert path.remote == ("192.0.2.20", 4100) and path.send and path.receive
    assert (path.codec, path.payload_type, path.dtmf_type, path.dtmf_clock, path.comfort_noise) == ("opus", 96, 102, 48000, False)
    assert callee.path is not None and callee.path.remote == ("192.0.2.1", 5000)


def test_a_later_offer_keeps_the_m_lines_of_the_session() -> None:
    side, _ = answer_to(offer("m=video 6000 RTP/AVP 31\r\n" + AUDIO))
    again = side.offer()
    assert [(line.kind, line.port) for line in again.media] == [("video", 0), ("audio", 5000)] and again.version == 2


def test_our_hold_is_offered_sendonly_and_their_answer_taken() -> None:
    caller, callee = audio(PBX, 5000), audio(("192.0.2.20", 4000), 4100)
    caller.receive_answer(callee.receive_offer(caller.offer()))
    caller.hold = True
    path = caller.receive_answer(callee.receive_offer(caller.offer()))
    assert (path.send, path.receive) == (True, False) and callee.path is not None and callee.path.held


# --- codecs -----------------------------------------------------------------------------------------------------------

OPUS = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
KEYS = "a=rtpmap:97 telephone-event/8000\r\na=rtpmap:98 telephone-event/48000\r\n"


def attributes(text: str) -> list[str]:
    return [line[2:] for line in text.splitlines() if line.startswith("a=")]


def test_what_we_offer() -> None:
    text = OfferAnswer("192.0.2.1", 5000, "1").offer().build().decode()
    assert "m=audio 5000 RTP/AVP 96 9 8 0 13 101 102\r\n" in text
    assert attributes(text) == [
        "rtpmap:96 opus/48000/2", "fmtp:96 stereo=0;sprop-stereo=0;useinbandfec=1;maxaveragebitrate=48000", "rtpmap:9 G722/8000",
        "rtpmap:8 PCMA/8000", "rtpmap:0 PCMU/8000", "rtpmap:13 CN/8000", "rtpmap:101 telephone-event/8000", "fmtp:101 0-15",
        "rtpmap:102 telephone-event/48000", "fmtp:102 0-15", "ptime:20", "maxptime:60", "sendrecv",
    ]  # fmt: skip
    narrow = OfferAnswer("192.0.2.1", 5000, "1", ("pcmu", "pcma")).offer().build().decode()
    assert "m=audio 5000 RTP/AVP 0 8 13 101\r\n" in narrow and "48000" not in narrow


def test_opus_is_answered_with_its_number_and_keys_at_its_clock() -> None:
    side, text = answer_to(offer("m=audio 4000 RTP/AVP 0 111 97 98\r\n" + OPUS + KEYS))
    assert "m=audio 5000 RTP/AVP 111 98\r\n" in text
    assert attributes(text)[:2] == ["rtpmap:111 opus/48000/2", "fmtp:111 stereo=0;sprop-stereo=0;useinbandfec=1;maxaveragebitrate=48000"]
    assert side.path is not None
    assert (side.path.codec, side.path.payload_type, side.path.dtmf_type, side.path.dtmf_clock) == ("opus", 111, 98, 48000)


def test_opus_with_keys_at_8000_only_is_understood() -> None:
    side, text = answer_to(offer("m=audio 4000 RTP/AVP 111 97\r\n" + OPUS + KEYS))
    assert "m=audio 5000 RTP/AVP 111 97\r\n" in text
    assert side.path is not None and (side.path.codec, side.path.dtmf_type, side.path.dtmf_clock) == ("opus", 97, 8000)


def test_other_codecs_take_no_keys_at_48000() -> None:
    side, text = answer_to(offer("m=audio 4000 RTP/AVP 9 98\r\n" + KEYS))
    assert "m=audio 5000 RTP/AVP 9\r\n" in text
    assert side.path is not None and (side.path.codec, side.path.payload_type, side.path.dtmf_type) == ("g722", 9, None)


@pytest.mark.parametrize("wrong", ["opus/16000/2", "opus", "G722/16000", "PCMA/16000"])
def test_a_codec_at_another_clock_is_another_codec(wrong: str) -> None:
    side, _ = answer_to(offer(f"m=audio 4000 RTP/AVP 111 0\r\na=rtpmap:111 {wrong}\r\n"))
    assert side.path is not None and side.path.codec == "pcmu"


def test_comfort_noise_belongs_to_g711() -> None:
    side, text = answer_to(offer("m=audio 4000 RTP/AVP 8 13\r\n"))
    assert "m=audio 5000 RTP/AVP 8 13\r\n" in text and side.path is not None and side.path.comfort_noise
    side, text = answer_to(offer("m=audio 4000 RTP/AVP 9 8 13\r\n"))
    assert "m=audio 5000 RTP/AVP 9\r\n" in text and side.path is not None and not side.path.comfort_noise


def test_packet_times_that_opus_lacks() -> None:
    for wanted, granted in ((10, 10), (20, 20), (30, 20), (40, 40), (50, 40), (60, 60), (120, 60)):
        side, text = answer_to(offer("m=audio 4000 RTP/AVP 111\r\n" + OPUS + f"a=ptime:{wanted}\r\n"))
        assert side.path is not None and side.path.ptime_ms == granted and f"a=ptime:{granted}\r\n" in text


def test_a_later_offer_keeps_the_meaning_of_payload_numbers() -> None:
    # The peer uses 96 for its keys and 101 for Opus: our own proposals would give both another meaning.
    theirs = (
        "m=audio 4000 RTP/AVP 101 0 96 102\r\na=rtpmap:101 opus/48000/2\r\na=rtpmap:96 telephone-event/8000\r\na=rtpmap:102 iLBC/8000\r\n"
    )
    side, _ = answer_to(offer(theirs))
    again = side.offer().build().decode()
    assert "m=audio 5000 RTP/AVP 101 9 8 0 13 96 103\r\n" in again
    assert "rtpmap:103 telephone-event/48000" in again and "rtpmap:102" not in again


def test_a_peer_that_has_taken_every_dynamic_number_is_offered_what_has_a_number() -> None:
    every = " ".join(str(number) for number in range(96, 128))
    side, _ = answer_to(offer(f"m=audio 4000 RTP/AVP 0 {every}\r\na=rtpmap:127 telephone-event/8000\r\n"))
    assert "m=audio 5000 RTP/AVP 9 8 0 13 127\r\n" in side.offer().build().decode()


def test_a_change_of_codec_is_a_new_version_and_a_new_path() -> None:
    side, _ = answer_to(offer("m=audio 4000 RTP/AVP 111 0\r\n" + OPUS))
    _, second = answer_to(offer("m=audio 4000 RTP/AVP 9 0\r\n", version=2), side)
    assert side.path is not None and side.path.codec == "g722" and side.version == 2 and "RTP/AVP 9\r\n" in second


def test_negotiation_survives_a_snapshot() -> None:
    side, _ = answer_to(offer(AUDIO))
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(side), type=OfferAnswer)
    assert copy == side and copy.receive_offer(parse_sdp(offer(AUDIO))).version == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"v=1\r\n",
        b"v=0\r\nnonsense\r\n",
        offer("m=audio x RTP/AVP 0\r\n"),
        offer("m=audio 1 RTP/AVP\r\n"),
        offer("c=IN IP9 x\r\n"),
        offer("m=audio 9 RTP/AVP 0\r\n", ""),
    ],
)
def test_a_broken_description_is_a_syntax_problem(text: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        parse_sdp(text)


def test_ipv6_and_lone_lf_are_understood() -> None:
    description = parse_sdp(b"v=0\no=- 1 1 IN IP6 2001:db8::1\ns=\nt=0 0\nm=audio 9 RTP/AVP 0\nc=IN IP6 2001:db8::2\n")
    assert description.address_of(description.media[0]) == "2001:db8::2" and sdp().media[0].port == 4000
