"""The far end hung up, or did it not: signs of the wire and of the ear, alone and together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call.model import Cause
from firmware.line import signals as s
from firmware.line.disconnect import DECIDES, LEARNED, joined, same_sound
from firmware.line.fxo import Fxo
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec
from tests.unit.line_bench import COUNTRIES, Bench


def heard(bench: Bench, name: str, cycles: int, began: int) -> Bench:
    return bench.fact(s.ToneHeard, name, cycles, began, 0.9)


@pytest.mark.parametrize("country", COUNTRIES)
def test_conversation_listens_for_whole_tones_and_hints(country: str) -> None:
    specs = {spec.name: spec for spec in Bench(country).talk_in().all(s.Detect)[-1].tones}
    assert specs["busy"].cycles == 3 and specs["busy?"].cycles == 2 and specs["congestion?"].cycles == 2
    judge = Bench(country).machine.disconnect
    judge.learned = ToneSpec("own", (620.0,), -12.0, (180, 320))
    assert len(specs) <= len(judge.tones(outgoing=False)) <= 8, "an engine port follows eight tones"
    steady = [spec for spec in specs.values() if not spec.cadence_ms and not spec.name.endswith("?")]
    assert steady and all(spec.cycles >= 600 for spec in steady), "a held note would end the call"


def test_release_is_dated_back_to_the_tones_beginning() -> None:
    bench = Bench("CN").talk_in().run(5000)
    began = bench.now - 2100
    ended = heard(bench, "busy", 3, began).one(s.Ended)
    assert (ended.at, ended.cause, ended.by_far, ended.evidence.confidence) == (began, Cause.NORMAL, True, 0.9)


def test_release_is_not_dated_before_the_conversation() -> None:
    bench = Bench("CN").talk_in()
    answered = bench.one(s.Answered).at
    assert heard(bench.run(500), "busy", 3, answered - 1500).one(s.Ended).at == answered


@pytest.mark.parametrize("polarity", [False, True])
def test_two_half_signs_of_different_senses_are_a_whole_one(polarity: bool) -> None:
    bench = Bench("CN", polarity_release=False).talk_in().run(5000)
    wire_at = bench.now
    if polarity:
        bench.fact(s.Polarity, True).run(300)
    else:
        bench.fact(s.LoopCurrent, False).run(120).fact(s.LoopCurrent, True).run(180)
    began = bench.now
    bench.fact(s.Voice, True).run(1400)                         # the busy tone is sound to the voice detector
    assert bench.state == "TALKING"
    ended = heard(bench, "busy?", 2, began).one(s.Ended)
    assert ended.at == wire_at and ended.by_far and ended.evidence.confidence >= DECIDES
    assert "busy tone, 2 cycles" in ended.evidence.detail


def test_half_signs_that_are_far_apart_or_of_one_sense_do_not_decide() -> None:
    apart = Bench("CN").talk_in().run(5000).fact(s.LoopCurrent, False).run(120).fact(s.LoopCurrent, True).run(20_000)
    assert heard(apart, "busy?", 2, apart.now - 1400).state == "TALKING"
    wire = Bench("CN", polarity_release=False).talk_in().run(5000).fact(s.Polarity, True)
    wire.run(100).fact(s.LoopCurrent, False).run(120).fact(s.LoopCurrent, True)
    assert wire.run(5000).state == "TALKING"
    ear = Bench("CN").talk_in().run(5000)
    heard(heard(ear, "busy?", 2, ear.now - 1400), "congestion?", 2, ear.now - 2800)
    assert ear.run(5000).state == "TALKING"


def test_wire_after_ear_is_the_same_as_ear_after_wire() -> None:
    bench = Bench("CN").talk_in().run(5000)
    began = bench.now - 1400
    heard(bench, "busy?", 2, began).fact(s.LoopCurrent, False).run(120).fact(s.LoopCurrent, True)
    assert bench.one(s.Ended).at == began


def test_hint_that_stopped_is_no_sign_any_more() -> None:
    bench = Bench("CN").talk_in().run(5000)
    heard(bench, "busy?", 2, bench.now - 1400).run(300).fact(s.ToneStopped, "busy?")
    assert bench.fact(s.LoopCurrent, False).run(120).fact(s.LoopCurrent, True).run(100).state == "TALKING"


def test_keys_in_the_rhythm_of_busy_tone_hold_it_back_until_it_goes_on_without_them() -> None:
    bench = Bench("CN").talk_in().run(5000)
    began = bench.now
    for _ in range(3):
        bench.run(350).fact(s.Digit, "5").run(350)
    heard(bench, "busy", 3, began)
    assert bench.state == "TALKING"
    bench.fact(s.ToneStopped, "busy").run(10_000)
    assert bench.state == "TALKING" and not bench.all(s.Ended)
    began = bench.now
    bench.run(100).fact(s.Digit, "5").run(2000)
    heard(bench, "busy", 3, began).run(2100)                     # the key was somebody else's, the tone goes on
    assert bench.one(s.Ended).evidence.kind == "busy-tone"


@pytest.mark.parametrize(("company", "wait"), [("line", 3000), ("conference", 20_000)])
def test_tone_in_company_must_go_on(company: str, wait: int) -> None:
    brief = Bench("CN").talk_in().send(s.Company, company).run(5000)
    heard(brief, "busy", 3, brief.now - 2100).run(wait - 100)
    assert brief.state == "TALKING"
    assert brief.fact(s.ToneStopped, "busy").run(60_000).state == "TALKING", "the echo of another line's tone ended the call"
    lasting = Bench("CN").talk_in().send(s.Company, company).run(5000)
    began = lasting.now - 2100
    ended = heard(lasting, "busy", 3, began).run(wait + 100).one(s.Ended)
    assert ended.at == began and "held for" in ended.evidence.detail
    again = Bench("CN").talk_in().send(s.Company, company).send(s.Company, "alone").run(5000)
    assert heard(again, "busy", 3, again.now - 2100).all(s.Ended)


def test_busy_tone_after_a_hook_flash_may_be_a_second_calls_and_must_go_on() -> None:
    bench = Bench("CN").talk_in().run(3000).send(s.Flash).run(300).fact(s.LoopCurrent, True, 25.0).run(4000)
    began = bench.now - 2100
    heard(bench, "busy", 3, began).run(19_000)
    assert bench.state == "TALKING"
    ended = bench.run(2000).one(s.Ended)
    assert ended.at == began and "after a hook flash" in ended.evidence.detail


def test_far_end_that_left_before_our_hang_up_is_told() -> None:
    bench = Bench("CN").talk_in().run(5000)
    heard(bench, "busy?", 2, bench.now - 1400).send(s.HangUp, Cause.NORMAL)
    ended = bench.one(s.Ended)
    assert ended.by_far and ended.evidence.kind == "busy-tone" and "then our command" in ended.evidence.detail


def test_loop_drop_with_a_tone_is_surer_than_alone() -> None:
    alone = Bench("UK").talk_in().run(3000).fact(s.LoopCurrent, False).run(2000).one(s.Ended).evidence.confidence
    bench = Bench("UK").talk_in().run(3000)
    both = heard(bench, "busy?", 2, bench.now - 1500).fact(s.LoopCurrent, False).run(2000).one(s.Ended).evidence.confidence
    assert both > alone


def test_memory_survives_a_restart_of_core() -> None:
    bench = Bench("CN").talk_in().send(s.Company, "conference").run(5000)
    heard(bench, "busy", 3, bench.now - 2100)
    bench.machine = Fxo.restore(bench.machine.config, bench.profile, bench.machine.snapshot())
    assert bench.run(21_000).one(s.Ended).evidence.kind == "busy-tone"


def test_tone_learned_on_this_line_releases_it_and_on_probation_it_only_hints() -> None:
    own = ToneSpec("learned", (620.0,), -12.0, (180, 320))
    for accepted in (True, False):
        bench = Bench("CN")
        bench.machine.disconnect.learned, bench.machine.disconnect.probation = (own, None) if accepted else (None, own)
        bench.talk_in().run(5000)
        name = LEARNED if accepted else LEARNED + "?"
        assert name in {spec.name for spec in bench.all(s.Detect)[-1].tones}
        heard(bench, name, 3, bench.now - 1500)
        assert (bench.state == "RELEASING") is accepted


def test_same_sound_means_what_one_detector_cannot_tell_apart() -> None:
    tones = PROFILES["CN"].tones
    assert same_sound(tones["busy"], ToneSpec("x", (452.0,), -20.0, (360, 340)))
    assert not same_sound(tones["busy"], tones["congestion"]) and not same_sound(tones["busy"], ToneSpec("x", (425.0,), -10.0, (350, 350)))
    australia = PROFILES["AU"].tones
    assert not same_sound(australia["busy"], australia["congestion"])


@given(st.floats(0, 0.99), st.floats(0, 0.99))
def test_joined_confidence_is_no_less_than_either(a: float, b: float) -> None:
    assert max(a, b) - 0.001 <= joined(a, b) == joined(b, a) <= 0.99


FACTS = st.sampled_from(["tone", "hint", "stop", "key", "loop", "back", "turn", "voice", "quiet", "company"])


@given(st.lists(st.tuples(FACTS, st.integers(0, 4000)), max_size=40), st.booleans())
def test_any_history_ends_once_with_evidence_and_never_before_the_answer(history: list[tuple[str, int]], polarity: bool) -> None:
    bench = Bench("CN", polarity_release=polarity).talk_in()
    answered, turned = bench.one(s.Answered).at, False
    for what, ms in history:
        if bench.state != "TALKING":
            break
        match what:
            case "tone" | "hint":
                heard(bench, "busy" if what == "tone" else "busy?", 3, bench.now - 2100)
            case "stop":
                bench.fact(s.ToneStopped, "busy")
            case "key":
                bench.fact(s.Digit, "1")
            case "loop" | "back":
                bench.fact(s.LoopCurrent, what == "back", 20.0)
            case "turn":
                turned = not turned
                bench.fact(s.Polarity, turned)
            case "voice" | "quiet":
                bench.fact(s.Voice, what == "voice")
            case _:
                bench.send(s.Company, ["alone", "line", "conference"][ms % 3])
        bench.run(ms)
    ended = bench.all(s.Ended)
    assert len(ended) <= 1
    for one in ended:
        assert answered <= one.at <= bench.now and one.evidence.detail and 0.0 < one.evidence.confidence <= 0.99
