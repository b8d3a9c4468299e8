"""The host tool as its user starts it: a site, a list, a dry run, labels and reports, on a pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from firmware.control import configuration_commands as cc
from firmware.control import passwords
from firmware.control.device_commands import LineRow, ShowLines
from firmware.control.gate import Gate
from firmware.errors import CommandError
from firmware.surfaces.cli.leaving import Stop
from tests.unit.provision_stage import Box
from tools.provision import paper, sheet
from tools.provision.__main__ import main, read_list
from tools.provision.line import choose_port
from tools.provision.texts import SAID, ProvisionError, told
from tools.provision.wizard import Answers, Laptop, stored


class Wrong(CommandError):
    facts = {
        "problems": [{"path": "site.name", "message": "too long", "remedy": "40 at most", "message_zh": "太长", "remedy_zh": "最多 40"}]
    }


class Candidate:
    """Stands for the store of configurations: one text runs, another is the candidate."""

    def __init__(self) -> None:
        self.running, self.candidate, self.trial, self.revision, self.notes = "old", "old", "", 1, [""]
        self.proof = True

    def attach(self, gate: Gate) -> None:
        gate.handle(cc.ConfigurationLoad, self._load)
        gate.handle(cc.ConfigurationDiscard, self._discard)
        gate.handle(cc.ShowDiff, self._diff)
        gate.handle(cc.ShowPlan, lambda _: cc.PlanResult("live", 0, "no call is touched", "不影响通话", []))
        gate.handle(cc.ShowTrial, lambda _: cc.TrialResult("running", self.revision, self.revision, candidate_changes=int(self._changed())))
        gate.handle(cc.CommitConfirmed, self._commit)
        gate.handle(cc.VerifyConfiguration, self._verify)
        gate.handle(cc.Confirm, self._confirm)
        gate.handle(ShowLines, lambda _: [self._line("fxo", "01055550001"), self._line("fxs", "101")])

    def _line(self, kind: str, number: str) -> LineRow:
        return LineRow(f"{kind}/1", kind, number, "yes", "idle", 48.0, 0.0, "", "", "", 3, "")

    def _diff(self, _: Any) -> list[cc.ChangeRow]:
        return [cc.ChangeRow("site.name", "changed", self.running, self.candidate, "live")] if self._changed() else []

    def _changed(self) -> bool:
        return self.candidate != self.running

    def _load(self, command: cc.ConfigurationLoad) -> cc.CandidateResult:
        if "wrong" in command.text:
            raise Wrong("1 problem")
        self.candidate = command.text
        return cc.CandidateResult(int(self._changed()))

    def _discard(self, _: Any) -> cc.CandidateResult:
        self.candidate = self.running
        return cc.CandidateResult(0)

    def _commit(self, command: Any) -> cc.CommitResult:
        self.trial, self.running = self.running, self.candidate
        self.notes.append(command.note)
        return cc.CommitResult(self.revision + 1, 1, "live", "trial", command.seconds)

    def _verify(self, _: Any) -> cc.VerifyResult:
        return cc.VerifyResult(self.proof, self.revision, "abc", [cc.PartRow("core", "abc", self.proof)])

    def _confirm(self, _: Any) -> cc.TrialResult:
        self.trial, self.revision = "", self.revision + 1
        return cc.TrialResult("running", self.revision, self.revision)


def run(box: Box, *words: str) -> int:
    return main([*words, "--port", box.port, "--patience", "60"])


def test_a_site_is_tried_proved_and_confirmed_and_again_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Candidate()
    (tmp_path / "site.toml").write_text("new")
    with Box(tmp_path / "box", handlers=store.attach) as box:
        transcript = tmp_path / "transcript"
        assert run(box, "apply", str(tmp_path / "site.toml"), "--note", "first", "--transcript", str(transcript)) == 0
        assert (store.running, store.trial, store.revision, store.notes[-1]) == ("new", "", 2, "first")
        said = capsys.readouterr().out
        assert "~ site.name: old -> new  [live]" in said
        assert "revision 2 runs and is stored" in said
        assert run(box, "apply", str(tmp_path / "site.toml"), "--lang", "zh") == 0
        assert "已运行此配置" in capsys.readouterr().out
        assert store.revision == 2
    asked = [json.loads(line)["what"] for line in transcript.read_text().splitlines()]
    assert asked[-3:] == ["commit confirmed", "verify configuration", "confirm"]


def test_a_dry_run_tells_each_path_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Candidate()
    (tmp_path / "site.toml").write_text("new")
    with Box(tmp_path / "box", handlers=store.attach) as box:
        assert run(box, "apply", str(tmp_path / "site.toml"), "--dry-run") == 0
        assert "~ site.name: old -> new" in capsys.readouterr().out
        assert (store.running, store.candidate, store.revision) == ("old", "old", 1)
        store.candidate = "somebody's work"
        assert run(box, "apply", str(tmp_path / "site.toml")) == 1
        assert store.candidate == "somebody's work"
        assert "--force" in capsys.readouterr().err


def test_a_box_that_does_not_run_what_it_stores_is_not_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Candidate()
    store.proof = False
    monkeypatch.setattr("tools.provision.__main__.TRIAL_S", 10)
    (tmp_path / "site.toml").write_text("new")
    with Box(tmp_path / "box", handlers=store.attach) as box:
        assert run(box, "apply", str(tmp_path / "site.toml")) == 1
        assert store.trial == "old"  # left to its deadline, which takes it back


def test_every_mistake_of_a_site_file_is_told_in_the_asked_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.toml").write_text("wrong")
    with Box(tmp_path / "box", handlers=Candidate().attach) as box:
        assert run(box, "apply", str(tmp_path / "site.toml"), "--lang", "zh") == 1
    assert "site.name: 太长; 最多 40" in capsys.readouterr().err


def test_a_list_goes_over_two_ports_and_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = [Candidate(), Candidate()]
    for name, text in (("a", "site a"), ("b", "wrong"), ("c", "site c")):
        (tmp_path / f"{name}.toml").write_text(text)
    with Box(tmp_path / "1", handlers=stores[0].attach) as one, Box(tmp_path / "2", handlers=stores[1].attach) as two:
        rows = f"site,file,port\nA,a.toml,{one.port}\nB,b.toml,{two.port}\nC,c.toml,{two.port}\n"
        (tmp_path / "list.csv").write_text(rows)
        words = ["batch", str(tmp_path / "list.csv"), "--yes", "--patience", "60"]
        assert main(words) == 1
        assert "2 of 3 sites done" in capsys.readouterr().out
        assert (stores[0].running, stores[1].running) == ("site a", "site c")
        (tmp_path / "b.toml").write_text("site b")
        assert main(words) == 0
        said = capsys.readouterr().out
        assert "A: done before" in said
        assert "3 of 3 sites done" in said
        assert (stores[0].revision, stores[1].running) == (2, "site b")


def test_a_list_tells_every_wrong_row(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("")
    (tmp_path / "list.csv").write_text("site,file,colour\nA,a.toml,red\nA,a.toml,\nB,missing.toml,\n")
    with pytest.raises(ProvisionError) as told:
        read_list(tmp_path / "list.csv")
    assert all(word in str(told.value) for word in ("row 1: unknown column", "row 2: A is there twice", "row 3 (B): there is no file"))
    (tmp_path / "list.toml").write_text('[[site]]\nfile = "a.toml"\n')
    assert read_list(tmp_path / "list.toml") == [{"file": "a.toml", "site": "a"}]


def test_the_report_and_the_labels_tell_what_the_box_said(tmp_path: Path) -> None:
    with Box(tmp_path / "box", handlers=Candidate().attach) as box:
        assert run(box, "report", str(tmp_path / "report.pdf")) == 0
        assert run(box, "labels", str(tmp_path / "labels.pdf")) == 0
        assert run(box, "labels", str(tmp_path / "label.png")) == 0
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["lines"][0]["number"] == "01055550001"
    assert facts["identity"]["model"] == "world"
    assert "not told" in facts["trunks"]
    text = (tmp_path / "report.txt").read_text()
    assert "== Ports / 端口" in text
    assert "fxo/1" in text
    for name in ("report.pdf", "labels.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF-")
    assert (tmp_path / "label.png").read_bytes().startswith(b"\x89PNG")


def test_a_sheet_has_as_many_pages_as_labels_need(tmp_path: Path) -> None:
    rows = [{"name": f"上海{number}店", "serial": f"BPX-{number}", "mac": "", "address": ""} for number in range(43)]
    sheet.labels(rows, tmp_path / "sheet.pdf")
    body = (tmp_path / "sheet.pdf").read_bytes()
    assert b"/Count 3" in body
    # The glyphs are in the file: two subsets (Latin and Chinese), no font that a reader would have to bring.
    assert body.count(b"/FontFile2") == 2 and b"STSong" not in body
    pictures = sheet.labels(rows, tmp_path / "sheet.png")
    assert [path.name for path in pictures] == ["sheet.png", "sheet-2.png", "sheet-3.png"]
    assert sheet.code_of({"name": "A", "serial": "S", "mac": "M", "address": ""}) == "BPX;S;M;A"


def test_without_a_font_a_picture_is_refused_and_a_pdf_leans_on_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "PLACES", ())
    paper.han_font.cache_clear()
    rows = [{"name": "上海店", "serial": "1", "mac": "", "address": ""}]
    try:
        with pytest.raises(ProvisionError, match=paper.VARIABLE):
            sheet.labels(rows, tmp_path / "sheet.png")
        sheet.labels(rows, tmp_path / "sheet.pdf")
        assert b"STSong" in (tmp_path / "sheet.pdf").read_bytes()
        sheet.labels([{**rows[0], "name": "Shanghai"}], tmp_path / "sheet.png")
    finally:
        paper.han_font.cache_clear()


def test_answers_of_a_file_go_by_jack_and_turn_and_end_where_they_are_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.toml").write_text('name = "X"\nnumbers_one_2 = "010"\nphones_first = ["101", "201"]\n')
    ask = Answers(tmp_path / "answers.toml")
    assert (ask("numbers.one", "", {"jack": "2"}), ask("numbers.one", "", {"jack": "3"})) == ("010", "")
    assert [ask("phones.first", "1", {}) for _ in range(3)] == ["101", "201", "1"]
    assert [ask("name", "", {}) for _ in range(4)] == ["X"] * 4
    with pytest.raises(ProvisionError, match="name"):
        ask("name", "", {})
    for _ in range(4):
        ask("country", "", {})
    with pytest.raises(ProvisionError, match="country"):              # a question without default that nobody answers
        ask("country", "", {})


def test_the_keyboard_answers_while_the_line_is_kept_alive(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    turns: list[int] = []
    reader, writer = os.pipe()

    def turn() -> None:
        turns.append(1)
        if len(turns) == 20:
            os.write(writer, "分店\n\nq\n".encode())
            os.close(writer)
        time.sleep(0.001)

    with os.fdopen(reader) as keys:
        monkeypatch.setattr("sys.stdin", keys)
        screen = Laptop(turn, "zh")
        assert screen.maybe_line(0.0) is None
        assert screen.line("网点名称: ") == "分店"
        assert len(turns) >= 20
        assert screen.line("国家: ") == ""
        assert screen.maybe_line(10.0) == "q"
        with pytest.raises(EOFError):
            screen.maybe_line(10.0)
        with pytest.raises(ProvisionError, match="broken off"):
            screen.line("again")
    assert "网点名称" in capsys.readouterr().out


def test_control_c_leaves_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()

    def turn() -> None:
        raise KeyboardInterrupt

    with os.fdopen(reader) as keys:
        monkeypatch.setattr("sys.stdin", keys)
        screen = Laptop(turn, "en")
        with pytest.raises(Stop):
            screen.line("name: ")
        with pytest.raises(Stop), screen.running():
            raise KeyboardInterrupt
        os.close(writer)


def test_a_password_of_the_wizard_leaves_only_its_stored_form() -> None:
    assert passwords.verify("eight letters", stored("eight letters"))
    with pytest.raises(ProvisionError, match="nothing was sent"):
        stored("short")


def test_a_bar_is_drawn_where_there_is_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    (tmp_path / "bundle").write_bytes(bytes(50_000))
    with Box(tmp_path / "box") as box:
        assert run(box, "put", "bundle", str(tmp_path / "bundle")) == 0
    assert "bundle" in screen.getvalue()
    assert "kB" in screen.getvalue()


def test_ports_are_named_when_there_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"port": "COM3", "adapter": "FTDI", "usb": "0403:6001", "serial": ""}, {"port": "COM1", "adapter": "", "usb": "", "serial": ""}]
    monkeypatch.setattr("tools.provision.line.ports", lambda: rows)
    assert choose_port("") == "COM3"
    assert choose_port("COM9") == "COM9"
    rows.append({"port": "COM4", "adapter": "WCH CH340", "usb": "1a86:7523", "serial": ""})
    with pytest.raises(ProvisionError, match="COM4"):
        choose_port("")


def test_every_text_of_the_tool_is_in_both_languages_with_the_same_facts() -> None:
    for code, (english, chinese) in SAID.items():
        facts = [set(re.findall(r"{(\w+)}", text)) for text in (english, chinese)]
        assert facts[0] == facts[1] or code == "list", code
        assert not chinese.isascii() or code == "list", code
    assert told("silent", seconds="5").said("zh").startswith("5 秒内没有设备应答")


def test_a_cable_to_nothing_is_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = os.openpty()
    try:
        assert main(["status", "--port", os.ttyname(theirs), "--patience", "1"]) == 1
        assert "no box answers" in capsys.readouterr().err
        assert main(["status", "--port", str(tmp_path / "none")]) == 1
        assert "cannot be opened" in capsys.readouterr().err
    finally:
        os.close(ours)
        os.close(theirs)


def test_the_command_explains_itself() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.provision", "--help"], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).resolve().parents[2])  # fmt: skip
    for word in ("apply", "batch", "wizard", "fetch-logs", "labels", "report"):
        assert word in done.stdout
