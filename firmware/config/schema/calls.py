"""What happens to calls: menus, queues, inbound and outbound routes."""

from __future__ import annotations

from typing import Annotated, Literal

from firmware.config.schema.base import Entry, about

Destination = Annotated[
    str,
    about(
        "Where a call goes: queue/NAME, menu/NAME, extension/NUMBER, announce/PROMPT (then hang up) or hangup",
        pattern=r"^((queue|menu|extension|announce)/[A-Za-z0-9_.-]+|hangup)$",
    ),
]


class MenuKey(Entry, frozen=True):
    """What a key of a menu does: optionally switch the prompt language, then go on."""

    to: Destination
    language: Annotated[Literal["", "en", "zh"], about("Switch prompts to this language")] = ""


class Menu(Entry, frozen=True):
    """A key-driven menu; a node of the menu graph."""

    prompt: Annotated[str, about("Prompt id", pattern=r"^[a-z0-9.]+$")]
    keys: Annotated[dict[str, MenuKey], about("Key (0-9, *, #) to destination", min_length=1, max_length=12)]
    timeout_s: Annotated[int, about("Wait for a key after the prompt", unit="s", ge=1, le=30)] = 5
    tries: Annotated[int, about("Times the menu is said before `otherwise`", ge=1, le=5)] = 2
    barge_in: Annotated[bool, about("A key stops the prompt")] = True
    otherwise: Annotated[Destination, about("After the last try without a valid key")] = "hangup"


class Queue(Entry, frozen=True):
    """Callers waiting for agents."""

    strategy: Annotated[Literal["longest-idle", "ring-all", "round-robin", "fewest-calls", "linear"], about("Who is rung next")] = (
        "longest-idle"
    )
    ring_s: Annotated[int, about("Ring one agent for this long", unit="s", ge=5, le=120)] = 20
    wrap_up_s: Annotated[int, about("Time for notes after a call", unit="s", ge=0, le=600)] = 10
    max_wait_s: Annotated[int, about("Longest wait before `on_timeout`", unit="s", ge=5, le=7200)] = 300
    max_waiting: Annotated[int, about("Callers that may wait; one more goes to `on_full`", ge=1, le=200)] = 20
    on_timeout: Destination = "announce/q.full"
    on_no_agent: Annotated[Destination, about("When no agent is logged in")] = "announce/night.msg"
    on_full: Destination = "announce/q.full"
    announce_every_s: Annotated[int, about("Position is said when it improved, or after this long", unit="s", ge=15, le=600)] = 60
    music: Annotated[str, about("Clip played while waiting", pattern=r"^[a-z0-9.]+$")] = "music.hold"
    record: Annotated[bool, about("Record conversations in two channels, after the notice")] = False
    agent_number: Annotated[bool, about("Tell the caller the agent's number")] = True
    rating: Annotated[bool, about("Offer the rating menu when the agent hangs up first or releases the caller")] = True
    auto_pause_after: Annotated[int, about("Unanswered offers in a row after which the agent is paused, 0 never", ge=0, le=20)] = 3


class InboundRoute(Entry, frozen=True, kw_only=True):
    """Where a call from outside goes; the first matching route wins, in order of the list."""

    lines: Annotated[list[str], about("FXO jacks, empty for all", ref="ports.fxo")] = []
    caller: Annotated[str, about("Caller number prefix, empty for all", pattern=r"^[0-9+]{0,20}$")] = ""
    to: Destination
    greeting: Annotated[bool, about("Say the day-part greeting first")] = True
    notice: Annotated[bool, about("Say the recording notice after the greeting")] = True


class OutboundRoute(Entry, frozen=True):
    """How a dialled number leaves; the first matching route wins."""

    prefix: Annotated[str, about("Access code that the caller dials first", pattern=r"^[0-9]{0,4}$")] = "9"
    permission: Annotated[Literal["local", "national", "international"], about("Class a phone needs")] = "local"
    pattern: Annotated[str, about("Digits after the access code: X any digit, N 1-9, . one or more of any", pattern=r"^[0-9XN.]+$")] = "."
    prepend: Annotated[str, about("Digits put in front", pattern=r"^[0-9]{0,10}$")] = ""
    group: Annotated[str, about("Line group")] = "pstn"
