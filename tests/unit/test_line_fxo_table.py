"""The FXO machine as a table: adoption, completeness, and no history that sticks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.call.model import Cause, Party
from firmware.config.schema.ports import FxoLine
from firmware.errors import LocalProtocolError, RemoteProtocolError
from firmware.line import callerid, tables
from firmware.line import signals as s
from firmware.line.fxo import FXO_TABLE, OFF_HOOK, Fxo, FxoFacts
from firmware.line.profiles import profile
from tests.unit.line_bench import COUNTRIES, Bench

# --- adoption -----------------------------------------------------------------------------------------------------------


def again(bench: Bench, facts: FxoFacts, gap: int) -> Bench:
    """The machine of a new process on the same line."""
    bench.now += gap
    bench.machine = Fxo.restore(bench.machine.config, bench.machine.profile, bench.machine.snapshot())
    bench.actions.clear()
    bench.events.clear()
    bench.machine.attach(facts, bench.now)
    bench.drain()
    return bench


def test_adopted_call_is_neither_driven_nor_reset() -> None:
    bench = again(Bench("CN").talk_in(), FxoFacts(battery=True, reversed=False, loop=True), 2000)
    assert bench.state == "TALKING" and not bench.actions
    assert bench.tone("busy").one(s.Ended).by_far


def test_hang_up_during_the_gap_is_acted_on() -> None:
    lost = again(Bench("CN").talk_in(), FxoFacts(loop=False), 1500).run(1000)
    assert lost.one(s.Ended).evidence.kind == "loop-drop" and lost.hook() == s.LINE_ON_HOOK
    reversed_ = again(Bench("CN").fact(s.Polarity, False).talk_in(), FxoFacts(loop=True, reversed=True), 1500)
    assert reversed_.one(s.Ended).evidence.kind == "polarity"


def test_ringing_goes_on_over_the_gap() -> None:
    bench = again(Bench("CN").ring(2), FxoFacts(ringing=False), 1500)
    assert bench.state == "RINGING" and not bench.all(s.Ended)
    assert bench.run(12_000).one(s.Ended).cause is Cause.CANCELLED


def test_snapshot_that_is_none_is_refused() -> None:
    for bad in (b"", b"\xff\x00", msgspec.msgpack.encode({"state": "DANCING"})):
        with pytest.raises(RemoteProtocolError):
            Fxo.restore(FxoLine(), profile("CN"), bad)


# --- the table ----------------------------------------------------------------------------------------------------------


def test_table_is_whole() -> None:
    assert tables.faults(Fxo) == []


def test_diagram_names_every_state() -> None:
    diagram = tables.mermaid("fxo")
    assert all(state in diagram for state in FXO_TABLE) and "stateDiagram-v2" in diagram


INPUTS: list[Any] = [
    lambda at: s.RingBurst(at, True), lambda at: s.RingBurst(at, False), lambda at: s.Battery(at, True, 48.0),
    lambda at: s.Battery(at, False, 0.0), lambda at: s.Battery(at, True, 9.0), lambda at: s.Polarity(at, True),
    lambda at: s.Polarity(at, False), lambda at: s.LoopCurrent(at, True, 20.0), lambda at: s.LoopCurrent(at, False, 0.0),
    lambda at: s.FskMessage(at, callerid.build_mdmf(Party("5551234"))), lambda at: s.FskMessage(at, b"\x80"),
    lambda at: s.Digit(at, "D"), lambda at: s.Digit(at, "5"), lambda at: s.Digit(at, "C"),
    lambda at: s.ToneHeard(at, "dial", 5, at - 500), lambda at: s.ToneHeard(at, "busy", 3, at - 2100),
    lambda at: s.ToneHeard(at, "ringback", 1, at - 5000), lambda at: s.ToneStopped(at, "ringback"), lambda at: s.ToneStopped(at, "dial"),
    lambda at: s.Voice(at, True), lambda at: s.Voice(at, False), lambda at: s.PlayerDone(at, 1), lambda at: s.PlayerDone(at, 2),
    lambda at: s.Answer(at), lambda at: s.HangUp(at), lambda at: s.Dial(at, "110p5w6"), lambda at: s.Flash(at),
    lambda at: s.SendDigits(at, "1"), lambda at: s.LoopCurrent(at, True, 11.0), lambda at: s.ToneHeard(at, "stutter", 2, at - 400),
    lambda at: s.FskMessage(at, callerid.build_waiting(True)),
]  # fmt: skip


def representatives() -> dict[str, Bench]:
    """One line in each state of the table."""
    benches = [Bench(), Bench().fact(s.Battery, False, 0.0).run(1100), Bench().fact(s.Battery, True, 8.0), Bench().ring(2)]
    benches += [Bench().ring(2).send(s.Answer), Bench().send(s.Dial, "110"), Bench().send(s.Dial, "110").run(600)]
    benches += [Bench().send(s.Dial, "110").run(600).tone("dial", 5).run(400), Bench().dialled(), Bench().talk_in()]
    benches += [Bench().talk_in().send(s.HangUp), Bench().talk_in().send(s.HangUp).run(400)]
    return {bench.state: bench for bench in benches}


def test_every_input_in_every_state_keeps_to_the_table() -> None:
    found = representatives()
    assert set(found) == set(FXO_TABLE)
    for state in FXO_TABLE:
        for make in INPUTS:
            bench = representatives()[state]
            given_ = make(bench.now)
            if isinstance(given_, s.Intention) and not isinstance(given_, s.HangUp) and not bench.machine.allows(type(given_)):
                with pytest.raises(LocalProtocolError):
                    bench.machine.send(given_)
                continue
            (bench.machine.send if isinstance(given_, s.Intention) else bench.machine.receive)(given_)
            bench.drain()
            settle(bench, f"{state} {given_}")


def settle(bench: Bench, what: str = "") -> None:
    """Whatever happened before: a quiet line with battery is at rest within 120 s, and every call has ended once."""
    quiet = (s.RingBurst, False), (s.LoopCurrent, False), (s.Battery, True, 48.0), (s.Voice, False)
    for kind, *values in quiet:
        bench.fact(kind, *values)  # type: ignore[arg-type]
    bench.run(120_000)
    bench.fact(s.Battery, True, 48.0).run(1000)
    assert bench.state in ("IDLE", "NO_LINE"), f"{what}: {bench.state}"
    assert not bench.machine.state.call and bench.hook() == s.LINE_ON_HOOK


@settings(max_examples=settings.default.max_examples * 3 // 2, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(range(len(INPUTS))), st.integers(0, 7000)), max_size=40), st.sampled_from(COUNTRIES),
       st.booleans(), st.integers(1, 3), st.sampled_from(["tone", "pulse"]))
def test_no_sequence_of_inputs_sticks_a_line(
    steps: list[tuple[int, int]], country: str, polarity: bool, rings: int, dialling: str
) -> None:
    blind = "dial" if rings == 3 else "fault"
    how = {"dialling": dialling, "no_dial_tone": blind, "message_waiting": "both"}
    bench = Bench(country, polarity_answer=polarity, answer_after_rings=rings, **how)
    calls = 0
    for index, wait in steps:
        given_ = INPUTS[index](bench.now)
        if isinstance(given_, s.Intention):
            if isinstance(given_, s.HangUp) or bench.machine.allows(type(given_)):
                try:
                    bench.machine.send(given_)
                    calls += isinstance(given_, s.Dial)
                except LocalProtocolError:
                    pass                                     # answer of a declined or unoffered ring
        else:
            bench.machine.receive(given_)
        bench.drain()
        assert (bench.hook() == s.LINE_OFF_HOOK) <= (bench.state in OFF_HOOK)
        bench.run(wait)
        if index % 7 == 0:
            bench.machine = Fxo.restore(bench.machine.config, bench.machine.profile, bench.machine.snapshot())
    settle(bench)
    calls += len(bench.all(s.Offered))
    assert len(bench.all(s.Ended)) == calls
