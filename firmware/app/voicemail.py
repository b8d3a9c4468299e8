"""Voice mail, the site's prompts and the questions of the call graph within core: built, joined and asked here (L6).

The part itself is `core/voicemail.py`; this joins it with lamps, clips and commands. A prompt that was recorded by telephone or brought by
`branchpbx prompt add` is loaded into the running engine and used by the next sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import msgspec

from firmware.call.mailroom import OWN
from firmware.config.schema.tree import Config
from firmware.control import voicemail_commands as cmd
from firmware.control.gate import Gate
from firmware.core.call_recorder import Background
from firmware.core.calls import Calls
from firmware.core.lookups import Lookups
from firmware.core.voicemail import VoicemailPart
from firmware.core.watchers import Watchers
from firmware.errors import PbxError
from firmware.prompts import site_root
from firmware.store.db import Database
from firmware.store.messages import MessageFiles

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
UNSENT = "waiting"


class MailRooms:
    """See the module docstring. `clips` and `whole` are what core speaks with: both grow here."""

    def __init__(
        self, *, calls: Calls, media: Any, state: Path, config: Config, background: Background, watchers: Watchers, clips: dict[str, Path],
        whole: set[str], known: frozenset[str], db: Database, zone: tzinfo,
    ) -> None:  # fmt: skip
        self._calls = calls
        self._media = media
        self._config = config
        self._clips = clips
        self._whole = whole
        self._known = known
        self._db = db
        self._zone = zone
        self._background = background
        self._site = site_root(state)
        self._watchers = watchers
        self.lookups = Lookups(calls)
        self.files = MessageFiles(state / "voicemail", self._site)
        self.part = VoicemailPart(
            calls, media, self.files, config, background, told=watchers.messages_changed, prompt=self._use
        )

    def configure(self, config: Config) -> None:
        """Take over another configuration; lamps follow."""
        self._config = config
        self.part.configure(config)
        self._watchers.provide(self.part.counts)

    def load(self) -> None:
        """Before calls go on."""
        self.part.load()

    def start(self, *, adopted: bool) -> None:
        """After calls went on, with telephones there."""
        self.part.go_on(adopted=adopted)
        self._watchers.provide(self.part.counts)

    def _use(self, name: str, path: Path, told: Callable[[Any], None] = lambda result: None) -> None:
        """Speak with a recording of the site from now on."""
        language, _, prompt = name.partition("/")
        if prompt.startswith(OWN):
            own = f"{language}/{prompt.removeprefix(OWN)}"
            self._background(lambda: self._own(own), lambda result: self._own_known(own, result, told))
            return

        def loaded(future: asyncio.Future[int]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None or future.cancelled():
                self._calls.alarms.raise_(f"prompt:{name}", f"prompt {name} cannot be used: {error}", f"语音 {name} 无法使用：{error}")
                told(error)
                return
            self._calls.alarms.clear(f"prompt:{name}")
            self._clips[name] = path
            if name.partition("/")[2] in self._known:
                self._whole.add(name)
            told(future.result())

        self._media.load_clip(name, path).add_done_callback(loaded)

    def _own(self, name: str) -> int | Exception:
        try:
            return 2 * self.files.own_samples(name)
        except (OSError, PbxError) as error:
            return error

    def _own_known(self, name: str, result: int | Exception, told: Callable[[Any], None]) -> None:
        """A greeting in an agent's own voice is new: loaded when it is played."""
        self.part.own_greeting(name, str(result) if isinstance(result, Exception) else "")
        told(result)

    # --- commands -----------------------------------------------------------------------------------------------------

    def attach(self, gate: Gate) -> None:
        """Register the handlers."""
        gate.handle(cmd.ShowVoicemail, lambda command: self.boxes())
        gate.handle(cmd.ShowMessages, lambda command: self.messages(command.box))
        gate.handle(cmd.VoicemailDelete, self._delete)
        gate.handle(cmd.VoicemailOutbox, lambda command: self.outbox())
        gate.handle(cmd.VoicemailMailed, self._mailed)
        gate.handle(cmd.VoicemailAlarm, self._alarm)
        gate.handle(cmd.ShowIvr, self._ivr)
        self.lookups.attach(gate)
        gate.handle(cmd.PromptLoad, self._prompt)

    def boxes(self) -> list[cmd.BoxRow]:
        """Every box of the configuration."""
        room, now = self.part.room, self._calls.clock.wall_ms()
        late = room.overdue(now)
        rows = []
        for name, box in self._config.mailboxes.items():
            new, heard = room.counts(name)
            messages = room.of(name)
            oldest = min((one.at for one in messages if not one.heard), default=now)
            rows.append(cmd.BoxRow(
                name, box.title, new, heard, (now - oldest) // HOUR_MS, sum(one.box == name for one in late),
                "own" if name in room.greetings else "standard", box.mail, sum(one.mail == UNSENT for one in messages),
                sum(one.mail.startswith("failed") for one in messages), room.full(self._config, name),
            ))  # fmt: skip
        return rows

    def messages(self, box: str) -> list[cmd.MessageRow]:
        """Messages of one box. Raises PbxError."""
        if box not in self._config.mailboxes and not self.part.room.of(box):
            raise PbxError(f"there is no box {box}; `show voicemail` lists them")
        return [
            cmd.MessageRow(
                one.id, self._time(one.at), one.number, one.name, round(one.length / 1000),
                "saved" if one.saved else "heard" if one.heard else "new", self._time(one.due) if one.due else "", one.mail, one.origin,
                one.contact,
            )
            for one in self.part.room.of(box)
        ]  # fmt: skip

    def outbox(self) -> list[cmd.MailTask]:
        """Messages whose mail waits, the oldest first."""
        tasks = []
        for one in sorted(self.part.room.all(), key=lambda one: one.at):
            box = self._config.mailboxes.get(one.box)
            if one.mail == UNSENT and box is not None and box.mail:
                path = self.files.path(f"message/{one.box}/{one.id}")
                tasks.append(cmd.MailTask(
                    one.box, one.id, box.title or one.box, box.mail, one.at, round(one.length / 1000), one.number, one.name, str(path),
                    box.mail_audio,
                ))  # fmt: skip
        return tasks

    def _delete(self, command: cmd.VoicemailDelete) -> cmd.MailResult:
        self.part.delete(command.box, command.message)
        return cmd.MailResult(command.message, "deleted")

    def _mailed(self, command: cmd.VoicemailMailed) -> cmd.MailResult:
        self.part.mailed(command.box, command.message, command.state)
        return cmd.MailResult(command.message, command.state)

    def _alarm(self, command: cmd.VoicemailAlarm) -> cmd.MailResult:
        if command.text:
            chinese = f"语音留言邮件无法发送：{command.text}"
            self._calls.alarms.raise_("voicemail:mail", f"mail of voice messages is not delivered: {command.text}", chinese)
        else:
            self._calls.alarms.clear("voicemail:mail")
        return cmd.MailResult("", command.text)

    async def _prompt(self, command: cmd.PromptLoad) -> cmd.PromptResult:
        path = self._site / f"{command.prompt}.wav"
        if not path.is_file():
            raise PbxError(f"{path} does not exist; bring it with `branchpbx prompt add`")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._use(command.prompt, path, done.set_result)
        result = await done
        if not isinstance(result, int):
            raise PbxError(f"prompt {command.prompt} cannot be used: {result}")
        return cmd.PromptResult(command.prompt, result)

    def _time(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone).isoformat(" ", "seconds")[:19]

    # --- where callers leave ------------------------------------------------------------------------------------------

    def _ivr(self, command: cmd.ShowIvr) -> list[cmd.IvrRow]:
        since = self._calls.clock.wall_ms() - command.days * DAY_MS
        rows = self._db.query(
            "SELECT kind, data FROM contact_events WHERE at_ms >= ? AND kind IN ('menu', 'menu-left', 'menu-otherwise', 'key', 'node', "
            "'node-left', 'node-otherwise', 'input', 'chosen', 'silent', 'not-silent') ORDER BY seq", (since,),
        )  # fmt: skip
        return report((row["kind"], msgspec.json.decode(row["data"], type=dict[str, Any])) for row in rows)


