"""Any order of events: every contact ends once, no agent is stuck, no leg, bridge or queue entry is left."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.call.model import (
    Cause,
    EndpointState,
    Evidence,
    LegForwarded,
    LegHeld,
    LegKind,
    LegOffered,
    LegReferred,
    LegResumed,
    Party,
)
from firmware.config.schema.calls import Queue
from firmware.config.schema.pbx import Calling, Group, Parking, Room
from tests.unit.call_stage import Phone, Stage, config

LINES = st.sampled_from(["line/1", "line/2", "line/3", "line/4"])
EXTENSIONS = st.sampled_from(["101", "102", "201", "202", "203"])
NUMBERS = st.sampled_from([
    "101", "102", "201", "202", "203", "9555", "110", "9110", "*118001#11#", "*12", "*131", "*14", "*43", "777", "*8", "*8",
    "**201", "**202", "600", "600", "700", "701", "*711", "*712", "*5001", "*61203#", "*62600#", "*63101#", "*60", "*65", "*54", "*51",
    "*52201", "*56",
])  # fmt: skip
KEYS = st.sampled_from(["1", "2", "0", "9", "7", "*2", "*3", "*3201", "*39555", "#", "101", "8001#11#", "*70", "*72", "*3600", "*3700",
                        "4711#"])  # fmt: skip
STRATEGIES = st.sampled_from(["longest-idle", "ring-all", "round-robin", "fewest-calls", "linear"])
STEP = st.one_of(
    st.tuples(st.just("in"), LINES),
    st.tuples(st.just("dial"), EXTENSIONS, NUMBERS),
    st.tuples(st.just("press"), st.integers(0, 9), KEYS),
    st.tuples(st.just("flash"), st.integers(0, 9)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("phone-hold"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("send-on"), st.integers(0, 9), NUMBERS),
    st.tuples(st.just("refer"), st.integers(0, 9), st.one_of(NUMBERS, st.integers(0, 9))),
    st.tuples(st.just("replace"), EXTENSIONS, st.integers(0, 9), st.booleans()),
    st.tuples(st.just("agent"), st.sampled_from(["8001", "8002", "8003"]), st.sampled_from(["login", "logout", "pause", "ready"])),
    st.tuples(st.just("phone"), st.sampled_from(["101", "201", "202", "203", "line/1", "line/2"]), st.sampled_from([-1, 500, 6000]),
              st.sampled_from([None, Cause.BUSY, Cause.UNREACHABLE, Cause.NO_DIAL_TONE, Cause.REJECTED])),
    st.tuples(st.just("state"), st.sampled_from(["101", "201", "line/1", "line/2"]),
              st.sampled_from(["idle", "busy", "unregistered", "fault"])),
    st.tuples(st.just("wait"), st.sampled_from([10, 300, 2100, 7000, 40_000])),
    st.tuples(st.just("kill")),
)  # fmt: skip
HOME = {"8001": "201", "8002": "202", "8003": "101"}


def step(stage: Stage, action: tuple[object, ...]) -> None:
    live = list(stage.legs)
    match action:
        case ("in", str(line)) if line not in stage.legs.values():
            stage.ring_in(line)
        case ("dial", str(extension), str(number)) if extension not in stage.legs.values():
            stage.dial(extension, number)
        case ("press", int(index), str(keys)) if live:
            stage.press(live[index % len(live)], keys)
        case ("flash", int(index)) if live:
            stage.flash(live[index % len(live)])
        case ("leave", int(index)) if live:
            stage.leave(live[index % len(live)])
        case ("phone-hold", int(index), bool(on)) if live:
            leg = live[index % len(live)]
            stage.give(LegHeld(leg, stage.now) if on else LegResumed(leg, stage.now))
        case ("send-on", int(index), str(number)) if live:
            leg = live[index % len(live)]
            if leg not in stage.answered and not stage.legs[leg].startswith("line/") and leg.startswith("L"):
                stage.give(LegForwarded(leg, stage.now, number))
                stage._end(leg, Cause.TRANSFERRED, Evidence("sip-302"), True)
        case ("refer", int(index), int() | str() as target) if live:
            consult = live[target % len(live)] if isinstance(target, int) else ""
            stage.give(LegReferred(live[index % len(live)], stage.now, "t", target if isinstance(target, str) else "", consult))
        case ("replace", str(extension), int(index), bool(early)) if live:
            new = stage._new("x", extension, LegKind.SIP)
            named = live[index % len(live)]
            stage.give(LegOffered(new, stage.now, LegKind.SIP, extension, Party(extension), "201", -1, replaces=named, early_only=early))
        case ("agent", str(agent), str(verb)):
            try:
                stage.board.agent_command(agent, verb, stage.now, extension=HOME[agent], reason="1")
            except Exception as error:
                assert "in a call" in str(error) or "logged out" in str(error)
            stage._after()
        case ("phone", str(endpoint), int(answer_ms), reject):
            stage.phones[endpoint] = Phone(answer_ms=answer_ms, reject=reject)  # type: ignore[arg-type]
        case ("state", str(endpoint), str(state)):
            stage.give(EndpointState(endpoint, stage.now, state))
        case ("wait", int(ms)):
            stage.run(ms)
        case ("kill",):
            stage.restart = True
            stage._after()
            stage.restart = False


@settings(max_examples=3 * settings.default.max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(strategy=STRATEGIES, group=st.sampled_from(["all", "order", "memory"]), steps=st.lists(STEP, max_size=40))
def test_nothing_is_stuck_whatever_happens(strategy: str, group: str, steps: list[tuple[object, ...]]) -> None:
    sales = Queue(strategy=strategy, record=True, max_wait_s=60)  # type: ignore[arg-type]
    queues = {"sales": sales, "service": Queue(strategy=strategy, max_waiting=2, wrap_up_s=0)}  # type: ignore[arg-type]
    groups = {
        "desk": Group(number="600", members=["101", "202", "203"], strategy=group, ring_s=5, otherwise="queue/service"),  # type: ignore[arg-type]
    }
    stage = Stage(config(
        queues=queues, groups=groups, rooms={"pin": Room(number="700", pin="4711"), "open": Room(number="701", most=2)},
        parking=Parking(places=2, timeout_s=10, recalls=1, otherwise="group/desk"), speed_dials={"01": "600"},
        calling=Calling(most_minutes=1, warn_s=20),
    ))  # fmt: skip
    stage.log_in("8001", "201")
    for action in steps:
        step(stage, action)
    for _ in range(20):
        for leg in list(stage.legs):
            stage.leave(leg)
        stage.run(2000)
    stage.run(120_000)
    stage.at_rest()
