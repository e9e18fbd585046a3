"""Write a TrueType font from glyphs. Each glyph is compiled once in a process, for all fonts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from fontTools.ttLib.sfnt import SFNTWriter
from fontTools.ttLib.tables import _g_l_y_f, ttProgram
from fontTools.ttLib.tables._g_l_y_f import GlyphCoordinates
from numpy.typing import NDArray

from export_pipeline.formats.pdf.faces import EM, Outline
from export_pipeline.formats.pdf.font import SHORT_CODES, Glyph

_BOX = ((60, 0), (540, 0), (540, 714), (60, 714), (110, 50), (110, 664), (490, 664), (490, 50))
_LONGEST_SHORT = 0x20000
"""Length from which the places of glyphs need four bytes."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A glyph's entry in the glyf table; its bounds (left, bottom, right, top), points and contours."""

    data: bytes
    bounds: tuple[int, int, int, int] | None
    points: int
    contours: int


def write_font(glyphs: Sequence[Glyph], widths: NDArray[np.int64], ascent: int, descent: int) -> bytes:
    """Return the font file; glyph i has the i-th width, in EM units."""
    compiled = [_compile(glyph) for glyph in glyphs]
    bounds = np.array([one.bounds or (0, 0, 0, 0) for one in compiled], np.int64)
    advances = np.minimum(widths, 0xFFFF)
    drawn = np.array([one.bounds is not None for one in compiled])
    box = (0, 0, 0, 0)
    least_left = least_right = 0
    if drawn.any():
        left, right = bounds[drawn, 0], bounds[drawn, 2]
        box = (int(left.min()), int(bounds[drawn, 1].min()), int(right.max()), int(bounds[drawn, 3].max()))
        least_left, least_right = box[0], int((advances[drawn] - right).min())
    metrics = np.empty((len(compiled), 2), ">i2")
    metrics[:, 0], metrics[:, 1] = advances.astype(np.uint16).view(np.int16), bounds[:, 0]
    outlines = b"".join(one.data for one in compiled)
    places = np.cumsum([0, *(len(one.data) for one in compiled)])
    is_long = len(outlines) >= _LONGEST_SHORT
    # No time of the clock: equal data give equal bytes.
    head = struct.pack(
        ">IIIIHHqqhhhhHHhhh",
        0x10000, 0x10000, 0, 0x5F0F3CF5, 3, EM, 0, 0, *box, 0, 3, 2, is_long, 0,
    )  # fmt: skip
    horizontal = struct.pack(
        ">IhhhHhhhhhhhhhhhH",
        0x10000, ascent, descent, 0, int(advances.max()), least_left, least_right, box[2], 1, *[0] * 7,
        len(compiled),
    )  # fmt: skip
    most = struct.pack(
        ">I14H",
        0x10000, len(compiled), max(one.points for one in compiled), max(one.contours for one in compiled),
        0, 0, 2, *[0] * 8,
    )  # fmt: skip
    tables = {
        "cmap": _symbols(min(len(compiled), SHORT_CODES)),
        "head": head,
        "hhea": horizontal,
        "maxp": most,
        "hmtx": metrics.tobytes(),
        "loca": places.astype(">u4").tobytes() if is_long else (places // 2).astype(">u2").tobytes(),
        "glyf": outlines or b"\0",
        "post": struct.pack(">IiHHI4I", 0x30000, *[0] * 8),
    }
    stored = BytesIO()
    writer = SFNTWriter(stored, len(tables))
    for tag, data in tables.items():
        writer[tag] = data
    writer.close()
    return stored.getvalue()


def _symbols(count: int) -> bytes:
    """Return a table that maps U+F000 and so on, the symbols of codes of one byte, to the first glyphs."""
    last = 0xF000 + count - 1
    format_4 = struct.pack(
        ">HHHHHHH2HH2H2H2H",
        4, 32, 0, 4, 4, 1, 0, last, 0xFFFF, 0, 0xF000, 0xFFFF, 0x1000, 1, 0, 0,
    )  # fmt: skip
    return struct.pack(">HHHHI", 0, 1, 3, 0, 12) + format_4


@lru_cache(maxsize=16_384)
def _compile(glyph: Glyph) -> _Compiled:
    outline = _outline(glyph)
    if outline is None:
        return _Compiled(b"", None, 0, 0)
    made = _g_l_y_f.Glyph()
    points = np.rint(outline.points).astype(int)
    made.numberOfContours = len(outline.ends)
    made.coordinates = GlyphCoordinates([(x, y) for x, y in points.tolist()])
    made.flags = bytearray(outline.on_curve.tobytes())
    made.endPtsOfContours = outline.ends.tolist()
    made.program = ttProgram.Program()
    made.program.fromBytecode(b"")
    data = made.compile(None)
    data += b"\0" * (len(data) % 2)
    low, high = points.min(axis=0), points.max(axis=0)
    bounds = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return _Compiled(data, bounds, len(points), len(outline.ends))


def _outline(glyph: Glyph) -> Outline | None:
    """Combine a glyph's parts into one outline; None for a blank."""
    if glyph.box:
        return Outline(np.array(_BOX, float), np.ones(8, np.uint8), np.array([3, 7]))
    pieces = [(part, outline) for part in glyph.parts if (outline := part.face.outline(part.glyph)).ends.size]
    if not pieces:
        return None
    counts = np.cumsum([0] + [outline.on_curve.size for _, outline in pieces])
    return Outline(
        np.concatenate([outline.points + np.array((part.x, part.y)) for part, outline in pieces]),
        np.concatenate([outline.on_curve for _, outline in pieces]),
        np.concatenate([outline.ends + base for (_, outline), base in zip(pieces, counts[:-1], strict=True)]),
    )
