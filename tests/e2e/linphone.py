"""A real linphone as an ordinary SIP phone: its console on a pseudo-terminal, its microphone a file, its loudspeaker a file.

It opens no SIP socket without a default route, so it runs in a namespace that has one.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

from tests.e2e.appliance import DIE_WITH_TEST, wait_until
from tests.e2e.audio import Sound, read_wav
from tests.e2e.baresip import Machine
from tests.ports import free_port

CONFIG = """[sip]
sip_port={port}
sip_tcp_port=0
[sound]
echocancellation=0
"""
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r")
_BEGUN = re.compile(rb"\x1b(\[[0-9;?]*)?\Z")


class Linphone:
    """One phone; `answering` takes calls at once."""

    def __init__(self, folder: Path, *, microphone: Path, where: Machine, answering: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".local/share/linphone").mkdir(parents=True)
        config = folder / "linphonerc"
        config.write_text(CONFIG.format(port=where.inside(free_port)))
        self._screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (50, 400))      # no command is broken into lines
        self._text: list[str] = []
        self.process = subprocess.Popen(
            [*DIE_WITH_TEST, *where.prefix, "linphonec", "-c", str(config), *(["-a"] if answering else [])],
            stdin=terminal, stdout=terminal, stderr=terminal, cwd=folder, env={**os.environ, "HOME": str(folder)}, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait("linphonec>")
        self.say("soundcard use files")
        self.say(f"play {microphone}")
        self.say(f"record {folder / 'heard.wav'}")

    def _read(self) -> None:
        kept = b""                       # an escape sequence of which the rest comes with the next piece
        while True:
            try:
                data = os.read(self._screen, 4096)
            except OSError:
                return
            if not data:
                return
            data = kept + data
            begun = _BEGUN.search(data)
            kept = data[begun.start() :] if begun else b""
            self._text.append(_ESCAPES.sub(b"", data[: len(data) - len(kept)]).decode("utf-8", "replace"))

    def screen(self) -> str:
        return "".join(self._text)

    def say(self, command: str) -> int:
        """Type a command; where the screen was before."""
        before = len(self.screen())
        os.write(self._screen, command.encode() + b"\n")
        wait_until(lambda: command in self.screen()[before:], f"linphone reads {command}", 30)
        return before

    def wait(self, text: str, start: int = 0, timeout: float = 30.0) -> None:
        """Until the console says so."""
        wait_until(lambda: text in self.screen()[start:] or self.process.poll() is not None, f"linphone says {text!r}", timeout)
        assert text in self.screen()[start:], self.screen()[-1500:]

    def register(self, user: str, server: str, secret: str) -> None:
        self.say(f"register sip:{user}@{server} {server} {secret}")
        wait_until(lambda: "registered, identity" in self._status(), "linphone is registered", 30)

    def _status(self) -> str:
        start = self.say("status register")
        time.sleep(0.2)  # its answer comes with its next turn
        return self.screen()[start:]

    def heard(self) -> Sound:
        return read_wav(self.folder / "heard.wav")[0]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self._screen)
        self._reader.join(5)
