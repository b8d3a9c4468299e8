"""The wizard's own steps at the laptop: the first administrator, and what a refusal of the box or of the line leads to."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.control import passwords
from firmware.control.client import CommandFailed
from tools.provision.texts import ProvisionError, told
from tools.provision.wizard import Laptop, administrator, asking


class Keyboard(Laptop):
    """Answers from a list."""

    def __init__(self, *typed: str) -> None:
        super().__init__(lambda: None, "en")
        self._lines = list(typed)
        self.shown: list[str] = []

    def line(self, prompt: str, advise: Any = None, *, secret: bool = False, typed: str = "") -> str | None:
        return self._lines.pop(0)

    def say(self, lines: Any) -> None:
        self.shown += lines


class Tool:
    """A session that keeps what it was asked."""

    def __init__(self, error: ProvisionError | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.who = ("", "")
        self._error = error

    def call(self, command: str, **args: Any) -> str:
        self.asked.append((command, args))
        if self._error is not None:
            raise self._error
        return "done"

    def become(self, user: str, password: str) -> None:
        self.who = (user, password)


def first(*typed: str) -> tuple[Tool, Keyboard]:
    tool, screen = Tool(), Keyboard(*typed)
    administrator(tool, screen, None, "en")  # type: ignore[arg-type]
    return tool, screen


def test_the_first_administrator_is_asked_until_the_password_is_one() -> None:
    tool, screen = first("", "short", "short", "tea at four", "tea at five", "tea at four", "tea at four")
    ((command, args),) = tool.asked
    assert (command, args["user"], tool.who) == ("console first", "admin", ("admin", "tea at four"))
    assert passwords.verify("tea at four", args["stored"]) and "tea at four" not in str(tool.asked)
    assert "at least" in screen.shown[0] or "8 to" in screen.shown[0]
    assert "not the same" in screen.shown[1]


def test_a_dash_leaves_the_box_open() -> None:
    tool, _ = first("-")
    assert (tool.asked, tool.who) == ([], ("", ""))


def test_what_the_box_refuses_is_for_the_person_and_what_the_line_does_ends_the_run() -> None:
    refused = ProvisionError("site.name: too long", "refused", [{"path": "site.name"}])
    refused.by_box = True
    with pytest.raises(CommandFailed) as found:
        asking(Tool(refused), keep=True)("set", {})  # type: ignore[arg-type]
    assert found.value.problems == [{"path": "site.name"}]
    with pytest.raises(ProvisionError, match="no box answers"):
        asking(Tool(told("silent", seconds="5")), keep=True)("set", {})  # type: ignore[arg-type]


def test_a_dry_run_leaves_the_progress_of_a_set_up_alone() -> None:
    tool = Tool()
    ask = asking(tool, keep=False)  # type: ignore[arg-type]
    assert (ask("console progress", {}), ask("console keep", {"text": "x"}), ask("show diff", {})) == ("", "", "done")
    assert [command for command, _ in tool.asked] == ["show diff"]
