"""The screen of `sim run`: fits every terminal, shows what matters, writes only what changed; its staff makes room for people."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from firmware.sim.picture import Facts, default_codes, frame
from firmware.sim.screen import Painter, cells, crop, shell_lines, width
from firmware.sim.staff import Staff

COMMAND = ".venv/bin/branchpbx sim call --from 13800138000 --to-line 1 --press 1@menu,1@menu --say speech:20"


def facts(**more: Any) -> Facts:
    """A branch with one call, hostile names and long numbers."""
    phones = [
        {"extension": f"10{n}", "kind": "fxs", "name": "前台" if n == 1 else "Kitchen", "state": "idle", "where": f"jack {n}"}
        for n in (1, 2)
    ]
    phones += [{"extension": f"20{n}", "kind": "sip", "name": "Anna", "state": "unregistered", "where": ""} for n in (1, 2)]
    ports = [{"endpoint": f"line/{n}", "kind": "fxo", "number": f"0105555000{n}", "state": "TALKING" if n == 1 else "IDLE",
              "volts": 8.2 if n == 1 else 48.0, "milliamps": 44.2 if n == 1 else 0.0, "caller": "13800138000" if n == 1 else ""}
             for n in range(1, 5)]  # fmt: skip
    ports += [{"endpoint": "101", "kind": "fxs", "state": "IDLE", "volts": 48.0, "milliamps": 0.0}]
    tables: dict[str, list[dict[str, Any]]] = {
        "calls": [{"contact": "C1", "kind": "inbound", "phase": "queued", "caller": "\x1b[31mX" + "9" * 30, "called": "", "queue": "sales",
                   "agent": "", "seconds": 75, "legs": ["line/1=answered", "102=ringing"]}],
        "lines": ports, "phones": phones,
        "queues": [{"queue": "sales", "waiting": 1, "longest_s": 12, "ready": 0, "busy": 1, "paused": 0, "strategy": "longest-idle"}],
        "agents": [{"agent": "8001", "state": "logged-out", "extension": "", "reason": "", "seconds": 0, "calls": 0}],
        "accounts": [{"account": "201", "kind": "sip", "name": "Anna", "secret": "S" * 20, "server": "127.0.0.1:5060"},
                     {"account": "8001", "kind": "agent", "name": "Anna", "secret": "123456", "server": "dial"}],
        "contacts": [{"contact": "C0", "caller": "13900139000", "called": "", "queue": "sales", "agent": "8001", "rings": 2,
                      "wait_ms": 4000, "talk_ms": 65_000, "rating": 2, "cause": "normal", "ended_ms": 1}],
        "emergencies": [],
    }  # fmt: skip
    shown = Facts(
        endpoints={"bind": "127.0.0.1", "sip_port": 5060, "rtp_first": 10000, "rtp_last": 10126},
        status={"name": "演示分公司", "version": "0.1.0", "clock": "2026-11-23 01:25:14", "uptime_s": 3700, "alarms": []},
        tables=tables, codes=default_codes(), outside="9…", commands=[("let somebody call", COMMAND)], state="state", lan="192.168.1.20",
    )  # fmt: skip
    for name, value in more.items():
        setattr(shown, name, value)
    return shown


def text(lines: list[Any]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", [(1, 1), (20, 5), (40, 12), (80, 24), (100, 30), (116, 36), (120, 40), (200, 60)])
def test_every_page_fits_every_terminal(size: tuple[int, int], language: str) -> None:
    columns, rows = size
    for page in range(4):
        lines, _ = frame(facts(), language, columns, rows, page)
        assert len(lines) == rows
        assert max(width(crop(line, columns)) for line in lines) <= columns


def test_one_large_page_or_three_small_ones_hold_everything() -> None:
    wanted = (
        "127.0.0.1:5060",
        "--bind 192.168.1.20",
        "queued",
        "1:15",
        "48 V",
        "44 mA",
        "S" * 20,
        "PIN 123456",
        "*11",
        "9…",
        "talked 1:05",
    )
    large, pages = frame(facts(), "en", 120, 40)
    assert pages == 1
    small = [frame(facts(), "en", 80, 24, page) for page in range(3)]
    assert {pages for _, pages in small} == {3}
    for one in (text(large), "\n".join(text(lines) for lines, _ in small)):
        assert [word for word in wanted if word not in one] == []


def test_an_emergency_is_on_every_page_in_the_language_of_the_screen() -> None:
    shown = facts()
    notice = {
        "contact": "C9",
        "extension": "101",
        "number": "110",
        "seconds": 3,
        "en": "Extension 101 is calling 110.",
        "zh": "分机 101 正在呼叫 110",
    }
    shown.tables["emergencies"] = [notice]
    shown.status["alarms"] = [notice["en"], "disk is full"]
    for page in range(3):
        english, chinese = text(frame(shown, "en", 80, 24, page)[0]), text(frame(shown, "zh", 80, 24, page)[0])
        assert english.count("Extension 101 is calling 110.") == 1
        assert "分机 101 正在呼叫 110" in chinese
        assert "disk is full" in english


def test_a_wrapped_command_is_still_the_same_command() -> None:
    for size in range(24, 120):
        pieces = shell_lines(COMMAND, size)
        assert all(piece.endswith(" \\") for piece in pieces[:-1])
        assert shlex.split("".join(piece.removesuffix("\\") for piece in pieces)) == shlex.split(COMMAND)
        assert max(cells(piece) for piece in pieces) <= max(size, 26)


def test_the_painter_writes_nothing_when_nothing_changed_and_no_foreign_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "terminal"
    with path.open("wb") as out:
        painter = Painter(out.fileno())
        lines, _ = frame(facts(), "en", 80, 24)
        painter.paint(lines)
        size = path.stat().st_size
        painter.paint(lines)
        assert path.stat().st_size == size
        lines[0] = [("other", "")]
        painter.paint(lines)
        assert path.stat().st_size - size < 60
    assert b"\x1b[31mX" not in path.read_bytes()
    assert b"\n" not in path.read_bytes()
    assert path.stat().st_size < 20_000


class Desk:
    """Stands where the two clients stand."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(self, command: str, **args: Any) -> Any:
        self.asked.append((command, args))
        return {}


