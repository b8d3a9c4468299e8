"""A phone in a browser: JsSIP in Chromium over secure WebSocket, its speech by DTLS-SRTP and ICE, both ways and by ear."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.chromium import Chromium
from tests.browser.conftest import CAPTURE_DBM0, CAPTURE_HZ, wss_url
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Browse = Callable[[Appliance], Chromium]
Phone = Callable[..., Baresip]
WSS = {"[extensions.201]": "[sip]\nwss = true\n\n[extensions.201]"}
DESK_HZ = 880.0
THIRD_HZ = 1200.0
TALK_S = 3.0


def contacts(box: Appliance, number: str) -> list[dict[str, Any]]:
    return [row for row in box.ctl("show phones") if row["extension"] == number and row["where"]]


def ready(box: Appliance) -> Appliance:
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made")
    return box


def register(page: Chromium, box: Appliance, number: str, secret: str = "") -> None:
    secret = secret or box.accounts()[number]
    page.call("register", {"url": wss_url(box), "uri": f"sip:{number}@{box.bind}", "password": secret, "agentName": "Chromium"})


def told(page: Chromium, by: str) -> str:
    """The description that this side gave last."""
    return str([one["sdp"] for one in page.events("sdp") if one["by"] == by][-1])


def flows(page: Chromium) -> dict[str, Any]:
    """What the browser counted, of a call that is up; every packet is encrypted, by keys of DTLS."""
    found: dict[str, Any] = page.call("statistics")
    assert found["transport"]["dtlsState"] == "connected" and found["transport"]["srtpCipher"], found["transport"]
    return found


def speak(page: Chromium) -> None:
    """Real time: a real browser speaks, once keys are agreed on; that takes longer than the answer."""
    page.until(lambda: page.call("statistics").get("transport", {}).get("dtlsState") == "connected", "the browser has keys")
    time.sleep(TALK_S)


def spoken(heard: Sound, start_s: float = 0.7, end_s: float = math.inf) -> Sound:
    """What a telephone heard between two instants, counted from when the browser had keys."""
    late = heard.first_heard_s(CAPTURE_HZ, CAPTURE_DBM0 - 10)
    assert math.isfinite(late), "the browser is not heard"
    return heard.part(late + start_s, None if math.isinf(end_s) else late + end_s)


def hears(page: Chromium, hz: float, level: float, within: float) -> None:
    heard = page.heard()
    heard = heard.part(max(0.0, heard.seconds - 1.5))
    assert heard.seconds > 1 and heard.tone_dbm0(hz) == pytest.approx(level, abs=within), heard.level_dbm0()
    assert heard.longest_gap_ms(hz, level - 12) <= 200  # the browser, its microphone and a machine of two cores have pauses of their own


def test_a_browser_speaks_with_the_box_over_a_restart_of_call_control(appliance: Start, browser: Browse) -> None:
    box = ready(appliance(overrides=WSS))
    page = browser(box)
    register(page, box, "201", "wrong")
    page.wait("registrationFailed")
    page.call("stop")
    register(page, box, "201")
    page.wait("registered")
    (row,) = contacts(box, "201")
    assert row["transport"] == "wss", row

    # A page of elsewhere is turned away; the box's own page is let in.
    wait_for = "link.onopen = () => then('open'); link.onerror = () => then('shut');"
    knock = f"new Promise(then => {{ const link = new WebSocket('{wss_url(box)}', 'sip'); {wait_for} }})"
    home, elsewhere = (f"https://{host}:{page.port}/phone.html" for host in (box.bind, "localhost"))
    assert [page.evaluate_on(place, knock) for place in (home, elsewhere)] == ["open", "shut"]

    # The echo test: what its microphone hears comes back, and was encrypted on the way.
    page.call("dial", f"sip:*43@{box.bind}")
    page.wait("confirmed")
    speak(page)
    hears(page, CAPTURE_HZ, CAPTURE_DBM0, 4)  # Opus codes speech, not tones
    found = flows(page)
    assert found["codec"]["mimeType"] == "audio/opus" and found["inbound-rtp"]["packetsLost"] == 0
    assert found["inbound-rtp"]["packetsReceived"] > 30 * TALK_S
    for side, wanted in (("remote", ("a=ice-lite", "a=setup:passive", "a=rtcp-mux", "a=group:BUNDLE 0")), ("local", ("a=setup:actpass",))):
        assert all(line in told(page, side) for line in wanted), told(page, side)

    # Its network changes: ICE begins anew, on another port of the browser, under the same keys.
    assert page.call("restart")
    wait_until(lambda: flows(page)["transport"]["selectedCandidatePairChanges"] >= 2, "the box follows to the new address")
    time.sleep(TALK_S)
    hears(page, CAPTURE_HZ, CAPTURE_DBM0, 4)

    # Call control is gone for a moment: speech goes on, the browser comes back by itself and still can hang up.
    box.kill("core")
    page.wait("disconnected")
    page.wait("registered", 2)
    hears(page, CAPTURE_HZ, CAPTURE_DBM0, 4)
    wait_until(lambda: flows(page).get("remote-inbound-rtp"), "the box reports to the browser (RTCP)", 20)
    # Between the browser's change of address and its nomination a few packets come from an address that is not heard yet.
    assert flows(page)["remote-inbound-rtp"]["packetsLost"] < 20
    (quality,) = wait_until(lambda: [row for row in box.ctl("show quality") if row["reports"]], "the browser reports to the box (RTCP)", 20)
    assert quality["endpoint"] == "201" and quality["refused"] == 0 and quality["far_loss"] < 5
    page.call("hangUp")
    page.wait("ended")
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    page.call("unregister")
    wait_until(lambda: not contacts(box, "201"), "the browser is gone")


def test_a_browser_and_a_telephone_call_each_other(appliance: Start, browser: Browse, phone: Phone) -> None:
    box = ready(appliance(overrides={**WSS, "[agents.8001]": '[agents.8001]\npin = "4711"'}))
    page = browser(box)
    desk = phone(box, "202", hz=DESK_HZ, answer="auto")
    third = phone(box, "203", hz=THIRD_HZ, answer="auto")
    register(page, box, "201")
    page.wait("registered")

    # To a telephone without any of this: both hear one another; the telephone hangs up.
    page.call("dial", f"sip:202@{box.bind}")
    page.wait("confirmed")
    speak(page)
    hears(page, DESK_HZ, -10, 2)
    flows(page)
    desk.hang_up()
    assert page.wait("ended")["by"] == "remote"
    heard = spoken(desk.heard())
    assert heard.tone_dbm0(CAPTURE_HZ) == pytest.approx(CAPTURE_DBM0, abs=2) and heard.tone_dbm0(DESK_HZ) < -40

    # Keys: an agent logs in.
    page.call("dial", f"sip:*11@{box.bind}")
    page.wait("confirmed", 2)
    speak(page)
    page.call("key", "8001#")
    time.sleep(2.2)
    page.call("key", "4711#")
    wait_until(lambda: any(agent["agent"] == "8001" and agent["extension"] == "201" for agent in box.ctl("show agents")), "8001 is in", 15)
    page.call("hangUp")
    page.wait("ended", 2)
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")

    # From the telephone to the browser, which holds, resumes and hands it over to a third (REFER).
    desk.dial("201")
    assert page.wait("incoming")["from"] == "202"
    page.call("answer")
    page.wait("confirmed", 3)
    desk.wait("CALL_ESTABLISHED")
    speak(page)
    hears(page, DESK_HZ, -10, 2)
    flows(page)
    assert page.call("hold") and page.call("resume")
    time.sleep(TALK_S)
    hears(page, DESK_HZ, -10, 2)
    page.call("refer", f"sip:203@{box.bind}")
    page.wait("referred")
    page.wait("ended", 3)
    third.wait("CALL_ESTABLISHED")
    time.sleep(TALK_S)
    desk.hang_up()
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    heard = desk.heard()
    assert heard.part(heard.seconds - 1).tone_dbm0(THIRD_HZ) == pytest.approx(-10, abs=2)
    assert spoken(desk.heard(), 0.7, TALK_S - 0.5).tone_dbm0(CAPTURE_HZ) == pytest.approx(CAPTURE_DBM0, abs=2)


def test_a_browser_consults_and_hands_over(appliance: Start, browser: Browse, phone: Phone) -> None:
    """Attended transfer (RFC 5589 section 7): the two telephones hear one another, the browser is told and is free."""
    box = ready(appliance(overrides=WSS))
    page = browser(box)
    desk, third = phone(box, "202", hz=DESK_HZ, answer="auto"), phone(box, "203", hz=THIRD_HZ, answer="auto")
    register(page, box, "201")
    page.wait("registered")
    page.call("dial", f"sip:202@{box.bind}")
    page.wait("confirmed")
    assert page.call("consult", f"sip:203@{box.bind}")
    page.wait("confirmed", 2)
    speak(page)
    hears(page, THIRD_HZ, -10, 2)
    page.call("handOver")
    page.wait("handOver-accepted")
    page.wait("ended", 2)
    time.sleep(TALK_S)
    assert len(box.ctl("show calls")) == 1
    desk.hang_up()
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    for one, other in ((desk, THIRD_HZ), (third, DESK_HZ)):
        heard = one.heard()
        assert heard.part(heard.seconds - 1).tone_dbm0(other) == pytest.approx(-10, abs=2)
    assert not page.events("handOver-failed") and not page.events("handOver-refused")
