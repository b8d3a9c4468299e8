"""Offers and answers of browsers: DTLS-SRTP, ICE-lite, bundles; the offers are what Chromium and JsSIP really send."""

from __future__ import annotations

import msgspec
import pytest

from firmware.sip import dtls_sdp, ice
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description, MediaLine, parse_sdp

OWN = ":".join(f"{byte:02X}" for byte in range(32))
THEIRS = "56:FC:C6:5A:3A:D5:59:BE:6D:F1:A6:2A:B4:9C:ED:78:D8:6C:11:08:6A:7C:1E:D5:BF:5E:A6:34:A8:98:93:72"
CHROMIUM = f"""v=0
o=- 7986214488694574338 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS 20648283-831a-40fe-a434-c1e83e507ccc
m=audio 49881 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 127.0.0.1
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:3262523169 1 udp 2122260223 127.0.0.1 49881 typ host generation 0 network-id 1 network-cost 50
a=candidate:1021113269 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active generation 0 network-id 1 network-cost 50
a=ice-ufrag:XUn5
a=ice-pwd:lQKWg2l0LJOOuQIFM2bL17xS
a=ice-options:trickle
a=fingerprint:sha-256 {THEIRS}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendrecv
a=msid:20648283-831a-40fe-a434-c1e83e507ccc e257db3a-5966-4656-a400-81faae12138d
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:660807631 cname:JRvb5Rra4zRhc/Bw
"""
VIDEO = """m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=setup:actpass
a=rtpmap:96 VP8/90000
"""


def side(**options: object) -> OfferAnswer:
    return msgspec.structs.replace(
        OfferAnswer("192.0.2.1", 40000, "77", ("opus", "pcma", "pcmu")), dtls=OWN, lite=ice.Secret("5eed" * 8), srtp="offer", **options
    )


def chromium(*changes: tuple[str, str]) -> Description:
    text = CHROMIUM
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return parse_sdp(text.encode())


def values(line: MediaLine, name: str) -> list[str]:
    return [value for key, value in line.attributes if key == name]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_chromium_is_answered_as_it_needs() -> None:
    us = side()
    answer = us.receive_offer(chromium())
    told = parse_sdp(answer.build())                 # as it reads on the wire
    (line,) = told.media
    assert (line.port, line.proto, line.formats) == (40000, "UDP/TLS/RTP/SAVPF", ("111", "110"))
    assert dict(told.attributes) == {"group": "BUNDLE 0", "ice-lite": ""}
    one = dict(line.attributes)
    assert one["fingerprint"] == f"sha-256 {OWN}" and one["setup"] == "passive"
    assert one["mid"] == "0" and "rtcp-mux" in one and one["msid"] == "branchpbx speech"
    assert one["candidate"] == "1 1 udp 2130706431 192.0.2.1 40000 typ host" and "end-of-candidates" in one
    assert len(one["ice-ufrag"]) >= 4 and len(one["ice-pwd"]) >= 22
    assert not {"rtcp-fb", "extmap", "rtcp-rsize", "crypto"} & set(one), "what is not taken up"
    path = us.path
    assert path is not None and path.dtls == dtls_sdp.Dtls("passive", bytes.fromhex(THEIRS.replace(":", "")))
    assert path.ice is not None and path.ice.far_ufrag == "XUn5"
    assert (path.ice.ours.ufrag, path.ice.ours.password) == (one["ice-ufrag"], one["ice-pwd"])
    assert (path.remote, path.codec, path.payload_type, path.dtmf_type, path.dtmf_clock) == (None, "opus", 111, 110, 48000)
    assert path.send and path.receive and path.keys is None and not path.suite


def test_g711_beside_it_has_keys_at_its_own_clock() -> None:
    us = side(preference=("pcma", "opus"))
    us.receive_offer(chromium())
    assert us.path is not None
    path = us.path
    assert (path.codec, path.payload_type, path.dtmf_type, path.dtmf_clock, path.comfort_noise) == ("pcma", 8, 126, 8000, True)


def test_video_is_refused_and_only_speech_is_bundled() -> None:
    us = side()
    answer = us.receive_offer(parse_sdp((CHROMIUM.replace("BUNDLE 0", "BUNDLE 0 1") + VIDEO).encode()))
    assert [line.port for line in answer.media] == [40000, 0]
    assert dict(answer.attributes)["group"] == "BUNDLE 0" and values(answer.media[1], "mid") == ["1"]


@pytest.mark.parametrize(
    ("setup", "role"), [("actpass", "passive"), ("active", "passive"), ("passive", "active"), ("holdconn", None), ("", None)]
)
def test_who_begins_the_handshake(setup: str, role: str | None) -> None:
    us = side()
    offer = chromium(("a=setup:actpass\n", f"a=setup:{setup}\n" if setup else ""))
    if role is None:
        with pytest.raises(NotAcceptable):
            us.receive_offer(offer)
        return
    answer = us.receive_offer(offer)
    assert us.path is not None and us.path.dtls is not None and us.path.dtls.role == role
    assert values(answer.media[0], "setup") == [role]