def report(events: Any) -> list[cmd.IvrRow]:
    """Rows of (kind, data) of the history: in the order in which places were first entered."""
    places: dict[tuple[str, str], dict[str, int]] = {}
    chosen: dict[tuple[str, str], dict[str, int]] = {}
    sorts: dict[str, str] = {}
    for kind, data in events:
        menu = kind in ("menu", "menu-left", "menu-otherwise", "key")
        place = ("menu" if menu else "ivr", str(data.get("menu" if menu else "node", "")))
        if kind == "node":
            sorts[place[1]] = str(data.get("sort", ""))
        counts = places.setdefault(place, {"entered": 0, "left": 0, "otherwise": 0})
        what = {"menu": "entered", "node": "entered"}.get(kind, kind.partition("-")[2])
        if what in counts:
            counts[what] += 1
        else:
            said = {"key": "digit", "chosen": "to", "not-silent": "how"}.get(kind, "")
            word = str(data.get(said, "")) if said else kind
            table = chosen.setdefault(place, {})
            table[word] = table.get(word, 0) + 1
    return [
        cmd.IvrRow(
            f"{place[0]}/{place[1]}", "menu" if place[0] == "menu" else sorts.get(place[1], ""), counts["entered"], counts["left"],
            round(100 * counts["left"] / counts["entered"], 1) if counts["entered"] else 0.0, counts["otherwise"],
            " ".join(f"{word}:{count}" for word, count in sorted(chosen.get(place, {}).items())),
        )
        for place, counts in places.items()
    ]  # fmt: skip
