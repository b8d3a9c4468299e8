"""What happens to calls: menus, queues, inbound and outbound routes."""

from typing import Annotated, Literal

from msgspec import field

from firmware.config.schema.acd import Callback, Skills
from firmware.config.schema.base import Entry, about
from firmware.config.schema.calendar import OptionalDestination
from firmware.config.schema.destinations import Destination


class MenuKey(Entry, frozen=True):
    """What a key of a menu does: optionally switch the prompt language, then go on."""

    to: Destination
    language: Annotated[Literal["", "en", "zh"], about("Switch prompts to this language")] = ""
    needs: Annotated[Skills, about("Skills that the agent must have, with the least level, for callers who chose this key")] = {}


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

    strategy: Annotated[
        Literal["longest-idle", "ring-all", "round-robin", "fewest-calls", "linear", "skill"], about("Who is rung next")
    ] = "longest-idle"
    ring_s: Annotated[int, about("Ring one agent for this long", unit="s", ge=5, le=120)] = 20
    wrap_up_s: Annotated[int, about("Time for notes after a call", unit="s", ge=0, le=600)] = 10
    max_wait_s: Annotated[int, about("Longest wait before `on_timeout`", unit="s", ge=5, le=7200)] = 300
    max_waiting: Annotated[int, about("Callers that may wait; one more goes to `on_full`", ge=1, le=200)] = 20
    on_timeout: Destination = "announce/q.full"
    on_no_agent: Annotated[Destination, about("When no agent is logged in")] = "announce/night.msg"
    on_full: Destination = "announce/q.full"
    hours: Annotated[str, about("Opening hours of this queue: who waits when they end goes to `on_closed`; empty: none", ref="hours")] = ""
    on_closed: Annotated[
        OptionalDestination, about("When `hours` end, also for those who wait; empty: where those hours lead at that time")
    ] = ""
    announce_every_s: Annotated[int, about("Position is said when it improved, or after this long", unit="s", ge=15, le=600)] = 60
    music: Annotated[str, about("Clip played while waiting", pattern=r"^[a-z0-9.]+$")] = "music.hold"
    record: Annotated[bool, about("Record conversations in two channels, after the notice")] = False
    agent_number: Annotated[bool, about("Tell the caller the agent's number")] = True
    agent_greeting: Annotated[
        Literal["no", "before", "instead"],
        about("A greeting in the agent's own voice, where he recorded one (`features.greeting`): none, before the number, or instead of "
              "it; a trainee's number is said all the same"),
    ] = "before"  # fmt: skip
    agent_hears_wait: Annotated[
        bool, about("While the number is said, the agent hears how long the caller waited (below a minute: the number, too)")
    ] = True
    speech: Annotated[
        bool,
        about(
            "Measure how agents and callers speak (first word, interruptions, dead air, talk share, level; no sound is kept), for a person "
            "to review; never where the country's profile or `reports.people` says no"
        ),
    ] = False
    silent_hint_s: Annotated[
        int,
        about("Nothing heard of a caller for so long after the agent answered: screens are told, so that somebody asks whether he is "
              "heard; 0: never", unit="s", ge=0, le=120),
    ] = 0  # fmt: skip
    silent_tone: Annotated[bool, about("The agent, and nobody else, hears a short tone then")] = False
    rating: Annotated[bool, about("Offer the rating menu when the agent hangs up first or releases the caller")] = True
    rating_questions: Annotated[
        list[Literal["three", "ten", "solved"]], about("Questions of the rating menu, in order: three levels, 1 to 10, solved or not",
                                                       min_length=1, max_length=3),
    ] = field(default_factory=lambda: ["three"])  # fmt: skip
    rating_low: Annotated[int, about("Of three levels, this one and worse is told the shift leader at once; 4: never", ge=2, le=4)] = 3
    rating_low_ten: Annotated[int, about("Of 1 to 10, this one and worse is told the shift leader at once; 0: never", ge=0, le=9)] = 4
    auto_pause_after: Annotated[int, about("Unanswered offers in a row after which the agent is paused, 0 never", ge=0, le=20)] = 3
    weight: Annotated[int, about("Of the queues of an agent, the heavier one is served first", ge=0, le=100)] = 0
    needs: Annotated[Skills, about("Skills that an agent needs, with the least level; one that joins by a menu key adds that key's")] = {}
    widen_s: Annotated[
        int,
        about("Each such time of waiting lets agents with one more `penalty`, or one level of skill less, join; 0: never, and a penalty "
              "is the order only", unit="s", ge=0, le=600),
    ] = 0  # fmt: skip
    language: Annotated[
        Literal["no", "prefer", "only"], about("Agents who speak the caller's language: no matter, first, or no others")
    ] = "prefer"
    join_needs: Annotated[
        Literal["nobody", "logged-in", "working", "ready"],
        about("A caller joins only where an agent is logged in, is not paused, or is ready; else `on_no_agent`"),
    ] = "logged-in"
    stay_needs: Annotated[
        Literal["nobody", "logged-in", "working"], about("Those who wait go to `on_no_agent` when no agent is left who is so")
    ] = "logged-in"
    keep_agents: Annotated[
        int, about("An agent's own log-out is refused where fewer would stay; the shift leader's is not", ge=0, le=50)
    ] = 0
    position: Annotated[bool, about("Say how many are ahead")] = True
    estimate: Annotated[bool, about("Say the estimated wait, from the latest calls of the queue")] = False
    estimate_most_min: Annotated[int, about("A longer wait is not said", unit="min", ge=1, le=120)] = 30
    callback: Callback = Callback()