@pytest.mark.parametrize(
    "change",
    [
        ("sha-256 56:", "sha-1 56:"),
        (f"a=fingerprint:sha-256 {THEIRS}\n", ""),
        (THEIRS, THEIRS[:-3]),
        (THEIRS, THEIRS.replace("FC", "FX")),
        ("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF"),
        (" 111 63 9 0 8 13 110 126", " 63"),
    ],
)
def test_what_lacks_something_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(NotAcceptable):
        side().receive_offer(chromium(change))


@pytest.mark.parametrize("change", [{"dtls": ""}, {"lite": None}])
def test_without_a_certificate_or_ice_of_our_own_it_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(NotAcceptable):
        msgspec.structs.replace(side(), **change).receive_offer(chromium())


def test_fingerprint_and_credentials_may_stand_at_the_session() -> None:
    text = CHROMIUM
    moved = ""
    for name in ("ice-ufrag:XUn5", "ice-pwd:lQKWg2l0LJOOuQIFM2bL17xS", f"fingerprint:sha-256 {THEIRS}", "setup:actpass"):
        text = text.replace(f"a={name}\n", "")
        moved += f"a={name}\n"
    us = side()
    us.receive_offer(parse_sdp(text.replace("a=group", moved + "a=group").encode()))
    assert us.path is not None and us.path.dtls is not None and us.path.ice is not None and us.path.ice.far_ufrag == "XUn5"


@pytest.mark.parametrize("bad", ["XU", "X Un5", "Xü55", "x" * 257])
def test_odd_credentials_are_none(bad: str) -> None:
    us = side()
    us.receive_offer(chromium(("XUn5", bad)))
    assert us.path is not None and us.path.ice is None and us.path.remote == ("127.0.0.1", 49881)


def test_dtls_without_ice_goes_to_the_address_of_the_line() -> None:
    lines = [line for line in CHROMIUM.split("\n") if not line.startswith(("a=ice", "a=candidate", "a=group", "a=mid", "a=msid"))]
    us = side()
    answer = us.receive_offer(parse_sdp("\n".join(lines).replace("SAVPF", "SAVP").encode()))
    assert us.path is not None and us.path.remote == ("127.0.0.1", 49881) and us.path.ice is None and us.path.dtls is not None
    assert answer.attributes == () and not {"candidate", "mid", "ice-ufrag"} & {key for key, _ in answer.media[0].attributes}
    assert answer.media[0].proto == "UDP/TLS/RTP/SAVP"


def test_no_address_yet_is_no_hold() -> None:
    us = side()
    us.receive_offer(chromium(("m=audio 49881", "m=audio 9"), ("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0")))
    assert us.path is not None and us.path.send and us.path.receive


def test_an_encrypted_line_of_a_browser_goes_before_a_plain_one() -> None:
    plain = "m=audio 5000 RTP/AVP 0\nc=IN IP4 127.0.0.1\n"
    us = side()
    answer = us.receive_offer(parse_sdp((CHROMIUM.replace("m=audio", plain + "m=audio")).encode()))
    assert [line.port for line in answer.media] == [0, 40000]


# --- later offers of the peer -----------------------------------------------------------------------------------------


def test_hold_and_resume_keep_credentials_and_role() -> None:
    us = side()
    first = us.receive_offer(chromium())
    held = us.receive_offer(chromium(("a=sendrecv", "a=sendonly")))
    assert us.path is not None and us.path.held and us.path.receive
    for name in ("ice-ufrag", "ice-pwd", "setup", "fingerprint", "mid", "candidate"):
        assert values(first.media[0], name) == values(held.media[0], name), name
    resumed = us.receive_offer(chromium())
    assert resumed.media == first.media and resumed.version == first.version + 2
    assert us.receive_offer(chromium()) is resumed, "an offer equal to the last one changes nothing"


def test_a_role_once_taken_stays() -> None:
    us = side()
    us.receive_offer(chromium(("a=setup:actpass", "a=setup:passive")))
    us.receive_offer(chromium())
    assert us.path is not None and us.path.dtls is not None and us.path.dtls.role == "active"
    us.receive_offer(chromium(("56:FC", "57:FC")))
    assert us.path.dtls.role == "passive", "another certificate is another handshake"


