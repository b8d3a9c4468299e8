"""The PCM bus through ALSA: one stream in each direction that never stops, aligned to the frame (L5).

Theory of operation
-------------------
Capture and playback of the board's sound device are linked, so they start at the same frame, and frame n of one stands on the bus together
with frame n of the other. A thread moves periods of 10 ms for as long as the stream is open: silence, what is held, or what an exchange
sends. An exchange begins at the first frame not yet written and ends when the same frames have been captured: its delay is the board's
alone, not that of the buffers. A break (xrun) starts both directions anew, is counted, and the exchange that suffered it comes back short
(silence), which its step then measures as a failure.
The library is called through ctypes, because nothing else on the board needs a Python binding of it.
Invariant: only the thread calls the library after `start`.
"""

from __future__ import annotations

import ctypes
import threading
from array import array
from collections.abc import Mapping
from typing import Any

from firmware.errors import HardwareError

RATE, PERIOD, PREFILL = 8000, 80, 6
FORMAT_S16_LE, ACCESS_INTERLEAVED = 2, 3
PLAYBACK, CAPTURE = 0, 1
LATENCY_US = 80_000


def load_library() -> Any:
    """libasound; HardwareError when it is not there."""
    try:
        library = ctypes.CDLL("libasound.so.2")
    except OSError as error:
        raise HardwareError(f"the ALSA library is missing ({error}); install libasound2") from None
    for name in ("snd_pcm_readi", "snd_pcm_writei"):
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_long, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong]
    return library


class _Job:
    """One exchange."""

    def __init__(self, play: Mapping[int, bytes], samples: int) -> None:
        self.play = {slot: array("h", data[: 2 * samples].ljust(2 * samples, b"\0")) for slot, data in play.items()}
        self.samples = samples
        self.begin = -1
        self.sent = 0
        self.captured = bytearray()
        self.done = threading.Event()


class AlsaHighway:
    """The bus as `Highway`."""

    def __init__(self, device: str, channels: int, library: Any = None) -> None:
        self._device = device
        self._channels = channels
        self._library = library if library is not None else load_library()
        self._handles: list[ctypes.c_void_p] = []
        self._thread: threading.Thread | None = None
        self._running = False
        self._held: dict[int, array[int]] = {}
        self._position = 0
        self._job: _Job | None = None
        self._written = self._read = 0
        self.xruns = 0
        self.fault = ""

    def start(self) -> None:
        """Open both directions."""
        if self._running:
            return
        self.xruns, self.fault = 0, ""
        self._open()
        self._running = True
        self._thread = threading.Thread(target=self._move, name="pcm", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close them; the clocks stop."""
        self._running = False
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None
        for handle in self._handles:
            self._library.snd_pcm_drop(handle)
            self._library.snd_pcm_close(handle)
        self._handles = []

    def clocks_running(self) -> bool:
        """True while periods move."""
        return self._running and not self.fault

    def hold(self, play: Mapping[int, bytes]) -> None:
        """Repeat these wherever nothing else is sent."""
        self._held = {slot: array("h", data) for slot, data in play.items() if data}

    def exchange(self, play: Mapping[int, bytes], samples: int) -> list[bytes]:
        """Send and return what stood on the bus in the same frames."""
        if not self._running:
            raise HardwareError(f"sound device {self._device}: the stream is not open")
        job = _Job(play, samples)
        self._job = job
        finished = job.done.wait(samples / RATE + 2.0)
        self._job = None
        if not finished:
            raise HardwareError(f"sound device {self._device}: no samples come ({self.fault or 'the clocks stand still'})")
        frames = array("h", bytes(job.captured[: 2 * samples * self._channels]).ljust(2 * samples * self._channels, b"\0"))
        return [frames[slot :: self._channels].tobytes() for slot in range(self._channels)]

    # --- the thread ----------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._handles = []
        for direction in (PLAYBACK, CAPTURE):
            handle = ctypes.c_void_p()
            self._check(self._library.snd_pcm_open(ctypes.byref(handle), self._device.encode(), direction, 0), "open")
            self._handles.append(handle)
            result = self._library.snd_pcm_set_params(handle, FORMAT_S16_LE, ACCESS_INTERLEAVED, self._channels, RATE, 0, LATENCY_US)
            self._check(result, f"set 8 kHz, 16 bit, {self._channels} channels")
        self._check(self._library.snd_pcm_link(self._handles[0], self._handles[1]), "link both directions")
        self._prime()

    def _prime(self) -> None:
        """Both directions begin at frame 0."""
        self._written = self._read = 0
        silence = ctypes.create_string_buffer(2 * PERIOD * self._channels)
        for _ in range(PREFILL):
            self._check(self._library.snd_pcm_writei(self._handles[PLAYBACK], silence, PERIOD), "write")
            self._written += PERIOD
        self._library.snd_pcm_start(self._handles[PLAYBACK])

    def _check(self, result: int, what: str) -> None:
        if result < 0:
            remedy = "check pcm.device and that nobody else uses it"
            raise HardwareError(f"sound device {self._device}: cannot {what} (error {result}); {remedy}")

    def _move(self) -> None:
        buffer = ctypes.create_string_buffer(2 * PERIOD * self._channels)
        try:
            while self._running:
                got = self._library.snd_pcm_readi(self._handles[CAPTURE], buffer, PERIOD)
                if got <= 0:
                    self._broken()
                    continue
                self._take(buffer.raw[: 2 * got * self._channels], got)
                block = self._block(PERIOD)
                if self._library.snd_pcm_writei(self._handles[PLAYBACK], block.tobytes(), PERIOD) < 0:
                    self._broken()
        except HardwareError as error:
            self.fault = str(error)

    def _broken(self) -> None:
        """A break: both directions from their first frame again; an exchange under way ends short."""
        self.xruns += 1
        job = self._job
        if job is not None and job.begin >= 0:
            job.done.set()
        self._check(self._library.snd_pcm_drop(self._handles[PLAYBACK]), "stop after a break")
        self._check(self._library.snd_pcm_prepare(self._handles[PLAYBACK]), "prepare after a break")
        self._prime()

    def _take(self, data: bytes, frames: int) -> None:
        first, self._read = self._read, self._read + frames
        job = self._job
        if job is None or job.begin < 0 or job.done.is_set():
            return
        skip = max(0, job.begin - first)
        if skip < frames:
            job.captured += data[2 * skip * self._channels :]
        if len(job.captured) >= 2 * job.samples * self._channels:
            job.done.set()

    def _block(self, frames: int) -> array[int]:
        """The next frames to play."""
        block = array("h", bytes(2 * frames * self._channels))
        held, job = self._held, self._job
        for slot, data in held.items():
            at = self._position % len(data)
            block[slot :: self._channels] = (data[at:] + data * (frames // len(data) + 1))[:frames]
        self._position += frames
        if job is not None and job.begin < 0:
            job.begin = self._written
        if job is not None and job.sent < job.samples:
            count = min(frames, job.samples - job.sent)
            for slot, data in job.play.items():
                block[slot : count * self._channels : self._channels] = data[job.sent : job.sent + count]
            job.sent += count
        self._written += frames
        return block
