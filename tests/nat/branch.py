"""A box and phones in networks of a test, and a call between two of them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import write_tone
from tests.e2e.baresip import Baresip
from tests.nat.namespaces import Namespace, Switch

SIP_PORT = 5060
RTP_FIRST, RTP_CALLS = 30000, 16
PORTS = f"{SIP_PORT}, {RTP_FIRST}-{RTP_FIRST + 2 * RTP_CALLS}"


class Net:
    """A test's machines, its box and its phones."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack

    def machine(self, *, forward: bool = False) -> Namespace:
        return Namespace(self.stack, forward=forward)

    def switch(self) -> Switch:
        return Switch(self.stack)

    def box(
        self, where: Namespace, *, bind: str = "0.0.0.0", sip: str = "", more: str = "", end: str = "", name: str = "box"
    ) -> Appliance:
        """A box that listens on known ports; `sip` joins its section, `more` comes before the ports, `end` (tables in a list) last."""
        settings = (
            f'[sip]\nport = {SIP_PORT}\n{sip}\n[rtp]\nfirst_port = {RTP_FIRST}\ncalls = {RTP_CALLS}\n{more}\n[ports.fxo.1]\n'
        )
        one = Appliance(self.folder / name, bind=bind, overrides={"[ports.fxo.1]\n": settings}, prefix=where.prefix)
        one.config.write_text(one.config.read_text() + end)
        self.stack.callback(one.stop)
        return one.start()

    def phone(
        self, box: Appliance, where: Namespace, user: str, server: str, host: str, hz: float, port: int = SIP_PORT, **options: Any
    ) -> Baresip:
        folder = self.folder / f"phone{user}"
        folder.mkdir()
        microphone = write_tone(folder / "microphone.wav", hz, 60)
        one = Baresip(folder, user=user, secret=box.accounts()[user], server=f"{server}:{port}", host=host, microphone=microphone,
                      where=where, answer="auto", codecs="PCMA/8000/1", **options)  # fmt: skip
        self.stack.callback(one.stop)
        one.wait_for_registration()
        return one


def talk(box: Appliance, caller: Baresip, callee: Baresip, hz: tuple[float, float]) -> tuple[str, str]:
    """A call in which both hear the other, ended by the called; what the box wrote to the caller and to the called."""
    begun, start = len(caller.events), len(callee.events)
    caller.dial(callee.user)
    caller.wait("CALL_ESTABLISHED", start=begun)
    (call,) = box.ctl("show calls")
    time.sleep(3)  # real time: real phones speak
    callee.hang_up()
    callee.wait("CALL_CLOSED", start=start)
    caller.wait("CALL_CLOSED", start=begun)
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    for listener, own, other in ((caller, *hz), (callee, *reversed(hz))):
        heard = listener.heard().part(0.7)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1), f"{listener.user} does not hear the other"
        assert heard.tone_dbm0(own) < -45, f"{listener.user} hears itself"
        assert heard.longest_gap_ms(other, -20) <= 60, listener.user

    def written() -> dict[str, str]:        # each leg is written when it is over
        legs = {leg["endpoint"]: leg["leg"] for leg in box.ctl("show contact", contact=call["contact"])["legs"]}
        return legs if {caller.user, callee.user} <= legs.keys() else {}

    legs = wait_until(written, "both legs are written")
    return said(box, legs[caller.user]), said(box, legs[callee.user])


def said(box: Appliance, leg: str) -> str:
    """All messages that the box sent for a leg."""
    rows = [row for row in box.ctl("show trace", call=leg, full=True) if row["direction"] == "out"]
    assert any(" BYE " in row["text"] or "CSeq" in row["text"] for row in rows)
    return "\n".join(row["text"].partition(" ")[2] for row in rows)
