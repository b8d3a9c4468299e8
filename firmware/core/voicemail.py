"""Voice mail in core: takes, playing of recordings, the list of messages, lamps, deadlines, space (L5).

Theory of operation
-------------------
The pure part (`call/voicemail.py`, `call/mailbox.py`) decides; this one carries out its actions with media and files. A take goes into a
file by the engine's recorder; when media says that it is closed, what was asked for in the meantime (keep, drop) is done beside the event
loop. A recording is played by loading it into the engine as a clip of its own; the least recently used ones go when they take more than
`LOADED_BYTES`. After a restart of core the takes of calls that went on are known by their notes; what nobody goes on with becomes what it
was meant for: a message cut by a power failure is a message. Lamps follow `Watchers.messages_changed`.
Every minute: messages that are too old go, those that are overdue raise an alarm (CBK-06), space is measured.
"""

from __future__ import annotations

import logging
import os
import wave
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.mailroom import OWN, MailRoom, Message
from firmware.config.schema.tree import Config
from firmware.core.call_audio import on_failure, when_done
from firmware.core.call_recorder import Background
from firmware.errors import EngineBusy, EngineRefused, PbxError
from firmware.sip.message_summary import MessageCounts
from firmware.store.messages import MessageFiles, TakeNote

if TYPE_CHECKING:
    from firmware.core.calls import Calls

log = logging.getLogger("branchpbx.voicemail")
LOADED_BYTES = 12_000_000
LOADED_MOST = 64
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
MEGABYTE = 1_000_000


@dataclass
class _Take:
    """A take that is not finished. `ms` is -1 while media writes; `keep` or `dropped`: what was asked for."""

    note: TakeNote
    leg: str
    ms: int = -1
    keep: vm.KeepTake | None = None
    dropped: bool = False
    opened: bool = False


