"""Updates by command: what the console, the serial line and the centre ask of the update agent, through its spool folder.

The agent is a process of its own that runs as root; this one is the appliance's user and can only leave wishes. A wish is answered with
what the agent told last: what came of it is asked with `show update`.
"""

from __future__ import annotations

from pathlib import Path

from firmware.app.update import shown
from firmware.control.gate import Gate
from firmware.control.update_commands import Rescue, ShowUpdate, UpdateCancel, UpdateInstall, UpdateResult
from firmware.errors import CommandError
from firmware.update import spool
from firmware.update.machine import Request

NONE = UpdateResult(
    "", "", "none", False, "", "", "", "this machine is not run from an update image, or has just been switched on",
    "本机不是从升级镜像启动，或刚刚开机",
)  # fmt: skip


class UpdatePart:
    """See above. `run`: the agent's spool folder."""

    def __init__(self, run: Path = spool.RUN) -> None:
        self._run = run

    def attach(self, gate: Gate) -> None:
        """Answer the four commands."""
        gate.handle(ShowUpdate, lambda _: self._told())
        gate.handle(UpdateInstall, self._install)
        gate.handle(UpdateCancel, lambda _: self._wish(spool.Wish("cancel")))
        gate.handle(Rescue, lambda command: self._wish(spool.Wish("rescue", Request("", command.now))))

    def _install(self, command: UpdateInstall) -> UpdateResult:
        return self._wish(spool.Wish("install", Request(command.source, command.now, command.older)))

    def _wish(self, wish: spool.Wish) -> UpdateResult:
        if spool.read(self._run) is None:
            raise CommandError(f"there is no update agent: {NONE.says}")
        try:
            spool.put(wish, self._run)
        except OSError as error:
            raise CommandError(f"the update agent's folder cannot be written ({error}); restart the box and try again") from None
        return self._told()

    def _told(self) -> UpdateResult:
        found = spool.read(self._run)
        if found is None:
            return NONE
        verdict = found.verdict
        return UpdateResult(
            found.slot, found.version, found.phase, found.on_trial, found.offered, verdict.outcome if verdict else "",
            verdict.version if verdict else "", shown(found, "en").strip(), shown(found, "zh").strip(),
        )  # fmt: skip
