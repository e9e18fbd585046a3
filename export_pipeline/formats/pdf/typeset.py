"""Both weights of a document's font, and line layout of single strings: headings, headers, totals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from export_pipeline.formats.pdf.font import FLAWS, DocumentFont, hex_codes
from export_pipeline.formats.pdf.shaping import Shaper
from export_pipeline.formats.pdf.text import Glyphs, encode
from export_pipeline.formats.pdf.wrapping import Lines, wrap


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: its glyphs as hex digits, its width in page units, and whether it is right to left."""

    glyphs: bytes
    width: int
    rtl: bool = False


class Typesetter:
    """The fonts of one document. Flawed characters are counted in `changed` by (reason, where)."""

    def __init__(self) -> None:
        self.regular = DocumentFont("F1", bold=False)
        self.bold = DocumentFont("F2", bold=True)
        self._shapers = {False: Shaper(self.regular), True: Shaper(self.bold)}
        self.changed: Counter[tuple[str, str]] = Counter()

    def font(self, bold: bool) -> DocumentFont:
        """Return the font of a weight."""
        return self.bold if bold else self.regular

    def encode(self, strings: pa.Array, where: str | None, bold: bool = False) -> Glyphs:
        """Return the glyphs of a string array without nulls; count flaws for `where` unless it is None."""
        font = self.font(bold)
        glyphs = encode(font, self._shapers[bold], strings)
        if font.flawed and where is not None:
            self._count(font, glyphs, where)
        return glyphs

    def wrap(self, glyphs: Glyphs, size: int, width: int, bold: bool = False) -> Lines:
        """Break cells into lines no wider than `width` page units at a font size."""
        return wrap(self.font(bold), glyphs, max(1, width * 1000 // size))

    def lines(
        self, text: str, size: int, width: int, where: str | None = None, bold: bool = False
    ) -> list[Line]:
        """Return the lines of one string, broken at `width` page units; count flaws for `where`, if given."""
        font = self.font(bold)
        if text.isascii() and text.isprintable():
            cids = font.cids(np.frombuffer(text.encode(), np.uint8))
            needed = units(int(font.widths[cids].sum()), size)
            if needed <= width:
                return [Line(hex_codes()[cids].tobytes(), needed)]
        # Arrow rejects a lone surrogate in a string: it passes as bytes and is replaced like controls.
        single = pa.array([text.encode("utf-8", "surrogatepass")], pa.binary()).view(pa.string())
        broken = self.wrap(self.encode(single, where, bold), size, width, bold)
        digits = hex_codes()[broken.cids].tobytes()
        rtl = bool(broken.rtl is not None and broken.rtl[0])
        return [
            Line(digits[4 * begin : 4 * end], units(wide, size), rtl)
            for begin, end, wide in zip(
                broken.bounds[:-1].tolist(), broken.bounds[1:].tolist(), broken.widths.tolist(), strict=True
            )
        ]

    def width(self, text: str, size: int, bold: bool = False) -> int:
        """Return the width of a string on one line, in page units; used for planning only."""
        font = self.font(bold)
        codepoints = np.array([ord(character) for character in text], np.uint32)
        return units(int(font.widths[font.cids(codepoints)].sum()), size)

    def _count(self, font: DocumentFont, glyphs: Glyphs, where: str) -> None:
        flaws = font.flaws[glyphs.cids]
        if not flaws.any():
            return
        for flaw, reason in FLAWS.items():
            before = np.zeros(flaws.size + 1, np.int64)
            np.cumsum(flaws == flaw, out=before[1:])
            cells = int((before[glyphs.starts[1:]] > before[glyphs.starts[:-1]]).sum())
            if cells:
                self.changed[(reason, where)] += cells


def units(em: int, size: int) -> int:
    """Convert thousandths of an em to page units at a font size, rounded up."""
    return -(-em * size // 1000)
