"""The site: who answers here, in which country, language and time zone; where SIP and RTP listen."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.tariffs import CURRENCY

Language = Literal["en", "zh"]
Country = Literal["CN", "US", "UK", "DE", "FR", "AU"]
AudioCodec = Literal["opus", "g722", "g711"]
TlsClients = Literal["no", "optional", "required"]
WebOrigin = Annotated[str, Meta(pattern=r"^https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$")]
NameServer = Annotated[str, Meta(pattern=r"^([0-9.]+(:[0-9]{1,5})?|[0-9A-Fa-f:]+|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?)$")]
HostName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$")]


class Site(Entry, frozen=True):
    """Identity of the branch."""

    name: Annotated[str, about("Name of the branch as screens and reports show it", min_length=1, max_length=60)] = "BranchPBX"
    company_clip: Annotated[
        str, about("Named clip spoken where a prompt says {company}; empty uses the variant without", pattern=r"^[a-z0-9_.-]*$")
    ] = ""
    country: Annotated[Country, about("Country profile: tones, ring, levels, emergency numbers", apply="calls-drain")] = "CN"
    currency: Annotated[
        str, about("Currency of tariffs, three letters of ISO 4217 such as EUR; empty: the country's", pattern=CURRENCY)
    ] = ""
    time_zone: Annotated[str, about("IANA time zone of the branch", min_length=1, apply="control")] = "Asia/Shanghai"
    languages: Annotated[list[Language], about("Prompt languages offered, the first is the default", min_length=1, max_length=2)] = field(
        default_factory=lambda: ["zh", "en"]
    )
    self_test_at: Annotated[
        str,
        about(
            "Local time of the daily self-test of lines and phones, or as soon after as the branch is quiet; empty for never",
            apply="control",
            pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        ),
    ] = "03:40"


class Sip(Entry, frozen=True):
    """SIP listening points."""

    port: Annotated[int, about("UDP and TCP port; 0 picks a free one", ge=0, le=65535, apply="restart")] = 5060
    realm: Annotated[str, about("Digest realm that phones show", min_length=1, max_length=60, apply="control")] = "branchpbx"
    registration_min_s: Annotated[int, about("Shortest registration granted", unit="s", apply="control", ge=30, le=3600)] = 60
    registration_max_s: Annotated[int, about("Longest registration granted", unit="s", apply="control", ge=60, le=86400)] = 3600
    external_address: Annotated[
        str,
        about(
            "Address, or host name, under which the public network reaches this box through a router that forwards the SIP and RTP ports; "
            "peers in private networks are not told it. Empty: none",
            pattern=r"^([A-Za-z0-9:][A-Za-z0-9.:-]{0,252})?$", apply="control",
        ),
    ] = ""
    name_servers: Annotated[
        list[NameServer],
        about("DNS servers asked for carriers' names (address, or address:port); none: the system's", max_length=4, apply="control"),
    ] = field(default_factory=list)
    keep_alive_s: Annotated[
        int,
        about(
            "How often a phone over UDP behind a router is asked, so that the router does not forget it; 0 never",
            unit="s", ge=0, le=600, apply="control",
        ),
    ] = 25
    dscp: Annotated[int, about("DSCP of SIP packets (24 is CS3, as RFC 4594 has it)", ge=0, le=63, apply="restart")] = 24
    tls: Annotated[bool, about("Listen for SIP over TLS (1.2 and 1.3)", apply="restart")] = True
    tls_port: Annotated[
        int, about("TCP port of SIP over TLS; 0 is the one after `port`, or a free one where that is 0", ge=0, le=65535, apply="restart")
    ] = 0
    tls_names: Annotated[
        list[HostName],
        about(
            "Further host names and addresses that phones use for this box, written into its own certificate",
            max_length=16, apply="control",
        ),
    ] = field(default_factory=list)
    tls_certificate: Annotated[
        str, about("PEM file of a certificate from elsewhere, its chain behind it; empty uses one by the box's own CA", apply="control")
    ] = ""
    tls_key: Annotated[
        str, about("PEM file of that certificate's private key; empty when `tls_certificate` holds it", apply="control")
    ] = ""
    tls_clients: Annotated[
        TlsClients,
        about("Client certificates: not asked for, checked where one is shown, or demanded of everybody who connects", apply="control"),
    ] = "no"
    tls_clients_ca: Annotated[str, about("PEM file of the CAs of client certificates; empty is the box's own CA", apply="control")] = ""
    tls_carriers_ca: Annotated[
        str, about("PEM file of the CAs that carriers' servers are checked against; empty: the system's", apply="control")
    ] = ""
    tls_carriers_certificate: Annotated[
        str, about("PEM file of the certificate shown to carriers, its chain behind it", apply="control")
    ] = ""
    tls_carriers_key: Annotated[
        str, about("PEM file of its private key; empty when `tls_carriers_certificate` holds it", apply="control")
    ] = ""
    wss: Annotated[
        bool, about("Listen for phones in browsers: SIP over secure WebSocket, with the certificate of TLS", apply="restart")
    ] = False
    wss_port: Annotated[
        int,
        about("TCP port of secure WebSocket; 0 is the second after `port`, or a free one where that is 0", ge=0, le=65535, apply="restart"),
    ] = 0
    wss_origins: Annotated[
        list[WebOrigin],
        about(
            "Web sites, as https://host or https://host:port, whose pages may be phones here, beside pages of this box itself",
            max_length=32, apply="control",
        ),
    ] = field(default_factory=list)


class Rtp(Entry, frozen=True):
    """RTP ports and jitter buffering."""

    first_port: Annotated[int, about("First even port of the RTP range; 0 picks free ports", ge=0, le=65000, apply="restart")] = 0
    calls: Annotated[int, about("RTP ports kept ready (two per SIP-SIP call), with RTCP ports above", ge=4, le=256, apply="restart")] = 64
    dscp: Annotated[int, about("DSCP of audio packets (46 is EF, as RFC 4594 has it)", ge=0, le=63, apply="restart")] = 46
    jitter_min_ms: Annotated[int, about("Smallest jitter buffer", unit="ms", apply="calls-drain", ge=10, le=200)] = 20
    jitter_max_ms: Annotated[int, about("Largest jitter buffer", unit="ms", apply="calls-drain", ge=20, le=500)] = 200
    codecs: Annotated[
        list[AudioCodec],
        about("Codecs for SIP phones, best first; g711 is always offered. Two phones with the same one keep full quality", max_length=3),
    ] = field(default_factory=lambda: ["opus", "g722", "g711"])
    silence_timeout_s: Annotated[int, about("End a SIP leg whose RTP stopped for this long, 0 never", unit="s", ge=0, le=3600)] = 60


class DayPart(Entry, frozen=True):
    """A greeting from a time of day on, until the next part begins."""

    start: Annotated[str, about("Local time hh:mm", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    greeting: Annotated[str, about("Prompt id", pattern=r"^[a-z0-9.]+$")]
    closing: Annotated[
        str, about("Prompt id behind the last words of a rating or message in this part, such as bye.night; empty: none",
                   pattern=r"^[a-z0-9.]*$")
    ] = ""
