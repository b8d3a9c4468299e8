"""A terminal at the end of descriptors: raw mode, keys while something else is awaited, output at the pace of the line.

Theory of operation
-------------------
One thread, one `select`: whoever waits (for a key, for the appliance, for the line to take more bytes) reads what is typed meanwhile, so
that a paste at any speed finds its place here and not in a port's small buffer. Keys typed ahead wait in order, at most `TYPED` of them;
what comes on top is dropped and told by `lost`, but for ^C, which clears them all. ^C while something runs throws away what was typed
ahead and raises `Stop`; at a prompt it is a key like others. The end of the line (hang-up, closed window, unplugged adapter) raises
`HungUp` wherever the session is. A framed tool on the same line is recognised by `listen`, which sees every byte first; its call raises
`ToolCalls`. A break makes no key, bytes with framing errors are ignored by the port itself (IGNBRK, IGNPAR).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
import time
from collections import deque
from typing import Any, Protocol

from firmware.errors import PbxError
from firmware.surfaces.cli.leaving import Stop
from firmware.surfaces.cli.terminal import Key, Keys, Pace, wire

TYPED = 65_536
READ = 4096
SPEEDS = {9600: termios.B9600, 19200: termios.B19200, 38400: termios.B38400, 57600: termios.B57600, 115200: termios.B115200}


class HungUp(PbxError):
    """The terminal is gone."""


class Idle(PbxError):
    """No key for the time that a session may rest."""


class ToolCalls(Exception):
    """A program speaks on this line; `rest` are its bytes so far."""

    def __init__(self, rest: bytes) -> None:
        super().__init__("a tool calls")
        self.rest = rest


class Listen(Protocol):
    """Tells a tool's bytes from a person's (`firmware/wire/detect.py`)."""

    found: bool
    rest: bytes

    def receive(self, data: bytes, now: int) -> bytes:
        """Bytes that are a person's."""

    def deadline(self) -> int | None:
        """When what is held back is a person's after all."""

    def expire(self, now: int) -> bytes:
        """What was held back."""


def now_ms() -> int:
    """Steady clock."""
    return time.monotonic_ns() // 1_000_000


