"""What happens in a soak: calls on eight ports at once and faults between them, drawn from a seed; the branch they happen in.

Theory of operation. Four streams run side by side for the whole soak, each with a PSTN line and the telephone that the line rings. A stream
is a list of `SoakCall`, one after another, with pauses; streams meet where a call leaves the branch (any free line takes it), where a
telephone calls its neighbour, and where a line rings while it is in use. The exchange tells callers by one scheme on each line, as every
exchange does: an appliance that has heard twenty calls agree listens for no other. Every call has a number of its own, so each has its own
record. Faults are drawn per stream as `SoakFault`, to begin at an instant within a call and to end by themselves; some strike one port,
some a whole serial chain, some the sound device of all ports. Same seed, same soak.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

STREAMS = 4
IN_KINDS = ("in-talk", "in-talk", "in-talk", "in-abandoned", "in-unanswered")
OUT_KINDS = ("out-talk", "out-talk", "out-busy", "out-no-answer", "out-unobtainable", "out-congestion", "out-given-up")
KINDS = (*IN_KINDS, *IN_KINDS, *OUT_KINDS, "internal")
RELEASES = ("polarity+busy", "loop-drop+busy", "busy", "polarity", "loop-drop", "loop-drop+polarity+busy")
PHONE_HZ = (1050.0, 1800.0, 2000.0, 1260.0)  # voices of the branch's people
CALLER_HZ, CALLEE_HZ = 620.0, 560.0
RING_S = 25  # of an extension, then the call ends

#: (place, name) of faults: "line" is the exchange's side of a PSTN line, the other places are those of `faults.FAULTS`.
LINE_FAULTS = ("cut", "noise", "hum", "parallel", "reversed", "false-ring", "no-dial-tone", "low-battery")
FXO_FAULTS = ("reset", "silent", "link", "chatter", "hook-open")
FXS_FAULTS = ("reset", "silent", "alarm", "hook-stuck", "short", "earth", "leak", "cut", "reversed")
CHAIN_FAULTS = ("all-ff", "all-00", "flip", "slip", "int-stuck")
BOARD_FAULTS = ("stall", "xrun")
#: Those that leave a conversation as it is: what happens to calls under them is judged like any other.
HARMLESS = frozenset(
    (("line", "noise"), ("line", "hum"), ("line", "false-ring"), ("chain", "int-stuck"), ("chain", "flip"), ("chain", "slip"),
     ("board", "stall"), ("board", "xrun"), ("fxs", "reversed"))
)  # fmt: skip

SITE = """
schema = 1
board = "world"
[site]
name = "Soak"
country = "CN"
time_zone = "Asia/Shanghai"
languages = ["en"]
company_clip = "company.demo"
[sip]
port = 0
[[outbound]]
prefix = "9"
pattern = "."
permission = "local"
group = "pstn"
""" + "".join(
    f"""
[ports.fxo.{n}]
number = "0105555000{n}"
[ports.fxs.{n}]
[extensions.10{n}]
kind = "fxs"
jack = "{n}"
[[inbound]]
lines = ["{n}"]
to = "extension/10{n}"
greeting = false
notice = false
"""
    for n in range(1, STREAMS + 1)
)


@dataclass(frozen=True)
class SoakCall:
    """One call of a stream; times in ms. `number`: of the other party outside; of an internal call, the neighbour's extension."""

    ident: int
    stream: int  # 1..4: PSTN line and telephone
    kind: str
    number: str
    gap_ms: int
    caller_id: str = "fsk"
    answer_ms: int = 2000  # after the first ring, or of the far end
    talk_ms: int = 5000  # in conversation, until the first leaves
    far_first: bool = True  # who leaves first: the party outside (or the called neighbour)
    pulse: bool = False
    speech: bool = False  # the party outside speaks, else its tone is heard in turns
    fault: SoakFault | None = None


@dataclass(frozen=True)
class SoakFault:
    """Something breaks `at_ms` after its call began, and is mended after `lasts_ms`. `number`: of the jack, or the chain's name."""

    place: str
    number: str
    kind: str
    at_ms: int
    lasts_ms: int

    def ports(self) -> list[str]:
        """The ports that it strikes, as "fxo/1"."""
        if self.place in ("line", "fxo", "fxs"):
            return [f"{'fxs' if self.place == 'fxs' else 'fxo'}/{self.number}"]
        kinds = ("fxo", "fxs") if self.place == "board" else (self.number,)
        return [f"{kind}/{n}" for kind in kinds for n in range(1, STREAMS + 1)]


def draw_releases(seed: int) -> dict[int, str]:
    """How each line of the exchange tells that the far end has left."""
    rng = random.Random(f"soak/{seed}/lines")
    return {line: rng.choice(RELEASES) for line in range(1, STREAMS + 1)}


def draw(seed: int, calls: int, faults: bool) -> list[list[SoakCall]]:
    """The calls of each stream, about `calls` in all; with `faults`, about every fourth call has one."""
    streams: list[list[SoakCall]] = []
    ident = 0
    for stream in range(1, STREAMS + 1):
        rng = random.Random(f"soak/{seed}/{stream}")
        scheme = random.Random(f"soak/{seed}/{stream}/caller-id").choice(("fsk", "fsk", "dtmf"))
        wanted = calls // STREAMS + (1 if stream <= calls % STREAMS else 0)
        found: list[SoakCall] = []
        for _ in range(wanted):
            ident += 1
            found.append(_call(rng, ident, stream, scheme, faults))
        streams.append(found)
    return streams


def _call(rng: random.Random, ident: int, stream: int, scheme: str, faults: bool) -> SoakCall:
    kind = rng.choice(KINDS)
    number = f"13{rng.randint(0, 8)}{ident:08d}"
    pulse = rng.random() < 0.1
    if pulse:  # eight digits of few pulses: a dial has no time for more
        number = "2" + "".join(str(ident // 5**place % 5 + 1) for place in range(7))
    if kind == "internal":
        number = f"10{rng.choice([n for n in range(1, STREAMS + 1) if n != stream])}"
    fault = None
    if faults and rng.random() < 0.25:
        fault = _fault(rng, stream)
    return SoakCall(
        ident, stream, kind, number,
        gap_ms=rng.choice((rng.randint(2500, 4000), rng.randint(2500, 20_000))),
        caller_id=rng.choice((scheme, scheme, scheme, "none")),
        answer_ms=rng.randint(300, 7000),
        talk_ms=rng.randint(4000, 15_000),
        far_first=rng.random() < 0.5,
        pulse=pulse,
        speech=rng.random() < 0.5,
        fault=fault,
    )  # fmt: skip


def _fault(rng: random.Random, stream: int) -> SoakFault:
    at, lasts = rng.randint(0, 15_000), rng.choice((rng.randint(50, 900), rng.randint(1000, 20_000)))
    place = rng.choice(("line", "line", "fxo", "fxs", "fxs", "chain", "board"))
    if place == "board":
        return SoakFault(place, "", rng.choice(BOARD_FAULTS), at, 200)
    if place == "chain":
        return SoakFault(place, rng.choice(("fxo", "fxs")), rng.choice(CHAIN_FAULTS), at, min(lasts, 3000))
    names = {"line": LINE_FAULTS, "fxo": FXO_FAULTS, "fxs": FXS_FAULTS}[place]
    return SoakFault(place, str(stream), rng.choice(names), at, lasts)
