"""Tables of other products as manage reads them: the plan is made by `config/importing.py`, the result goes into the candidate.

The table is laid over what runs, so the candidate must hold nothing else: otherwise somebody's half-made changes would go with it. What
was taken stays in the candidate until somebody commits it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable
from typing import Any

from firmware.app.site import Zones
from firmware.config.board import Board
from firmware.config.importing import plan, table
from firmware.config.model import check
from firmware.config.problems import Problem
from firmware.config.render import toml_of
from firmware.config.schema.tree import Config
from firmware.control.configuration_commands import ConfigurationLoad, ExportConfiguration, ShowDiff
from firmware.control.gate import Gate, Peer, Reply, asker
from firmware.control.import_commands import ExportExtensions, ImportExtensions, ImportResult, ImportRow
from firmware.errors import CommandError
from firmware.prompts import load_catalogue

FATES = {"added": "新增", "changed": "修改", "same": "未变", "refused": "拒绝"}


class ImportPart:
    """See above. `perform` gives a command in somebody's name; `config` is what runs."""

    def __init__(self, perform: Callable[[Peer, str, Any], Awaitable[Reply]], config: Callable[[], Config], board: Board) -> None:
        self._perform = perform
        self._config = config
        self._board = board

    def attach(self, gate: Gate) -> None:
        """Answer the two commands."""
        gate.handle(ImportExtensions, self._import)
        gate.handle(ExportExtensions, lambda command: table(self._config(), secrets=command.secrets))

    async def _import(self, command: ImportExtensions) -> ImportResult:
        if await self._ask(ShowDiff.path, {}) and not command.dry_run:
            raise CommandError("the candidate holds other changes; commit or discard them first (`show diff`)")
        running: str = await self._ask(ExportConfiguration.path, {"secrets": True})
        outcome = plan(tomllib.loads(running), command.text, self._check)
        if outcome.problem and not outcome.rows:
            raise CommandError(f"the table {outcome.problem} / {outcome.problem_zh}")
        taken = outcome.count("added") + outcome.count("changed")
        if outcome.problem:
            says, says_zh = f"nothing was taken: the table {outcome.problem}", f"未导入任何内容：{outcome.problem_zh}"
        elif command.dry_run:
            says, says_zh = "dry run: nothing was changed", "仅预演，未作修改"
        elif not taken:
            says, says_zh = "nothing differs from what runs", "与现行配置相同"
        else:
            await self._ask(ConfigurationLoad.path, {"text": toml_of(outcome.tree)})
            says, says_zh = "in the candidate now: look at `show diff`, then `commit`", "已写入候选配置：查看 show diff 后执行 commit"
        rows = [
            ImportRow(row.line, row.extension, row.name, row.fate, FATES[row.fate], row.why, row.why_zh, " ".join(row.changes))
            for row in outcome.rows
        ]
        added, changed, same, refused = (outcome.count(fate) for fate in FATES)
        return ImportResult(rows, added, changed, same, refused, " ".join(outcome.ignored), says, says_zh)

    def _check(self, tree: dict[str, Any]) -> list[Problem]:
        return check(toml_of(tree).encode(), file="import", board=self._board, zones=Zones(), prompts=load_catalogue().ids)[1]

    async def _ask(self, path: str, args: dict[str, Any]) -> Any:
        reply = await self._perform(asker(), path, args)
        if not reply["ok"]:
            raise CommandError(f"{path}: {reply['error']['message']}")
        return reply["result"]
