"""Keys, pace and the line editor: what a person sees, compared cell by cell with a terminal emulator."""

from __future__ import annotations

from unicodedata import normalize

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.reports.columns import width
from firmware.surfaces.cli.editor import LONGEST, Editor, Entered, Help, Interrupted, Left, Wanted
from firmware.surfaces.cli.terminal import LONGEST_SEQUENCE, Key, Keys, Pace, fitted, wire


def names(data: bytes) -> list[str]:
    return [key.text or key.name for key in Keys().feed(data, 0)]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"ab\r", ["a", "b", "enter"]),
        (b"a\r\nb\nc\r\0d\r\r", ["a", "enter", "b", "enter", "c", "enter", "d", "enter", "enter"]),
        ("席é".encode(), ["席", "é"]),
        (b"\x1b[A\x1bOB\x1b[C\x1b[D\x1b[3~", ["up", "down", "right", "left", "delete"]),
        (b"\x1b[1~\x1b[4~\x1b[H\x1b[F", ["home", "end", "home", "end"]),
        (b"\x1b[1;5C\x1bb\x1bf\x1b\x7f", ["word-right", "word-left", "word-right", "kill-word"]),
        (b"\x1b[99~\x1b[?62;1cx", ["x"]),
        (b"\x03\x15\x17\x0c\x08\x7f", ["interrupt", "kill-line", "kill-word", "redraw", "backspace", "backspace"]),
        (b"\x16?\x16\tx", ["?", "tab", "x"]),
        (b"\x1b[12\rx", ["enter", "x"]),
    ],
)
def test_bytes_are_keys(data: bytes, keys: list[str]) -> None:
    assert names(data) == keys
    split = Keys()
    assert [key.text or key.name for byte in data for key in split.feed(bytes([byte]), 0)] == keys, "whatever comes together"


@pytest.mark.parametrize("noise", [b"\0\0\0", b"\xff\xfe\x80", b"\xc3\xff", b"\x07\x1c\x1d", b"\x1b[" + b"1;" * 60 + b"x"])
def test_noise_and_breaks_type_nothing_harmful(noise: bytes) -> None:
    keys = Keys()
    typed = [key.name for key in keys.feed(noise, 0)]
    assert set(typed) <= {"text"}, typed
    keys.expire(1000)
    assert [key.text for key in keys.feed(b"\x15ok"[1:], 2000)] == ["o", "k"]


def test_a_lonely_escape_is_given_up() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b", 0) == [] and keys.deadline() == 100
    assert keys.feed(b"[A", 300) == [Key("text", "["), Key("text", "A")]


@pytest.mark.hypothesis
@given(st.binary(max_size=400))
def test_nothing_is_kept_of_a_flood(data: bytes) -> None:
    keys = Keys()
    found = keys.feed(data, 0)
    assert len(found) <= len(data) and len(keys._sequence) <= LONGEST_SEQUENCE
    assert all(key.name != "text" or key.text.isprintable() for key in found)


@pytest.mark.parametrize(("baud", "seconds"), [(9600, 10), (115200, 1)])
def test_output_keeps_the_pace_of_the_line(baud: int, seconds: int) -> None:
    """Never more than a moment ahead, and the line is never idle."""
    pace, now, sent = Pace(baud), 0, 0
    for now in range(0, seconds * 1000, 5):
        room = pace.room(now)
        pace.sent(room, now)
        sent += room
        assert sent <= baud / 10 * (now / 1000 + 0.125)
    assert sent >= baud / 10 * now / 1000
    assert Pace(0).room(0) > 0 and Pace(0).wait_ms(0) == 0.0


def test_text_on_the_wire() -> None:
    assert wire("a\nb\r\n") == b"a\r\nb\r\n"
    assert fitted("席席席", 5) == "席席" and fitted("abc", 3) == "abc"


class Seen:
    """An editor in front of an emulated terminal."""

    def __init__(self, columns: int = 40, prompt: str = "box# ") -> None:
        self.screen = pyte.Screen(columns, 12)
        self.stream = pyte.ByteStream(self.screen)
        self.editor = Editor(columns)
        self.prompt = prompt
        self.sent = 0
        self.show(self.editor.start(prompt))

    def show(self, text: str) -> None:
        self.sent += len(wire(text))
        self.stream.feed(wire(text))

    def type(self, data: bytes | str) -> list[object]:
        events = []
        for key in Keys().feed(data if isinstance(data, bytes) else data.encode(), 0):
            text, event = self.editor.press(key)
            self.show(text)
            events.append(event)
        return [event for event in events if event is not None]

    @property
    def row(self) -> str:
        return self.screen.display[self.screen.cursor.y].rstrip()


