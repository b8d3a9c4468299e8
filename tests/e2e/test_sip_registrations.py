"""What a telephone was told of its registration outlives call control, killed in the very instant of the answer."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest

from firmware.sip.message import Response
from firmware.sip.parse import parse_datagram
from tests.e2e.appliance import Appliance, wait_until
from tests.unit.sip_stage import authorize, request

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def ask(link: socket.socket, user: str, secret: str, branch: str, expires: int) -> Response:
    """One registration with digest, over a socket of its own; its last answer."""
    source = link.getsockname()
    challenge: Response | None = None
    for cseq in (1, 2):
        sent = request("REGISTER", user=user, cseq=cseq, branch=f"{branch}{cseq}", call_id=branch, source=source,
                       extra=(("Expires", str(expires)),))  # fmt: skip
        if challenge is not None:
            authorize(sent, challenge, user, secret)
        link.send(sent.render())
        answer = parse_datagram(link.recv(4096))
        assert isinstance(answer, Response)
        challenge = answer
    return answer


def test_a_registration_survives_a_kill_right_behind_its_answer(appliance: Callable[..., Appliance], network: str) -> None:
    box = appliance()
    host, port = box.sip.rsplit(":", 1)
    links: dict[str, socket.socket] = {}
    secrets = box.accounts()

    def where(number: str) -> list[str]:
        return [row["where"] for row in box.ctl("show phones") if row["extension"] == number and row["where"]]

    for turn, number in enumerate(("201", "202", "203")):
        link = links[number] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.bind((network, 0))
        link.settimeout(15)
        link.connect((host, int(port)))
        before = box.pid("core")
        answer = ask(link, number, secrets[number], f"turn{turn}", 600)
        os.kill(before, signal.SIGKILL)                    # nothing of it is on disk yet
        assert answer.status == 200
        wait_until(lambda old=before: box.pid("core") != old and box.ctl("show phones"), "the next core answers", 20)  # type: ignore[misc]
        for known, other in links.items():
            assert where(known) == [f"{other.getsockname()[0]}:{other.getsockname()[1]}"], known
    before = box.pid("core")
    assert ask(links["202"], "202", secrets["202"], "gone", 0).status == 200
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: box.pid("core") != before and box.ctl("show phones"), "the next core answers", 20)
    assert (bool(where("201")), where("202")) == (True, [])
    for link in links.values():
        link.close()
