"""`STATE/config`: the one place where configurations lie on the disk, and the one module that writes there.

Theory of operation
-------------------
    startup.toml            what a start takes: a whole revision
    trial.json              mark of a revision on trial; gone when it was kept or taken back
    revisions/000012.toml   every revision that is kept
    book.json               which revisions were taken back and why; which one is startup, once more
    candidate.json          what is being written, with its authors; a convenience, lost with a damaged disk
    imported.json           fingerprint of the site file that was imported last

A revision is one file: a first line `#: {...}` with number, time, author, note and the SHA-256 of all that follows, then a site file that
`branchpbx check` takes. Whether a file is good can so be told from itself. Each file is written beside its place, synced, renamed, and its
folder synced; the order in which the files of a step are written is that of `config/states.py`, and its `recover` says what the remains of
a step mean. A damaged `startup.toml` is replaced by its revision, or else by the newest good one; `alarms` says so.
Whoever fails to write (a full disk) leaves everything as it was. Files hold secrets: mode 0600, folder 0700.
The instant at which a trial ends is kept in the boot-time clock, which no change of the wall clock moves and which a reboot ends.
Invariant: only one process at a time has a `ConfigurationStore`; everybody else reads with `in_force`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from firmware.config import states
from firmware.config.schema.tree import SCHEMA_VERSION
from firmware.config.states import Book, Effect, Input, Machine, Revision, Step, Trial, recover
from firmware.errors import StoreError
from firmware.store.files import sync_folder, write_atomic

HEAD = b"#: "
MAX_FILE = 4 << 20
log = logging.getLogger("branchpbx.configuration")


class Damage(Struct, frozen=True):
    """Something on the disk that could not be used: alarm kind, text in both languages."""

    kind: str
    text: str
    chinese: str


class Kept(Struct, frozen=True):
    """A revision that was read: `text` is its site file."""

    revision: Revision
    text: str


class Notes(Struct):
    """`book.json`."""

    startup: int = 0
    back: list[int] = []
    why: str = ""
    """Why the trial or commit that was taken back last was,"""
    why_revision: int = 0
    """and which one."""
    damages: list[Damage] = []
    """What was found damaged, until the next commit."""


class Sketch(Struct):
    """`candidate.json`."""

    tree: dict[str, Any] = {}
    authors: dict[str, str] = {}
    base: int = 0
    """Revision that ran when it was begun."""
    schema: int = 0
    """Version of what it is written in; `keep_sketch` notes it."""


def boot_id() -> str:
    """Identity of this boot of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def boot_ms() -> int:
    """Milliseconds since the boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def digest_of(text: str) -> str:
    """Fingerprint of a site file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def packed(revision: Revision, text: str) -> bytes:
    """A revision as it lies on the disk."""
    return HEAD + msgspec.json.encode(revision) + b"\n" + text.encode()


def unpacked(data: bytes) -> Kept | None:
    """A revision as it was written; None for anything else."""
    head, newline, body = data.partition(b"\n")
    if not newline or not head.startswith(HEAD):
        return None
    try:
        revision = msgspec.json.decode(head[len(HEAD) :], type=Revision)
    except msgspec.MsgspecError:
        return None
    if hashlib.sha256(body).hexdigest() != revision.digest:
        return None
    return Kept(revision, body.decode("utf-8", "replace"))


def in_force(folder: Path) -> Kept | None:
    """The revision that is to run now, for those that only read; None where there is none."""
    trial, startup = _trial(folder), _read(folder / "startup.toml")
    if trial is not None and startup is not None and trial.revision > startup.revision.number and trial.boot == boot_id():
        tried = _read(_path(folder, trial.revision))
        if tried is not None and boot_ms() < trial.until_ms:
            return tried
    return startup


def past(folder: Path, start: str) -> list[Kept]:
    """What a start with this token takes, and those before it, newest first, as `rollback` counts them; for those that only read."""
    notes, trial, startup = _decoded(folder / "book.json", Notes) or Notes(), _trial(folder), _read(folder / "startup.toml")
    kept = {one.revision.number: one for one in (_read(path) for path in (folder / "revisions").glob("*.toml")) if one is not None}
    if startup is not None:
        kept.setdefault(startup.revision.number, startup)
    if trial is not None and (trial.boot != boot_id() or trial.start != start):
        notes.back.append(trial.revision)
        trial = None
    number = startup.revision.number if startup is not None else notes.startup
    book = recover([one.revision for one in kept.values()], number, trial, notes.back)
    return [kept[one.number] for one in book.past()]


