"""Layout of the queue_log and Master.csv exports beside what a real app_queue wrote (tests/vectors/asterisk-acd).

The vectors were recorded from Asterisk 22 by `python -m tools.bench_acd_beside.record`: each kind of call once. Here the same kinds of
calls are lived by the appliance's own call parts; every line they export has to be laid out as those are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config.schema.acd import Callback
from firmware.reports import figures as fig
from tools.bench_acd_beside import logs
from tools.bench_acd_beside.rows import _config, _over, _queue, _rung, _up, _wait
from tools.bench_acd_beside.script import AtOurs, at_ours

VECTORS = Path(__file__).parents[1] / "vectors" / "asterisk-acd"
#: Lines that app_queue writes for each queue beside the one for all of them, and for its own start.
PER_QUEUE = {"QUEUESTART", "PAUSE", "UNPAUSE"}
#: Recorded there, and lived in tests of their own here.
ELSEWHERE = {"EXITEMPTY", "AGENTDUMP"}


def real(name: str) -> list[str]:
    return (VECTORS / name).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def lived() -> Iterator[AtOurs]:
    queue = _queue(ring_s=5, auto_pause_after=0, wrap_up_s=0, callback=Callback(enabled=True), max_wait_s=30)
    config = _config({"m": queue}, {"8001": ["m"]})
    with at_ours(config, {"2001": "8001"}) as scene:
        def talk(number: str) -> tuple[str, str]:
            leg = scene.call(number, "m")
            assert scene.until(lambda: bool(_rung(scene, "2001", number)))
            ring = _rung(scene, "2001", number)[-1]
            scene.lift(ring.leg)
            _wait(scene, 3000)
            return leg, ring.leg

        scene.hang_up(talk("13000000001")[0])
        _wait(scene, 1000)
        scene.hang_up(talk("13000000002")[1])
        _wait(scene, 1000)
        ignored = scene.call("13000000003", "m")
        assert scene.until(lambda: len(_rung(scene, "2001", "13000000003")) == 2)
        _wait(scene, 400)
        scene.hang_up(ignored)
        scene.pause("2001", True, "2")
        for number, how in (("13000000004", "abandon"), ("13000000005", "key"), ("13000000006", "timeout")):
            leg = scene.call(number, "m")
            assert scene.until(lambda leg=leg: _up(scene, leg))
            _wait(scene, 4000)
            if how == "key":
                scene.press(leg, "1")
                _wait(scene, 4000)
                scene.press(leg, "1")
            if how == "abandon":
                scene.hang_up(leg)
            assert scene.until(lambda leg=leg: _over(scene, leg) >= 0)
        scene.office.calls.command(lambda now: [scene.office.calls.board.cancel_callback(one, now)
                                                for one in list(scene.office.calls.board.acd.callbacks)])  # fmt: skip
        scene.pause("2001", False)
        caller, agent = talk("13000000007")
        scene.press(agent, "*32099")
        _wait(scene, 1500)
        scene.hang_up(agent)                                 # before anybody answered: blind
        _wait(scene, 500)
        scene.lift(_rung(scene, "2099")[0].leg)
        _wait(scene, 2000)
        scene.hang_up(caller)
        _wait(scene, 1000)
        caller, agent = talk("13000000008")
        scene.press(agent, "*32099")
        _wait(scene, 1500)
        scene.lift(_rung(scene, "2099")[1].leg)
        _wait(scene, 1500)
        scene.hang_up(agent)                                 # after it: attended
        _wait(scene, 1500)
        scene.hang_up(caller)
        _wait(scene, 1000)
        scene.office.calls.command(lambda now: scene.office.calls.board.agent_command("8001", "logout", now))
        _wait(scene, 2000)
        yield scene


def test_every_event_has_the_parameters_of_app_queue(lived: AtOurs) -> None:
    ours, theirs = logs.log_shapes(lived.log()), logs.log_shapes(real("queue_log"))
    assert set(ours) <= set(theirs), "no event that a reader of Asterisk's log does not know"
    missing = set(theirs) - set(ours) - PER_QUEUE
    assert missing == ELSEWHERE, "every kind that was recorded occurs here, too"
    for event, shapes in ours.items():
        wanted = {len(shape.split(",")) for shape in theirs[event]}
        assert {len(shape.split(",")) for shape in shapes} == wanted, event
        if event != "PAUSEALL":                               # with or without a reason, and reasons are digits here
            kinds = {tuple(shape.split(",")) for shape in theirs[event]}
            assert all(any(all(a == b or {a, b} <= {"n", "s"} for a, b in zip(shape.split(","), one, strict=True)) for one in kinds)
                       for shape in shapes), (event, shapes, kinds)  # fmt: skip


def test_a_call_that_was_handed_over_has_no_second_end(lived: AtOurs) -> None:
    for log, prefix in ((lived.log(), "1300000000"), (real("queue_log"), "1380000000")):
        lines = [line.split("|") for line in log]
        for number, event in ((f"{prefix}7", "BLINDTRANSFER"), (f"{prefix}8", "ATTENDEDTRANSFER")):
            call = next(line[1] for line in lines if line[4] == "ENTERQUEUE" and line[6] == number)
            assert [line[4] for line in lines if line[1] == call] == ["ENTERQUEUE", "CONNECT", event]


def test_a_callback_that_was_cancelled_is_in_the_report(lived: AtOurs) -> None:
    reports = lived.office.reports
    (found,) = fig.callbacks(reports.tally(reports.today()))
    assert (found.name, found.asked, found.cancelled, found.reached, found.lost) == ("m", 1, 1, 0, 0)


def test_a_key_that_leads_out_of_the_queue_comes_first(lived: AtOurs) -> None:
    (ours,) = [line.split("|")[5:] for line in lived.log() if "|EXITWITHKEY|" in line]
    (theirs,) = [line.split("|")[5:] for line in real("queue_log") if "|EXITWITHKEY|" in line]
    assert ours[0] == theirs[0] == "1" and len(ours) == len(theirs) == 4


def test_the_records_of_calls_have_its_columns(lived: AtOurs) -> None:
    ours, theirs = {logs.csv_shape(line) for line in lived.cdr()}, {logs.csv_shape(line) for line in real("Master.csv")}
    assert {len(shape) for shape in ours | theirs} == {18}
    for shape in ours:
        # Without an answer the instant of it is empty; the recorded calls were all answered by the queue itself.
        filled = shape[:10] + "q" + shape[11:] if shape[10] == "-" else shape
        assert filled in theirs, shape


@pytest.mark.parametrize("who", ["agent", "caller"])
def test_who_is_gone_while_the_number_is_said_was_not_connected(who: str) -> None:
    """app_queue writes CONNECT when both are joined, AGENTDUMP and ABANDON where one is gone during the words before."""
    with at_ours(_config({"m": _queue(agent_number=True, wrap_up_s=0)}, {"8001": ["m"]}), {"2001": "8001"}) as scene:
        caller = scene.call("13000000001", "m")
        assert scene.until(lambda: bool(_rung(scene)))
        first = _rung(scene)[-1].leg
        scene.lift(first)
        _wait(scene, 300)
        scene.hang_up(first if who == "agent" else caller)
        if who == "agent":
            assert scene.until(lambda: len(_rung(scene)) == 2)
            scene.lift(_rung(scene)[-1].leg)
            _wait(scene, 8000)
            scene.hang_up(caller)
        _wait(scene, 3000)
        lines = [line.split("|") for line in scene.log() if "|m|" in line]
        events = [line[4] for line in lines]
        theirs = [line.split("|") for line in real("queue_log") if "|a|" in line]
        same = [line[4] for line in theirs if line[1] == next(one[1] for one in theirs if one[-2] == f"1380000001{int(who == 'caller')}")]
        assert events[:2] == same[:2], "as a real app_queue writes it"
        assert logs.log_shapes(scene.log()).get("AGENTDUMP") in (None, logs.log_shapes(real("queue_log"))["AGENTDUMP"])
        (call,) = csv.reader(scene.cdr())
        (agent,) = fig.agents(scene.office.reports.tally(scene.office.reports.today()))
        if who == "agent":
            assert events == ["ENTERQUEUE", "AGENTDUMP", "CONNECT", "COMPLETECALLER"] and lines[1][3:] == ["Agent/8001", "AGENTDUMP", ""]
            assert call[14] == "ANSWERED" and (agent.offers, agent.answered, agent.dropped) == (2, 1, 1)
        else:
            assert events == ["ENTERQUEUE", "ABANDON"] and lines[1][3] == "Agent/8001" and call[14] == "NO ANSWER"
            assert (agent.offers, agent.answered, agent.dropped, agent.missed) == (1, 0, 0, 0)


def test_whoever_waits_when_the_last_agent_goes_leaves_as_app_queue_writes_it() -> None:
    config = _config({"m": _queue(stay_needs="working", join_needs="nobody")}, {"8001": ["m"]})
    with at_ours(config, {"2001": "8001"}) as scene:
        scene.call("13000000001", "m")
        assert scene.until(lambda: bool(_rung(scene)))
        scene.pause("2001", True, "2")
        _wait(scene, 30_000)
        ours, theirs = logs.log_shapes(scene.log()), logs.log_shapes(real("queue_log"))
        assert ours["EXITEMPTY"] <= theirs["EXITEMPTY"] == {"n,n,n"}


@pytest.mark.parametrize(("line", "shape"), [('"a","",,12,"x ""y"""', "qq-nq"), ("7,x", "n?")])
def test_columns_are_told_apart(line: str, shape: str) -> None:
    assert logs.csv_shape(line) == shape


