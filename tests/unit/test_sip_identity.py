"""Who calls and what others are told of it: P-Asserted-Identity, Privacy, Diversion, History-Info."""

from __future__ import annotations

import pytest

from firmware.sip.identity import Caller, called_number, read_caller, show_caller
from tests.unit.sip_stage import request

PAI = ("P-Asserted-Identity", '"Real" <sip:+861012345678;npdi@ims.example>')


def invite(*extra: tuple[str, str], user: str = "anonymous", uri: str = "sip:600@192.0.2.1") -> object:
    return request("INVITE", uri, user=user, extra=extra)


def caller(*extra: tuple[str, str], trusted: bool = True, user: str = "4711") -> Caller:
    return read_caller(request("INVITE", user=user, extra=extra), trusted=trusted)


def test_an_asserted_identity_counts_from_the_trusted_only() -> None:
    assert caller(PAI) == Caller("+861012345678", "Real")
    assert caller(PAI, trusted=False) == Caller("4711")
    assert caller(("P-Asserted-Identity", "<tel:+86-10-1234.5678;phone-context=x>")).number == "+861012345678"
    assert caller(("P-Asserted-Identity", "<sip:alice@x>, <tel:+861>")).number == "+861"


@pytest.mark.parametrize("broken", ["<<>", "sip:@", '"unbalanced <sip:1@x>', ""])
def test_an_identity_that_cannot_be_read_is_none(broken: str) -> None:
    assert caller(("P-Asserted-Identity", broken)).number == "4711"


@pytest.mark.parametrize(
    ("value", "private"), [("id", True), ("header; user", True), ("none", False), ("critical", False), ("ID;none", False)]
)
def test_privacy_hides_the_number(value: str, private: bool) -> None:
    assert caller(PAI, ("Privacy", value)) == Caller("+861012345678", "Real", private)


def test_an_anonymous_caller_has_no_number() -> None:
    assert caller(user="anonymous") == Caller("", "", True)
    assert caller(PAI, user="anonymous") == Caller("+861012345678", "Real", True)


def test_who_passed_a_call_on() -> None:
    assert caller(("Diversion", "<sip:2@x>;reason=no-answer, <sip:1@x>")).diverted == ("2", "1")
    history = "<sip:1@x>;index=1, <sip:2@x?Reason=SIP>;index=1.1, <sip:600@x>;index=1.2"
    assert caller(("History-Info", history)).diverted == ("2", "1")


def test_the_called_number_is_where_the_carrier_tells_it() -> None:
    called = request("INVITE", "sip:reg%2Bline@192.0.2.1", extra=(("P-Called-Party-ID", "<sip:+8688@x>"),))
    called.headers.set("To", "<sip:+86-77@x>")
    assert [called_number(called, where) for where in ("request", "to", "p-called-party-id")] == ["reg+line", "+8677", "+8688"]
    assert called_number(request("INVITE", "sip:+8699@x"), "p-called-party-id") == "+8699"


def test_styles_of_presentation() -> None:
    def show(style: str, **more: object) -> object:
        shown = show_caller(style=style, domain="c.example", account="reg", number="+8612", **more)  # type: ignore[arg-type]
        return shown.from_uri, shown.display, shown.headers

    assert show("from") == ("sip:+8612@c.example", "", ())
    assert show("pai", name='A "B"') == ("sip:reg@c.example", 'A "B"', (("P-Asserted-Identity", '"A \\"B\\"" <sip:+8612@c.example>'),))
    assert show("ppi")[2] == (("P-Preferred-Identity", "<sip:+8612@c.example>"),)  # type: ignore[index]
    assert show("rpid")[2] == (("Remote-Party-ID", "<sip:+8612@c.example>;party=calling;screen=yes;privacy=off"),)  # type: ignore[index]
    hidden = show("pai", name="Bo", hide=True)
    assert hidden == ("sip:anonymous@anonymous.invalid", "Anonymous",
                      (("P-Asserted-Identity", "<sip:+8612@c.example>"), ("Privacy", "id")))  # fmt: skip
    assert "12" not in str(show("from", hide=True))


def test_a_call_that_is_passed_on_names_who_did() -> None:
    def told(how: str) -> tuple[tuple[str, str], ...]:
        return show_caller(style="from", domain="c", account="", number="1", diverted=("3", "2"), diversion=how).headers

    assert told("none") == ()
    assert told("diversion")[0] == ("Diversion", "<sip:3@c>;reason=unconditional;counter=1")
    assert told("history-info")[0] == ("History-Info", "<sip:2@c>;index=1, <sip:3@c>;index=1.1")


def test_nothing_of_a_peer_can_break_out_of_a_header() -> None:
    shown = show_caller(style="pai", domain="c", account="a", number="1>\r\nX: y", name='"\r\nX: y')
    text = repr(shown.headers) + shown.from_uri
    assert "\\r" not in text and "\\n" not in text and ">X" not in text
