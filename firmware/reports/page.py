"""A report as people read it in a terminal or a letter, 78 columns wide, and as CSV (L1, pure)."""

from __future__ import annotations

import msgspec

from firmware.call.money import exact, shown
from firmware.reports import figures as fig
from firmware.reports.columns import COLUMNS, fold, pad, table, width
from firmware.reports.tally import Limits, Tally, end_of_ring
from firmware.reports.texts import cause, definitions, text

#: Width of the classes of seconds in which the text lists who gave up; the CSV has every second.
LEFT_CLASSES = (5, 10, 20, 30, 60, 120, 180, 300)


class Report(msgspec.Struct, frozen=True):
    """All that a report is made of. `kind` "day", "month" or "year"; `until`: local time of a span that goes on, "" where it is over;
    `days`: figures over all queues of each day of a month, each month of a year, and `costs` of those; `queue`: only this one."""

    name: str
    kind: str
    label: str
    tally: Tally
    limits: Limits
    plan: fig.Plan
    until: str = ""
    queue: str = ""
    people: bool = True
    days: list[fig.QueueFigures] = []
    number_of_days: int = 1
    costs: list[fig.CostFigures] = []

    def values(self) -> dict[str, object]:
        """What the definitions name."""
        limits, plan = self.limits, self.plan
        return {
            "t": limits.within_ms // 1000, "s": limits.short_ms // 1000, "r": limits.rings,
            "e": f"{end_of_ring(limits.rings, limits) / 1000:g}",
            "o": round(100 * plan.occupancy), "h": round(100 * plan.shrinkage), "g": round(100 * plan.level),
        }  # fmt: skip


def percent(value: float | None) -> str:
    """A share as text, "-" for none."""
    return "-" if value is None else f"{100 * value:.1f}%"


def span(value: float | None) -> str:
    """Seconds as text: 12.3 s below two minutes, else m:ss or h:mm:ss."""
    if value is None:
        return "-"
    if value < 120:
        return f"{value:.1f}s"
    whole = round(value)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"


def decibel(value: float | None) -> str:
    """A level as text, "-" for none."""
    return "-" if value is None else f"{value:.0f}"


def only(tally: Tally, queue: str) -> Tally:
    """The part of a tally that concerns one queue."""
    keep = {f"{kind}/{queue}" for kind in ("queue", "left", "speech/queue", "rated/queue", "callbacks")}

    def ours(group: str) -> bool:
        return group in keep or group.startswith(f"hours/{queue}/")

    return Tally({g: v for g, v in tally.sums.items() if ours(g)}, {g: v for g, v in tally.peaks.items() if ours(g)})


def page(report: Report, language: str) -> list[str]:
    """The report as lines."""

    def say(name: str, **values: object) -> str:
        return text(name, language, **values)

    head = f"{say(f'report.{report.kind}')} {report.label} · {report.name}"
    lines = [head, "=" * min(COLUMNS, width(head))]
    if report.queue:
        lines.append(say("report.only", queue=report.queue))
    if report.until:
        lines.append(say("report.until" if report.kind == "day" else f"report.until.{report.kind}", at=report.until))
    if report.kind in ("month", "year"):
        lines.append(say("report.days", n=report.number_of_days))
    for title, body in _sections(report, language):
        if body:
            lines += ["", say(f"section.{title}"), *body]
    if not any(report.tally.sums.values()):
        lines += ["", say("nobody")]
    return lines


def _sections(report: Report, language: str) -> list[tuple[str, list[str]]]:
    tally, whole = report.tally, not report.queue
    people = report.people and whole
    return [
        ("branch", _branch(report, language) if whole else []),
        ("queues", _queues(report, language)),
        ("agents", (_agents(tally, language) if people else [text("no.people", language)] if whole and not report.people else [])),
        ("ratings", _ratings(tally, language, people=people)),
        ("callbacks", _callbacks(tally, language)),
        ("speech", _speech(report, language, people=people)),
        ("pauses", _pauses(tally, language) if people else []),
        ("months" if report.kind == "year" else "days", _days(report, language)),
        ("hours", _hours(report, language)),
        ("lines", _lines(tally, language) if whole else []),
        ("costs", _costs(report, language, people=people) if whole else []),
        ("rings", _rings(tally, language) if whole else []),
        ("left", _left(tally, language)),
        ("first", _first(tally, language) if whole else []),
        ("causes", _causes(tally, language) if whole else []),
        ("definitions", _definitions(report, language)),
    ]


def _titles(language: str, *names: str) -> list[str]:
    return [text(f"col.{name}", language) for name in names]


