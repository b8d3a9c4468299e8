"""What is wrong with a configuration: every problem at once, each with file, path, value and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from firmware.errors import ConfigError


class Problem(Struct, frozen=True):
    """One wrong entry. `value` is its text as written, "" where there is none; a secret is shown as "(hidden)"."""

    file: str
    path: str
    value: str
    message: str
    remedy: str

    def text(self) -> str:
        """One line for people."""
        value = f" = {self.value}" if self.value else ""
        return f"{self.file}: {self.path}{value}: {self.message}; {self.remedy}"


class ConfigErrors(ConfigError):
    """A configuration was refused; `problems` holds every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(problem.text() for problem in problems))
        self.problems = problems


class Findings:
    """Collects the problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def add(self, path: str, value: Any, message: str, remedy: str) -> None:
        """Note one problem; `value` None means that there is no value."""
        self.problems.append(Problem(self.file, path, "" if value is None else shown(value), message, remedy))


def shown(value: Any) -> str:
    """A value as the operator wrote it, shortened."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = '"' + value + '"'
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def suggest(word: str, known: Iterable[str]) -> str:
    """Remedy for a name that does not exist: the nearest one, else the list."""
    names = sorted(set(known))
    if not names:
        return "none is defined"
    from difflib import get_close_matches  # only a mistake needs it

    near = get_close_matches(word, names, n=1, cutoff=0.6)
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"did you mean {near[0]}? allowed: {listed}" if near else f"allowed: {listed}"
