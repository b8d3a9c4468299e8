"""Charts of a report as one SVG file: calls by hour, service level by hour, who gave up in which second (L1, pure).

Plain SVG text: every browser and mail program shows it, and the device needs no drawing library. No script, no reference to outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from firmware.reports import figures as fig
from firmware.reports.page import Report
from firmware.reports.texts import text

WIDTH, CHART, LEFT, RIGHT = 760, 190, 46, 14
ANSWERED, ABANDONED, OTHER, LINE, GREY = "#2f7d4f", "#c4472e", "#b9b2a3", "#1f4e8c", "#77736a"
FONT = "font-family=\"'Noto Sans','Noto Sans CJK SC',sans-serif\""


def charts(report: Report, language: str) -> str:
    """The SVG document."""
    hours = fig.hours(report.tally, report.number_of_days, report.plan)
    title = f"{text(f'report.{report.kind}', language)} {report.label} · {report.name}" + (f" · {report.queue}" if report.queue else "")
    parts = [_text(LEFT, 26, title, 16, "#222", weight="bold")]
    parts += _stacked(
        50,
        text("chart.hours", language),
        [one.hour for one in hours],
        [
            (text("chart.answered", language), ANSWERED, [one.answered for one in hours]),
            (text("chart.abandoned", language), ABANDONED, [one.abandoned for one in hours]),
            (text("chart.other", language), OTHER, [max(0, one.offered - one.answered - one.abandoned) for one in hours]),
        ],
    )
    parts += _levels(
        50 + CHART + 50,
        text("chart.level", language),
        [(one.hour, one.service_level) for one in hours],
        report.plan.level,
        text("chart.target", language),
    )
    left = fig.left_by_second(report.tally)
    most = max(left, default=0)
    width = next((one for one in (1, 2, 5, 10, 15, 30, 60) if most // one < 40), 120)
    bins = [sum(n for second, n in left.items() if second // width == at) for at in range(most // width + 1)] if left else []
    parts += _stacked(
        50 + 2 * (CHART + 50),
        text("chart.left", language),
        [str(at * width) for at in range(len(bins))],
        [(text("chart.abandoned", language), ABANDONED, bins)],
    )
    height = 50 + 3 * (CHART + 50)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" {FONT}>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>' + "".join(parts) + "</svg>\n"
    )


def _text(x: float, y: float, what: str, size: int = 11, colour: str = GREY, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{escape(what)}</text>'
    )


def _axis(top: float, title: str, most: float, unit: str = "") -> list[str]:
    parts = [_text(LEFT, top + 12, title, 13, "#222", weight="bold")]
    for step in range(5):
        y = top + CHART - (CHART - 24) * step / 4
        value = most * step / 4
        parts.append(f'<line x1="{LEFT}" y1="{y:g}" x2="{WIDTH - RIGHT}" y2="{y:g}" stroke="#e4e0d8"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{value:g}{unit}", anchor="end"))
    return parts


def _nice(most: float) -> float:
    """The next round number that four steps divide."""
    scale = 4.0
    while scale < most:
        for factor in (2, 2.5, 2):
            scale *= factor
            if scale >= most and scale % 4 == 0:
                return scale
    return scale


def _stacked(top: float, title: str, names: Sequence[str], series: Sequence[tuple[str, str, Sequence[int]]]) -> list[str]:
    """Bars, one series on the other, with a legend where there are several."""
    most = _nice(max((sum(values[at] for _, _, values in series) for at in range(len(names))), default=0))
    parts = _axis(top, title, most)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    for at, name in enumerate(names):
        x, y = LEFT + step * at, top + CHART
        for label, colour, values in series:
            height = (CHART - 24) * values[at] / most
            y -= height
            if values[at]:
                parts.append(
                    f'<rect x="{x + step * 0.12:.1f}" y="{y:.1f}" width="{step * 0.76:.1f}" height="{height:.1f}" fill="{colour}">'
                    f"<title>{escape(name)}: {escape(label)} {values[at]}</title></rect>"
                )
        if len(names) <= 24 or at % 5 == 0:
            parts.append(_text(x + step / 2, top + CHART + 15, name, anchor="middle"))
    if len(series) > 1:
        x = WIDTH - RIGHT - 90.0 * len(series)
        for label, colour, _ in series:
            parts += [f'<rect x="{x:g}" y="{top + 3:g}" width="10" height="10" fill="{colour}"/>', _text(x + 14, top + 12, label)]
            x += 90
    return parts


def _levels(top: float, title: str, levels: Sequence[tuple[str, float | None]], target: float, target_name: str) -> list[str]:
    """Points joined by lines; an hour without calls leaves a gap."""
    parts = _axis(top, title, 100, "%")
    y = top + CHART - (CHART - 24) * target
    parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{ABANDONED}" stroke-dasharray="5 4"/>')
    parts.append(_text(WIDTH - RIGHT, y - 4, f"{target_name} {100 * target:g}%", colour=ABANDONED, anchor="end"))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(levels))
    last: tuple[float, float] | None = None
    for at, (name, value) in enumerate(levels):
        x = LEFT + step * (at + 0.5)
        parts.append(_text(x, top + CHART + 15, name, anchor="middle"))
        here = None if value is None else (x, top + CHART - (CHART - 24) * value)
        if here and last:
            parts.append(
                f'<line x1="{last[0]:.1f}" y1="{last[1]:.1f}" x2="{here[0]:.1f}" y2="{here[1]:.1f}" stroke="{LINE}" stroke-width="2"/>'
            )
        if here and value is not None:
            parts.append(
                f'<circle cx="{here[0]:.1f}" cy="{here[1]:.1f}" r="3.5" fill="{LINE}">'
                f"<title>{escape(name)}: {100 * value:.1f}%</title></circle>"
            )
        last = here
    return parts
