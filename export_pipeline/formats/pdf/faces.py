"""The bundled font faces: the code points each covers, its metrics, its outlines.

A face is opened at the first character of its scripts and then kept for the process, so an export in Latin
script never reads the CJK faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import uharfbuzz as hb
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from numpy.typing import NDArray

EM = 1000
"""Units per em for all measures in this package, and for the fonts it embeds."""

FOLDER = Path(__file__).parent / "fonts"

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A glyph's contours in EM units: points (n, 2), on-curve flags (n), last point of each contour."""

    points: NDArray[np.float64]
    on_curve: NDArray[np.uint8]
    ends: NDArray[np.int64]


class Face:
    """One font file. Widths are in EM units whatever the file's own scale."""

    def __init__(self, name: str) -> None:
        self.name = name
        face = hb.Face(hb.Blob.from_file_path(str(FOLDER / f"{name}.ttf")))
        self.shaper: Any = hb.Font(face)
        self.scale: float = EM / face.upem

    def glyph(self, codepoint: int) -> int | None:
        """Return the glyph of a single code point; None if the face has none."""
        glyph: int | None = self.shaper.get_nominal_glyph(codepoint)
        return glyph or None

    def advance(self, glyph: int) -> int:
        """Return a glyph's advance width."""
        width: int = self.shaper.get_glyph_h_advance(glyph)
        return round(width * self.scale)

    @cached_property
    def _table(self) -> Any:
        font = TTFont(FOLDER / f"{self.name}.ttf", lazy=True)
        table = newTable("glyf")
        table.glyphs = _Glyphs(font.reader["glyf"], font["loca"])
        # Glyphs are looked up by number; to find their real names takes longer than to draw them.
        table.glyphOrder = [f"{number}" for number in range(font["maxp"].numGlyphs)]
        return table

    def outline(self, glyph: int) -> Outline:
        """Return a glyph's contours, with composites resolved."""
        points, ends, flags = self._table[f"{glyph}"].getCoordinates(self._table)[:3]
        return Outline(
            np.array(points, np.float64).reshape(-1, 2) * self.scale,
            np.array(flags, np.uint8) & np.uint8(1),
            np.array(ends, np.int64),
        )


class _Glyphs(dict[str, Glyph]):
    """A face's glyphs by number, created on demand: a document needs few of tens of thousands."""

    def __init__(self, data: bytes, places: Sequence[int]) -> None:
        self._data = data
        self._places = places

    def __missing__(self, name: str) -> Glyph:
        number = int(name)
        glyph = self[name] = Glyph(self._data[self._places[number] : self._places[number + 1]])
        return glyph


@cache
def face(name: str) -> Face:
    """Return the face of a bundled file (name without ".ttf"), opened once."""
    return Face(name)


_BOLD = frozenset(
    f"NotoSans{script}" for script in ("", "Hebrew", "Arabic", "Devanagari", "Thai", "Armenian", "Georgian")
)

_INDIC_MARKS = ((0x0951, 0x0954), (0x0964, 0x0965), (0x1CD0, 0x1CFF), (0xA830, 0xA839))

