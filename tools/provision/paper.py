"""Pages to print, A4, as PDF or as pictures (host only: reportlab, which brings Pillow).

Theory of operation
-------------------
Both kinds of paper have the same few verbs, in points from the lower left corner, so that labels and reports are drawn once. Latin text is
set in Bitstream Vera, which reportlab brings; everything else in the first Chinese font found: `BRANCHPBX_FONT`, then the places where
Debian (package fonts-droid-fallback), Windows and macOS keep theirs. Into a PDF go the glyphs that are used, so that every reader and
printer shows the same. Without a font of this machine a PDF names one that most readers bring (STSong-Light), and a picture cannot be
made with such text: that is told, never drawn as boxes. Pictures have 300 dots an inch; the second page is NAME-2.png.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from .texts import told

MM = 72 / 25.4
PAGE = (210 * MM, 297 * MM)
DOTS = 300 / 72                 # a point on a picture
FONT, FONT_ZH, FONT_READER = "BranchVera", "BranchHan", "STSong-Light"
VARIABLE = "BRANCHPBX_FONT"
KNOWN = "装"                    # a font without it is none for us
PLACES = (
    "/usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf", "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "C:/Windows/Fonts/msyh.ttc", "C:/Windows/Fonts/simhei.ttf", "C:/Windows/Fonts/simsun.ttc", "C:/Windows/Fonts/Deng.ttf",
    "/System/Library/Fonts/STHeiti Light.ttc", "/System/Library/Fonts/Supplemental/Songti.ttc", "/Library/Fonts/Arial Unicode.ttf",
)  # fmt: skip


class Paper(Protocol):
    """What is drawn on."""

    def box(self, x: float, y: float, width: float, height: float) -> None:
        """A black rectangle."""

    def rule(self, x: float, y: float, length: float) -> None:
        """A thin line to write on."""

    def text(self, x: float, y: float, text: str, points: float) -> None:
        """One line of text. Raises ProvisionError where no font has it."""

    def width(self, text: str, points: float) -> float:
        """How wide it would be."""

    def page(self) -> None:
        """Begin the next page."""

    def save(self) -> list[Path]:
        """Write it; the files."""


def paper(target: Path) -> Paper:
    """Paper of the kind that the name asks for. Raises ProvisionError for another ending."""
    if target.suffix == ".pdf":
        return _Pdf(target)
    if target.suffix == ".png":
        return _Picture(target)
    raise told("ending", file=target, wanted=".pdf, .png")


@cache
def han_font() -> str:
    """File of the Chinese font; "" where there is none that can be used."""
    fonts = import_module("reportlab.pdfbase.ttfonts")
    for place in filter(None, (os.environ.get(VARIABLE, ""), *PLACES)):
        if Path(place).is_file():
            try:
                if ord(KNOWN) in fonts.TTFont("BranchTry", place).face.charToGlyph:
                    return place
            except fonts.TTFError:
                continue                        # of a form that cannot be embedded, or may not be
    return ""


def latin_font() -> str:
    """File of the other one."""
    return str(Path(str(import_module("reportlab").__file__)).parent / "fonts" / "Vera.ttf")


def runs(text: str) -> list[tuple[bool, str]]:
    """Pieces of a text: whether it is Latin, and the piece."""
    return [(latin, "".join(part)) for latin, part in groupby(text, lambda sign: ord(sign) < 0x250)]


class _Pdf:
    def __init__(self, target: Path) -> None:
        self._target = target
        self._metrics: Any = import_module("reportlab.pdfbase.pdfmetrics")
        fonts = import_module("reportlab.pdfbase.ttfonts")
        self._metrics.registerFont(fonts.TTFont(FONT, latin_font()))
        self._han = FONT_ZH if han_font() else FONT_READER
        readers = import_module("reportlab.pdfbase.cidfonts")
        self._metrics.registerFont(fonts.TTFont(FONT_ZH, han_font()) if han_font() else readers.UnicodeCIDFont(FONT_READER))
        self._canvas: Any = import_module("reportlab.pdfgen.canvas").Canvas(str(target), pagesize=PAGE)

    def box(self, x: float, y: float, width: float, height: float) -> None:
        self._canvas.rect(x, y, width, height, stroke=0, fill=1)

    def rule(self, x: float, y: float, length: float) -> None:
        self._canvas.line(x, y, x + length, y)

    def text(self, x: float, y: float, text: str, points: float) -> None:
        for latin, part in runs(text):
            name = FONT if latin else self._han
            self._canvas.setFont(name, points)
            self._canvas.drawString(x, y, part)
            x += self._metrics.stringWidth(part, name, points)

    def width(self, text: str, points: float) -> float:
        return float(sum(self._metrics.stringWidth(part, FONT if latin else self._han, points) for latin, part in runs(text)))

    def page(self) -> None:
        self._canvas.showPage()

    def save(self) -> list[Path]:
        self._canvas.save()
        return [self._target]


class _Picture:
    def __init__(self, target: Path) -> None:
        self._target = target
        self._image, self._drawing, self._font = (import_module(f"PIL.{name}") for name in ("Image", "ImageDraw", "ImageFont"))
        self._loaded: dict[tuple[bool, float], Any] = {}
        self._pages: list[Any] = []
        self.page()

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x * DOTS, (PAGE[1] - y) * DOTS

    def _face(self, latin: bool, points: float) -> Any:
        if (latin, points) not in self._loaded:
            place = latin_font() if latin else han_font()
            if not place:
                raise told("no-font", variable=VARIABLE)
            self._loaded[latin, points] = self._font.truetype(place, round(points * DOTS))
        return self._loaded[latin, points]

    def box(self, x: float, y: float, width: float, height: float) -> None:
        (left, bottom), (right, top) = self._at(x, y), self._at(x + width, y + height)
        self._draw.rectangle((round(left), round(top), max(round(left), round(right) - 1), max(round(top), round(bottom) - 1)), fill=0)

    def rule(self, x: float, y: float, length: float) -> None:
        self._draw.line((*self._at(x, y), *self._at(x + length, y)), fill=0, width=2)

    def text(self, x: float, y: float, text: str, points: float) -> None:
        for latin, part in runs(text):
            face = self._face(latin, points)
            self._draw.text(self._at(x, y), part, fill=0, font=face, anchor="ls")
            x += face.getlength(part) / DOTS

    def width(self, text: str, points: float) -> float:
        return float(sum(self._face(latin, points).getlength(part) for latin, part in runs(text)) / DOTS)

    def page(self) -> None:
        self._pages.append(self._image.new("1", (round(PAGE[0] * DOTS), round(PAGE[1] * DOTS)), 1))
        self._draw = self._drawing.Draw(self._pages[-1])

    def save(self) -> list[Path]:
        written = []
        for number, page in enumerate(self._pages, start=1):
            name = self._target if number == 1 else self._target.with_stem(f"{self._target.stem}-{number}")
            page.save(name, dpi=(300, 300))
            written.append(name)
        return written
