"""From a prompt and its variables to the clips that say it (L1, pure; requirements part F).

Theory of operation
-------------------
A prompt text is cut at its variables: "There are {n} callers ahead of you." becomes the clips `q.pos.1` and `q.pos.2` with
a number between them. A prompt may have up to three *variants*: `one` (a counter that equals 1, for languages that inflect),
`text`, and `plain` (without what may be missing: a name nobody recorded). `speak` takes the first variant of which every
clip is there. Numbers, times and digits are composed of the clips of `number_words` and `time_words`.
A variable may say how it is read: `{n}` has the kind of `KINDS["n"]`, `{n:ordinal}` overrides it.
Invariants: the result is never empty (`FALLBACK` is a tone every build has), every clip but those without language starts
with "<language>/", nothing raises for a value or an id that the call logic got wrong: a caller must not hear silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Literal

import msgspec

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
FALLBACK = "beep"
LANGUAGE_FREE = ("beep", "music.hold")

KINDS = {
    "company": "name", "queue": "name", "dept": "name",
    "digits": "digits", "ext": "digits",
    "n": "count", "m": "count", "h": "count",
    "time": "time", "hours": "hours", "date": "date", "amount": "amount",
}  # fmt: skip
READINGS = ("name", "digits", "count", "ordinal", "time", "hours", "date", "amount")
COUNT_LIMIT = {"en": 999_999, "zh": 99_999_999}

_VARIABLE = re.compile(r"\{([a-z]+)(?::([a-z]+))?\}")
_SPOKEN = re.compile(r"\w")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_AMOUNT = re.compile(r"([0-9]{1,8})(?:\.([0-9]{1,2}))?")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")


class PromptText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt as it is written in `firmware/prompts/<language>.toml`."""

    text: str
    plain: str = ""
    one: str = ""


class Piece(msgspec.Struct, frozen=True):
    """Either a clip of fixed words (`clip`, `words`) or a variable (`variable`, `kind`)."""

    clip: str = ""
    words: str = ""
    variable: str = ""
    kind: str = ""


class Prompt(msgspec.Struct, frozen=True):
    """The variants of one prompt in the order of preference; `one` is used only where a counter is 1."""

    variants: tuple[tuple[Piece, ...], ...]
    one: tuple[Piece, ...] = ()

    def pieces(self) -> Iterable[Piece]:
        """Every piece of every variant."""
        for variant in (*self.variants, self.one):
            yield from variant


class Catalogue(msgspec.Struct, frozen=True):
    """All prompts of all languages: language -> prompt id -> prompt."""

    prompts: Mapping[str, Mapping[str, Prompt]]

    @property
    def ids(self) -> frozenset[str]:
        """Every prompt id that some language knows."""
        return frozenset(prompt for table in self.prompts.values() for prompt in table)


def cut(name: str, text: str) -> tuple[Piece, ...]:
    """Cut `text` at its variables. Clips are `name`, or `name.1`, `name.2`... where there is a variable.

    Raises ValueError for a variable nobody knows how to read.
    """
    pieces: list[Piece] = []
    position = 0
    count = 0
    matches = list(_VARIABLE.finditer(text))
    for match in [*matches, None]:
        words = text[position : match.start() if match else len(text)].strip(" ,.，。、；;")
        if _SPOKEN.search(words):
            count += 1
            pieces.append(Piece(clip=f"{name}.{count}" if matches else name, words=words))
        if match:
            variable, kind = match.group(1), match.group(2) or KINDS.get(match.group(1), "")
            if kind not in READINGS:
                raise ValueError(f"prompt {name}: variable {match.group(0)} is unknown; use one of {', '.join(sorted(KINDS))}")
            pieces.append(Piece(variable=variable, kind=kind))
            position = match.end()
    return tuple(pieces)


def build(name: str, source: PromptText) -> Prompt:
    """The prompt that `source` describes."""
    variants = [cut(name, source.text)]
    if source.plain:
        variants.append(cut(f"{name}.plain", source.plain))
    return Prompt(variants=tuple(variants), one=cut(f"{name}.one", source.one) if source.one else ())