_SERVES: tuple[tuple[str, Ranges], ...] = (
    ("NotoSansArabic", ((0x0600, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08FF), (0xFB50, 0xFEFE))),
    ("NotoSansHebrew", ((0x0590, 0x05FF), (0xFB1D, 0xFB4F))),
    ("NotoSansSyriac", ((0x0700, 0x074F), (0x0860, 0x086F))),
    ("NotoSansThaana", ((0x0780, 0x07BF),)),
    ("NotoSansNKo", ((0x07C0, 0x07FF),)),
    ("NotoSansAdlam", ((0x1E900, 0x1E95F),)),
    ("NotoSansDevanagari", ((0x0900, 0x097F), (0xA8E0, 0xA8FF), *_INDIC_MARKS)),
    ("NotoSansBengali", ((0x0980, 0x09FF),)),
    ("NotoSansGurmukhi", ((0x0A00, 0x0A7F),)),
    ("NotoSansGujarati", ((0x0A80, 0x0AFF),)),
    ("NotoSansOriya", ((0x0B00, 0x0B7F),)),
    ("NotoSansTamil", ((0x0B80, 0x0BFF), (0x11300, 0x1133F))),
    ("NotoSansTelugu", ((0x0C00, 0x0C7F),)),
    ("NotoSansKannada", ((0x0C80, 0x0CFF),)),
    ("NotoSansMalayalam", ((0x0D00, 0x0D7F),)),
    ("NotoSansSinhala", ((0x0D80, 0x0DFF), (0x111E0, 0x111FF))),
    ("NotoSansThai", ((0x0E00, 0x0E7F),)),
    ("NotoSansLao", ((0x0E80, 0x0EFF),)),
    ("NotoSansMyanmar", ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))),
    ("NotoSansKhmer", ((0x1780, 0x17FF), (0x19E0, 0x19FF))),
    ("NotoSansMongolian", ((0x1800, 0x18AF), (0x11660, 0x1167F))),
    ("NotoSansArmenian", ((0x0530, 0x058F), (0xFB13, 0xFB17))),
    ("NotoSansGeorgian", ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F))),
    ("NotoSansEthiopic", ((0x1200, 0x139F), (0x2D80, 0x2DDF), (0xAB00, 0xAB2F))),
    ("NotoSansCherokee", ((0x13A0, 0x13FF), (0xAB70, 0xABBF))),
    ("NotoSansCanadianAboriginal", ((0x1400, 0x167F), (0x18B0, 0x18FF))),
    ("NotoSansOgham", ((0x1680, 0x169F),)),
    ("NotoSansRunic", ((0x16A0, 0x16FF),)),
    ("NotoSansOlChiki", ((0x1C50, 0x1C7F),)),
    ("NotoSansTifinagh", ((0x2D30, 0x2D7F),)),
    ("NotoSansGothic", ((0x10330, 0x1034F),)),
    ("NanumSquare", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))),
    ("DroidSansFallbackFull", ((0x1100, 0x11FF), (0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0xFE10, 0xFFEF))),
    ("NotoEmoji", ((0x1F000, 0x1FAFF),)),
    ("NotoSansSymbols", ((0x2000, 0x2BFF), (0x1F100, 0x1F77F))),
    ("NotoSansSymbols2", ((0x2000, 0x2BFF), (0x4DC0, 0x4DFF), (0xFFF9, 0xFFFB), (0x10140, 0x1FBFF))),
    ("NotoSansMath", ((0x2000, 0x2BFF), (0x1D400, 0x1EEFF))),
    ("NotoEmoji", ((0x2000, 0x3299), (0xFE0E, 0xFE0F))),
    ("NanumSquare", ((0x2000, 0x33FF), (0x4E00, 0x9FFF))),
)
"""Faces by script in order of preference, tried after the face for Latin, Greek and Cyrillic."""


def _file(family: str, bold: bool) -> str:
    if family == "NanumSquare":
        return "NanumSquareB" if bold else "NanumSquareR"
    if family == "DroidSansFallbackFull":
        return family
    return f"{family}-Bold" if bold and family in _BOLD else f"{family}-Regular"


@lru_cache(maxsize=65_536)
def find(codepoint: int, bold: bool) -> tuple[Face, int] | None:
    """Return the face that prints a code point, and its glyph there; None if no bundled face can."""
    primary = face(_file("NotoSans", bold))
    glyph = primary.glyph(codepoint)
    if glyph is not None:
        return primary, glyph
    for family, ranges in _SERVES:
        if any(low <= codepoint <= high for low, high in ranges):
            candidate = face(_file(family, bold))
            glyph = candidate.glyph(codepoint)
            if glyph is not None:
                return candidate, glyph
    return None


def syllables(bold: bool) -> Face:
    """Return the face that has every Hangul syllable."""
    return face(_file("NanumSquare", bold))
