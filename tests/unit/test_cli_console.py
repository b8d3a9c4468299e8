"""The console: abbreviations, arguments, help, tables, both languages; the command line's friendly errors."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import os
import pkgutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import firmware.control
from firmware.call.model import LegDigit, LegKind, LegOffered, Party
from firmware.config.schema.tree import Config
from firmware.control import builtin, commands
from firmware.control.gate import Gate
from firmware.control.server import Server
from firmware.control.stream import EventStream
from firmware.reports.columns import width
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.surfaces.cli.shell import Shell, paginate
from firmware.surfaces.cli.table import render, title
from firmware.surfaces.cli.words import LOCAL, PROGRAMS, Argument, NotUnderstood, Word, complete, parse

ROOT = Path(__file__).parents[2]
WORDS = [
    *LOCAL,
    Word("show calls", "viewer", "Calls", "呼叫", False, [Argument("match", "str", False)]),
    Word("show queues", "viewer", "Queues", "队列", False),
    Word("show log", "viewer", "Log", "日志", False, [Argument("lines", "int", False), Argument("process", "str", False)]),
    Word(
        "agent pause",
        "supervisor",
        "Pause an agent",
        "暂停",
        True,
        [Argument("agent", "str", True), Argument("reason", "choice", False, values=["lunch", "break"])],
    ),
    Word("agent ready", "supervisor", "Agent ready", "就绪", True, [Argument("agent", "str", True)]),
]


@pytest.mark.parametrize(
    ("line", "path", "args"),
    [
        ("show calls", "show calls", {}),
        ("sh c", "show calls", {}),
        ("sh log 5 core", "show log", {"lines": 5, "process": "core"}),
        ("sh log process=core", "show log", {"process": "core"}),
        ("a p 8001 lu", "agent pause", {"agent": "8001", "reason": "lunch"}),
        ("a r '80 01'", "agent ready", {"agent": "80 01"}),
    ],
)
def test_words_are_understood(line: str, path: str, args: dict[str, object]) -> None:
    parsed = parse(line, WORDS)
    assert (parsed.path, parsed.args) == (path, args)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show", "next: calls, log, queues"),
        ("foo", "possible here"),
        ("a", "next: pause, ready"),
        ("a p", "agent is missing"),
        ("a p 8001 tea", "lunch, break"),
        ("show log x", "is a number"),
        ("show calls a b", "one argument too many"),
        ("show calls | grep x", "match PATTERN"),
        ("show log lines=1 lines=2", "twice"),
        ("show calls 'x", "quotation"),
    ],
)
def test_what_is_wrong_is_said(line: str, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        parse(line, WORDS)


def test_watch_and_match() -> None:
    parsed = parse("watch sh calls | match 'abc d'", WORDS)
    assert parsed.watch and parsed.match == "abc d"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", sorted({word.path.split()[0] for word in WORDS})),
        ("sh", ["show"]),
        ("show ", ["calls", "log", "queues"]),
        ("agent pause 8001 ", ["lunch", "break"]),
        ("agent pause ", ["<agent>"]),
        ("lang ", ["en", "zh"]),
    ],
)
def test_completion_offers_what_may_follow(line: str, offered: list[str]) -> None:
    assert [name for name, _, _ in complete(line, WORDS)] == offered


def test_help_of_a_word_that_begins_several_commands_names_them_all() -> None:
    words = [Word("show calls", "viewer", "Calls.", "通话", False), Word("show log", "viewer", "Logs.", "日志", False),
             Word("hang-up", "supervisor", "End a call.", "挂断", True)]  # fmt: skip
    assert complete("", words) == [("hang-up", "End a call.", "挂断"), ("show", "calls, log", "calls, log")]
    assert complete("show c", words) == [("calls", "Calls.", "通话")]


def test_pages_count_the_rows_that_a_terminal_folds_long_lines_into() -> None:
    pages = paginate(["x" * 100, "y", "席" * 60, "z"], 80, 3)
    assert [[line[0] for line in page] for page in pages] == [["x", "y"], ["席", "z"]]
    assert paginate([], 80, 3) == [[]]


def test_instants_are_shown_as_utc_and_durations_in_seconds() -> None:
    lines = render([{"opened_ms": 1_700_000_000_000, "ended_ms": 0, "wait_ms": 4040, "rings": 2}])
    assert lines[0].split() == ["opened", "wait", "rings"]
    assert lines[2].split() == ["2023-11-14", "22:13:20Z", "4.0", "s", "2"]


def test_table_aligns_wide_characters_and_hides_empty_columns() -> None:
    lines = render([{"name": "张三", "state": "ready", "calls": 3, "note": ""}, {"name": "Bo", "state": "paused", "calls": 12, "note": ""}])
    assert lines[0].split() == ["name", "state", "calls"]
    assert len({width(line) for line in lines}) == 1
    assert render([{"name": "x"}], "zh")[0] == "名称"
    assert render([], "zh") == ["没有内容"] and render({"adopted": True}, "zh")[0].endswith("是")


def test_control_characters_from_outside_never_reach_the_terminal() -> None:
    assert "\x1b" not in "".join(render([{"name": "\x1b[2Jhi\nthere"}]))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder with a gate that answers the built-in commands, on a thread of its own."""
    (tmp_path / "run").mkdir()
    (tmp_path / "log").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "run/control.sock"))
    listener.listen()
    ready, done = threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        bus, clock = Bus(), ManualClock()
        gate, stream = Gate(bus, clock), EventStream(bus, clock, 1)
        facts = builtin.Facts(Config(), "0" * 64, tmp_path, clock, Alarms(bus, clock), 1, "abcd", 0, next_event=lambda: stream.next)
        builtin.attach(gate, facts)
        bus.publish(LegOffered("L1", 0, LegKind.SIP, "201", Party("201"), "9123"))
        bus.publish(LegDigit("L2", 5, "7"))
        bus.publish(LegDigit("L1", 7, "8"))
        server = Server(gate, stream, listener)
        await server.start()
        stop = asyncio.Event()
        loops.append(asyncio.get_running_loop())
        stops.append(stop)
        ready.set()
        await stop.wait()
        await server.stop()

    stops: list[asyncio.Event] = []
    thread = threading.Thread(target=lambda: (asyncio.run(serve()), done.set()))
    thread.start()
    assert ready.wait(10)
    yield tmp_path
    loops[0].call_soon_threadsafe(stops[0].set)
    thread.join(10)
    listener.close()


