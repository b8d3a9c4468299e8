"""The site: who answers here, in which country, language and time zone; where SIP and RTP listen."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from firmware.config.schema.base import Entry, about

Language = Literal["en", "zh"]
Country = Literal["CN", "US", "UK", "DE", "FR", "AU"]
AudioCodec = Literal["opus", "g722", "g711"]


class Site(Entry, frozen=True):
    """Identity of the branch."""

    name: Annotated[str, about("Name of the branch as screens and reports show it", min_length=1, max_length=60)] = "BranchPBX"
    company_clip: Annotated[
        str, about("Named clip spoken where a prompt says {company}; empty uses the variant without", pattern=r"^[a-z0-9_.-]*$")
    ] = ""
    country: Annotated[Country, about("Country profile: tones, ring, levels, emergency numbers", apply="restart-port")] = "CN"
    time_zone: Annotated[str, about("IANA time zone of the branch", min_length=1)] = "Asia/Shanghai"
    languages: Annotated[list[Language], about("Prompt languages offered, the first is the default", min_length=1, max_length=2)] = field(
        default_factory=lambda: ["zh", "en"]
    )


class Sip(Entry, frozen=True):
    """SIP listening points."""

    port: Annotated[int, about("UDP and TCP port; 0 picks a free one", ge=0, le=65535, apply="restart")] = 5060
    realm: Annotated[str, about("Digest realm that phones show", min_length=1, max_length=60, apply="restart")] = "branchpbx"
    registration_min_s: Annotated[int, about("Shortest registration granted", unit="s", ge=30, le=3600)] = 60
    registration_max_s: Annotated[int, about("Longest registration granted", unit="s", ge=60, le=86400)] = 3600


class Rtp(Entry, frozen=True):
    """RTP ports and jitter buffering."""

    first_port: Annotated[int, about("First even port of the RTP range; 0 picks free ports", ge=0, le=65000, apply="restart")] = 0
    calls: Annotated[int, about("RTP ports kept ready (two per SIP-SIP call)", ge=4, le=112, apply="restart")] = 64
    jitter_min_ms: Annotated[int, about("Smallest jitter buffer", unit="ms", ge=10, le=200)] = 20
    jitter_max_ms: Annotated[int, about("Largest jitter buffer", unit="ms", ge=20, le=500)] = 200
    codecs: Annotated[
        list[AudioCodec],
        about("Codecs for SIP phones, best first; g711 is always offered. Two phones with the same one keep full quality", max_length=3),
    ] = field(default_factory=lambda: ["opus", "g722", "g711"])
    silence_timeout_s: Annotated[int, about("End a SIP leg whose RTP stopped for this long, 0 never", unit="s", ge=0, le=3600)] = 60


class Recording(Entry, frozen=True):
    """Where recordings go and what they may use."""

    keep_days: Annotated[int, about("Recordings older than this are removed", unit="days", ge=1, le=3650)] = 90
    quota_mb: Annotated[int, about("Space for recordings; the oldest go first", unit="MB", ge=1, le=10_000_000)] = 2000
    reserve_mb: Annotated[int, about("No recording starts when less than this is free on the disk", unit="MB", ge=1, le=100_000)] = 50


class Features(Entry, frozen=True):
    """Feature codes, dialled from any phone."""

    login: Annotated[str, about("Agent log-in: code, then agent number # PIN #", pattern=r"^\*[0-9*]{1,4}$")] = "*11"
    logout: Annotated[str, about("Agent log-out", pattern=r"^\*[0-9*]{1,4}$")] = "*12"
    pause: Annotated[str, about("Pause: code, then a reason digit 1-9", pattern=r"^\*[0-9*]{1,4}$")] = "*13"
    ready: Annotated[str, about("Ready again, also ends wrap-up", pattern=r"^\*[0-9*]{1,4}$")] = "*14"
    hold: Annotated[str, about("Hold or resume, keyed within a call", pattern=r"^\*[0-9*]{1,4}$")] = "*2"
    transfer: Annotated[
        str, about("Transfer, keyed within a call: code, then the number; hang up to complete", pattern=r"^\*[0-9*]{1,4}$")
    ] = "*3"
    echo_test: Annotated[str, about("Echo test: you hear yourself", pattern=r"^\*[0-9*]{1,4}$")] = "*43"


class DayPart(Entry, frozen=True):
    """A greeting from a time of day on, until the next part begins."""

    start: Annotated[str, about("Local time hh:mm", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    greeting: Annotated[str, about("Prompt id", pattern=r"^[a-z0-9.]+$")]
