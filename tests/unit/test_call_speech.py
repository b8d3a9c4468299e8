"""Prompts become clips: numbers, times, names, variants, and never silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call import rules, speech
from firmware.call.speech import PromptText, cut, parse_catalogue, speak
from firmware.prompts import clip_files, load_catalogue, site_clips

CATALOGUE = load_catalogue()


class Everything:
    """A store where every clip is recorded."""

    def __contains__(self, clip: object) -> bool:
        return True


EVERYTHING = Everything()


def without(*absent: str) -> set[str]:
    """Every clip of the catalogue but these."""
    clips = {f"{language}/{clip}" for language in speech.LANGUAGES for clip in speech.clip_words(CATALOGUE, language)}
    return (clips | set(speech.LANGUAGE_FREE)) - set(absent)


def words(language: str, clips: list[str] | tuple[str, ...]) -> str:
    """What the listener hears."""
    known = speech.clip_words(CATALOGUE, language)
    joined = [known[clip.removeprefix(f"{language}/")] for clip in clips]
    return "".join(joined) if language == "zh" else " ".join(joined)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        (0, "零"), (1, "一"), (2, "两"), (3, "三"), (10, "十"), (11, "十一"), (12, "十二"), (20, "二十"), (22, "二十二"), (100, "一百"),
        (101, "一百零一"), (110, "一百一十"), (112, "一百一十二"), (200, "二百"), (1000, "一千"), (1001, "一千零一"), (1010, "一千零一十"),
        (1100, "一千一百"), (2000, "两千"), (2002, "两千零二"), (9999, "九千九百九十九"), (10000, "一万"), (20000, "两万"),
        (10010, "一万零一十"),
        (12000, "一万二千"), (120000, "十二万"),
    ],
)  # fmt: skip
def test_chinese_cardinals_before_a_counter(value: int, heard: str) -> None:
    assert words("zh", speech.chinese_cardinal(value)) == heard


def test_chinese_two_as_a_name_is_er() -> None:
    assert words("zh", speech.chinese_cardinal(2, counter=False)) == "二"
    assert speak(CATALOGUE, "zh", "line.fault", {"n": "2"}, EVERYTHING)[0] == "zh/n.2"


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        (0, "zero"), (7, "seven"), (13, "thirteen"), (20, "twenty"), (21, "twenty one"), (30, "thirty"), (99, "ninety nine"),
        (100, "one hundred"), (115, "one hundred fifteen"), (342, "three hundred forty two"), (1000, "one thousand"),
        (2020, "two thousand twenty"), (9999, "nine thousand nine hundred ninety nine"),
        (12345, "twelve thousand three hundred forty five"),
    ],
)  # fmt: skip
def test_english_cardinals(value: int, heard: str) -> None:
    assert words("en", speech.english_cardinal(value)) == heard


def chinese_value(clips: list[str]) -> int:
    """Understand what was said: the slow way back."""
    digits = {**{f"n.{value}": value for value in range(10)}, "n.liang": 2}
    units = {"n.10": 10, "n.100": 100, "n.1000": 1000}
    total, section, digit = 0, 0, 0
    for clip in clips:
        if clip in digits:
            digit = digits[clip]
        elif clip in units:
            section += (digit or 1) * units[clip]
            digit = 0
        else:
            assert clip == "n.10000"
            total, section, digit = (section + digit) * 10_000, 0, 0
    return total + section + digit


def english_value(clips: list[str]) -> int:
    """Understand what was said: the slow way back."""
    total, section = 0, 0
    for clip in clips:
        if clip == "n.hundred":
            section *= 100
        elif clip == "n.thousand":
            total, section = section * 1000, 0
        else:
            section += int(clip.removeprefix("n."))
    return total + section


@given(st.integers(0, 9999))
def test_every_number_to_9999_is_understood_as_itself(value: int) -> None:
    assert chinese_value(speech.chinese_cardinal(value)) == value
    assert chinese_value(speech.chinese_cardinal(value, counter=False)) == value
    assert english_value(speech.english_cardinal(value)) == value


@given(st.integers(0, 10**12), st.sampled_from(speech.LANGUAGES), st.booleans())
def test_numbers_use_recorded_clips_only(value: int, language: str, counter: bool) -> None:
    clips = speech.cardinal(language, str(value), counter=counter)
    assert clips
    assert set(clips) <= speech.number_words(language).keys()


def test_agent_and_phone_numbers_are_read_digit_by_digit_with_yao() -> None:
    assert words("zh", speak(CATALOGUE, "zh", "agent.id", {"digits": "8001"}, EVERYTHING)) == "八零零幺号坐席接听"
    assert words("en", speak(CATALOGUE, "en", "agent.id", {"digits": "8001"}, EVERYTHING)) == "Agent eight zero zero one is answering"
    assert words("zh", speak(CATALOGUE, "zh", "emerg.note", {"ext": "201"}, EVERYTHING)) == "二零幺正在拨打紧急电话"
    assert words("en", speech.digit_by_digit("en", "+86 10-5555#") or []) == "plus eight six one zero five five five five hash"


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "chinese", "english"),
    [
        ("09:00", "上午九点", "nine A M"), ("14:30", "下午两点三十分", "two thirty P M"), ("12:00", "中午十二点", "noon"),
        ("00:00", "凌晨零点", "midnight"), ("24:00", "凌晨零点", "midnight"), ("18:05", "晚上六点零五分", "six oh five P M"),
        ("02:02", "凌晨两点零二分", "two oh two A M"), ("23:59", "晚上十一点五十九分", "eleven fifty nine P M"),
        ("12:10", "中午十二点十分", "twelve ten P M"),
    ],
)  # fmt: skip
def test_times_of_day(text: str, chinese: str, english: str) -> None:
    assert words("zh", speech.clock_time("zh", text) or []) == chinese
    assert words("en", speech.clock_time("en", text) or []) == english


def test_opening_hours_may_have_a_break() -> None:
    assert words("en", speech.opening_hours("en", "09:00-12:00,13:30-18:00") or []) == "nine A M to noon and one thirty P M to six P M"
    assert words("zh", speech.opening_hours("zh", "09:00-18:00") or []) == "上午九点到晚上六点"


@given(st.integers(0, 23), st.integers(0, 59), st.sampled_from(speech.LANGUAGES))
def test_every_minute_of_the_day_can_be_said(hour: int, minute: int, language: str) -> None:
    clips = speech.clock_time(language, f"{hour:02}:{minute:02}")
    assert clips
    assert set(clips) <= speech.number_words(language).keys() | speech.time_words(language).keys()


# --- variants ---------------------------------------------------------------------------------------------------------


def test_company_clip_is_spoken_where_it_is_recorded_and_left_out_where_not() -> None:
    recorded = without() | {"en/company.demo"}
    assert speak(CATALOGUE, "en", "greet.morning", {"company": "company.demo"}, recorded) == ("en/greet.morning.1", "en/company.demo")
    assert speak(CATALOGUE, "en", "greet.morning", {"company": "company.demo"}, without()) == ("en/greet.morning.plain",)
    assert speak(CATALOGUE, "zh", "greet.morning", {"company": ""}, without()) == ("zh/greet.morning.plain",)


def test_queue_is_found_by_its_bare_name() -> None:
    assert "zh/queue.sales" in speak(CATALOGUE, "zh", "agent.whisper", {"queue": "sales", "m": "3"}, without() | {"zh/queue.sales"})
    plain = speak(CATALOGUE, "zh", "agent.whisper", {"queue": "sales", "m": "3"}, without())
    assert words("zh", plain) == "已等三分"


def test_english_counter_of_one_is_singular() -> None:
    assert words("en", speak(CATALOGUE, "en", "q.pos", {"n": "1"}, EVERYTHING)) == "There is one caller ahead of you"
    assert words("en", speak(CATALOGUE, "en", "q.pos", {"n": "2"}, EVERYTHING)) == "There are two callers ahead of you"
    assert words("zh", speak(CATALOGUE, "zh", "q.pos", {"n": "2"}, EVERYTHING)) == "您前面还有两位"
    assert words("zh", speak(CATALOGUE, "zh", "q.eta", {"m": "12"}, EVERYTHING)) == "大约还需等候十二分钟"


def test_missing_or_unreadable_variable_uses_the_plain_variant() -> None:
    assert speak(CATALOGUE, "en", "q.cb.num", {}, without()) == ("en/q.cb.num.plain",)
    assert speak(CATALOGUE, "en", "q.pos", {"n": "many"}, without()) == ("en/q.pos.plain",)
    assert speak(CATALOGUE, "en", "q.cb.ok", {"time": "25:99"}, without()) == ("en/q.cb.ok.plain",)


def test_nothing_to_say_is_a_tone_never_silence() -> None:
    assert speak(CATALOGUE, "en", "no.such.prompt", {}, EVERYTHING) == ("beep",)
    assert speak(CATALOGUE, "fr", "q.next", {}, EVERYTHING) == ("beep",)
    assert speak(CATALOGUE, "en", "q.next", {}, set()) == ("beep",)
    assert speak(CATALOGUE, "en", "music.hold", {}, without("music.hold")) == ("beep",)
    assert speak(CATALOGUE, "zh", "music.hold", {}, EVERYTHING) == ("music.hold",)


@given(st.sampled_from(sorted(CATALOGUE.ids)), st.sampled_from(speech.LANGUAGES), st.text(max_size=8), st.data())
def test_any_prompt_with_any_values_says_something_recorded(prompt: str, language: str, value: str, data: st.DataObject) -> None:
    absent = data.draw(st.sets(st.sampled_from(sorted(without())), max_size=5))
    available = without(*absent)
    clips = speak(CATALOGUE, language, prompt, dict.fromkeys(speech.KINDS, value), available)
    assert clips
    assert clips == ("beep",) or set(clips) <= available


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_both_languages_have_the_same_prompts_and_each_with_a_name_or_a_time_has_a_plain_variant() -> None:
    english, chinese = CATALOGUE.prompts["en"], CATALOGUE.prompts["zh"]
    assert english.keys() == chinese.keys()
    for language, table in CATALOGUE.prompts.items():
        for name, prompt in table.items():
            variables = {piece.variable for piece in prompt.variants[0] if piece.variable}
            assert variables == {piece.variable for piece in english[name].variants[0] if piece.variable}, name
            if variables:
                assert len(prompt.variants) == 2, f"{language} {name} has no plain variant"


def test_a_prompt_is_cut_at_its_variables() -> None:
    pieces = cut("q.pos", "There are {n} callers ahead of you.")
    assert [piece.clip or piece.variable for piece in pieces] == ["q.pos.1", "n", "q.pos.2"]
    assert [piece.words for piece in pieces if piece.clip] == ["There are", "callers ahead of you"]
    assert [piece.clip for piece in cut("q.next", "You are next.")] == ["q.next"]


def test_unknown_variable_in_a_text_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"x\.y.*\{nonsense\}"):
        parse_catalogue({"en": {"x.y": PromptText(text="Hello {nonsense}")}})


def test_missing_names_what_is_not_recorded() -> None:
    assert speech.missing(CATALOGUE, ["en", "zh"], without()) == ()
    assert speech.missing(CATALOGUE, ["zh"], without("zh/n.yao", "en/n.1", "beep")) == ("beep", "zh/n.yao")
    assert speech.missing(CATALOGUE, ["en"], without(), named=["company.demo"]) == ("en/company.demo",)


def test_site_recordings_replace_built_clips(tmp_path: Path) -> None:
    for folder in ("built/zh", "site/zh"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("built/zh/q.next.wav", "built/beep.wav", "site/zh/q.next.wav"):
        (tmp_path / name).write_bytes(b"")
    files = clip_files(tmp_path / "built", tmp_path / "site")
    assert files == {"beep": tmp_path / "built/beep.wav", "zh/q.next": tmp_path / "site/zh/q.next.wav"}


def test_every_named_clip_of_the_demo_site_exists_in_both_languages() -> None:
    clips = site_clips()
    assert "company.demo" in clips
    assert all(set(names) == set(speech.LANGUAGES) for names in clips.values())


def test_every_prompt_that_the_call_logic_names_exists() -> None:
    roots = {name.split(".")[0] for name in CATALOGUE.ids}
    named = set()
    for path in sorted(Path(speech.__file__).parent.glob("*.py")):
        for text in re.findall(r'"([a-z]+(?:\.[a-z0-9]+)+)"', path.read_text(encoding="utf-8")):
            if text.split(".")[0] in roots and text not in speech.LANGUAGE_FREE:
                named.add(text)
    assert named - rules.RULES.keys() <= CATALOGUE.ids


# --- dates and amounts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "heard"),
    [
        ("zh", "2026-02-17", "二月十七号"), ("zh", "2026-12-02", "十二月二号"), ("zh", "2026-10-31", "十月三十一号"),
        ("en", "2026-02-17", "February seventeen"), ("en", "2026-12-31", "December thirty one"),
    ],
)  # fmt: skip
def test_dates_are_said_as_month_and_day(language: str, text: str, heard: str) -> None:
    clips = speech.calendar_date(language, text)
    assert clips is not None
    assert words(language, clips) == heard


@pytest.mark.parametrize(
    ("language", "text", "heard"),
    [
        ("zh", "12", "十二元"), ("zh", "2", "两元"), ("zh", "12.50", "十二元五角"), ("zh", "0.08", "八分"), ("zh", "3.05", "三元零五分"),
        ("zh", "1000.35", "一千元三角五分"), ("zh", "0", "零元"), ("en", "12", "twelve yuan"),
        ("en", "12.5", "twelve yuan and fifty cents"), ("en", "0.08", "eight cents"), ("en", "0", "zero yuan"),
    ],
)  # fmt: skip
def test_amounts_are_said_in_yuan_jiao_and_fen(language: str, text: str, heard: str) -> None:
    clips = speech.money(language, text)
    assert clips is not None
    assert words(language, clips) == heard


@pytest.mark.parametrize("text", ["", "2026-13-01", "2026-00-10", "2026-01-32", "soon", "2026-1-1"])
def test_what_is_no_date_is_not_said_and_a_prompt_falls_back(text: str) -> None:
    assert speech.calendar_date("en", text) is None
    assert speak(CATALOGUE, "en", "say.date", {"date": text}, without()) == ("en/say.date.plain",)


@pytest.mark.parametrize("text", ["", "1.234", "-5", "12,50", "123456789"])
def test_what_is_no_amount_is_not_said(text: str) -> None:
    assert speech.money("zh", text) is None


def test_a_sentence_recorded_whole_by_the_site_takes_the_place_of_its_parts() -> None:
    said = speak(CATALOGUE, "zh", "greet.morning", {"company": "company.demo"}, EVERYTHING, {"zh/greet.morning"})
    assert said == ("zh/greet.morning",)
    assert speak(CATALOGUE, "en", "greet.morning", {"company": "company.demo"}, EVERYTHING, {"zh/greet.morning"}) != said