def _branch(report: Report, language: str) -> list[str]:
    found, rings = fig.branch(report.tally), report.limits.rings
    rows = [
        (name, str(getattr(found, name)))
        for name in ("contacts", "inbound", "outbound", "internal", "emergency", "picked_up", "gave_up_ringing", "talked")
    ]
    rows += [("in_time", percent(found.in_time)), ("ring_s", span(found.ring_s))]
    rows += [("seat_in_time", percent(found.seat_in_time)), ("seat_ring_s", span(found.seat_ring_s))]
    names = [text(name, language, rings=rings) for name, _ in rows]
    size = max(width(name) for name in names)
    return [f"{pad(name, size)}  {pad(value, 8, right=True)}" for name, (_, value) in zip(names, rows, strict=True)]


def _queues(report: Report, language: str) -> list[str]:
    """What became of the callers, then how long it took: two tables, so that both fit a terminal."""
    found = fig.queues(report.tally)
    if not found:
        return []
    named = [(one.name, one) for one in found]
    if len(found) > 1:
        named.append((text("total", language), fig.total(report.tally)))
    counts = [
        [name, str(one.offered), str(one.answered), str(one.abandoned), str(one.short),
         str(one.timed_out + one.no_agent + one.full + one.by_key), str(one.cut), str(one.pickups)]
        for name, one in named
    ]  # fmt: skip
    times = [
        [name, percent(one.service_level), percent(one.service_answered), percent(one.service_inside), percent(one.abandon_rate),
         span(one.asa_s), span(one.longest_s), span(one.aht_s)]
        for name, one in named
    ]  # fmt: skip
    return [
        *table(_titles(language, "queue", "offered", "answered", "abandoned", "short", "overflow", "cut", "pickups"), counts),
        "",
        *table(_titles(language, "queue", "sl", "sl_answered", "sl_inside", "rate", "asa", "longest", "aht"), times),
    ]


def _agents(tally: Tally, language: str) -> list[str]:
    """What became of their telephones' rings, then where the time went: two tables, so that a month of hours fits, too."""
    found = fig.agents(tally)
    counts = [[one.agent, str(one.offers), str(one.answered), str(one.missed), str(one.dropped)] for one in found]
    times = [
        [one.agent, span(one.talk_s), span(one.wrap_s), span(one.ready_s), span(one.paused_s), span(one.aht_s), percent(one.occupancy)]
        for one in found
    ]
    if not found:
        return []
    return [
        *table(_titles(language, "agent", "offers", "answered", "missed", "gone"), counts),
        "",
        *table(_titles(language, "agent", "talk", "wrap", "ready", "paused", "aht", "occupancy"), times),
    ]


def _ratings(tally: Tally, language: str, *, people: bool) -> list[str]:
    lines: list[str] = []
    for kind in ("queue", "agent") if people else ("queue",):
        rows = [
            [one.name, str(one.satisfied), str(one.fair), str(one.unsatisfied),
             "-" if one.score is None else f"{one.score:.1f} ({one.scores})", str(one.solved), str(one.unsolved)]
            for one in fig.ratings(tally, kind)
        ]  # fmt: skip
        titles = _titles(language, kind, "satisfied", "fair", "unsatisfied", "score", "solved", "unsolved")
        lines += [*([""] if lines and rows else []), *(table(titles, rows) if rows else [])]
    return lines


def _callbacks(tally: Tally, language: str) -> list[str]:
    rows = [
        [one.name, str(one.asked), str(one.reached), str(one.lost), str(one.cancelled), str(one.kept), str(one.late)]
        for one in fig.callbacks(tally)
    ]
    return table(_titles(language, "queue", "asked", "reached", "lost", "cancelled", "kept", "broken"), rows) if rows else []


def _speech(report: Report, language: str, *, people: bool) -> list[str]:
    """How people spoke, by queue and, where single people may be shown, by agent."""
    lines: list[str] = []
    for kind in ("queue", "agent") if people else ("queue",):
        rows = [
            [one.name, str(one.measured), span(one.first_s), str(one.late), str(one.interruptions), str(one.dead),
             span(one.dead_longest_s) if one.dead else "-", percent(one.share), decibel(one.agent_dbm0), decibel(one.caller_dbm0)]
            for one in fig.speech(report.tally, kind)
        ]  # fmt: skip
        titles = _titles(
            language, kind, "measured", "first", "late", "interruptions", "dead", "dead_longest", "share", "level", "caller_level"
        )
        lines += [*([""] if lines and rows else []), *(table(titles, rows) if rows else [])]
    return lines


