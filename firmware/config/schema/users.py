"""Who may log in at the console and over SSH; the serial port that the console is on; the SSH service."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import Language

SshKey = Annotated[
    str,
    Meta(max_length=1000, pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]{20,900}( [A-Za-z0-9@._-]{1,60})?$"),
]


class User(Entry, frozen=True):
    """A person who logs in at the console; the table key is the log-in name."""

    name: Annotated[str, about("Name as audit and screens show it beside the log-in name", max_length=60)] = ""
    role: Annotated[
        Literal["viewer", "agent", "supervisor", "admin"], about("What this person may do: look, work at a seat, lead a shift, everything")
    ] = "viewer"
    password: Annotated[
        str,
        about(
            "Salted scrypt of the password, as the console's `password` writes it; empty: no log-in by password",
            secret=True, role="admin", pattern=r"^(\$7\$[./0-9A-Za-z]{11}[./0-9A-Za-z]{8,43}\$[./0-9A-Za-z]{43})?$",
        ),
    ] = ""
    language: Annotated[Language, about("Language that the console speaks with this person")] = "en"
    ssh_keys: Annotated[list[SshKey], about("Public keys with which this person enters over SSH", max_length=8, role="admin")] = field(
        default_factory=list
    )


class Console(Entry, frozen=True):
    """The serial console."""

    tty: Annotated[
        str, about("Serial port of the console, /dev/ttyS0; empty: no serial console", pattern=r"^(/[A-Za-z0-9._-]{1,60}){0,8}$")
    ] = ""
    baud: Annotated[Literal[9600, 19200, 38400, 57600, 115200], about("Speed of the serial port", unit="baud")] = 115200
    carrier: Annotated[bool, about("The modem line DCD is wired: a session ends when it drops, and none begins without it")] = False
    terminal: Annotated[
        Literal["vt100", "dumb"], about("What is at the other end: vt100 may be told to clear the screen, dumb knows nothing but text")
    ] = "vt100"
    columns: Annotated[int, about("Width of the terminal", unit="columns", ge=40, le=250)] = 80
    rows: Annotated[int, about("Height of the terminal, for paging", unit="rows", ge=8, le=200)] = 24
    language: Annotated[Language, about("Language of the console until somebody has logged in")] = "en"
    idle_s: Annotated[int, about("A console without a key for this long is logged out; 0 never", unit="s", ge=0, le=86400)] = 900
    wrong_wait_s: Annotated[
        int, about("Longest pause after wrong passwords: it doubles from one second on, and never becomes a lock", unit="s", ge=1, le=300)
    ] = 30


class Ssh(Entry, frozen=True):
    """The console over SSH."""

    enabled: Annotated[bool, about("Serve the console over SSH", role="admin")] = False
    port: Annotated[
        int, about("TCP port of SSH; below 1024 only where the system lets users have such ports", ge=1, le=65535, role="admin")
    ] = 2222
    passwords: Annotated[bool, about("Let people in by password, too; otherwise by key only", role="admin")] = True
    most: Annotated[int, about("Consoles over SSH at a time", ge=1, le=16)] = 4


class Approval(Entry, frozen=True):
    """Changes that two people make: one puts them on trial, another one confirms."""

    paths: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+([.][A-Za-z0-9_*-]+){0,6}$")]],
        about(
            "Settings that nobody changes alone, with all below them; * stands for any name (users.*.role). None: everybody commits alone",
            max_length=32, role="admin",
        ),
    ] = field(default_factory=list)  # fmt: skip
