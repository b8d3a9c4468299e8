"""Runs a command so that Ctrl-C ends the command, and not the `make` around it.

`make` that receives SIGINT itself always ends with "Error" and status 130, however cleanly its child ended. So the command
gets a process group of its own and the terminal; the signals that reach this process are passed on to it. A SIGINT that
reaches `make` alone (a script that knows its pid) is noticed too: `make` then waits for us and catches that signal no more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

POLL_S = 0.5
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def has_terminal() -> bool:
    """True when this process owns a terminal in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def catches_interrupt(pid: int) -> bool:
    """True while process `pid` has a handler for SIGINT."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)
    except OSError:
        pass
    return False


def main(arguments: list[str]) -> int:
    """Run `arguments`; the result is its exit status."""
    terminal = has_terminal()
    parent = os.getppid()
    watched = catches_interrupt(parent)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = subprocess.Popen(arguments, process_group=0, restore_signals=True)
    if terminal:
        os.tcsetpgrp(0, child.pid)

    def forward(number: int, _frame: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, forward)
    try:
        while True:
            try:
                status = child.wait(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                if watched and not catches_interrupt(parent):
                    watched = False
                    child.send_signal(signal.SIGINT)
    finally:
        if terminal:
            os.tcsetpgrp(0, os.getpgrp())
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
