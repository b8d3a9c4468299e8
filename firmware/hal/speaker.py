"""The loudspeaker of the appliance: A-law speech in RTP packets goes to an ALSA device (L3).

Theory of operation. `SoundOutput` is a thread with a UDP socket that takes packets of one sender only (the engine's RTP port) and an ALSA
device in A-law at 8 kHz: what the device cannot take itself, ALSA converts ("plughw:...", "default"), so no sample is touched here. The
device paces the writing; the socket's small buffer bounds how late speech can be, what does not fit is lost. A device that fails ends the
thread with one error in the log; the page goes on at the telephones.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

from firmware.errors import HardwareError

log = logging.getLogger("branchpbx.speaker")
RATE_HZ, PERIOD = 8000, 160
HEADER = 12
BUFFER = 4096                   # bytes of the socket: some 100 ms with the kernel's own bookkeeping
SILENCE = b"\xd5" * PERIOD
POLL_S = 0.2


def open_output(device: str) -> Any:
    """The ALSA device, ready to be written to. Raises HardwareError."""
    try:
        import alsaaudio
    except ImportError as error:
        raise HardwareError(f"the loudspeaker needs pyalsaaudio ({error}); install it, or set speaker.device to nothing") from None
    try:
        return alsaaudio.PCM(type=alsaaudio.PCM_PLAYBACK, mode=alsaaudio.PCM_NORMAL, device=device, channels=1, rate=RATE_HZ,
                             format=alsaaudio.PCM_FORMAT_A_LAW, periodsize=PERIOD)  # fmt: skip
    except alsaaudio.ALSAAudioError as error:
        raise HardwareError(f"sound device {device} cannot be opened: {error}; `aplay -L` lists the names, plughw:... converts") from None


class SoundOutput:
    """See the theory of operation. `host`: the address that the sender sends from; `port` is where it is to send to."""

    def __init__(self, device: str, host: str, sender: int) -> None:
        self._pcm = open_output(device)
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.bind((host, 0))
            self._socket.connect((host, sender))
            self._socket.settimeout(POLL_S)
        except OSError as error:
            self._socket.close()
            self._pcm.close()
            raise HardwareError(f"the loudspeaker cannot listen at {host}: {error}") from None
        self.port: int = self._socket.getsockname()[1]
        self.packets = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)

    def start(self) -> None:
        """Take packets from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Nothing is played any more; the device is free when the thread has ended."""
        self._over.set()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread ended in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                try:
                    packet = self._socket.recv(2048)
                except TimeoutError:
                    continue
                except ConnectionRefusedError:      # nothing was sent to the engine; an older port was there
                    continue
                speech = packet[HEADER:]
                if len(packet) < HEADER + 1 or packet[0] & 0xF0 != 0x80 or packet[1] & 0x7F != 8:
                    continue
                self.packets += 1
                # Periods are written whole; a shorter packet is filled up.
                for at in range(0, len(speech), PERIOD):
                    self._pcm.write(speech[at : at + PERIOD].ljust(PERIOD, SILENCE[:1]))
        except Exception as error:
            log.error("the loudspeaker failed, the page goes on at the telephones: %s", error)
        finally:
            self._pcm.close()
            self._socket.close()