def branch(*logged_in: tuple[str, str], silent: tuple[str, ...] = ()) -> dict[str, list[dict[str, Any]]]:
    where = dict(logged_in)
    return {
        "phones": [{"extension": f"10{n}", "kind": "fxs", "where": f"jack {n}", "state": "idle"} for n in range(1, 5)]
        + [{"extension": "201", "kind": "sip", "where": "", "state": "unregistered" if "201" in silent else "idle"}],
        "agents": [{"agent": f"800{n}", "extension": where.get(f"800{n}", ""), "state": "ready" if f"800{n}" in where else "logged-out"}
                   for n in range(1, 5)],
    }  # fmt: skip


def test_staff_leaves_the_first_agent_free_and_makes_room_for_a_real_one() -> None:
    staff, product, world = Staff(), Desk(), Desk()
    staff.look(product, world, branch())  # type: ignore[arg-type]
    assert [args["phone"] for command, args in world.asked if command == "phone"] == [1, 2, 3, 4]
    posts = [("8002", "102"), ("8003", "103"), ("8004", "104")]
    assert [(args["agent"], args["extension"]) for command, args in product.asked] == posts
    product.asked.clear()
    staff.look(product, world, branch(*posts))  # type: ignore[arg-type]
    assert product.asked == []
    staff.look(product, world, branch(*posts, ("8001", "201"), silent=("201",)))  # type: ignore[arg-type]
    assert product.asked == []  # that telephone cannot ring
    staff.look(product, world, branch(*posts, ("8001", "201")))  # type: ignore[arg-type]
    assert product.asked == [("agent logout", {"agent": agent}) for agent, _ in posts]
    product.asked.clear()
    staff.look(product, world, branch(("8001", "201")))  # type: ignore[arg-type]
    assert product.asked == []
    staff.look(product, world, branch())  # type: ignore[arg-type]
    assert len(product.asked) == 3


def test_staff_never_logs_out_somebody_else_with_its_number() -> None:
    staff, product, world = Staff(), Desk(), Desk()
    staff.look(product, world, branch())  # type: ignore[arg-type]
    product.asked.clear()
    staff.dismiss(product, world, branch(("8002", "102"), ("8003", "201")))  # type: ignore[arg-type]
    assert product.asked == [("agent logout", {"agent": "8002"})]
