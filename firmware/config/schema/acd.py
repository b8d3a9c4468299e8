"""How queues and agents match, who goes first, callbacks, missed callers, emergency staffing."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about

Level = Annotated[int, Meta(ge=1, le=10)]
Skills = dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,20}$")], Level]
Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Callback(Entry, frozen=True):
    """Callers of a queue may be called back and keep their place."""

    enabled: Annotated[bool, about("Offer it; the key counts from the first moment in the queue")] = False
    key: Annotated[str, about("Key that asks for it", pattern=r"^[0-9*#]$")] = "1"
    offer_after_s: Annotated[int, about("It is said after this wait, and again with each later announcement", unit="s", ge=0, le=3600)] = 30
    first: Annotated[
        Literal["agent", "caller"],
        about("Who is rung first: the agent, who then hears the number dialled, or the caller, who takes the old place with key 1"),
    ] = "agent"
    own_time: Annotated[
        bool, about("The caller may name the time himself (hhmm, within a day; never in the quiet hours): then he is called at that time")
    ] = False
    access: Annotated[str, about("Access code put before a number from outside", pattern=r"^[0-9]{0,4}$")] = "9"
    permission: Annotated[Literal["local", "national", "international"], about("Farthest class of number that is called back")] = "national"
    tries: Annotated[int, about("Attempts before the caller goes to the missed-call list", ge=1, le=10)] = 3
    retry_s: Annotated[int, about("Pause between attempts", unit="s", ge=60, le=14400)] = 600
    expire_s: Annotated[int, about("Given up after this time: the caller is listed as missed", unit="s", ge=600, le=172800)] = 28800
    most: Annotated[int, about("Callers that may be waiting for a callback; no more are offered it", ge=1, le=200)] = 30


class Step(Entry, frozen=True):
    """One step of emergency staffing: these agents are logged in by themselves and stand down again."""

    agents: Annotated[list[str], about("Agents who join, each on the telephone `Agent.phone`", ref="agents", min_length=1, max_length=50)]
    queues: Annotated[list[str], about("Queues they join beside their own", ref="queues")] = []
    name: Annotated[str, about("Who they are, for the log", max_length=40)] = ""
    from_time: Annotated[Literal[""] | Clock, about("Only from this time of day on; empty: always")] = ""
    to_time: Annotated[Literal[""] | Clock, about("Only before this time of day; below `from_time`: past midnight")] = ""


class CallIn(Entry, frozen=True, kw_only=True):
    """A row of the table that says how many people to call in when all steps were taken."""

    callers: Annotated[int, about("From so many callers on who wait longer than `wait_s`", ge=1, le=200)]
    people: Annotated[int, about("So many people are to be called in", ge=1, le=200)]


class Staffing(Entry, frozen=True):
    """When too many callers wait too long, reserves join step by step (EMG-01 to EMG-07)."""

    callers: Annotated[int, about("So many callers wait longer than `wait_s`; 0 switches it off", ge=0, le=200)] = 0
    share: Annotated[
        int, about("And no fewer than this part of the seats at work, so that it fits small and large sites; 0: `callers` alone", unit="%",
                   ge=0, le=200)
    ] = 30
    wait_s: Annotated[int, about("A wait that counts", unit="s", ge=1, le=600)] = 10
    sustained_s: Annotated[int, about("The condition holds for this long before the next step", unit="s", ge=10, le=3600)] = 300
    calm_s: Annotated[int, about("Below half of `callers` for this long: everybody stands down", unit="s", ge=10, le=3600)] = 120
    steps: Annotated[list[Step], about("Reserves in the order in which they join", max_length=10)] = []
    call_in: Annotated[
        list[CallIn],
        about("When that did not help for `sustained_s`: an alarm says how many people the shift leader calls in; the last row that fits",
              max_length=20),
    ] = []


class Acd(Entry, frozen=True):
    """Rules for all queues."""

    vip: Annotated[list[str], about("Numbers of callers, or how they begin, who go ahead")] = []
    vip_ahead_s: Annotated[int, about("They take the place of one who came so much earlier", unit="s", ge=0, le=7200)] = 600
    repeat_within_s: Annotated[int, about("A caller who was lost and calls again so soon goes ahead", unit="s", ge=0, le=86400)] = 1800
    repeat_ahead_s: Annotated[int, about("By so much", unit="s", ge=0, le=7200)] = 120
    preferred_days: Annotated[int, about("A caller is offered to the agent he spoke to within so many days first; 0: no", ge=0, le=90)] = 0
    preferred_wait_s: Annotated[int, about("And waits for that agent, who is at work but busy, for this long", unit="s", ge=0, le=600)] = 20
    dnd_pauses: Annotated[
        bool, about("Do-not-disturb of an agent's telephone stops the calls of queues, too: he is paused (dnd) until it is over")
    ] = True
    quiet: Annotated[
        list[Annotated[str, Meta(pattern=r"^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$")]],
        about("Times of day without callbacks, HH:MM-HH:MM", max_length=8),
    ] = field(default_factory=lambda: ["21:00-07:30", "12:30-14:00"])
    missed_keep_days: Annotated[int, about("A lost caller stays on the missed-call list for so long", ge=1, le=90)] = 14
    missed_claim_s: Annotated[int, about("An agent who took a lost caller keeps the claim for this long", unit="s", ge=60, le=86400)] = 900
    staffing: Staffing = Staffing()
