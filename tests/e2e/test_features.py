"""Telephone features as people at telephones meet them: internal calls, outside calls, hold, transfer, agents and queues.

One branch in virtual time serves most tests; evidence is what its people heard, compared with the record. What only a real SIP
phone does (re-INVITE, its own RFC 4733 keys) is done by baresip in real time at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound, read_wav
from tests.e2e.baresip import Baresip
from tests.e2e.branch import CALLEE_HZ, CALLER_HZ, HZ, JACKS, LEVEL, SITE, Branch, music_dbm0, said, slowly
from tests.e2e.evidence import contacts, person, rows, tape_of

pytestmark = [pytest.mark.e2e]


# --- internal calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caller", "called"), [("101", "102"), ("201", "101"), ("102", "202"), ("201", "202")])
def test_internal_call_carries_speech_both_ways(branch: Branch, caller: str, called: str) -> None:
    branch.answer(called, HZ[caller], after=4)
    ident = branch.dial(caller, called, HZ[called], talk=13)
    one, two = branch.done(ident), branch.at(called)
    branch.hears(ident, HZ[called], HZ[caller], two["answered"] + 1000, one["ended"] - 500, called=True)
    branch.hears(two["ident"], HZ[caller], HZ[called], two["answered"] + 1000, one["ended"] - 500, called=False)
    assert two["display"].get("number") == caller
    record = branch.records()[0]
    assert (record["kind"], record["cause"], record["first_to_leave"]) == ("internal", "normal", "caller")
    # An analog phone's hang-up is known when the break is too long for a flash (0.8 s).
    assert -50 <= record["talk_ms"] - (one["ended"] - two["answered"]) <= 1000
    assert [leg["endpoint"] for leg in branch.legs(record)] == [caller, called]


def test_called_phone_that_is_in_a_call_is_busy(branch: Branch) -> None:
    branch.answer("102", HZ["101"])
    branch.dial("101", "102", HZ["102"], talk=90)  # it outlasts the two that find it busy
    wait_until(lambda: any(p["met"] > 0 for p in branch.status()["people"]), "the first two talk")
    sip = branch.dial("201", "102")
    assert branch.done(sip)["outcome"] == "sip-486"
    analog = branch.dial("103", "102")
    assert branch.done(analog)["ended_by"] == "far"  # two equal cycles of busy tone
    assert [row["cause"] for row in branch.records(2)[:2]] == ["busy", "busy"]


def test_a_second_call_waits_and_is_taken_by_flash(branch: Branch) -> None:
    branch.answer("103", HZ["101"], HZ["201"], keys="!@16,!@10", talk=90)
    with slowly(branch.box):
        first = branch.dial("101", "103", HZ["103"], talk=44)
        wait_until(lambda: any(p["met"] > 0 for p in branch.status()["people"]), "the first two talk")
        second = branch.dial("201", "103", HZ["103"], talk=34)
    one, two, desk = branch.done(first), branch.done(second), branch.at("103")
    (_, taken), (_, back) = desk["pressed"]
    taken, back = taken + 400, back + 400                   # a flash of 300 ms is one when it is over
    assert two["started"] < taken - 3000, "it waited"
    assert 0 <= two["answered"] - taken + 400 < 1000 and two["outcome"] == "answered"
    branch.hears(second, HZ["103"], HZ["201"], taken + 1000, back - 500, called=True)
    branch.hears(desk["ident"], HZ["201"], HZ["103"], taken + 1000, back - 500, called=False)
    branch.hears(first, HZ["103"], HZ["101"], back + 1000, one["ended"] - 500, called=True)
    for held, begin, end in ((first, taken, back), (second, back, one["ended"])):
        assert music_dbm0(branch.heard(held, begin + 1000, end - 500)) > -40, "who is held hears music"
        assert branch.heard(held, begin + 1000, end - 500).tone_dbm0(HZ["103"]) < -45, "and nothing of the telephone"
    assert one["ended"] < two["ended"] - 5000
    branch.hears(second, HZ["103"], HZ["201"], one["ended"] + 1500, two["ended"] - 500, called=True)
    assert [(row["cause"], row["first_to_leave"]) for row in branch.records(2)] == [("normal", "caller")] * 2


def test_phone_that_nobody_answers_stops_after_its_time(branch: Branch) -> None:
    analog = branch.dial("101", "202")
    heard = branch.done(analog)
    assert heard["ended_by"] == "far"  # busy tone after ringback
    record = branch.records()[0]
    assert record["cause"] == "no-answer"
    ringing = branch.legs(record)[1]
    assert 14_500 <= ringing["ended_ms"] - ringing["ringing_ms"] <= 16_000
    sip = branch.dial("201", "102")
    assert branch.done(sip)["outcome"] == "sip-480"
    assert branch.records(2)[1]["cause"] == "no-answer"
    assert branch.status()["phones"][1]["rings"] == 3


# --- outside calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["101", "201"])
def test_outside_call_waits_for_dial_tone_and_speech_goes_both_ways(branch: Branch, caller: str) -> None:
    branch.world("exchange", line=1, dial_tone_delay_ms=2500)
    branch.world("partners", partners_hz=[HZ[caller]])
    number = branch.number("62005678")
    ident = branch.dial(caller, f"9{number}", CALLEE_HZ, talk=24)
    one, two = branch.done(ident), branch.who("callee", number)
    digits = branch.seen("digit")
    seized = next(note for note in branch.seen("hook") if note["off"])
    assert "".join(note["key"] for note in digits) == number  # decoded by the exchange, nothing dialled twice
    assert digits[0]["at"] - seized["at"] >= 2500
    branch.hears(ident, CALLEE_HZ, HZ[caller], two["answered"] + 1000, one["ended"] - 500, called=True)
    branch.hears(two["ident"], HZ[caller], CALLEE_HZ, two["answered"] + 3000, one["ended"] - 500, called=False)
    assert two["ended_by"] == "far"
    record = branch.records()[0]
    assert (record["kind"], record["called"], record["cause"], record["first_to_leave"]) == ("outbound", f"9{number}", "normal", "caller")
    line = branch.legs(record)[1]
    assert (line["endpoint"], line["number"]) == ("line/1", number)
    assert line["answered_by"] in ("voice", "ringback-stopped")
    # Without a reversal the ear decides: late by what tells speech from a refusal tone, or a missing ring from a pause.
    answered = line["answered_ms"] - branch.wall_base
    assert 0 <= answered - two["answered"] <= 9000


def test_reversal_proves_the_answer(branch: Branch) -> None:
    number = branch.number("62005679", answer_after=4)
    branch.done(branch.dial("101", f"8{number}", CALLEE_HZ, talk=16))
    two = branch.who("callee", number)
    line = branch.legs(branch.records()[0])[1]
    assert (line["endpoint"], line["answered_by"]) == ("line/4", "polarity")
    assert abs(line["answered_ms"] - branch.wall_base - two["answered"]) <= 300


@pytest.mark.parametrize(("kind", "cause", "evidence"), [("busy", "busy", "busy-tone"), ("congestion", "congestion", "congestion-tone")])
@pytest.mark.parametrize("caller", ["101", "201"])
def test_refusal_of_the_exchange_is_heard_and_recorded(branch: Branch, caller: str, kind: str, cause: str, evidence: str) -> None:
    number = branch.number("62009999", kind)
    if caller == "101":  # somebody who listens to the tone for long
        branch.phone(1, "dial", number=f"9{number}", stay=True)
        branch.phone(1, "record")
        record = branch.records()[0]
        tape = branch.folder / f"{kind}.wav"
        branch.phone(1, "record", path=str(tape))
        heard = read_wav(tape)[0]
    else:
        ident = branch.dial(caller, f"9{number}")
        assert branch.done(ident)["ended_by"] == "far"
        record, heard = branch.records()[0], branch.heard(ident)
    assert (heard.tone_envelope(450) > -13).sum() > 50  # a second of the tone in all
    assert (record["cause"], record["evidence"], record["connected_ms"]) == (cause, evidence, None)
    line = branch.legs(record)[1]
    assert (line["endpoint"], line["cause"], line["evidence"], line["answered_ms"]) == ("line/1", cause, evidence, None)


def test_line_without_dial_tone_gives_way_to_the_next(branch: Branch) -> None:
    branch.world("exchange", line=1, fault="no-dial-tone")
    number = branch.number("62005680")
    seen = branch.done(branch.dial("101", f"9{number}", CALLEE_HZ, talk=26))
    assert seen["met"] > 0
    legs = branch.legs(branch.records()[0])
    assert [(leg["endpoint"], leg["cause"]) for leg in legs] == [("101", "normal"), ("line/1", "no-dial-tone"), ("line/2", "normal")]
    branch.world("exchange", line=1, fault="no-dial-tone", on=False)


# --- hold and transfer ------------------------------------------------------------------------------------------------


def agent_takes_a_call(branch: Branch, extension: str, keys: str, *, talk: float = 0) -> tuple[str, str]:
    """A caller from outside talks with the agent at `extension`, who presses `keys`; (the caller, his number)."""
    branch.box.ctl("agent login", agent="8001", extension=extension)
    branch.answer(extension, CALLER_HZ, HZ["102"], keys=keys, talk=talk)
    return branch.call("1310", HZ[extension], HZ["102"], hang_up_after=40)


@pytest.mark.parametrize("extension", ["101", "201"])
def test_hold_by_code_plays_music_to_the_held_caller_only(branch: Branch, extension: str) -> None:
    ident, number = agent_takes_a_call(branch, extension, "*2@talk,*2@9", talk=32)
    caller, agent = branch.done(ident), branch.at(extension)
    (_, held), (_, resumed) = agent["pressed"]
    held, resumed = held + 1000, resumed + 600
    assert music_dbm0(branch.heard(ident, held, resumed - 1000)) > -40
    assert branch.heard(ident, held, resumed - 1000).tone_dbm0(HZ[extension]) < -45, "the held caller hears the room"
    assert branch.heard(agent["ident"], held + 500, resumed - 1000).tone_dbm0(CALLER_HZ) < -45, "the caller is heard while held"
    branch.hears(ident, HZ[extension], CALLER_HZ, resumed + 500, caller["ended"] - 1500, called=True)
    branch.hears(agent["ident"], CALLER_HZ, HZ[extension], resumed + 500, agent["ended"] - 1500, called=False)
    record = branch.records()[0]
    assert (record["caller"], record["first_to_leave"]) == (number, "agent")
    history = branch.history(record)
    assert history.index("held") < history.index("resumed")


@pytest.mark.parametrize(
    ("extension", "keys", "attended"),
    [
        ("101", "!@talk,102@2", False),
        ("201", "*3102@talk", False),
        ("101", "*3102@talk", True),
        ("201", "*3102@talk", True),
        ("101", "!@talk,102@2", True),
    ],
)
def test_transfer(branch: Branch, extension: str, keys: str, attended: bool) -> None:
    branch.answer("102", CALLER_HZ, HZ[extension], after=8 if not attended else 2)
    # Blind: the agent hangs up while 102 rings; attended: after talking to 102.
    ident, number = agent_takes_a_call(branch, extension, keys + (",h@12" if attended else ",h@3"))
    caller, agent, target = branch.done(ident), branch.at(extension), branch.at("102")
    assert agent["ended"] < target["answered"] if not attended else agent["ended"] > target["met"]
    began = agent["pressed"][-1][1] + 1500
    through = max(agent["ended"], target["answered"]) + 1500
    held = branch.heard(ident, began, through - 2500)
    assert music_dbm0(held) > -40, "the held caller hears music"
    assert held.tone_dbm0(HZ[extension]) < -45
    assert branch.heard(ident, began, caller["ended"]).tone_dbm0(HZ[extension]) < -45
    if attended:
        assert HZ[extension] == pytest.approx(float(min(target["partners"], key=lambda hz: abs(float(hz) - HZ[extension]))))
        assert HZ["102"] in [float(hz) for hz in agent["partners"]]
    branch.hears(ident, HZ["102"], CALLER_HZ, through, caller["ended"] - 500, called=True)
    branch.hears(target["ident"], CALLER_HZ, HZ["102"], through, caller["ended"] - 500, called=False)
    record = branch.records()[0]
    assert (record["caller"], record["cause"], record["first_to_leave"]) == (number, "normal", "caller")
    by, to = branch.legs(record)[1:]
    assert (by["endpoint"], by["cause"], to["endpoint"], to["cause"]) == (extension, "transferred", "102", "normal")
    assert "transferred" in branch.history(record)


def test_blind_transfer_that_nobody_answers_rings_back(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8001", extension="101")
    branch.answer("101", CALLER_HZ, keys="*3102@talk,h@3")
    ident, _ = branch.call("1310", HZ["101"], hang_up_after=65)
    with slowly(branch.box):
        first = branch.at("101")
        branch.answer("101", CALLER_HZ, talk=12)
    caller = branch.done(ident)
    again = next(p for p in branch.world("results")["people"] if p["number"] == "1" and p["started"] > first["ended"])
    assert again["answered"] - first["ended"] > 12_000  # 102 rang its 15 s first
    assert again["display"].get("number", "").startswith("1310") or again["answered"] - again["started"] < 4000
    branch.hears(ident, HZ["101"], CALLER_HZ, again["answered"] + 1500, min(again["ended"], caller["ended"]) - 1000, called=True)
    assert "transfer-failed" in branch.history(branch.records()[0])


def test_flash_gives_up_a_transfer_and_goes_back(branch: Branch) -> None:
    ident, _ = agent_takes_a_call(branch, "101", "!@talk,202@2,!@6", talk=36)
    caller, agent = branch.done(ident), branch.at("101")
    back = agent["pressed"][-1][1] + 1500
    branch.hears(ident, HZ["101"], CALLER_HZ, back, agent["ended"] - 1500, called=True)
    record = branch.records()[0]
    assert "transfer-back" in branch.history(record)
    assert caller["outcome"] == "answered"
    assert [leg["endpoint"] for leg in branch.legs(record)] == ["line/1", "101", "202"]


# --- agents -----------------------------------------------------------------------------------------------------------


def code(branch: Branch, extension: str, keys: str, *clips: str) -> None:
    """Somebody dials a code, hears every clip of the confirmation, and the call ends by itself."""
    if extension in JACKS:
        # One dials a code; what belongs to it is keyed when the code is taken.
        head, rest = keys[:3], keys[3:]
        ident = branch.dial(extension, head, tone_hz=0, keys=f"{rest}@2" if rest else "", talk=20)
    else:
        ident = branch.dial(extension, keys[:3], tone_hz=0, keys=f"{keys[3:]}@1" if keys[3:] else "", talk=20)
    branch.done(ident)
    branch.sleep(2)  # a phone lifted at once after it was hung up would be a flash
    heard = branch.heard(ident)
    for clip in clips:
        if said(heard, clip) <= 0.5:
            facts = person(branch.box, ident)
            lived = [(row["id"], branch.history(row)) for row in branch.records()[-1:]]
            raise AssertionError(
                f"{extension} {keys}: {clip} is heard with {said(heard, clip):.2f} in {heard.seconds:.1f} s "
                f"at {heard.level_dbm0():.0f} dBm0; "
                f"keys {facts['pressed']}, ended {facts['ended']} by {facts['ended_by']}; history {lived}"
            )


@pytest.mark.parametrize("extension", ["101", "201"])
def test_agent_codes_do_what_they_say(branch: Branch, extension: str) -> None:
    code(branch, extension, "*118001#0000#", "en/agent.login.bad")
    assert branch.agent("8001")["state"] == "logged-out"
    code(branch, extension, "*118001#4711#", "en/agent.login.ok.1", "en/n.8")
    assert (branch.agent("8001")["state"], branch.agent("8001")["extension"]) == ("ready", extension)
    code(branch, extension, "*133", "en/agent.paused")
    assert (branch.agent("8001")["state"], branch.agent("8001")["reason"]) == ("paused", "3")
    code(branch, extension, "*14", "en/agent.ready")
    assert branch.agent("8001")["state"] == "ready"
    code(branch, extension, "*12", "en/agent.logout.ok")
    assert branch.agent("8001")["state"] == "logged-out"
    code(branch, extension, "*14", "en/agent.unknown")
    assert {row["kind"] for row in branch.records(6)} == {"feature"}


def test_sip_phone_may_dial_a_code_with_everything_behind_it(branch: Branch) -> None:
    ident = branch.dial("201", "*118002#4712#", tone_hz=0, talk=20)
    branch.done(ident)
    assert said(branch.heard(ident), "en/agent.login.ok.1") > 0.5
    assert branch.agent("8002")["extension"] == "201"


def test_wrap_up_keeps_the_next_caller_waiting(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8001", extension="101")
    branch.answer("101", CALLER_HZ, times=2, talk=12)
    first, _ = branch.call("1310", HZ["101"], hang_up_after=60)
    with slowly(branch.box):
        wait_until(lambda: branch.agent("8001")["state"] == "talking", "the agent talks")
        second, number = branch.call("1310", HZ["101"], line=2, hang_up_after=70)
        branch.done(first)
        wait_until(lambda: branch.agent("8001")["state"] == "wrap-up", "the wrap-up")
    ended = branch.at("101")["ended"]
    caller = branch.done(second)
    rings = [note["at"] for note in branch.seen("phone-ring") if note["phone"] == 1 and note["at"] > ended]
    assert 11_500 <= rings[0] - ended <= 15_000
    assert caller["met"] > 0
    record = next(row for row in branch.records(2) if row["caller"] == number)
    assert record["agent"] == "8001"


# --- queues -----------------------------------------------------------------------------------------------------------


def queue_log(branch: Branch, contact: dict[str, Any]) -> list[str]:
    return [row["event"] for row in branch.box.ctl("show queue-log", lines=200) if row["contact"] == contact["id"]]


def test_queue_without_agents_overflows_at_once(branch: Branch) -> None:
    ident, _ = branch.call("1340", hang_up_after=60)
    seen = branch.done(ident)
    record = branch.records()[0]
    assert queue_log(branch, record) == ["ENTERQUEUE", "EXITEMPTY"]
    assert (record["cause"], record["queue"], record["first_to_leave"]) == ("unreachable", "empty", "system")
    assert said(branch.heard(ident), "en/night.msg.plain") > 0.5 or said(branch.heard(ident), "en/night.msg.1") > 0.5
    assert seen["ended_by"] == "far"


def test_caller_who_waited_too_long_is_told_so(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8003", extension="103")
    branch.box.ctl("agent pause", agent="8003", reason="1")
    ident, _ = branch.call("1320", hang_up_after=60)
    branch.done(ident)
    record = branch.records()[0]
    assert queue_log(branch, record) == ["ENTERQUEUE", "EXITWITHTIMEOUT"]
    assert record["cause"] == "timeout"
    assert 7_900 <= record["wait_ms"] <= 8_300
    heard = branch.heard(ident)
    assert said(heard, "en/q.join") > 0.5
    assert said(heard, "en/q.full") > 0.5


def test_full_queue_turns_away_and_the_waiting_hear_their_place(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8003", extension="103")
    branch.box.ctl("agent pause", agent="8003", reason="1")
    first, number = branch.call("1330", hang_up_after=40)
    wait_until(lambda: any(row["waiting"] == 1 for row in branch.box.ctl("show queues")), "the first caller waits")
    second, _ = branch.call("1330", line=2, hang_up_after=60)
    branch.done(second)
    assert said(branch.heard(second), "en/q.full") > 0.5
    branch.done(first)
    heard = branch.heard(first)
    assert said(heard, "en/q.join") > 0.5
    assert said(heard, "en/q.next") > 0.5
    assert music_dbm0(heard) > -40
    both = branch.records(2)
    assert sorted(queue_log(branch, row) for row in both) == [["ENTERQUEUE", "ABANDON"], ["ENTERQUEUE", "EXITFULL"]]
    waited = next(row for row in both if row["caller"] == number)
    assert (waited["cause"], waited["first_to_leave"]) == ("abandoned", "caller")


def test_second_caller_hears_that_one_is_ahead_then_that_he_is_next(branch: Branch) -> None:
    branch.box.ctl("agent login", agent="8001", extension="101")
    branch.box.ctl("agent pause", agent="8001", reason="1")
    first, _ = branch.call("1310", hang_up_after=45)
    wait_until(lambda: any(row["waiting"] == 1 for row in branch.box.ctl("show queues")), "the first caller waits")
    second, _ = branch.call("1310", line=2, hang_up_after=70)
    branch.done(second)
    left = person(branch.box, first)["ended"]
    before, after = branch.heard(second, end=left), branch.heard(second, start=left)
    assert said(before, "en/q.pos.plain") > 0.5 or said(before, "en/q.pos.one") > 0.5 or said(before, "en/q.pos.1") > 0.5
    assert said(after, "en/q.next") > 0.5


# --- a real SIP phone ---------------------------------------------------------------------------------------------------


@pytest.fixture
def real(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """The same branch in real time."""
    folder = tmp_path_factory.mktemp("real")
    site = folder / "branch.toml"
    site.write_text(SITE)
    box = Appliance(folder / "box", bind=network, config=site).start()
    yield box
    assert box.stop() == 0, box.said()


@pytest.mark.realtime
def test_agent_at_a_real_phone_logs_in_holds_and_transfers(real: Appliance, phone: Callable[..., Baresip], tmp_path: Path) -> None:
    box = real
    anna = phone(box, "201", hz=HZ["201"], level=LEVEL)
    anna.dial("*11")
    anna.wait("CALL_ESTABLISHED")
    anna.keys("8001#4711#")
    anna.wait("CALL_CLOSED")
    assert said(anna.heard(), "en/agent.login.ok.1") > 0.5
    assert next(row for row in box.ctl("show agents") if row["agent"] == "8001")["extension"] == "201"

    tape = tmp_path / "caller.wav"
    target = {"action": "answer", "after": 1, "say": f"tone:{HZ['102']:g}@-16", "partners_hz": [CALLER_HZ], "talk": 4}
    box.world({"do": "phone", "phone": 2, **target})
    caller = box.world(
        {
            "do": "call", "from": "13100000001", "line": 1, "caller_id": "dtmf", "say": f"tone:{CALLER_HZ:g}@-16", "hang_up_after": 90,
            "partners_hz": [HZ["201"], HZ["102"]], "record": str(tape),
        }
    )["person"]  # fmt: skip
    seen = len(anna.events)
    anna.wait("CALL_INCOMING", 20, start=seen)
    anna.answer()

    def at() -> int:
        return int(box.world({"do": "status"})["now_ms"])

    wait_until(lambda: person(box, caller)["met"] > 0, "the caller hears the agent", 20)
    time.sleep(2)  # a real phone talks in real time
    held = at()
    anna.hold()
    plays = at()
    time.sleep(3)
    resumed = at()
    anna.resume()
    speaks = at()
    time.sleep(2.5)
    anna.keys("*3")
    transfer = at()
    time.sleep(0.5)
    anna.keys("102")

    def answered() -> bool:
        return any(one["kind"] == "phone" and one["answered"] > 0 for one in box.world({"do": "results"})["people"])

    wait_until(answered, "102 answers", 20)
    time.sleep(1)
    anna.hang_up()
    wait_until(lambda: str(HZ["102"]).removesuffix(".0") in person(box, caller)["partners"], "the caller hears 102", 20)
    wait_until(lambda: person(box, caller)["done"] or box.world({"do": "hang-up", "person": caller}), "the caller hangs up", 20)
    wait_until(lambda: not box.ctl("show calls"), "the call is gone", 20)

    start = person(box, caller)["tape_start"]
    sound, _ = tape_of(box, caller, tmp_path / "tape.wav")

    def part(begin: int, end: int) -> Sound:
        return sound.part((begin - start) / 1000, (end - start) / 1000)

    assert part(held - 1500, held - 200).tone_dbm0(HZ["201"]) == pytest.approx(LEVEL, abs=1)
    music = part(plays + 800, resumed - 200)
    assert music_dbm0(music) > -40
    assert music.tone_dbm0(HZ["201"]) < -45, "the held caller hears the room"
    again = part(speaks + 800, speaks + 2300)
    assert again.tone_dbm0(HZ["201"]) == pytest.approx(LEVEL, abs=1)
    assert again.longest_gap_ms(HZ["201"], LEVEL - 10) <= 60
    assert music_dbm0(part(transfer + 500, transfer + 2000)) > -40
    found = wait_until(lambda: [one for one in contacts(box) if one["caller"] == "13100000001" and one["ended_ms"]], "the record", 20)
    record = found[-1]
    history = [event["kind"] for event in rows(box, "contact_events", record["id"])]
    assert record["agent"] == "8001"
    steps = [kind for kind in history if kind in ("held", "resumed", "transfer", "transferred")]
    assert steps == ["held", "resumed", "held", "transfer", "transferred"]


@pytest.mark.realtime
def test_hold_between_two_real_phones_plays_music(real: Appliance, phone: Callable[..., Baresip]) -> None:
    box = real
    anna, bo = phone(box, "201", hz=HZ["201"], level=LEVEL), phone(box, "202", hz=HZ["202"], level=LEVEL, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(2)  # real phones talk in real time
    anna.hold()
    time.sleep(3)
    anna.resume()
    time.sleep(2.5)
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    heard = bo.heard()
    levels = heard.tone_envelope(HZ["201"])
    quiet = levels < LEVEL - 20
    first, last = next(i for i in range(len(quiet)) if not quiet[i]), len(quiet) - 25
    gaps = [i for i in range(first, last) if quiet[i : i + 100].all()]
    assert gaps, "the held phone never stopped hearing the other"
    music = heard.part(gaps[0] * 0.02 + 0.3, gaps[-1] * 0.02 + 1.7)
    assert music_dbm0(music) > -40
    after = heard.part(gaps[-1] * 0.02 + 2.5, gaps[-1] * 0.02 + 3.8)
    assert after.tone_dbm0(HZ["201"]) == pytest.approx(LEVEL, abs=1)
