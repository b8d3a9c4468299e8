"""The journal of live contacts: what a restarted core goes on from (L5).

One file per contact in `DIR/run/journal` and one for what they share, replaced whole at each transition. The folder is on
tmpfs on the appliance: it has to survive a process, not a power cut.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from firmware.call.state import ContactState
from firmware.call.switchboard import SwitchState
from firmware.store.files import write_atomic

log = logging.getLogger("branchpbx.calls")
SHARED = "_shared.json"


class Entry(msgspec.Struct):
    """One journaled contact. `legs`: driver snapshots; `at`: engine ms of the writing; `wall_offset`: Unix ms minus engine ms."""

    state: ContactState
    legs: dict[str, bytes] = {}
    at: int = 0
    wall_offset: int = 0


class Shared(msgspec.Struct):
    """What contacts share."""

    state: SwitchState = msgspec.field(default_factory=SwitchState)
    at: int = 0
    wall_offset: int = 0


class Journal:
    """See the module docstring. A full disk is logged; calls go on without a journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._last: dict[str, bytes] = {}

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_atomic(self.folder / name, data, durable=False)
        except OSError as error:
            log.error("%s: cannot be written (%s); a restart of the core process would lose this call", self.folder / name, error)

    def contact(self, entry: Entry) -> None:
        """Write a contact if it changed."""
        key = msgspec.json.encode((entry.state, entry.legs))
        if self._last.get(entry.state.id) != key:
            self._last[entry.state.id] = key
            self._write(f"{entry.state.id}.json", msgspec.json.encode(entry))

    def shared(self, shared: Shared) -> None:
        """Write what contacts share if it changed."""
        key = msgspec.json.encode(shared.state)
        if self._last.get(SHARED) != key:
            self._last[SHARED] = key
            self._write(SHARED, msgspec.json.encode(shared))

    def forget(self, contact: str) -> None:
        """Remove a contact that ended."""
        self._last.pop(contact, None)
        (self.folder / f"{contact}.json").unlink(missing_ok=True)

    def load(self) -> tuple[Shared | None, list[Entry]]:
        """Everything an earlier process left; an unreadable file is logged and removed."""
        shared: Shared | None = None
        entries: list[Entry] = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                data = path.read_bytes()
                if path.name == SHARED:
                    shared = msgspec.json.decode(data, type=Shared)
                else:
                    entries.append(msgspec.json.decode(data, type=Entry))
            except (OSError, msgspec.MsgspecError) as error:
                log.error("%s: journal entry cannot be used (%s); its call is ended", path, error)
                path.unlink(missing_ok=True)
        return shared, entries
