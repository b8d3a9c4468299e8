"""The serial cable of the simulated box: its console port at one end, a port that a person or a tool opens at the other.

Two pseudo-terminals with a thread between them. The box's end is served by `branchpbx console`, as /dev/ttyS0 of a board is; the
other end is a port like a USB adapter's: `STATE/run/serial` leads to it, `branchpbx sim serial` is a terminal program for it, any
other terminal program and `tools/provision` open it by name. As with a cable of three wires, nobody at the far end means that what
the box says is lost, and unplugging does not log anybody out.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

from firmware.errors import PbxError

LINK = Path("run") / "serial"
LEAVE = b"\x1d"  # Ctrl-], as telnet and miniterm have it
CHUNK = 4096
PATIENCE_S = 1.0
ABSENT_S = 0.1  # between looks whether somebody has opened the far end


class Cable:
    """Plugged in while it lives; `port` is the far end. Raises OSError when the system has no pseudo-terminals left."""

    def __init__(self, state: Path) -> None:
        self._box, box_end = pty.openpty()
        self._person, person_end = pty.openpty()
        tty.setraw(box_end)
        tty.setraw(person_end)  # else the line discipline sends back to the box what the box says
        self.box_port, self.port = os.ttyname(box_end), os.ttyname(person_end)
        self._held = box_end  # the console opens and closes its end; the cable stays
        os.close(person_end)  # somebody has the far end open: told by its absence
        os.set_blocking(self._person, False)
        self._link = state / LINK
        self._link.parent.mkdir(parents=True, exist_ok=True)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(self.port)
        self._patience_s = PATIENCE_S
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="serial-cable", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Take it out; both ends hang up."""
        os.close(self._stop)
        self._thread.join()
        with contextlib.suppress(OSError):
            if str(self._link.readlink()) == self.port:
                self._link.unlink()
        for end in (self._box, self._held, self._person, self._wake):
            os.close(end)

    def _carry(self) -> None:
        while True:
            here = self._somebody_is_there()
            ends = [self._wake, self._box, *([self._person] if here else [])]
            ready, _, _ = select.select(ends, [], [], None if here else ABSENT_S)
            if self._wake in ready:
                return
            if self._box in ready:
                said = os.read(self._box, CHUNK)
                if here:
                    self._hand_over(said)
            if self._person in ready:
                with contextlib.suppress(OSError):  # EIO: closed this moment
                    os.write(self._box, os.read(self._person, CHUNK))

    def _somebody_is_there(self) -> bool:
        poll = select.poll()
        poll.register(self._person, 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _hand_over(self, said: bytes) -> None:
        """What is not taken within a second is lost, as on a line without flow control, and what follows, until some is taken again."""
        while said:
            if not select.select([], [self._person], [], self._patience_s)[1]:
                self._patience_s = 0.0
                return
            self._patience_s = PATIENCE_S
            try:
                said = said[os.write(self._person, said):]
            except OSError:
                return


@contextlib.contextmanager
def plugged_in(state: Path, before_exec: Callable[[], None], environment: dict[str, str]) -> Iterator[None]:
    """The cable with the box's console at its end, while the context lasts. Raises OSError as `Cable`."""
    cable = Cable(state)
    command = [sys.executable, "-m", "firmware", "console", "--tty", cable.box_port, "--state", str(state)]
    null = subprocess.DEVNULL
    served = subprocess.Popen(
        command, stdin=null, stdout=null, stderr=null, process_group=0, preexec_fn=before_exec, env=environment,  # noqa: PLW1509
    )  # fmt: skip
    try:
        yield
    finally:
        served.terminate()
        served.wait()
        cable.unplug()


def terminal(state: Path, says: str) -> int:
    """A terminal program: this terminal at the far end of the cable until Ctrl-]. Raises PbxError when there is none."""
    path = state / LINK
    try:
        line = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        remedy = "start the simulated box first (`branchpbx sim run`), or name its folder with --state"
        raise PbxError(f"{path}: {error.strerror}; {remedy}") from error
    keys, screen = sys.stdin.fileno(), sys.stdout.fileno()
    before = termios.tcgetattr(keys) if os.isatty(keys) else None
    os.write(screen, (says + "\r\n").encode())
    try:
        if before is not None:
            tty.setraw(keys)
        while True:
            ready, _, _ = select.select([line, keys], [], [])
            if line in ready:
                said = os.read(line, CHUNK)
                if not said:
                    return 0
                os.write(screen, said)
            if keys in ready:
                typed = os.read(keys, CHUNK)
                if not typed or LEAVE in typed:
                    return 0
                os.write(line, typed)
    except OSError:  # the box was switched off
        return 0
    finally:
        if before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
        os.close(line)
