"""Setting a new box up at the console: one question after another, in plain text (`setup`).

Theory of operation
-------------------
Each step asks, puts what was answered into the candidate with ordinary `set` commands, and is written down on the box (`console keep`), so
that after a power cut, a hang-up or ^C the next `setup` puts the answers given so far into the candidate again and goes on with the next
question. Nothing is in effect until the step `commit`, which starts a trial (`commit confirmed`): if the box cannot be reached or the
test call fails, leaving it alone is enough to have everything as before. A refused value is explained and asked for again. `-` goes one
step back and takes what was answered there out of the candidate again, Enter takes what stands in brackets. The questions say what is found
on the box: interfaces, the voltage on each line, which jack rings when its number is called (the walk test of `installer.py`), and on a box
that was set up before its name, telephones and routes, which stay unless somebody says otherwise.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Interface
from typing import Any

import msgspec
from msgspec import Struct, field

from firmware.control.client import CommandFailed, NotRunning
from firmware.surfaces.cli.config_mode import problem_lines, setting_line
from firmware.surfaces.cli.errors import said
from firmware.surfaces.cli.installer import walk
from firmware.surfaces.cli.screen import Screen
from firmware.surfaces.cli.setup_texts import COUNTRIES, TEXTS
from firmware.surfaces.cli.table import render

Ask = Callable[[str, dict[str, Any]], Any]
TRIAL_S = 900
STEPS = ("language", "name", "country", "zone", "network", "lines", "numbers", "phones", "sip", "outside", "commit", "test")
DEAD = ("no-voltage", "no-line", "open")
MOST_PHONES = 64
CLOCK = "pool.ntp.org"


MOST_RING = 32
ENTRY = re.compile(r"(extensions|groups|host\.interfaces)\.[^.]+|(inbound|outbound)\[0\]")


class Back(Exception):
    """The operator goes back, one step or to the one that is named."""

    def __init__(self, to: str = "") -> None:
        super().__init__(to)
        self.to = to


class Kept(Struct):
    """What is written down. `sets`: step to its settings, an empty value for what was taken out."""

    done: list[str] = field(default_factory=list)
    sets: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    finished: bool = False


class Progress:
    """What the box keeps of a set-up."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.kept = Kept()
        with contextlib.suppress(CommandFailed, NotRunning, msgspec.DecodeError):
            self.kept = msgspec.json.decode(ask("console progress", {}) or "{}", type=Kept)

    @property
    def unfinished(self) -> bool:
        """True when a set-up was begun and not brought to its end."""
        return bool(self.kept.done) and not self.kept.finished

    def write(self) -> None:
        """To disk, before the next question."""
        self._ask("console keep", {"text": msgspec.json.encode(self.kept).decode()})


