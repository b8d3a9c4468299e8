"""Answers to the commands of `control/recording_commands.py` (L5): `attach(gate, ...)` wires them.

Theory of operation. Everything that reads the disk runs beside the event loop; every list, part, export and erasure is written to the
access log with who asked (`control/gate.asking`). A part of a recording is `PIECES` pieces, so that no reply is longer than a frame of the
control socket; `at` is the place in the file, so that nothing is remembered between parts. Whole recordings are logged once, at their
first part.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec

from firmware.call.policy import in_force
from firmware.config.schema.tree import Config
from firmware.control import recording_commands as cmd
from firmware.control.gate import asking
from firmware.core.recordings import Recordings
from firmware.errors import PbxError
from firmware.runtime.clock import Clock
from firmware.store.recordings import Found
from firmware.store.vault import RATE

PIECES = 20
MOST_ERASED = 100_000
MOST_DRAWN_FROM = 5000
DAY_MS = 86_400_000


class Gate(Protocol):
    """The part of `control/gate.py` used here."""

    def handle(self, command: Any, fn: Any) -> None: ...


def attach(gate: Gate, recordings: Recordings, clock: Clock, zone: ZoneInfo) -> None:
    """Let the gate answer every command of `recording_commands`."""
    answers = RecordingQueries(recordings, clock, zone)
    gate.handle(cmd.RecordingsList, answers.find)
    gate.handle(cmd.RecordingsDraw, answers.draw)
    gate.handle(cmd.RecordingsListen, lambda command: answers.part(command, "listen"))
    gate.handle(cmd.RecordingsExport, lambda command: answers.part(command, "export"))
    gate.handle(cmd.RecordingsVerify, lambda _: answers.verify())
    gate.handle(cmd.RecordingsErase, answers.erase)
    gate.handle(cmd.RecordingsDisk, lambda _: answers.disk())
    gate.handle(cmd.RecordingsAccess, answers.access)
    gate.handle(cmd.RecordingsOutbox, answers.outbox)
    gate.handle(cmd.RecordingsChain, lambda command: _beside(lambda: answers.chain(command)))
    gate.handle(cmd.RecordingsSent, answers.sent)


def _link(row: Any) -> cmd.ChainLink:
    return cmd.ChainLink(row["seq"], row["at_ms"], row["what"], row["path"], row["digest"], row["why"], row["hash"])


async def _beside(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)


class RecordingQueries:
    """One method per command."""

    def __init__(self, recordings: Recordings, clock: Clock, zone: ZoneInfo) -> None:
        self._recordings = recordings
        self._store = recordings.store
        self._clock = clock
        self._zone = zone

    async def find(self, command: cmd.RecordingsList) -> list[cmd.RecordingRow]:
        """Find."""
        since = self._midnight(command.since) if command.since else 0
        until = self._midnight(command.until, days=1) if command.until else 0
        wanted = Found(command.agent, command.number, command.queue, command.rating, since, until, command.lines)
        who, wall = asking(), self._clock.wall_ms()

        def work() -> list[cmd.RecordingRow]:
            rows = [self._row(row) for row in self._store.find(wanted)]
            asked = " ".join(f"{name}={value}" for name, value in (("agent", command.agent), ("queue", command.queue)) if value)
            self._store.seen(who, "list", "", wall, f"{len(rows)} found {asked}".strip())
            return rows

        return list(await _beside(work))

    async def draw(self, command: cmd.RecordingsDraw) -> list[cmd.DrawnRow]:
        """A sample for review (QM-01): fair by chance, with the worst rated call among it."""
        who, wall = asking(), self._clock.wall_ms()
        since = wall - command.days * DAY_MS

        def work() -> list[cmd.DrawnRow]:
            found = []
            for agent in [command.agent] if command.agent else self._store.agents(since):
                rows = self._store.find(Found(agent=agent, since_ms=since, lines=MOST_DRAWN_FROM))
                worst = max((row for row in rows if (row["rating"] or 0) > 1), key=lambda row: int(row["rating"]), default=None)
                rest = [row for row in rows if row is not worst]
                left = command.count - (worst is not None)
                drawn = sorted(random.SystemRandom().sample(rest, min(left, len(rest))), key=lambda row: -int(row["started_ms"]))
                found += [self._drawn(worst, agent, "rating")] if worst is not None else []
                found += [self._drawn(row, agent, "chance") for row in drawn]
            self._store.seen(who, "draw", "", wall, f"{len(found)} drawn" + (f" agent={command.agent}" if command.agent else ""))
            return found

        return list(await _beside(work))

    def part(self, command: cmd.RecordingsListen | cmd.RecordingsExport, what: str) -> Awaitable[cmd.RecordingPart]:
        """Some seconds of one recording."""
        who, wall = asking(), self._clock.wall_ms()

        def work() -> cmd.RecordingPart:
            row = self._store.one(command.recording)
            if row is None or row["state"] == "open":
                raise PbxError(f"there is no recording {command.recording!r}; `recordings list` names them")
            if command.at == 0:
                self._store.seen(who, what, command.recording, wall)
            samples, following = self._recordings.sealed(command.recording).part(command.at, PIECES)
            label = f"{what} by {who} {self._local(wall)}, contact {row['contact']}"
            return cmd.RecordingPart(base64.b64encode(samples).decode("ascii"), following, label)

        return _beside(work)

    async def verify(self) -> cmd.RecordingCheck:
        """Compare with the chain."""
        found = await _beside(self._recordings.verify)
        return cmd.RecordingCheck(found.checked, not found.wrong, found.wrong)

    async def erase(self, command: cmd.RecordingsErase) -> cmd.RecordingsGone:
        """Erase by number."""
        who, wall = asking(), self._clock.wall_ms()

        def work() -> int:
            self._store.flush()
            paths = [str(row["path"]) for row in self._store.find(Found(number=command.number, lines=MOST_ERASED))]
            gone = self._recordings.erase(paths, wall)
            self._store.seen(who, "erase", "", wall, f"{gone} of {len(paths)} erased by number")
            self._store.flush()
            if gone < len(paths):
                raise PbxError(f"{len(paths) - gone} of {len(paths)} recordings could not be erased; the log says why")
            return gone

        return cmd.RecordingsGone(await _beside(work))

    async def disk(self) -> cmd.RecordingCheck:
        """Accept another disk."""
        wall = self._clock.wall_ms()
        await _beside(lambda: self._recordings.accept_disk(wall))
        return await self.verify()

    def access(self, command: cmd.RecordingsAccess) -> list[cmd.AccessRow]:
        """The access log."""
        return [
            cmd.AccessRow(self._local(row["at_ms"]), row["who"], row["what"], row["path"], row["detail"])
            for row in self._store.heard(command.lines)
        ]

    def outbox(self, command: cmd.RecordingsOutbox) -> Awaitable[cmd.RecordingsWaiting]:
        """What the centre lacks."""
        wall = self._clock.wall_ms()

        def work() -> cmd.RecordingsWaiting:
            waiting, size, rows = self._store.outbox(command.queues, command.lines, command.most, wall)
            found = []
            for row in rows:
                link = self._store.sealed_link(row["path"])
                if link is not None:
                    found.append(cmd.WaitingRow(
                        row["path"], row["contact"], row["state"], row["started_ms"], row["frames"], row["lost"], row["bytes"],
                        row["class"], row["keep_until_ms"], row["masked"], row["kind"] or "", row["caller"] or "", row["called"] or "",
                        row["queue"] or "", row["agents"] or "", row["rating"] or 0, row["line"] or "", row["extension"] or "",
                        _link(link),
                    ))  # fmt: skip
            there = bool(self._store.known([command.recording] if command.recording else []))
            return cmd.RecordingsWaiting(waiting, size, there, found)

        return _beside(work)

    def chain(self, command: cmd.RecordingsChain) -> cmd.ChainLinks:
        """Links of the chain."""
        last, before, rows = self._store.links(command.after, command.most)
        return cmd.ChainLinks(last, before, [_link(row) for row in rows])

    async def sent(self, command: cmd.RecordingsSent) -> cmd.RecordingNoted:
        """The centre has it: on the disk before it is answered."""
        wall = self._clock.wall_ms()

        def work() -> bool:
            self._store.sent(command.recording, command.who, wall, command.where)
            if not self._store.flush():
                raise PbxError("what was sent cannot be noted now; the disk does not answer")
            row = self._store.one(command.recording)
            return row is not None and row["sent_ms"] > 0

        return cmd.RecordingNoted(await _beside(work))

    def _drawn(self, row: Any, agent: str, why: str) -> cmd.DrawnRow:
        return cmd.DrawnRow(**msgspec.structs.asdict(self._row(row)), drawn_for=agent, drawn_by=why)

    def _row(self, row: Any) -> cmd.RecordingRow:
        return cmd.RecordingRow(
            row["path"], row["contact"], self._local(row["started_ms"]), row["frames"] // RATE, row["kind"] or "", row["caller"] or "",
            row["called"] or "", row["queue"] or "", row["agents"] or "", row["rating"] or 0, row["state"], row["masked"],
            self._local(row["keep_until_ms"])[:10],
        )  # fmt: skip

    def _local(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def _midnight(self, day: str, days: int = 0) -> int:
        try:
            moment = datetime.fromisoformat(day).replace(tzinfo=self._zone) + timedelta(days=days)
        except ValueError:
            raise PbxError(f"{day} is no day of the calendar") from None
        return int(moment.timestamp() * 1000)


def attach_policy(gate: Gate, config: Callable[[], Config]) -> None:
    """`show policy`."""

    def answer(command: cmd.ShowPolicy) -> list[cmd.PolicyRow]:
        return [
            cmd.PolicyRow(
                one.policy.id, one.policy.state if one.on else "off", one.policy.default, [f"{name}={value}" for name, value in one.values],
                one.policy.evidence, one.policy.report, one.policy.en, one.policy.zh,
            )
            for one in in_force(config()) if one.policy.id.startswith(command.rule)
        ]  # fmt: skip

    gate.handle(cmd.ShowPolicy, answer)