class Port:
    """See the theory of operation above. `baud` 0: a terminal without a speed of its own (SSH, a window)."""

    def __init__(
        self,
        source: int,
        target: int,
        *,
        baud: int = 0,
        columns: int = 80,
        rows: int = 24,
        clear: bool = True,
        listen: Listen | None = None,
    ) -> None:
        self._source, self._target = source, target
        self._columns, self._rows = columns, rows
        self.clear = clear
        """The terminal understands VT100's clearing of the screen."""
        self.idle_s = 0
        """Seconds without a key after which `key`, and `wait` while something runs, raise Idle; 0 never."""
        self.lost = 0
        self._pace = Pace(baud)
        self._keys = Keys()
        self._typed: deque[Key] = deque()
        self._listen = listen
        self._running = False
        self._saved: list[Any] | None = None
        self._last_key = now_ms()
        os.set_blocking(source, False)
        os.set_blocking(target, False)

    # --- the line itself ----------------------------------------------------------------------------------------------

    def make_raw(self, *, speed: int = 0, carrier: bool = False) -> None:
        """Every key at once, nothing echoed or changed by the port. `speed` of a serial line; `carrier`: its DCD counts."""
        try:
            self._saved = termios.tcgetattr(self._source)
        except termios.error:
            return                          # no terminal: a pipe
        mode = termios.tcgetattr(self._source)
        mode[0] = termios.IGNBRK | termios.IGNPAR
        mode[1] = 0
        mode[2] = (mode[2] & ~(termios.PARENB | termios.CSTOPB | termios.CSIZE)) | termios.CS8 | termios.CREAD
        if speed:
            mode[2] = (mode[2] | termios.HUPCL) if carrier else (mode[2] | termios.CLOCAL)
            if carrier:
                mode[2] &= ~termios.CLOCAL
            mode[4] = mode[5] = SPEEDS[speed]
        mode[3] = 0
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._source, termios.TCSANOW, mode)

    def restore(self) -> None:
        """The terminal as it was found."""
        for descriptor in (self._source, self._target):
            with contextlib.suppress(OSError):
                os.set_blocking(descriptor, True)
        if self._saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._source, termios.TCSADRAIN, self._saved)

    def size(self) -> tuple[int, int]:
        """Columns and rows: what the terminal says, else what was configured."""
        with contextlib.suppress(OSError):
            rows, columns = struct.unpack("4H", fcntl.ioctl(self._target, termios.TIOCGWINSZ, bytes(8)))[:2]
            if columns >= 20 and rows >= 3:
                return min(columns, 500), min(rows, 500)
        return self._columns, self._rows

    def resize(self, columns: int, rows: int) -> None:
        """For a terminal that does not tell its size."""
        self._columns, self._rows = columns, rows

    # --- output -------------------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Send text, as fast as the line takes it. Raises HungUp, and Stop while something runs."""
        data = memoryview(wire(text))
        while data:
            room = self._pace.room(now_ms())
            if not room:
                self._pump(max(0.005, self._pace.wait_ms(now_ms()) / 1000))
                continue
            try:
                count = os.write(self._target, data[:room])
            except BlockingIOError:
                self._pump(1.0, writing=True)
                continue
            except OSError as error:
                raise HungUp(f"the terminal is gone ({error.strerror})") from error
            self._pace.sent(count, now_ms())
            data = data[count:]
            if self._running:
                self._pump(0.0)

    # --- input --------------------------------------------------------------------------------------------------------

    def key(self, timeout_s: float | None = None) -> Key | None:
        """The next key, None when none comes in time. Raises HungUp, Idle, ToolCalls."""
        until = None if timeout_s is None else now_ms() + int(timeout_s * 1000)
        while not self._typed:
            now = now_ms()
            limits = [] if until is None else [until - now]
            if self.idle_s:
                rest = self._last_key + self.idle_s * 1000 - now
                if rest <= 0:
                    raise Idle("no key for too long")
                limits.append(rest)
            if until is not None and now >= until:
                return None
            self._pump(max(0, min(limits)) / 1000 if limits else 3600.0)
        return self._typed.popleft()

    @property
    def ahead(self) -> bool:
        """True when keys were typed ahead."""
        return bool(self._typed)

    def put_back(self, key: Key) -> None:
        """The next key, again."""
        self._typed.appendleft(key)

    def forget(self) -> None:
        """Throw away what was typed ahead."""
        self._typed.clear()

    @contextlib.contextmanager
    def running(self) -> Any:
        """While the body runs, ^C raises Stop from `write` and `wait`."""
        self._running = True
        try:
            yield
        finally:
            self._running = False

    def wait(self, seconds: float, also: int | None = None) -> bool:
        """Let time pass, reading keys; True as soon as the descriptor `also` can be read. Raises Stop, HungUp, Idle, ToolCalls."""
        until = now_ms() + int(seconds * 1000)
        while True:
            left = until - now_ms()
            if self._running and self.idle_s:
                rest = self._last_key + self.idle_s * 1000 - now_ms()
                if rest <= 0:
                    raise Idle("what runs was left alone for too long")
                left = min(left, rest)
            if self._pump(max(0, left) / 1000, also=also):
                return True
            if until <= now_ms():
                return False

    def _pump(self, seconds: float, *, also: int | None = None, writing: bool = False) -> bool:
        """One `select`: take what is typed. True when `also` can be read."""
        for deadline in (self._keys.deadline(), None if self._listen is None else self._listen.deadline()):
            if deadline is not None:
                seconds = min(seconds, max(0.0, (deadline - now_ms()) / 1000 + 0.001))
        readers = [self._source] if also is None else [self._source, also]
        ready, _, _ = select.select(readers, [self._target] if writing else [], [], seconds)
        now = now_ms()
        if self._source in ready:
            self._take(self._read(), now)
        else:
            self._keys.expire(now)
            due = None if self._listen is None else self._listen.deadline()
            if self._listen is not None and due is not None and now >= due:
                self._keep(self._listen.expire(now), now)
        return also is not None and also in ready

    def _read(self) -> bytes:
        try:
            data = os.read(self._source, READ)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.EINTR:
                return b""
            raise HungUp(f"the terminal is gone ({error.strerror})") from error
        if not data:
            raise HungUp("the terminal is gone (end of input)")
        return data

    def _take(self, data: bytes, now: int) -> None:
        if self._listen is not None:
            data = self._listen.receive(data, now)
            if self._listen.found:
                raise ToolCalls(self._listen.rest)
        self._keep(data, now)

    def _keep(self, data: bytes, now: int) -> None:
        keys = self._keys.feed(data, now)
        rested = bool(self.idle_s) and now - self._last_key >= self.idle_s * 1000
        if keys:
            self._last_key = now
        if self._running and any(key.name == "interrupt" for key in keys):
            last = max(at for at, key in enumerate(keys) if key.name == "interrupt")
            self._typed.clear()
            self._typed.extend(keys[last + 1 :])
            self._running = False
            if rested:
                raise Idle("what ran was left alone for too long")      # whoever ends it now need not be who began it
            raise Stop
        for key in keys:
            if len(self._typed) < TYPED:
                self._typed.append(key)
            elif key.name == "interrupt":
                self._typed.clear()                 # ^C reaches through any flood
                self._typed.append(key)
            else:
                self.lost += 1
