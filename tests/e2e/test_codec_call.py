"""G.722 and Opus with a real phone of other origin: relayed at full quality, transcoded to lines and to other codecs, keys and all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
CODECS = {"g722": "G722/16000/1", "opus": "opus/48000/2", "pcma": "PCMA/8000/1"}


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_two_wide_band_phones_hear_what_a_telephone_line_cannot_carry(appliance: Start, phone: Phone, codec: str) -> None:
    box = appliance()
    anna = phone(box, "201", hz=5200, rate=16000, wide=True, codecs=CODECS[codec])
    bo = phone(box, "202", hz=4600, rate=16000, wide=True, codecs=CODECS[codec], answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(5)  # real time: real phones speak
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 5200, 4600), (bo, 4600, 5200)):
        heard = listener.heard().part(1)
        assert heard.rate >= 16000
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=4 if codec == "opus" else 1), listener.user  # Opus codes speech, not tones
        assert heard.tone_dbm0(own) < -45, f"{listener.user} hears itself"
        assert heard.longest_gap_ms(other, -22) <= 60, listener.user


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_a_wide_band_phone_and_a_narrow_one_are_transcoded(appliance: Start, phone: Phone, codec: str) -> None:
    box = appliance()
    anna = phone(box, "201", hz=440, rate=16000, wide=True, codecs=CODECS[codec])
    bo = phone(box, "202", hz=880, codecs=CODECS["pcma"], answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(5)
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(1)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1.5), listener.user
        assert heard.tone_dbm0(own) < -40, f"{listener.user} hears itself"
        assert heard.longest_gap_ms(other, -20) <= 60, listener.user


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_a_wide_band_phone_calls_a_line(appliance: Start, phone: Phone, codec: str) -> None:
    box = appliance()
    box.world({"do": "partners", "partners_hz": [880]})
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 3, "say": "tone:440"})
    anna = phone(box, "201", hz=880, level=-16, rate=16000, wide=True, codecs=CODECS[codec])
    anna.dial("962001234")
    anna.wait("CALL_ESTABLISHED", 30)

    def callee() -> dict[str, Any]:
        return next((one for one in box.world({"do": "results"})["people"] if one["kind"] == "callee"), {"met": -1})

    wait_until(lambda: callee()["met"] >= 0, "who was called hears Anna", 20)
    time.sleep(3)  # real time: they talk
    anna.hang_up()
    heard = anna.heard()
    start = heard.first_heard_s(440, -26)
    assert start < 14
    talk = heard.part(start + 1)
    assert talk.seconds > 1.5
    assert talk.tone_dbm0(440) == pytest.approx(-16, abs=1.5)
    assert talk.tone_dbm0(880) < -42, "Anna hears herself"
    wait_until(lambda: callee()["done"], "the exchange sees the line on-hook")
    assert callee()["partners"]["880"] == pytest.approx(-16, abs=1.5)


def test_a_phone_with_everything_speaks_the_law_of_the_exchange_to_a_line(appliance: Start, phone: Phone) -> None:
    box = appliance()
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 3, "say": "tone:440"})
    anna = phone(box, "201", hz=880, wide=True)
    anna.dial("962001234")
    anna.wait("CALL_ESTABLISHED", 30)
    time.sleep(3)
    anna.hang_up()
    log = (anna.folder / "baresip.log").read_text(errors="replace")
    assert "PCMA" in log.split("audio tx pipeline")[0].rsplit("Set audio", 1)[-1], log[-2000:]


def test_keys_of_an_opus_phone_reach_the_menu(appliance: Start, phone: Phone) -> None:
    box = appliance(overrides={"[agents.8001]": '[agents.8001]\npin = "4711"'})
    anna = phone(box, "201", wide=True, codecs=CODECS["opus"])
    anna.dial("*11")  # agent log-in asks for a number and a PIN
    anna.wait("CALL_ESTABLISHED")
    time.sleep(1)
    anna.keys("8001#")
    time.sleep(2)
    anna.keys("4711#")
    wait_until(lambda: any(agent["agent"] == "8001" and agent["extension"] == "201" for agent in box.ctl("show agents")), "8001 is in", 15)
    anna.hang_up()
