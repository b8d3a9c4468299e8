"""A telephone of another make: linphone registers, calls, is called, holds and hangs up, with audio both ways."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound, write_tone
from tests.e2e.baresip import Baresip
from tests.e2e.linphone import Linphone
from tests.nat.branch import SIP_PORT, Net

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def stage(net: Net, *, answering: bool = False) -> tuple[Appliance, Linphone, Baresip]:
    """A box, a linphone (201, speaks 440 Hz) and a baresip (202, speaks 880 Hz) in one network with a router."""
    lan, server, desk, other = net.switch(), net.machine(), net.machine(), net.machine()
    for machine, address in ((server, "10.5.0.1/24"), (desk, "10.5.0.2/24"), (other, "10.5.0.3/24")):
        lan.plug(machine, address)
    desk.route("10.5.0.1")
    box = net.box(server)
    anna = Linphone(net.folder / "linphone", microphone=write_tone(net.folder / "microphone.wav", 440, 60), where=desk, answering=answering)
    net.stack.callback(anna.stop)
    anna.register("201", f"10.5.0.1:{SIP_PORT}", box.accounts()["201"])
    return box, anna, net.phone(box, other, "202", "10.5.0.1", "10.5.0.3", 880)


def spoken(sound: Sound, hz: float) -> list[float]:
    """Seconds at which a tone is heard at its level."""
    return [float(at) for at in np.flatnonzero(sound.tone_envelope(hz, 100) > -14) / 10]


def test_linphone_calls_holds_and_hangs_up(net: Net) -> None:
    box, anna, bo = stage(net)
    start = anna.say("call sip:202@10.5.0.1")
    anna.wait("connected", start)
    time.sleep(2)  # real time: real phones speak
    start = anna.say("pause")
    anna.wait("is now paused", start)
    time.sleep(1.5)
    start = anna.say("resume")
    anna.wait("Media streams established", start)
    time.sleep(2)
    anna.say("terminate")
    bo.wait("CALL_CLOSED")
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    at = spoken(bo.heard(), 440)
    pauses = [later - before for before, later in zip(at, at[1:], strict=False) if later - before > 1]
    assert len(pauses) == 1 and 1.2 < pauses[0] < 4, f"one pause, that of the hold: {pauses}"
    assert len(at) > 25
    heard = anna.heard()
    assert heard.part(0.7, 1.7).tone_dbm0(880) == pytest.approx(-10, abs=1.5), "before the hold"
    assert heard.part(heard.seconds - 1.3, heard.seconds - 0.3).tone_dbm0(880) == pytest.approx(-10, abs=1.5), "after it"
    assert heard.part(0.7).tone_dbm0(440) < -40, "Anna hears herself"


def test_linphone_is_called_and_answers(net: Net) -> None:
    box, anna, bo = stage(net, answering=True)
    bo.dial("201")
    bo.wait("CALL_ESTABLISHED")
    time.sleep(3)  # real time: real phones speak
    bo.hang_up()
    anna.wait("ended")
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    heard = bo.heard().part(0.7)
    assert heard.tone_dbm0(440) == pytest.approx(-10, abs=1.5) and heard.longest_gap_ms(440, -20) <= 60
    assert heard.tone_dbm0(880) < -40, "Bo hears himself"
    assert anna.heard().part(0.7).tone_dbm0(880) == pytest.approx(-10, abs=1.5)
