"""A post office over the simulated chips: serves the mail boxes of a world segment, for tests that need no world."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import threading

from firmware.app.sockets import WORLD_BYTES, world_segment
from firmware.sim.chip_face import SimBoard

BELL_AT, MAIL_AT, MAIL_BYTES = 102840, 103224, 296
FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 240)
_LIBC = ctypes.CDLL(None)
TRANSFER, RESET, RELAY, SENSE, CLOCKS, STEP, INT, NOW = range(1, 9)


class Timespec(ctypes.Structure):
    """`struct timespec`."""

    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


_SLICE = Timespec(0, 20_000_000)


class Mail(ctypes.Structure):
    """`world_mail` of world_segment.h."""

    _fields_ = [
        ("asked", ctypes.c_uint32), ("answered", ctypes.c_uint32), ("op", ctypes.c_uint32), ("chain", ctypes.c_uint32),
        ("split", ctypes.c_uint32), ("size", ctypes.c_uint32), ("value", ctypes.c_int32), ("error", ctypes.c_int32),
        ("now_us", ctypes.c_int64), ("data", ctypes.c_uint8 * 256),
    ]  # fmt: skip


class PostOffice:
    """`fd` is the segment; chains 0 and 1 are the simulator's FXO and FXS buses."""

    def __init__(self, sim: SimBoard, fd: int = -1) -> None:
        self.sim = sim
        self.fd = fd if fd >= 0 else world_segment(0, None, 2)
        self.relay = False
        self.welded = False
        self.served: list[tuple[int, int]] = []
        self._memory = mmap.mmap(self.fd, WORLD_BYTES)
        self.boxes = [Mail.from_buffer(self._memory, MAIL_AT + number * MAIL_BYTES) for number in range(2)]
        self._bell = ctypes.c_uint32.from_buffer(self._memory, BELL_AT)
        self._open = False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._open = False
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def end(self) -> None:
        self.close()
        self.boxes.clear()
        del self._bell
        with contextlib.suppress(BufferError):
            self._memory.close()
        os.close(self.fd)

    def _serve(self) -> None:
        while self._open:
            seen = self._bell.value
            for number, box in enumerate(self.boxes):
                if box.asked != box.answered:
                    self.served.append((number, box.op))
                    try:
                        self._do(box)
                    except OSError as error:
                        box.error = error.errno or 5
                    box.now_us = self.sim.chips.us
                    box.answered = box.asked
                    _LIBC.syscall(FUTEX, ctypes.c_void_p(ctypes.addressof(box) + 4), 1, 1 << 30, None, None, 0)
            _LIBC.syscall(FUTEX, ctypes.c_void_p(ctypes.addressof(self._bell)), 0, seen, ctypes.byref(_SLICE), None, 0)

    def _do(self, box: Mail) -> None:
        name = ("fxo", "fxs")[box.chain] if box.chain < 2 else ""
        if not name:
            raise OSError(22, "no such chain")
        if box.op == TRANSFER:
            sent = list(box.data[: box.size])
            transfer = self.sim.spi[name].transfer
            back = [transfer([byte])[0] for byte in sent] if box.split else transfer(sent)
            box.data[: box.size] = back
        elif box.op == RESET:
            self.sim.gpio[f"reset-{name}"].write(bool(box.value))
        elif box.op == RELAY:
            self.relay = bool(box.value)
        elif box.op == SENSE:
            box.value = int(self.relay and not self.welded)
        elif box.op == CLOCKS:
            if box.value == 1:
                self.sim.pcm.start()
            elif box.value == 0:
                self.sim.pcm.stop()
            box.value = int(self.sim.pcm.clocks_running())
        elif box.op == STEP:
            self.sim.step(box.value)
        elif box.op == INT:
            box.value = int(self.sim.gpio[f"int-{name}"].read())

