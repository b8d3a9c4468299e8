"""`show trunks` in both languages, and the texts for every answer that a carrier may give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firmware.app import trunk_views
from firmware.config.schema.trunks import Trunk
from firmware.control.trunk_commands import ShowTrunks, TrunkRow
from firmware.core.trunks_texts import remedy
from firmware.sip.trunk_client import State, TrunkStatus
from firmware.surfaces.cli.table import render
from tests.unit.trunk_stage import TrunkStage


class Asked:
    """Stands where the gate is: keeps the handler."""

    def __init__(self) -> None:
        self.handler: Callable[[ShowTrunks], Any] = lambda command: None

    def handle(self, command: type[ShowTrunks], handler: Callable[[ShowTrunks], Any]) -> None:
        if command is ShowTrunks:
            self.handler = handler


def shown(house: TrunkStage) -> list[TrunkRow]:
    gate = Asked()
    trunk_views.attach(gate, house.phones.trunks, house.clock, house.bus, lambda: house.config)  # type: ignore[arg-type]
    return list(gate.handler(ShowTrunks()))


def test_rows_tell_state_limits_and_what_to_do() -> None:
    off = Trunk(domain="off.example", user="1", secret="x", enabled=False)
    house = TrunkStage({"c": Trunk(domain="carrier.example", user="1", secret="x", calls=7, qualify_s=0), "off": off})
    house.challenge(house.take("REGISTER"))
    house.reply(house.take("REGISTER"), 403, reason="Account closed")
    first, second = shown(house)
    assert (first.trunk, first.available, first.most_calls, first.answer) == ("c", "fault", 7, "403 Account closed")
    assert first.retry_s >= 60 and first.registered_s == -1 and "ask the carrier" in first.remedy_en and "运营商" in first.remedy_zh
    assert (second.state_en, second.state_zh, second.available) == ("switched off", "已停用", "fault")


def test_a_registered_trunk_tells_how_long_and_where() -> None:
    house = TrunkStage({"c": Trunk(domain="carrier.example", user="1", secret="x", qualify_s=0)})
    house.register(expires=300, headers=[("Server", "Softswitch 9")])
    (row,) = shown(house)
    assert (row.state_en, row.registered_s, row.address, row.server) == ("registered", 300, "198.51.100.7:5060/udp", "Softswitch 9")
    assert row.remedy_en == "" and row.answer == ""


@pytest.mark.parametrize("status", [*range(300, 700), 0])
def test_every_refusal_has_words_in_both_languages(status: int) -> None:
    found = remedy(TrunkStatus(State.WAITING, True, status=status))
    assert (found is None) == (status == 0)
    if found is not None:
        assert found.en.isascii() and not found.zh.isascii()


def test_the_console_speaks_chinese() -> None:
    row = {"trunk": "c", "state_en": "ready", "state_zh": "就绪", "remedy_en": "call", "remedy_zh": "联系"}
    text = "\n".join(render([row], "zh"))
    assert "就绪" in text and "中继" in text and "ready" not in text
