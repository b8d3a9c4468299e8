"""Caller id messages: what is built is read back, what arrives broken is refused and never harms."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware.call.model import Party
from firmware.errors import RemoteProtocolError
from firmware.line import callerid
from firmware.line.profiles import PROFILES, profile
from firmware.line.tones import ToneSpec

numbers = st.text("0123456789", min_size=1, max_size=24)
names = st.text("ABCdefgäöüßéèñçÅ .-'&", max_size=24).map(str.strip)


@given(numbers, names)
def test_mdmf_gives_number_and_latin_name_back(number: str, name: str) -> None:
    parsed = callerid.parse(callerid.build_mdmf(Party(number, name), "07041530"))
    assert parsed.party == Party(number, name)
    assert parsed.when == "07041530"
    assert parsed.waiting is None


@given(numbers, st.text("张王李赵公司电话北京上海联通", max_size=12))
def test_mdmf_gives_chinese_name_back(number: str, name: str) -> None:
    assert callerid.parse(callerid.build_mdmf(Party(number, name), charset="gbk"), "gbk").party == Party(number, name)


def test_long_chinese_name_is_cut_at_a_whole_character() -> None:
    parsed = callerid.parse(callerid.build_mdmf(Party("110", "中" * 40), charset="gbk"), "gbk")
    assert parsed.party.name == "中" * 15


@pytest.mark.parametrize("reason", ["private", "unavailable"])
def test_absent_number_keeps_its_reason(reason: str) -> None:
    assert callerid.parse(callerid.build_mdmf(Party(reason=reason))).party == Party(reason=reason)
    assert callerid.parse(callerid.build_sdmf(Party(reason=reason), "01011200")).party == Party(reason=reason)
    assert callerid.parse_dtmf(callerid.build_dtmf(Party(reason=reason))) == Party(reason=reason)


@given(numbers)
def test_sdmf_gives_number_back(number: str) -> None:
    parsed = callerid.parse(callerid.build_sdmf(Party(number), "12312359"))
    assert (parsed.party, parsed.when) == (Party(number), "12312359")


def test_example_of_the_standard_is_read() -> None:
    # GR-30 example: MDMF, 30 September 12:30, 6095551212, name
    body = bytes.fromhex("01083039333031323330") + bytes.fromhex("020a36303935353531323132") + b"\x07\x08JOHN DOE"
    message = bytes((0x80, len(body))) + body
    assert callerid.unframe(callerid.frame(message)) == message
    assert callerid.parse(message) == callerid.CallerId(Party("6095551212", "JOHN DOE"), "09301230")


@pytest.mark.parametrize("on", [True, False])
def test_message_waiting_is_told_from_a_call(on: bool) -> None:
    assert callerid.parse(callerid.build_waiting(on)).waiting is on


def test_wrong_checksum_is_noise() -> None:
    data = bytearray(callerid.frame(callerid.build_mdmf(Party("12345"))))
    data[5] ^= 0x10
    with pytest.raises(RemoteProtocolError, match="checksum"):
        callerid.unframe(bytes(data))


@given(st.binary(max_size=300), st.sampled_from(["latin-1", "gbk"]))
@example(b"\x80\x02\x02\xff", "latin-1")
@example(b"\x82\x00", "gbk")
def test_hostile_bytes_raise_only_remote_error(data: bytes, charset: str) -> None:
    for read in (callerid.unframe, lambda b: callerid.parse(b, charset)):  # type: ignore[arg-type]
        try:
            result = read(data)
        except RemoteProtocolError:
            continue
        if isinstance(result, callerid.CallerId):
            party = result.party
            assert len(party.number) <= callerid.MAX_NUMBER and len(party.name) <= callerid.MAX_NAME
            assert party.name.isprintable()
            assert party.number or party.reason or result.waiting is not None


@given(st.binary(max_size=80), st.sampled_from([0x04, 0x06, 0x80, 0x82]))
def test_hostile_bodies_raise_only_remote_error(body: bytes, kind: int) -> None:
    try:
        callerid.parse(bytes((kind, len(body))) + body, "gbk")
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    ("keys", "party"),
    [
        ("D01055551234C", Party("01055551234")),
        ("A5551234#", Party("5551234")),
        ("D5551234#", Party("5551234")),
        ("A5551234D5559999C", Party("5551234")),
        ("01055551234", Party("01055551234")),
        ("D1#", Party(reason="unavailable")),
        ("D2#", Party(reason="private")),
        ("B00C", Party(reason="unavailable")),
        ("B10C", Party(reason="private")),
        ("A5551234B10C", Party("5551234")),
    ],
)
def test_dtmf_forms(keys: str, party: Party) -> None:
    assert callerid.parse_dtmf(keys) == party


@pytest.mark.parametrize("keys", ["", "D", "C", "12", "DC", "D5551234X", "é"])
def test_dtmf_without_number_is_refused(keys: str) -> None:
    with pytest.raises(RemoteProtocolError):
        callerid.parse_dtmf(keys)


@given(st.text(max_size=100))
def test_hostile_keys_raise_only_remote_error(keys: str) -> None:
    try:
        party = callerid.parse_dtmf(keys)
    except RemoteProtocolError:
        return
    assert party.number or party.reason


@given(st.text("0123456789", min_size=3, max_size=20), st.sampled_from(["D..C", "A..C", "A..#", "D..#", "bare"]))
def test_dtmf_gives_number_back(number: str, form: str) -> None:
    keys = callerid.build_dtmf(Party(number), form)  # type: ignore[arg-type]
    assert callerid.parse_dtmf(keys) == Party(number)
    assert callerid.dtmf_complete(keys) is (form != "bare")


@pytest.mark.parametrize("country", PROFILES)
def test_profiles_are_whole(country: str) -> None:
    data = profile(country)
    from firmware.line.profiles import TONE_NAMES

    for name in TONE_NAMES:
        assert data.tone(name).name == name
    assert data.emergency and len(data.ring_cadence_ms) % 2 == 0
    assert data.flash_accept_ms[0] <= data.flash_ms <= data.flash_accept_ms[1]
    longest = callerid.duration_ms(callerid.build_mdmf(Party("1" * 24, "N" * 30), "01010000"))
    if data.caller_id.place == "after-first-ring":
        assert longest + 850 < data.ring_gap_ms() + 600       # fits before ring 2, or delays it by little


def test_impossible_tones_are_refused() -> None:
    for bad in (
        lambda: ToneSpec("x", ()),
        lambda: ToneSpec("x", (450.0,), cadence_ms=(100,)),
        lambda: ToneSpec("x", (9000.0,)),
        lambda: ToneSpec("x", (450.0,), cadence_ms=(5, 5)),
        lambda: ToneSpec("x", (450.0,), cycles=0),
        lambda: ToneSpec("x", (450.0,), 20.0),
    ):
        with pytest.raises(ValueError, match="tone 'x'"):
            bad()
