"""`branchpbx console --tty DEV`: the console on a serial port, one session after another.

Theory of operation
-------------------
The port is opened again after each hang-up, also when the device itself went away (a USB adapter): the service waits for it and never ends
by itself. It has the port as its controlling terminal nowhere, so neither ^C nor a hang-up of the line is a signal to it; both are bytes or
the end of bytes. With `--carrier` the modem's DCD ends a session; without it (three wires) only the time-out does.
A program that calls on the same line (`wire/detect.py`) gets the line until it leaves; a person's session ends with its call.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

from firmware.app import privilege
from firmware.surfaces.cli import errors
from firmware.surfaces.cli.port import SPEEDS, HungUp, Port, ToolCalls
from firmware.surfaces.cli.session import Patience, Session
from firmware.wire.detect import Detector

REOPEN_S = 1.0
CARRIER_S = 0.5

log = logging.getLogger("branchpbx.console")
Serve = Callable[[int, int, Path, bytes, Callable[[int], None] | None, int], bytes]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--tty", required=True, metavar="DEV", help="serial port, for example /dev/ttyS0")
    parser.add_argument("--baud", type=int, choices=sorted(SPEEDS), default=115200, help="speed (default: 115200)")
    parser.add_argument("--carrier", action="store_true", help="the modem line DCD ends a session")
    parser.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Serve the port until SIGTERM."""
    if options.parent:
        privilege.die_with_parent(options.parent)
    privilege.name_process("branchpbx-tty")
    signal.signal(signal.SIGTERM, _leave)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    patience = Patience()
    while True:
        with contextlib.suppress(OSError):
            descriptor = os.open(options.tty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                where = options.tty.removeprefix("/dev/")
                serve(descriptor, options.state, where, options.baud, carrier=options.carrier, patience=patience)
            finally:
                os.close(descriptor)
        time.sleep(REOPEN_S)


def serve(descriptor: int, state: Path, where: str, baud: int, *, carrier: bool = False, patience: Patience | None = None) -> None:
    """Sessions on an open port until it hangs up. Raises OSError."""
    patience = patience or Patience()
    first = True
    while True:
        port = Port(descriptor, descriptor, baud=baud, listen=Detector())
        port.make_raw(speed=baud, carrier=carrier)
        if first:
            termios.tcflush(descriptor, termios.TCIFLUSH)       # what came while nobody served is nobody's command
            first = False
        if carrier:
            _wait_for_carrier(descriptor)
        try:
            Session(port, state, where, patience).run()
        except HungUp:
            return
        except ToolCalls as call:
            _tool(descriptor, state, call.rest, baud)


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _wait_for_carrier(descriptor: int) -> None:
    while not struct.unpack("I", fcntl.ioctl(descriptor, termios.TIOCMGET, bytes(4)))[0] & termios.TIOCM_CD:
        time.sleep(CARRIER_S)


def _tool(descriptor: int, state: Path, rest: bytes, baud: int) -> None:
    from firmware.surfaces import provision

    def set_baud(speed: int) -> None:
        mode = termios.tcgetattr(descriptor)
        mode[4] = mode[5] = getattr(termios, f"B{speed}")
        termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)

    provision.serve(descriptor, descriptor, state, first=rest, set_baud=set_baud, baud=baud, say=errors.said)
    set_baud(baud)
