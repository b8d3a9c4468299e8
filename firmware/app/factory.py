"""Composition root of `branchpbx factory`: the board's devices or a simulated stand, the operator, the files.

The simulated stand is handed in by `__main__`: the product imports nothing of the simulator.
Exit status: 0 passed, 1 it cannot be tested now, 2 wrong usage or limits, 3 the board failed, 4 stopped for safety, 5 goes on after a
restart of the board.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import msgspec

import firmware
from firmware.errors import ConfigError, StoreError
from firmware.factory.bench import Bench, SimulatedBench, StandMaker, rig_of, simulated
from firmware.factory.console import Console
from firmware.factory.devices import HardwareBench
from firmware.factory.eeprom import mac_fault
from firmware.factory.instruments import Operator
from firmware.factory.limits import Limits, parse_limits
from firmware.factory.phrases import reason_in
from firmware.factory.remote import fixture_on
from firmware.factory.results import Report, StepResult
from firmware.factory.rig import Label, Restart, Step
from firmware.factory.runner import STEPS
from firmware.factory.session import Purpose, Session, Talk
from firmware.factory.store import Store
from firmware.factory.texts import text, title
from firmware.factory.yields import text_table, work_out
from firmware.hal.board import board_folder, load_board

STATUS = {"pass": 0, "fail": 3, "repair": 3, "stopped": 4, "interrupted": 1}
GOES_ON = 5
PURPOSES: dict[str | None, Purpose] = {None: "board", "record": "golden record", "check": "golden check"}
MOST_RESTARTS = 8
DEFAULT_BOARD = "branch-4x4"


def options_of(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = ("test", "yield", "limits")
    parser.add_argument("action", nargs="?", choices=actions, default="test", help="test a board, yield of the line, check limits")
    parser.add_argument("--board", default=DEFAULT_BOARD, metavar="NAME", help=f"board file and limits (default: {DEFAULT_BOARD})")
    parser.add_argument("--serial", default="", metavar="TEXT", help="serial number on the label")
    parser.add_argument("--mac", default="", metavar="ADDRESS", help="MAC address on the label")
    parser.add_argument("--operator", default=os.environ.get("USER", ""), metavar="NAME", help="who tests")
    parser.add_argument("--language", choices=("en", "zh"), default="zh" if os.environ.get("LANG", "").startswith("zh") else "en")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--fixture", default="/dev/ttyUSB0", metavar="DEVICE", help="serial port of the fixture")
    where.add_argument("--simulated", type=int, metavar="SEED", help="a simulated board on a simulated fixture")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME[:JACK][=SIZE]", help="with --simulated: what is broken")
    going_on = parser.add_mutually_exclusive_group()
    going_on.add_argument("--resume", action="store_true", help="go on with the test that this board's restart or a crash left")
    going_on.add_argument("--restart", action="store_true", help="give that test up and begin anew")
    parser.add_argument("--golden", choices=("record", "check"), help="the board on the fixture is the golden one")
    parser.add_argument("--without-golden", action="store_true", help="test although the fixture was not verified")
    parser.add_argument("--since", default="", metavar="DATE", help="yield: runs from this date on")
    parser.add_argument("--json", action="store_true", help="machine-readable result")


def main(options: argparse.Namespace, maker: StandMaker | None = None) -> int:
    """Run the command."""
    store = Store(options.state / "factory")
    if options.action == "yield":
        return _yield(options, store)
    limits, digest, file = read_limits(options.board)
    if options.action == "limits":
        steps = ", ".join(step.name for step in STEPS if not step.limits(limits).absent)
        sys.stdout.write(f"{file} is right; steps: {steps}\n")
        return 0
    # Whatever ends the program, the board is powered down on the way out: no signal may kill it in the middle of a step.
    notes = _notes(store)
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _test(options, store, limits, digest, maker)
    finally:
        signal.signal(signal.SIGTERM, terminate)
        logging.getLogger("branchpbx").removeHandler(notes)
        notes.close()


def _notes(store: Store) -> logging.Handler:
    """What drivers say goes to a file, not between the lines that the operator reads."""
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{store.folder}: {error}; name another folder with --state") from None
    handler = logging.FileHandler(store.folder / "drivers.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("branchpbx").addHandler(handler)
    return handler


def read_limits(board: str) -> tuple[Limits, str, Path]:
    """Limits of a board, their hash, their file."""
    path = board_folder(board) / "factory.toml"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error}; a board that is tested has its limits there") from None
    limits = parse_limits(data, str(path))
    if limits.board != board:
        raise ConfigError(f"{path}: board is {limits.board!r} but the folder is {board!r}; make them equal")
    return limits, hashlib.sha256(data).hexdigest()[:12], path


def firmware_hash() -> str:
    """Version, and a hash over every file of the program: what was tested with is known afterwards."""
    root = Path(firmware.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".so") and "__pycache__" not in path.parts:
            total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{firmware.__version__} {total.hexdigest()[:12]}"


def iso(seconds: float) -> str:
    """Local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


