"""What a SIP leg is, and the part of the media façade it uses (L5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from firmware.call.quality import Quality
from firmware.config.schema.tree import Config
from firmware.media.events import SrtpKeys
from firmware.sip.flow import Address
from firmware.sip.offer import G711, AudioPath, OfferAnswer


class RtpPort(Protocol):
    """An allocated RTP port."""

    @property
    def port(self) -> int: ...
    @property
    def local_port(self) -> int: ...


class Asked(Protocol):
    """An answer that is on its way, as a future gives it."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> object: ...


class PhoneMedia(Protocol):
    """The part of the media façade that phones use (`docs/interfaces.md`); `codec` is one of `sip/offer.py`'s CODECS."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def allocate_rtp(self, tag: str) -> RtpPort: ...
    def open_rtp(self, port: int, *, remote: Address | None, codec: Any, payload_type: int, dtmf_type: int | None, ptime_ms: int,
                 send: bool, receive: bool, tag: str, dtmf_clock: int, comfort_noise: bool,
                 srtp: SrtpKeys | None, rtcp: Address | None, mux: bool) -> object: ...  # fmt: skip
    def update_rtp(self, port: int, *, remote: Address | None, codec: Any, payload_type: int, dtmf_type: int | None, ptime_ms: int,
                   send: bool, receive: bool, tag: str, dtmf_clock: int, comfort_noise: bool,
                   srtp: SrtpKeys | None, rtcp: Address | None, mux: bool) -> object: ...  # fmt: skip
    def close_rtp(self, port: int) -> object: ...
    def quality(self, port: int) -> Quality | None: ...
    def send_dtmf(self, port: int, digits: str, *, token: int) -> object: ...
    def side(self, port: int, what: str, **args: Any) -> Asked: ...


class LegIds(Protocol):
    """Source of leg ids."""

    def leg(self) -> str: ...


class PhoneLeg(msgspec.Struct, omit_defaults=True):
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
    released_with: str = ""              # a carrier was asked to join it with this other leg of the same trunk itself
    replaces: bool = False               # it came to take another call's place (RFC 3891)
    asked: dict[str, OfferAnswer] = {}   # by call, while a called extension rings: what each of its contacts was offered


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
    return _codec_order(config.site.country, tuple(config.rtp.codecs))


@lru_cache(maxsize=4)
def _codec_order(country: str, codecs: tuple[str, ...]) -> tuple[str, ...]:
    laws = ("pcmu", "pcma") if country == "US" else ("pcma", "pcmu")
    named = [codec for name in [*codecs, "g711"] for codec in (laws if name == "g711" else (name,))]
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
    keys = SrtpKeys(path.keys.suite, path.keys.send, path.keys.receive) if path.keys is not None else None
    return {
        "remote": path.remote, "codec": path.codec, "payload_type": path.payload_type, "dtmf_type": path.dtmf_type,
        "ptime_ms": path.ptime_ms, "send": path.send, "receive": path.receive, "tag": tag,
        "dtmf_clock": path.dtmf_clock, "comfort_noise": path.comfort_noise,
        "srtp": SrtpKeys("DTLS", b"", b"") if path.dtls is not None else keys,
        "rtcp": path.rtcp, "mux": path.mux,
    }  # fmt: skip
