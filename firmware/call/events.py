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
    """An agent's state: "logged-out", "ready", "offered", "talking", "wrap-up", "paused".

    `reason`: of a pause, or of a log-out by the box; `why`: never empty: that, or what led from `before` to it (`floor.WHY`);
    `contact`: the call that it is about, "" for none.
    """

    agent: str
    status: str
    extension: str = ""
    reason: str = ""
    before: str = ""
    why: str = ""
    contact: str = ""


class QueueChanged(CallEvent, frozen=True):
    """Callers waiting in a queue."""

    queue: str
    waiting: int


class NightChanged(CallEvent, frozen=True):
    """The night key: `mode` "auto", "night" or "open"; `until_ms` Unix ms at which it ends by itself, 0 never. `by`: who."""

    mode: str
    until_ms: int = 0
    by: str = ""


class CallbackChanged(CallEvent, frozen=True):
    """A callback: "waiting" (asked for, or tried in vain), "calling", "reached", "tried" and "expired" (lost), "cancelled"."""

    request: str
    queue: str
    state: str
    tries: int


class PromiseBroken(CallEvent, frozen=True):
    """A callback was promised before `promise_ms` (Unix ms) and is not made (`on`), or now is, or is wanted no more."""

    request: str
    queue: str
    number: str
    promise_ms: int
    on: bool


class MissedChanged(CallEvent, frozen=True):
    """The missed-call list: a caller is "lost" (`times` so far), "claimed" by an agent, "reached" or "closed"."""

    number: str
    state: str
    times: int
    agent: str = ""


class LowRating(CallEvent, frozen=True):
    """A caller was not satisfied: `grade` as he keyed it ("3", "2/10", "not solved")."""

    contact: str
    queue: str
    agent: str
    grade: str


class NuisanceEnded(CallEvent, frozen=True):
    """Somebody of ours ended a call with an abusive party by code: extension `by`, `agent` "" for none; `blocked`: on the black list."""

    contact: str
    queue: str
    by: str
    agent: str
    blocked: bool


class CallerSilent(CallEvent, frozen=True):
    """Nothing was heard of a caller since `agent` at `extension` answered, for as long as the queue waits (`silent`); or now something is,
    or the agent's part is over."""

    contact: str
    queue: str
    agent: str
    extension: str
    silent: bool


class StaffingChanged(CallEvent, frozen=True):
    """Emergency staffing: steps in force (0: stood down), callers who waited too long, the step's name, agents who joined or left;
    `people`: so many the shift leader is to call in, as no step helped."""

    step: int
    callers: int
    name: str
    agents: list[str]
    people: int = 0


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


class TollNotice(CallEvent, frozen=True):
    """The guard against calls at our expense refused or noticed something: `payer` an extension or "trunk/NAME"."""

    why: str
    payer: str
    text: dict[str, str]


class Passed(CallEvent, frozen=True):
    """A call passed through the branch, or was not let: for the audit trail, which names no telephone number but the contact.

    `passing`: "break_out" or "foreign_numbers"; `trunk`: whose caller it is ("" one of a line), `way`: endpoint it leaves by.
    """

    contact: str
    passing: str
    trunk: str
    way: str
    done: bool


_TOLL = {
    "calls": ("{} has too many outside calls at once; if nobody there is calling, change its password",
              "{}同时外呼过多；若无人使用，请更换其密码"),
    "calls-hour": ("{} made too many outside calls within an hour; if nobody there is calling, change its password",
                   "{}一小时内外呼过多；若无人使用，请更换其密码"),
    "after-hours": ("{} dialled an international number outside office hours: refused. If that was nobody here, change its password",
                    "{}在非办公时间拨打国际号码，已拒绝；若非本人，请更换其密码"),
    "international-hour": ("too many international calls within an hour, the last by {}: refused until the hour is over",
                           "一小时内国际通话过多（最近：{}），本小时内拒绝"),
    "international-minutes": ("the international minutes of today are used up, the last by {}: refused until midnight",
                              "今日国际通话分钟数已用完（最近：{}），午夜前拒绝"),
    "sudden": ("far more outside calls than usual in this hour, the last by {}: look at `show calls`",
               "本小时外呼远多于平时（最近：{}），请查看通话列表"),
}  # fmt: skip


def toll_text(why: str, payer: str, number: str) -> dict[str, str]:
    """The notice in each language."""
    english, chinese = _TOLL[why]
    trunk = payer.removeprefix("trunk/")
    who = (f"trunk {trunk}", f"中继{trunk}") if trunk != payer else (f"extension {payer}", f"分机{payer}")
    behind = f" ({number})" if number else ""
    return {"en": english.format(who[0]) + behind, "zh": chinese.format(who[1]) + behind}


def emergency_text(extension: str, number: str) -> dict[str, str]:
    """The notice in each language (requirement D5: on-site notification)."""
    return {
        "en": f"Extension {extension} is calling emergency number {number}.",
        "zh": f"分机{extension}正在拨打紧急电话{number}。",
    }
