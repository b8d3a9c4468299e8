"""Early media of a line to a real telephone: the exchange is heard before the answer, which the telephone is told when it comes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def answered(box: Appliance) -> dict[str, int]:
    """When each leg of the only closed contact was answered, Unix ms."""
    with sqlite3.connect(f"file:{box.state / 'calls.db'}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT endpoint, answered_ms FROM legs WHERE answered_ms IS NOT NULL")
        return {str(endpoint): int(at) for endpoint, at in rows}


def test_the_exchange_is_heard_before_it_answers(appliance: Callable[..., Appliance], phone: Callable[..., Baresip]) -> None:
    box = appliance(overrides={"[ports.fxo.1]\n": "[ports.fxo.1]\npolarity_answer = true\n"})
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 6, "say": "tone:660"})
    box.world({"do": "exchange", "line": 1, "answer_reversal": True, "dial_tone_delay_ms": 200})
    anna = phone(box, "201", hz=440)
    anna.dial("962001234")
    anna.wait("CALL_PROGRESS")
    anna.wait("CALL_ESTABLISHED", 25)
    steps = [event["type"] for event in anna.events]
    assert steps.index("CALL_PROGRESS") < steps.index("CALL_ESTABLISHED"), steps
    time.sleep(3)  # real phones talk in real time
    anna.hang_up()
    wait_until(lambda: len(answered(box)) == 2, "the record of both legs", 20)
    told = answered(box)
    assert abs(told["201"] - told["line/1"]) <= 300
    heard = anna.heard()
    speech = heard.first_heard_s(660, -26)
    ringing = max(heard.part(at / 4, at / 4 + 0.5).tone_dbm0(450) for at in range(int(speech * 4) - 1))
    assert ringing > -25, "the ring-back of the exchange was not heard"
