"""Manage's part of the console: people, passwords, network views; processes that are kept running."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.app.console_services import Service
from firmware.control.client import Client, CommandFailed
from firmware.net import host
from firmware.surfaces.cli.config_mode import meaning, offers_of, path_before, problem_lines, prompt, setting_line
from tests.unit.console_stage import PASSWORD, Box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    made = Box(tmp_path_factory.mktemp("part") / "box")
    yield made
    made.close()


@pytest.fixture
def client(box: Box) -> Iterator[Client]:
    with Client(box.state / "run/manage.sock") as made:
        yield made


def test_the_right_password_tells_role_and_language(box: Box, client: Client) -> None:
    found = client.call("console login", user="bo", password=PASSWORD, where="ttyS0")
    assert found == {"user": "bo", "name": "", "role": "viewer", "language": "zh"}
    assert box.audit[-1] == ("bo", "viewer", "ttyS0", "ok")


@pytest.mark.parametrize(("user", "password"), [("bo", "wrong"), ("nobody", PASSWORD), ("", ""), ("bo", "")])
def test_wrong_names_and_passwords_are_refused_alike(box: Box, client: Client, user: str, password: str) -> None:
    with pytest.raises(CommandFailed, match="or its password is wrong") as refused:
        client.call("console login", user=user, password=password, where="ttyS0")
    assert refused.value.kind == "not_allowed" and box.audit[-1][3] == "wrong"


def test_a_box_with_users_makes_no_first_administrator(client: Client) -> None:
    with pytest.raises(CommandFailed, match="has its users already"):
        client.call("console first", user="eve", stored="x")


def test_users_are_listed_without_their_passwords(client: Client) -> None:
    rows = client.call("show users")
    assert [(row["user"], row["role"], row["password"]) for row in rows] == [("anna", "admin", True), ("bo", "viewer", True)]
    assert "$7$" not in str(rows)


def test_the_network_is_told(client: Client) -> None:
    loopback = next(row for row in client.call("show interfaces") if row["interface"] == "lo")
    assert "127.0.0.1/8" in loopback["address"] and loopback["state"] == "up"
    assert {row["what"] for row in client.call("show memory")} >= {"total", "available"}
    assert isinstance(client.call("show neighbours"), list) and isinstance(client.call("show routes"), list)
    found = client.call("lookup", name="127.0.0.1")      # no machine has to know a name: not even "localhost" is in every /etc/hosts
    assert {"name": "127.0.0.1", "address": "127.0.0.1", "kind": "IPv4"} in found
    answer = client.call("ping", host="127.0.0.1", count=1)[0]
    assert answer["answer"] == "answers" and 0 <= answer["round_trip_ms"] < 1000 and answer["how"] in ("icmp", "udp")


@pytest.mark.parametrize("name", ["-x", "a b", "x" * 300, "$(id)"])
def test_what_is_no_host_is_refused(client: Client, name: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        client.call("ping", host=name, count=1)
    assert refused.value.kind == "bad_arguments"


def test_a_host_that_is_silent_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr(host, "CLOSED_PORT", silent.getsockname()[1])       # somebody listens there and says nothing
        assert host._knock(socket.AF_INET, "127.0.0.1", 0.1) == host.Answer(None, "no answer", "udp")


@pytest.mark.hypothesis
@given(st.binary(max_size=200))
def test_whatever_the_kernel_says_of_neighbours_is_read_or_left(data: bytes) -> None:
    rows: list[host.Neighbour] = []
    host._neighbours_of(data, rows)
    assert len(rows) <= 20


def test_progress_of_a_set_up_survives(box: Box, client: Client) -> None:
    assert client.call("console progress") == ""
    client.call("console keep", text='{"done": ["language"]}')
    assert client.call("console progress") == '{"done": ["language"]}'
    assert (box.state / "setup.json").stat().st_mode & 0o077 == 0


# --- words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("conf t", "configure"), ("configure terminal", "configure"), ("config", "configure"), ("sh run", "show configuration"),
        ("show running-config ports", "show configuration ports"), ("wr", "commit"), ("write memory", "commit"),
        ("copy running-config startup-config", "commit"), ("no extensions.204", "delete extensions.204"), ("do show calls", "show calls"),
        ("diff", "show diff"), ("confirm", "confirm"), ("commit confirmed 60", "commit confirmed 60"), ("show calls", "show calls"),
        ("verify configuration", "verify configuration"), ("verify", "verify configuration"), ("verify audit", "verify audit"),
        ("notes", "notes"), ("docs", "docs"),
    ],
)  # fmt: skip
def test_habits_of_router_consoles_are_understood(line: str, means: str) -> None:
    assert meaning(line) == means


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ('set site.name "Branch | 1 ?"', ("site.name", '"Branch | 1 ?"')),
        ("set ports.fxo.1", ("ports.fxo.1", "")),
        ("set  a.b   [1, 2] ", ("a.b", "[1, 2]")),
        ('set holidays."New Year".open false', ('holidays."New Year".open', "false")),
        ("set", None),
        ("setup", None),
        ("show calls", None),
    ],
)
def test_the_rest_of_a_set_line_is_its_value(line: str, pair: tuple[str, str] | None) -> None:
    assert setting_line(line) == pair


@pytest.mark.hypothesis
@given(st.text(max_size=120))
def test_no_line_is_too_strange(text: str) -> None:
    meaning(text)
    setting_line("set " + text)
    path_before("set " + text)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("set ", ("set", "", False)), ("set si", ("set", "si", False)), ("set site.name ", ("set", "site.name", True)),
        ("set site.name x", ("set", "site.name", True)), ("del ext", ("delete", "ext", False)),
        ("show cand site.", ("show candidate", "site.", False)), ("set", None), ("show calls ", None),
    ],
)  # fmt: skip
def test_where_the_cursor_is_in_a_path(line: str, place: tuple[str, str, bool] | None) -> None:
    assert path_before(line) == place


def test_completion_goes_as_far_as_it_is_clear() -> None:
    rows = [{"word": word, "kind": kind, "help": "h", "help_zh": "帮"} for word, kind in (("name", "value"), ("nation", "table"))]
    assert offers_of(rows, "site.n", "en").insert == "a"
    assert offers_of(rows[:1], "site.n", "en").insert == "ame " and offers_of(rows[1:], "site.n", "zh").insert == "ation."
    assert offers_of(rows, "site.n", "zh").rows[0] == ("name", "帮")


def test_the_prompt_tells_mode_changes_and_trial() -> None:
    facts = {"config": True, "unsaved": True, "trial": True, "mighty": True}
    assert prompt("b", **facts) == "b(config*,trial)# "
    assert prompt("b", **{**facts, "config": False, "trial": False}) == "b*# "
    assert prompt("b", config=False, unsaved=False, trial=False, mighty=False) == "b> "


def test_a_wrong_value_is_told_with_everything() -> None:
    row = {"path": "a.b", "value": "7", "message": "is too large", "remedy": "allowed: 1 to 5", "allowed": "1 to 5", "message_zh": "太大"}
    text = "\n".join(problem_lines([row], "en"))
    assert all(part in text for part in ("a.b", "7", "is too large", "1 to 5"))
    assert "太大" in "\n".join(problem_lines([row], "zh"))


# --- processes ------------------------------------------------------------------------------------------------------------


def test_a_service_is_started_again_after_it_ended_and_stopped_when_it_is_not_wanted(tmp_path: Path) -> None:
    async def live() -> None:
        service = Service("test")
        mark = tmp_path / "starts"
        program = f"open({str(mark)!r}, 'a').write('x'); import time; time.sleep(600 if open({str(mark)!r}).read() == 'xx' else 0)"
        command = (sys.executable, "-c", program)
        until = asyncio.get_running_loop().time() + 20
        while not mark.exists() or mark.read_text() != "xx":
            await service.want(command, "here")
            await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() < until, service.state
        await service.want(command, "here")
        process = service.process
        assert process is not None and service.state == "running"
        await service.want((), "")
        assert process.returncode is not None and service.state == "off" and service.process is None

    asyncio.run(live())


def test_what_cannot_be_started_is_said_and_tried_again() -> None:
    async def live() -> None:
        service = Service("test")
        await service.want(("/does/not/exist",), "here")
        assert "cannot be started" in service.state and service.process is None
        await service.stop()

    asyncio.run(live())
