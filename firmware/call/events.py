"""What calls tell the screens: frozen structs for the bus and the event stream (L1, pure)."""

from __future__ import annotations

import msgspec


class CallEvent(msgspec.Struct, frozen=True, tag=True):
    """Base: `at` engine ms."""

    at: int


class ContactChanged(CallEvent, frozen=True):
    """A contact is new, went on to another phase, or ended (`phase` "ended", `cause` set)."""

    contact: str
    phase: str
    cause: str = ""


class AgentChanged(CallEvent, frozen=True):
    """An agent's state: "logged-out", "ready", "offered", "talking", "wrap-up", "paused"."""

    agent: str
    status: str
    extension: str = ""
    reason: str = ""


class QueueChanged(CallEvent, frozen=True):
    """Callers waiting in a queue."""

    queue: str
    waiting: int


class EmergencyStarted(CallEvent, frozen=True):
    """An emergency number is being called: every screen shows `text` in its language until `EmergencyEnded`."""

    contact: str
    extension: str
    number: str
    text: dict[str, str]


class EmergencyEnded(CallEvent, frozen=True):
    """The emergency call is over."""

    contact: str
    extension: str
    number: str


def emergency_text(extension: str, number: str) -> dict[str, str]:
    """The notice in each language (requirement D5: on-site notification)."""
    return {
        "en": f"Extension {extension} is calling emergency number {number}.",
        "zh": f"分机{extension}正在拨打紧急电话{number}。",
    }
