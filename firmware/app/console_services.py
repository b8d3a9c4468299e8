"""Keeps the ways to the console open: the serial port's service and the SSH daemon, as processes of manage.

Theory of operation
-------------------
`Services.run` is a task of manage. Each round it compares what the configuration wants with what runs: a service whose command line has
changed is ended and started anew (people on the serial port are logged out then, those on SSH keep their sessions), one that ended by
itself is started again after a pause that doubles up to `LONGEST_S`. Without configuration nothing is started. The processes end with
manage. What the SSH daemon tells of wrong passwords goes to `ssh_watch.py`. What each of them does is in `console_tty.py` and `ssh.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from firmware.app.site import ROOT
from firmware.app.ssh import SshError, prepare
from firmware.app.ssh_watch import SshWatch
from firmware.config.schema.tree import Config
from firmware.control.console_commands import ConsoleRow

ROUND_S = 0.5
LONGEST_S = 30.0
STEADY_S = 10.0
END_S = 2.0

log = logging.getLogger("branchpbx.console")


class Service:
    """One process that is wanted or not."""

    def __init__(self, what: str, hear: Callable[[str, int], None] | None = None) -> None:
        self.what = what
        self._hear = hear
        self.where = ""
        self.command: tuple[str, ...] = ()
        self.process: asyncio.subprocess.Process | None = None
        self.state = "off"
        self._pause = 1.0
        self._retry_at = 0.0
        self._began = 0.0
        self._listening: asyncio.Future[None] | None = None

    async def want(self, command: tuple[str, ...], where: str) -> None:
        """Bring the process to what is wanted; an empty command is none."""
        if self.process is not None and self.process.returncode is not None:
            self._ended(self.process.returncode)
        if command != self.command:
            await self.stop()
            self.command, self.where, self._retry_at, self._pause = command, where, 0.0, 1.0
        if not command:
            self.state = "off"
        elif self.process is None and time.monotonic() >= self._retry_at:
            await self._start()

    async def _start(self) -> None:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE if self._hear is not None else None,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except OSError as error:
            self._failed(f"cannot be started ({error.strerror})")
            return
        self._began = time.monotonic()
        self.state = "running"
        if self._hear is not None and self.process.stderr is not None:
            self._listening = asyncio.ensure_future(self._listen(self.process.stderr, self._hear, self.process.pid))
        log.info("%s: started on %s, pid %d", self.what, self.where, self.process.pid)

    async def _listen(self, output: asyncio.StreamReader, hear: Callable[[str, int], None], pid: int) -> None:
        """What the process tells, line by line; children of it that outlive it tell on."""
        while True:
            try:
                line = await output.readline()
            except ValueError:                          # longer than a line can be: none of ours
                continue
            if not line:
                return
            hear(line.decode("ascii", "replace"), pid)

    def _ended(self, status: int) -> None:
        self.process = None
        if time.monotonic() - self._began > STEADY_S:
            self._pause = 1.0
        self._failed(f"ended with status {status}")

    def _failed(self, why: str) -> None:
        log.warning("%s: %s; tried again in %.0f s", self.what, why, self._pause)
        self.state = why
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(LONGEST_S, self._pause * 2)

    async def stop(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


class Services:
    """See the theory of operation above."""

    def __init__(
        self, state: Path, bind: str, configuration: Callable[[], Config], audit: Callable[[str, str, str, str], None] = lambda *_: None
    ) -> None:
        self._state, self._bind, self._config = state, bind, configuration
        self._serial = Service("serial console")
        self._ssh = Service("SSH", self._said)
        self._audit = audit
        self._watch = SshWatch(self._refused, lambda: float(configuration().console.wrong_wait_s))
        self._ssh_fault = ""

    def _said(self, text: str, pid: int) -> None:
        sys.stderr.write(text)
        self._watch.heard(text, pid, time.monotonic())

    def _refused(self, name: str, where: str, outcome: str) -> None:
        """A wrong password over SSH."""
        user = self._config().users.get(name)
        self._audit(name, user.role if user is not None else "viewer", where, outcome)

    def rows(self) -> list[ConsoleRow]:
        """For `show consoles`."""
        return [
            ConsoleRow("serial", self._serial.where, self._serial.state),
            ConsoleRow("ssh", self._ssh.where, self._ssh_fault or self._ssh.state),
        ]

    async def run(self) -> None:
        """The task of manage."""
        try:
            while True:
                config = self._config()
                await self._serial.want(self._serial_command(config), f"{config.console.tty} {config.console.baud}")
                await self._ssh.want(await self._ssh_command(config), f"{self._bind}:{config.ssh.port}")
                self._watch.look(time.monotonic())
                await asyncio.sleep(ROUND_S)
        finally:
            self._watch.look(0.0, all_of_them=True)
            await asyncio.shield(asyncio.gather(self._serial.stop(), self._ssh.stop()))

    def _serial_command(self, config: Config) -> tuple[str, ...]:
        console = config.console
        if not console.tty:
            return ()
        options = ["--tty", console.tty, "--baud", str(console.baud), "--state", str(self._state), "--parent", str(os.getpid())]
        return (sys.executable, "-m", "firmware", "console", *options, *(["--carrier"] if console.carrier else []))

    async def _ssh_command(self, config: Config) -> tuple[str, ...]:
        """Files are written anew where users have changed; the daemon reads them at each log-in."""
        if not config.ssh.enabled:
            self._ssh_fault = ""
            return ()
        try:
            command = await asyncio.to_thread(prepare, self._state, self._bind, config)
        except SshError as error:
            if not self._ssh_fault:
                log.error("SSH: %s", error)
            self._ssh_fault = str(error)
            return ()
        self._ssh_fault = ""
        return command
