"""PINs that a telephone dials in one go: in no trace, no capture, no journal, however they are written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call.keyed import SECRET_BEHIND, recordable, without_secret
from firmware.call.state import ContactState, Kind, Phase
from firmware.call.voicemail_state import MailState
from firmware.config.schema.features import Features
from firmware.core.phones_shown import secret_codes
from firmware.sip.veil import Veil
from tests.unit.phones_stage import CONFIG, Desk, House
from tests.unit.sip_stage import request

VEIL = Veil([("*59", False), ("*11", True)])
PIN = "483926"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*59483926#9255", "*59-"),
        ("sip:*59483926%239255@pbx", "sip:*59-@pbx"),
        ("<sip:%2A59483926%23@pbx;user=phone>;tag=1", "<sip:%2A59-@pbx;user=phone>;tag=1"),
        ("<sip:%2a%35%3948%33926@pbx>", "<sip:%2a%35%39-@pbx>"),
        ('"*59483926#9255" <sip:*59483926#9255@pbx>', '"*59-" <sip:*59-@pbx>'),
        ('Digest username="200", uri="sip:*59483926%239255@pbx", response="*"', 'Digest username="200", uri="sip:*59-@pbx", response="*"'),
        ("sip:*118001%23483926%23@pbx", "sip:*118001%23-@pbx"),
        ("sip:*118001#483926#@pbx", "sip:*118001#-@pbx"),
        ("sip:*59-48@pbx", "sip:*59-48@pbx"),
        ("sip:*118001@pbx", "sip:*118001@pbx"),                # the PIN is keyed later
        ("sip:*118001%23@pbx", "sip:*118001%23@pbx"),
        ("sip:0*5912@pbx", "sip:0*5912@pbx"),                  # no code: keys stand before it
        ("sip:*5@pbx", "sip:*5@pbx"),
        ("sip:12345@pbx", "sip:12345@pbx"),
    ],
)
def test_what_stands_behind_a_code_is_hidden_in_each_writing(text: str, shown: str) -> None:
    assert VEIL.text(text) == shown
    rest = b" SIP/2.0\r\n\r\nv=0 *591234\r\n"
    assert VEIL.message(b"INVITE " + text.encode() + rest) == b"INVITE " + shown.encode() + rest


@given(st.lists(st.sampled_from(list("0123456789*#")), min_size=1, max_size=12), st.data())
def test_no_writing_of_the_keys_betrays_them(keys: list[str], data: st.DataObject) -> None:
    """Any key may be escaped, as a telephone likes."""
    typed = "*59" + "".join(keys)
    written = "".join(f"%{ord(key):02X}" if data.draw(st.booleans()) else key for key in typed)
    told = VEIL.text(f"<sip:{written}@pbx>")
    assert told.endswith("-@pbx>") and len(told.partition("@")[0]) <= len("<sip:%2A%35%39-")


def test_without_codes_nothing_is_touched() -> None:
    assert Veil().text("*591234") == "*591234" and Veil().message(b"INVITE sip:*591234@h\r\n\r\n") == b"INVITE sip:*591234@h\r\n\r\n"


def test_the_codes_of_the_site_are_those_with_a_pin() -> None:
    veil = secret_codes(msgspec.structs.replace(CONFIG, features=Features(account="*44", login="")))
    assert veil.text("sip:*441234@h") == "sip:*44-@h" and veil.text("sip:*591234@h") == "sip:*591234@h"
    assert veil.text("sip:*97200#1234@h") == "sip:*97200#-@h" and veil.text("sip:*771234@h") == "sip:*77-@h"
    assert set(SECRET_BEHIND) <= set(Features.__struct_fields__)


def test_records_and_journal_hold_no_pin() -> None:
    assert recordable("login", "*118001#1234#", "8001#1234#") == "*118001"
    assert recordable("account", "*59483926#9255", "483926#9255") == "*59"
    assert recordable("voicemail", "*97200#1234", "200#1234") == "*97200" and recordable("studio", "*771234", "1234") == "*77"
    assert recordable("voicemail", "*97200", "200") == "*97200" and recordable("pause", "*133", "3") == "*133"
    state = ContactState("C1", Kind.FEATURE, 0, Phase.FEATURE)
    for feature, typed, wanted, kept in (
        ("account", "483926#9255", "", ""), ("account", "4839", "pin", ""), ("account", "92", "number/anna", "92"),
        ("login", "8001#12", "", "8001#"), ("login", "80", "", "80"), ("pause", "3", "", "3"),
    ):  # fmt: skip
        state.feature, state.typed, state.wanted = feature, typed, wanted
        assert (without_secret(state).typed, state.typed) == (kept, typed)
    state.feature, state.mail = "", MailState("", "read", "pin")
    state.mail.typed = "12"
    told = without_secret(state).mail
    assert told is not None and told.typed == "" and state.mail.typed == "12"


@pytest.mark.parametrize("number", [f"*59{PIN}%239255", f"%2A59{PIN}#9255", f"*118001%23{PIN}%23"])
def test_a_call_leaves_no_pin_in_its_trace_nor_in_its_journal(seed: int, number: str) -> None:
    house = House(seed)
    desk = Desk(house, "200", ("192.0.2.50", 5062))
    assert desk.register() == 200
    offered = house.dial(desk, number)
    assert PIN in offered.called                           # it is there for whoever needs it
    phones = house.phones
    ringing = phones.snapshot_leg(offered.leg)
    phones.answer(offered.leg)
    house.settle()
    unacknowledged = phones.snapshot_leg(offered.leg)
    answer = house.last(200)
    house.raw(desk.address, request("ACK", f"sip:{number}@192.0.2.1", user="200", source=desk.address, call_id="d1", branch="d1k", cseq=2,
                                    to_tag=answer.to.tag))  # fmt: skip
    talking = phones.snapshot_leg(offered.leg)
    trace = phones.trace(offered.leg)
    assert len(trace) >= 4 and any(line.data.startswith(b"INVITE sip:") and b"-@" in line.data for line in trace)
    for what in (ringing, unacknowledged, talking, *(line.data for line in trace)):
        assert what and PIN.encode() not in what
    # What another process makes of it ends the same dialog.
    successor = house.start(seed + 1)
    assert successor.adopt(offered.leg, talking, phones._table.legs[offered.leg].port)
