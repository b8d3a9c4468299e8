"""spandsp and SpeexDSP of the distribution, for measurements on the same signals as our own blocks.

The loops over samples are in `peers.c`, compiled into `build/bench` when first needed; `missing()` says what has to be installed.
Sound is 16-bit little-endian bytes at 8 kHz unless a rate is given. Nothing in the product and no test of it needs this module.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from ctypes import CDLL, POINTER, c_int, c_uint8, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "bench"
PACKAGES = ("libspandsp-dev", "libspeexdsp-dev")
CNG, ANS, ANS_PR, ANSAM, ANSAM_PR, CED_OR_PREAMBLE, BELL_ANS = 1, 2, 3, 4, 5, 7, 8  # spandsp's MODEM_CONNECT_TONES_*


class PeersMissing(RuntimeError):
    """The peers cannot be compiled or loaded here."""


@cache
def library() -> Any:
    """The compiled shim."""
    source, target = HERE / "peers.c", BUILD / "peers.so"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        command = ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(part), str(source), "-lspandsp", "-lspeexdsp"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line or "cannot find" in line] or done.stderr.splitlines()
            raise PeersMissing(f"peers.c does not compile (packages {' '.join(PACKAGES)}): {lines[0] if lines else done.returncode}")
        part.replace(target)
    try:
        shim = CDLL(str(target))
    except OSError as error:
        raise PeersMissing(f"peers.so does not load (packages {' '.join(PACKAGES)}): {error}") from None
    for name in ("spandsp_echo", "speex_echo", "spandsp_dtmf", "spandsp_callerid", "spandsp_tones", "spandsp_modem", "spandsp_plc",
                 "spandsp_g722_encoder", "spandsp_g722_decoder", "speex_resampler", "speex_voice"):
        getattr(shim, f"peer_{name}_new").restype = c_void_p
    return shim


def missing() -> str:
    """Why the peers cannot run, or nothing."""
    try:
        library()
    except PeersMissing as error:
        return str(error)
    return ""


class _Peer:
    """An object of the shim, freed with its owner."""

    kind = ""

    def __init__(self, *arguments: int) -> None:
        self._shim = library()
        made = getattr(self._shim, f"peer_{self.kind}_new")(*arguments)
        if not made:
            raise ValueError(f"{self.kind} refuses {arguments}")
        self._state = c_void_p(made)

    def __del__(self) -> None:
        if getattr(self, "_state", None) is not None:
            getattr(self._shim, f"peer_{_FREED_BY.get(self.kind, self.kind)}_free")(self._state)


_FREED_BY = {"spandsp_modem": "spandsp_tones"}


def _pair(reference: bytes, captured: bytes) -> int:
    if len(reference) != len(captured) or len(reference) % 2:
        raise ValueError("reference and captured must be of one length of whole samples")
    return len(reference) // 2


class SpandspEcho(_Peer):
    """spandsp's line echo canceller (NLMS with a background filter); `nlp` with its comfort noise."""

    kind = "spandsp_echo"

    def __init__(self, tail_ms: int = 32, nlp: bool = False) -> None:
        super().__init__(tail_ms * 8, int(nlp))

    def process(self, reference: bytes, captured: bytes) -> bytes:
        n = _pair(reference, captured)
        out = ctypes.create_string_buffer(2 * n)
        self._shim.peer_spandsp_echo_run(self._state, bytes(reference), bytes(captured), out, n)
        return out.raw


