"""What a SIP leg is, and the part of the media façade it uses (L5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from firmware.sip.flow import Address
from firmware.sip.offer import AudioPath, OfferAnswer


class RtpPort(Protocol):
    """An allocated RTP port."""

    @property
    def port(self) -> int: ...
    @property
    def local_port(self) -> int: ...


class PhoneMedia(Protocol):
    """The part of the media façade that phones use (`docs/interfaces.md`); `codec` is "pcma" or "pcmu"."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def allocate_rtp(self, tag: str) -> RtpPort: ...
    def open_rtp(self, port: int, *, remote: Address | None, codec: Any, payload_type: int, dtmf_type: int | None, ptime_ms: int,
                 send: bool, receive: bool, tag: str) -> object: ...  # fmt: skip
    def update_rtp(self, port: int, *, remote: Address | None, codec: Any, payload_type: int, dtmf_type: int | None, ptime_ms: int,
                   send: bool, receive: bool, tag: str) -> object: ...  # fmt: skip
    def close_rtp(self, port: int) -> object: ...
    def send_dtmf(self, port: int, digits: str, *, token: int) -> object: ...


class LegIds(Protocol):
    """Source of leg ids."""

    def leg(self) -> str: ...


class PhoneLeg(msgspec.Struct):
    """A leg; plain values only, so that it is its own snapshot (`calls` are SIP call ids)."""

    leg: str
    extension: str
    outgoing: bool
    calls: list[str]
    negotiation: OfferAnswer
    answered: bool = False
    late: bool = False                   # we answered a call without offer: the path comes with the ACK
    rung: bool = False
    held: bool = False
    opened: bool = False
    port: int = -1
    local_port: int = 0
    status: int = 0                      # best final status of the contacts that failed so far
    ring_until: int = 0


class StoredLeg(msgspec.Struct):
    """Journal form of a leg: the leg and its SIP sessions."""

    leg: PhoneLeg
    sessions: dict[str, bytes]


def media_arguments(path: AudioPath, tag: str) -> dict[str, Any]:
    """Arguments of `open_rtp` and `update_rtp` for a path."""
    return {
        "remote": path.remote, "codec": path.codec, "payload_type": path.payload_type, "dtmf_type": path.dtmf_type,
        "ptime_ms": path.ptime_ms, "send": path.send, "receive": path.receive, "tag": tag,
    }  # fmt: skip