def parse_catalogue(texts: Mapping[str, Mapping[str, PromptText]]) -> Catalogue:
    """Build the catalogue from language -> prompt id -> text. Raises ValueError naming prompt and variable."""
    return Catalogue({language: {name: build(name, source) for name, source in table.items()} for language, table in texts.items()})


# --- numbers ----------------------------------------------------------------------------------------------------------


def _below_ten_thousand_zh(value: int, *, leading: bool) -> list[str]:
    """1..9999. `leading`: nothing stands before it, so 10..19 start with ten and a thousand's two is liang."""
    words: list[str] = []
    gap = False
    for unit, name in ((1000, "n.1000"), (100, "n.100"), (10, "n.10"), (1, "")):
        digit, value = divmod(value, unit)
        if digit == 0:
            gap = gap or bool(words)
            continue
        if gap:
            words.append("n.0")
            gap = False
        if not (unit == 10 and digit == 1 and not words and leading):
            words.append("n.liang" if digit == 2 and unit == 1000 and leading and not words else f"n.{digit}")
        if name:
            words.append(name)
    return words


def chinese_cardinal(value: int, *, counter: bool = True) -> list[str]:
    """Clips of 0..99 999 999. With `counter` a lone two is liang ("liang wei"), without it er ("er hao")."""
    if value == 0:
        return ["n.0"]
    if value == 2:
        return ["n.liang" if counter else "n.2"]
    high, low = divmod(value, 10_000)
    if not high:
        return _below_ten_thousand_zh(low, leading=True)
    words = (["n.liang"] if high == 2 else _below_ten_thousand_zh(high, leading=True)) + ["n.10000"]
    if low:
        if low < 1000:
            words.append("n.0")
        words += _below_ten_thousand_zh(low, leading=False)
    return words


def english_cardinal(value: int) -> list[str]:
    """Clips of 0..999 999."""
    if value <= 20:
        return [f"n.{value}"]
    words: list[str] = []
    thousands, rest = divmod(value, 1000)
    if thousands:
        words += [*english_cardinal(thousands), "n.thousand"]
    hundreds, rest = divmod(rest, 100)
    if hundreds:
        words += [f"n.{hundreds}", "n.hundred"]
    if rest > 20:
        tens, rest = divmod(rest, 10)
        words.append(f"n.{tens}0")
    if rest:
        words.append(f"n.{rest}")
    return words


def cardinal(language: str, text: str, *, counter: bool) -> list[str] | None:
    """Clips of a number written in decimal, None where it is no number. Beyond `COUNT_LIMIT` it is read digit by digit."""
    if not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    if value > COUNT_LIMIT[language]:
        return digit_by_digit(language, str(value))
    return chinese_cardinal(value, counter=counter) if language == "zh" else english_cardinal(value)


def digit_by_digit(language: str, text: str) -> list[str] | None:
    """Clips of a telephone, extension or agent number; Chinese one is yao. None where nothing can be read."""
    marks = {"+": "n.plus", "*": "n.star", "#": "n.hash"}
    words: list[str] = []
    for character in text:
        if character in " -()./":
            continue
        if character.isascii() and character.isdigit():
            words.append("n.yao" if language == "zh" and character == "1" else f"n.{character}")
        elif character in marks:
            words.append(marks[character])
        else:
            return None
    return words or None


# --- times ------------------------------------------------------------------------------------------------------------


def _time_zh(hour: int, minute: int) -> list[str]:
    parts = ((5, "t.night"), (12, "t.am"), (13, "t.noon"), (18, "t.pm"), (24, "t.evening"))
    part = next(name for end, name in parts if hour < end)
    shown = hour if hour <= 12 else hour - 12
    words = [part, *chinese_cardinal(shown), "t.hour"]
    if minute:
        words += [*(["n.0"] if minute < 10 else []), *chinese_cardinal(minute, counter=minute >= 10), "t.minute"]
    return words


def _time_en(hour: int, minute: int) -> list[str]:
    if minute == 0 and hour in (0, 12):
        return ["t.noon" if hour else "t.midnight"]
    words = [f"n.{(hour - 1) % 12 + 1}"]
    if minute:
        words += [*(["t.oh"] if minute < 10 else []), *english_cardinal(minute)]
    return [*words, "t.am" if hour < 12 else "t.pm"]


