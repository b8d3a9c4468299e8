"""The live board as lines of a terminal, 78 columns wide (L1, pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firmware.reports.columns import COLUMNS, pad, table, width
from firmware.reports.page import percent, span
from firmware.reports.texts import TEXTS, text

ORDER = ("talking", "offered", "wrap-up", "ready", "paused")


def board_page(board: Any, now: str, language: str) -> list[str]:
    """`board` as `control/report_commands.py` has it; `now`: local time of day."""

    def say(name: str, **values: object) -> str:
        return text(name, language, **values)

    title = say("board.title", site=board.name)
    lines = [pad(title, COLUMNS - width(now)) + now, "=" * COLUMNS]
    lines += [f"!! {say('board.emergency')}: {one}" for one in board.emergencies]
    step = say("board.step", step=board.step) if board.step else say("board.step.none")
    facts = (("col.waiting", board.waiting), ("col.longest", span(board.longest_s)), ("board.calls", board.calls))
    lines += ["   ".join([*(f"{say(name)} {value}" for name, value in facts), step]), ""]
    names = ("waiting", "longest", "ready", "busy", "paused", "offered", "answered", "abandoned", "sl", "asa")
    titles = [say("col.queue"), *(say(f"short.{name}") for name in names)]
    rows = [
        [one.queue, str(one.waiting), span(one.longest_s), str(one.ready), str(one.busy), str(one.paused), str(one.offered),
         str(one.answered), str(one.abandoned), _level(one.level, board.target), span(one.asa_s)]
        for one in board.queues
    ]  # fmt: skip
    lines += [*table(titles, rows), "", *_agents(board.agents, language)]
    return lines


def _level(level: float | None, target: float) -> str:
    """A level below the target is marked."""
    return percent(level) + ("!" if level is not None and level < target else " ")


def _agents(agents: Sequence[Any], language: str) -> list[str]:
    if not agents:
        return [text("board.nobody", language)]
    rank = {state: at for at, state in enumerate(ORDER)}
    rows = []
    for one in sorted(agents, key=lambda agent: (rank.get(agent.state, 9), -agent.seconds)):
        name = f"state.{one.state}"
        state = text(name, language) if name in TEXTS else one.state
        rows.append([one.agent, one.extension, state, one.reason or one.queue, span(one.seconds), str(one.answered)])
    titles = [text(f"col.{name}", language) for name in ("agent", "endpoint", "state", "detail", "since", "answered")]
    return table(titles, rows, left=4)
