"""What a stranger does first: `branchpbx sim run`, the printed command for a call, Ctrl-C, and again; two of them side by side."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance import ROOT, alive, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

BRANCHPBX = Path(sys.executable).parent / "branchpbx"
PROCESSES = ("parent", "media", "core", "manage", "world")


class Front:
    """`branchpbx sim run` without a terminal; `said` grows as it speaks."""

    def __init__(self, state: Path, *extra: str) -> None:
        self.state = state
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [str(BRANCHPBX), "sim", "run", "--state", str(state), "--language", "en", *extra],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))

    def line(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """The first line that matches, waited for."""

        def search() -> re.Match[str] | None:
            found = next(filter(None, (re.search(pattern, line) for line in list(self.said))), None)
            if found is None and self.process.poll() is not None:
                raise AssertionError("sim run ended:\n" + "\n".join(self.said))
            return found

        match: re.Match[str] = wait_until(search, f"a line like {pattern!r} in\n" + "\n".join(self.said), timeout)
        return match

    def ready(self) -> Front:
        self.line("Ctrl-C stops everything")
        return self

    def accounts(self) -> dict[str, str]:
        """Account or agent -> secret or PIN, as printed."""
        pairs = (re.match(r"(?:SIP account|agent) (\d+) .*?: (?:secret|PIN) (\S+)", line) for line in self.said)
        return {pair[1]: pair[2] for pair in pairs if pair}

    def pids(self) -> list[int]:
        return [int((self.state / "run" / f"{name}.pid").read_text()) for name in PROCESSES]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(40)
        self.reader.join(20)
        return status


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    running: list[Front] = []

    def start(state: Path, *extra: str) -> Front:
        running.append(Front(state, *extra))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def console(state: Path, line: str) -> str:
    done = subprocess.run(
        [str(BRANCHPBX), "cli", "--state", str(state), "--language", "en", "-c", line],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_printed_call_is_answered_beside_a_second_appliance_and_a_second_start_goes_on(front: Callable[..., Front], tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = front(state).ready()
    accounts = first.accounts()
    assert len([secret for number, secret in accounts.items() if number.startswith("20") and len(secret) >= 16]) == 4
    assert len([pin for number, pin in accounts.items() if number.startswith("80") and len(pin) >= 6]) == 4
    assert any("127.0.0.1:5060" in line for line in first.said)

    if os.geteuid() == 0:
        assert os.getpriority(os.PRIO_PROCESS, int((state / "run" / "world.pid").read_text())) < 0, "real copper is never late"
    command = first.line(r"^let somebody in town call the branch: (.*)$")[1]
    placed = subprocess.run(command, shell=True, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert placed.returncode == 0, placed.stderr

    def measured() -> bool:
        """Line 4 and telephone 101 have their voltage; line/1 rings."""
        shown = console(state, "show lines")
        return all(re.search(rf"^{endpoint}\b.* 48 ", shown, re.MULTILINE) for endpoint in ("line/4", "101"))

    wait_until(measured, "the lines are measured", 30)

    # While the caller listens to the menus: another appliance beside it.
    refused = front(tmp_path / "two")
    assert refused.process.wait(60) == 1
    refused.reader.join(20)
    assert len(refused.said) == 1, refused.said
    assert "127.0.0.1:5060 is in use" in refused.said[0]
    assert "--sip-port" in refused.said[0]
    two = front(tmp_path / "two", "--sip-port", "0", "--no-staff").ready()
    ports = {json.loads((box.state / "run" / "endpoints.json").read_text())["sip_port"] for box in (first, two)}
    assert len(ports) == 2
    assert " ready " not in console(two.state, "show agents | match 800")
    assert two.stop() == 0

    # The cable: the printed command is a terminal at the box's own serial port, and a new box asks for a password first.
    serial = first.line(r"^console by serial cable, as an installer: (.*)$")[1]
    with subprocess.Popen(serial, shell=True, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as terminal:
        assert terminal.stdin is not None and terminal.stdout is not None
        heard = b""
        for typed, wanted in ((b"\r", b"1/2: "), (b"1\r", b"New password: "), (b"\x1d", b"")):
            terminal.stdin.write(typed)
            terminal.stdin.flush()
            while wanted not in heard:
                assert select.select([terminal.stdout], [], [], 60)[0], heard
                got = os.read(terminal.stdout.fileno(), 4096)
                assert got, heard
                heard += got
        assert terminal.wait(40) == 0

    first.line(r"call \S+: (?:connecting|talking) 13800138000 sales 800\d", 90)
    # A real agent at a telephone that can ring: the simulated staff makes room, whoever talks after the call.
    console(state, "agent login 8001 101")
    first.line(r"staff: a real agent is logged in")
    wait_until(lambda: console(state, "show agents | match logged-out").count("logged-out") >= 2, "the staff logs out", 40)

    pids = first.pids()
    assert first.stop() == 0, "\n".join(first.said)
    assert first.said[-1].startswith("stopped")
    assert not any("Traceback" in line for line in first.said)
    assert [pid for pid in pids if alive(pid)] == []

    second = front(state).ready()
    assert second.accounts() == accounts
    assert "13800138000" in console(state, "show contacts")
    assert second.stop() == 0


def test_a_state_folder_that_cannot_be_used_is_told_in_one_line(front: Callable[..., Front], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = front(tmp_path / "file" / "state")
    assert one.process.wait(60) == 1
    one.reader.join(20)
    assert len(one.said) == 1, one.said
    assert "give --state a folder you may write" in one.said[0]