def test_typing_costs_only_its_own_bytes() -> None:
    seen = Seen()
    seen.sent = 0
    seen.type("show lines")
    assert seen.sent == 10 and seen.row == "box# show lines"


def test_editing_keys_do_what_people_expect() -> None:
    seen = Seen()
    seen.type("shw lines")
    seen.type(b"\x01\x1b[C\x1b[Co")
    assert seen.row == "box# show lines" and seen.screen.cursor.x == 8
    seen.type(b"\x05\x17")
    assert seen.row == "box# show"
    assert seen.editor.text == "show "
    seen.type(b"queues\x02\x02\x0b")
    assert seen.row == "box# show queu"
    seen.type(b"\x15")
    assert seen.row == "box#" and seen.editor.text == ""


def test_a_question_mark_asks_at_once_and_the_line_stays() -> None:
    seen = Seen()
    assert seen.type("show ?") == [Help("show ")]
    seen.show("  lines\n" + seen.editor.draw())
    assert seen.row == "box# show" and seen.type("li\t") == [Wanted("show li")]
    assert seen.type('\x15say "what?"\r') == [Entered('say "what?"')], "a character inside quotation marks"
    seen.show(seen.editor.start("Password: ", secret=True))
    assert seen.type("a?b席\r") == [Entered("a?b席")] and "a?b" not in "".join(seen.screen.display)


def test_history_goes_back_and_brings_the_new_line_back() -> None:
    seen = Seen()
    for line in ("one\r", "two\r"):
        seen.type(line)
        seen.show(seen.editor.start(seen.prompt))
    seen.type(b"new\x1b[A\x1b[A")
    assert seen.row == "box# one"
    seen.type(b"\x1b[B\x1b[B")
    assert seen.row == "box# new"
    assert seen.type(b"\x03") == [Interrupted()]
    seen.show(seen.editor.start("pin: ", secret=True))
    seen.type("secret\r")
    assert "secret" not in seen.editor.history
    seen.show(seen.editor.start(seen.prompt))
    assert seen.type(b"\x04") == [Left()]


def test_long_lines_scroll_sideways_on_one_row() -> None:
    seen = Seen(columns=30)
    seen.type("set extensions.201.name " + "x" * 40)
    assert seen.row.startswith("box# $") and seen.screen.cursor.y == 0
    seen.type(b"\x01")
    assert seen.row.startswith("box# set ext") and seen.row.endswith("$")
    seen.type("\x05" + "席" * 30)
    assert width(seen.row) < 30 and seen.screen.cursor.y == 0
    assert seen.editor.insert("y" * LONGEST * 2).count("\a") > LONGEST and len(seen.editor.text) == LONGEST


KEYS = st.sampled_from(
    [b"a", b"b ", b"7", "席".encode(), "线路".encode(), "é".encode(), "e\u0301".encode(), b"\x01", b"\x05", b"\x02", b"\x06", b"\x7f",
     b"\x1b[3~",
     b"\x15", b"\x0b", b"\x17", b"\x14", b"\x1bb", b"\x1bf", b"\x1b[A", b"\x1b[B", b"long words of text ", b"\x0c", b"\xff\x00\x1b[5n"]
)  # fmt: skip


@pytest.mark.hypothesis
@settings(max_examples=150)
@given(st.lists(KEYS, max_size=40), st.sampled_from([24, 40, 80]), st.sampled_from(["box# ", "分支(config*)# "]))
def test_what_is_seen_is_what_will_be_entered(keys: list[bytes], columns: int, prompt: str) -> None:
    """After each key a terminal that knows only CR, BS and text shows the editor's row and cursor, cell by cell."""
    seen = Seen(columns, prompt)
    for key in keys:
        seen.type(key)
        row, cursor = seen.editor._window()
        cells = [seen.screen.buffer[seen.screen.cursor.y][at].data for at in range(columns)]
        wanted = [*(normalize("NFC", cell) for cell in row), *[" "] * (columns - len(row))]
        assert cells == wanted, (key, keys)
        assert seen.screen.cursor.x == cursor
        plain = prompt + seen.editor.text
        if width(plain) < columns - 1:
            assert "".join(row) == plain, "what fits is shown whole"


def test_a_flood_rings_once_and_costs_little() -> None:
    editor = Editor()
    editor.start("box# ")
    out = [editor.press(Key("text", "x"))[0] for _ in range(20_000)]
    assert len(editor.text) == LONGEST and "".join(out[LONGEST:]) == "\a"
    assert editor.press(Key("kill-line"))[1] is None and editor.text == ""
    assert "x" in editor.press(Key("text", "x"))[0]