class Setup:
    """See the theory of operation above."""

    def __init__(self, ask: Ask, screen: Screen) -> None:
        self._ask_box = ask
        self._screen = screen
        self._progress = Progress(ask)
        self._sets: list[tuple[str, str]] = []
        self._problems: list[Mapping[str, Any]] = []

    def run(self) -> bool:
        """Ask until everything is set and confirmed; True then. Raises Stop for ^C."""
        kept = self._progress.kept
        if kept.finished:
            self._progress.kept = kept = Kept()
        self._say("begin")
        if kept.done:
            self._resume(kept)
        while (step := next((one for one in STEPS if one not in kept.done), "")) != "":
            at = STEPS.index(step)
            self._sets = []
            self._screen.say(["", f"[{at + 1}/{len(STEPS)}] {self._text('step.' + step)}"])
            try:
                going = getattr(self, f"_{step}")()
            except Back as back:
                self._undo(self._sets)
                target = back.to or STEPS[max(0, at - 1)]
                for one in (target, *(["outside"] if target in ("phones", "sip") else [])):     # that asks which of them ring
                    self._undo(kept.sets.pop(one, []))
                    kept.done = [done for done in kept.done if done != one]
                self._progress.write()
                continue
            if going is False:
                self._say("left")
                return False
            kept.done.append(step)
            kept.sets[step] = self._sets
            kept.finished = at == len(STEPS) - 1
            self._progress.write()
        self._say("end")
        return True

    def _resume(self, kept: Kept) -> None:
        """Put the answers of before into the candidate again; a step that does not fit any more is asked again."""
        self._say("resume", count=len(kept.done))
        if "commit" in kept.done and self._box("show trial").get("state") != "trial":
            kept.done.remove("commit")                  # the trial ended without a confirmation
        if "commit" in kept.done:
            return
        for step in list(kept.done):
            try:
                for path, value in kept.sets.get(step, []):
                    if value:
                        self._box("set", setting=path, value=value)
                    else:
                        self._delete(path)
            except CommandFailed:
                kept.done.remove(step)

    # --- talking ------------------------------------------------------------------------------------------------------

    def _text(self, name: str, **facts: Any) -> str:
        return TEXTS[self._screen.language][name].format(**facts)

    def _say(self, name: str, **facts: Any) -> None:
        self._screen.say(self._screen.folded(self._text(name, **facts)))

    def _question(self, name: str, default: str = "", **facts: Any) -> str:
        """An answer; `default` for Enter. Raises Back."""
        shown = f" [{default}]" if default else ""
        answer = self._screen.line(f"{self._text(name, **facts)}{shown}: ")
        if answer is None or answer.strip() == "-":
            raise Back
        return answer.strip() or default

    def _yes(self, name: str, *, default: bool = True, **facts: Any) -> bool:
        while True:
            answer = self._question(name, "Y/n" if default else "y/N", **facts).lower()
            if answer in ("y/n", ""):
                return default
            if answer in ("y", "yes", "是"):
                return True
            if answer in ("n", "no", "否"):
                return False

    def _choice(self, name: str, options: list[tuple[str, str]], default: str) -> str:
        """One of numbered options."""
        for number, (_, text) in enumerate(options, 1):
            self._screen.say([f"  {number:>2} {text}"])
        known = [value for value, _ in options]
        while True:
            answer = self._question(name, str(known.index(default) + 1) if default in known else "1")
            if answer.isdecimal() and 1 <= int(answer) <= len(known):
                return known[int(answer) - 1]
            fits = [value for value in known if value.lower().startswith(answer.lower())]
            if len(fits) == 1:
                return fits[0]
            self._say("choose", count=len(known))

    def _number(self, name: str, default: int, least: int, most: int, **facts: Any) -> int:
        while True:
            answer = self._question(name, str(default), **facts)
            if answer.isdecimal() and least <= int(answer) <= most:
                return int(answer)
            self._say("number", least=least, most=most)

    def _box(self, path: str, **args: Any) -> Any:
        return self._ask_box(path, args)

    def _set(self, path: str, value: str) -> bool:
        """Into the candidate; False, with the reason told, when it is refused."""
        try:
            self._problems = self._box("set", setting=path, value=value)["problems"]
        except CommandFailed as error:
            problems = getattr(error, "problems", None) or []
            self._screen.say(problem_lines(problems, self._screen.language) or [said(error, self._screen.language)])
            return False
        self._sets.append((path, value))
        return True

    def _drop(self, path: str) -> None:
        """Out of the candidate."""
        if self._delete(path):
            self._sets.append((path, ""))

    def _delete(self, path: str) -> bool:
        with contextlib.suppress(CommandFailed):            # nothing was there
            self._box("delete", setting=path)
            return True
        return False

    def _settings(self, path: str, of: str = "candidate") -> dict[str, str]:
        """What is set at a path and below it, as `set` takes it."""
        found = {}
        for line in self._box(f"show {of}", under=path):
            name, _, value = line.removeprefix("set ").partition(" ")
            if name == path or name.startswith((f"{path}.", f"{path}[")):
                found[name] = value
        return found

    def _now(self, path: str) -> str:
        """A text that is set already; "" where none is."""
        with contextlib.suppress(msgspec.DecodeError):
            return str(msgspec.json.decode(self._settings(path).get(path, '""')))
        return ""

    def _known(self, kind: str) -> list[str]:
        """Extensions of a kind that are set up already."""
        found = self._settings("extensions").items()
        return [path.split(".")[1] for path, value in found if path.endswith(".kind") and value == f'"{kind}"']

    def _undo(self, sets: list[tuple[str, str]]) -> None:
        """Make these settings, and the entries that they began, what they are in the running configuration."""
        for entry in dict.fromkeys(found[0] if (found := ENTRY.match(path)) else path for path, _ in reversed(sets)):
            before, after = self._settings(entry, "configuration"), self._settings(entry)
            if after and not before:
                self._delete(entry)
                continue
            for path in after.keys() - before.keys():
                self._delete(path)
            for path, value in before.items():
                if after.get(path) != value:
                    with contextlib.suppress(CommandFailed):
                        self._box("set", setting=path, value=value)

    def _quoted(self, text: str) -> str:
        return msgspec.json.encode(text).decode()

    def _ask_and_set(self, name: str, path: str, default: str = "") -> str:
        while True:
            answer = self._question(name, default)
            if not answer:
                self._say("needed")
            elif self._set(path, self._quoted(answer)):
                wrong = [one for one in self._problems if one["path"] == path]      # what only the whole can tell
                if not wrong:
                    return answer
                self._screen.say(problem_lines(wrong, self._screen.language))
                self._undo([self._sets.pop()])

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _language(self) -> None:
        chosen = self._choice("language", [("en", "English"), ("zh", "中文")], self._screen.language)
        self._screen.language = chosen
        if not self._settings("site.name", "configuration"):        # what callers hear at a branch is not for whoever reads this to change
            self._set("site.languages", '["zh", "en"]' if chosen == "zh" else '["en", "zh"]')
        self._set("console.language", f'"{chosen}"')

    def _name(self) -> None:
        self._ask_and_set("name", "site.name", self._now("site.name"))

    def _country(self) -> None:
        zh = self._screen.language == "zh"
        options = [(code, f"{code}  {facts[1] if zh else facts[0]}") for code, facts in COUNTRIES.items()]
        usual = "CN" if zh or self._settings("site.name", "configuration") else "US"        # a box with a name has one, if only by default
        country = self._choice("country", options, self._now("site.country") or usual)
        self._progress.kept.facts["country"] = country
        self._set("site.country", f'"{country}"')

    def _zone(self) -> None:
        zones = COUNTRIES[self._progress.kept.facts.get("country", "CN")][2]
        usual = now if (now := self._now("site.time_zone")) in zones else zones[0]
        if len(zones) > 1:
            zone = self._choice("zone", [(one, one) for one in (*zones, self._text("other"))], usual)
            if zone in zones and self._set("site.time_zone", f'"{zone}"'):
                return
        self._ask_and_set("zone.name", "site.time_zone", usual)

    def _network(self) -> None:
        managed = [row for row in self._box("show addresses") if row["state"] != "foreign"]
        while True:
            shown = [row for row in self._box("show interfaces") if row["interface"] != "lo"]
            facts = [{name: row[name] for name in ("interface", "state", "address", "mac")} for row in shown]
            self._screen.say(render(facts, self._screen.language))
            gateway = next((row["gateway"] for row in self._box("show routes") if row["target"] == "default"), "")
            if gateway:
                answer = self._box("ping", host=gateway, count=1)[0]
                self._say("gateway.ok" if answer["round_trip_ms"] is not None else "gateway.silent", gateway=gateway)
            else:
                self._say("gateway.none")
            answer = self._question("network.own" if managed else "network").lower()
            if answer == "f" and managed:
                self._fixed_address(shown[0]["interface"] if shown else "eth0")
            elif answer == "d" and managed:
                self._drop("host.interfaces")
            elif answer != "r":
                break
        if managed:
            clock = next((row["now"] for row in managed if row["what"] == "clock"), "")
            self._servers("network.clock", "host.time_servers", clock or CLOCK)

    def _fixed_address(self, device: str) -> None:
        """An address of the installer's own; in force with the trial, so a wrong one is gone with it."""
        lan = "host.interfaces.lan"
        self._ask_and_set("network.device", f"{lan}.device", device)
        vlan = self._number("network.vlan", 0, 0, 4094)
        self._set(f"{lan}.vlan", str(vlan))
        address = self._ask_and_set("network.address", f"{lan}.address")
        router = ""
        with contextlib.suppress(ValueError):
            router = str(next(IPv4Interface(address).network.hosts()))
        router = self._ask_and_set("network.gateway", f"{lan}.gateway", router)
        self._servers("network.names", "host.name_servers", router)

    def _servers(self, question: str, path: str, default: str) -> None:
        while True:
            given = self._question(question, default).replace(",", " ").split()
            if self._set(path, msgspec.json.encode(given).decode()):
                return

    def _lines(self) -> None:
        rows = [row for row in self._box("doctor all") if row["endpoint"].startswith("line/")]
        if not rows:
            self._say("lines.none")
            return
        self._screen.say(render([{**row, "code": ""} for row in rows], self._screen.language))
        dead = [row["endpoint"].removeprefix("line/") for row in rows if row["code"] in DEAD]
        self._progress.kept.facts["lines"] = ",".join(
            row["endpoint"].removeprefix("line/") for row in rows if row["endpoint"].removeprefix("line/") not in dead
        )
        if dead and self._yes("lines.dead", jacks=", ".join(dead)):
            for jack in dead:
                self._set(f"ports.fxo.{jack}.enabled", "false")

    def _numbers(self) -> None:
        lines = [one for one in self._progress.kept.facts.get("lines", "").split(",") if one]
        if not lines:
            self._say("lines.none")
            return
        how = self._choice("numbers", [(one, self._text(f"numbers.{one}")) for one in ("walk", "type", "later")], "walk")
        if how == "walk":
            found: list[str] = []

            def ask(path: str, args: dict[str, Any]) -> Any:
                result = self._ask_box(path, args)
                if path == "walk stop":
                    found.extend(result)
                return result

            walk(ask, lambda text: self._screen.say([text]), self._screen.maybe_line, self._screen.language)
            for line in found:
                setting = setting_line(line)
                if setting is not None:
                    self._set(*setting)
        elif how == "type":
            for jack in lines:
                number = self._question("numbers.one", jack=jack)
                while number and not self._set(f"ports.fxo.{jack}.number", self._quoted(number)):
                    number = self._question("numbers.one", jack=jack)

    def _phones(self) -> None:
        known = self._known("fxs")
        free = {row["endpoint"].removeprefix("fxs/") for row in self._box("show lines") if row["endpoint"].startswith("fxs/")}
        taken = {value.strip('"') for path, value in self._settings("extensions", "configuration").items() if path.endswith(".jack")}
        jacks = sorted(free | taken, key=lambda jack: (len(jack), jack))
        if not jacks:
            self._say("phones.none")
        if known and self._yes("phones.keep", numbers=", ".join(known)):
            self._progress.kept.facts["fxs"] = ",".join(known)
            return
        for number in known:
            self._drop(f"extensions.{number}")
        count = self._number("phones", len(jacks), 0, len(jacks), jacks=len(jacks)) if jacks else 0
        numbers = self._plan(count, "101", self._known("sip"))
        for jack, number in zip(jacks, numbers, strict=False):
            name = self._question("phones.name", f"{number}", number=number, jack=jack)
            self._set(f"extensions.{number}.kind", '"fxs"')
            self._set(f"extensions.{number}.jack", f'"{jack}"')
            if name != number:
                self._set(f"extensions.{number}.name", self._quoted(name))
        self._progress.kept.facts["fxs"] = ",".join(numbers)

    def _sip(self) -> None:
        known = self._known("sip")
        if known:
            self._say("sip.known", numbers=", ".join(known))
        count = self._number("sip.more" if known else "sip", 0, 0, MOST_PHONES)
        numbers = self._plan(count, _after(known) if known else "201", [*known, *self._known("fxs")])
        for number in numbers:
            self._set(f"extensions.{number}.kind", '"sip"')
        self._progress.kept.facts["sip"] = ",".join(dict.fromkeys([*known, *numbers]))

    def _plan(self, count: int, first: str, others: list[str]) -> list[str]:
        """Numbers of `count` phones from one number on, none of which another has."""
        while count:
            answer = self._question("phones.first", first)
            if answer.isdecimal() and 2 <= len(answer) <= 8 and len(str(int(answer) + count - 1)) <= len(answer):
                numbers = [f"{int(answer) + index:0{len(answer)}}" for index in range(count)]
                if not (taken := [number for number in numbers if number in others]):
                    return numbers
                self._say("phones.taken", numbers=", ".join(taken))
            else:
                self._say("phones.wrong")
        return []

    def _outside(self) -> None:
        facts = self._progress.kept.facts
        members = [one for name in ("fxs", "sip") for one in facts.get(name, "").split(",") if one]
        route, rings = self._settings("outbound[0]"), self._now("inbound[0].to")
        usual = self._now("outbound[0].prefix")
        prefix = str(self._number("outside", int(usual) if usual.isdecimal() else 9, 0, 9999))
        facts["prefix"] = prefix
        if prefix != usual or not route:
            self._set("outbound[0].prefix", f'"{prefix}"')
        if not route:
            self._set("outbound[0].permission", '"local"')
            self._set("outbound[0].group", '"pstn"')
        if not members:
            self._say("outside.nobody")
            return
        ways = [("all", self._text("inbound.all")), ("first", self._text("inbound.first", number=members[0]))]
        kept = [("keep", self._text("inbound.keep", to=rings))] if rings not in ("", "hangup") else []
        ours = not kept or rings.startswith(("group/office", "extension/"))
        to = self._choice("inbound", [*kept, *ways], "all" if ours else "keep")
        if to == "keep":
            return
        if to == "all" and len(members) > 1:
            if len(members) > MOST_RING:
                self._say("inbound.most", most=MOST_RING)
            self._set("groups.office.members", msgspec.json.encode(members[:MOST_RING]).decode())
            self._set("inbound[0].to", '"group/office"')
        else:
            self._set("inbound[0].to", f'"extension/{members[0]}"')

    def _commit(self) -> bool | None:
        plan = self._box("show plan")
        problems = plan.get("problems") or []
        if problems:
            self._say("commit.wrong")
            self._screen.say(problem_lines(problems, self._screen.language))
            to = self._step_of({str(one["path"]) for one in problems})
            self._question("commit.again", step=self._text(f"step.{to}"))
            raise Back(to)
        changes = self._box("show diff")
        zh = self._screen.language == "zh"
        self._screen.say(self._screen.folded(plan["summary_zh"] if zh else plan["summary"]))
        while (answer := self._question("commit", "Y/n/d", minutes=TRIAL_S // 60, count=len(changes)).lower()) == "d":
            self._screen.page([f"  {row['path']} {row['new']}".rstrip() for row in changes])
        if answer in ("n", "no", "否"):
            return False
        try:
            result = self._box("commit confirmed", seconds=TRIAL_S, note="setup")
        except CommandFailed as error:
            problems = getattr(error, "problems", None) or []
            self._screen.say([said(error, self._screen.language), *problem_lines(problems, self._screen.language)])
            raise Back from error
        waits = result["waits_zh" if zh else "waits"]
        self._screen.say([waits] if waits else [])
        return None

    def _step_of(self, paths: set[str]) -> str:
        """The first step that has set one of these, or something around or in it; the one before this where none has."""
        for step in STEPS:
            for path, _ in self._progress.kept.sets.get(step, []) if step in self._progress.kept.done else []:
                entry = found[0] if (found := ENTRY.match(path)) else path
                if any(one in (path, entry) or one.startswith((f"{entry}.", f"{entry}[")) for one in paths):
                    return step
        return "outside"

    def _test(self) -> bool | None:
        facts = self._progress.kept.facts
        phones = [one for one in facts.get("fxs", "").split(",") if one] or [one for one in facts.get("sip", "").split(",") if one]
        while True:
            mobile = self._question("test.mobile")
            if mobile:
                phone = self._question("test.phone", phones[0] if phones else "")
                if not self._call(phone, facts.get("prefix", "") + mobile):
                    continue
            if self._yes("test.heard"):
                break
            if not self._yes("test.again"):
                self._say("test.reverts")
                return False
        self._box("confirm")
        return None

    def _call(self, phone: str, number: str) -> bool:
        try:
            self._box("originate", extension=phone, number=number)
        except CommandFailed as error:
            self._screen.say([said(error, self._screen.language)])
            return False
        self._say("test.rings", phone=phone, number=number)
        return True


def _after(numbers: list[str]) -> str:
    """The number behind the largest of these, as long as that is."""
    last = max(numbers, key=lambda number: (len(number), number))
    return f"{int(last) + 1:0{len(last)}}" if last.isdecimal() else "201"
