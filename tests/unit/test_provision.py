"""The scripted mode between the host tool's line and management, over a pseudo-terminal with the product's gate."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
import wave
from pathlib import Path
from typing import Any

import pytest

from firmware.control import configuration_commands as cc
from firmware.control import passwords
from firmware.control.configuration_commands import CandidateResult, ConfigurationLoad, ShowDiff
from firmware.control.gate import Gate
from firmware.errors import CommandError
from tests.unit.provision_stage import Box
from tools.bench_wire import Carrier, pair
from tools.provision.line import Session, open_port
from tools.provision.texts import ProvisionError

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
USERS = {
    "anna": {"role": "admin", "password": passwords.make(PASSWORD), "language": "zh"},
    "bo": {"role": "viewer", "password": passwords.make("another secret")},
}


def pull(tool: Session) -> None:
    """The cable comes out: whatever is done with the port now fails."""

    def gone(_: int) -> bytes:
        raise OSError("the device is gone")

    assert tool._port is not None
    tool._port.read = gone  # type: ignore[method-assign]


def test_a_new_box_is_open_to_who_holds_the_cable_and_a_set_up_one_is_not(tmp_path: Path) -> None:
    with Box(tmp_path / "new") as box:
        tool = box.tool()
        identity = tool.connect()
        assert tool.role == "admin"
        assert identity["model"] == "world"
        assert tool.call("show identity")["sealed"] is False
        tool.close()
    with Box(tmp_path / "set-up", USERS) as box:
        for user, password in (("installer", ""), ("anna", "wrong"), ("nobody", PASSWORD)):
            with pytest.raises(ProvisionError) as told:
                box.tool(user, password).connect()
            assert told.value.kind == "login"


def test_a_password_is_proved_both_ways_and_never_on_the_line(tmp_path: Path) -> None:
    with Box(tmp_path, USERS) as box:
        tool = box.tool("anna", PASSWORD)
        seen = bytearray()
        original = tool._opener

        def spying(baud: int) -> Any:
            port = original(baud)
            write, read = port.write, port.read
            port.write = lambda data: (seen.extend(data), write(data))[1]  # type: ignore[method-assign]
            port.read = lambda size: (lambda data: (seen.extend(data), data)[1])(read(size))  # type: ignore[method-assign]
            return port

        tool._opener = spying
        tool.connect()
        assert tool.role == "admin"
        tool.close()
        stored = passwords.parse(USERS["anna"]["password"])
        assert stored is not None
        assert PASSWORD.encode() not in seen
        assert stored.key not in seen
        assert stored.key.hex().encode() not in seen
        assert any(one.command == "login prove" and one.outcome == "ok" and "proof" not in one.args for one in box.audit)


def test_roles_are_the_gates_and_errors_come_in_the_asked_language(tmp_path: Path) -> None:
    with Box(tmp_path, USERS) as box:
        tool = box.tool("bo", "another secret", language="zh")
        tool.connect()
        with pytest.raises(ProvisionError) as told:
            tool.put("bundle", "b.raucb", b"x")
        assert told.value.kind == "not_allowed"
        assert "权限不足" in str(told.value)
        with pytest.raises(ProvisionError) as told:
            tool.call("shwo identity")
        assert told.value.kind == "unknown_command"
        tool.close()


NONSENSE = [b"[" * 60_000, b"{}", b"\xff", b'{"command": "show identity", "args": 5}', b'{"command": ["a"], "args": {}}']


@pytest.mark.parametrize("body", NONSENSE, ids=["deep", "empty", "bytes", "args", "command"])
def test_a_request_that_is_none_is_told_so_and_the_next_one_is_answered(tmp_path: Path, body: bytes) -> None:
    with Box(tmp_path) as box:
        tool = box.tool()
        tool.connect()
        ident = tool._next()
        tool._machine.send(("request", ident, body, False), 0)
        with pytest.raises(ProvisionError):
            tool._ended("nonsense", {}, ident)
        assert tool.call("show identity")["model"] == "world"
        tool.close()


def test_a_long_answer_comes_whole(tmp_path: Path) -> None:
    rows = [cc.ChangeRow(f"extensions.{number}.name", "changed", "", "x" * 300, "live") for number in range(2000)]
    with Box(tmp_path, handlers=lambda gate: gate.handle(ShowDiff, lambda _: rows)) as box:
        tool = box.tool()
        tool.connect()
        assert len(tool.call("show diff")) == 2000
        with pytest.raises(ProvisionError, match="too long"):
            tool.call("load", text="x" * 100_000)
        assert tool.call("show identity")["model"] == "world"
        tool.close()


def test_identity_is_written_once_and_sealed_and_the_key_stays(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        tool = box.tool()
        tool.connect()
        key = "ab" * 32
        written = tool.call("identity write", serial="BPX-0001", mac="02:00:5e:00:53:01", seal=True, site_key=key)
        assert written["sealed"] is True
        assert len(base64.b64decode(written["public_key"])) == 32
        with pytest.raises(ProvisionError, match="sealed"):
            tool.call("identity write", serial="BPX-0002", mac="02:00:5e:00:53:02")
        tool.close()
        assert (tmp_path / "device" / "identity.key").stat().st_mode & 0o777 == 0o600
        assert all(key not in one.args for one in box.audit)
        again = box.tool("site", key=bytes.fromhex(key))
        again.connect()
        assert again.role == "admin"
        again.close()
        with pytest.raises(ProvisionError):
            box.tool("site", key=bytes(32)).connect()


def test_a_bundle_is_kept_whole_and_goes_on_where_a_tool_was_killed(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(400_000)
    with Box(tmp_path, USERS) as box:
        first = box.tool("anna", PASSWORD)
        first.connect()

        class Killed(Exception):
            pass

        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise Killed

        with pytest.raises(Killed):
            first.put("bundle", "b.raucb", content, stop)
        first._port.close()  # type: ignore[union-attr]  # no goodbye
        places: list[int] = []
        second = box.tool("anna", PASSWORD)
        second.connect()
        said = second.put("bundle", "b.raucb", content, lambda done, total: places.append(done))
        assert said["size"] == len(content)
        assert Path(said["says"].split("install ")[1].split("`")[0]).read_bytes() == content
        assert places[0] > len(content) // 3
        row = second.call("show spool")[0]
        assert (row["kind"], row["size"], row["there"]) == ("bundle", len(content), len(content))
        second.close()


def test_a_prompt_is_put_to_use(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(random.Random(1).randbytes(16000))
    with Box(tmp_path) as box:
        tool = box.tool()
        tool.connect()
        said = tool.put("prompt", "zh/greet.morning", buffer.getvalue())
        assert said["says"] == "1.0 s, in use now"
        assert box.core == [("prompt load", {"prompt": "zh/greet.morning"})]
        with pytest.raises(ProvisionError, match="no prompt"):
            tool.put("prompt", "zh/../../x", b"RIFF")
        tool.close()


def test_a_site_file_becomes_the_candidate_or_every_mistake_is_told(tmp_path: Path) -> None:
    loaded: list[str] = []

    class Wrong(CommandError):
        facts = {"problems": [{"path": "site.name", "message": "too long", "message_zh": "太长"}]}

    def load(command: ConfigurationLoad) -> CandidateResult:
        if "bad" in command.text:
            raise Wrong("1 problem")
        loaded.append(command.text)
        return CandidateResult(3)

    def handlers(gate: Gate) -> None:
        gate.handle(ConfigurationLoad, load)
        gate.handle(ShowDiff, lambda _: [])

    with Box(tmp_path, handlers=handlers) as box:
        tool = box.tool(language="zh")
        tool.connect()
        assert tool.put("site", "site.toml", "名称 = 1".encode())["says"] == "3 changes in the candidate"
        assert loaded == ["名称 = 1"]
        with pytest.raises(ProvisionError) as told:
            tool.put("site", "site.toml", b"bad")
        assert told.value.problems[0]["path"] == "site.name"
        assert "site.name：太长" in str(told.value)
        with pytest.raises(ProvisionError, match=r"site.toml 不是 UTF-8 文本"):
            tool.put("site", "site.toml", b"\xff\xfe")
        tool.close()


def test_logs_are_fetched_and_a_second_run_goes_on_with_what_is_there(tmp_path: Path) -> None:
    with Box(tmp_path / "box") as box:
        (box.folder / "log" / "core.log").write_bytes(random.Random(1).randbytes(300_000))
        tool = box.tool()
        tool.connect()
        target = tmp_path / "logs.tar.gz"

        class Killed(Exception):
            pass

        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise Killed

        with pytest.raises(Killed):
            tool.get("logs", target, stop)
        tool.close()
        part = target.with_name("logs.tar.gz.part").stat().st_size
        assert part > 100_000
        places: list[int] = []
        again = box.tool()
        again.connect()
        size = again.get("logs", target, lambda done, total: places.append(done))
        again.close()
        assert places[0] > part
        assert size == target.stat().st_size
        with tarfile.open(target) as archive:
            assert archive.getnames() == ["log/core.log"]


def test_a_command_given_before_the_cable_broke_is_done_once(tmp_path: Path) -> None:
    count: list[str] = []

    def handlers(gate: Gate) -> None:
        gate.handle(ConfigurationLoad, lambda command: (count.append(command.text), time.sleep(0.5), CandidateResult(1))[2])

    with Box(tmp_path, handlers=handlers) as box:
        tool = box.tool()
        tool.connect()
        ident = tool._request({"command": "load", "args": {"text": "x"}})
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            tool.turn()
        pull(tool)
        assert tool._ended("load", {}, ident)["changes"] == 1
        assert count == ["x"]
        assert tool.breaks >= 1
        tool.close()


def test_two_tools_on_one_port_do_not_mix(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        first = box.tool()
        first.connect()
        with pytest.raises(ProvisionError, match="no other program"):
            box.tool().connect()
        assert first.call("show identity")["model"] == "world"
        first.close()


def test_a_tool_that_died_leaves_nothing_to_the_next_one(tmp_path: Path) -> None:
    asked: list[str] = []

    def handlers(gate: Gate) -> None:
        gate.handle(ConfigurationLoad, lambda command: (asked.append(command.text), time.sleep(1), CandidateResult(len(asked)))[2])

    with Box(tmp_path, handlers=handlers) as box:
        first = box.tool()
        first.connect()
        for text in ("one", "two", "three"):
            first._request({"command": "load", "args": {"text": text}})
        for _ in range(10):
            first.turn()
        first._port.close()  # type: ignore[union-attr]  # no goodbye
        second = box.tool()
        second.connect()
        assert second.call("show identity")["model"] == "world"
        assert second.call("load", text="mine")["changes"] == len(asked)
        assert asked[-1] == "mine"
        second.close()


def test_a_slow_command_keeps_nobody_from_the_console(tmp_path: Path) -> None:
    over = threading.Event()

    def handlers(gate: Gate) -> None:
        gate.handle(ConfigurationLoad, lambda command: (over.wait(60), CandidateResult(1))[1])

    with Box(tmp_path, handlers=handlers) as box:
        tool = box.tool()
        tool.connect()
        tool._request({"command": "load", "args": {"text": "slow"}})
        for _ in range(10):
            tool.turn()
        began = time.monotonic()
        os.write(box.tool_fd, b"\r\r\r")
        while not box.stays and time.monotonic() - began < 30:
            time.sleep(0.02)
        assert box.stays == ["person"]
        assert not over.is_set()
        over.set()
        tool._port.close()  # type: ignore[union-attr]


def test_who_the_box_is_is_told_as_it_is_now(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        for serial in ("", "BPX-0001"):
            tool = box.tool()
            assert tool.connect()["serial"] == serial
            tool.call("identity write", serial="BPX-0001", mac="02:00:5e:00:53:01")
            deadline, stays = time.monotonic() + 5, len(box.stays)
            tool.close()
            while len(box.stays) == stays and not serial and time.monotonic() < deadline:
                time.sleep(0.02)


def test_a_line_with_noise_carries_everything(tmp_path: Path) -> None:
    near, near_end, name = pair()
    content = random.Random(3).randbytes(60_000)
    with Box(tmp_path, USERS) as box:
        carrier = Carrier(near, box.tool_fd, 460_800, 2e-5, 5)
        try:
            tool = box.tool("anna", PASSWORD, opener=lambda _: open_port(name, 115200))
            tool.connect()
            assert tool.put("bundle", "b", content)["size"] == len(content)
            assert tool.statistics()["repeated"] + tool.statistics()["damaged"] > 0
            tool.close()
        finally:
            carrier.close()
            os.close(near)
            os.close(near_end)


def test_a_person_and_a_tool_share_the_line(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        os.write(box.tool_fd, b"show status\r\x1b[A")
        tool = box.tool()
        tool.connect()
        tool.close()
        deadline = time.monotonic() + 30
        while len(box.stays) < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.write(box.tool_fd, b"exit\r")
        while not box.console.endswith(b"exit\r") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert box.console == b"show status\r\x1b[Aexit\r"
        assert box.stays == ["bye"]


def test_the_transcript_tells_all_and_no_secret(tmp_path: Path) -> None:
    with Box(tmp_path / "box") as box:
        text = io.StringIO()
        tool = box.tool(transcript=text)
        tool.connect()
        tool.call("identity write", serial="BPX-0001", mac="02:00:5e:00:53:01", site_key="cd" * 32)
        tool.close()
    rows = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [(row["what"], row["outcome"]) for row in rows] == [("identity write", "ok")]
    assert "cd" * 32 not in text.getvalue()


def test_the_rate_is_raised_where_the_port_can(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        tool = box.tool(baud=9600)
        tool.connect()
        assert tool.raise_rate(921600)
        assert tool.call("show identity")["model"] == "world"
        tool.close()
        assert box.bauds[0] == 921600


def test_the_tool_needs_nothing_of_unix() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("termios", "fcntl", "tty", "pty", "pwd", "grp", "resource", "select_", "readline", "posix_ipc"):
            raise ImportError(name + " is not on this system")
sys.meta_path.insert(0, Blocked())
import tools.provision.__main__, tools.provision.line, tools.provision.sheet, tools.provision.wizard
print("imported", sorted(name for name in sys.modules if name in ("termios", "fcntl", "serial", "reportlab", "segno", "msgspec")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "imported ['msgspec']"


def test_a_box_that_is_another_one_after_the_break_gets_nothing(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        tool: Session = box.tool()
        tool.connect()
        tool.identity["serial"] = "BPX-OTHER"
        pull(tool)
        with pytest.raises(ProvisionError) as told:
            tool.call("show identity")
        assert told.value.kind == "another"