def _pauses(tally: Tally, language: str) -> list[str]:
    rows = [[one.agent, reason, span(seconds)] for one in fig.agents(tally) for reason, seconds in one.reasons.items()]
    return table(_titles(language, "agent", "reason", "time"), rows, left=2) if rows else []


def _days(report: Report, language: str) -> list[str]:
    rows = [[one.name, str(one.offered), str(one.answered), str(one.abandoned), percent(one.service_level), percent(one.abandon_rate),
             span(one.asa_s), span(one.longest_s)] for one in report.days]  # fmt: skip
    first = "month" if report.kind == "year" else "day"
    return table(_titles(language, first, "offered", "answered", "abandoned", "sl", "rate", "asa", "longest"), rows) if rows else []


def _hours(report: Report, language: str) -> list[str]:
    rows = [
        [f"{one.hour}:00", str(one.inbound), str(one.offered), str(one.answered), str(one.abandoned), percent(one.service_level),
         span(one.asa_s), str(one.seats), str(one.rostered)]
        for one in fig.hours(report.tally, report.number_of_days, report.plan)
    ]  # fmt: skip
    titles = _titles(language, "hour", "calls", "offered", "answered", "abandoned", "sl", "asa", "seats", "rostered")
    return table(titles, rows) if rows else []


def _lines(tally: Tally, language: str) -> list[str]:
    rows = [
        [one.line, str(one.calls), str(one.inbound), str(one.outbound), span(one.talk_s), str(one.faults), str(one.failed_seizures),
         "-" if one.grade is None else f"{one.grade:.2f}", "-" if one.worst_grade is None else f"{one.worst_grade:.2f}"]
        for one in fig.lines(tally)
    ]  # fmt: skip
    titles = _titles(language, "line", "calls", "in", "out", "talk", "faults", "failed", "grade", "worst")
    return table(titles, rows) if rows else []


def _costs(report: Report, language: str, *, people: bool) -> list[str]:
    """What calls to outside cost: by telephone and account where single people may be shown, by line and trunk, by day or month."""
    tally, whole = report.tally, [fig.cost(report.tally, "costs", text("total", language))]
    if not fig.priced(tally):
        return []
    when = "month" if report.kind == "year" else "day"
    parts = [(kind, fig.costs(tally, kind)) for kind in (("extension", "account", "way") if people else ("way",))]
    lines: list[str] = []
    for kind, found in [*parts, (when, report.costs)]:
        rows = [
            [one.name, str(one.calls), span(one.talk_s), money(one, language), str(one.estimated), str(one.unknown)]
            for one in [*found, *(whole if kind == "way" else [])]
        ]
        if found:
            lines += [*([""] if lines else []), *table(_titles(language, kind, "calls_out", "talk", "cost", "estimated", "unknown"), rows)]
    return lines


def money(one: fig.CostFigures, language: str) -> str:
    """What is known of a cost, never 0 where nothing is."""
    if not one.amounts:
        return text("unknown", language)
    return " + ".join(shown(amount, currency) for currency, amount in one.amounts.items())


def _rings(tally: Tally, language: str) -> list[str]:
    picked, missed = tally.sums.get("rings", {}), tally.sums.get("missed-ring", {})
    numbers = sorted({int(name) for name in (*picked, *missed)})
    rows = [[str(n), str(picked.get(str(n), 0)), str(missed.get(str(n), 0))] for n in numbers]
    return table(_titles(language, "rings", "picked", "left"), rows) if rows else []


def _left(tally: Tally, language: str) -> list[str]:
    seconds = fig.left_by_second(tally)
    if not seconds:
        return []
    rows, floor = [], 0
    most = 0
    classes: list[tuple[str, int]] = []
    for limit in (*LEFT_CLASSES, 0):
        number = sum(n for second, n in seconds.items() if second >= floor and (not limit or second < limit))
        classes.append((f"{floor}-{limit - 1}" if limit else f"{floor}+", number))
        most, floor = max(most, number), limit
    for name, number in classes:
        rows.append([name, str(number), "#" * (max(1, round(30 * number / most)) if number else 0)])
    titles = _titles(language, "seconds", "number")
    size = max(width(titles[0]), *(len(name) for name, _, _ in rows))
    return [
        f"{pad(titles[0], size)}  {titles[1]}",
        *(f"{pad(name, size)}  {pad(number, width(titles[1]), right=True)}  {bar}".rstrip() for name, number, bar in rows),
    ]


def _first(tally: Tally, language: str) -> list[str]:
    rows = [
        [text(f"who.{who}", language) if f"who.{who}" in _WHO else who, evidence or "-", str(n)]
        for who, evidence, n in fig.first_to_leave(tally)
    ]
    return table(_titles(language, "who", "evidence", "number"), rows, left=2) if rows else []


