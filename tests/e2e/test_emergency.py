"""Emergency calls go out first: from every kind of telephone, with every line busy, and the centre can call back.

Evidence is what the simulated centre and the caller heard and what the exchange routed. The centre's tone is 800 Hz.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.appliance import ROOT, Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.branch import CALLER_HZ, CENTRE_HZ, HZ, LEVEL, Branch

pytestmark = [pytest.mark.e2e]


CALL_BACK_S = 62  # after this no call-back window of an earlier call is open


def reaches_the_centre(branch: Branch, caller: str, number: str, *, talk: float = 18) -> dict[str, Any]:
    """`caller` dials and talks with the centre, audio both ways; the contact."""
    own = HZ[caller.removeprefix("fxs/")]
    branch.world("partners", partners_hz=[own])
    ident = branch.dial(caller, number, CENTRE_HZ, talk=talk, drill=True)
    one, centre = branch.done(ident), branch.who("callee", "110")
    assert one["met"] > 0, "the centre is not heard"
    branch.hears(ident, CENTRE_HZ, own, centre["answered"] + 500, one["ended"] - 300, called=True)
    branch.hears(centre["ident"], own, CENTRE_HZ, centre["answered"] + 500, min(one["ended"], centre["ended"]) - 300, called=False)
    record: dict[str, Any] = wait_until(
        lambda: next((row for row in branch.records() if row["kind"] == "emergency"), None), "the emergency call is recorded", 30)
    assert record["extension"] == caller
    return record


def emergencies(branch: Branch) -> list[dict[str, Any]]:
    return [call for call in branch.world("results")["emergencies"] if call["started"] >= branch.since]


@pytest.mark.parametrize(
    ("caller", "number"),
    [("101", "110"), ("201", "110"), ("201", "9110"), ("103", "110"), ("203", "110"), ("fxs/4", "110")],
    ids=["analog", "sip", "with-access-code", "locked-analog", "locked-sip", "jack-without-extension"],
)
def test_emergency_number_reaches_the_centre(branch: Branch, caller: str, number: str) -> None:
    record = reaches_the_centre(branch, caller, number)
    call, = emergencies(branch)
    assert (call["number"], call["digits"], call["ended_by"]) == ("110", "110", "box")
    assert (record["cause"], record["first_to_leave"]) == ("normal", "caller")


def test_phone_of_a_paused_agent_reaches_the_centre(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8001", extension="101")
    branch.box.ctl("agent pause", agent="8001", reason="2")
    reaches_the_centre(branch, "101", "110")
    assert branch.agent("8001")["state"] == "paused"


def test_jack_without_extension_reaches_nothing_else(branch: Branch) -> None:
    branch.answer("101", HZ["4"])
    ident = branch.dial("fxs/4", "101", talk=8)
    branch.done(ident)
    assert not branch.seen("phone-ring")


def test_least_important_call_gives_its_line_when_all_are_busy(branch: Branch) -> None:
    branch.sleep(CALL_BACK_S)
    branch.box.ctl("agent login", agent="8001", extension="201")
    branch.answer("201", CALLER_HZ)
    talking, talker = branch.call("1310", HZ["201"], hang_up_after=800)
    wait_until(lambda: branch.agent("8001")["state"] == "talking", "the agent talks", 30)
    waiting = {branch.call("1310", line=line, hang_up_after=800) for line in (2, 3, 4)}
    wait_until(lambda: any(row["waiting"] == 3 for row in branch.box.ctl("show queues")), "three callers wait", 30)
    record = reaches_the_centre(branch, "103", "110", talk=22)
    call, = emergencies(branch)
    pre_empted = [row for row in branch.records(2) if row["cause"] == "preempted"]
    assert len(pre_empted) == 1
    victim = pre_empted[0]
    assert victim["caller"] in {number for _, number in waiting}, "the conversation is not the least important call"
    assert (victim["first_to_leave"], victim["evidence_detail"]) == ("system", "an emergency call needs the line")
    assert victim["line"] == f"line/{call['line']}"
    assert any(leg["endpoint"] == victim["line"] for leg in branch.legs(record))
    # Help is asked for within seconds: dialled when the line had time to be released.
    assert call["started"] - (victim["ended_ms"] - branch.wall_base) < 6000
    branch.world("hang-up", person=talking)
    ended = wait_until(lambda: next((row for row in branch.records(3) if row["caller"] == talker), None), "his record", 30)
    assert ended["cause"] == "normal"


def test_call_back_from_the_centre_rings_the_caller_not_the_menu(branch: Branch) -> None:
    reaches_the_centre(branch, "103", "110")
    call, = emergencies(branch)
    branch.sleep(3)
    branch.answer("103", CALLER_HZ)
    centre = {"from": "110", "line": call["line"], "drill": True, "tone_hz": CALLER_HZ}
    ident = str(branch.world("call", **centre, partners_hz=[HZ["103"]], hang_up_after=20)["person"])
    caller, phone = branch.done(ident), branch.at("103")
    branch.hears(ident, HZ["103"], CALLER_HZ, phone["answered"] + 1500, caller["ended"] - 500, called=True)
    record = next(row for row in branch.records(2) if row["kind"] == "emergency-callback")
    assert (record["caller"], record["called"]) == ("110", "103")
    assert not branch.seen("softphone-ring")
    # After the window the same call is an ordinary one again.
    branch.sleep(CALL_BACK_S)
    branch.answer("102", CALLER_HZ)
    again = str(branch.world("call", **centre, partners_hz=[HZ["102"]], hang_up_after=12)["person"])
    assert branch.done(again)["met"] > 0


class Events:
    """The event stream of the control socket from now on."""

    def __init__(self, box: Appliance, *types: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(40)
        self.socket.connect(str(box.state / "run" / "control.sock"))
        body = json.dumps({"id": 1, "command": "events", "args": {"types": types}}).encode()
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the event stream ended"
            data += more
        return data

    def wait(self, kind: str) -> dict[str, Any]:
        """The next event of this type."""
        while True:
            message = json.loads(self._exactly(struct.unpack(">I", self._exactly(4))[0]))
            event: dict[str, Any] = message.get("event") or {}
            if event.get("type") == kind:
                return event


def test_notice_is_on_every_screen_while_the_call_lasts(branch: Branch) -> None:
    events = Events(branch.box, "EmergencyStarted", "EmergencyEnded")
    with events.socket:
        ident = branch.dial("101", "110", CENTRE_HZ, talk=900, drill=True)
        begun = events.wait("EmergencyStarted")
        assert (begun["extension"], begun["number"]) == ("101", "110")
        shown = branch.box.ctl("show emergencies")
        assert [(row["extension"], row["number"]) for row in shown] == [("101", "110")]
        assert all(word in shown[0]["en"] for word in ("101", "110"))
        assert all(word in shown[0]["zh"] for word in ("101", "110"))
        assert any("110" in alarm["text"] for alarm in branch.box.ctl("show alarms"))
        console = [sys.executable, "-m", "firmware", "cli", "--state", str(branch.box.state), "-c", "show emergencies"]
        screen = subprocess.run(console, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "110" in screen and "101" in screen
        branch.phone(1, "hang-up")
        assert events.wait("EmergencyEnded")["extension"] == "101"
    wait_until(lambda: not branch.box.ctl("show emergencies"), "the notice is gone", 30)
    branch.world("hang-up", person=ident)


def test_no_tool_dials_an_emergency_number_by_accident(branch: Branch) -> None:
    for attempt in (
        lambda: branch.phone(1, "dial", number="110", wait=True),
        lambda: branch.phone(1, "dial", number="9119", wait=True),
        lambda: branch.soft("201", "dial", number="120"),
        lambda: branch.box.ctl("originate", extension="101", number="110"),
        lambda: branch.box.ctl("originate", extension="101", number="9122"),
    ):
        with pytest.raises(AssertionError, match="emergency"):
            attempt()
    assert not emergencies(branch)
    # By keys, one after the other, neither.
    branch.phone(1, "off-hook")
    branch.sleep(1)
    branch.phone(1, "press", keys="11")
    with pytest.raises(AssertionError, match="emergency"):
        branch.phone(1, "press", keys="0")
    assert not emergencies(branch)


@pytest.mark.realtime
def test_unknown_sip_phone_reaches_the_centre_and_nothing_else(appliance: Callable[..., Appliance], phone: Callable[..., Baresip]) -> None:
    box = appliance()
    stranger = phone(box, "201", hz=1141, level=-16, secret="wrong", register=False)
    stranger.dial("101")
    assert any(code in stranger.wait("CALL_CLOSED")["param"] for code in ("401", "403", "407"))
    box.world({"do": "partners", "partners_hz": [1141]})
    stranger.dial("110")
    stranger.wait("CALL_ESTABLISHED", 30)
    wait_until(lambda: box.world({"do": "status"})["emergencies"], "the exchange routes the call", 30)

    def heard_by_the_centre() -> bool:
        return any(one["met"] > 0 for one in box.world({"do": "status"})["people"] if one["kind"] == "callee")

    wait_until(heard_by_the_centre, "the centre hears the caller", 30)
    box.world({"do": "sleep", "ms": 4000})  # a turn of the centre
    stranger.hang_up()
    wait_until(lambda: not box.ctl("show calls"), "the call is gone", 30)
    heard = stranger.heard()
    # The centre speaks in turns; the first may be cut short by the answer, so the best second counts.
    best = max(heard.part(0.1 * at, 0.1 * at + 1).tone_dbm0(CENTRE_HZ) for at in range(int(10 * (heard.seconds - 1))))
    assert best == pytest.approx(LEVEL, abs=1)
    # The centre calls back: the stranger's phone rings, though it never registered.
    line = box.world({"do": "status"})["emergencies"][0]["line"]
    wait_until(lambda: all(not one["call"] for one in box.world({"do": "status"})["lines"]), "the line is at rest", 30)
    seen = len(stranger.events)
    box.world({"do": "call", "from": "110", "line": line, "caller_id": "none", "drill": True, "patience": 30})
    stranger.wait("CALL_INCOMING", 30, start=seen)
    stranger.hang_up()