def clock_time(language: str, text: str) -> list[str] | None:
    """Clips of "hh:mm" (24:00 is midnight), None where it is no time of day."""
    match = _CLOCK.fullmatch(text.strip())
    if not match:
        return None
    hour, minute = int(match.group(1)), int(match.group(2))
    if hour == 24:
        if minute:
            return None
        hour = 0
    return _time_zh(hour, minute) if language == "zh" else _time_en(hour, minute)


def opening_hours(language: str, text: str) -> list[str] | None:
    """Clips of "09:00-12:00,13:30-18:00": spans joined by "and". None where a span cannot be read."""
    words: list[str] = []
    for span in text.split(","):
        start, dash, end = span.partition("-")
        first, last = clock_time(language, start), clock_time(language, end)
        if not dash or first is None or last is None:
            return None
        words += [*(["t.and"] if words else []), *first, "t.to", *last]
    return words


def calendar_date(language: str, text: str) -> list[str] | None:
    """Clips of a date "YYYY-MM-DD", as month and day; None where it is none."""
    match = _DATE.fullmatch(text.strip())
    if not match:
        return None
    month, day = int(match.group(2)), int(match.group(3))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    if language == "zh":
        return [*chinese_cardinal(month, counter=False), "t.month", *chinese_cardinal(day, counter=False), "t.day"]
    return [f"t.month.{month}", *english_cardinal(day)]


def money(language: str, text: str) -> list[str] | None:
    """Clips of an amount "12.50" in yuan, jiao and fen; None where it is none. No more than what numbers can say."""
    match = _AMOUNT.fullmatch(text.strip())
    if not match or int(match.group(1)) > COUNT_LIMIT[language]:
        return None
    whole, cents = int(match.group(1)), int((match.group(2) or "").ljust(2, "0"))
    if language == "en":
        words = [*english_cardinal(whole), "u.yuan"] if whole or not cents else []
        return [*words, *([*(["t.and"] if words else []), *english_cardinal(cents), "u.cents"] if cents else [])]
    words = [*chinese_cardinal(whole), "u.yuan"] if whole or not cents else []
    tens, ones = divmod(cents, 10)
    if tens:
        words += [f"n.{tens}", "u.jiao"]
    if ones:
        words += [*(["n.0"] if whole and not tens else []), f"n.{ones}", "u.fen"]
    return words


def number_words(language: str) -> dict[str, str]:
    """Every clip that numbers are made of, with the words to record."""
    if language == "zh":
        digits = {f"n.{value}": word for value, word in enumerate("零一二三四五六七八九")}
        units = {"n.10": "十", "n.100": "百", "n.1000": "千", "n.10000": "万"}
        return {**digits, "n.yao": "幺", "n.liang": "两", **units, "n.plus": "加", "n.star": "星号", "n.hash": "井号"}
    words = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty"
    ).split()
    tens = "thirty forty fifty sixty seventy eighty ninety".split()
    return {
        **{f"n.{value}": word for value, word in enumerate(words)},
        **{f"n.{ten}0": word for ten, word in enumerate(tens, start=3)},
        "n.hundred": "hundred", "n.thousand": "thousand", "n.plus": "plus", "n.star": "star", "n.hash": "hash",
    }  # fmt: skip


_MONTHS = "January February March April May June July August September October November December".split()


