"""The load profile: it is what its first lines say, and starts as they say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firmware.app.site import read_site
from firmware.call.model import Cause
from firmware.call.routing import Routing, ToDestination, ToExtension, ToFeature, ToNowhere
from firmware.config.emergency import emergency_numbers
from firmware.config.schema.tree import Config
from firmware.sip.message import Request, Response
from firmware.sip.parse import parse_datagram
from tests.ports import free_port
from tests.unit.sip_stage import authorize, request

PROFILE = Path(__file__).resolve().parent / "office-200.toml"


def profile() -> Config:
    site = read_site(PROFILE)
    assert site.config is not None, [problem.text() for problem in site.problems]
    return site.config


def test_users_and_numbers_are_those_of_the_profile() -> None:
    config = profile()
    assert {number: entry.secret for number, entry in config.extensions.items()} == {str(n): f"pw{n}" for n in range(1000, 1200)}
    routing = Routing(config, emergency_numbers(config.site.country, config.emergency_numbers))
    for number in config.extensions:
        assert routing.resolve("1000", number) == ToExtension(number)
        assert routing.resolve("1000", f"9{number}") == ToExtension(number, record=True)
        assert routing.dial_check("1000", number) == routing.dial_check("1000", f"9{number}") == "complete"
    assert routing.resolve("1000", "600") == ToFeature("echo_test", "") and routing.dial_check("1000", "60") == "more"
    for number in range(750, 760):
        assert routing.resolve("1000", str(number)) == ToDestination(f"room/r{number}") and config.rooms[f"r{number}"].pin == ""
    assert routing.resolve("1000", "1200") == ToNowhere(Cause.UNREACHABLE, "no extension, code or route for 1200")


def test_simple_passwords_need_the_explicit_switch(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(PROFILE.read_text().replace("open = true", "open = false"))
    paths = {problem.path for problem in read_site(site).problems}
    assert {"lab.echo", "lab.record_prefix", "extensions.1000.secret", "extensions.1199.secret"} <= paths


@pytest.mark.e2e
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
def test_it_starts_registers_and_leaves_its_pids(algorithm: str, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "firmware", "run", "--config", str(PROFILE), "--state", str(tmp_path), "--bind", "127.0.0.1"]
    box = subprocess.Popen([*command, "--sip-port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind(("127.0.0.1", 0))
            phone.settimeout(0.5)
            source = phone.getsockname()

            def ask(message: Request) -> Response:
                for _ in range(120):
                    phone.sendto(message.render(), ("127.0.0.1", port))
                    try:
                        answer = parse_datagram(phone.recv(65535))
                        while not isinstance(answer, Response) or answer.cseq != message.cseq:  # answers to what was sent again
                            answer = parse_datagram(phone.recv(65535))
                        return answer
                    except (TimeoutError, ConnectionRefusedError):
                        assert box.poll() is None, "ended"
                        time.sleep(0.1)
                raise AssertionError("no answer")

            asked = request("REGISTER", "sip:127.0.0.1", user="1007", source=source)
            challenge = ask(asked)
            again = request("REGISTER", "sip:127.0.0.1", user="1007", source=source, cseq=2, branch="b2")
            assert challenge.status == 401
            assert ask(authorize(again, challenge, "1007", "pw1007", algorithm=algorithm)).status == 200
        pids = {path.stem: int(path.read_text()) for path in (tmp_path / "run").glob("*.pid")}
        assert pids["parent"] == box.pid and {"core", "media"} <= set(pids)
        assert all(Path(f"/proc/{pid}").exists() for pid in pids.values())
    finally:
        os.kill(box.pid, signal.SIGTERM)
        box.wait(30)
