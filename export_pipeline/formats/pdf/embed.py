"""Embed a document's font: a TrueType program of only its glyphs, its widths, its Unicode map."""

from __future__ import annotations

import hashlib

from export_pipeline.formats.pdf.font import SHORT_CODES, DocumentFont, Glyph
from export_pipeline.formats.pdf.objects import PdfFile
from export_pipeline.formats.pdf.truetype import write_font

_ASCENT, _DESCENT, _CAP_HEIGHT = 1069, -293, 714


def embed(pdf: PdfFile, font: DocumentFont) -> dict[str, int]:
    """Write a font's objects; return the objects that pages refer to, by their names in page resources."""
    count = len(font.glyphs)
    program = write_font(font.glyphs, font.widths[:count], _ASCENT, _DESCENT)
    tag = "".join(chr(65 + b % 26) for b in hashlib.sha256(program).digest()[:6])
    base = f"/{tag}+ExportSans-{'Bold' if font.bold else 'Regular'}".encode()
    file = pdf.stream(program, b"/Length1 %d" % len(program))
    descriptor = pdf.put(
        b"<</Type/FontDescriptor/FontName%b/Flags 4/FontBBox[-1000 -700 3000 1400]/ItalicAngle 0/Ascent %d"
        b"/Descent %d/CapHeight %d/StemV %d/FontFile2 %d 0 R>>"
        % (base, _ASCENT, _DESCENT, _CAP_HEIGHT, 140 if font.bold else 80, file)
    )
    widths = [b"%d" % width for width in font.widths[:count].tolist()]
    descendant = pdf.put(
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont%b/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        b"/Supplement 0>>/FontDescriptor %d 0 R/DW 0/W[0[%b]]/CIDToGIDMap/Identity>>"
        % (base, descriptor, b" ".join(widths))
    )
    whole = pdf.put(
        b"<</Type/Font/Subtype/Type0/BaseFont%b/Encoding/Identity-H/DescendantFonts[%d 0 R]"
        b"/ToUnicode %d 0 R>>" % (base, descendant, pdf.stream(_to_unicode(font.glyphs, 2)))
    )
    if not font.has_short_codes:
        return {font.resource: whole}
    glyphs = font.glyphs[:SHORT_CODES]
    short = pdf.put(
        b"<</Type/Font/Subtype/TrueType/BaseFont%b/FirstChar 0/LastChar %d/Widths[%b]/FontDescriptor %d 0 R"
        b"/ToUnicode %d 0 R>>"
        % (
            base,
            len(glyphs) - 1,
            b" ".join(widths[:SHORT_CODES]),
            descriptor,
            pdf.stream(_to_unicode(glyphs, 1)),
        )
    )
    return {font.resource: whole, font.short_resource: short}


def _to_unicode(glyphs: list[Glyph], size: int) -> bytes:
    """Return the map from codes of so many bytes to Unicode."""
    head = (
        b"/CIDInit/ProcSet findresource begin 12 dict begin begincmap\n"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(UCS)/Supplement 0>>def\n"
        b"/CMapName/Adobe-Identity-UCS def/CMapType 2 def\n"
        b"1 begincodespacerange<%b><%b>endcodespacerange\n" % (b"00" * size, b"FF" * size)
    )
    rows = [
        b"<%0*X> <%b>\n" % (2 * size, cid, glyph.text.encode("utf-16-be", "replace").hex().upper().encode())
        for cid, glyph in enumerate(glyphs)
        if glyph.text
    ]
    blocks = [
        b"%d beginbfchar\n%bendbfchar\n" % (len(rows[i : i + 100]), b"".join(rows[i : i + 100]))
        for i in range(0, len(rows), 100)
    ]
    return head + b"".join(blocks) + b"endcmap CMapName currentdict/CMap defineresource pop end end\n"