def time_words(language: str) -> dict[str, str]:
    """Every clip that times, days and units are made of, with the words to record."""
    days = [f"t.day.{number}" for number in range(1, 8)]
    if language == "zh":
        return {
            "t.night": "凌晨", "t.am": "上午", "t.noon": "中午", "t.pm": "下午", "t.evening": "晚上",
            "t.hour": "点", "t.minute": "分", "t.second": "秒", "t.to": "到", "t.and": "和",
            "u.person": "位", "u.number": "号", "u.minutes": "分钟", "u.hours": "小时", "u.seconds": "秒钟",
            "t.today": "今天", "t.tomorrow": "明天", "t.workdays": "工作日", "t.weekend": "周末",
            "t.month": "月", "t.day": "号", "u.yuan": "元", "u.jiao": "角", "u.fen": "分",
            **dict(zip(days, ["星期" + day for day in "一二三四五六日"], strict=True)),
        }  # fmt: skip
    return {
        "t.am": "A M", "t.pm": "P M", "t.noon": "noon", "t.midnight": "midnight", "t.oh": "oh", "t.to": "to", "t.and": "and",
        "u.minute": "minute", "u.minutes": "minutes", "u.second": "second", "u.seconds": "seconds", "u.hour": "hour", "u.hours": "hours",
        "t.today": "today", "t.tomorrow": "tomorrow", "t.workdays": "on working days", "t.weekend": "at the weekend",
        "u.yuan": "yuan", "u.cents": "cents",
        **{f"t.month.{number}": name for number, name in enumerate(_MONTHS, start=1)},
        **dict(zip(days, "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(), strict=True)),
    }  # fmt: skip


# --- speaking ---------------------------------------------------------------------------------------------------------

_READERS: dict[str, Callable[[str, str], list[str] | None]] = {
    "digits": digit_by_digit,
    "count": lambda language, text: cardinal(language, text, counter=True),
    "ordinal": lambda language, text: cardinal(language, text, counter=False),
    "time": clock_time,
    "hours": opening_hours,
    "date": calendar_date,
    "amount": money,
}


def _read(language: str, piece: Piece, value: str, available: Container[str]) -> list[str] | None:
    """Clips (with language) of one variable, None where it cannot be said."""
    if not value:
        return None
    if piece.kind == "name":
        candidates = (f"{language}/{value}", f"{language}/{piece.variable}.{value}")
        return next(([clip] for clip in candidates if clip in available), None)
    words = _READERS[piece.kind](language, value)
    return None if words is None else [f"{language}/{word}" for word in words]


def _say(language: str, variant: tuple[Piece, ...], variables: Mapping[str, str], available: Container[str]) -> tuple[str, ...]:
    """Clips of one variant, empty where one of them is not there."""
    clips: list[str] = []
    for piece in variant:
        words = [f"{language}/{piece.clip}"] if piece.clip else _read(language, piece, variables.get(piece.variable, ""), available)
        if words is None:
            return ()
        clips += words
    return tuple(clips) if all(clip in available for clip in clips) else ()


def speak(
    catalogue: Catalogue, language: str, prompt: str, variables: Mapping[str, str], available: Container[str],
    whole: Container[str] = frozenset(),
) -> tuple[str, ...]:
    """The clips that say `prompt` in `language`, in order; `(FALLBACK,)` where nothing can be said.

    `whole`: prompts, as "<language>/<prompt>", that the site recorded as one sentence: said so, whatever their variables are.

    `variables` are text: digits, decimal numbers, "hh:mm", "hh:mm-hh:mm", or the name of a recorded clip ("company.demo"; for
    {queue} and {dept} also the bare name, looked up as "queue.<name>"). A prompt without language (`music.hold`) is itself.
    """
    if prompt in LANGUAGE_FREE:
        return (prompt,) if prompt in available else (FALLBACK,)
    entry = catalogue.prompts.get(language, {}).get(prompt)
    if entry is None:
        return (FALLBACK,)
    if f"{language}/{prompt}" in whole:
        return (f"{language}/{prompt}",)
    counters = {piece.variable for variant in entry.variants for piece in variant if piece.kind == "count"}
    one = entry.one and any(variables.get(name) == "1" for name in counters)
    for variant in (entry.one, *entry.variants) if one else entry.variants:
        clips = _say(language, variant, variables, available)
        if clips:
            return clips
    return (FALLBACK,)


def clip_words(catalogue: Catalogue, language: str) -> dict[str, str]:
    """Every clip of one language (name without the language) with the words to record."""
    words = {piece.clip: piece.words for entry in catalogue.prompts.get(language, {}).values() for piece in entry.pieces() if piece.clip}
    return {**words, **number_words(language), **time_words(language)}


def missing(catalogue: Catalogue, languages: Iterable[str], available: Container[str], named: Iterable[str] = ()) -> tuple[str, ...]:
    """Clips that these languages need and that are not there, sorted. `named`: site clips the configuration refers to."""
    names = tuple(named)
    needed = set(LANGUAGE_FREE)
    for language in languages:
        needed |= {f"{language}/{clip}" for clip in (*clip_words(catalogue, language), *names)}
    return tuple(sorted(clip for clip in needed if clip not in available))
