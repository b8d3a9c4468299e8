"""What a calling SIP phone hears before the answer: early audio of lines (RFC 3261 section 13.3.1.1), and keys into it."""

from __future__ import annotations

import pytest

from firmware.call import actions as do
from firmware.call.model import Alert, Cause, Evidence, LegAnswered, LegEnded, LegOffered, LegProgress, Party
from firmware.config.schema.ports import FxoLine, FxsPhone, Ports
from firmware.sip import events as ev
from tests.unit.call_stage import Phone, Stage, config
from tests.unit.phones_stage import Desk, House
from tests.unit.sip_stage import SDP, authorize, request

REVERSED = Ports(
    fxo={"1": FxoLine(polarity_answer=True), **{str(n): FxoLine() for n in (2, 3, 4)}}, fxs={str(n): FxsPhone() for n in (1, 2, 3, 4)}
)


def answers(stage: Stage, leg: str) -> list[int]:
    return [at for at, _, one in stage.done if isinstance(one, do.AnswerLeg) and one.leg == leg]


@pytest.mark.parametrize("restart", [False, True])
def test_the_exchange_is_heard_before_the_answer_which_is_told_when_it_comes(restart: bool) -> None:
    stage = Stage(config(ports=REVERSED), restart=restart)
    stage.phones["line/1"] = Phone(answer_ms=8000)
    caller = stage.dial("201", "913800000000")
    stage.run(4000)
    line = stage.leg_at("line/1")
    assert stage.talking(caller, line) and answers(stage, caller) == []
    stage.press(caller, "5")
    assert stage.sent == {line: "5"}
    stage.run(7000)
    assert stage.talking(caller, line) and len(answers(stage, caller)) == 1
    stage.leave(line)
    stage.run(1000)
    stage.at_rest()
    legs = {leg.endpoint: leg.answered for leg in stage.only().legs.values()}
    assert 0 <= legs["201"] - legs["line/1"] <= 100


@pytest.mark.parametrize(("number", "ports"), [("913800000000", None), ("110", REVERSED)])
def test_a_line_without_a_sure_sign_and_a_call_for_help_are_answered_at_once(number: str, ports: Ports | None) -> None:
    stage = Stage(config(ports=ports) if ports is not None else None)
    stage.phones["line/1"] = Phone(answer_ms=8000)
    caller = stage.dial("201", number)
    stage.run(4000)
    assert stage.talking(caller, stage.leg_at("line/1")) and len(answers(stage, caller)) == 1
    assert not any(isinstance(one, do.EarlyLeg) for _, _, one in stage.done)


def test_a_line_that_is_not_answered_ends_without_an_answer_to_the_phone() -> None:
    stage = Stage(config(ports=REVERSED))
    stage.phones["line/1"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "913800000000")
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("line/1"))
    stage.leave(stage.leg_at("line/1"), Evidence("busy-tone", 0.9))
    stage.run(3000)
    assert answers(stage, caller) == [] and caller not in stage.legs
    stage.at_rest()


def test_a_phone_that_gives_up_during_early_audio_frees_the_line() -> None:
    stage = Stage(config(ports=REVERSED))
    stage.phones["line/1"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "913800000000")
    stage.run(3000)
    stage._end(caller, Cause.CANCELLED, Evidence("cancel"), True)
    stage.run(3000)
    stage.at_rest()
    assert stage.only().cause is Cause.CANCELLED


# --- on the wire ------------------------------------------------------------------------------------------------------


def statuses(house: House, desk: Desk) -> list[int]:
    return [one.status for where, one in house.answers if where == desk.address and one.cseq.method == "INVITE"]


@pytest.fixture
def house(seed: int) -> House:
    return House(seed)


def offered(house: House, desk: Desk, body: bytes = SDP) -> LegOffered:
    """The phone calls 9555 with this offer."""

    def invite(branch: str, cseq: int):  # type: ignore[no-untyped-def]
        uri = "sip:9555@192.0.2.1"
        return request("INVITE", uri, user=desk.number, source=desk.address, call_id="e1", branch=branch, cseq=cseq, body=body)

    (challenge,) = house.raw(desk.address, invite("e1a", 1))
    house.raw(desk.address, authorize(invite("e1b", 2), challenge, desk.number, "pw" + desk.number))
    (event,) = house.take(LegOffered)
    assert isinstance(event, LegOffered)
    return event


