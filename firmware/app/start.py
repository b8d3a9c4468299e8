"""Which configuration a start takes, and what the parent does when another one comes into force.

Theory of operation
-------------------
A site file named on the command line is imported as a revision when its content differs from what was imported last; else the stored
startup configuration rules. A startup configuration that cannot be used (another version, another board) gives way to the newest earlier
one that can, with an alarm: a start never ends for a configuration that worked once. A trial is over with any start but one that it caused
itself: the parent that replaces itself hands its token on in the environment.
While it runs, the parent reads what is in force before each fork, so that a child that died comes back with it, and notes in
`run/built.json` which settings each process was built with. Management asks for new processes with `run/wanted.json` and SIGHUP.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from firmware.app.handover import Handover
from firmware.app.site import Site, effective, site_of
from firmware.config.plan import digests
from firmware.config.problems import Problem
from firmware.config.render import to_toml
from firmware.config.schema.tree import Config
from firmware.errors import PbxError, StoreError
from firmware.store.configuration import ConfigurationStore, Damage, in_force, past
from firmware.store.files import write_atomic

TOKEN = "BRANCHPBX_START"
Level = Literal["control", "media", "appliance"]
log = logging.getLogger("branchpbx.parent")


class Wanted(Struct):
    """`run/wanted.json`: which processes management wants new."""

    level: Level


class Start:
    """See the theory of operation. `file`: the site file of the command line, None where there is none."""

    def __init__(self, file: Path | None, state: Path, sip_port: int | None) -> None:
        self._file, self._state, self._sip_port = file, state, sip_port
        self._folder = state / "config"
        self.token = os.environ.pop(TOKEN, "") or secrets.token_hex(8)
        self._import = ""  # fingerprint of the file, when it is to be imported
        self._back = 0
        self._seen = ""
        self._digested: Config | None = None
        self._digests: dict[str, str] = {}
        self.before: Config | None = None
        self.built: dict[str, dict[str, str]] = {}

    def site(self) -> Site:
        """What this start takes; with problems when nothing can be used. Writes nothing."""
        stored = in_force(self._folder)
        if self._file is not None:
            try:
                data = self._file.read_bytes()
            except OSError as error:
                if stored is None:
                    problem = Problem(
                        str(self._file), "file", "", f"cannot be read ({error.strerror})", "name a readable file with --config FILE"
                    )
                    return Site(str(self._file), None, None, [problem], [])
                log.warning("%s cannot be read (%s): the stored configuration is taken", self._file, error.strerror)
                data = b""
            fingerprint = hashlib.sha256(data).hexdigest()
            if stored is None or (data and fingerprint != _imported(self._folder)):
                self._import = fingerprint
                return site_of(data, str(self._file))
        if stored is None:
            problem = Problem(str(self._folder), "file", "", "holds no configuration yet", "name a site file with --config FILE")
            return Site(str(self._folder), None, None, [problem], [])
        return self._usable()

    def _usable(self) -> Site:
        """The newest stored configuration without problems; that of startup with its problems where there is none."""
        first: Site | None = None
        for back, kept in enumerate(past(self._folder, self.token)):
            site = site_of(kept.text.encode(), str(self._folder / f"revisions/{kept.revision.number:06d}.toml"))
            if site.config is not None:
                self._back = back
                return site
            first = first or site
        assert first is not None
        return first

    def take(self, site: Site) -> Config:
        """With the lock of the state folder held: import, end a trial that is over; what the processes run. Raises StoreError."""
        site = self._restored(site)
        assert site.config is not None
        try:
            self._store(site, site.config)
        except StoreError as error:  # a full disk must not keep anybody from telephoning
            log.error("%s; the appliance starts with what it has", error)
        self._seen = _mark(self._folder)
        return effective(site.config, self._state, self._sip_port)

    def _restored(self, site: Site) -> Site:
        """What a backup that was laid aside makes of this start; `site` where there is none."""
        if not (self._state / "restore" / "ready").is_file():
            return site
        from firmware.app.backup_part import apply_pending

        if not apply_pending(self._state, self._import):
            return site
        restored, self._import, self._back = self._usable(), "", 0
        return restored if restored.config is not None else site

    def _store(self, site: Site, config: Config) -> None:
        store = ConfigurationStore(self._folder)
        reverted = store.started(self.token)
        if reverted:
            log.warning("the configuration on trial is taken back: the appliance was started anew before it was confirmed")
        if self._import:
            text = to_toml(config)
            if not store.book.startup or store.text(store.book.startup) != text:
                store.commit(text, "start", f"imported from {site.file}"[:200], how="import", changes=0)
            store.note_import(self._import)
        elif self._back:
            wrong = store.book.running
            store.rollback(self._back, "start", f"revision {wrong} cannot be used by this version")
            store.damaged(
                Damage(
                    "config:startup.toml",
                    f"revision {wrong} cannot be used by this version; revision {store.book.running} was taken instead",
                    f"本版本无法使用修订 {wrong}，已改用修订 {store.book.running}",
                )
            )

    # --- while it runs ----------------------------------------------------------------------------------------------------

    def refresh(self, handover: Handover, name: str) -> None:
        """Before a child is forked: what is in force now. A configuration that cannot be read leaves the one of before."""
        handover.start, handover.sip_port = self.token, self._sip_port
        mark = _mark(self._folder)
        if mark != self._seen and name in ("core", "media", "manage"):
            try:
                kept = in_force(self._folder)
                site = site_of(kept.text.encode(), "config", clips=False) if kept is not None else None
                if site is not None and site.config is not None and site.config.board == handover.board.name:
                    self.before, handover.config = handover.config, effective(site.config, self._state, self._sip_port)
                    self._seen = mark
            except PbxError as error:
                log.error("the configuration in force cannot be taken: %s", error)
        handover.before = self.before

    def note(self, handover: Handover, name: str) -> None:
        """After the fork: which settings a process was built with."""
        if self._digested is not handover.config:
            self._digested, self._digests = handover.config, digests(handover.config)
        if name in ("core", "media"):
            self.built[name] = self._digests
        self.built.setdefault("parent", self._digests)
        with contextlib.suppress(OSError):
            write_atomic(handover.run_folder / "built.json", msgspec.json.encode(self.built), durable=False)

    def wanted(self, run: Path) -> Level | None:
        """What management wants new; asked once."""
        path = run / "wanted.json"
        try:
            level: Level = msgspec.json.decode(path.read_bytes(), type=Wanted).level
        except (OSError, msgspec.MsgspecError):
            return None
        with contextlib.suppress(OSError):
            path.unlink()
        return level

    def environment(self) -> dict[str, str]:
        """For the parent that takes this one's place: a trial goes on."""
        return {**os.environ, TOKEN: self.token}


def _imported(folder: Path) -> str:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / "imported.json").read_bytes(), type=dict[str, str]).get("sha256", "")
    return ""


def _mark(folder: Path) -> str:
    """Changes whenever another configuration may be in force."""
    marks = []
    for name in ("startup.toml", "trial.json"):
        with contextlib.suppress(OSError):
            found = (folder / name).stat()
            marks.append(f"{name}:{found.st_ino}:{found.st_mtime_ns}:{found.st_size}")
    return " ".join(marks)
