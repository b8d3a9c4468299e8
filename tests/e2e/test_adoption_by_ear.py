"""Core is killed between the end of the ringback and the answer that this end tells: the next core believes it, with its date."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e import evidence as seen
from tests.e2e.appliance import Appliance, wait_until

pytestmark = [pytest.mark.e2e]

INSIDE_HZ = 880
NUMBER = "62001236"
#: From the end of the ringback to the answer: by then a refusal tone would have been heard.
SURE_MS = 1700


def heard(box: Appliance, line: int, word: str) -> list[dict[str, Any]]:
    """Facts of a line whose text begins with a word."""
    rows = box.ctl("show trace", call=f"line/{line}")
    return [row for row in rows if row["direction"] == "fact" and row["text"].startswith(word)]


def test_an_answer_told_by_ear_outlives_the_core_that_heard_it(appliance: Callable[..., Appliance]) -> None:
    """Who answers says nothing and the exchange turns nothing: only that the ringback stopped can tell, and the killed core heard it."""
    box = appliance(extra=("--speed", "1000"))
    for line in (1, 2, 3, 4):
        box.world({"do": "exchange", "line": line, "release": "busy", "answer_reversal": False})
    box.world({"do": "number", "number": NUMBER, "kind": "answer", "answer_after": 6.5, "say": "tone:600@-75"})
    box.world({"do": "phone", "phone": 1, "action": "dial", "number": f"9{NUMBER}", "stay": False, "tone_hz": INSIDE_HZ})

    def taken() -> list[int]:
        busy = [row["endpoint"] for row in box.ctl("show lines") if row["leg"]]
        return [int(endpoint.partition("/")[2]) for endpoint in busy if endpoint.startswith("line/")]

    (line,) = wait_until(taken, "a line is taken")
    wait_until(lambda: heard(box, line, "ToneHeard name=ringback"), "ringback is heard", 30)
    box.world({"do": "speed", "percent": 100})
    (stopped,) = wait_until(lambda: heard(box, line, "ToneStopped name=ringback"), "the ringback stops", 20)
    time.sleep(0.3)                                        # the journal has it at the next tick of the engine
    box.world({"do": "speed", "percent": 10})             # a start of core takes less than `SURE_MS` of the call
    killed = box.kill("core")
    wait_until(lambda: box.ctl("show status")["adopted"] and killed, "the call is taken over", 20)
    box.world({"do": "speed", "percent": 200})
    wait_until(lambda: [row for row in box.ctl("show calls") if row["phase"] == "talking"], "the answer is believed", 20)
    box.world({"do": "phone", "phone": 1, "action": "hang-up"})
    record = wait_until(lambda: (row := seen.contact_of(box, f"9{NUMBER}"))["ended_ms"] and row, "the record is closed", 20)
    (leg,) = [leg for leg in seen.rows(box, "legs", record["id"]) if leg["kind"] == "fxo"]
    assert leg["answered_by"] == "ringback-stopped"
    assert leg["answered_ms"] - seen.wall_base(box) == pytest.approx(stopped["at"] + SURE_MS, abs=20)
    seen.check_at_rest(box)
