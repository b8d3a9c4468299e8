"""The update agent: the thin shell around `machine.Updates` on a box with slots. It runs as root, beside the appliance.

It looks at the appliance every few seconds through the control socket, as any client, carries out what the machine decides, and takes
wishes from
the spool folder. What takes long (asking, installing) runs in a thread of its own, so looking goes on. A fault here ends the process;
init starts it anew and the record on disk says where things stand.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from firmware.control.client import Client
from firmware.errors import PbxError
from firmware.store.files import write_atomic
from firmware.update import rauc, spool
from firmware.update.machine import Action, Check, Install, Keep, Listen, MarkGood, Record, Restart, Settings, StayHere, Updates
from firmware.update.rules import Offer, Seen, Words, refusal, unusable

LOOK_S = 2.0
ASK_S = 5.0
APPLIANCE_UID = 100

log = logging.getLogger("branchpbx.update")


class Ear:
    """On which lines dial tone was heard. On trial (`fresh`) what was there at the first look is of the version before and does not count.

    A call that an exchange line carries proves more than dial tone: a branch that is never idle is no reason to go back.
    """

    def __init__(self, fresh: bool) -> None:
        self._old: dict[str, str] | None = None if fresh else {}
        self._carried = 0

    def tones(self, tests: Any, carrying: int) -> int:
        """Exchange lines with dial tone in the rows of `show self-test`, or that carried a call; `carrying` do now."""
        if self._old is None:
            self._old = {row["target"]: row["tested"] for row in tests}
        self._carried = max(self._carried, carrying)
        heard = [row for row in tests if row["dial_tone_ms"] is not None and self._old.get(row["target"]) != row["tested"]]
        return max(self._carried, len(heard))


def look(control: Path, ear: Ear | None = None) -> Seen:
    """One look at the appliance; a `Seen` without calls while call control does not answer."""
    try:
        with Client(control, timeout_s=ASK_S) as client:
            status: Any = client.call("show status")
            lines: Any = client.call("show lines")
            phones: Any = client.call("show phones")
            tests: Any = client.call("show self-test") if ear is not None else []
    except (PbxError, OSError, ValueError):
        return Seen()
    # While there are calls no self-test has a line.
    carrying = sum(1 for row in lines if row["kind"] == "fxo" and row["leg"] and abs(row["milliamps"]) > 1.0) if status["calls"] else 0
    return Seen(
        calls=int(status["calls"]),
        clock=str(status["clock"]),
        stopped=tuple(row["process"] for row in status["processes"] if row["state"] != "running"),
        lines=sum(1 for row in lines if row["kind"] == "fxo" and abs(row["volts"]) > 3.0),
        phones=sum(1 for row in phones if row["kind"] == "sip" and row["where"]),
        tones=ear.tones(tests, carrying) if ear is not None else 0,
    )


def listen(control: Path) -> None:
    """Begin a self-test of the idle lines; one that is going on serves as well."""
    try:
        with Client(control, timeout_s=ASK_S) as client:
            client.call("self-test run")
    except (PbxError, OSError, ValueError) as error:
        log.info("no self-test was begun: %s", error)


def load(path: Path) -> Record | None:
    """The record of a trial; None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s cannot be read (%s): this start counts as an ordinary one", path, error)
        return None


def restart_box() -> None:
    """A clean restart: init stops the appliance first."""
    subprocess.run(["reboot"], check=False)


class Agent:
    """See the theory of operation above."""

    def __init__(self, *, control: Path, record: Path, run: Path, slot: str, version: str, compatible: str, settings: Settings = Settings(),
                 restart: Callable[[], None] = restart_box) -> None:  # fmt: skip
        self._control, self._record, self._run, self._compatible = control, record, run, compatible
        self._restart = restart
        self._machine = Updates(slot, version, load(record), time.monotonic(), settings)
        self._ear = Ear(fresh=self._machine.trial is not None)
        self._workers = ThreadPoolExecutor(1)
        self._job: tuple[Action, Future[Any]] | None = None
        self._said: Words | None = None

    def run(self) -> None:
        """Until the box restarts."""
        (self._run / "requests").mkdir(parents=True, exist_ok=True)
        self._do(self._machine.booted())
        while True:
            self.step()
            time.sleep(LOOK_S)

    def step(self) -> None:
        """Once around."""
        machine = self._machine
        self._finish()
        seen = look(self._control, self._ear if machine.listens else None)
        self._do(machine.look(seen, time.monotonic()))
        wish = spool.take(self._run)
        if wish is not None:
            self._said = None
            if wish.what == "rescue":
                asked = self._rescue(seen, wish.request.now)
            else:
                asked = machine.cancel() if wish.what == "cancel" else machine.ask(wish.request)
            if isinstance(asked, Words):
                self._said = asked
            else:
                self._do(asked)
        spool.tell(
            spool.Status(
                machine.slot, machine.version, machine.phase, machine.trial is not None, machine.offer.version if machine.offer else "",
                machine.verdict, machine.complaints, self._said,
            ),
            self._run,
        )  # fmt: skip

    def _rescue(self, seen: Seen, now: bool) -> list[Action] | Words:
        """Restart into the rescue; words say why not."""
        if self._machine.phase not in ("starting", "idle"):
            return Words("busy", f"an update is {self._machine.phase}", "升级正在进行")
        if seen.calls and not now:
            return Words(
                "calls", f"{seen.calls} calls are up and the rescue ends them; wait, or say now=true",
                f"当前有 {seen.calls} 路通话，进入救援系统会中断通话；请等待或注明 now=true",
            )  # fmt: skip
        try:
            rauc.enter_rescue()
        except rauc.RaucError as error:
            return Words("no_rescue", str(error), f"无法进入救援系统（{error}）")
        return [Restart("somebody asked for the rescue")]

    def _finish(self) -> None:
        """Take the result of a long job."""
        if self._job is None or not self._job[1].done():
            return
        action, job = self._job
        self._job = None
        now, error = time.monotonic(), job.exception()
        if error is not None and not isinstance(error, PbxError):
            raise error
        wrong = unusable(str(error)) if error is not None else None
        if isinstance(action, Check):
            offer: Offer | None = None if error is not None else job.result()
            if offer is not None:
                request = self._machine.request
                wrong = refusal(offer, self._compatible, self._machine.version, older=request is not None and request.older)
            self._do(self._machine.checked(offer, wrong))
        else:
            self._do(self._machine.installed("B" if self._machine.slot == "A" else "A", wrong, now))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            log.info("%s", action)
            match action:
                case Check(source):
                    self._job = (action, self._workers.submit(rauc.info, source))
                case Install(source):
                    self._job = (action, self._workers.submit(rauc.install, source))
                case Keep(None):
                    self._record.unlink(missing_ok=True)
                case Keep(record):
                    self._record.parent.mkdir(parents=True, exist_ok=True)
                    write_atomic(self._record, msgspec.json.encode(record))
                case MarkGood():
                    rauc.mark_good()
                case StayHere():
                    rauc.stay_here()
                case Listen():
                    listen(self._control)
                case Restart():
                    self._restart()