def test_a_restart_of_ice_gets_new_credentials_and_dtls_goes_on() -> None:
    us = side()
    us.receive_offer(chromium())
    assert us.path is not None and us.path.ice is not None
    before, dtls = us.path.ice, us.path.dtls
    us.receive_offer(chromium(("XUn5", "Yvo6"), ("lQKWg2l0", "mRLXh3m1")))
    after = us.path.ice
    assert after is not None and after.far_ufrag == "Yvo6" and us.path.dtls == dtls
    assert after.ours.ufrag != before.ours.ufrag and after.ours.password != before.ours.password
    again = us.path.ice
    us.receive_offer(chromium(("XUn5", "Yvo6"), ("lQKWg2l0", "mRLXh3m1"), ("a=sendrecv", "a=sendonly")))
    assert us.path.ice == again


# --- offers of ours ---------------------------------------------------------------------------------------------------


def answer_of(offer: Description, **changes: str) -> Description:
    """What a browser answers."""
    one = {"setup": "active", "fingerprint": f"sha-256 {THEIRS}", "ice-ufrag": "XUn5", "ice-pwd": "lQKWg2l0LJOOuQIFM2bL17xS", **changes}
    attributes = (("rtpmap", "96 opus/48000/2"), *((key, value) for key, value in one.items() if value), ("sendrecv", ""), ("mid", "0"))
    line = MediaLine("audio", 9, offer.media[0].proto, ("96",), address="0.0.0.0", attributes=attributes)
    return Description("-", "1", 1, "127.0.0.1", media=(line,))


def test_a_browser_is_called_with_what_it_understands() -> None:
    us = side(web=True)
    offer = parse_sdp(us.offer().build())
    (line,) = offer.media
    one = dict(line.attributes)
    assert line.proto == "UDP/TLS/RTP/SAVPF" and one["setup"] == "actpass" and one["mid"] == "0" and "rtcp-mux" in one
    assert dict(offer.attributes) == {"group": "BUNDLE 0", "ice-lite": ""} and "crypto" not in one and "candidate" in one
    path = us.receive_answer(answer_of(offer))
    assert path.dtls == dtls_sdp.Dtls("passive", bytes.fromhex(THEIRS.replace(":", ""))) and path.codec == "opus"
    assert path.ice is not None and path.ice.far_ufrag == "XUn5" and path.ice.ours.ufrag == one["ice-ufrag"]
    assert path.remote is None and path.send and path.receive
    # A later offer of ours is of the same kind, with the same credentials, and keeps the browser's part.
    us.hold = True
    later = us.offer()
    assert later.media[0].proto == line.proto and values(later.media[0], "setup") == ["actpass"]
    assert values(later.media[0], "ice-ufrag") == [one["ice-ufrag"]] and dict(later.attributes)["group"] == "BUNDLE 0"
    held = us.receive_answer(answer_of(later))
    assert held.dtls == path.dtls and held.ice == path.ice


@pytest.mark.parametrize("changes", [{"fingerprint": ""}, {"setup": ""}, {"setup": "actpass"}, {"fingerprint": "sha-1 56:FC"}])
def test_an_answer_that_lacks_its_part_is_none(changes: dict[str, str]) -> None:
    us = side(web=True)
    with pytest.raises(NotAcceptable):
        us.receive_answer(answer_of(us.offer(), **changes))


def test_others_are_offered_what_they_were_before() -> None:
    us = side()
    assert us.offer().media[0].proto == "RTP/AVP" and us.offer().attributes == ()


def test_it_travels_in_a_journal() -> None:
    us = side()
    us.receive_offer(chromium())
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(us.without_keys()), type=OfferAnswer)
    assert again.path == us.path and again.receive_offer(chromium()) == us.last


def test_passwords_are_not_shown() -> None:
    us = side()
    us.receive_offer(chromium())
    assert us.path is not None and us.path.ice is not None
    assert us.path.ice.ours.password not in repr(us.path) and "5eed" not in repr(us.lite)


def test_a_journal_tells_a_password_of_the_peer_from_others_and_says_nothing_of_it() -> None:
    password = "kept+for/nobody+else0123"
    line = MediaLine("audio", 9, "UDP/TLS/RTP/SAVPF", ("0",), attributes=(("ice-ufrag", "abcd"), ("ice-pwd", password)))
    described = Description("-", "1", 1, "192.0.2.9", attributes=(("ice-pwd", "another+one/of+session99"),), media=(line,))
    kept = ice.sealed(described)
    written = msgspec.msgpack.encode(kept)
    assert password.encode() not in written and b"another+one" not in written and ice.sealed(kept) == kept
    assert password not in repr(line)
    assert ice.credentials_of(kept, kept.media[0]) == ice.credentials_of(described, line)
    text = f"v=0\r\na=ice-pwd:{password}\r\n".encode()
    assert len(ice.sealed_text(text)) == len(text) and password.encode() not in ice.sealed_text(text)
    other = msgspec.structs.replace(line, attributes=(("ice-ufrag", "abcd"), ("ice-pwd", password + "x")))
    assert ice.credentials_of(described, other) != ice.credentials_of(described, line)
