"""Costs in reports: days of calls to outside in virtual time, whose people keep notes that the reports must agree with to the coin."""

from __future__ import annotations

import csv
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from firmware.app.office import Office
from firmware.config.schema.calls import OutboundRoute
from firmware.config.schema.people import Extension
from firmware.config.schema.ports import FxoLine, LineGroup, Ports
from firmware.config.schema.reports import Reports
from firmware.config.schema.system import Site
from firmware.config.schema.tariffs import Tariff
from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Toll
from firmware.reports import figures as fig
from firmware.reports.columns import width
from firmware.reports.page import Report, as_csv, only, page
from firmware.reports.tally import Limits, Span, Tally, count
from firmware.reports.texts import LANGUAGES, MORE_DEFINITIONS, TEXTS

SEED = int(os.environ.get("BRANCHPBX_SEED", "1"))
ZONE = ZoneInfo("Asia/Shanghai")
BEGINS = datetime(2026, 3, 2, tzinfo=ZONE)
DAY_MS = 86_400_000
#: Access code and first digits -> tariff; 5 has none.
NUMBERS = {"92551234": "local", "9001155512": "abroad", "8139000": "mobile", "7455": ""}
TARIFFS = {
    "local": Tariff(setup="0.22", included_s=180, price="0.11"), "abroad": Tariff(price="2.4", unit_s=6, setup="0.5"),
    "mobile": Tariff(price="0.0135", unit_s=1),
}  # fmt: skip
NEW = TARIFFS | {"local": Tariff(price="0.3")}


def site(tariffs: dict[str, Tariff] | None = None) -> Config:
    fxo = {str(n): FxoLine(group="mobile" if n == 4 else "pstn") for n in (1, 2, 3, 4)}
    return Config(
        site=Site(name="Branch", time_zone="Asia/Shanghai"), reports=Reports(), toll=Toll(calls=0, calls_hour=0, international_minutes=0,
                                                                                          international_calls_hour=0),
        ports=Ports(fxo=fxo, groups={"mobile": LineGroup(tariff="mobile")}),
        extensions={number: Extension(kind="sip", permission="international") for number in ("201", "202", "203")},
        tariffs=TARIFFS if tariffs is None else tariffs,
        outbound=[
            OutboundRoute(pattern="00.", permission="international", tariff="abroad"), OutboundRoute(pattern=".", tariff="local"),
            OutboundRoute(prefix="8", pattern=".", group="mobile"), OutboundRoute(prefix="7", pattern="."),
        ],
    )  # fmt: skip


@dataclass
class Note:
    """What somebody who called out remembers."""

    extension: str
    number: str
    begun: int
    line: str = ""
    answered: int = -1
    ended: int = -1
    cut: bool = False
    sure: bool = False           # answers, and talks for an hour


@dataclass
class Callers:
    """Telephones dial out, somebody outside answers most of them and hangs up."""

    rng: random.Random
    notes: list[Note] = field(default_factory=list)
    mine: dict[str, Note] = field(default_factory=dict)          # leg of the outside party
    office: Any = None

    def call(self, extension: str, number: str, *, sure: bool = False) -> None:
        if self.office.alive and self.office.sets.at(extension) is None:
            self.notes.append(Note(extension, number, self.office.clock.now(), sure=sure))
            self.office.dial(extension, number)

    def rings(self, leg: str, endpoint: str, caller: str) -> None:
        note = self._of(leg, endpoint)
        if note is not None and (note.sure or self.rng.random() < 0.85):
            self.office.later(self.rng.randint(500, 9000), lambda: self.office.sets.lift(leg))

    def _of(self, leg: str, endpoint: str) -> Note | None:
        if not endpoint.startswith("line/"):
            return None
        if leg not in self.mine:
            dialled = self.office.sets.live[leg].number
            open_ones = [one for one in self.notes if not one.line and one.number.endswith(dialled) and one.ended < 0]
            self.mine[leg] = open_ones[-1]
            self.mine[leg].line = endpoint
        return self.mine[leg]

    def picked_up(self, leg: str) -> None:
        note = self.mine.get(leg)
        if note is not None:
            note.answered = self.office.clock.now()
            talk = 3_600_000 if note.sure else self.rng.choice((1000, 60_000, 180_000, self.rng.randint(1, 900_000)))
            self.office.later(talk, lambda: self.office.hang_up(leg))

    def hears(self, leg: str, clips: tuple[str, ...], ms: int) -> None:
        """Nothing that they act on."""

    def speaks_with(self, leg: str, other: str) -> None:
        """Nothing that they act on."""

    def over(self, leg: str, cause: str) -> None:
        note = self.mine.get(leg)
        if note is not None:
            note.ended, note.cut = self.office.clock.now(), cause == "system"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, Callers]]:
    """Two days: core killed now and then, another tariff at noon of the first, a power cut in the evening of the second."""
    callers = Callers(random.Random(SEED))
    office = Office(tmp_path_factory.mktemp("costs"), site(), BEGINS, callers)
    callers.office = office
    for at in sorted(callers.rng.sample(range(8 * 3_600_000, 2 * DAY_MS - 7_200_000, 60_000), 160)):
        extension, number = callers.rng.choice(["201", "202", "203"]), callers.rng.choice([*NUMBERS])
        office.later(at, lambda extension=extension, number=number: callers.call(extension, number))
    for hour in (9, 10, 13, 17, 33):
        office.later(hour * 3_600_000 + callers.rng.randint(0, 1_800_000), lambda: office.kill_core(1500))

    def dearer() -> None:
        office.config = msgspec.structs.replace(office.config, tariffs=NEW)
        office.calls.configure(office.config, {})

    office.later(12 * 3_600_000, dearer)
    office.later(2 * DAY_MS - 3_600_000, lambda: callers.call("201", "92551234", sure=True))
    office.later(2 * DAY_MS - 3_580_000, lambda: office.cut_power(5000))
    office.run(2 * DAY_MS + 3_600_000)
    office.db.flush(60)
    yield office, callers
    office.close()


