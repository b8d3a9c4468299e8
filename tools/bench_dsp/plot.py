"""Line pictures as small SVG files, legible on light and dark pages: a white card, six colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .report import Curve, Plot

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 64, 46
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5cc0", "#8c6d1f", "#555555", "#56b4e9")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MOST_POINTS = 360


def nice_step(span: float, parts: int) -> float:
    """A step of 1, 2, 2.5 or 5 times a power of ten that cuts `span` into about `parts`."""
    rough = span / max(parts, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if power * m >= rough * 0.999)


def ticks(low: float, high: float, parts: int) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    if high <= low:
        high = low + 1.0
    step = nice_step(high - low, parts)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def number(value: float) -> str:
    """Without a needless fraction or a minus before zero."""
    return f"{value + 0.0:.10g}" if abs(value) > 1e-9 else "0"


def thin(curve: Curve) -> tuple[Sequence[float], Sequence[float]]:
    """At most MOST_POINTS points; of each run that is merged its least and its highest stay, so that peaks are seen."""
    pairs = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(pairs) <= MOST_POINTS:
        return [x for x, _ in pairs], [y for _, y in pairs]
    run = -(-len(pairs) // (MOST_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for at in range(0, len(pairs), run):
        some = pairs[at : at + run]
        kept += sorted({min(some, key=lambda p: p[1]), max(some, key=lambda p: p[1])})
    return [x for x, _ in kept], [y for _, y in kept]


def legend_places(labels: Sequence[str]) -> list[tuple[int, int]]:
    """(x, row) of each label; a row is as wide as the card."""
    places, x, row = [], LEFT, 0
    for label in labels:
        wide = 34 + int(6.7 * len(label)) + 16
        if x + wide > WIDTH and x > LEFT:
            x, row = LEFT, row + 1
        places.append((x, row))
        x += wide
    return places


def svg(plot: Plot) -> str:
    """The picture."""
    curves = [(curve.label, *thin(curve)) for curve in plot.curves]
    xs = [x for _, some, _ in curves for x in some] or [0.0, 1.0]
    ys = [y for _, _, some in curves for y in some] or [0.0, 1.0]
    places = legend_places([label for label, _, _ in curves])
    top = TOP + 18 * places[-1][1] if places else TOP
    x_ticks, y_ticks = ticks(min(xs), max(xs), 8), ticks(min(ys), max(ys), 6)
    x0, x1, y0, y1 = min(xs), max(xs), y_ticks[0], y_ticks[-1]
    x1 = x1 if x1 > x0 else x0 + 1.0

    def px(x: float) -> float:
        return LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - top - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
           'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>',
           f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(plot.title)}</text>']
    for (label, _, _), (left, row), number_of in zip(curves, places, range(len(curves)), strict=True):
        line = 44 + 18 * row
        out.append(f'<path d="M{left} {line - 4}h24" {stroke(number_of)}/><text x="{left + 30}" y="{line}">{escape(label)}</text>')
    for y in y_ticks:
        out.append(f'<path d="M{LEFT} {py(y):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 7}" y="{py(y) + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for x in x_ticks:
        if x0 <= x <= x1:
            out.append(f'<path d="M{px(x):.1f} {HEIGHT - BOTTOM}v5" stroke="#888"/>'
                       f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number(x)}</text>')
    out.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#888"/>')
    for number_of, (_, some_x, some_y) in enumerate(curves):
        points = " ".join(f"{px(x):.1f} {py(y):.1f}" for x, y in zip(some_x, some_y, strict=True))
        if len(some_x) > 1:
            out.append(f'<path d="M{points}" fill="none" stroke-linejoin="round" {stroke(number_of)}/>')
        if len(some_x) <= 24:
            colour = COLOURS[number_of % len(COLOURS)]
            out += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" fill="{colour}"/>' for x, y in zip(some_x, some_y, strict=True)]
    middle = (top + HEIGHT - BOTTOM) // 2
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) // 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(plot.x_label)}</text>')
    out.append(f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(plot.y_label)}</text>')
    return "\n".join([*out, "</svg>", ""])


def stroke(number_of: int) -> str:
    """Colour first, then dashes as well."""
    dash = DASHES[number_of // len(COLOURS) % len(DASHES)]
    return f'stroke="{COLOURS[number_of % len(COLOURS)]}" stroke-width="1.8"' + (f' stroke-dasharray="{dash}"' if dash else "")
