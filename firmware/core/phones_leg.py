"""What a SIP leg is, and the part of the media façade it uses (L5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from firmware.config.schema.tree import Config
from firmware.sip.flow import Address
from firmware.sip.offer import G711, AudioPath, OfferAnswer


class RtpPort(Protocol):
    """An allocated RTP port."""

    @property
    def port(self) -> int: ...
    @property
    def local_port(self) -> int: ...


class PhoneMedia(Protocol):
    """The part of the media façade that phones use (`docs/interfaces.md`); `codec` is one of `sip/offer.py`'s CODECS."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def allocate_rtp(self, tag: str) -> RtpPort: ...
    def open_rtp(self, port: int, *, remote: Address | None, codec: Any, payload_type: int, dtmf_type: int | None, ptime_ms: int,
                 send: bool, receive: bool, tag: str, dtmf_clock: int, comfort_noise: bool) -> object: ...  # fmt: skip
    def update_rtp(self, port: int, *, remote: Address | None, codec: Any, payload_type: int, dtmf_type: int | None, ptime_ms: int,
                   send: bool, receive: bool, tag: str, dtmf_clock: int, comfort_noise: bool) -> object: ...  # fmt: skip
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


def accounts(config: Config, secrets: Mapping[str, str]) -> dict[str, str]:
    """SIP extensions with their passwords."""
    return {number: secrets.get(number, "") for number, extension in config.extensions.items() if extension.kind == "sip"}


def codec_order(config: Config) -> tuple[str, ...]:
    """Codecs in our order of preference; of the two laws that of the country's network comes first, so that nothing is transcoded.

    G.711 is always there: every telephone has it, and an emergency call must not fail for want of a codec.
    """
    laws = ("pcmu", "pcma") if config.site.country == "US" else ("pcma", "pcmu")
    named = [codec for name in [*config.rtp.codecs, "g711"] for codec in (laws if name == "g711" else (name,))]
    return tuple(dict.fromkeys(named))


def suited_order(order: tuple[str, ...], partners: Sequence[PhoneLeg | None]) -> tuple[str, ...]:
    """The order for a leg with these partners: what they speak or offer comes first, so that packets can be relayed.

    None is a line or analog telephone: it has no more than G.711 to give, which then costs least.
    """
    first: list[str] = []
    for partner in partners:
        if partner is None:
            first = [codec for codec in order if codec in G711]
            break
        if partner.negotiation.path is not None:
            first = [partner.negotiation.path.codec]
        elif not first and not partner.outgoing:
            first = [codec for codec in order if codec in partner.negotiation.offered()]
    return tuple(dict.fromkeys([*(codec for codec in first if codec in order), *order]))


def media_arguments(path: AudioPath, tag: str) -> dict[str, Any]:
    """Arguments of `open_rtp` and `update_rtp` for a path."""
    return {
        "remote": path.remote, "codec": path.codec, "payload_type": path.payload_type, "dtmf_type": path.dtmf_type,
        "ptime_ms": path.ptime_ms, "send": path.send, "receive": path.receive, "tag": tag,
        "dtmf_clock": path.dtmf_clock, "comfort_noise": path.comfort_noise,
    }  # fmt: skip
