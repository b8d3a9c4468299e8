"""Encryption in offers and answers: in kind, never weaker than asked for, and no key where none belongs."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip import sdes
from firmware.sip.offer import AudioPath, MediaKeys, NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description, parse_sdp

Policy = Literal["off", "offer", "required"]
POLICIES: tuple[Policy, ...] = ("off", "offer", "required")
SUITES = tuple(sdes.SUITES)


def side(policy: Policy, letter: str, suites: tuple[str, ...] = SUITES) -> OfferAnswer:
    secure = sdes.offer(suites, lambda n: (letter * n).encode()) if policy != "off" else ()
    return OfferAnswer(f"10.0.0.{ord(letter) % 100}", 4000, str(ord(letter)), ("pcma",), srtp=policy, secure=secure)


def wire(description: Description) -> Description:
    return parse_sdp(description.build())


def agree(caller: OfferAnswer, callee: OfferAnswer) -> tuple[AudioPath, AudioPath]:
    ours = caller.receive_answer(wire(callee.receive_offer(wire(caller.offer()))))
    assert callee.path is not None
    return ours, callee.path


def profiles(description: Description) -> list[tuple[str, int, int]]:
    """(profile, port, crypto lines) of each m-line."""
    return [(line.proto, line.port, sum(name == "crypto" for name, _ in line.attributes)) for line in description.media]


@pytest.mark.parametrize("caller", POLICIES)
@pytest.mark.parametrize("callee", POLICIES)
def test_two_of_us_encrypt_where_both_can_and_never_less_than_one_requires(caller: Policy, callee: Policy) -> None:
    a, b = side(caller, "a"), side(callee, "b")
    if {caller, callee} == {"off", "required"} or (caller, callee) == ("offer", "off"):
        with pytest.raises(NotAcceptable):         # of "offer" the owner may ask again in clear
            agree(a, b)
        assert (a.path, b.path) == (None, None)
        return
    ours, theirs = agree(a, b)
    if "off" in (caller, callee):
        assert (ours.keys, theirs.keys) == (None, None)
    else:
        assert ours.keys == MediaKeys(SUITES[0], b"a" * 30, b"b" * 30)
        assert theirs.keys == MediaKeys(SUITES[0], b"b" * 30, b"a" * 30)


def test_the_offer_is_one_line_with_all_suites_and_the_answer_has_one() -> None:
    a, b = side("offer", "a"), side("offer", "b", ("AEAD_AES_128_GCM",))
    offered = a.offer()
    assert profiles(offered) == [("RTP/SAVP", 4000, 4)]
    answered = b.receive_offer(wire(offered))
    assert profiles(answered) == [("RTP/SAVP", 4000, 1)]
    path = a.receive_answer(wire(answered))
    assert path.keys is not None
    assert path.keys.suite == "AEAD_AES_128_GCM"


def test_an_encrypted_line_is_taken_before_a_plain_one_where_both_are_offered() -> None:
    offered = side("offer", "a").offer()
    secure = offered.media[0]
    bare = tuple(pair for pair in secure.attributes if pair[0] != "crypto")
    plain = msgspec.structs.replace(secure, proto="RTP/AVP", port=4002, attributes=bare)
    both = msgspec.structs.replace(offered, media=(plain, secure))
    b = side("offer", "b")
    assert profiles(b.receive_offer(both)) == [("RTP/AVP", 0, 0), ("RTP/SAVP", 4000, 1)]
    c = side("off", "c")
    assert profiles(c.receive_offer(both)) == [("RTP/AVP", 4000, 0), ("RTP/SAVP", 0, 0)]
    with pytest.raises(NotAcceptable):
        side("required", "d").receive_offer(msgspec.structs.replace(offered, media=(plain,)))


def test_hold_and_refresh_keep_keys_and_version() -> None:
    a, b = side("offer", "a"), side("offer", "b")
    first, _ = agree(a, b)
    again = a.offer()
    assert profiles(again) == [("RTP/SAVP", 4000, 1)]
    assert a.receive_answer(wire(b.receive_offer(wire(again)))).keys == first.keys
    version = a.version
    assert a.offer().version == version
    back = b.offer()                               # the other side asks next
    assert wire(a.receive_offer(wire(back))).media[0].proto == "RTP/SAVP"
    assert a.path is not None
    assert a.path.keys == first.keys
    b.hold = True
    held = a.receive_offer(wire(b.offer()))
    assert held.direction(held.media[0]) == "recvonly"
    assert a.path.keys == first.keys


def test_a_journal_has_no_key_and_the_next_offer_encrypts_all_the_same() -> None:
    a, b = side("offer", "a"), side("offer", "b")
    agree(a, b)
    stored = msgspec.json.encode(a.without_keys())
    for key in (*(line.build().split("inline:")[1] for line in (*a.secure, *b.secure)), "crypto"):
        assert key.encode() not in stored
    adopted = msgspec.json.decode(stored, type=OfferAnswer)
    with pytest.raises(NotAcceptable):             # never in clear for want of keys
        adopted.offer()
    adopted.secure = sdes.offer(SUITES, lambda n: b"n" * n)
    path = adopted.receive_answer(wire(b.receive_offer(wire(adopted.offer()))))
    assert path.keys == MediaKeys(SUITES[0], b"n" * 30, b"b" * 30)
    assert b.path is not None
    assert b.path.keys == MediaKeys(SUITES[0], b"b" * 30, b"n" * 30)


def test_answers_out_of_kind_are_refused() -> None:
    b = side("offer", "b")
    answered = b.receive_offer(wire(side("offer", "a").offer()))
    line = answered.media[0]
    bare = tuple(pair for pair in line.attributes if pair[0] != "crypto")
    for bad in (
        msgspec.structs.replace(line, proto="RTP/AVP"),
        msgspec.structs.replace(line, attributes=bare),
        msgspec.structs.replace(line, attributes=(*line.attributes, ("crypto", "2 x inline:y"))),
        msgspec.structs.replace(line, attributes=(("crypto", "9 AES_CM_128_HMAC_SHA1_80 inline:" + "Y" * 40), *bare)),
    ):
        a = side("offer", "a")
        a.offer()
        with pytest.raises(NotAcceptable):
            a.receive_answer(msgspec.structs.replace(answered, media=(bad,)))
        assert a.path is None
    with pytest.raises(NotAcceptable):
        side("required", "c", ()).offer()


def test_no_text_of_a_path_or_description_shows_a_key() -> None:
    a, b = side("offer", "a"), side("offer", "b")
    ours, _ = agree(a, b)
    for text in (repr(ours), repr(a), repr(b.remote)):
        assert "aaaa" not in text
        assert "YWFh" not in text
        assert "YmJi" not in text


def test_a_plain_line_with_keys_is_encrypted_where_we_can_and_stays_so() -> None:
    a, b = side("offer", "a"), side("offer", "b")
    offered = a.offer()
    soft = msgspec.structs.replace(offered, media=(msgspec.structs.replace(offered.media[0], proto="RTP/AVP"),))
    a.last = soft                                  # RFC 8643: encryption where the answerer can
    answered = wire(b.receive_offer(wire(soft)))
    assert profiles(answered) == [("RTP/AVP", 4000, 1)]
    path = a.receive_answer(answered)
    assert path.keys == MediaKeys(SUITES[0], b"a" * 30, b"b" * 30)
    assert profiles(b.offer()) == [("RTP/AVP", 4000, 1)]
    assert wire(a.receive_offer(wire(b.offer()))).media[0].proto == "RTP/AVP"
    assert a.path is not None
    assert a.path.keys == path.keys
    unable = side("off", "c")
    assert profiles(unable.receive_offer(wire(soft))) == [("RTP/AVP", 4000, 0)]
    d = side("offer", "d")
    d.offer()
    with pytest.raises(NotAcceptable):             # once encrypted, an answer cannot take it away
        b.receive_answer(wire(unable.last or offered))


def test_the_same_offer_in_clear_for_a_peer_that_refused_it() -> None:
    a, b = side("offer", "a"), side("off", "b")
    with pytest.raises(NotAcceptable):
        b.receive_offer(wire(a.offer()))
    clear = a.in_clear()
    assert profiles(clear) == [("RTP/AVP", 4000, 0)]
    assert clear.version == 2
    assert a.receive_answer(wire(b.receive_offer(wire(clear)))).suite == ""
    assert profiles(a.offer()) == [("RTP/AVP", 4000, 0)]


LINES = st.lists(st.text("1 AESCM_80inline:|^;=GHx", max_size=80), max_size=4)


@given(LINES, st.sampled_from(POLICIES), st.sampled_from(["RTP/SAVP", "RTP/AVP"]))
def test_whatever_is_offered_is_answered_in_kind_or_refused(values: list[str], policy: Policy, profile: str) -> None:
    offered = side("off", "a").offer()
    line = offered.media[0]
    attributes = (*line.attributes, *(("crypto", value) for value in values))
    hostile = msgspec.structs.replace(offered, media=(msgspec.structs.replace(line, proto=profile, attributes=attributes),))
    b = side(policy, "b")
    try:
        answered = b.receive_offer(hostile)
    except NotAcceptable:
        return
    assert b.path is not None
    assert profiles(answered) == [(profile, 4000, 1 if b.path.keys else 0)]
    assert profile == "RTP/AVP" or b.path.keys is not None
    assert profile == "RTP/SAVP" or "inline" in "".join(values) or b.path.keys is None
    assert not (policy == "required" and b.path.keys is None)