def _path(folder: Path, number: int) -> Path:
    return folder / "revisions" / f"{number:06d}.toml"


def _read(path: Path) -> Kept | None:
    with contextlib.suppress(OSError):
        if path.stat().st_size <= MAX_FILE:
            return unpacked(path.read_bytes())
    return None


def _trial(folder: Path) -> Trial | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        data = (folder / "trial.json").read_bytes()
        sealed = msgspec.json.decode(data, type=dict[str, Any])
        trial = msgspec.convert(sealed.get("trial"), Trial)
        if sealed.get("sum") == hashlib.sha256(msgspec.json.encode(trial)).hexdigest():
            return trial
    return None


class ConfigurationStore:
    """See the theory of operation. `run(number)` is called for each revision that is to run from now on; `alarm` for each damage."""

    def __init__(
        self,
        folder: Path,
        *,
        run: Callable[[int], None] = lambda number: None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        boot: Callable[[], str] = boot_id,
        now_ms: Callable[[], int] = boot_ms,
    ) -> None:
        self.folder = folder
        self._run = run
        self._wall_ms, self._boot, self._now_ms = wall_ms, boot, now_ms
        self._machine = Machine()
        self.book = Book()
        self.notes = Notes()
        try:
            (folder / "revisions").mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made ({error.strerror}); free space, or give --state a folder you may write") from error
        self._tidy()
        self.reload()

    # --- reading ------------------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Take what is on the disk, and mend what is damaged there."""
        notes = _decoded(self.folder / "book.json", Notes)
        self.notes = notes if notes is not None else Notes()
        revisions = []
        for path in sorted((self.folder / "revisions").glob("*.toml")):
            kept = _read(path)
            if kept is not None and path.name == _path(self.folder, kept.revision.number).name:
                revisions.append(kept.revision)
            else:
                self._damaged(path, "it is left out", "已忽略")
                self._mend(lambda path=path: path.replace(path.with_suffix(".damaged")))  # type: ignore[misc]
        there = (self.folder / "startup.toml").exists()
        startup = _read(self.folder / "startup.toml")
        trial = _trial(self.folder)
        if trial is not None and (trial.boot != self._boot() or not _good(self.folder, trial.revision)):
            trial = None
        if trial is None:
            self._mend(lambda: (self.folder / "trial.json").unlink(missing_ok=True))
        if startup is not None and startup.revision.number not in {one.number for one in revisions}:
            revisions.append(startup.revision)  # its own copy was damaged: startup.toml is one as good
            self._mend(
                lambda: write_atomic(_path(self.folder, startup.revision.number), packed(startup.revision, startup.text), mode=0o600)
            )
        number = startup.revision.number if startup is not None else 0
        if startup is None and self.notes.startup in {one.number for one in revisions}:
            number = self.notes.startup
        self.book = recover(revisions, number, trial, self.notes.back)
        if startup is None and self.book.startup:
            why = f"revision {self.book.startup} takes its place", f"改用修订 {self.book.startup}"
            if there:
                self._damaged(self.folder / "startup.toml", *why)
            elif self.notes.startup:             # else the first import was cut off
                self.damaged(Damage("config:startup.toml", f"startup.toml is missing; {why[0]}", f"startup.toml 丢失；{why[1]}"))
            kept = self._kept(self.book.startup)
            self._mend(lambda: write_atomic(self.folder / "startup.toml", packed(kept.revision, kept.text), mode=0o600))

    def _mend(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            log.error("%s: cannot be mended now (%s)", self.folder, error)

    def _damaged(self, path: Path, english: str, chinese: str) -> None:
        log.error("%s is damaged: %s", path, english)
        self.damaged(Damage(f"config:{path.name}", f"{path.name} is damaged: {english}", f"{path.name} 已损坏：{chinese}"))

    def damaged(self, found: Damage) -> None:
        """Remember what was damaged until the next commit."""
        self.notes.damages = [one for one in self.notes.damages if one.kind != found.kind] + [found]
        self._note()

    @property
    def damages(self) -> list[Damage]:
        """What was found damaged since the last commit."""
        return list(self.notes.damages)

    def text(self, number: int) -> str:
        """Site file of a kept revision. Raises StoreError."""
        return self._kept(number).text

    def _kept(self, number: int) -> Kept:
        kept = _read(_path(self.folder, number))
        if kept is None and number == self.book.startup:
            kept = _read(self.folder / "startup.toml")
        if kept is None:
            raise StoreError(f"revision {number} cannot be read from {self.folder / 'revisions'}; choose another one of `show revisions`")
        return kept

    def left_ms(self) -> int:
        """Time until the trial ends; 0 when there is none or it is over."""
        trial = self.book.trial
        return max(0, trial.until_ms - self._now_ms()) if trial is not None else 0

    # --- steps --------------------------------------------------------------------------------------------------------------

    def revision(self, text: str, author: str, note: str, how: states.How, changes: int) -> Revision:
        """The next revision, with this site file."""
        return Revision(self.book.next_number, self._wall_ms(), author, note, how, digest_of(text), changes)

    def commit(self, text: str, author: str, note: str, *, changes: int = 0, how: states.How = "commit") -> Revision:
        """Put a site file into force and make it what a start takes. Raises StateRefusedError, StoreError."""
        revision = self.revision(text, author, note, how, changes)
        self.notes.damages = []
        self._take(Input("commit", revision), {revision.number: text})
        self.settled()
        return revision

    def attempt(self, text: str, author: str, note: str, *, seconds: int, start: str, changes: int = 0) -> Revision:
        """Put a site file on trial for `seconds`; `start` names this start of the appliance. Raises StateRefusedError, StoreError."""
        revision = self.revision(text, author, note, "commit confirmed", changes)
        trial = Trial(
            revision.number, self._now_ms() + 1000 * seconds, self._wall_ms() + 1000 * seconds, self._boot(), start, author
        )  # fmt: skip
        self._take(Input("try", revision, trial), {revision.number: text})
        return revision

    def confirm(self) -> int:
        """Keep the trial; its revision. Raises StateRefusedError, StoreError."""
        number = self.book.running
        self._take(Input("confirm"), {})
        self.settled()
        return number

    def settled(self) -> None:
        """What was taken back is no news any more."""
        self.notes.why, self.notes.why_revision = "", 0
        self._note()

    def rollback(self, back: int, author: str, note: str, *, changes: int = 0) -> int:
        """Go back; the revision that runs then. Raises StateRefusedError, StoreError."""
        past = self.book.past()
        if not 1 <= back < len(past):
            self._machine.step(self.book, Input("rollback", back=back))  # which refuses it
        text = self.text(past[back].number)
        revision = self.revision(text, author, note or f"revision {past[back].number} again", "rollback", changes)
        self._take(Input("rollback", revision, back=back, why=f"taken back by {author}"), {revision.number: text})
        return self.book.running

    def over(self, why: str) -> bool:
        """The time of a trial is over; True when it was taken back. Raises StoreError."""
        return self._happens(Input("deadline", why=why))

    def failed(self, why: str) -> bool:
        """What runs does not come up: the one before is in force again; True when there was one. Raises StoreError."""
        before = self.book.running
        self._happens(Input("failed", why=why))
        if self.book.running != before and self.book.state == "SETTLED":
            self.notes.why, self.notes.why_revision = why, before
            self._note()
        return self.book.running != before

    def started(self, start: str) -> bool:
        """The appliance starts: a trial that it does not go on with is over; True when one was taken back."""
        return self._happens(Input("start", start=start, why="the appliance was started anew before it was confirmed"))

    def _happens(self, given: Input) -> bool:
        before = self.book.trial
        self._take(given, {})
        return before is not None and self.book.trial is None

    def _take(self, given: Input, texts: Mapping[int, str]) -> None:
        step = self._machine.step(self.book, given)
        began = False
        try:
            for effect in step.effects:
                try:
                    self._perform(effect, step, texts)
                except OSError as error:
                    if not began:
                        raise
                    # It is in force already: a mark or a file that stays says nothing any more.
                    log.warning("%s: not tidied (%s)", self.folder, error)
                began = began or isinstance(effect, states.Start)
        except OSError as error:
            self._undo(step)
            self.reload()
            if (self.book.startup, self.book.running) == (step.book.startup, step.book.running):
                log.warning("%s: written, but perhaps not synced (%s)", self.folder, error)
                self._run(self.book.running)
                return
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StoreError(
                f"{self.folder}: the configuration cannot be written ({error.strerror}); nothing was changed. "
                + ("Free space: `show recordings` and `show log` use most" if full else "See that the disk is there and may be written")
            ) from error
        self.book = step.book
        self._note()

    def _undo(self, step: Step) -> None:
        """Take away what was written before it failed; what cannot be, `recover` reads as never in force."""
        for effect in step.effects:
            with contextlib.suppress(OSError):
                if isinstance(effect, states.Write):
                    _path(self.folder, effect.revision.number).unlink()
                elif isinstance(effect, states.Mark):
                    (self.folder / "trial.json").unlink()

    def _perform(self, effect: Effect, step: Step, texts: Mapping[int, str]) -> None:
        if isinstance(effect, states.Write):
            number = effect.revision.number
            write_atomic(_path(self.folder, number), packed(effect.revision, texts[number]), mode=0o600)
        elif isinstance(effect, states.Mark):
            seal = {"trial": effect.trial, "sum": hashlib.sha256(msgspec.json.encode(effect.trial)).hexdigest()}
            write_atomic(self.folder / "trial.json", msgspec.json.encode(seal), mode=0o600)
        elif isinstance(effect, states.Start):
            kept = self._kept(effect.number)
            write_atomic(self.folder / "startup.toml", packed(kept.revision, kept.text), mode=0o600)
        elif isinstance(effect, states.Unmark):
            if effect.why:
                self.notes.why, self.notes.why_revision = effect.why, effect.revision
            (self.folder / "trial.json").unlink(missing_ok=True)
            sync_folder(self.folder)
        elif isinstance(effect, states.Drop):
            for number in effect.numbers:
                with contextlib.suppress(OSError):
                    _path(self.folder, number).unlink()
        else:
            self.book = step.book
            self._run(effect.number)

    def _note(self) -> None:
        """What only helps: a failure changes nothing."""
        if self.book.startup:
            self.notes.startup, self.notes.back = self.book.startup, list(self.book.back)
        data = msgspec.json.encode(self.notes)
        with contextlib.suppress(OSError):
            if not (self.folder / "book.json").exists() or (self.folder / "book.json").read_bytes() != data:
                write_atomic(self.folder / "book.json", data, mode=0o600)

    def _tidy(self) -> None:
        """Files that a power cut left half written."""
        for folder in (self.folder, self.folder / "revisions"):
            for path in folder.glob(".*.tmp"):
                with contextlib.suppress(OSError):
                    path.unlink()

    # --- what only helps ----------------------------------------------------------------------------------------------------

    def keep_sketch(self, sketch: Sketch | None) -> None:
        """Keep the candidate over a restart of management; None forgets it."""
        path = self.folder / "candidate.json"
        with contextlib.suppress(OSError):
            if sketch is None:
                path.unlink(missing_ok=True)
            else:
                sketch.schema = SCHEMA_VERSION
                write_atomic(path, msgspec.json.encode(sketch), mode=0o600, durable=False)

    def sketch(self) -> Sketch | None:
        """The candidate that was kept. One that another version left half written is nothing that could be upgraded: it is gone."""
        found: Sketch | None = _decoded(self.folder / "candidate.json", Sketch)
        return found if found is not None and found.schema == SCHEMA_VERSION else None

    def imported(self) -> str:
        """Fingerprint of the site file that was imported last."""
        found: dict[str, str] | None = _decoded(self.folder / "imported.json", dict[str, str])
        return (found or {}).get("sha256", "")

    def note_import(self, fingerprint: str) -> None:
        """Remember it."""
        with contextlib.suppress(OSError):
            write_atomic(self.folder / "imported.json", msgspec.json.encode({"sha256": fingerprint}), mode=0o600)


def _good(folder: Path, number: int) -> bool:
    return _read(_path(folder, number)) is not None


def _decoded(path: Path, kind: Any) -> Any:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return None
