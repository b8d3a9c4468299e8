"""One board on its way through the factory station, from the empty card to the label (`__main__.py`).

Theory of operation
-------------------
The steps are flash, boot, identity, test, proof. What a step found goes into the board's journal `open/SERIAL.jsonl` and is on the disk
before the next one begins (the factory test's own line writer), so a killed station goes on where it was; an unfinished step is done again,
and each of them may be. What ties the pieces together is what the board itself says: after `identity` the box that answers must bear this
serial number and the keys that it showed then, each time the station goes on and once more at the end (`proof`).
A label exists only for a board that passed: the label of an earlier run is taken away before anything else is done; the report with its
verdict is written first, under a name that belongs to the run, and the label gets its name last. All files appear whole or not at all.
The key of the site is on the disk of the station before the box gets it, so that no box has a key that nobody knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware.errors import StoreError
from firmware.factory.eeprom import mac_fault
from firmware.factory.store import append_line, plain, sync_folder
from firmware.store.files import write_atomic

from .texts import say

flash: Any = importlib.import_module("tools.flash")  # programs of their own
line: Any = importlib.import_module("tools.provision.line")
ProvisionError: Any = importlib.import_module("tools.provision.texts").ProvisionError

STEPS = ("flash", "boot", "identity", "test", "proof")
GOES_ON = 5  # status of `branchpbx factory` when the board restarts by itself
MOST_RESTARTS = 8
BUSY_S = 600.0  # a whole test of an orphan may have to end first
CALL_S = 15.0  # one call of the serial line; between two of them the station looks whether it shall stop
REFUSALS = 3  # a box that has started says so at once when it does not know the key
VERDICTS = {3: "fail, repair", 4: "stopped for safety"}
UNJUDGED = {1: "the test could not be done", 2: "the test was called wrongly"}


class Failed(Exception):
    """The board, or what it stands on, is not good; code and facts of `texts.py`."""

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts

    def said(self, language: str) -> str:
        """For the person at the bench."""
        return say(self.code, language, **self.facts)


class Stopped(Exception):
    """The station was asked to end, or could not judge: the board is neither good nor bad, and goes on here next time."""


@dataclass(frozen=True)
class Job:
    """What is the same for all boards."""

    image: Path
    digest: str
    """SHA-256 of the image."""
    version: str
    """Of the manifest beside it; "" where it says none."""
    model: str
    folder: Path
    operator: str
    language: str = "en"
    test: Sequence[str] = ()
    """Command of the factory test; {serial} {mac} {fixture} {operator} {state} {language} are filled in."""
    boot_s: float = 300.0
    """How long a board may take from its card to an answer."""
    baud: int = 115200
    simulated: bool = False
    """Cards may be plain files."""


@dataclass(frozen=True)
class Place:
    """Where one board lies."""

    name: str
    card: str
    port: str
    fixture: str = ""
    recover: Sequence[str] = ()
    """Command that makes soldered memory appear as the card, such as snagrecover."""
    switch: Sequence[str] = ()
    """Command that switches the board; "on" or "off" is its last word. Without one a person does it."""


@dataclass
class Board:
    """Label, place and journal of one board. `run` does what is left."""

    job: Job
    place: Place
    serial: str
    mac: str
    stop: threading.Event
    tell: Callable[[str, str, dict[str, object]], None] = lambda *_: None
    """(code, step, facts): what happens, for the screen."""
    progress: Callable[[str, int, int], None] = lambda *_: None
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_id: str = ""
    began: float = 0.0
    step: str = "flash"
    _lock: Any = None

    # --- files --------------------------------------------------------------------------------------------------------

    @property
    def journal(self) -> Path:
        return self.job.folder / "open" / f"{plain(self.serial)}.jsonl"

    @property
    def label(self) -> Path:
        return self.job.folder / "labels" / f"{plain(self.serial)}.pdf"

    @property
    def key_file(self) -> Path:
        return self.job.folder / "keys" / f"{plain(self.serial)}.key"

    def report_file(self) -> Path:
        return self.job.folder / "reports" / plain(self.serial) / f"station-{self.run_id}.json"

    def _lines(self) -> Iterator[dict[str, Any]]:
        with suppress(FileNotFoundError):
            for text in self.journal.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError):
                    row = json.loads(text)
                    if isinstance(row, dict):
                        yield row

    def _open(self) -> None:
        """Take up the journal, or begin one; a journal of another image, label or MAC is given up: its steps prove nothing here."""
        mine = {"serial": self.serial, "mac": self.mac, "image": self.job.digest}
        for row in self._lines():
            if "run" in row:
                same = all(row.get(name) == value for name, value in mine.items())
                self.run_id, self.began, self.done = (str(row["run"]), float(row["began"]), {}) if same else ("", 0.0, {})
            elif self.run_id and row.get("step") in STEPS:
                self.done[row["step"]] = row
        if not self.run_id:
            self._take_label_back()
            self.run_id, self.began, self.done = secrets.token_hex(4), time.time(), {}
            self._note({"run": self.run_id, "began": self.began, "operator": self.job.operator, **mine})
        done = [step for step in STEPS if step in self.done]
        if done:
            self.tell("again", done[-1], {})

    def _take_label_back(self) -> None:
        if self.label.exists():
            self.label.unlink()
            sync_folder(self.label.parent)
            self.tell("label-back", "flash", {})

    def _note(self, row: dict[str, Any]) -> None:
        append_line(self.journal, json.dumps(row, ensure_ascii=False).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No second program works on this serial number; the test that a killed station left has this lock, too, and is waited for."""
        path = self.job.folder / "open" / f"{plain(self.serial)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + BUSY_S
        with path.open("w") as self._lock:
            while True:
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise Failed("busy", serial=self.serial) from None
                    if self.stop.wait(0.2):
                        raise Stopped from None
            yield

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self, again: bool = False) -> str:
        """All that is left of the board: "pass" or "fail"; the report says why. Raises Stopped, Failed where nothing was begun."""
        with self._alone():
            others = list(passed(self.job.folder))
            for row in others:
                if row["mac"] == self.mac and row["serial"] != self.serial:
                    raise Failed("other-mac", mac=self.mac, serial=row["serial"])
            known = self.label.exists() and any(row["serial"] == self.serial for row in others)
            if known and not self.journal.exists() and not again:
                raise Failed("known", serial=self.serial)
            if again and not self.journal.exists():
                self._take_label_back()
            self._open()
            try:
                self._steps(others)
            except Failed as fault:
                self._close("fail", fault)
                raise
            self._close("pass", None)
            return "pass"

    def _steps(self, others: list[dict[str, Any]]) -> None:
        if "identity" in self.done and "proof" not in self.done:
            self.step = "identity"
            self._same(self._ask("show identity"))  # boards may have been swapped while nobody looked
        for step in STEPS:
            self.step = step
            if step in self.done:
                continue
            if self.stop.is_set():
                raise Stopped
            self.tell("begin", step, {})
            began = time.monotonic()
            facts = getattr(self, f"_{step}")()
            if step == "identity":
                for row in others:
                    if row["serial"] != self.serial and facts["public_key"] and row.get("public_key") == facts["public_key"]:
                        raise Failed("other-keys", serial=row["serial"])
            self.done[step] = {"step": step, "seconds": round(time.monotonic() - began, 1), "facts": facts}
            self._note(self.done[step])
            self.tell("done", step, {"seconds": self.done[step]["seconds"]})

    def _close(self, verdict: str, fault: Failed | None) -> None:
        """Report first, then the log, then the label, then the journal goes; each of them may be repeated after a crash."""
        label = self._label() if verdict == "pass" else None
        identity = self.done.get("identity", {}).get("facts", {})
        report = {
            "serial": self.serial, "mac": self.mac, "verdict": verdict, "run": self.run_id, "operator": self.job.operator,
            "place": self.place.name, "image": {"name": self.job.image.name, "sha256": self.job.digest, "version": self.job.version},
            "began": _iso(self.began), "ended": _iso(time.time()), "failed": self.step if fault else "",
            "why": fault.said("en") if fault else "", "why_zh": fault.said("zh") if fault else "",
            "steps": [self.done[step] for step in STEPS if step in self.done],
        }  # fmt: skip
        target = self.report_file()
        if not target.exists() or verdict == "pass":
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
        row = {name: report[name] for name in ("serial", "mac", "verdict", "run", "ended", "failed")}
        append_line(self.job.folder / "station.jsonl", json.dumps({**row, "public_key": identity.get("public_key", "")}).encode())
        if label is not None:
            label.rename(self.label)
            sync_folder(self.label.parent)
        self.journal.unlink(missing_ok=True)
        sync_folder(self.journal.parent)

    def _label(self) -> Path:
        """The label under a name that nobody prints."""
        sheet = importlib.import_module("tools.provision.sheet")
        part = self.label.with_name(f".{self.label.stem}.part.pdf")
        part.parent.mkdir(parents=True, exist_ok=True)
        name = f"BranchPBX {self.done['boot']['facts']['model']}"
        sheet.labels([{"name": name, "serial": self.serial, "mac": self.mac, "address": ""}], part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        return part

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _flash(self) -> dict[str, Any]:
        if self.place.recover:
            self._command([*self.place.recover])
        if not self.job.simulated:
            try:
                flash.chosen(flash.Computer(), [self.place.card])
            except flash.FlashError as error:
                raise Failed("command", command="flash", why=error) from None
        try:
            facts: dict[str, Any] = flash.flash(self.job.image, Path(self.place.card), self.progress, self.stop)
            return facts
        except flash.FlashError as error:
            if self.stop.is_set():
                raise Stopped from None
            raise Failed("command", command="flash", why=error) from None

    def _boot(self) -> dict[str, Any]:
        if self.place.switch:
            self._command([*self.place.switch, "off"])
            self._command([*self.place.switch, "on"])
        else:
            self.tell("insert", "boot", {})
        known = self._ask("show identity", self.job.boot_s)
        if known["model"] != self.job.model:
            raise Failed("another-model", found=known["model"], wanted=self.job.model)
        if self.job.version and known["version"] != self.job.version:
            raise Failed("another-version", found=known["version"], wanted=self.job.version)
        return {name: known[name] for name in ("product", "model", "version")}

    def _key(self) -> str:
        """Key of the site; made with the first board of this serial number."""
        if not self.key_file.exists():
            self.key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(self.key_file, (secrets.token_hex(32) + "\n").encode(), mode=0o600)
        return self.key_file.read_text().strip()

    def _identity(self) -> dict[str, Any]:
        key = self._key()
        known = self._ask("show identity")
        if known["serial"] and (known["serial"], known["mac"]) != (self.serial, self.mac.lower()):
            raise Failed("another-board", found=known["serial"], wanted=self.serial)
        if not known["sealed"]:
            known = self._ask("identity write", serial=self.serial, mac=self.mac.lower(), seal=True, site_key=key)
            known = self._ask("show identity")  # over a new session, which the box lets in by that key only
        if not known["sealed"] or not known["public_key"]:
            raise Failed("not-sealed")
        return {name: known[name] for name in ("serial", "mac", "device", "public_key")}

    def _test(self) -> dict[str, Any]:
        state = self.job.folder
        facts = {
            "serial": self.serial, "mac": self.mac, "fixture": self.place.fixture, "operator": self.job.operator, "state": str(state),
            "language": self.job.language,
        }  # fmt: skip
        words_of = re.compile("|".join(f"{{{name}}}" for name in facts))
        words = [words_of.sub(lambda found: facts[found[0][1:-1]], word) for word in self.job.test]
        left = (state / "factory" / "open" / f"{plain(self.serial)}.jsonl").exists()
        for _ in range(MOST_RESTARTS):
            status = self._command([*words, *(["--resume"] if left else [])], judged=True)
            if status != GOES_ON:
                break
            left = True
        else:
            raise Failed("restarts")
        if status in UNJUDGED:
            raise Stopped(f"{UNJUDGED[status]}, {self._log()}")
        if status:
            raise Failed("test-fail", words=VERDICTS.get(status, f"status {status}"))
        reports = self._test_reports()
        if not reports:
            raise Failed("no-report")
        report = json.loads(reports[-1].read_bytes())
        if report.get("verdict") != "pass" or report.get("serial") != self.serial:
            raise Failed("no-report")
        digest = hashlib.sha256(reports[-1].read_bytes()).hexdigest()
        return {"report": reports[-1].name, "sha256": digest, "seconds": report.get("seconds"), "firmware": report.get("firmware")}

    def _test_reports(self) -> list[Path]:
        return sorted((self.job.folder / "factory" / "reports" / plain(self.serial)).glob("*-[0-9][0-9].json"))

    def _proof(self) -> dict[str, Any]:
        known = self._ask("show identity")
        self._same(known)
        return {"public_key": known["public_key"], "version": known["version"]}

    def _same(self, known: dict[str, Any]) -> None:
        then = self.done["identity"]["facts"]
        if not known["sealed"] or any(known[name] != then[name] for name in ("serial", "mac", "public_key")):
            raise Failed("another-board", found=known["serial"] or "-", wanted=self.serial)

    # --- line and commands --------------------------------------------------------------------------------------------

    def _ask(self, command: str, within_s: float = 60.0, **args: Any) -> Any:
        """One command over the serial line, called again until the board answers. Raises Failed, Stopped.

        A box without users and key lets everybody in; from `identity` on it is the key that does.
        """
        until, why, refused = time.monotonic() + within_s, "-", 0
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                who = line.Credentials("site", key=bytes.fromhex(self._key()))
                tool = line.Session(
                    lambda baud: line.open_port(self.place.port, baud), who,
                    baud=self.job.baud, language=self.job.language, patience_s=CALL_S,
                )  # fmt: skip
                try:
                    tool.connect()
                    return tool.call(command, **args)
                finally:
                    tool.close()
            except ProvisionError as error:
                why = error.said(self.job.language)
                if getattr(error, "by_box", False) and error.kind not in ("unavailable",):
                    raise Failed("command", command=command, why=why) from None
                refused += error.kind == "login"
                if refused >= REFUSALS and self.step != "boot":
                    raise Failed("no-entry", why=why) from None
            except OSError as error:
                why = str(error)
            if time.monotonic() > until:
                raise Failed("silent", port=self.place.port, seconds=f"{within_s:.0f}", why=why)
            self.stop.wait(0.5)

    def _log(self) -> Path:
        return self.job.folder / "log" / f"{plain(self.serial)}.log"

    def _command(self, words: list[str], judged: bool = False) -> int:
        """Run a command to its end; its status. A stop is passed on, and what it leaves behind (supply off) is waited for."""
        log = self._log()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, pass_fds=[self._lock.fileno()]
                )
            except OSError as error:
                raise Failed("command", command=words[0], why=error.strerror) from None
            while True:
                try:
                    status = process.wait(0.2)
                    break
                except subprocess.TimeoutExpired:
                    if self.stop.is_set():
                        process.terminate()
                        process.wait()
                        raise Stopped from None
        if status and not judged:
            raise Failed("command", command=" ".join(words[:2]), why=f"status {status}, {log}")
        return status


