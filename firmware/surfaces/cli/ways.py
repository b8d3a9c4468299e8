"""The ways to a console: a command line, a terminal of this process's own, and the SSH daemon that has let somebody in."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import TextIO

from firmware.control.client import CommandFailed, NotRunning
from firmware.surfaces.cli.port import HungUp, Idle, Port
from firmware.surfaces.cli.screen import PlainScreen, TerminalScreen
from firmware.surfaces.cli.shell import Leave, Shell, Who


def main(state: Path, command: str | None, language: str) -> int:
    """`branchpbx cli [-c COMMAND]`."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return at_terminal(state, language, command=command)
    shell = Shell(state, out=sys.stdout, language=language)
    shell.screen = PlainScreen(sys.stdout, sys.stdin, language)
    if command is None:
        return shell.run(sys.stdin)
    try:
        return shell.once(command)
    except Leave:
        return 0
    except KeyboardInterrupt:
        return 130


def over_ssh(state: Path, most: int) -> int:
    """The console for a user whom the SSH daemon has let in; what it was asked to run is one line of the console."""
    user = os.environ.get("LOGNAME", "")
    where = f"ssh {os.environ.get('SSH_CONNECTION', '').partition(' ')[0]}".strip()
    system = Shell(state, who=Who("console", "admin", where))
    slot = _slot(state / "run", most)
    try:
        if slot is None:
            raise CommandFailed("refused", f"{most} connections are open already; close one")
        found = system.ask("console key", {"user": user, "where": where})
        facts = system.ask("console state", {})
    except (CommandFailed, NotRunning, OSError) as error:
        sys.stderr.write(f"branchpbx: {error}\n")
        return 1
    who = Who(found["user"], found["role"], where)
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if asked or not sys.stdin.isatty():
        shell = Shell(state, out=sys.stdout, language=found["language"], who=who)
        try:
            return shell.once(asked) if asked else shell.run(sys.stdin)
        except Leave:
            return 0
    return at_terminal(state, found["language"], who, idle_s=facts["idle_s"])


def _slot(folder: Path, most: int) -> TextIO | None:
    """One of as many places as there may be consoles over SSH; it is free again when this process ends."""
    for number in range(most):
        file = (folder / f"ssh-{number}.lock").open("w", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return file
    return None


def at_terminal(state: Path, language: str, who: Who | None = None, *, idle_s: int = 0, command: str | None = None) -> int:
    """The console on this process's own terminal; with `command` for that one line, whose answer is not paged."""
    port = Port(sys.stdin.fileno(), sys.stdout.fileno(), clear=os.environ.get("TERM", "vt100") not in ("", "dumb", "unknown"))
    port.make_raw()
    port.idle_s = idle_s
    try:
        screen = TerminalScreen(port, language, paging=command is None)
        shell = Shell(state, screen=screen, language=language, who=who, follow=command is None)
        return shell.converse() if command is None else shell.once(command)
    except Leave:
        return 0
    except (HungUp, Idle):
        return 0
    finally:
        port.restore()
