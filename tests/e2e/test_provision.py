"""A box as it leaves the factory becomes a working site over its serial line: by site file, questions or signed document; then calls."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.control import passwords
from tests.e2e.appliance import DIE_WITH_TEST, ROOT, Appliance, wait_until
from tests.e2e.evidence import contact_of, contacts, wait_done
from tools.bench_wire import Carrier, pair

pytestmark = pytest.mark.e2e
PASSWORD = "branch seven"
SITE = """
schema = 1
board = "world"
[site]
name = "Branch 7"
languages = ["en", "zh"]
[ports.fxo.1]
number = "01055550001"
[ports.fxo.2]
[ports.fxo.3]
[ports.fxo.4]
[ports.fxs.1]
[ports.fxs.2]
[ports.fxs.3]
[ports.fxs.4]
[extensions.101]
kind = "fxs"
jack = "1"
[extensions.102]
kind = "fxs"
jack = "2"
[[inbound]]
to = "extension/101"
greeting = false
notice = false
[[outbound]]
prefix = "9"
group = "pstn"
[users.anna]
role = "admin"
password = "{password}"
"""


@contextlib.contextmanager
def serial_cable(state: Path) -> Iterator[str]:
    """The product's console on one end of a line of 115200 baud; the name of the other end."""
    near, near_end, name = pair()
    far, far_end, tty = pair()
    carrier = Carrier(near, far, 115200, 0.0, 1)
    command = [sys.executable, "-m", "firmware", "console", "--tty", tty, "--state", str(state)]
    console = subprocess.Popen([*DIE_WITH_TEST, *command], cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        yield name
    finally:
        console.terminate()
        console.wait(15)
        carrier.close()
        for descriptor in (near, near_end, far, far_end):
            os.close(descriptor)


def provision(port: str, *words: str, password: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BRANCHPBX_PASSWORD": password}
    command = [sys.executable, "-m", "tools.provision", *words, "--port", port, "--patience", "60"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=120)


def reported(name: str, facts: dict[str, Any]) -> None:
    """Keep a figure of the way from factory-new to a call."""
    folder = ROOT / "build" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(facts) + "\n")


def answered(box: Appliance) -> dict[str, Any]:
    """A call comes in on line 1 and phone 101 takes it; its record."""
    box.world({"do": "phone", "phone": 1, "action": "answer", "after": 2, "times": 1, "tone_hz": 1077.0, "talk": 6})
    caller = box.world({"do": "call", "from": "13800000001", "line": 1, "tone_hz": 620.0, "talk": 6})["person"]
    wait_done(box, caller)

    def on_record() -> dict[str, Any] | None:
        return next((row for row in contacts(box) if row["caller"] == "13800000001"), None)

    record: dict[str, Any] = wait_until(on_record, "the contact is on record", 30)
    assert record["answered_ms"] is not None and record["talk_ms"] > 1000
    return record


def test_the_questions_of_the_console_asked_at_the_laptop_up_to_the_test_call(appliance: Callable[..., Appliance], tmp_path: Path) -> None:
    box = appliance(config=ROOT / "board" / "world" / "new.toml", extra=("--speed", "2500"))
    answers = [
        "user = 'admin'", f"password = '{PASSWORD}'", "name = 'Branch 8'", "country = 'CN'", "numbers = 'type'",
        "numbers_one_1 = '01055550001'", "phones = 2", "phones_first = ['101', '201']", "phones_name_1 = 'Desk'", "sip = 1",
        "test_mobile = '13900001111'",
    ]  # fmt: skip
    (tmp_path / "answers.toml").write_text("\n".join(answers))
    words = ("wizard", "--answers", str(tmp_path / "answers.toml"), "--save", str(tmp_path / "asked.toml"))
    with serial_cable(box.state) as port:
        began = time.monotonic()
        dry = provision(port, *words, "--dry-run")
        assert dry.returncode == 0, dry.stderr + dry.stdout
        assert "extensions.201.kind" in dry.stdout
        assert box.manage("show diff") == [] and box.manage("show users") == []
        box.world({"do": "number", "number": "13900001111", "kind": "answer", "answer_after": 3, "say": "turn:560"})
        box.world({"do": "phone", "phone": 1, "action": "answer", "after": 1, "tone_hz": 880, "partners_hz": [560], "talk": 20})
        done = provision(port, *words, "--report", str(tmp_path / "report.pdf"))
        assert done.returncode == 0, done.stdout + done.stderr
        took = time.monotonic() - began
    record = contact_of(box, "913900001111")
    assert record["answered_ms"] is not None
    assert box.manage("show trial")["state"] == "running"
    site = (tmp_path / "asked.toml").read_text()
    assert 'name = "Branch 8"' in site and 'number = "01055550001"' in site and PASSWORD not in site and "$7$" not in site
    assert {row["user"]: row["role"] for row in box.manage("show users")} == {"admin": "admin"}
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    answered(box)
    reported("provisioning-wizard", {"seconds_from_new_to_call": round(took, 1), "commands": 1, "answers": len(answers)})


def test_a_signed_site_file_makes_a_new_box_a_working_site(appliance: Callable[..., Appliance], tmp_path: Path) -> None:
    box = appliance(config=ROOT / "board" / "world" / "new.toml", extra=("--speed", "2500"))
    sign = [sys.executable, "-m", "tools.sign_config"]
    key, document = tmp_path / "centre.key", tmp_path / "site.bpx"
    public = subprocess.run([*sign, "new-key", str(key)], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    central = f'[central]\ntenant = "acme"\nkeys = ["{public}"]\n'
    (tmp_path / "site.toml").write_text(SITE.format(password=passwords.make(PASSWORD)) + central)
    with serial_cable(box.state) as port:
        began = time.monotonic()
        asked = provision(port, "device", str(tmp_path / "device.json"))
        assert asked.returncode == 0, asked.stderr
        words = ["sign", str(tmp_path / "site.toml"), "--key", str(key), "--device", str(tmp_path / "device.json"), "--tenant", "acme"]
        subprocess.run([*sign, *words, "--revision", "1", "--out", str(document)], cwd=ROOT, capture_output=True, check=True)
        refused = provision(port, "offer", str(document))
        assert refused.returncode == 1 and "unknown-key" in refused.stderr, refused.stdout
        done = provision(port, "offer", str(document), "--trust", public, "--tenant", "acme", "--confirm")
        assert done.returncode == 0, done.stdout + done.stderr
        answered(box)
        took = time.monotonic() - began
    assert box.manage("show trial")["state"] == "running"
    wait_until(lambda: box.manage("show central")["state"] == "confirmed", "the document is confirmed", 30)
    assert box.ctl("show status")["name"] == "Branch 7"
    reported("provisioning-signed", {"seconds_from_new_to_call": round(took, 1), "commands": 3})


def test_from_factory_new_to_a_call_by_the_host_tool(appliance: Callable[..., Appliance], tmp_path: Path) -> None:
    box = appliance(config=ROOT / "board" / "world" / "new.toml", extra=("--speed", "2500"))
    (tmp_path / "site.toml").write_text(SITE.format(password=passwords.make(PASSWORD)))
    with serial_cable(box.state) as port:
        began = time.monotonic()
        report_file = str(tmp_path / "report.pdf")
        done = provision(port, "apply", str(tmp_path / "site.toml"), "--note", "installed", "--report", report_file, "--test")
        assert done.returncode == 0, done.stdout + done.stderr
        answered(box)
        took = time.monotonic() - began
        reported("provisioning", {"seconds_from_new_to_call": round(took, 1), "commands": 2})
        refused = provision(port, "status")
        assert refused.returncode == 1
        assert "not right" in refused.stderr
        told = provision(port, "status", "--user", "anna", password=PASSWORD)
        assert told.returncode == 0, told.stderr
        facts = json.loads(told.stdout)
        assert facts["role"] == "admin"
        assert facts["trial"]["state"] == "running"
        audit = provision(port, "fetch-logs", str(tmp_path / "logs.tar.gz"), "--user", "anna", password=PASSWORD)
        assert audit.returncode == 0, audit.stderr
        assert (tmp_path / "logs.tar.gz").stat().st_size > 1000
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["proof"]["right"] is True
    assert {row["endpoint"] for row in report["lines"]} >= {"line/1", "101", "102"}
    assert {row["target"] for row in report["test"]} >= {"line/1", "101"}
    assert PASSWORD not in (tmp_path / "report.json").read_text()