class SpeexEcho(_Peer):
    """SpeexDSP's canceller (frequency domain, two filters); `nlp` adds the preprocessor's residual suppression.

    The length given to `process` must be whole frames; the output of a frame needs the whole frame (its latency)."""

    kind = "speex_echo"

    def __init__(self, tail_ms: int = 32, nlp: bool = False, frame_ms: int = 10, sample_rate: int = 8000) -> None:
        self.frame = sample_rate * frame_ms // 1000
        super().__init__(sample_rate, self.frame, sample_rate * tail_ms // 1000, int(nlp))

    def process(self, reference: bytes, captured: bytes) -> bytes:
        n = _pair(reference, captured)
        if n % self.frame:
            raise ValueError(f"{n} samples are no whole frames of {self.frame}")
        out = ctypes.create_string_buffer(2 * n)
        self._shim.peer_speex_echo_run(self._state, bytes(reference), bytes(captured), out, n)
        return out.raw


class SpandspDtmf(_Peer):
    """spandsp's DTMF receiver; arguments left out keep its own limits (twist in dB, level in dBm0)."""

    kind = "spandsp_dtmf"

    def __init__(self, dial_tone_filter: bool = False, twist_db: int = -1, reverse_twist_db: int = -1, level_dbm0: int = -99) -> None:
        super().__init__(int(dial_tone_filter), twist_db, reverse_twist_db, level_dbm0)

    def feed(self, samples: bytes) -> str:
        """The digits that ended in these samples."""
        n = len(samples) // 2
        room = n // 80 + 256
        out = ctypes.create_string_buffer(room)
        got = self._shim.peer_spandsp_dtmf_run(self._state, bytes(samples), n, out, room)
        return out.raw[:got].decode("ascii")


class SpandspFsk(_Peer):
    """spandsp's caller-id receiver: Bell 202 (CLASS) or V.23 (CLIP); messages whose checksum was right."""

    kind = "spandsp_callerid"

    def __init__(self, standard: Literal["bell202", "v23"] = "bell202") -> None:
        super().__init__(int(standard == "v23"))

    def feed(self, samples: bytes) -> list[bytes]:
        self._shim.peer_spandsp_callerid_run(self._state, bytes(samples), len(samples) // 2)
        room = ctypes.create_string_buffer(1 << 16)
        used = self._shim.peer_spandsp_callerid_take(self._state, room)
        raw, at, messages = room.raw[:used], 0, []
        while at < used:
            length = raw[at] | raw[at + 1] << 8
            messages.append(raw[at + 2 : at + 2 + length])
            at += 2 + length
        return messages


class _Tones(_Peer):
    def feed(self, samples: bytes) -> list[int]:
        """What was reported: numbers of tones; an end is -1 (cadences) or 0 (modem tones)."""
        codes = (c_int * 4096)()
        used = self._shim.peer_spandsp_tones_run(self._state, bytes(samples), len(samples) // 2, codes)
        return list(codes[:used])


class SpandspTones(_Tones):
    """spandsp's call progress detector. A tone is its cadence: parts of (f1 Hz, f2 Hz, least ms, most ms); 0 for no frequency and no
    upper bound. Tones are numbered from 0 in the order given."""

    kind = "spandsp_tones"

    def __init__(self, *tones: Sequence[tuple[int, int, int, int]]) -> None:
        super().__init__()
        for parts in tones:
            number = self._shim.peer_spandsp_tones_tone(self._state)
            for part in parts:
                self._shim.peer_spandsp_tones_part(self._state, number, *part)
        self._shim.peer_spandsp_tones_start(self._state)


class SpandspModemTone(_Tones):
    """spandsp's detector of one fax or modem tone (CNG, ANS, ANS_PR, ... above)."""

    kind = "spandsp_modem"

    def __init__(self, tone: int) -> None:
        super().__init__(tone)


class SpandspPlc(_Peer):
    """spandsp's concealment of lost blocks (modelled on G.711 Appendix I)."""

    kind = "spandsp_plc"

    def __init__(self) -> None:
        super().__init__()

    def rx(self, samples: bytes) -> bytes:
        """A block that arrived; its beginning is blended with what was invented before."""
        block = ctypes.create_string_buffer(bytes(samples), len(samples))
        self._shim.peer_spandsp_plc_rx(self._state, block, len(samples) // 2)
        return block.raw

    def fillin(self, samples: int) -> bytes:
        """A block that was lost."""
        block = ctypes.create_string_buffer(2 * samples)
        self._shim.peer_spandsp_plc_fillin(self._state, block, samples)
        return block.raw

    def process(self, samples: bytes, block: int, lost: Sequence[bool]) -> bytes:
        """A whole stream; `lost[i]` says that block i (of `block` samples) was lost."""
        n = len(samples) // 2
        stream = ctypes.create_string_buffer(bytes(samples), len(samples))
        flags = bytes(map(int, lost)) + bytes(n // block + 1)
        self._shim.peer_spandsp_plc_run(self._state, stream, n, block, flags)
        return stream.raw


class _G722Encoder(_Peer):
    kind = "spandsp_g722_encoder"


class _G722Decoder(_Peer):
    kind = "spandsp_g722_decoder"


class SpandspG722:
    """spandsp's G.722 at 64 kbit/s; sound at 16 kHz."""

    def __init__(self) -> None:
        self._encoder, self._decoder = _G722Encoder(), _G722Decoder()

    def encode(self, samples: bytes) -> bytes:
        n = len(samples) // 2
        out = ctypes.create_string_buffer(n + 2)
        made = library().peer_spandsp_g722_encode(self._encoder._state, out, bytes(samples), n)
        return out.raw[:made]

    def decode(self, data: bytes) -> bytes:
        out = ctypes.create_string_buffer(4 * len(data) + 4)
        made = library().peer_spandsp_g722_decode(self._decoder._state, out, bytes(data), len(data))
        return out.raw[: 2 * made]


def spandsp_g711_encode(law: int, samples: bytes) -> bytes:
    """spandsp's companding; law 0 is mu, 8 is A."""
    n = len(samples) // 2
    out = ctypes.create_string_buffer(n)
    library().peer_spandsp_g711_encode(law, out, bytes(samples), n)
    return out.raw


def spandsp_g711_decode(law: int, data: bytes) -> bytes:
    """And back."""
    out = ctypes.create_string_buffer(2 * len(data))
    library().peer_spandsp_g711_decode(law, out, bytes(data), len(data))
    return out.raw


class SpeexResampler(_Peer):
    """SpeexDSP's resampler; quality 0 to 10 (3 is its usual one for telephony)."""

    kind = "speex_resampler"

    def __init__(self, from_hz: int, to_hz: int, quality: int = 3) -> None:
        self._ratio = to_hz / from_hz
        super().__init__(from_hz, to_hz, quality)

    def process(self, samples: bytes) -> bytes:
        n = len(samples) // 2
        room = int(n * self._ratio) + 64
        out = ctypes.create_string_buffer(2 * room)
        made = self._shim.peer_speex_resampler_run(self._state, bytes(samples), n, out, room)
        return out.raw[: 2 * made]


class SpeexVoice(_Peer):
    """SpeexDSP's gain control and voice activity detection."""

    kind = "speex_voice"

    def __init__(self, agc: bool = False, vad: bool = True, frame_ms: int = 20, sample_rate: int = 8000) -> None:
        self.frame = sample_rate * frame_ms // 1000
        super().__init__(sample_rate, self.frame, int(agc), int(vad))

    def process(self, samples: bytes) -> tuple[bytes, list[bool]]:
        """The sound and, for each frame, whether it was taken for speech."""
        n = len(samples) // 2
        stream = ctypes.create_string_buffer(bytes(samples), len(samples))
        flags = (c_uint8 * (n // self.frame + 1))()
        self._shim.peer_speex_voice_run(self._state, stream, n, ctypes.cast(flags, POINTER(c_uint8)))
        return stream.raw, [bool(flag) for flag in flags[: n // self.frame]]
