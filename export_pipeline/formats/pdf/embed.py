"""Embed a document's font: a TrueType program of only its glyphs, its widths, its Unicode map."""

from __future__ import annotations

import hashlib
from io import BytesIO

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables import _g_l_y_f, ttProgram
from fontTools.ttLib.tables._g_l_y_f import GlyphCoordinates

from export_pipeline.formats.pdf.faces import EM, Outline
from export_pipeline.formats.pdf.font import DocumentFont, Glyph
from export_pipeline.formats.pdf.objects import PdfFile

_ASCENT, _DESCENT, _CAP_HEIGHT = 1069, -293, 714
_BOX = ((60, 0), (540, 0), (540, 714), (60, 714), (110, 50), (110, 664), (490, 664), (490, 50))


def embed(pdf: PdfFile, font: DocumentFont, number: int) -> None:
    """Write a font's objects; `number` is the object that pages refer to."""
    program = _program(font)
    tag = "".join(chr(65 + b % 26) for b in hashlib.sha256(program).digest()[:6])
    base = f"/{tag}+ExportSans-{'Bold' if font.bold else 'Regular'}".encode()
    count = len(font.glyphs)
    file = pdf.stream(program, b"/Length1 %d" % len(program))
    descriptor = pdf.put(
        b"<</Type/FontDescriptor/FontName%b/Flags 4/FontBBox[-1000 -700 3000 1400]/ItalicAngle 0/Ascent %d"
        b"/Descent %d/CapHeight %d/StemV %d/FontFile2 %d 0 R>>"
        % (base, _ASCENT, _DESCENT, _CAP_HEIGHT, 140 if font.bold else 80, file)
    )
    widths = b" ".join(b"%d" % width for width in font.widths[:count].tolist())
    descendant = pdf.put(
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont%b/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        b"/Supplement 0>>/FontDescriptor %d 0 R/DW 0/W[0[%b]]/CIDToGIDMap/Identity>>"
        % (base, descriptor, widths)
    )
    unicode = pdf.stream(_to_unicode(font.glyphs))
    pdf.put(
        b"<</Type/Font/Subtype/Type0/BaseFont%b/Encoding/Identity-H/DescendantFonts[%d 0 R]"
        b"/ToUnicode %d 0 R>>" % (base, descendant, unicode),
        number,
    )


def _to_unicode(glyphs: list[Glyph]) -> bytes:
    head = (
        b"/CIDInit/ProcSet findresource begin 12 dict begin begincmap\n"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(UCS)/Supplement 0>>def\n"
        b"/CMapName/Adobe-Identity-UCS def/CMapType 2 def\n"
        b"1 begincodespacerange<0000><FFFF>endcodespacerange\n"
    )
    rows = [
        b"<%04X> <%b>\n" % (cid, glyph.text.encode("utf-16-be", "replace").hex().upper().encode())
        for cid, glyph in enumerate(glyphs)
    ]
    blocks = [
        b"%d beginbfchar\n%bendbfchar\n" % (len(rows[i : i + 100]), b"".join(rows[i : i + 100]))
        for i in range(0, len(rows), 100)
    ]
    return head + b"".join(blocks) + b"endcmap CMapName currentdict/CMap defineresource pop end end\n"


def _program(font: DocumentFont) -> bytes:
    """Return the TrueType file; glyph i is CID i."""
    names = [".notdef", *(f"g{cid}" for cid in range(1, len(font.glyphs)))]
    drawn = {}
    for label, glyph in zip(names, font.glyphs, strict=True):
        made = _g_l_y_f.Glyph()
        outline = _outline(glyph)
        if outline is None:
            made.numberOfContours = 0
        else:
            points = np.rint(outline.points).astype(int).tolist()
            made.numberOfContours = len(outline.ends)
            made.coordinates = GlyphCoordinates([(x, y) for x, y in points])
            made.flags = bytearray(outline.on_curve.tobytes())
            made.endPtsOfContours = outline.ends.tolist()
            made.program = ttProgram.Program()
            made.program.fromBytecode(b"")
        drawn[label] = made
    builder = FontBuilder(EM, isTTF=True)
    # Equal data must give equal bytes: no clock.
    builder.updateHead(created=0, modified=0)
    builder.setupGlyphOrder(names)
    builder.setupGlyf(drawn)
    table = builder.font["glyf"]
    widths = font.widths.tolist()
    builder.setupHorizontalMetrics(
        {
            label: (min(widths[cid], 0xFFFF), getattr(table[label], "xMin", 0))
            for cid, label in enumerate(names)
        }
    )
    builder.setupHorizontalHeader(ascent=_ASCENT, descent=_DESCENT)
    builder.setupPost(keepGlyphNames=False)
    stored = BytesIO()
    builder.save(stored)
    return stored.getvalue()


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
