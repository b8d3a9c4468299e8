"""A box as it leaves the factory, its serial port, and nothing but keys: from the first Enter to calls in and out.

The person sees the screen of an emulated terminal and types at the pace of a 9600 baud line; the world runs in virtual time.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.control.client import Client
from tests.e2e.appliance import ROOT, Appliance, wait_until
from tests.e2e.evidence import contact_of, wait_done
from tests.unit.console_stage import Person

pytestmark = pytest.mark.e2e
SPEED = "1500"
PASSWORD = "tea at four"
BAUD = 9600


class Line:
    """A serial line of which one end is the box's port."""

    def __init__(self) -> None:
        self.person_end, self.box_end = pty.openpty()
        tty.setraw(self.box_end)
        self.person = Person(self.person_end)
        self.person.keys = 0

    def answer(self, question: str, keys: str) -> None:
        """Wait for a question and type the answer, Enter included."""
        self.person.until(lambda: question in self.person.row, question, 30)
        self.person.type(keys + "\r", baud=BAUD)
        self.person.until(lambda: question not in self.person.row, f"an answer after {question}", 30)

    def close(self) -> None:
        os.close(self.person_end)
        os.close(self.box_end)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def new_box(folder: Path, line: Line) -> Path:
    """The site file of a box from the factory whose console is on this line."""
    file = folder / "new.toml"
    device = f'[sip]\nport = 0\n[console]\ntty = "{os.ttyname(line.box_end)}"\nbaud = {BAUD}\n'
    file.write_text((ROOT / "board/world/new.toml").read_text() + device)
    return file


def manage(box: Appliance, command: str, **args: object) -> Any:
    """One command as the console gives it."""
    with Client(box.state / "run/manage.sock") as client:
        return client.call(command, **args)


def begin(line: Line) -> None:
    """The first log-in."""
    line.answer("1/2:", "1")
    line.answer("New password:", PASSWORD)
    line.answer("Again:", PASSWORD)


def walk(box: Appliance, line: Line, jack: int, number: str) -> None:
    """Ring a line with a mobile phone until the console asks, and tell it the number."""
    caller = box.world({"do": "call", "from": "13800138000", "line": jack, "caller_id": "none", "patience": 600})["person"]
    line.person.sees(f"line {jack} rings now", 30)
    line.person.type(f"{number}\r", baud=BAUD)
    line.person.sees(f"line {jack} is {number}")
    box.world({"do": "hang-up", "person": caller})