def ask(state: Path, *lines: str, language: str = "en") -> tuple[int, str]:
    out = io.StringIO()
    shell = Shell(state, out=out, terminal=False, language=language)
    return shell.run(io.StringIO("\n".join(lines) + "\n")), out.getvalue()


def test_console_answers_from_the_registry(state: Path) -> None:
    status, text = ask(state, "sh version", "# a comment", "show endp | match SIP")
    assert status == 0 and "BranchPBX" in text and "SIP UDP and TCP" in text and "RTP" not in text


def test_help_lists_words_in_both_languages(state: Path) -> None:
    assert "显示版本" in ask(state, "show ?", language="zh")[1]
    assert "显示版本" in ask(state, "language zh", "show ?")[1]
    assert "Product version" in ask(state, "show ?")[1]


def test_words_of_programs_are_none_of_people(state: Path) -> None:
    import firmware.app.manage
    import firmware.control.line_commands
    import firmware.control.trace_commands  # noqa: F401 - they register what is served

    assert not PROGRAMS - {one.path for one in commands.registered().values()}, "each of them exists"
    listed = {word.path for word in Shell(state, out=io.StringIO())._known()}
    assert "show alarms" in listed and not listed & PROGRAMS


def test_every_field_that_people_see_has_a_chinese_title() -> None:
    importlib.import_module("firmware.app.manage")      # registers what management serves
    for module in pkgutil.iter_modules(firmware.control.__path__):
        if module.name.endswith("commands"):
            importlib.import_module(f"firmware.control.{module.name}")
    programs = ("console ", "transfer ")
    ours = [one for one in commands.registered().values() if one.__module__.startswith("firmware.")]     # tests register some, too
    people = [one for one in ours if not one.path.startswith(programs) and one.path not in PROGRAMS]
    fields, todo, seen = set(), [msgspec.inspect.type_info(one.Result) for one in people], set()
    while todo:
        kind: Any = todo.pop()
        if isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
            seen.add(kind.cls)
            fields |= {field.encode_name for field in kind.fields}
            todo += [field.type for field in kind.fields]
        todo += [getattr(kind, name) for name in ("type", "value_type", "item_type") if hasattr(kind, name)]
        todo += getattr(kind, "types", ())
    shown = {name.removesuffix("_en") for name in fields if not name.endswith(("_zh", "_json"))}
    missing = sorted(name for name in shown if title(name, "zh") == name.removesuffix("_ms").replace("_", " "))
    assert len(shown) > 300 and not missing, f"firmware/surfaces/cli/titles_zh.toml lacks {missing}"


