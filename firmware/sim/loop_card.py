"""The world's half of a loopback sound card (`snd-aloop`): its lines speak and hear through the kernel, as a line card's chips do.

Theory of operation. What media plays at the other half is captured here, and back. The card's clock paces the world: a block begins when
80 frames of it are there. Both streams go on for themselves; one that broke (this process was late by more than the card's buffer) is
counted and goes on behind silence. How far both halves are apart media learns from the spare slot, so a break here needs no word.
"""

from __future__ import annotations

from typing import Any

from firmware.errors import HardwareError

RATE_HZ, BLOCK = 8000, 80
PERIODS = 12                    # blocks of the card's buffers: how late the world may be
XRUN = 4                        # snd_pcm_state_t
PREFILL = 3                     # blocks of silence before anything is played


class LoopCard:
    """See above. `capture` and `playback` are as pyalsaaudio's PCM, not blocking: it mends a broken stream at the next access without a
    word, so the state is asked before. `failure`: what an access raises where the stream breaks meanwhile."""

    def __init__(self, capture: Any, playback: Any, channels: int, failure: type[Exception] = OSError) -> None:
        self._capture, self._playback, self._failure = capture, playback, failure
        self._bytes = 2 * BLOCK * channels
        self._waiting = b""
        self.capture_xruns = self.playback_xruns = 0
        self._fill()
        self._capture.read()                        # the stream starts with the first read

    def fileno(self) -> int:
        """Readable when a block may be there."""
        return int(self._capture.polldescriptors()[0][0])

    def read(self) -> bytes | None:
        """A block that media played; None while it is not complete."""
        broken = self._capture.state() == XRUN
        frames, data = self._capture.read()
        if broken or frames < 0:
            self.capture_xruns += 1
            self._waiting = b""
            if frames < 0:
                self._capture.read()
            return None
        self._waiting += data
        if len(self._waiting) < self._bytes:
            return None
        block, self._waiting = self._waiting[: self._bytes], self._waiting[self._bytes :]
        return block

    def write(self, block: bytes) -> None:
        """Let media hear a block."""
        if self._playback.state() == XRUN:
            self._again()
        try:
            self._playback.write(block)
        except self._failure:
            self._again()
            self._playback.write(block)

    def _again(self) -> None:
        self.playback_xruns += 1
        self._fill()

    def _fill(self) -> None:
        self._playback.write(bytes(PREFILL * self._bytes))

    def figures(self) -> dict[str, int]:
        """Breaks since the start."""
        return {"capture_xruns": self.capture_xruns, "playback_xruns": self.playback_xruns}

    def close(self) -> None:
        """Leave the card."""
        self._capture.close()
        self._playback.close()


def open_loop_card(device: str, channels: int) -> LoopCard:
    """The half that the board file names in `pcm.world`. HardwareError with the remedy."""
    try:
        import alsaaudio
    except ImportError as error:
        raise HardwareError(f"a world with a sound card needs pyalsaaudio ({error}); install it") from None
    try:
        capture, playback = (
            alsaaudio.PCM(kind, alsaaudio.PCM_NONBLOCK, device=device, rate=RATE_HZ, channels=channels, format=alsaaudio.PCM_FORMAT_S16_LE,
                          periodsize=BLOCK, periods=PERIODS)
            for kind in (alsaaudio.PCM_CAPTURE, alsaaudio.PCM_PLAYBACK)
        )  # fmt: skip
    except alsaaudio.ALSAAudioError as error:
        raise HardwareError(f"sound device {device} cannot be opened: {error}; load snd-aloop, see pcm.world of the board") from None
    return LoopCard(capture, playback, channels, alsaaudio.ALSAAudioError)
