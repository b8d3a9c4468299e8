"""What core says of an RTP port, and its form as a command (L3)."""

from __future__ import annotations

from typing import Literal, TypedDict

from firmware.dsp import abi
from firmware.media.events import SrtpKeys

Codec = Literal["pcmu", "pcma", "g722", "opus"]


class RtpNeeded(TypedDict):
    """What `open_rtp` and `update_rtp` must be told. `remote`: address in the SDP (IPv4 or IPv6); `dtmf_type` None: keys in-band."""

    remote: tuple[str, int] | None
    codec: Codec
    payload_type: int
    dtmf_type: int | None
    ptime_ms: int
    send: bool
    receive: bool
    tag: str


class RtpPath(RtpNeeded, total=False):
    """And what they may be told.

    `dtmf_clock` (Hz): of the durations of keys, 8000; `comfort_noise`: the peer understands payload type 13; `srtp`: nothing goes or comes
    in clear; `rtcp`: where reports go, if not to the port above that of RTP (RFC 3605); `mux`: to that of RTP itself (RFC 5761).
    """

    dtmf_clock: int
    comfort_noise: bool
    srtp: SrtpKeys | None
    rtcp: tuple[str, int] | None
    mux: bool


def pack(path: RtpPath) -> bytes:
    """Body of open_rtp and update_rtp."""
    srtp = path.get("srtp")
    suite, ours, theirs = (srtp.suite, srtp.send, srtp.receive) if srtp is not None else ("", b"", b"")
    return abi.pack_rtp(
        path["remote"], str(path["codec"]), path["payload_type"], path["dtmf_type"], path["ptime_ms"], path["send"], path["receive"],
        path["tag"], path.get("dtmf_clock", 8000), path.get("comfort_noise", False),
        suite=suite, send_key=ours, receive_key=theirs, rtcp=path.get("rtcp"), mux=path.get("mux", False),
    )  # fmt: skip
