"""SIP over TLS with a real phone of other origin, and openssl as a stranger who looks at the certificates."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]


def tls_address(box: Appliance) -> str:
    return f"{box.bind}:{json.loads((box.state / 'run' / 'endpoints.json').read_text())['sip_tls_port']}"


def certificate(box: Appliance) -> str:
    """What the listener shows, "" when nobody shakes hands."""
    try:
        return ssl.get_server_certificate((box.bind, int(tls_address(box).rsplit(":", 1)[1])), timeout=5)
    except OSError:
        return ""


def contacts(box: Appliance, number: str) -> list[dict[str, Any]]:
    return [row for row in box.ctl("show phones") if row["extension"] == number and row["where"]]


def secure_phone(phone: Phone, box: Appliance, number: str, **options: Any) -> Baresip:
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made")
    one = phone(box, number, transport="tls", server=tls_address(box), trusted=box.state / "tls" / "ca.crt", **options)
    assert contacts(box, number)[0]["transport"] == "tls"
    return one


def test_phones_call_over_tls(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna = secure_phone(phone, box, "201", hz=440)
    bo = secure_phone(phone, box, "202", hz=880, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(4)  # real time: real phones speak
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(1)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1), listener.user
        assert heard.tone_dbm0(own) < -40, f"{listener.user} hears itself"
        assert heard.longest_gap_ms(other, -20) <= 60, listener.user
    assert [row["transport"] for number in ("201", "202") for row in contacts(box, number)] == ["tls", "tls"]


def test_a_phone_over_tls_calls_a_line_and_survives_core(appliance: Start, phone: Phone) -> None:
    box = appliance()
    box.world({"do": "partners", "partners_hz": [880]})
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 3, "say": "tone:440"})
    anna = secure_phone(phone, box, "201", hz=880, level=-16)
    shown = certificate(box)
    anna.dial("962001234")
    anna.wait("CALL_ESTABLISHED", 30)

    def callee() -> dict[str, Any]:
        return next((one for one in box.world({"do": "results"})["people"] if one["kind"] == "callee"), {"met": -1})

    wait_until(lambda: callee()["met"] >= 0, "who was called hears Anna", 30)
    time.sleep(3)  # real time: they talk
    anna.hang_up()
    heard = anna.heard()
    talk = heard.part(heard.first_heard_s(440, -26) + 1)
    assert talk.seconds > 1 and talk.tone_dbm0(440) == pytest.approx(-16, abs=1.5)
    box.kill("core")
    wait_until(lambda: certificate(box) == shown, "the listener is served again, with the same certificate", 20)
    assert contacts(box, "201") == [], "nobody can be reached over a connection that is gone"
    secure_phone(phone, box, "201")


def test_openssl_sees_the_chain_and_the_console_tells_it(appliance: Start) -> None:
    box = appliance()
    rows = {row["use"]: row for row in wait_until(lambda: box.ctl("show certificates"), "the certificate is made")}
    authority = rows["this box's CA: telephones trust it"]["file"]
    command = ["openssl", "s_client", "-connect", tls_address(box), "-CAfile", authority, "-verify_return_error", "-verify_ip", box.bind,
               "-showcerts"]  # fmt: skip
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True).stdout
    assert "Verify return code: 0 (ok)" in said and "TLSv1.3" in said
    assert said.count("BEGIN CERTIFICATE") == 2 and "id-ecPublicKey, 256" in said
    own = rows["this box"]
    assert box.bind in own["names"] and own["days"] >= 820 and own["verdict_en"] == "valid" and own["verdict_zh"] == "有效"
    weak = subprocess.run([*command, "-tls1_1"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert weak.returncode != 0


def test_a_phone_over_tls_calls_an_analogue_phone(appliance: Start, phone: Phone) -> None:
    box = appliance()
    box.world({"do": "partners", "partners_hz": [880]})
    person = {"do": "phone", "phone": 1, "action": "answer", "after": 1, "tone_hz": 440, "partners_hz": [880], "times": 1}
    box.world(person)
    anna = secure_phone(phone, box, "201", hz=880, level=-16)
    anna.dial("101")
    anna.wait("CALL_ESTABLISHED", 15)
    time.sleep(9)  # real time: who answers speaks in turns of 1.6 s every 4 s
    anna.hang_up()
    heard = anna.heard()
    windows = [heard.part(at / 5, at / 5 + 1) for at in range(int((heard.seconds - 1) * 5))]
    spoken = [one for one in windows if one.tone_dbm0(440) > -20]
    assert spoken, [round(one.tone_dbm0(440)) for one in windows]
    assert spoken[-1].tone_dbm0(880) < -40, "Anna hears herself"

    def answered() -> dict[str, Any]:
        return next(one for one in box.world({"do": "results"})["people"] if one["kind"] == "phone")

    wait_until(lambda: answered()["done"], "the analogue phone is hung up")
    assert answered()["partners"]["880"] == pytest.approx(-16, abs=2)