class VoicemailPart:
    """See the theory of operation. `told(extension)`: lamps; `prompt(path, name)`: a prompt of the site is new."""

    def __init__(
        self, calls: Calls, media: Any, files: MessageFiles, config: Config, background: Background, *, told: Callable[[str], None],
        prompt: Callable[[str, Path], None],
    ) -> None:  # fmt: skip
        self._calls = calls
        self._media = media
        self._files = files
        self._config = config
        self._background = background
        self._told = told
        self._prompt = prompt
        self.room: MailRoom = calls.board.mail
        self.room.changed = self._changed
        self._takes: dict[int, _Take] = {}
        self._loaded: OrderedDict[str, int] = OrderedDict()
        #: Whoever waits for a recording that is being loaded: loaded twice, the first one would be taken from under who hears it.
        self._loading: dict[str, list[tuple[str, vm.PlayFile]]] = {}
        self._playing: dict[int, str] = {}
        calls.executors.update({
            vm.StartTake: self._start, vm.KeepTake: self._keep, vm.DropTake: self._drop, vm.PlayFile: self._play, vm.Listen: self._listen,
            vm.MessageChanged: self._save, vm.MessageRemoved: self._remove, vm.MessageCopied: self._copy,
            vm.GreetingRemoved: lambda contact, action: self._later(lambda: files.remove_greeting(action.box)),
            vm.PromptRemoved: self._remove_prompt,
        })  # fmt: skip
        media.subscribe(self._heard)

    # --- life ---------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read what lies on the disk; before calls go on."""
        for message in self._files.load():
            self.room.messages.setdefault(message.box, {})[message.id] = message
        self.room.greetings = self._files.greetings()
        for name, wrong in self._files.own_greetings():
            self.own_greeting(name, wrong)
        for note in self._files.left():
            self._takes[note.token] = _Take(note, "", opened=True)
        self._calls.clock.call_later(1000, self._minute)

    def go_on(self, *, adopted: bool) -> None:
        """After calls went on: takes that belong to no call any more are finished."""
        live = {}
        for state in self._calls.board.contacts.values() if adopted else ():
            if state.mail is not None and state.mail.take is not None:
                live[state.mail.token] = state
        for token, take in list(self._takes.items()):
            if token in live:
                take.leg = live[token].a
            elif take.ms < 0 and take.keep is None and not take.dropped:
                log.info("take %s was cut: it is kept as far as it goes", take.note.take.key)
                take.ms = self._files.take_ms(take.note.take.key)
                take.keep = vm.KeepTake(token, take.note.take, self._least(take.note.take))
                take.dropped = take.note.take.kind != "message"
                self._finish(token)

    @property
    def config(self) -> Config:
        """The configuration it works with."""
        return self._config

    def configure(self, config: Config) -> None:
        """Take over another configuration."""
        self._config = config

    def counts(self, extension: str) -> MessageCounts:
        """Messages of the boxes of a telephone, for lamps."""
        new = old = 0
        for box in MailRoom.boxes_of(self._config, extension):
            fresh, heard = self.room.counts(box)
            new, old = new + fresh, old + heard
        return MessageCounts(new, old)

    def _least(self, take: vm.Take) -> int:
        box = self._config.mailboxes.get(take.name)
        return box.least_ms if take.kind == "message" and box is not None else 0

    # --- takes --------------------------------------------------------------------------------------------------------

    def _start(self, contact: str, action: vm.StartTake) -> None:
        note = TakeNote(action.take, action.token, self._calls.clock.wall_ms())
        self._takes[action.token] = _Take(note, action.leg)

        def work() -> int | Exception:
            try:
                return self._files.open_take(action.take, action.token, note.at)
            except (OSError, PbxError) as error:
                return error

        self._background(work, lambda result: self._opened(action, result))

    def _opened(self, action: vm.StartTake, result: int | Exception) -> None:
        take = self._takes.get(action.token)
        if isinstance(result, Exception):
            log.error("voice mail: no take can be written: %s", result)
            self._calls.alarms.raise_("voicemail:disk", f"voice messages cannot be written: {result}", f"无法保存语音留言：{result}")
            self._closed(action.token, 0, str(result))
            return
        self._calls.alarms.clear("voicemail:disk")
        port = self._calls.audio.ports.get(action.leg, -1)
        try:
            if port < 0 or take is None or take.dropped:
                raise EngineRefused(f"leg {action.leg} has no port any more")
            answer = self._media.record(port, result, token=action.token)
        except (EngineBusy, EngineRefused) as error:
            os.close(result)
            self._closed(action.token, 0, str(error))
            return
        take.opened = True
        when_done(answer, lambda: os.close(result))
        on_failure(answer, lambda: self._closed(action.token, 0, "the engine has no free recorder"))

    def _heard(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Recorded":
            if event.token in self._takes:
                self._closed(event.token, event.samples // 8)
        elif kind == "Played":
            self._playing.pop(event.token, None)
        elif kind == "Activity":
            leg = next((leg for leg, port in self._calls.audio.ports.items() if port == event.port), "")
            if leg:
                self._calls.take(vm.Voice(leg, event.at, event.talking, event.start, None if event.talking else event.level))
        elif kind == "MediaLost":
            self._loaded.clear()
            self._playing.clear()
            for token, take in list(self._takes.items()):
                if take.ms < 0:
                    self._closed(token, self._files.take_ms(take.note.take.key))

    def _closed(self, token: int, ms: int, error: str = "") -> None:
        take = self._takes.get(token)
        if take is None or take.ms >= 0:
            return
        take.ms = ms
        if take.leg:
            self._calls.take(vm.TakeRecorded(take.leg, self._calls.clock.now(), token, ms, error))
        self._finish(token)

    def _keep(self, contact: str, action: vm.KeepTake) -> None:
        take = self._takes.get(action.token)
        if take is not None:
            take.keep = action
            self._finish(action.token)

    def _drop(self, contact: str, action: vm.DropTake) -> None:
        take = self._takes.get(action.token)
        if take is not None:
            take.dropped = True
            self._finish(action.token)

    def _finish(self, token: int) -> None:
        """Do what was asked for once the take is closed."""
        take = self._takes.get(token)
        if take is None or take.ms < 0 or (take.keep is None and not take.dropped):
            return
        del self._takes[token]
        about, note = take.note.take, take.note
        keep = take.keep
        if take.dropped or keep is None or take.ms - keep.trim_ms < keep.least_ms:
            self._unload(f"take/{about.key}")
            self._later(lambda: self._files.drop(about.key))
            return
        trim = min(keep.trim_ms, max(0, take.ms - 200))
        if about.kind == "message":
            self._written(lambda: self._files.keep_message(self._message(note), about.key, trim), self._left)
        elif about.kind == "greeting":
            self._written(lambda: self._files.keep_greeting(about.name, about.key, trim), lambda _: self._greeted(about.name))
        else:
            self._written(lambda: self._files.keep_prompt(about.name, about.key, trim), lambda path: self._prompt(about.name, path))

    def _written(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """File work whose outcome is what counts; where it fails what was there before stays in use, and that is an alarm."""

        def safe() -> Any:
            try:
                return work()
            except (OSError, EOFError, wave.Error, PbxError) as error:
                return error

        def done(result: Any) -> None:
            if isinstance(result, Exception):
                log.error("voice mail: nothing was kept of a take: %s", result)
                self._calls.alarms.raise_("voicemail:disk", f"voice messages cannot be written: {result}", f"无法保存语音留言：{result}")
            else:
                then(result)

        self._background(safe, done)

    def _message(self, note: TakeNote) -> Message:
        box = self._config.mailboxes.get(note.take.name)
        due = note.at + box.answer_h * HOUR_MS if box is not None and box.answer_h else 0
        mail = "waiting" if box is not None and box.mail and self._config.mail.host else ""
        return Message(
            note.take.key, note.take.name, note.at, 0, note.take.number, note.take.caller, note.take.contact, note.take.language, due=due,
            mail=mail,
        )  # fmt: skip

    def _left(self, message: Message) -> None:
        log.info("box %s: message %s of %d ms", message.box, message.id, message.length)
        self._unload(f"take/{message.id}")
        self.room.add(message)
        self._space()

    def _greeted(self, box: str) -> None:
        self.room.greetings.add(box)
        log.info("box %s has a new greeting", box)

    def _remove_prompt(self, contact: str, action: vm.PromptRemoved) -> None:
        self._calls.alarms.clear(f"greeting:{action.name.replace(OWN, '')}")
        self._later(lambda: self._files.remove_prompt(action.name))

    def own_greeting(self, name: str, wrong: str = "") -> None:
        """A greeting in an agent's own voice ("<language>/<agent>") is there, or cannot be played: then his number is said."""
        alarm = f"greeting:{name}"
        if wrong:
            self.room.own.discard(name)
            log.error("greeting %s cannot be played, the agent's number is said: %s", name, wrong)
            text = f"the greeting {name} in the agent's own voice cannot be played, his number is said: {wrong}"
            self._calls.alarms.raise_(alarm, text, f"座席个人问候语 {name} 无法播放，改报工号：{wrong}")
        else:
            self.room.own.add(name)
            self._calls.alarms.clear(alarm)
            log.info("greeting %s in the agent's own voice is in use", name)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _save(self, contact: str, action: vm.MessageChanged) -> None:
        message = self.room.find(action.box, action.message)
        if message is not None:
            self._later(lambda: self._files.save(message))

    def _remove(self, contact: str, action: vm.MessageRemoved) -> None:
        self._unload(f"message/{action.box}/{action.message}")
        self._later(lambda: self._files.remove(action.box, action.message))

    def _copy(self, contact: str, action: vm.MessageCopied) -> None:
        message = self.room.find(action.box, action.message)
        if message is None:
            return
        box = self._config.mailboxes.get(action.to)
        now = self._calls.clock.wall_ms()
        copy = msgspec.structs.replace(
            message, id=f"{message.id}-{self._calls.board.token()}", box=action.to, heard=0, saved=False, origin=message.box,
            due=now + box.answer_h * HOUR_MS if box is not None and box.answer_h else 0,
            mail="waiting" if box is not None and box.mail and self._config.mail.host else "",
        )  # fmt: skip

        def work() -> Message:
            self._files.copy(message, copy)
            return copy

        self._background(work, self._left)

    def delete(self, box: str, ident: str) -> None:
        """Delete by command. Raises PbxError."""
        if self.room.find(box, ident) is None:
            raise PbxError(f"box {box} has no message {ident}; `show messages` lists them")
        self.room.remove(box, ident)
        self._remove("", vm.MessageRemoved(box, ident))

    def mailed(self, box: str, ident: str, state: str) -> None:
        """What came of the mail of a message."""
        message = self.room.find(box, ident)
        if message is None:
            return
        message.mail = state
        entry = self._config.mailboxes.get(box)
        if state == "sent" and entry is not None and entry.mail_removes:
            self.delete(box, ident)
        else:
            self._later(lambda: self._files.save(message))

    def _later(self, work: Callable[[], object]) -> None:
        """File work whose outcome changes nothing; a failure is an alarm."""

        def safe() -> str:
            try:
                work()
            except (OSError, PbxError) as error:
                return str(error)
            return ""

        def done(error: str) -> None:
            if error:
                log.error("voice mail: %s", error)
                self._calls.alarms.raise_("voicemail:disk", f"voice messages cannot be written: {error}", f"无法保存语音留言：{error}")

        self._background(safe, done)

    def _changed(self, box: str) -> None:
        entry = self._config.mailboxes.get(box)
        for extension in entry.extensions if entry is not None else ():
            self._told(extension)

    # --- playing ------------------------------------------------------------------------------------------------------

    def _play(self, contact: str, action: vm.PlayFile) -> None:
        path = self._files.path(action.file)

        def stamp() -> int:
            try:
                return path.stat().st_mtime_ns
            except OSError:
                return 0

        def known(mtime: int) -> None:
            name = f"vm/{action.file}@{mtime}"
            self._playing[action.token] = name
            if name in self._loaded:
                self._loaded.move_to_end(name)
                self._speak(contact, action, name)
            elif not mtime:
                self._lacks(contact, action, "")
                self._speak(contact, action, "")
            elif name in self._loading:
                self._loading[name].append((contact, action))
            else:
                self._make_room()
                try:
                    answer = self._media.load_clip(name, path)
                except EngineBusy as error:
                    log.warning("contact %s: %s cannot be loaded now (%s)", contact, action.file, error)
                    self._speak(contact, action, "")
                    return
                self._loading[name] = [(contact, action)]
                answer.add_done_callback(lambda future: self._ready(name, future))

        self._background(stamp, known)

    def _ready(self, name: str, future: Any) -> None:
        waiting = self._loading.pop(name, [])
        error = EngineRefused("it was cancelled") if future.cancelled() else future.exception()
        if error is None:
            self._loaded[name] = future.result()
        for contact, action in waiting:
            if error is not None:
                log.error("contact %s: %s cannot be played (%s)", contact, action.file, error)
            if error is not None and not isinstance(error, EngineRefused):      # else media was replaced, and the file is sound
                self._lacks(contact, action, str(error))
            self._speak(contact, action, name if error is None else "")

    def _speak(self, contact: str, action: vm.PlayFile, clip: str) -> None:
        """Play it, unless the person did something else meanwhile."""
        state = self._calls.state(contact)
        play = state.plays.get(action.leg) if state is not None else None
        if play is not None and play.token == action.token:
            self._calls.audio.recording(action, clip)

    def _lacks(self, contact: str, action: vm.PlayFile, why: str) -> None:
        """A greeting in an agent's own voice was removed, or broke: it is not tried again before it is brought anew."""
        kind, _, name = action.file.partition("/")
        if kind != "agent":
            return
        if why:
            self.own_greeting(name, why)
        else:
            self.room.own.discard(name)
            log.warning("greeting %s is not there any more: the agent's number is said", name)
        note = do.Record(self._calls.clock.now(), "agent-greeting-lacks", action.leg, {"greeting": name, "why": why})
        self._calls.executors[do.Record](contact, note)

    def _make_room(self) -> None:
        used = set(self._playing.values())
        for name in [name for name in self._loaded if name not in used]:
            if sum(self._loaded.values()) <= LOADED_BYTES and len(self._loaded) < LOADED_MOST:
                return
            del self._loaded[name]
            self._media.drop_clip(name)

    def _unload(self, file: str) -> None:
        for name in [name for name in self._loaded if name.startswith(f"vm/{file}@")]:
            del self._loaded[name]
            self._media.drop_clip(name)

    def _listen(self, contact: str, action: vm.Listen) -> None:
        port = self._calls.audio.ports.get(action.leg, -1)
        if port >= 0:
            self._media.measure(port, levels=action.on, activity=action.on)      # levels, too: the line doctor may be reading them

    # --- every minute -------------------------------------------------------------------------------------------------

    def _minute(self) -> None:
        self._calls.clock.call_later(MINUTE_MS, self._minute)
        now = self._calls.clock.wall_ms()
        for one in self.room.outdated(self._config, now):
            log.info("box %s: message %s is too old and goes", one.box, one.id)
            self.delete(one.box, one.id)
        late = self.room.overdue(now)
        if late:
            boxes = ", ".join(sorted({one.box for one in late}))
            self._calls.alarms.raise_(
                "voicemail:due", f"{len(late)} voice messages are not answered in time (boxes {boxes})",
                f"{len(late)}条语音留言超过答复时限（信箱 {boxes}）",
            )  # fmt: skip
        else:
            self._calls.alarms.clear("voicemail:due")
        self._space()

    def _space(self) -> None:
        self._background(self._files.free_mb, self._measured)

    def _measured(self, free_mb: int) -> None:
        limits = self._config.voicemail
        used = sum(one.size for one in self.room.all()) // MEGABYTE
        if free_mb < limits.reserve_mb:
            self.room.refused = f"{free_mb} MB free, voicemail.reserve_mb is {limits.reserve_mb}"
        elif used >= limits.quota_mb:
            self.room.refused = f"{used} MB used, voicemail.quota_mb is {limits.quota_mb}"
        else:
            self.room.refused = ""
        text = f"no voice messages are taken: {self.room.refused}; delete messages or free the disk" if self.room.refused else ""
        if text:
            self._calls.alarms.raise_("voicemail:space", text, f"语音信箱空间不足，暂停留言：{self.room.refused}")
        else:
            self._calls.alarms.clear("voicemail:space")
