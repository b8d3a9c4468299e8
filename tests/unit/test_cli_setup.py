"""The set-up with answers of a list: going back, answers that only the whole can judge, and a box that was set up before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from firmware.config.candidate import Candidate
from firmware.config.diff import diff, flat_tree, plain
from firmware.config.model import check_tree, load
from firmware.config.problems import ConfigErrors
from firmware.config.render import set_lines_of
from firmware.control.client import CommandFailed
from firmware.surfaces.cli.setup import Setup
from firmware.surfaces.cli.setup_texts import COUNTRIES, TEXTS

NEW = (Path(__file__).parents[2] / "board/world/new.toml").read_bytes()
DEMO = (Path(__file__).parents[2] / "board/world/site.toml").read_bytes()
ZONES = {zone for _, _, zones in COUNTRIES.values() for zone in zones}


class Box:
    """What the set-up asks of a box: a candidate over a configuration, four jacks of each kind, progress that is kept."""

    def __init__(self, site: bytes) -> None:
        self.running: dict[str, Any] = plain(load(site, file="site.toml"))
        self.candidate = Candidate(self.running)
        self.progress = ""
        self.confirmed = False

    def __call__(self, path: str, args: dict[str, Any]) -> Any:
        jacks = [one.split(".")[1] for one in flat_tree(self.running) if one.endswith(".kind") and self._kind(one) == "fxs"]
        answers: dict[str, Any] = {
            "console progress": lambda: self.progress,
            "show candidate": lambda: _under(self.candidate.tree, args.get("under", "")),
            "show configuration": lambda: _under(self.running, args.get("under", "")),
            "show addresses": lambda: [{"what": "all", "state": "foreign", "now": ""}],
            "show interfaces": list,
            "show routes": list,
            "doctor all": lambda: [{"endpoint": f"line/{one}", "number": "", "level": "good", "code": "", "text": ""} for one in "1234"],
            "show lines": lambda: [{"endpoint": one} for one in jacks or [f"fxs/{jack}" for jack in "1234"]],
            "show plan": lambda: {"problems": self.problems() + self.refused(), "summary": "", "summary_zh": ""},
            "show diff": lambda: [{"path": one, "new": ""} for one in flat_tree(self.candidate.tree)],
            "commit confirmed": lambda: {"waits": "", "waits_zh": ""},
        }
        if path in answers:
            return answers[path]()
        try:
            if path == "set":
                self.candidate.set(args["setting"], args["value"], "ann")
                return {"problems": self.problems()}
            if path == "delete":
                self.candidate.delete(args["setting"], "ann")
        except ConfigErrors as error:
            raise CommandFailed("refused", str(error), {"problems": _rows(error.problems)}) from None
        if path == "console keep":
            self.progress = args["text"]
        self.confirmed = self.confirmed or path == "confirm"
        return None

    def _kind(self, path: str) -> Any:
        return flat_tree(self.running)[path]

    def problems(self) -> list[dict[str, Any]]:
        return _rows(check_tree(self.candidate.tree, file="candidate", zones=ZONES)[1])

    def refused(self) -> list[dict[str, Any]]:
        """What only the commit finds: a name that somebody else has."""
        return [{**dict.fromkeys(ROW, ""), "path": "site.name"}] if self.now("site.name") == ['set site.name "Bad"'] else []

    def now(self, under: str) -> list[str]:
        return _under(self.candidate.tree, under)


ROW = ("path", "value", "message", "remedy", "allowed", "message_zh", "remedy_zh", "allowed_zh")


def _rows(problems: Any) -> list[dict[str, Any]]:
    return [{**dict.fromkeys(ROW, ""), **{name: getattr(one, name) for name in ROW[:4]}} for one in problems]


def _under(tree: dict[str, Any], path: str) -> list[str]:
    return [line for line in set_lines_of(tree) if line.startswith(f"set {path}")]


class Typed:
    """A screen before which somebody answers: by question, one answer after another; Enter where there is none left."""

    def __init__(self, language: str = "en", **answers: list[str]) -> None:
        self.language = language
        self.answers = answers
        self.said: list[str] = []

    def say(self, lines: list[str]) -> None:
        self.said += lines

    def folded(self, text: str) -> list[str]:
        return [text]

    def page(self, lines: list[str]) -> None:
        self.said += lines

    def line(self, prompt: str) -> str | None:
        self.said.append(prompt)
        assert len(self.said) < 400, "it asks for ever:\n" + "\n".join(self.said[-20:])
        for name, text in TEXTS[self.language].items():
            key = name.replace(".", "_")
            if self.answers.get(key) and prompt.startswith(text.partition("{")[0]):
                return self.answers[key].pop(0)
        return ""

    def heard(self, text: str) -> bool:
        return any(text in one for one in self.said)


def lead(box: Box, screen: Typed) -> bool:
    return Setup(box, screen).run()  # type: ignore[arg-type]


def test_a_step_that_is_taken_back_leaves_nothing_behind() -> None:
    """Somebody mistypes the first number of three telephones, notices at the next question and goes back."""
    box = Box(NEW)
    screen = Typed(name=["North"], numbers=["3"], phones=["3", "2"], phones_first=["110", "101"], sip=["-", "0"])
    assert lead(box, screen) and box.confirmed
    numbers = {line.split(".")[1] for line in box.now("extensions.")}
    assert numbers == {"101", "102"} and box.problems() == []
    assert box.now("groups.office.members") == ['set groups.office.members ["101", "102"]']


def test_going_back_in_the_middle_of_a_step_leaves_nothing_of_it() -> None:
    box = Box(NEW)
    answers = {"phones": ["2", "0"], "phones_first": ["110"], "phones_name": ["Desk", "-"], "sip": ["2"], "inbound": ["first"]}
    screen = Typed(name=["North"], numbers=["3", "3"], **answers)
    assert lead(box, screen)
    assert {line.split(".")[1] for line in box.now("extensions.")} == {"201", "202"}
    assert 'set inbound[0].to "extension/201"' in box.now("inbound")


def test_a_time_zone_that_is_none_is_told_at_once_and_never_at_the_end() -> None:
    box = Box(NEW)
    screen = Typed(name=["", "North"], country=["CN"], zone_name=["Mars", ""], numbers=["3"])
    assert lead(box, screen)
    assert screen.heard("is not a time zone") and screen.heard("needs an answer") and not screen.heard("cannot be put into effect")
    assert box.now("site.time_zone") == ['set site.time_zone "Asia/Shanghai"']


def test_what_a_commit_would_refuse_leads_to_the_step_that_set_it() -> None:
    box = Box(NEW)
    screen = Typed(name=["Bad", "Good"], numbers=["3"], phones=["1"])
    assert lead(box, screen) and box.confirmed
    assert screen.heard("Enter goes back to: Name") and box.now("site.name") == ['set site.name "Good"']
    assert len([one for one in screen.said if one.startswith("Analogue phones")]) == 1, "only the step that was wrong is asked again"


def test_no_two_telephones_get_one_number() -> None:
    box = Box(NEW)
    screen = Typed(name=["North"], numbers=["3"], phones=["2"], sip=["1"], phones_first=["101", "102", "201"])
    assert lead(box, screen) and screen.heard("Another phone has 102 already")
    assert {line.split(".")[1] for line in box.now("extensions.")} == {"101", "102", "201"}


def test_a_box_that_was_set_up_before_keeps_what_it_has() -> None:
    """Enter at each question changes nothing but what was asked for anew: the name."""
    box = Box(DEMO)
    screen = Typed(name=["South"], numbers=["3"])
    assert lead(box, screen) and box.confirmed
    config, _ = check_tree(box.candidate.tree, file="candidate")
    assert config is not None
    assert [one.path for one in diff(load(DEMO, file="site.toml"), config)] == ["site.name"]
    assert screen.heard("101, 102, 103, 104") and screen.heard("201, 202, 203, 204")


def test_more_telephones_are_added_to_those_that_are_there() -> None:
    box = Box(DEMO)
    screen = Typed("zh", name=["南"], numbers=["3"], sip_more=["2"], inbound=["all"])
    assert lead(box, screen)
    assert box.now("extensions.206") == ['set extensions.206.kind "sip"']
    [members] = box.now("groups.office.members")
    assert msgspec.json.decode(members.split(" ", 2)[2]) == ["101", "102", "103", "104", "201", "202", "203", "204", "205", "206"]


def test_a_resumed_set_up_takes_out_again_what_was_taken_out() -> None:
    box = Box(DEMO)
    screen = Typed(name=["South"], numbers=["3"], phones_keep=["n"], phones=["1"], commit=["n"])
    assert not lead(box, screen)
    box.candidate = Candidate(box.running)                  # the power failed; what was kept is put in again
    screen = Typed(commit=["n"])
    assert not lead(box, screen)
    assert {line.split(".")[1] for line in box.now("extensions.")} == {"101", "201", "202", "203", "204"}
