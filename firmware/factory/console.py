"""Operators: a person at a terminal, and answers given beforehand (L5)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TextIO

from firmware.factory.texts import TEXTS, text

YES = {"y", "yes", "j", "是", "对"}
NO = {"n", "no", "否", "不"}


class Console:
    """A person; English or Chinese. At the end of the input the answer is no."""

    def __init__(self, language: str = "en", out: TextIO | None = None, source: Callable[[], str] | None = None) -> None:
        self._language = language
        self._out = out if out is not None else sys.stdout
        self._source = source if source is not None else sys.stdin.readline

    def tell(self, key: str, /, **values: object) -> None:
        """Say something."""
        self._out.write(text(self._language, key, **values) + "\n")
        self._out.flush()

    def confirm(self, key: str, /, **values: object) -> bool:
        """Ask until it is answered."""
        while True:
            self._out.write(text(self._language, key, **values))
            self._out.flush()
            answer = self._source()
            if not answer:
                return False
            if answer.strip().lower() in YES:
                return True
            if answer.strip().lower() in NO:
                return False
            self.tell("answer")


class Scripted:
    """Answers by question; what is not listed is answered with `otherwise`. Everything said is kept."""

    def __init__(self, answers: Mapping[str, bool] | None = None, *, otherwise: bool = True) -> None:
        self._answers = dict(answers or {})
        self._otherwise = otherwise
        self.said: list[str] = []

    def tell(self, key: str, /, **values: object) -> None:
        """Keep what was said."""
        self.said.append(text("en", key, **values) if key in TEXTS else key)

    def confirm(self, key: str, /, **values: object) -> bool:
        """`led-on status` before `led-on` before the rest."""
        self.said.append(text("en", key, **values))
        special = " ".join([key, *(str(value) for value in values.values())])
        return self._answers.get(special, self._answers.get(key, self._otherwise))