def test_from_a_new_box_to_calls_by_keys_alone(appliance: Callable[..., Appliance], line: Line, tmp_path: Path) -> None:
    began = time.monotonic()
    box = appliance(config=new_box(tmp_path, line), extra=("--speed", SPEED))
    begin(line)
    line.answer("Language [1]:", "")
    line.answer("Name of this branch:", "Shop 4")
    line.answer("Country", "1")
    line.answer("Time zone", "")
    line.answer("Enter goes on", "")
    line.answer("The numbers of the lines", "1")
    walk(box, line, 1, "01055550001")
    walk(box, line, 2, "01055550002")
    line.person.type("q\r", baud=BAUD)
    line.answer("Analogue phones plugged in", "2")
    line.answer("Number of the first", "")
    line.answer("Name for 101", "Desk")
    line.answer("Name for 102", "")
    line.answer("How many SIP phones", "1")
    line.answer("Number of the first", "")
    line.answer("Access code", "")
    line.answer("Calls from outside ring", "")
    line.answer("[Y/n/d]", "")
    wait_until(lambda: {row["extension"] for row in box.ctl("show phones")} == {"101", "102", "201"}, "the phones are there", 30)
    # The test call: the installer takes phone 101, the box dials his mobile.
    box.world({"do": "number", "number": "13900001111", "kind": "answer", "answer_after": 3, "say": "turn:560"})
    box.world({"do": "phone", "phone": 1, "action": "answer", "after": 1, "tone_hz": 880, "partners_hz": [560], "talk": 40})
    line.answer("Your mobile number", "13900001111")
    line.answer("Phone that takes part", "")
    out = contact_of(box, "913900001111", 60)
    line.answer("Did both hear each other?", "y")
    line.person.sees("confirmed and kept")
    line.person.at("Shop 4# ")
    seconds = time.monotonic() - began
    # Now it is a branch: who calls is answered.
    box.world({"do": "phone", "phone": 2, "action": "answer", "after": 1, "tone_hz": 880, "partners_hz": [440], "talk": 5, "times": 1})
    caller = box.world({"do": "call", "from": "13712345678", "line": 2, "caller_id": "dtmf", "tone_hz": 440, "talk": 20})["person"]
    seen = wait_done(box, caller)
    assert seen["answered"] > 0, seen
    record = contact_of(box, "13712345678", 60)
    assert record["talk_ms"] > 0 and out["talk_ms"] > 0, json.dumps([record, out])
    wait_until(lambda: manage(box, "verify configuration")["right"], "running equals stored", 20)
    assert manage(box, "show trial")["state"] == "running"
    lines = manage(box, "show configuration")
    assert 'set ports.fxo.1.number "01055550001"' in lines and 'set ports.fxo.2.number "01055550002"' in lines
    assert not any(PASSWORD in one or "$7$" in one for one in lines)
    audit = {(row["peer"].partition("@")[0], row["command"]) for row in manage(box, "show audit", lines=1000)}
    assert {("console", "console first"), ("admin", "set"), ("admin", "commit confirmed"), ("admin", "confirm")} <= audit
    folder = ROOT / "build" / "console"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"keys": line.person.keys, "wall_s": round(seconds, 1), "shown_bytes": line.person.received}
    (folder / "setup.json").write_text(json.dumps(facts) + "\n")
    assert line.person.keys < 200, facts
    # At the pace of somebody who types two keys a second, and a line of 9600 baud.
    assert line.person.keys / 2 + line.person.received / (BAUD / 10) < 15 * 60 / 3, facts


def test_a_set_up_goes_on_after_a_power_cut(line: Line, tmp_path: Path, network: str) -> None:
    site = new_box(tmp_path, line)
    box = Appliance(tmp_path / "box", bind=network, config=site, extra=("--speed", SPEED)).start()
    try:
        begin(line)
        line.answer("Language [1]:", "")
        line.answer("Name of this branch:", "Depot")
        line.answer("Country", "3")
        line.answer("Time zone", "")
        line.person.sees("[5/12]")
        assert box.process is not None
        pids = [box.pid(name) for name in ("parent", "core", "media", "manage", "world")]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        box.process.wait(10)
        line.person.look(1.0)
        line.person.screen.reset()
        box.start()
        line.answer("login:", "admin")
        line.answer("password:", PASSWORD)
        line.answer("Go on with it now?", "")
        line.person.sees("4 steps were answered before")
        line.answer("Enter goes on", "-")
        line.answer("Time zone", "Europe/London")
        line.person.sees("[5/12]")
        shown = "\n".join(manage(box, "show candidate"))
        assert 'site.name "Depot"' in shown and 'site.country "UK"' in shown and 'site.time_zone "Europe/London"' in shown
        assert not any(re.search(r"site\.name", one) for one in manage(box, "show configuration")), "nothing is in effect"
        line.person.type("\x03")
        line.person.at("BranchPBX*# ")
    finally:
        assert box.stop() == 0, box.said()




