"""SRTP and SRTCP: the vectors of the RFCs prove the slow model, the model proves the module; then what attackers send."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp.srtp import SUITE_NAMES, Srtp
from tests.dsp import srtp_model as model

SUITES = SUITE_NAMES[1:]
MASTER = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6")     # RFC 3711 B.3


def master(suite: str, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(model.KEY_BYTES[suite] + model.SALT_BYTES.get(suite, 14))


def rtp(seq: int, payload: bytes = b"\xd5" * 160, ssrc: int = 0xCAFEBABE) -> bytes:
    return struct.pack("!BBHII", 0x80, 8, seq & 0xFFFF, 160 * seq & 0xFFFFFFFF, ssrc) + payload


def rtcp(ssrc: int = 0xCAFEBABE, blocks: int = 1) -> bytes:
    return struct.pack("!BBHI", 0x80 | blocks, 200, 6 + 6 * blocks, ssrc) + bytes(range(20 + 24 * blocks))


# --- the model against published vectors ------------------------------------------------------------------------------


def test_the_model_is_aes_of_fips_197() -> None:
    text = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert model.aes(bytes(range(16)))(text).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    assert model.aes(bytes(range(32)))(text).hex() == "8ea2b7ca516745bfeafc49904b496089"


def test_the_model_gives_the_key_stream_of_rfc_3711_b_2() -> None:
    key, salt = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), 0xF0F1F2F3F4F5F6F7F8F9FAFBFCFD0000
    assert model.keystream(key, salt, 48).hex().upper() == (
        "E03EAD0935C95E80E166B16DD92B4EB4" "D23513162B02D0F72A43A2FE4A5F97AB" "41E95B3BB0A2E8DD477901E4FCA894C0"
    )


def test_the_model_derives_the_keys_of_rfc_3711_b_3() -> None:
    key, salt = MASTER[:16], MASTER[16:]
    assert model.derive(key, salt, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert model.derive(key, salt, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert model.derive(key, salt, 1, 20).hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"


def test_the_model_seals_the_packet_of_rfc_7714_16_1() -> None:
    packet = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
    sealed = model.with_session_keys("AEAD_AES_128_GCM", bytes(range(16)), b"Quid pro quo", b"", packet)
    assert sealed.hex() == (
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
        "899d7f27beb16a9152cf765ee4390cce"
    )


# --- the module against the model -------------------------------------------------------------------------------------


def test_a_packet_published_with_the_keys_of_the_rfc() -> None:
    plain = bytes.fromhex("800f1234decafbadcafebabe") + b"\xab" * 16
    sealed = bytes.fromhex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
    assert Srtp("AES_CM_128_HMAC_SHA1_80", MASTER, False).protect(plain) == sealed
    assert Srtp("AES_CM_128_HMAC_SHA1_80", MASTER, True).unprotect(sealed) == plain


@pytest.mark.parametrize("suite", SUITES)
def test_packets_are_sealed_and_opened_as_the_rfcs_say(suite: str) -> None:
    key = master(suite)
    ours, theirs = Srtp(suite, key, False), Srtp(suite, key, True)
    for number, payload in enumerate((b"x", b"\xd5" * 160, bytes(range(33)), b"")):
        plain = rtp(65000 + number, payload)
        sealed = ours.protect(plain)
        assert sealed == model.seal_rtp(suite, key, plain)
        assert theirs.unprotect(model.seal_rtp(suite, key, plain)) == plain
    listed = b"\x92" + rtp(65010)[1:12] + struct.pack("!IIHHI", 1, 2, 0xBEDE, 1, 0x10AA0000) + b"speech"
    assert ours.protect(listed) == model.seal_rtp(suite, key, listed)


@pytest.mark.parametrize("suite", SUITES)
def test_control_packets_too_with_the_long_tag(suite: str) -> None:
    key = master(suite)
    ours, theirs = Srtp(suite, key, False), Srtp(suite, key, True)
    for index in (1, 2, 3):
        sealed = ours.protect(rtcp(), True)
        assert sealed == model.seal_rtcp(suite, key, rtcp(), index)
        assert theirs.unprotect(sealed, True) == rtcp()
    assert theirs.unprotect(sealed, True) == "repeated"


@pytest.mark.parametrize("suite", SUITES)
def test_the_roll_over_counter_is_followed_also_over_lost_packets(suite: str) -> None:
    key = master(suite)
    ours, theirs = Srtp(suite, key, False), Srtp(suite, key, True)
    for n in range(65000, 65536 + 400):
        sealed = ours.protect(rtp(n))
        if not 65500 <= n < 65536 + 30:
            assert theirs.unprotect(sealed) == rtp(n)
    assert sealed == model.seal_rtp(suite, key, rtp(n), roc=1)


def test_repeated_and_too_old_packets_are_refused_and_reordered_ones_taken() -> None:
    ours, theirs = Srtp(SUITES[0], MASTER, False), Srtp(SUITES[0], MASTER, True)
    sealed = [ours.protect(rtp(n)) for n in range(1000, 1300)]
    for one in sealed[:100]:
        theirs.unprotect(one)
    assert theirs.unprotect(sealed[99]) == "repeated"
    assert theirs.unprotect(sealed[50]) == "repeated"
    assert theirs.unprotect(sealed[120]) == rtp(1120)
    assert theirs.unprotect(sealed[110]) == rtp(1110)
    theirs.unprotect(sealed[299])
    assert theirs.unprotect(sealed[130]) == "repeated"         # behind the window: nobody can know


@pytest.mark.parametrize("suite", SUITES)
def test_one_wrong_bit_anywhere_is_noticed(suite: str) -> None:
    key = master(suite)
    theirs, plain = Srtp(suite, key, True), rtp(5, b"four")
    sealed = Srtp(suite, key, False).protect(plain)
    for bit in range(len(sealed) * 8):
        bad = bytearray(sealed)
        bad[bit // 8] ^= 1 << (bit % 8)
        assert theirs.unprotect(bytes(bad)) == "forged"
    for n in range(len(sealed)):
        assert theirs.unprotect(sealed[:n]) == "forged"
    assert theirs.unprotect(sealed) == plain                   # none of them left a trace


@pytest.mark.parametrize("suite", SUITES)
def test_another_key_opens_nothing(suite: str) -> None:
    sealed = Srtp(suite, master(suite, 1), False).protect(rtp(9))
    assert Srtp(suite, master(suite, 2), True).unprotect(sealed) == "forged"
    assert Srtp(suite, master(suite, 1), True).unprotect(rtp(9)) == "forged"


def test_a_peer_with_the_key_cannot_fill_the_memory_with_streams() -> None:
    theirs = Srtp(SUITES[0], MASTER, True)
    sealed = [Srtp(SUITES[0], MASTER, False).protect(rtp(1, b"x", ssrc)) for ssrc in range(80)]
    assert [theirs.unprotect(one) for one in sealed] == [rtp(1, b"x", n) for n in range(64)] + ["forged"] * 16
    again = Srtp(SUITES[0], MASTER, False)
    again.protect(rtp(1, b"x", 3))
    assert theirs.unprotect(again.protect(rtp(2, b"x", 3))) == rtp(2, b"x", 3)
    ours = Srtp(SUITES[0], MASTER, False)
    for ssrc in range(1000):                                   # our own may change without end
        assert ours.protect(rtp(1, b"x", ssrc)) == model.seal_rtp(SUITES[0], MASTER, rtp(1, b"x", ssrc)) or ssrc % 100


@pytest.mark.parametrize("suite", SUITES)
def test_keys_of_another_length_and_unknown_suites_are_refused(suite: str) -> None:
    with pytest.raises(ValueError, match="needs"):
        Srtp(suite, master(suite)[:-1], False)
    with pytest.raises(ValueError, match="suite"):
        Srtp("NULL_HMAC_SHA1_80", MASTER, False)
    with pytest.raises(ValueError, match="suite"):
        Srtp("", b"", False)


SHARED = {(suite, control): Srtp(suite, master(suite), True) for suite in SUITES for control in (False, True)}


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SUITES), st.booleans(), st.binary(max_size=2100), st.booleans())
def test_no_bytes_of_a_stranger_are_ever_opened(suite: str, control: bool, data: bytes, header: bool) -> None:
    packet = b"\x80" + data if header else data
    assert SHARED[suite, control].unprotect(packet, control) == "forged"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SUITES), st.integers(0, 15), st.booleans(), st.integers(0, 0xFFFF), st.binary(max_size=120))
def test_no_header_makes_the_library_read_or_write_outside(suite: str, sources: int, extended: bool, words: int, body: bytes) -> None:
    """Lengths that lie: the lists reach beyond the packet, also on our own side."""
    packet = bytes([0x80 | (0x10 if extended else 0) | sources]) + rtp(1, b"")[1:]
    packet += (struct.pack("!HH", 0xBEDE, words) if extended else b"") + body
    assert SHARED[suite, False].unprotect(packet) == "forged"
    ours = Srtp(suite, master(suite), False)
    try:
        sealed = ours.protect(packet)
    except ValueError:
        return
    assert Srtp(suite, master(suite), True).unprotect(sealed) == packet
