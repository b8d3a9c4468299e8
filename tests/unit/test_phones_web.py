"""Browsers as phones: what they are offered, what media is asked for them, and what ends a leg that never gets its keys."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call.model import Cause, LegAnswered, LegEnded
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config
from firmware.errors import EngineRefused, HardwareError
from firmware.media.events import SrtpKeys
from firmware.sip import events as ev
from firmware.sip import ice
from firmware.sip.sdp import parse_sdp
from tests.unit.phones_stage import Desk, House, MediaLost, SideNews
from tests.unit.test_sip_web_offer import CHROMIUM, THEIRS

WEB = ("192.0.2.31", 50123)
DIGEST = THEIRS.replace(":", "").lower()
DTLS = SrtpKeys("DTLS", b"", b"")


def house_of(setting: str = "offer") -> House:
    return House(5, Config(extensions={number: Extension(kind="sip", srtp=setting) for number in ("200", "201")}))  # type: ignore[arg-type]


def browser_of(house: House, transport: str = "wss") -> Desk:
    desk = Desk(house, "201", WEB, transport)
    desk.negotiation.dtls, desk.negotiation.lite, desk.negotiation.srtp = THEIRS, ice.Secret("b0" * 16), "offer"
    assert desk.register() == 200
    return desk


def asked(house: House, what: str) -> list[dict[str, Any]]:
    return [args for _, name, args in house.media.asked if name == what]


def called(house: House, desk: Desk) -> int:
    """Engine port of a leg that a browser has answered."""
    house.ring("L1", "201")
    desk.answer()
    (answered,) = house.take(LegAnswered)
    return int(answered.port)


def test_a_browser_is_called_and_media_is_told_how_to_reach_it() -> None:
    house = house_of()
    desk = browser_of(house)
    house.ring("L1", "201")
    (incoming,) = desk.take(ev.IncomingCall)
    desk.events.append(incoming)
    line = incoming.offer.media[0]
    assert line.proto == "UDP/TLS/RTP/SAVPF" and line.attribute("fingerprint") == f"sha-256 {house.media.fingerprint}"
    desk.answer()
    (answered,) = house.take(LegAnswered)
    opened = house.media.open[answered.port]
    assert (opened["srtp"], opened["remote"]) == (DTLS, None)
    theirs = ice.Secret("b0" * 16).credentials()
    ours = {"ufrag": line.attribute("ice-ufrag"), "pwd": line.attribute("ice-pwd"), "remote_ufrag": theirs.ufrag}
    assert asked(house, "ice") == [ours]
    assert asked(house, "dtls") == [{"role": "active", "fingerprint": DIGEST, "remote": None}]      # two of us: the other is passive


def test_chromium_calls_and_is_answered() -> None:
    house = house_of()
    desk = browser_of(house)
    offered = house.dial(desk, "200", offer=CHROMIUM.replace("\n", "\r\n").encode())
    house.phones.answer(offered.leg)
    house.settle()
    (answered,) = house.take(LegAnswered)
    assert house.media.open[answered.port]["srtp"] == DTLS
    assert asked(house, "dtls") == [{"role": "passive", "fingerprint": DIGEST, "remote": None}]
    assert asked(house, "ice")[0]["remote_ufrag"] == "XUn5"
    told = parse_sdp(house.last(200).body)
    assert told.media[0].attribute("ice-pwd") == asked(house, "ice")[0]["pwd"]


def test_a_phone_with_dtls_but_without_ice_is_reached_at_its_address() -> None:
    house = house_of()
    desk = browser_of(house, "udp")
    lines = [line for line in CHROMIUM.split("\n") if not line.startswith(("a=ice", "a=candidate", "a=group"))]
    offered = house.dial(desk, "200", offer="\r\n".join(lines).encode())
    house.phones.answer(offered.leg)
    house.settle()
    (answered,) = house.take(LegAnswered)
    assert house.media.open[answered.port]["remote"] == ("127.0.0.1", 49881) and not asked(house, "ice")
    assert asked(house, "dtls") == [{"role": "passive", "fingerprint": DIGEST, "remote": ("127.0.0.1", 49881)}]


@pytest.mark.parametrize(("state", "ends"), [("connected", False), ("failed", True)])
def test_a_handshake_that_fails_ends_the_leg(state: str, ends: bool) -> None:
    house = house_of()
    desk = browser_of(house)
    port = called(house, desk)
    house.media.tell(SideNews(port, "dtls", {"state": state, "why": "another certificate"}))
    house.settle()
    found = house.take(LegEnded)
    if not ends:
        assert not found
        return
    assert [(one.cause, one.evidence.kind, one.evidence.detail) for one in found] == [(Cause.SYSTEM, "dtls", "another certificate")]
    assert desk.take(ev.CallEnded)
    house.nothing_left()


def test_a_refusal_of_media_ends_the_leg() -> None:
    house = house_of()
    desk = browser_of(house)
    house.media.refuses["dtls"] = HardwareError("no")
    house.ring("L1", "201")
    desk.answer()
    house.run(100)
    assert [one.cause for one in house.take(LegEnded)] == [Cause.SYSTEM]
    house.nothing_left()


@pytest.mark.parametrize("setting", ["no", "offer"])
def test_without_dtls_a_browser_is_neither_called_nor_answered(setting: str) -> None:
    house = house_of(setting)
    if setting == "offer":
        house.media.refuses["fingerprint"] = EngineRefused("media was replaced")
        house.phones._audio.web.learn()
    desk = browser_of(house)
    house.ring("L1", "201")
    (ended,) = house.take(LegEnded)
    assert ended.cause is Cause.UNREACHABLE and not desk.take(ev.IncomingCall)
    with pytest.raises(ValueError, match="not enough values"):
        house.dial(desk, "200", offer=CHROMIUM.replace("\n", "\r\n").encode())
    assert house.last(488).headers.get("warning")
    if setting == "offer":                       # it is asked again, and then all is well
        house.media.refuses.clear()
        house.run(1100)
        called(house, desk)


def test_a_new_media_process_has_a_new_certificate() -> None:
    house = house_of()
    desk = browser_of(house)
    called(house, desk)
    house.media.fingerprint = ":".join(["A5"] * 32)
    house.media.tell(MediaLost(2))
    house.settle()
    assert [one.cause for one in house.take(LegEnded)] == [Cause.MEDIA_LOST]
    desk.take(ev.IncomingCall)
    house.ring("L2", "201")
    (incoming,) = desk.take(ev.IncomingCall)
    assert incoming.offer.media[0].attribute("fingerprint") == f"sha-256 {house.media.fingerprint}"


def test_what_did_not_change_is_not_asked_again_and_a_restart_is() -> None:
    house = house_of()
    desk = browser_of(house)
    offered = house.dial(desk, "200", offer=CHROMIUM.replace("\n", "\r\n").encode())
    house.phones.answer(offered.leg)
    house.settle()
    state = house.phones._table.legs[offered.leg]
    for change, count in ((("a=sendrecv", "a=sendonly"), 1), (("XUn5", "Yvo6"), 2)):
        state.negotiation.receive_offer(parse_sdp(CHROMIUM.replace(*change).encode()))
        house.phones._audio.apply(state)
        assert (len(asked(house, "ice")), len(asked(house, "dtls"))) == (count, 1), change
    assert asked(house, "ice")[0]["pwd"] != asked(house, "ice")[1]["pwd"]
