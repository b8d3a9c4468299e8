"""What the console does for installers: reports for 80 columns, the walk test as a conversation, captures into files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.control.client import CommandFailed
from firmware.reports.columns import fold, width
from firmware.surfaces.cli.installer import Walk, save_capture
from firmware.surfaces.cli.table import render

REPORT = {
    "endpoint": "line/3", "label": "",
    "facts": [{"name_en": "voltage", "name_zh": "电压", "value_en": "none", "value_zh": "无"}],
    "findings": [
        {"code": "no-voltage", "weight_en": "FAULT", "weight_zh": "故障", "finding_en": "no voltage", "finding_zh": "线路无电压",
         "todo_en": "is the cable in the wall socket? Try an ordinary telephone there; if it is dead too, call the operator",
         "todo_zh": "线缆是否插在墙上插座里？用普通话机在该插座试听；若也无声，请联系运营商；若仍不行，请更换线缆后再试一次并记录结果"},
    ],
    "compared": [{"setting": "600", "erl_db": 14.0, "present": True}],
}  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_report_fits_a_serial_console_in_the_language_of_its_reader(language: str) -> None:
    lines = render(REPORT, language)
    assert all(width(line) <= 80 for line in lines), lines
    text = "\n".join(lines)
    wanted, foreign = ("no voltage", "线路无电压") if language == "en" else ("线路无电压", "no voltage")
    assert wanted in text and foreign not in text
    assert ("compared" if language == "en" else "阻抗比较") in text and "label" not in text
    assert text.replace("\n", "").replace(" ", "").endswith("14yes" if language == "en" else "14是")


def test_texts_in_two_languages_become_one_column_of_a_table() -> None:
    rows = [{"line": "1", "state_en": "not rung yet", "state_zh": "尚未振铃", "caller": ""}]
    assert render(rows, "en")[2].split() == ["1", "not", "rung", "yet"] and render(rows, "zh")[2].split() == ["1", "尚未振铃"]
    assert render([{"en": "a", "zh": "b"}], "en")[2].split() == ["a", "b"], "a column that is named for its language stays"


@pytest.mark.hypothesis
@given(st.text(alphabet="ab 线路，。、(x)", max_size=120), st.integers(10, 60))
def test_folding_keeps_every_character_and_the_width(text: str, columns: int) -> None:
    rows = fold(text, columns)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")
    for row in rows:
        bare = row.rstrip("，。、")             # marks may not begin a row
        assert width(bare) <= columns or " " not in bare.strip(), "one word may be longer than a row"


class Gate:
    """Answers commands from a script of `walk show` rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuse = ""

    def __call__(self, path: str, args: dict[str, Any]) -> Any:
        self.asked.append((path, args))
        if self.refuse and path == "walk number":
            raise CommandFailed("refused", self.refuse)
        return self.rows if path == "walk show" else ['set ports.fxo.3.number "0105"'] if path == "walk stop" else []


def row(line: str, **facts: Any) -> dict[str, Any]:
    return {"line": line, "rang": "10:00:00", "caller": "139", "number": "", "state_en": "rings now: which number did you dial?", **facts}


def test_the_walk_asks_once_for_each_ringing_line_and_stores_what_is_typed() -> None:
    gate, said = Gate(), []
    talk = Walk(gate, said.append, "en")
    talk.begin()
    gate.rows = [row("3")]
    for _ in range(3):
        talk.look()
        talk.forget_rings()
    assert said[1:] == ["line 3 rings now, caller id 139: which number did you dial?"]
    assert talk.typed("01055550003\n") and ("walk number", {"line": "3", "number": "01055550003"}) in gate.asked
    assert talk.typed("2 01055550002") and ("walk number", {"line": "2", "number": "01055550002"}) in gate.asked
    gate.rows = [row("3", state_en="found")]
    talk.look()
    talk.forget_rings()
    gate.rows = [row("3", number="01055550003")]
    talk.look()
    assert said[-1] == "line 3 rings now, caller id 139 (01055550003)", "a line may be tried again"
    assert not talk.typed("q")
    talk.end()
    assert said[-1].startswith("set ports.fxo.3.number")


def test_a_line_without_caller_id_is_told_a_little_later_and_a_refusal_is_shown() -> None:
    gate, said = Gate(), []
    talk = Walk(gate, said.append, "zh")
    gate.rows = [row("1", caller="")]
    for looks in range(1, 5):
        talk.look()
        assert bool(said) == (looks >= 4)
    assert said == ["线路 1 正在振铃，来电号码 无：您拨的是哪个号码？"]
    gate.refuse = "0105 was found on line/2 before"
    assert talk.typed("0105") and said[-1] == "0105 was found on line/2 before" and talk.waiting == "1"
    assert talk.typed("") and talk.typed("   ")


def test_a_capture_is_fetched_piece_by_piece_with_its_timeline(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10

    def ask(path: str, args: dict[str, Any]) -> Any:
        if path == "capture show":
            return {"timeline": ["0.000 begins", "1.000 ends"]}
        part = data[args["offset"] : args["offset"] + 1000]
        reached = args["offset"] + len(part)
        return {"data": base64.b64encode(part).decode(), "size": len(data), "next": reached if reached < len(data) else 0}

    assert save_capture(ask, "cap-1", str(tmp_path), "en") == [f"cap-1: 2560 bytes in {tmp_path / 'cap-1.wav'}"]
    assert (tmp_path / "cap-1.wav").read_bytes() == data and (tmp_path / "cap-1.txt").read_text() == "0.000 begins\n1.000 ends\n"
    save_capture(ask, "cap-1", str(tmp_path / "own.wav"), "zh")
    assert (tmp_path / "own.wav").read_bytes() == data


def test_packets_of_a_call_are_fetched_in_parts_and_have_no_timeline_of_their_own(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20

    def ask(path: str, args: dict[str, Any]) -> Any:
        assert path == "capture packets" and args["name"] == "C1.pcap"
        part = data[args["offset"] : args["offset"] + 2000]
        reached = args["offset"] + len(part)
        return {"data": base64.b64encode(part).decode(), "size": len(data), "next": reached if reached < len(data) else 0}

    assert save_capture(ask, "C1.pcap", str(tmp_path), "en") == [f"C1.pcap: {len(data)} bytes in {tmp_path / 'C1.pcap'}"]
    assert [file.name for file in tmp_path.iterdir()] == ["C1.pcap"] and (tmp_path / "C1.pcap").read_bytes() == data