def passed(folder: Path) -> Iterator[dict[str, Any]]:
    """Boards whose last run passed, from the log of the station."""
    last: dict[str, dict[str, Any]] = {}
    with suppress(FileNotFoundError):
        for text in (folder / "station.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                row = json.loads(text)
                if isinstance(row, dict) and {"serial", "mac", "verdict"} <= row.keys():
                    last[str(row["serial"])] = row
    return (row for row in last.values() if row["verdict"] == "pass")


def label_fault(serial: str, mac: str) -> str:
    """Why a label cannot be used, "" when it can."""
    if not re.fullmatch(r"[A-Z0-9-]{4,24}", serial):
        return f"serial number {serial!r}: 4 to 24 capital letters, digits and -"
    try:
        plain(serial)
    except StoreError as error:
        return str(error)
    return mac_fault(mac)


def default_test(board: str, simulated: int | None) -> list[str]:
    """The factory test of this computer's own installation."""
    words = [
        sys.executable, "-m", "firmware", "factory", "--board", board, "--state", "{state}", "--serial", "{serial}", "--mac", "{mac}",
        "--operator", "{operator}", "--language", "{language}",
    ]  # fmt: skip
    return [*words, "--simulated", str(simulated)] if simulated is not None else [*words, "--fixture", "{fixture}"]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
