"""Queries and commands about calls, queues and agents (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class CallRow(Struct, frozen=True):
    """One live contact. `seconds` since it began; `legs` as endpoint=state.

    `speech`: of each leg over IP, endpoint=clear or its SRTP suite, as media has it now ("DTLS": its keys are being agreed on), behind it
    how many packets that were not genuine were thrown away. `quality`: of each leg over IP, endpoint=grade (MOS) of what arrives/of what
    the far end reports, "-" where nothing is known; `show quality` has the figures.
    """

    contact: str
    kind: str
    phase: str
    caller: str
    called: str
    queue: str
    agent: str
    seconds: int
    legs: list[str]
    speech: list[str] = []
    quality: list[str] = []


class QualityRow(Struct, frozen=True):
    """One live leg over IP: what arrives at us, and what the far end reports of what we send (`far`). Loss in percent, times in ms.

    `mos`: grade after the E-model (ITU-T G.107), 1 to 4.5. null: not known yet, or never reported. `refused`: reports not believed.
    """

    contact: str
    leg: str
    endpoint: str
    codec: str
    suite: str
    received: int
    sent: int
    loss: float
    jitter_ms: float
    mos: float | None
    far_loss: float | None
    far_jitter_ms: float | None
    far_mos: float | None
    round_trip_ms: float | None
    reports: int
    refused: int


class QueueRow(Struct, frozen=True):
    """One queue now. `longest_s`: wait of the first caller."""

    queue: str
    waiting: int
    longest_s: int
    ready: int
    busy: int
    paused: int
    strategy: str


class AgentRow(Struct, frozen=True):
    """One agent now. `seconds` in this state; `misses` in a row."""

    agent: str
    state: str
    extension: str
    reason: str
    seconds: int
    contact: str
    calls: int
    misses: int
    queues: list[str]


class ContactRow(Struct, frozen=True):
    """One recorded contact; `ended_ms` 0 while it is open; `linked`: the one that was cut off and that it goes on with."""

    contact: str
    seq: int
    kind: str
    opened_ms: int
    ended_ms: int
    caller: str
    called: str
    line: str
    queue: str
    agent: str
    rings: int
    wait_ms: int
    talk_ms: int
    rating: int
    cause: str
    first_to_leave: str
    linked: str


class LegRow(Struct, frozen=True):
    """One recorded leg; instants Unix ms, 0 for never. Of a leg over IP: codec, grades, and all figures as JSON (`quality`)."""

    leg: str
    kind: str
    endpoint: str
    role: str
    number: str
    agent: str
    started_ms: int
    ringing_ms: int
    answered_ms: int
    answered_by: str
    ended_ms: int
    cause: str
    evidence: str
    confidence: float
    by_far: bool
    codec: str = ""
    mos: float | None = None
    far_mos: float | None = None
    quality: str = ""


class EventRow(Struct, frozen=True):
    """One event of a contact's history; `data` is JSON."""

    at_ms: int
    kind: str
    leg: str
    data: str


class ContactDetail(Struct, frozen=True):
    """A contact with everything known of it."""

    contact: ContactRow
    answered_ms: int
    connected_ms: int
    ring_ms: int
    seat_cycles: int
    seat_alert_ms: int
    misses: int
    language: str
    notice: bool
    recording: list[str]
    recording_lost: int
    evidence: str
    confidence: float
    legs: list[LegRow]
    events: list[EventRow]


class EmergencyRow(Struct, frozen=True):
    """An emergency call that is going on, with the notice in each language."""

    contact: str
    extension: str
    number: str
    seconds: int
    en: str
    zh: str


class QueueLogRow(Struct, frozen=True):
    """One line of the queue log."""

    at_ms: int
    contact: str
    queue: str
    agent: str
    event: str
    data: str


class AgentResult(Struct, frozen=True):
    """State of an agent after a command."""

    agent: str
    state: str


class ContactResult(Struct, frozen=True):
    """The contact that a command made or ended."""

    contact: str


Lines = Annotated[int, Meta(description="How many", ge=1, le=1000)]
AgentNumber = Annotated[str, Meta(description="Agent number")]


@command(path="show calls", role="viewer", result=list[CallRow], zh="显示当前通话")
class ShowCalls(Command, frozen=True):
    """Calls that are going on."""


@command(path="show quality", role="viewer", result=list[QualityRow], zh="显示当前通话的语音质量")
class ShowQuality(Command, frozen=True):
    """Speech quality of every leg over IP: loss, jitter, round trip, grade."""


@command(path="show queues", role="viewer", result=list[QueueRow], zh="显示队列")
class ShowQueues(Command, frozen=True):
    """Queues: who waits, who can answer."""


@command(path="show agents", role="viewer", result=list[AgentRow], zh="显示坐席")
class ShowAgents(Command, frozen=True):
    """Agents and their states."""


@command(path="show contacts", role="supervisor", result=list[ContactRow], zh="显示通话记录")
class ShowContacts(Command, frozen=True):
    """Newest contact records, newest first."""

    lines: Lines = 20


@command(path="show contact", role="supervisor", result=ContactDetail, zh="显示一条通话记录的详情")
class ShowContact(Command, frozen=True):
    """One contact with its legs and events."""

    contact: Annotated[str, Meta(description="Contact id, as `show contacts` lists it")]


@command(path="show queue-log", role="supervisor", result=list[QueueLogRow], zh="显示队列日志")
class ShowQueueLog(Command, frozen=True):
    """Newest lines of the queue log, oldest of them first."""

    lines: Lines = 50


@command(path="show emergencies", role="viewer", result=list[EmergencyRow], zh="显示紧急呼叫")
class ShowEmergencies(Command, frozen=True):
    """Emergency calls that are going on."""


@command(path="agent login", role="supervisor", result=AgentResult, zh="坐席签入")
class AgentLogin(Command, frozen=True):
    """Log an agent in on a phone."""

    agent: AgentNumber
    extension: Annotated[str, Meta(description="Number of the phone")]


@command(path="agent logout", role="supervisor", result=AgentResult, zh="坐席签出")
class AgentLogout(Command, frozen=True):
    """Log an agent out, after the present call if there is one."""

    agent: AgentNumber


@command(path="agent pause", role="supervisor", result=AgentResult, zh="坐席示忙")
class AgentPause(Command, frozen=True):
    """Pause an agent, after the present call if there is one."""

    agent: AgentNumber
    reason: Annotated[str, Meta(description="Reason, a digit or a word", max_length=20)] = "0"


@command(path="agent ready", role="supervisor", result=AgentResult, zh="坐席示闲")
class AgentReady(Command, frozen=True):
    """End an agent's pause or wrap-up."""

    agent: AgentNumber


@command(path="hang-up", role="supervisor", result=ContactResult, zh="挂断通话")
class HangUp(Command, frozen=True):
    """End a call. Emergency calls cannot be ended so."""

    contact: Annotated[str, Meta(description="Contact id, as `show calls` lists it")]


@command(path="originate", role="supervisor", result=ContactResult, zh="发起呼叫")
class Originate(Command, frozen=True):
    """Ring a phone, then dial a number for it. Emergency numbers are refused."""

    extension: Annotated[str, Meta(description="Number of the phone to ring first")]
    number: Annotated[str, Meta(description="What to dial for it", pattern=r"^[0-9*#]{1,32}$")]
