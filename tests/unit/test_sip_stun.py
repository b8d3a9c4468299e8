"""STUN messages: the vectors of RFC 5769, our own messages, hostile bytes."""

from __future__ import annotations

import os
import random

import pytest

from firmware.sip import stun

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE_4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def test_the_request_of_rfc_5769_is_read_and_found_genuine() -> None:
    message = stun.parse(REQUEST)
    assert message is not None
    assert (message.kind, message.username, message.fingerprint) == (stun.BINDING_REQUEST, "evtj:h6vY", True)
    assert message.attributes[stun.PRIORITY] == bytes.fromhex("6e0001ff")
    assert message.genuine(PASSWORD)
    assert not message.genuine(PASSWORD + "x")


@pytest.mark.parametrize(
    ("data", "address"), [(RESPONSE_4, ("192.0.2.1", 32853)), (RESPONSE_6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853))]
)
def test_the_responses_of_rfc_5769_name_the_mapped_address(data: bytes, address: tuple[str, int]) -> None:
    message = stun.parse(data)
    assert message is not None
    assert message.genuine(PASSWORD)
    assert message.fingerprint
    value = message.attributes[stun.XOR_MAPPED_ADDRESS]
    assert stun.read_xor_address(value, message.transaction) == address
    assert stun.xor_address(address, message.transaction) == value


def test_what_is_built_is_read_again() -> None:
    made = stun.build(stun.BINDING_ERROR, bytes(12), [(stun.ERROR_CODE, stun.error_code(487, "Role Conflict"))], "p" * 22)
    message = stun.parse(made)
    assert message is not None
    assert message.genuine("p" * 22)
    assert message.fingerprint
    assert stun.read_error_code(message.attributes[stun.ERROR_CODE]) == 487


def test_attributes_behind_the_integrity_are_ignored_and_the_first_of_two_counts() -> None:
    inner = stun.build(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"a:b"), (stun.USERNAME, b"c:d")], "secret")
    body = inner[20:-8] + b"\x00\x25\x00\x00"                     # USE-CANDIDATE slipped in behind
    forged = inner[:2] + len(body).to_bytes(2, "big") + inner[4:20] + body
    message = stun.parse(forged)
    assert message is not None
    assert message.genuine("secret")
    assert message.username == "a:b"
    assert stun.USE_CANDIDATE not in message.attributes


def test_every_single_changed_bit_is_noticed() -> None:
    for at in range(len(REQUEST) * 8):
        data = bytearray(REQUEST)
        data[at // 8] ^= 1 << at % 8
        message = stun.parse(bytes(data))
        assert message is None or not message.genuine(PASSWORD) or message.fingerprint is not True, f"bit {at}"


def test_hostile_bytes_are_no_stun() -> None:
    seed = os.environ.get("BRANCHPBX_SEED", "stun")
    noise = random.Random(seed)
    for _ in range(3000):
        kind = noise.randrange(3)
        if kind == 0:
            data = noise.randbytes(noise.randrange(200))
        elif kind == 1:
            data = REQUEST[: noise.randrange(len(REQUEST))]
        else:
            body = noise.randbytes(4 * noise.randrange(40))
            data = b"\0\1" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + body
        message = stun.parse(data)
        assert message is None or not message.genuine(PASSWORD), f"seed {seed}: {data.hex()}"
    many = b"\x80\x22\0\0" * (stun.ATTRIBUTES_MOST + 1)
    assert stun.parse(b"\0\1" + len(many).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + many) is None
