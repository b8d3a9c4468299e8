"""Encrypted speech with real telephones over TLS: both ways by tone, beside clear ones and lines, and over a restart of call control."""

from __future__ import annotations

import re
import time
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound
from tests.e2e.baresip import Baresip
from tests.e2e.test_sip_tls import secure_phone

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
SUITE = "AES_CM_128_HMAC_SHA1_80"


def speech(box: Appliance) -> dict[str, str]:
    """What `show calls` says of the speech of each leg, by endpoint."""
    return {one.partition("=")[0]: one.partition("=")[2] for row in box.ctl("show calls") for one in row["speech"]}


def sound(listener: Baresip) -> Sound:
    """What it heard in its last call, once the file is finished."""

    def finished() -> Sound | None:
        try:
            return listener.heard()
        except (wave.Error, EOFError):
            return None

    found = wait_until(finished, f"{listener.user} has closed its file")
    assert isinstance(found, Sound)
    return found


def hear(listener: Baresip, own: int, other: int) -> None:
    heard = sound(listener).part(1)
    assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1), listener.user
    assert heard.tone_dbm0(own) < -40, f"{listener.user} hears itself"


def met(box: Appliance) -> bool:
    """Somebody who was called over a line hears the telephone."""
    return any(one["kind"] == "callee" and one["met"] >= 0 for one in box.world({"do": "results"})["people"])


def on_disk(folder: Path) -> bytes:
    """Everything in the state folder: databases, journal, logs."""
    found = b""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".wav":
            with suppress(FileNotFoundError):           # what a file that is replaced whole was written into
                found += path.read_bytes()
    return found


def test_two_telephones_speak_encrypted_and_no_key_is_written_down(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna = secure_phone(phone, box, "201", hz=440, mediaenc="srtp-mand")
    bo = secure_phone(phone, box, "202", hz=880, answer="auto", mediaenc="srtp-mand")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(3)  # real time: real phones speak
    assert speech(box) == {"201": SUITE, "202": SUITE}
    assert {row["speech"] for row in box.ctl("show phones") if row["extension"] in ("201", "202")} == {SUITE}
    seen = on_disk(box.state)
    trace = "".join(row["text"] for row in box.ctl("show trace", call="201", full=True))
    assert "inline:*" in trace
    assert not re.search(r"inline:[^*\s]", trace)
    assert not re.search(rb"inline:[A-Za-z0-9+/]{30}", seen)
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    hear(anna, 440, 880)
    hear(bo, 880, 440)


def test_an_encrypted_telephone_and_a_clear_one_speak(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna = secure_phone(phone, box, "201", hz=440, mediaenc="srtp-mand")
    bo = phone(box, "202", hz=880, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(3)  # real time: real phones speak
    assert speech(box) == {"201": SUITE, "202": "clear"}
    anna.hold()
    time.sleep(2)
    anna.resume()
    time.sleep(3)
    assert speech(box) == {"201": SUITE, "202": "clear"}
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    anna.wait("CALL_CLOSED")
    hear(anna, 440, 880)
    for listener, other in ((anna, 880), (bo, 440)):
        heard = sound(listener)
        assert heard.part(heard.seconds - 2).tone_dbm0(other) == pytest.approx(-10, abs=1), f"{listener.user} after the hold"
    start, closed = len(bo.events), len(anna.events)
    bo.dial("201")                                 # and the other way: the encrypted one is called
    anna.wait("CALL_INCOMING")
    anna.answer()
    bo.wait("CALL_ESTABLISHED", start=start)
    time.sleep(3)
    assert speech(box) == {"201": SUITE, "202": "clear"}
    bo.hang_up()
    anna.wait("CALL_CLOSED", start=closed)
    hear(anna, 440, 880)
    hear(bo, 880, 440)


def test_an_encrypted_telephone_calls_a_line_and_the_call_survives_core(appliance: Start, phone: Phone) -> None:
    box = appliance()
    box.world({"do": "partners", "partners_hz": [880]})
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 2, "say": "tone:440"})
    anna = secure_phone(phone, box, "201", hz=880, level=-16, mediaenc="srtp-mand")
    anna.dial("962001234")
    anna.wait("CALL_ESTABLISHED", 30)
    wait_until(lambda: met(box), "who was called hears Anna", 30)
    time.sleep(2)  # real time: they talk
    assert speech(box)["201"] == SUITE
    box.kill("core")
    wait_until(lambda: speech(box).get("201") == SUITE, "the call is adopted, with its speech encrypted", 20)
    anna.hold()                                    # an offer to the new process: it still has the key that Anna knows
    time.sleep(1)
    anna.resume()
    time.sleep(3)
    anna.hang_up()
    anna.wait("CALL_CLOSED")
    heard = sound(anna)
    assert heard.part(heard.seconds - 2.5).tone_dbm0(440) == pytest.approx(-16, abs=1.5), "audio goes on after the restart"


def test_a_telephone_that_only_likes_encryption_gets_it_and_one_that_cannot_speaks_in_clear(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna = secure_phone(phone, box, "201", hz=440, mediaenc="srtp")
    bo = secure_phone(phone, box, "202", hz=880, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(3)  # real time: real phones speak
    assert speech(box) == {"201": SUITE, "202": "clear"}
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    hear(anna, 440, 880)
    hear(bo, 880, 440)


def test_a_telephone_that_keys_its_speech_by_dtls_calls_and_is_called(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna = phone(box, "201", hz=440, mediaenc="dtls_srtp")
    bo = phone(box, "202", hz=880, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    wait_until(lambda: speech(box).get("201") == SUITE, "keys are agreed on")
    time.sleep(3)  # real time: real phones speak
    assert speech(box) == {"201": SUITE, "202": "clear"}
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    anna.wait("CALL_CLOSED")
    hear(anna, 440, 880)
    hear(bo, 880, 440)
    start, closed = len(bo.events), len(anna.events)
    bo.dial("201")                                 # it refuses clear speech, and is offered DTLS then
    anna.wait("CALL_INCOMING", start=closed)
    anna.answer()
    bo.wait("CALL_ESTABLISHED", start=start)
    wait_until(lambda: speech(box).get("201") == SUITE, "keys are agreed on again")
    time.sleep(3)
    assert speech(box) == {"201": SUITE, "202": "clear"}
    bo.hang_up()
    anna.wait("CALL_CLOSED", start=closed)
    hear(anna, 440, 880)
    hear(bo, 880, 440)
