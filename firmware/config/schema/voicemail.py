"""Voice mail: boxes, what they take and keep, and the mail server that messages are sent by."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import Language


class Mailbox(Entry, frozen=True):
    """A box for messages: of a person, a queue, or the night; the table key is its name in destinations (`voicemail/NAME`)."""

    title: Annotated[str, about("Name on screens and in mail", max_length=40)] = ""
    number: Annotated[
        str, about("Number keyed to open the box from another telephone; empty: the name, where it is a number", pattern=r"^[0-9]{0,8}$")
    ] = ""
    pin: Annotated[
        str,
        about("PIN from telephones that are not of the box; empty: from its own only", secret=True, pattern=r"^([0-9]{4,12})?$"),
    ] = ""
    pin_always: Annotated[bool, about("Ask for the PIN on the telephones of the box, too")] = False
    extensions: Annotated[
        list[Annotated[str, Meta(pattern=r"^[0-9]{2,8}$")]],
        about("Telephones of the box: their lamp shows its messages, the code opens it", ref="extensions", max_length=16),
    ] = field(default_factory=list)
    take: Annotated[
        list[Literal["no-answer", "busy", "unreachable"]],
        about("What the box takes of calls from outside to its telephones: nobody answers, engaged, not registered", max_length=3),
    ] = field(default_factory=lambda: ["no-answer", "busy", "unreachable"])
    take_internal: Annotated[bool, about("Likewise calls from colleagues")] = True
    language: Annotated[Literal["", "en", "zh"], about("Language for the owner; empty: the site's first")] = ""
    longest_s: Annotated[int, about("Longest message", unit="s", ge=10, le=600)] = 180
    least_ms: Annotated[int, about("A shorter one is not kept", unit="ms", ge=0, le=10_000)] = 1000
    silence_s: Annotated[int, about("The message ends after so much silence, 0 never", unit="s", ge=0, le=60)] = 8
    most: Annotated[int, about("Messages the box holds; one more caller is told that it is full", ge=1, le=500)] = 60
    keep_days: Annotated[int, about("Messages that were heard are removed after this, 0 never", unit="days", ge=0, le=3650)] = 30
    keep_new_days: Annotated[int, about("Messages that nobody heard are removed after this, 0 never", unit="days", ge=0, le=3650)] = 180
    answer_h: Annotated[int, about("New messages are due within this time, told to the caller; 0: no promise", unit="h", ge=0, le=720)] = 24
    choice: Annotated[bool, about("After the end key: keep, listen, record again")] = True
    mail: Annotated[
        str, about("Each message goes to this mail address, too", pattern=r"^([^\s@<>\"]+@[A-Za-z0-9.-]+)?$", max_length=120)
    ] = ""
    mail_audio: Annotated[bool, about("Attach the message as WAV")] = True
    mail_removes: Annotated[bool, about("Remove a message from the box when its mail was accepted")] = False


class Voicemail(Entry, frozen=True):
    """Limits of all boxes together."""

    quota_mb: Annotated[int, about("Space for all messages; when it is used up callers are told that the box is full", unit="MB", ge=1,
                                   le=100_000)] = 500  # fmt: skip
    reserve_mb: Annotated[int, about("No message is taken when less than this is free on the disk", unit="MB", ge=1, le=100_000)] = 40
    pin_tries: Annotated[int, about("Wrong PINs before a box is closed to other telephones for `pin_wait_s`", ge=2, le=20)] = 5
    pin_wait_s: Annotated[int, about("How long; each further series doubles it, up to a day", unit="s", ge=30, le=86_400)] = 900


class MailServer(Entry, frozen=True):
    """The server that takes our mail (SMTP submission, RFC 6409)."""

    host: Annotated[str, about("Name or address; empty: no mail is sent", pattern=r"^[A-Za-z0-9:.-]{0,253}$")] = ""
    port: Annotated[int, about("TCP port; 0: 465 with tls, else 587 (RFC 8314)", ge=0, le=65535)] = 0
    security: Annotated[
        Literal["starttls", "tls", "none"],
        about("starttls: encrypted after the greeting or not at all; tls: from the first byte; none: clear, for a server in this house"),
    ] = "starttls"
    ca: Annotated[str, about("PEM file of the CAs that the server is checked against; empty: the system's", max_length=200)] = ""
    user: Annotated[str, about("Account; empty: no log-in", max_length=120)] = ""
    password: Annotated[str, about("Its password", secret=True, max_length=200)] = ""
    sender: Annotated[
        str, about("From address; empty: voicemail@ and the server's name", pattern=r"^([^\s@<>\"]+@[A-Za-z0-9.-]+)?$", max_length=120)
    ] = ""
    language: Annotated[Language, about("Language of the mail")] = "zh"
    timeout_s: Annotated[int, about("Longest wait for the server", unit="s", ge=2, le=300)] = 30
    retry_first_s: Annotated[int, about("Pause before the second try; it doubles", unit="s", ge=1, le=3600)] = 30
    retry_most_s: Annotated[int, about("Longest pause", unit="s", ge=1, le=86_400)] = 3600
    give_up_h: Annotated[int, about("After this a mail counts as failed; the message stays in its box", unit="h", ge=1, le=720)] = 96
    alarm_after: Annotated[int, about("Failures in a row before the alarm", ge=1, le=20)] = 3


class Studio(Entry, frozen=True):
    """Prompts of the site recorded by telephone."""

    pin: Annotated[str, about("PIN of whoever may record prompts; empty: nobody", secret=True, pattern=r"^([0-9]{4,12})?$")] = ""
    numbers: Annotated[
        dict[str, Annotated[str, Meta(pattern=r"^[a-z0-9.]+$")]],
        about("Number keyed to prompt id", max_length=200),
    ] = field(
        default_factory=lambda: {
            "10": "greet.day", "11": "greet.morning", "12": "greet.afternoon", "13": "greet.evening", "20": "ivr.lang", "21": "ivr.main",
            "30": "night.msg", "31": "holiday.msg", "40": "vm.away", "50": "q.join", "51": "q.hold", "52": "q.thanks",
        }
    )  # fmt: skip