def test_the_configuration_is_changed_tried_and_taken_back(appliance: Callable[..., Appliance], line: Line, tmp_path: Path) -> None:
    """Habits of router consoles, help from the schema, a paste at 9600 baud, a trial, a rollback; then the same console over SSH."""
    box = appliance(config=new_box(tmp_path, line), extra=("--speed", SPEED))
    person = line.person
    begin(line)
    line.answer("Language [1]:", "\x03")
    person.at("BranchPBX# ")
    person.type("conf t\r")
    person.at("BranchPBX(config)# ")
    person.type("set site.cou\t")
    person.at("BranchPBX(config)# set site.country")
    person.type("?")
    person.sees("CN")
    person.at("BranchPBX(config)# set site.country")
    person.type('"XX"\r')
    person.sees("site.country")
    person.sees("nothing was changed")
    person.at("BranchPBX(config)# ")
    pasted = [
        f'set extensions.{number}.{what}'
        for number in range(200, 220)
        for what in ('kind "sip"', f'name "Seat {number}, 席位 ?"', "ring_s 25")
    ]
    person.type("".join(f"{one}\r" for one in pasted), baud=BAUD)
    person.until(lambda: person.row == "BranchPBX(config*)#" and "219.ring_s" in "".join(person.rows), "the end of the paste", 120)
    person.type("show candidate extensions | match 219\r")
    person.sees('set extensions.219.name "Seat 219, 席位 ?"')
    person.type("end\r")
    person.sees("not in effect")
    person.at("BranchPBX*# ")
    person.type("commit confirmed 600\r")
    person.at("BranchPBX(trial)# ")
    shown = manage(box, "show configuration")
    assert [one for one in pasted if one not in shown] == [], "every pasted line is there, character by character"
    person.type("confirm\r")
    person.at("BranchPBX# ")
    person.type("rollback 1\r")
    person.at("BranchPBX# ")
    wait_until(lambda: not [row for row in box.ctl("show phones") if row["kind"] == "sip"], "no phones after the rollback", 30)
    person.type("ping 127.0.0.1 1\r")
    person.sees("answers")
    person.type("lookup localhost\r")
    person.sees("127.0.0.1")
    person.type("show interfaces\r")
    person.sees("127.0.0.1/8")
    person.type("password\r")
    line.answer("New password:", "short")
    person.sees("at least 8 characters")
    person.type("password\r")
    line.answer("New password:", "coffee at five")
    line.answer("Again:", "coffee at five")
    person.sees("is in effect")
    over_ssh(box, line, tmp_path)
    person.type("set site.name Gone\r")
    person.at("BranchPBX*# ")
    person.type("discard\r")
    person.at("BranchPBX# ")
    person.type("exit\r")
    person.sees("logged out")
    line.answer("login:", "admin")
    line.answer("password:", "coffee at five")
    person.at("BranchPBX# ")


def over_ssh(box: Appliance, line: Line, folder: Path) -> None:
    """SSH is switched on at the console, and the same person enters with a key."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    for one in (f'users.admin.ssh_keys ["{public}"]', "ssh.enabled true", "ssh.port 2345"):
        line.person.type(f"set {one}\r", baud=BAUD)
        line.person.until(lambda: line.person.row.endswith("*#"), f"{one} is set", 20)
    line.person.type("commit\r")
    line.person.at("BranchPBX# ")
    wait_until(lambda: next(row["state"] for row in manage(box, "show consoles") if row["what"] == "ssh") == "running", "SSH runs", 40)
    options = ["StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={folder}/known", "BatchMode=yes"]
    given = [part for option in options for part in ("-o", option)]
    command = ["ssh", "-F", "/dev/null", *given, "-i", str(key), "-p", "2345", f"admin@{box.bind}", "show version"]

    def asked() -> subprocess.CompletedProcess[str] | None:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        return answer if answer.returncode == 0 else None

    assert "BranchPBX" in wait_until(asked, f"the console over SSH; the box said:\n{box.said()}", 60).stdout

    def entered() -> list[dict[str, Any]]:
        return [row for row in manage(box, "show audit", lines=1000) if row["command"] == "log in" and "ssh" in row["peer"]]

    rows = wait_until(entered, "the log-in is in the audit trail", 20)
    assert all(row["peer"].startswith("admin@ssh ") and row["outcome"] == "ok" for row in rows), rows
