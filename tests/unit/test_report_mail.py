"""Reports by mail against a real mail server on loopback: once each, in time, again when the server is back; the yearly report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from firmware.app.mailer import Mailer
from firmware.app.office import Office
from firmware.app.report_mail import latest
from firmware.config.schema.reports import Reports
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.errors import PbxError
from firmware.reports.page import as_csv, page
from firmware.sim import week_plan as p
from firmware.sim.week_people import Crowd
from firmware.store.db import Database
from tests.unit.test_config_check import problems
from tests.unit.test_mail_delivery import Inbox, inbox, port_of, settings

ZONE = ZoneInfo("Asia/Shanghai")
__all__ = ["inbox"]                # the fixture


class Core:
    """Answers report commands and has no messages."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.alarms: list[str] = []

    async def __call__(self, path: str, **args: Any) -> Any:
        self.asked.append((path, args))
        if path == "voicemail outbox":
            return []
        if path == "voicemail alarm":
            self.alarms.append(args["text"])
            return {}
        assert path.startswith("report "), path
        label = next(value for key, value in args.items() if key != "form")
        lines = ["a;b", f"{path} {label};1"] if args.get("form") == "csv" else [f"Report {label}", "=====", "漢字"]
        return {"page_en": lines, "page_zh": lines}


class Bench:
    def __init__(self, folder: Path, port: int, **reports: Any) -> None:
        self.wall = datetime(2026, 3, 2, 6, 0, tzinfo=ZONE)
        self.core = Core()
        self.config = Config(site=Site(name="Branch"), mail=settings(port, give_up_h=1),
                             reports=Reports(**({"mail": ["boss@branch.example"], "mail_kinds": ["day"]} | reports)))  # fmt: skip
        self.db = Database(folder / "manage.db", "manage")
        self.mailer = Mailer(self.config, self.db, self.core, ZONE, lambda: round(self.wall.timestamp() * 1000))

    def at(self, *when: int) -> None:
        self.wall = datetime(*when, tzinfo=ZONE)  # type: ignore[arg-type]
        asyncio.run(self.mailer.work())


def subjects(box: Inbox) -> list[str]:
    return [str(mail["Subject"]) for mail in box.mails]


def test_the_report_of_the_day_before_comes_once_each_morning(inbox: Any, tmp_path: Path) -> None:
    box, server = inbox
    bench = Bench(tmp_path, port_of(server), mail=["boss@branch.example", "leader@branch.example"])
    bench.at(2026, 3, 2, 6, 30)
    assert subjects(box) == ["Branch: daily report 2026-03-01"] * 2
    assert {str(mail["To"]) for mail in box.mails} == {"boss@branch.example", "leader@branch.example"}
    for minute in (31, 45, 59):
        bench.at(2026, 3, 2, 6, minute)
    bench.at(2026, 3, 3, 6, 29)
    assert len(box.mails) == 2
    bench.at(2026, 3, 3, 6, 30)
    assert subjects(box)[2:] == ["Branch: daily report 2026-03-02"] * 2
    mail = box.mails[0]
    assert "漢字" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "report-2026-03-01.csv" and "report day 2026-03-01;1" in attached.get_content()
    bench.db.close()


def test_nothing_is_sent_again_after_a_restart(inbox: Any, tmp_path: Path) -> None:
    box, server = inbox
    bench = Bench(tmp_path, port_of(server))
    bench.at(2026, 3, 2, 6, 30)
    bench.db.close()
    again = Bench(tmp_path, port_of(server))
    again.at(2026, 3, 2, 6, 40)
    assert len(box.mails) == 1
    again.db.close()


def test_a_server_that_is_away_gets_it_later_and_one_that_refuses_it_for_good_is_an_alarm(inbox: Any, tmp_path: Path) -> None:
    box, server = inbox
    bench = Bench(tmp_path, port_of(server))
    box.answers = ["451 later", "451 later"]
    bench.at(2026, 3, 2, 6, 30)
    bench.at(2026, 3, 2, 6, 31)
    bench.at(2026, 3, 2, 6, 40)
    assert len(box.mails) == 1
    box.recipients = ["550 no such person"]
    for minute in (30, 31, 50):
        bench.at(2026, 3, 3, 6, minute)
    assert len(box.mails) == 1 and bench.core.alarms and "550" in bench.core.alarms[-1]
    bench.at(2026, 3, 4, 6, 30)
    assert subjects(box)[1:] == ["Branch: daily report 2026-03-03"]
    bench.db.close()


@pytest.mark.parametrize(("kind", "now", "due", "label"), [
    ("day", (2026, 3, 2, 6, 30), (2026, 3, 2, 6, 30), "2026-03-01"), ("day", (2026, 3, 2, 6, 29), (2026, 3, 1, 6, 30), "2026-02-28"),
    ("month", (2026, 3, 1, 6, 30), (2026, 3, 1, 6, 30), "2026-02"), ("month", (2026, 3, 1, 6, 29), (2026, 2, 1, 6, 30), "2026-01"),
    ("month", (2026, 1, 1, 6, 0), (2025, 12, 1, 6, 30), "2025-11"), ("month", (2026, 3, 31, 12, 0), (2026, 3, 1, 6, 30), "2026-02"),
    ("year", (2026, 1, 1, 6, 30), (2026, 1, 1, 6, 30), "2025"), ("year", (2026, 1, 1, 6, 29), (2025, 1, 1, 6, 30), "2024"),
])  # fmt: skip
def test_which_report_is_due(kind: str, now: tuple[int, ...], due: tuple[int, ...], label: str) -> None:
    local = datetime(*now, tzinfo=ZONE)  # type: ignore[misc,arg-type]
    assert latest(kind, local, "06:30") == (datetime(*due, tzinfo=ZONE), label)  # type: ignore[misc,arg-type]


def test_addresses_without_a_server_are_told() -> None:
    (found,) = problems('schema = 1\n[reports]\nmail = ["a@b.example"]\n')
    assert found.path == "reports.mail" and "mail.host" in found.remedy


# --- the yearly report ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    plan = p.plan(5, 90, 2)
    crowd = Crowd(p.Plan(5, 2, plan.calls, plan.shifts, []))
    made = Office(tmp_path_factory.mktemp("year"), p.config(), p.BEGINS, crowd)
    crowd.live(made)
    made.run(2 * p.DAY_MS + 3_600_000)
    made.db.flush(60)
    yield made
    made.close()


def test_a_year_is_the_sum_of_its_months(office: Office) -> None:
    month, year = office.reports.month(p.BEGINS.date().replace(day=1)), office.reports.year(2026)
    assert year.tally.sums == month.tally.sums and year.number_of_days == month.number_of_days == 2
    assert [one.name for one in year.days] == ["2026-03"] and year.days[0].offered == sum(one.offered for one in month.days) > 20
    for language, title, table in (("en", "Yearly report 2026", "By month"), ("zh", "年报 2026", "按月")):
        text = "\n".join(page(year, language))
        assert title in text and table in text and "2026-03 " in text
    assert any(line.startswith("month,2026-03,") for line in as_csv(year).splitlines())


def test_one_queue_of_a_year_and_a_year_that_has_not_begun(office: Office) -> None:
    only = office.reports.year(2026, "sales")
    assert 0 < only.days[0].offered < office.reports.year(2026).days[0].offered
    assert office.reports.year(2025).days == []
    with pytest.raises(PbxError, match="has not begun"):
        office.reports.year(2027)