def test_lines_of_one_command_line_are_done_in_turn_until_one_fails(state: Path) -> None:
    both = branchpbx("cli", "-c", "show version", "-c", "show alarms", state=state)
    assert both.returncode == 0 and "BranchPBX" in both.stdout and "nothing to show" in both.stdout
    failed = branchpbx("cli", "-c", "nonsense", "-c", "show version", state=state)
    assert failed.returncode == 1 and "BranchPBX" not in failed.stdout


def test_trace_shows_the_events_of_one_leg_only(state: Path) -> None:
    status, text = ask(state, "trace L1")
    assert status == 0 and "LegOffered" in text and "LegDigit" in text and "L2" not in text


def test_error_ends_a_script_with_status_1(state: Path) -> None:
    status, text = ask(state, "show nonsense", "show version")
    assert status == 1 and text.startswith("error:") and "BranchPBX" not in text


def branchpbx(*arguments: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BRANCHPBX_STATE": str(state or "/nonexistent")}
    return subprocess.run(
        [sys.executable, "-m", "firmware", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_ctl_prints_json_and_tells_failure_by_status(state: Path) -> None:
    good = branchpbx("ctl", '{"id": 7, "command": "show version"}', state=state)
    assert good.returncode == 0 and json.loads(good.stdout)["id"] == 7
    bad = branchpbx("ctl", "show nothing", state=state)
    assert bad.returncode == 1 and json.loads(bad.stdout)["error"]["kind"] == "unknown_command"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("ctl", "show status"), 1, "--state"),
        (("ctl", "{nonsense"), 2, "not JSON"),
        (("ctl", "{}"), 2, "names no command"),
        (("check", "/no/such/file"), 2, "cannot be read"),
        (("check",), 2, "name the FILE"),
        (("run", "--config", "/no/such/file"), 2, "nothing was started"),
        (("nonsense",), 2, "invalid choice"),
        ((), 2, "usage"),
    ],
)
def test_mistakes_end_with_one_readable_message(arguments: tuple[str, ...], status: int, said: str) -> None:
    result = branchpbx(*arguments)
    assert result.returncode == status and said in result.stdout + result.stderr and "Traceback" not in result.stderr


def test_check_names_every_mistake_in_json_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[sip]\nport = "x"\n[site]\ncountry = "XX"\n')
    result = branchpbx("check", str(tmp_path / "site.toml"), "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 2 and not report["ok"]
    assert {error["path"] for error in report["errors"]} == {"sip.port", "site.country"}
    assert all(error["remedy"] for error in report["errors"])


def test_run_refuses_a_wrong_file_with_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[sip]\nport = "x"\n[site]\ncountry = "XX"\n')
    result = branchpbx("run", "--config", str(tmp_path / "site.toml"), "--state", str(tmp_path / "state"))
    assert result.returncode == 2 and "sip.port" in result.stderr and "site.country" in result.stderr
    assert not (tmp_path / "state").exists()


def test_version_command_and_registry_agree() -> None:
    assert branchpbx("version").stdout.split()[1] == builtin.version().version
    assert set(commands.registered()) >= {"show version", "show status", "show accounts", "show commands"}


WIDE_ROW = {
    "endpoint": "line/1", "kind": "fxo", "number": "01055550001", "state": "on-hook", "caller": "一二三四五六七八九十", "volts": 48.2,
    "detail": "battery reversed since the last call, and some more words that say what it means",
}  # fmt: skip


@pytest.mark.parametrize("columns", [40, 60, 79, 100])
def test_tables_fit_the_terminal_and_lose_nothing(columns: int) -> None:
    lines = render([WIDE_ROW, {**WIDE_ROW, "endpoint": "line/2"}], "en", columns)
    assert all(width(line) <= columns for line in lines), lines
    together = "".join("".join(lines).split())
    assert all(word in together for word in ("line/2", "fxo", "48.2", "on-hook")), lines
    if columns < 60:
        assert "battery reversed" in " ".join(line.strip() for line in lines), "too narrow for a table: one entry after another"


def test_a_table_for_programs_is_not_folded() -> None:
    assert len(render([WIDE_ROW], "en")) == 3
