"""Desk telephones that fetch their settings from this box, and the service that hands them out."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about

Vendor = Literal["yealink", "grandstream", "snom", "fanvil"]
Transport = Literal["tls", "tcp", "udp"]
Subnet = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$")]


class LineKey(Entry, frozen=True):
    """One programmable key of a telephone, in order from the first."""

    kind: Annotated[
        Literal["line", "lamp", "dial"],
        about("line: an extension of this telephone; lamp: shows the state of a number and picks its calls up; dial: speed dial"),
    ]
    value: Annotated[
        str, about("Number; for a line the extension, for a lamp an extension, line/N or a code", pattern=r"^[0-9A-Za-z*#+/_.-]{0,40}$")
    ] = ""
    label: Annotated[str, about("Text beside the key; empty: the name of the extension, or the number", max_length=24)] = ""


class Phone(Entry, frozen=True, kw_only=True):
    """A desk telephone; the table key is its MAC address, 12 hexadecimal digits in lower case."""

    vendor: Annotated[Vendor, about("Make of the telephone")]
    model: Annotated[str, about("Model as printed on it (T46U); empty: as it tells itself", pattern=r"^[A-Za-z0-9+_-]{0,20}$")] = ""
    extensions: Annotated[
        list[str], about("Extensions it registers, the first is its main one", ref="extensions", min_length=1, max_length=6)
    ]
    keys: Annotated[list[LineKey], about("Programmable keys in order; none: one line key for each extension", max_length=60)] = field(
        default_factory=list
    )
    lamps: Annotated[str, about("List of lamps that it watches with one subscription; its members follow the keys", ref="lists")] = ""
    language: Annotated[Literal["", "en", "zh"], about("Language of its screen; empty: the first language of the site")] = ""


class Provisioning(Entry, frozen=True):
    """The service from which telephones fetch their settings."""

    enabled: Annotated[bool, about("Hand settings out to telephones, over HTTPS with the box's own certificate", role="admin")] = False
    port: Annotated[int, about("TCP port of HTTPS; 0 picks a free one", ge=0, le=65535, role="admin")] = 8443
    bootstrap_port: Annotated[
        int,
        about(
            "TCP port of plain HTTP for telephones that do not trust this box yet: they get its CA and the HTTPS address there, "
            "never a password; 0 none", ge=0, le=65535, role="admin",
        ),
    ] = 0
    address: Annotated[
        str, about("Address or host name of this box as telephones reach it; empty: the address that it listens on",
                   pattern=r"^([A-Za-z0-9:][A-Za-z0-9.:-]{0,252})?$"),
    ] = ""  # fmt: skip
    networks: Annotated[
        list[Subnet],
        about("Networks whose telephones need no one-time link; none: private networks (RFC 1918, RFC 4193)", max_length=16, role="admin"),
    ] = field(default_factory=list)
    transport: Annotated[Transport, about("How telephones are told to register")] = "tls"
    pnp: Annotated[bool, about("Answer telephones that ask the multicast address 224.0.1.75 for their settings")] = True
    armed_h: Annotated[
        int, about("A telephone may fetch its passwords, once, for this long after it was added or armed again", unit="h", ge=1, le=720)
    ] = 72
    per_minute: Annotated[int, about("Files handed to one address in a minute; more is answered 429", ge=2, le=600)] = 30
    refresh_h: Annotated[int, about("Telephones look for changed settings this often", unit="h", ge=1, le=168)] = 24
    time_server: Annotated[
        str, about("NTP server that telephones are told; empty: they keep their own", pattern=r"^([A-Za-z0-9][A-Za-z0-9.:-]{0,252})?$")
    ] = ""
