"""Telephones register while media brings its lines up; whatever else they ask waits in order and is told how long."""

from __future__ import annotations

from firmware.app.early_sip import MOST, EarlySip
from firmware.app.site import Zones
from firmware.sip.flow import Address

PHONE: Address = ("192.0.2.20", 5062)
BOX: Address = ("192.0.2.1", 5060)


class Stage:
    """Real time by hand, and what was handled."""

    def __init__(self) -> None:
        self.time = 100.0
        self.handled: list[tuple[str, int]] = []
        self.broken = ""
        self.early = EarlySip(self.deliver, lambda: self.time)

    def deliver(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int) -> None:
        name = data.split()[0].decode()
        if name == self.broken:
            raise ValueError("planted")
        assert (source, transport, local) == (PHONE, "udp", BOX)
        self.handled.append((name, waited_ms))

    def hear(self, name: str, waited_ms: int = 0) -> None:
        self.early.receive(f"{name} sip:192.0.2.1 SIP/2.0\r\n\r\n".encode(), PHONE, "udp", BOX, waited_ms)


def test_registrations_are_handled_at_once_and_the_rest_in_order_later() -> None:
    stage = Stage()
    for name in ("INVITE", "REGISTER", "CANCEL", "REGISTER", "SUBSCRIBE"):
        stage.hear(name, 5)
        stage.time += 0.1
    assert stage.handled == [("REGISTER", 5), ("REGISTER", 5)]
    stage.early.open()
    assert stage.handled[2:] == [("INVITE", 505), ("CANCEL", 305), ("SUBSCRIBE", 105)]
    stage.hear("INVITE", 7)
    assert stage.handled[-1] == ("INVITE", 7)


def test_what_waits_is_bounded_and_a_broken_one_spoils_no_other() -> None:
    stage = Stage()
    for _ in range(MOST + 10):
        stage.hear("OPTIONS")
    assert stage.early.dropped == 10
    stage.hear("REGISTER")
    assert stage.handled == [("REGISTER", 0)]
    stage = Stage()
    for name in ("INVITE", "BYE", "OPTIONS"):
        stage.hear(name)
    stage.broken = "BYE"
    stage.early.open()
    assert [name for name, _ in stage.handled] == ["INVITE", "OPTIONS"]


def test_a_zone_is_known_by_its_file_and_all_are_listed_to_suggest_one() -> None:
    zones = Zones()
    assert zones and "Asia/Shanghai" in zones and "UTC" in zones
    for wrong in ("Asia/Shangai", "", "../etc/passwd", "/etc/localtime", "Asia", 7, "a\0b"):
        assert wrong not in zones
    assert "Asia/Shanghai" in list(zones) and len(zones) > 300