def price(note: Note) -> Decimal | None:
    """By hand, from the notes."""
    name = NUMBERS[note.number]
    if not name or note.cut:
        return None
    tariff = (NEW if note.ended >= 12 * 3_600_000 + 1000 else TARIFFS)[name]
    ms = max(1, note.ended - note.answered)
    units = ((Decimal(ms) - 1000 * tariff.included_s) / (1000 * tariff.unit_s)).to_integral_value(ROUND_CEILING)
    return Decimal(tariff.setup) + max(Decimal(0), units) * Decimal(tariff.price)


def noted(notes: list[Note]) -> dict[tuple[str, str], tuple[int, int, Decimal]]:
    """(kind, name) -> calls, of unknown cost, amount."""
    found: dict[tuple[str, str], tuple[int, int, Decimal]] = {}
    for note in notes:
        cost = price(note)
        for key in (("all", "*"), ("extension", note.extension), ("way", note.line)):
            calls, unknown, amount = found.get(key, (0, 0, Decimal(0)))
            found[key] = (calls + 1, unknown + (cost is None), amount + (cost or 0))
    return found


def reported(report: Report) -> dict[tuple[str, str], tuple[int, int, Decimal]]:
    rows = [*csv.reader(as_csv(report).splitlines())]
    found: dict[tuple[str, str], tuple[int, int, Decimal]] = {}
    for kind in ("all", "extension", "way"):
        mine: dict[str, dict[str, str]] = {}
        for section, name, metric, value in rows:
            if section == f"cost-{kind}":
                mine.setdefault(name, {})[metric] = value
        for name, one in mine.items():
            assert ("cost_CNY" in one) != ("cost" in one), "an amount, or unknown; never 0 in its place"
            assert one.get("cost", "unknown") == "unknown"
            found[kind, name] = (int(one["calls"]), int(one["unknown"]), Decimal(one.get("cost_CNY", "0")))
    return found


def test_reports_agree_with_the_notes_of_those_who_called_to_the_coin(lived: tuple[Office, Callers]) -> None:
    office, callers = lived
    talked = [one for one in callers.notes if one.answered >= 0]
    assert len(talked) > 60 and len([one for one in talked if price(one) is None]) > 10 and sum(one.cut for one in talked) == 1
    base, of_day = office.clock.wall_ms() - office.clock.now(), []
    for day in (0, 1):
        date = (BEGINS + timedelta(days=day)).date()
        mine = [one for one in talked if datetime.fromtimestamp((one.begun + base) / 1000, ZONE).date() == date]
        assert reported(office.reports.day(date)) == noted(mine)
        of_day.append((date.isoformat(), len(mine)))
    month = office.reports.month(BEGINS.date().replace(day=1))
    assert reported(month) == noted(talked)
    assert [(one.name, one.calls) for one in month.costs] == of_day
    assert [one.name for one in office.reports.year(2026).costs] == ["2026-03"]