_WHO = {"who.caller", "who.agent", "who.system", "who.unknown"}


def _causes(tally: Tally, language: str) -> list[str]:
    found = sorted(tally.sums.get("cause", {}).items(), key=lambda one: (-one[1], one[0]))
    return table(_titles(language, "cause", "number"), [[cause(name, language), str(n)] for name, n in found]) if found else []


def _definitions(report: Report, language: str) -> list[str]:
    rows = definitions(language, report.values(), _parts(report.tally))
    size = max(width(name) for name, _ in rows)
    lines = []
    for name, meaning in rows:
        for at, row in enumerate(fold(meaning, COLUMNS - size - 2)):
            lines.append(f"{pad(name if at == 0 else '', size)}  {row}".rstrip())
    return lines


def _parts(tally: Tally) -> list[str]:
    """Parts of `texts.MORE_DEFINITIONS` that this report has."""
    kinds = {"ratings": "rated/queue", "callbacks": "callbacks", "speech": "speech/queue"}
    return [name for name, kind in kinds.items() if tally.names(kind)] + (["costs"] if fig.priced(tally) else [])


# --- CSV --------------------------------------------------------------------------------------------------------------


class _Lines(list[str]):
    """What the CSV writer writes to."""

    def write(self, line: str) -> None:
        self.append(line)


def as_csv(report: Report) -> str:
    """One figure a row: section, name, metric, value; then the definitions. Shares 0..1, times in seconds; empty: nothing to divide."""
    import csv  # for exports alone: core reports every day without it

    out = _Lines()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("section", "name", "metric", "value"))
    writer.writerow(("report", report.label, "kind", report.kind))
    writer.writerow(("report", report.label, "until", report.until))

    def rows(section: str, name: str, one: msgspec.Struct, *skip: str) -> None:
        for metric, value in msgspec.to_builtins(one).items():
            if metric not in skip:
                writer.writerow(
                    (section, _safe(name), metric, "" if value is None else round(value, 6) if isinstance(value, float) else value)
                )

    tally = report.tally
    if not report.queue:
        rows("branch", "", fig.branch(tally))
    for queue in fig.queues(tally):
        rows("queue", queue.name, queue, "name")
    rows("queue", "*", fig.total(tally), "name")
    if report.people and not report.queue:
        for agent in fig.agents(tally):
            rows("agent", agent.agent, agent, "agent", "reasons")
            for reason, seconds in agent.reasons.items():
                writer.writerow(("pause", _safe(agent.agent), _safe(reason), round(seconds, 3)))
    for kind in ("queue", "agent") if report.people and not report.queue else ("queue",):
        for rated in fig.ratings(tally, kind):
            rows(f"rating-{kind}", rated.name, rated, "name")
        for spoken in fig.speech(tally, kind):
            rows(f"speech-{kind}", spoken.name, spoken, "name")
    for back in fig.callbacks(tally):
        rows("callbacks", back.name, back, "name")
    for day in report.days:
        rows("month" if report.kind == "year" else "day", day.name, day, "name")
    for hour in fig.hours(tally, report.number_of_days, report.plan):
        rows("hour", hour.hour, hour, "hour")
    for line in fig.lines(tally):
        rows("line", line.line, line, "line")
    parts = ("extension", "account", "way") if report.people else ("way",)
    priced = [(kind, one) for kind in parts for one in fig.costs(tally, kind)] if fig.priced(tally) else []
    if priced:
        priced.append(("all", fig.cost(tally, "costs", "*")))
        priced += [("month" if report.kind == "year" else "day", one) for one in report.costs]
    for kind, price in priced:
        rows(f"cost-{kind}", price.name, price, "name", "amounts")
        for currency, amount in price.amounts.items() or [("", 0)]:
            writer.writerow((f"cost-{kind}", _safe(price.name), f"cost_{currency}" if currency else "cost",
                             exact(amount, currency) if currency else "unknown"))  # fmt: skip
    for group in ("rings", "missed-ring", "cause"):
        for name, number in sorted(tally.sums.get(group, {}).items()):
            writer.writerow((group, _safe(name), "number", number))
    for second, number in fig.left_by_second(tally).items():
        writer.writerow(("left-at-second", second, "number", number))
    for who, evidence, number in fig.first_to_leave(tally):
        writer.writerow(("first-to-leave", _safe(who), _safe(evidence), number))
    for name, meaning in definitions("en", report.values(), _parts(tally)):
        writer.writerow(("definition", name, "text", meaning))
    return "".join(out)


def _safe(value: str) -> str:
    """A name that a spreadsheet would take for a formula is marked as text."""
    return "'" + value if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