@pytest.mark.parametrize(("phase", "who"), [("queued", "caller"), ("talking", "caller"), ("talking", "agent")])
def test_who_hangs_up_while_core_is_away_is_on_record_with_his_own_evidence(phase: str, who: str) -> None:
    with at_ours(_config({"m": _queue()}, {"8001": ["m"]}), {"2001": "8001"}) as scene:
        if phase == "queued":
            scene.pause("2001", True, "2")
        caller = leg = scene.call("13000000001", "m")
        _wait(scene, 3000)
        if phase == "talking":
            assert scene.until(lambda: bool(_rung(scene)))
            scene.lift(_rung(scene)[-1].leg)
            _wait(scene, 3000)
            leg = caller if who == "caller" else _rung(scene)[-1].leg
        scene.office.kill_core(2000)
        _wait(scene, 500)
        scene.hang_up(leg)
        _wait(scene, 5000)
        assert not scene.office.sets.live
        scene.office.db.flush(10)
        (row,) = scene.office.db.query("SELECT cause, evidence, first_to_leave FROM contacts WHERE kind = 'inbound'")
        wanted = ("abandoned" if phase == "queued" else "normal", "busy-tone" if who == "caller" else "bye", who)
        assert tuple(row) == wanted and scene.log()[-1].split("|")[4] == ("ABANDON" if phase == "queued" else f"COMPLETE{who.upper()}")