class Screen:
    """What the operator sees of the steps."""

    def __init__(self, language: str, *, silent: bool = False) -> None:
        self._language = language
        self._out: TextIO = sys.stderr if silent else sys.stdout
        self._failed = ""

    def say(self, key: str, **values: object) -> None:
        """A line."""
        try:
            self._out.write(text(self._language, key, **values) + "\n")
            self._out.flush()
        except BrokenPipeError:  # nobody reads any more; the board must be measured and left in order all the same
            self._out = Path(os.devnull).open("w")  # noqa: SIM115

    def begin(self, step: Step) -> None:
        """A step begins, perhaps once more."""
        if step.name == self._failed:
            self.say("retest")
        self.say("begin", number=step.number, title=title(self._language, step.name, step.title))

    def result(self, result: StepResult) -> None:
        """It ended."""
        self._failed = result.step if result.status == "fail" else ""
        if result.status == "pass":
            self.say("pass", seconds=result.seconds)
            return
        if result.status not in ("fail",):
            self.say("begin", number=result.number, title=title(self._language, result.step, result.title))
        for reason in result.reasons:
            self.say(result.status, reason=reason_in(self._language, reason))


def _test(options: argparse.Namespace, store: Store, limits: Limits, digest: str, maker: StandMaker | None) -> int:
    label, purpose = _label(options, store, limits)
    if not options.operator:
        raise ConfigError("name the operator: --operator NAME")
    board = load_board(options.board)
    screen = Screen(options.language, silent=options.json)
    bench: Bench
    if options.simulated is not None:
        if maker is None:
            raise ConfigError("this installation has no simulator")
        bench = simulated(maker, board, seed=options.simulated, faults=_faults(options.fault), mac=label.mac)
    else:
        bench = HardwareBench(board, limits, fixture_on(options.fixture))
    operator: Operator = Console(options.language)
    if isinstance(bench, SimulatedBench):
        operator = bench.stand.person
    session = Session(
        store, limits, firmware=firmware_hash(), limits_hash=digest, operator=options.operator, now=time.time, iso=iso,
        talk=Talk(screen.begin, screen.result),
    )  # fmt: skip
    resume = options.resume
    for _ in range(MOST_RESTARTS):
        rig = rig_of(bench, board, limits, label, operator, iso(time.time())[:10])
        try:
            report = session.test(
                rig, resume=resume, restart=options.restart and not resume, purpose=purpose,
                demand_golden=not options.without_golden,
            )  # fmt: skip
            break
        except Restart:
            if not isinstance(bench, SimulatedBench):
                screen.say("restart", serial=label.serial)
                return GOES_ON
            resume = True
    else:
        raise ConfigError("the board restarts again and again")
    return _tell(options, purpose, session, screen, report)


def _label(options: argparse.Namespace, store: Store, limits: Limits) -> tuple[Label, Purpose]:
    """The label, from the command or, with --resume, from the test that was left; and what the test is for."""
    if options.resume:
        left = [head for head in store.waiting() if options.serial in ("", head.serial)]
        if len(left) != 1:
            names = ", ".join(head.serial for head in left) or "none"
            raise ConfigError(f"unfinished tests: {names}; name the one to go on with: --resume --serial TEXT")
        options.operator = options.operator or left[0].operator
        purpose = next((each for each in PURPOSES.values() if each == left[0].purpose), PURPOSES[None])
        return Label(left[0].serial, options.mac.strip().upper() or left[0].mac), purpose
    if not options.serial or not options.mac:
        raise ConfigError("scan the label: --serial and --mac are what is printed on it")
    label = Label(options.serial.strip(), options.mac.strip().upper())
    rules = limits.steps.identity
    if re.fullmatch(rules.serial, label.serial) is None:
        raise ConfigError(f"serial number {label.serial!r} does not match {rules.serial}; scan the label again")
    fault = mac_fault(label.mac, rules.mac_prefix)
    if fault:
        raise ConfigError(f"MAC address: {fault}; scan the label again")
    return label, PURPOSES[options.golden]


def _faults(words: list[str]) -> dict[str, float]:
    found = {}
    for word in words:
        name, _, size = word.partition("=")
        try:
            found[name] = float(size) if size else 1.0
        except ValueError:
            raise ConfigError(f"--fault {word!r}: the size is a number, as in clock-drift=120") from None
    return found


def _tell(options: argparse.Namespace, purpose: Purpose, session: Session, screen: Screen, report: Report) -> int:
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    failed = ", ".join(dict.fromkeys(title(options.language, one.step, one.title) for one in report.steps if one.status == "fail"))
    screen.say(f"verdict-{report.verdict}", serial=report.serial, steps=failed or "-")
    screen.say("report", path=session.text_path(report))
    if purpose == "golden record":
        screen.say("golden-kept", path=session.golden_record(report))
    elif purpose == "golden check":
        found, compared = session.golden_check(report)
        for drift in found:
            screen.say("fail", reason=drift.text())
        good = not found and report.verdict == "pass"
        screen.say("golden-good" if good else "golden-drift", numbers=compared)
        return 0 if good else 3
    return STATUS[report.verdict]


def _yield(options: argparse.Namespace, store: Store) -> int:
    found = work_out(store.runs(), options.since, [step.name for step in STEPS if step.name != "insulation"])
    sys.stdout.write(json.dumps(msgspec.to_builtins(found), indent=2) + "\n" if options.json else text_table(found))
    return 0