def test_early_audio_opens_the_port_and_the_answer_changes_nothing(house: House) -> None:
    desk = Desk(house, "201", ("192.0.2.31", 5070))
    desk.register()
    leg = offered(house, desk).leg
    house.phones.progress(leg)
    house.phones.early(leg)
    house.settle()
    (progress,) = house.take(LegProgress)
    assert progress.leg == leg and house.media.open[progress.port]["send"]
    house.phones.early(leg)                                     # again: nothing
    house.phones.answer(leg)
    house.settle()
    (answered,) = house.take(LegAnswered)
    assert answered.port == progress.port and house.take(LegProgress) == []
    told = [one for where, one in house.answers if where == desk.address and one.status in (180, 183, 200) and one.cseq.method == "INVITE"]
    assert [one.status for one in told] == [180, 183, 200] and told[1].body == told[2].body != b""
    house.phones.hang_up(leg, Cause.NORMAL)
    assert not house.media.allocated


def test_a_call_refused_after_early_audio_gives_the_port_back(house: House) -> None:
    desk = Desk(house, "201", ("192.0.2.31", 5070))
    desk.register()
    leg = offered(house, desk).leg
    house.phones.early(leg)
    house.phones.hang_up(leg, Cause.BUSY)
    house.settle()
    assert statuses(house, desk)[-2:] == [183, 486] and not house.media.allocated
    (ended,) = house.take(LegEnded)
    assert ended.cause is Cause.BUSY


def test_a_phone_that_offers_nothing_is_answered_instead(house: House) -> None:
    desk = Desk(house, "201", ("192.0.2.31", 5070))
    desk.register()
    leg = offered(house, desk, b"").leg
    house.phones.early(leg)
    house.settle()
    assert statuses(house, desk)[-1] == 200 and house.take(LegProgress) == []


def test_early_audio_outlives_core(house: House, seed: int) -> None:
    desk = Desk(house, "201", ("192.0.2.31", 5070))
    desk.register()
    leg = offered(house, desk).leg
    house.phones.early(leg)
    (progress,) = house.take(LegProgress)
    data, kept = house.phones.snapshot_leg(leg), house.kept
    house.phones = house.start(seed + 1)
    house.phones.restore_registrations(kept)
    assert house.phones.adopt(leg, data, progress.port)
    house.phones.answer(leg)
    house.settle()
    (answered,) = house.take(LegAnswered)
    assert answered.port == progress.port and statuses(house, desk)[-1] == 200


# --- INVITE with Replaces ---------------------------------------------------------------------------------------------


def test_replaces_becomes_the_leg_that_is_meant_or_481(house: House) -> None:
    desk, taker = Desk(house, "202", ("192.0.2.32", 5070)), Desk(house, "201", ("192.0.2.31", 5070))
    desk.register()
    taker.register()
    house.phones.originate("L9", "202", number="202", caller=Party("0123"), alert=Alert.NORMAL, ring_ms=20_000)
    house.settle()
    (incoming,) = desk.take(ev.IncomingCall)
    desk.send(ev.RingCall(incoming.call))

    def replace(value: str, name: str) -> tuple[list[LegOffered], int]:
        def invite(branch: str, cseq: int):  # type: ignore[no-untyped-def]
            return request("INVITE", "sip:202@192.0.2.1", user="201", source=taker.address, call_id=name, branch=name + branch, cseq=cseq,
                           body=SDP, extra=(("Replaces", value),))  # fmt: skip

        (challenge,) = house.raw(taker.address, invite("a", 1))
        house.raw(taker.address, authorize(invite("b", 2), challenge, "201", "pw201"))
        return house.take(LegOffered), statuses(house, taker)[-1]

    offered_as, _ = replace("L9@lamp;to-tag=L9;from-tag=lamp;early-only", "r1")
    assert [(one.endpoint, one.replaces, one.early_only) for one in offered_as] == [("201", "L9", True)]
    house.phones.hang_up(offered_as[0].leg, Cause.UNREACHABLE)
    house.settle()
    assert statuses(house, taker)[-1] == 481
    assert replace("nobody@h;to-tag=1;from-tag=2", "r2") == ([], 481)
