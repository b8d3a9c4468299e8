"""What management asks and tells core about questions of the call graph to services (see `control/commands.py`)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from firmware.call.lookup_actions import MOST_FIELDS
from firmware.control.commands import Command, command


class Question(Struct, frozen=True):
    """A question that waits. `ask`: what the node says of the caller."""

    number: int
    node: str
    ask: dict[str, str]


class Noted(Struct, frozen=True):
    """`known`: somebody still waited for it."""

    known: bool


@command(path="lookup questions", role="admin", result=list[Question], zh="取出待查询的问题", mutates=False)
class LookupQuestions(Command, frozen=True):
    """Take the questions to services that wait; each is given out once."""


@command(path="lookup answer", role="admin", result=Noted, zh="回答一个查询")
class LookupAnswer(Command, frozen=True):
    """Answer a question that a caller waits for."""

    number: Annotated[int, Meta(description="Number of the question")]
    why: Annotated[str, Meta(description="Why there is no answer; empty: there is one", max_length=200)] = ""
    values: Annotated[dict[str, str], Meta(description="Members of the answer", max_length=MOST_FIELDS)] = {}

    def audited(self) -> dict[str, Any] | None:
        """Without what was said of the caller."""
        return {"number": self.number, "why": self.why}