class InboundRoute(Entry, frozen=True, kw_only=True):
    """Where a call from outside goes; the first matching route wins, in order of the list."""

    lines: Annotated[list[str], about("FXO jacks; with `trunks` empty too: every line and trunk", ref="ports.fxo")] = []
    trunks: Annotated[list[str], about("SIP trunks; with `lines` empty too: every line and trunk", ref="trunks")] = []
    did: Annotated[
        str, about("Called number begins so (SIP trunks), empty for all; + and national forms are the same", pattern=r"^[0-9+]{0,20}$")
    ] = ""
    extension_digits: Annotated[
        int, about("So many last digits of the called number are the extension; `to` where there is none such, 0 always `to`", ge=0, le=8)
    ] = 0
    caller: Annotated[str, about("Caller number prefix, empty for all", pattern=r"^[0-9+]{0,20}$")] = ""
    callers: Annotated[list[str], about("Only these classes of callers; empty: all", ref="callers")] = []
    to: Destination
    greeting: Annotated[bool, about("Say the day-part greeting first")] = True
    notice: Annotated[bool, about("Say the recording notice after the greeting")] = True


class OutboundRoute(Entry, frozen=True):
    """How a dialled number leaves; the first matching route wins."""

    prefix: Annotated[str, about("Access code that the caller dials first", pattern=r"^[0-9]{0,4}$")] = "9"
    permission: Annotated[Literal["local", "national", "international"], about("Class a phone needs")] = "local"
    pattern: Annotated[str, about("Digits after the access code: X any digit, N 1-9, . one or more of any", pattern=r"^[0-9XN.]+$")] = "."
    strip: Annotated[int, about("Digits removed at the front of what follows the access code", ge=0, le=20)] = 0
    prepend: Annotated[str, about("Digits put in front after that", pattern=r"^[0-9]{0,10}$")] = ""
    hours: Annotated[str, about("Only while these opening hours are open (or closed, see `when`); empty: always", ref="hours")] = ""
    when: Annotated[Literal["open", "closed"], about("Which time of `hours` is meant")] = "open"
    account: Annotated[bool, about("Only for calls with an account code (`features.account`)")] = False
    cost: Annotated[
        int, about("What a minute costs, in any unit: of routes that fit the cheapest is taken, of equals the first", ge=0, le=1_000_000)
    ] = 0
    tariff: Annotated[
        str, about("Tariff of calls by this route; empty: that of the trunk or line group by which they leave", ref="tariffs")
    ] = ""
    most_minutes: Annotated[
        int, about("Longest call by this route; 0 no limit, -1 as the telephone or `calling` says", unit="min", ge=-1, le=1440)
    ] = -1
    group: Annotated[str, about("Line group, empty for no lines")] = "pstn"
    trunks: Annotated[list[str], about("SIP trunks in the order of trying", ref="trunks", max_length=8)] = []
    first: Annotated[Literal["trunks", "lines"], about("What is tried first; the others are the fail-over")] = "trunks"