def test_another_tariff_and_a_count_anew_change_no_report_of_what_is_over(lived: tuple[Office, Callers]) -> None:
    office, _ = lived
    day = BEGINS.date()
    before = as_csv(office.reports.day(day))
    office.db.execute("DELETE FROM report_days", ())
    office.db.flush(10)
    office.reports.configure(site({"local": Tariff(price="99")}))
    assert as_csv(office.reports.day(day)) == before
    office.reports.configure(site())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_tells_them_with_their_definitions_and_nothing_of_people_where_they_are_hidden(
    lived: tuple[Office, Callers], language: str
) -> None:
    office, _ = lived
    at = LANGUAGES.index(language)
    for report in (office.reports.day(BEGINS.date()), office.reports.month(BEGINS.date().replace(day=1)), office.reports.year(2026)):
        lines = page(report, language)
        section = lines[lines.index(TEXTS["section.costs"][at]) :]
        assert section[3].startswith("201") and section[3].split()[4] == "CNY" and max(width(text) for text in lines) <= 78
        whole = "\n".join(lines)
        assert TEXTS["unknown"][at] in whole and all(one[1 + at] in whole for one in MORE_DEFINITIONS if one[0] == "costs")
        hidden = page(msgspec.structs.replace(report, people=False), language)
        shown = hidden[hidden.index(TEXTS["section.costs"][at]) :]
        assert shown[3].startswith("line/1") and not any(text.startswith("201") for text in hidden)
        assert "cost-extension" not in as_csv(msgspec.structs.replace(report, people=False))
        single = msgspec.structs.replace(report, tally=only(report.tally, "sales"), queue="sales")
        assert TEXTS["section.costs"][at] not in page(single, language)


def span(*told: dict[str, Any], kind: str = "outbound", **facts: Any) -> Span:
    """One call of telephone 201 to outside of which the history has told these lines."""
    row = {"id": "A", "kind": kind, "opened_ms": 0, "answered_ms": 900, "connected_ms": 900, "ended_ms": 61_000, "caller": "201",
           "line": "line/1", "extension": "201", "queue": "", "talk_ms": 60_000, "cause": "normal", "evidence": "bye", "first_to_leave": "",
           "rings": 0, "ring_ms": 0, "seat_alert_ms": 0} | facts  # fmt: skip
    leg = {"id": "L2", "contact": "A", "kind": "fxo", "endpoint": "line/1", "role": "called", "incoming": False, "agent": "",
           "started_ms": 0, "ringing_ms": None, "answered_ms": 1000, "ended_ms": 61_000, "cause": "normal", "mos": None, "by_far": False,
           "evidence": ""}  # fmt: skip
    lines = [{"contact": "A", "kind": "cost", "leg": "L2", "data": json.dumps(one)} for one in told]
    return Span(0, 3_600_000, [row], [leg], [], [], lines)


TOLD = {"by": "202", "way": "line/1", "tariff": "local", "ms": 60_000, "amount": "0.33", "currency": "CNY", "estimated": False}


def counted(one: Span) -> Tally:
    return count(one, lambda at: 0, Limits())


def test_who_pays_is_in_the_history_and_not_who_dialled() -> None:
    tally = counted(span(TOLD | {"account": "anna", "estimated": True}))
    (extension,), (account,), (way,) = (fig.costs(tally, kind) for kind in ("extension", "account", "way"))
    assert (extension.name, account.name, way.name) == ("202", "anna", "line/1")
    assert (extension.calls, extension.talk_s, extension.estimated, extension.unknown) == (1, 60.0, 1, 0)
    assert extension.amounts == {"CNY": 330_000}


def test_a_call_of_which_nothing_was_written_is_not_known_and_an_emergency_call_is_not_there() -> None:
    tally = counted(span())
    assert not fig.priced(tally) and fig.cost(tally, "costs", "").unknown == 1
    assert TEXTS["section.costs"][0] not in page(Report("B", "day", "d", tally, Limits(), fig.Plan()), "en"), "the site has no tariffs"
    tally.merge(counted(span(TOLD)))
    whole = fig.cost(tally, "costs", "")
    assert (whole.calls, whole.unknown, whole.amounts) == (2, 1, {"CNY": 330_000})
    for one in (span(TOLD | {"amount": "emergency"}), span(kind="emergency")):
        assert fig.cost(counted(one), "costs", "").calls == 0
    cut = span(evidence="adoption")
    cut.legs.clear()
    assert fig.cost(counted(cut), "costs", "").unknown == 1, "power was cut: its legs were not written"


def test_two_currencies_are_never_added() -> None:
    tally = counted(span(TOLD))
    tally.merge(counted(span(TOLD | {"currency": "EUR", "amount": "1.005"})))
    whole = Report("B", "day", "d", tally, Limits(), fig.Plan())
    assert "0.33 CNY + 1.01 EUR" in "\n".join(page(whole, "en"))
    rows = Counter(tuple(row[:4]) for row in csv.reader(as_csv(whole).splitlines()))
    assert rows["cost-all", "*", "cost_CNY", "0.33"] == rows["cost-all", "*", "cost_EUR", "1.005"] == 1
