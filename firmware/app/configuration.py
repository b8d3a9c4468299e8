"""The configuration as management keeps it: candidate, commits, trials and their end, what still waits, the proof.

Theory of operation
-------------------
All commands of `control/configuration_commands.py` end here, one after the other. A commit is on the disk (`store/configuration.py`)
before anything is applied; applying means: generated secrets are made, the whole is handed to call control (`app/reconfigure.py`) and to
whoever in this process asked for it (`changed`). If call control does not take it within `COME_UP_S`, the configuration of before is back
at once, trial or not. What only a new process takes is looked up from facts every `LOOK_S`, not remembered: which settings each process was
built with against what is stored, which ports and calls are in the way; the parent is asked for new processes when nothing is. So this
process may be killed at any instant: its successor looks, and goes on. The end of a trial is on the disk, in the boot-time clock.
Invariant: nothing else writes the configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.app.handover import Handover
from firmware.app.reconfigure import FILE, fingerprint, packed
from firmware.app.site import effective, site_of, site_of_tree
from firmware.app.start import Level, Wanted
from firmware.config import plan, words
from firmware.config.approval import CENTRE, guarded, person
from firmware.config.candidate import Candidate, secrets_kept
from firmware.config.diff import Change, changes, content_hash, diff, flat_tree, kind_of, plain, setting
from firmware.config.model import tree_of
from firmware.config.problems import ConfigErrors, Problem
from firmware.config.problems_zh import allowed_of, chinese
from firmware.config.render import HIDDEN, set_lines_of, to_toml, toml_of, toml_value
from firmware.config.schema.base import APPLY_CLASSES
from firmware.config.schema.tree import Config
from firmware.config.schema_zh import described
from firmware.control import configuration_commands as cmd
from firmware.control.client import CommandFailed, NotRunning
from firmware.control.gate import Gate, asker
from firmware.control.roles import Role, allows
from firmware.errors import NotAllowed, PbxError, StoreError
from firmware.store.configuration import ConfigurationStore, Sketch
from firmware.store.files import write_atomic

COME_UP_S = 20.0
LOOK_S = 2.0
CALM_S = 10.0
ASK_S = 0.25
CHECK_S = 0.5
Ask = Callable[..., Awaitable[Any]]
Changed = Callable[[Config], None]
log = logging.getLogger("branchpbx.configuration")


class Refused(PbxError):
    """A command on the configuration that is not carried out; `facts` go into the reply."""

    def __init__(self, english: str, chinese: str, problems: list[Problem] | None = None) -> None:
        super().__init__(english)
        self.facts: dict[str, Any] = {"message_zh": chinese}
        if problems:
            self.facts["problems"] = [msgspec.to_builtins(row) for row in problem_rows(problems)]


def problem_rows(problems: list[Problem]) -> list[cmd.ProblemRow]:
    """Problems as surfaces show them."""
    return [
        cmd.ProblemRow(
            one.path, one.value, one.message, one.remedy, allowed_of(one.remedy), chinese(one.message), chinese(one.remedy),
            chinese(allowed_of(one.remedy)),
        )
        for one in problems
    ]  # fmt: skip


def refusal(problems: list[Problem]) -> Refused:
    """Every problem at once."""
    named = [(f"{one.path} = {one.value}" if one.value else one.path, one) for one in problems]
    text = "\n".join(f"{name}: {one.message}; {one.remedy}" for name, one in named)
    told = "\n".join(f"{name}：{chinese(one.message)}；{chinese(one.remedy)}" for name, one in named)
    return Refused(text, told, problems)


class Configuration:
    """See the theory of operation. `ask(path, **args)` is a command of core; `changed` are called with each configuration that comes
    into force in this process; `probes` may add to the health of a trial (English, Chinese), `alarming` what other parts want raised."""

    def __init__(self, handover: Handover, ask: Ask) -> None:
        self._handover = handover
        self._ask = ask
        self.changed: list[Changed] = []
        self.probes: list[Callable[[], Awaitable[list[tuple[str, str]]]]] = []
        self.alarming: list[Callable[[], dict[str, list[str]]]] = []
        self._told: dict[str, list[str]] = {}
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self.store = ConfigurationStore(handover.state / "config")
        try:
            self._running, self._number = self._load()
        except (ConfigErrors, StoreError) as error:  # the parent runs what it could read
            log.error("the stored configuration cannot be read: %s", error)
            self._running, self._number = handover.config, 0
        self._desired: tuple[int, Config, str] | None = None
        self._slow = False  # the whole is so large that it is not looked at with each change
        self._lines_before: set[str] = set()
        self._phones_before = -1
        sketch = self.store.sketch()
        self.candidate = Candidate(plain(self._running))
        if sketch is not None and sketch.base == self._number:
            self.candidate = Candidate(sketch.tree, sketch.authors)

    def _load(self) -> tuple[Config, int]:
        """The stored configuration in force, without generated secrets."""
        number = self.store.book.running
        if not number:
            return self._handover.config, 0  # a parent that keeps none (tests of single processes)
        site = site_of(self.store.text(number).encode(), f"revision {number}", clips=False)
        if site.config is None:
            raise ConfigErrors(site.problems)
        return site.config, number

    @property
    def running(self) -> Config:
        """The stored configuration in force, without generated secrets."""
        return self._running

    def attach(self, gate: Gate) -> None:
        """Register the handlers."""
        gate.handle(cmd.ConfigurationSet, self._set)
        gate.handle(cmd.ConfigurationDelete, self._delete)
        gate.handle(cmd.ConfigurationLoad, self._load_text)
        gate.handle(cmd.ConfigurationDiscard, lambda _: self._discard())
        gate.handle(cmd.ShowCandidate, self._lines)
        gate.handle(cmd.ShowDiff, self._diff)
        gate.handle(cmd.ShowPlan, lambda _: self._plan())
        gate.handle(cmd.Commit, lambda command: self._locked(self._commit(command.note, 0)))
        gate.handle(cmd.CommitConfirmed, lambda command: self._locked(self._commit(command.note, command.seconds)))
        gate.handle(cmd.Confirm, lambda _: self._locked(self._confirm()))
        gate.handle(cmd.Rollback, lambda command: self._locked(self._rollback(command)))
        gate.handle(cmd.ShowRevisions, lambda _: self._revisions())
        gate.handle(cmd.ShowTrial, lambda _: self._trial())
        gate.handle(cmd.VerifyConfiguration, lambda _: self._verify())
        gate.handle(cmd.ExportConfiguration, self._export)
        gate.handle(cmd.Complete, self._complete)

    async def _locked(self, work: Awaitable[Any]) -> Any:
        async with self._lock:
            return await work

    # --- the candidate ----------------------------------------------------------------------------------------------------

    def _may(self, paths: list[str]) -> None:
        peer = asker()
        for path in paths:
            needed: Role = setting(path).role or "admin"  # type: ignore[assignment]
            if not allows(peer.role, needed):
                raise NotAllowed(f"{path} is changed by the role {needed} only; {peer.name} has {peer.role}")

    def _set(self, command: cmd.ConfigurationSet) -> cmd.CandidateResult:
        try:
            self._may([command.setting])
            self.candidate.set(command.setting, command.value, asker().name)
        except ConfigErrors as error:
            raise refusal(error.problems) from None
        return self._sketched()

    def _delete(self, command: cmd.ConfigurationDelete) -> cmd.CandidateResult:
        try:
            self._may([command.setting])
            self.candidate.delete(command.setting, asker().name)
        except ConfigErrors as error:
            raise refusal(error.problems) from None
        return self._sketched()

    def _load_text(self, command: cmd.ConfigurationLoad) -> cmd.CandidateResult:
        config = self.read(command.text)
        self._may([one.path for one in diff(self._running, config)])
        self.candidate.replace(plain(config), asker().name)
        return self._sketched()

    def read(self, text: str) -> Config:
        """A site file as a configuration; secrets that read "(hidden)" are those that are there. Raises Refused with every problem."""
        try:
            tree = secrets_kept(tree_of(text.encode()), plain(self._running))
        except ConfigErrors as error:
            raise refusal(error.problems) from None
        return self._checked(tree)

    def _checked(self, tree: dict[str, Any]) -> Config:
        problems, config = self._check(tree)
        if config is None:
            raise refusal(problems)
        return config

    def _check(self, tree: dict[str, Any]) -> tuple[list[Problem], Config | None]:
        site = site_of_tree(tree, "candidate")
        return site.problems, site.config

    def _discard(self) -> cmd.CandidateResult:
        self._fresh()
        return cmd.CandidateResult(0)

    def _fresh(self) -> None:
        self.candidate, self._slow = Candidate(plain(self._running)), False
        self.store.keep_sketch(None)

    def _sketched(self) -> cmd.CandidateResult:
        self.store.keep_sketch(Sketch(self.candidate.tree, self.candidate.authors, self._number))
        if self._slow:
            return cmd.CandidateResult(len(self._changes(None)), checked=False)
        began = time.monotonic()
        problems, config = self._check(self.candidate.tree)
        self._slow = time.monotonic() - began > CHECK_S
        return cmd.CandidateResult(len(self._changes(config)), problem_rows(problems))

    def _changes(self, config: Config | None) -> list[Change]:
        """What differs from what runs; a candidate that is not whole yet is compared as it is written."""
        if config is not None:
            return diff(self._running, config)
        return changes(flat_tree(plain(self._running)), flat_tree(self.candidate.tree))

    def _lines(self, command: cmd.ShowCandidate) -> list[str]:
        return [line for line in set_lines_of(self.candidate.tree) if line.startswith(f"set {command.under}")]

    def _diff(self, command: cmd.ShowDiff) -> list[cmd.ChangeRow]:
        _, config = self._check(self.candidate.tree)
        if command.since == 0:
            found = self._changes(config)
        else:
            past = self.store.book.past()
            if command.since >= len(past):
                raise Refused(
                    f"there is no configuration {command.since} back; `show revisions` lists {len(past) - 1}",
                    f"没有往前第 {command.since} 个配置；`show revisions` 列出 {len(past) - 1} 个",
                )
            old = site_of(self.store.text(past[command.since].number).encode(), "revision", clips=False)
            if old.config is None:
                raise refusal(old.problems)
            found = diff(old.config, config) if config is not None else changes(
                flat_tree(plain(old.config)), flat_tree(self.candidate.tree)
            )  # fmt: skip
        author = self.candidate.author if command.since == 0 else lambda path: ""
        applies = {one.path: one.apply for one in plan.rows(self._running, config, found)} if config is not None else {}
        return [
            cmd.ChangeRow(one.path, one.kind, _shown(one.old), _shown(one.new), applies.get(one.path, one.apply), author(one.path))
            for one in found
        ]

    async def _plan(self) -> cmd.PlanResult:
        problems, config = self._check(self.candidate.tree)
        calls = 0
        with contextlib.suppress(NotRunning, CommandFailed):
            calls = msgspec.convert(await self._ask("configuration now"), cmd.NowResult).calls
        if config is None:
            text, told = "a commit would be refused: the candidate has mistakes", "提交将被拒绝：候选配置有错误"
            return cmd.PlanResult("live", calls, text, told, [], problem_rows(problems))
        rows = plan.rows(self._running, config)
        return cmd.PlanResult(plan.farthest(rows), calls, *_summary(rows, calls), [
            cmd.PlanRow(one.path, one.apply, *plan.SAYS[one.apply]) for one in rows
        ])  # fmt: skip

    # --- commit, confirm, roll back ---------------------------------------------------------------------------------------

    async def _commit(self, note: str, seconds: int) -> cmd.CommitResult:
        config = self._checked(self.candidate.tree)
        return await self.put(config, asker().name, note, seconds)

    async def put(self, config: Config, author: str, note: str, seconds: int) -> cmd.CommitResult:
        """Put a configuration into force, on trial where `seconds` is not 0. Raises Refused, StateRefusedError, StoreError."""
        text = to_toml(config)
        if text == (self.store.text(self._number) if self._number else "") and self.store.book.trial is None:
            raise Refused("nothing differs from what runs: there is nothing to commit", "与运行配置没有差异，无需提交")
        found = diff(self._running, config)
        count, rows = len(found), plan.rows(self._running, config, found)
        if not seconds:
            self._alone([one.path for one in found], author)
        await self._remember()
        if seconds:
            revision = self.store.attempt(text, author, note, seconds=seconds, start=self._handover.start, changes=count)
        else:
            revision = self.store.commit(text, author, note, changes=count)
        await self._applied(config)
        self._fresh()
        return self._result(revision.number, count, rows)

    async def _applied(self, config: Config | None = None) -> None:
        """Run what the book says (`config`, where it is at hand); if call control does not take it, run what ran before, and refuse."""
        try:
            await self._apply(config)
        except (NotRunning, CommandFailed, StoreError) as error:
            log.error("revision %d is not taken: %s", self.store.book.running, error)
            number = self.store.book.running
            if self.store.failed(f"call control did not take it: {error}"):
                with contextlib.suppress(NotRunning, CommandFailed, StoreError):
                    await self._apply()
                raise Refused(
                    f"revision {number} was not taken by call control ({error}); revision {self.store.book.running} is in force again",
                    f"呼叫控制未能采用修订 {number}（{error}）；已恢复修订 {self.store.book.running}",
                ) from error
            raise

    async def _apply(self, known: Config | None = None) -> None:
        self._running, self._number = (known, self.store.book.running) if known is not None else self._load()
        config, digest = self._effective()
        self._handover.config = config
        for fn in self.changed:
            try:
                fn(config)
            except Exception:
                log.exception("a part of management does not take the configuration")
        await self._hand_over(config, digest)
        self._wake.set()

    def _effective(self) -> tuple[Config, str]:
        if self._desired is None or self._desired[0] != self._number:
            config = effective(self._running, self._handover.state, self._handover.sip_port)
            self._desired = self._number, config, fingerprint(config)
        return self._desired[1], self._desired[2]

    async def _hand_over(self, config: Config, digest: str) -> None:
        """Tell call control, also one that is just being started."""
        path = self._handover.run_folder / FILE
        try:
            write_atomic(path, packed(config), mode=0o600, durable=False)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror}); free space and commit again") from error
        loop = asyncio.get_running_loop()
        deadline = loop.time() + COME_UP_S
        while True:
            try:
                alarms = self._told = self._alarms()
                found = msgspec.convert(await self._ask("configuration take", digest=digest, alarms=alarms), cmd.NowResult)
                if found.digest == digest and not found.differs:
                    return
                raise StoreError(f"call control runs {found.digest[:12]} ({', '.join(found.differs) or 'as a whole'}), not {digest[:12]}")
            except (NotRunning, CommandFailed) as error:
                coming = isinstance(error, NotRunning) or error.kind in ("unavailable", "unknown_command")
                if not coming or loop.time() > deadline:
                    raise
            await asyncio.sleep(ASK_S)

    def _alarms(self) -> dict[str, list[str]]:
        found = {one.kind: [one.text, one.chinese] for one in self.store.damages}
        for fn in self.alarming:
            found |= fn()
        if (notes := self.store.notes).why:
            found["config:reverted"] = [
                f"revision {notes.why_revision} was taken back: {notes.why}", f"修订 {notes.why_revision} 已撤回：{chinese(notes.why)}",
            ]  # fmt: skip
        return found

    def _alone(self, paths: list[str], author: str) -> None:
        """Refuse a change that nobody makes alone."""
        found = guarded(self._running.approval, paths) if person(author) != CENTRE else []
        if found:
            raise Refused(
                f"{found[0]} is changed by two people: use `commit confirmed`, and let another administrator `confirm` it",
                f"{found[0]} 须由两人修改：请用 commit confirmed 试用，再由另一位管理员 confirm",
            )

    async def _confirm(self) -> cmd.CommitResult:
        trial = self.store.book.trial
        if trial is not None and person(trial.author) != CENTRE:
            before = self._old(self.store.book.startup)
            found = guarded(before.approval, [one.path for one in diff(before, self._running)])
            if found and person(asker().name) == person(trial.author):
                raise Refused(
                    f"{found[0]} is changed by two people, and this trial is your own: another administrator confirms it",
                    f"{found[0]} 须由两人修改，本次试用由您发起：请由另一位管理员确认",
                )
            self._may(found)
        number = self.store.confirm()
        return self._result(number, 0, [])

    async def _rollback(self, command: cmd.Rollback) -> cmd.CommitResult:
        past = self.store.book.past()
        changed: list[plan.Row] = []
        if command.back < len(past):
            config = self._old(past[command.back].number)
            changed = plan.rows(self._running, config)
            self._may([one.path for one in changed])
            stands = self._running if self.store.book.trial is None else self._old(self.store.book.startup)
            self._alone([one.path for one in diff(stands, config)], asker().name)
        await self._remember()
        number = self.store.rollback(command.back, asker().name, command.note, changes=len(changed))
        await self._applied()
        self._fresh()
        return self._result(number, len(changed), changed)

    def _old(self, number: int) -> Config:
        site = site_of(self.store.text(number).encode(), f"revision {number}", clips=False)
        if site.config is None:
            raise refusal(site.problems)
        return site.config

    def _result(self, number: int, count: int, rows: list[plan.Row]) -> cmd.CommitResult:
        later = [one for one in rows if APPLY_CLASSES.index(one.apply) >= APPLY_CLASSES.index("restart-port")]
        hardest = plan.farthest(later)
        waits = f"{len(later)} of {count} settings: {plan.SAYS[hardest][0]}"
        told = f"{count} 项中的 {len(later)} 项：{plan.SAYS[hardest][1]}"
        state = "trial" if self.store.book.trial is not None else "running"
        return cmd.CommitResult(
            number, count, plan.farthest(rows), state, -(-self.store.left_ms() // 1000), waits if later else "", told if later else ""
        )

    # --- what is shown ----------------------------------------------------------------------------------------------------

    def _revisions(self) -> list[cmd.RevisionRow]:
        book = self.store.book
        order = {one.number: back for back, one in enumerate(book.past())}
        zone = ZoneInfo(self._running.site.time_zone)
        return [
            cmd.RevisionRow(
                order.get(one.number, -1),
                one.number,
                datetime.fromtimestamp(one.wall_ms / 1000, zone).isoformat(" ", "seconds")[:19],
                one.author,
                one.note,
                f"{one.how}{', taken back' if one.number in book.back else ''}",
                one.digest[:12],
                one.changes,
            )
            for one in sorted(book.revisions, key=lambda one: -one.number)
        ]

    async def _trial(self) -> cmd.TrialResult:
        book, notes = self.store.book, self.store.notes
        health = await self.health() if book.trial is not None else []
        return cmd.TrialResult(
            "trial" if book.trial is not None else "running",
            book.running,
            book.startup,
            -(-self.store.left_ms() // 1000),
            book.trial.author if book.trial is not None else "",
            len(self._changes(self._check(self.candidate.tree)[1])),
            [one for one, _ in health],
            [other for _, other in health],
            f"revision {notes.why_revision}: {notes.why}" if notes.why else "",
            f"修订 {notes.why_revision}：{chinese(notes.why)}" if notes.why else "",
        )

    async def _remember(self) -> None:
        """How lines and telephones do before a change."""
        with contextlib.suppress(NotRunning, CommandFailed):
            self._lines_before = {row["endpoint"] for row in await self._ask("show lines") if row["available"] == "fault"}
            self._phones_before = sum(1 for row in await self._ask("show phones") if row["kind"] == "sip" and row["where"])

    async def health(self) -> list[tuple[str, str]]:
        """What does not do well under the configuration in force; empty when all is well."""
        found: list[tuple[str, str]] = []
        try:
            lines = await self._ask("show lines")
            phones = sum(1 for row in await self._ask("show phones") if row["kind"] == "sip" and row["where"])
            trunks = await self._ask("show trunks")
        except (NotRunning, CommandFailed) as error:
            return [(f"call control does not answer: {error}", f"呼叫控制没有应答：{error}")]
        for row in lines:
            if row["available"] == "fault" and row["endpoint"] not in self._lines_before:
                found.append((f"{row['endpoint']} has a fault: {row['detail']}", f"{row['endpoint']} 故障：{row['detail']}"))
        if 0 <= phones < self._phones_before:
            before = self._phones_before
            found.append((f"{phones} SIP phones are registered, {before} were before", f"已注册 {phones} 部 SIP 话机，之前 {before} 部"))
        for row in trunks:
            if row["available"] == "fault":
                found.append((f"trunk {row['trunk']}: {row['state_en']}", f"中继 {row['trunk']}：{row['state_zh']}"))
        for probe in self.probes:
            found += await probe()
        return found

    async def _verify(self) -> cmd.VerifyResult:
        """Ask every process what it runs, and read the stored file anew."""
        stored, number = self._load()
        wanted = effective(stored, self._handover.state, self._handover.sip_port)
        digest, built = fingerprint(wanted), plan.digests(wanted)
        rows = []
        try:
            now = msgspec.convert(await self._ask("configuration now"), cmd.NowResult)
            other = f"other in: {', '.join(now.differs)}" if now.differs else "another one"
            right = now.digest == digest and not now.differs
            rows.append(cmd.PartRow("core", now.digest, right, "" if right else other, "" if right else "不同"))
            waits = [one.path for one in now.waits if one.apply in plan.BUILT["core"]]
            if waits:
                rows.append(cmd.PartRow("core, ports", "", False, f"waits: {', '.join(waits[:5])}", f"等待：{', '.join(waits[:5])}"))
        except (NotRunning, CommandFailed) as error:
            rows.append(cmd.PartRow("core", "", False, str(error), str(error)))
        ours = fingerprint(self._handover.config)
        rows.append(cmd.PartRow("manage", ours, ours == digest))
        for name, found in sorted(self._built().items()):
            if name not in ("media", "parent"):
                continue
            late = [each for each in plan.BUILT[name] if found.get(each) != built[each]]
            says, told = plan.SAYS[late[0]] if late else ("", "")
            rows.append(cmd.PartRow(name, " ".join(found.get(each, "")[:12] for each in plan.BUILT[name]), not late, says, told))
        return cmd.VerifyResult(all(row.right for row in rows), number, content_hash(stored), rows)

    def _export(self, command: cmd.ExportConfiguration) -> str:
        return to_toml(self._running) if command.secrets else toml_of({"schema": self._running.schema, **_hidden(plain(self._running), [])})

    def _complete(self, command: cmd.Complete) -> list[cmd.WordRow]:
        return [
            cmd.WordRow(
                one.word, one.kind, one.about.description, described(one.about.description), one.path, one.type, one.allowed,
                chinese(one.allowed), HIDDEN if one.about.secret and one.default not in ("", '""') else one.default, one.about.unit,
                one.about.apply, one.about.role or "admin", one.about.secret, one.required,
            )
            for one in words.words(command.prefix, self.candidate.tree)
        ]  # fmt: skip

    # --- what has to happen by itself -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """End trials, bring what waits, until cancelled."""
        pause = 0.0
        while True:
            left = self.store.left_ms() / 1000 if self.store.book.trial is not None else CALM_S
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(pause, max(left, 0.0)))
            async with self._lock:
                try:
                    pause = await self._look()
                except (NotRunning, CommandFailed) as error:
                    log.info("call control does not answer now: %s", error)
                    pause = LOOK_S
                except (StoreError, ConfigErrors) as error:
                    log.error("%s", error)
                    pause = CALM_S

    async def _look(self) -> float:
        """Do what is due; seconds until the next look."""
        if not self.store.book.startup:
            return CALM_S
        trial = self.store.book.trial
        if trial is not None and self.store.left_ms() == 0:
            await self._over(trial.revision)
        config, digest = self._effective()
        now = msgspec.convert(await self._ask("configuration now"), cmd.NowResult)
        if now.digest != digest or now.differs or (found := self._alarms()) != self._told or set(now.alarms) != found.keys():
            await self._hand_over(config, digest)
            now = msgspec.convert(await self._ask("configuration now"), cmd.NowResult)
        level, waits = self._wanted(config, now)
        if level is not None:
            log.info("new processes are asked for: %s", level)
            write_atomic(self._handover.run_folder / "wanted.json", msgspec.json.encode(Wanted(level)), durable=False)
            os.kill(os.getppid(), signal.SIGHUP)
        return LOOK_S if waits else CALM_S

    async def _over(self, number: int) -> None:
        if self.store.over("it was not confirmed in time"):
            log.warning("revision %d was not confirmed in time: revision %d is in force again", number, self.store.book.running)
            await self._apply()
            self._fresh()

    def _wanted(self, config: Config, now: cmd.NowResult) -> tuple[Level | None, bool]:
        """Which processes may be made anew now, and whether anything waits at all."""
        built, stored = self._built(), plan.digests(config)
        for name, level in (("parent", "appliance"), ("media", "media")):
            classes = [each for each in plan.BUILT[name] if each != "reboot"]
            if name in built and any(built[name].get(each) != stored[each] for each in classes):
                return (level if now.calls == 0 else "control" if now.control and not now.ports else None), True  # type: ignore[return-value]
        if now.control:
            return (None if now.ports else "control"), True
        return None, False

    def _built(self) -> dict[str, dict[str, str]]:
        try:
            return msgspec.json.decode((self._handover.run_folder / "built.json").read_bytes(), type=dict[str, dict[str, str]])
        except (OSError, msgspec.MsgspecError):
            return {}


def _summary(rows: list[plan.Row], calls: int) -> tuple[str, str]:
    if not rows:
        return "nothing differs from what runs", "与运行配置没有差异"
    hardest = plan.farthest(rows)
    english, told = plan.SAYS[hardest]
    waits = APPLY_CLASSES.index(hardest) >= APPLY_CLASSES.index("calls-drain")
    up, now = (f"; {calls} calls are up now", f"；现有 {calls} 个通话") if calls and waits else ("", "")
    return f"{len(rows)} settings; the farthest takes effect {english}{up}", f"共 {len(rows)} 项；影响最大的一项：{told}{now}"


def _shown(value: Any) -> str:
    return "" if value is None else HIDDEN if value == HIDDEN else toml_value(value)


def _hidden(value: Any, way: list[str | int]) -> Any:
    """A tree with its secrets hidden."""
    if isinstance(value, dict):
        return {name: _hidden(item, [*way, name]) for name, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item, [*way, index]) for index, item in enumerate(value)]
    found = kind_of(way)
    return HIDDEN if found is not None and found[1].secret and value else value
