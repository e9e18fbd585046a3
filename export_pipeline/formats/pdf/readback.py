"""Reading a PDF again from its bytes alone: rows by their marks, sums through the fonts' Unicode maps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from export_pipeline.formats.base import FileFacts

_ROW = b"/Row BMC"
_SHOWN = re.compile(rb"/(\w+) \d+ Tf|/(Sum|More)\.([^ ]+) BMC [^<]*<([0-9A-F]*)>Tj EMC")
_MAPPED = re.compile(rb"<([0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]*)>")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")
_PARSED_PAGES = 1_000
"""Up to here qpdf parses every operator of every page, which takes longer than all else; beyond, every
stream is still decoded and every font looked at."""

_DAMAGE = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")


def read_back(path: Path) -> FileFacts:
    """The rows and sums a PDF holds, and what is wrong with it; a file that cannot be read is a problem.

    Sums are of the numbers as printed; NaN, infinities and empty cells count nothing.
    """
    import pikepdf

    try:
        with pikepdf.open(path) as pdf:
            return _facts(pdf)
    except _DAMAGE as error:
        # In a damaged file any object may stand where another should.
        return FileFacts(0, {}, (f"not a sound PDF: {error}",))
    except pikepdf.PdfError as error:
        return FileFacts(0, {}, (f"not a readable PDF: {error}",))


def _facts(pdf: Any) -> FileFacts:
    import pikepdf

    problems: list[str] = []
    fonts: dict[tuple[int, int], dict[bytes, str]] = {}
    rows = 0
    sums: dict[bytes, Decimal] = {}
    unread: dict[bytes, str] = {}
    unmapped = 0
    for number, page in enumerate(pdf.pages, 1):
        resources = page.obj.get("/Resources", {})
        named = resources.get("/Font", {})
        maps = {label[1:].encode(): _map(font, fonts, problems) for label, font in named.items()}
        try:
            content = _content(page.obj)
        except pikepdf.PdfError as error:
            problems.append(f"page {number}: {error}")
            continue
        rows += content.count(_ROW)
        for first, column, text in _shown(content, maps):
            unmapped += "\ufffd" in text
            if first:
                _add(sums, column, unread.pop(column, ""))
                unread[column] = text
            else:
                unread[column] = unread.get(column, "") + text
    for column, text in unread.items():
        _add(sums, column, text)
    if unmapped:
        problems.append(f"{unmapped} numbers have characters without a Unicode value")
    if len(pdf.pages) <= _PARSED_PAGES:
        problems.extend(pdf.check_pdf_syntax())
    problems.extend(str(warning) for warning in pdf.get_warnings())
    totals = {_column(mark): float(total) for mark, total in sums.items()}
    return FileFacts(rows, totals, tuple(problems))


def _content(page: Any) -> bytes:
    import pikepdf

    streams = page.get("/Contents", [])
    parts = [streams] if isinstance(streams, pikepdf.Stream) else streams
    return b"\n".join(part.read_bytes() for part in parts)


def _column(mark: bytes) -> str:
    """A column's name from its mark: #xx stands for a byte."""
    return _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), mark).decode("utf-8", "replace")


def _shown(content: bytes, maps: dict[bytes, dict[bytes, str]]) -> Iterator[tuple[bool, bytes, str]]:
    """The marked texts of a page: (begins a cell, column, text)."""
    unicode: dict[bytes, str] = {}
    for match in _SHOWN.finditer(content):
        font, mark, column, digits = match.groups()
        if font is not None:
            unicode = maps.get(font, {})
            continue
        text = "".join([unicode.get(digits[i : i + 4], "\ufffd") for i in range(0, len(digits), 4)])
        yield mark == b"Sum", column, text


def _add(sums: dict[bytes, Decimal], column: bytes, text: str) -> None:
    """Adds a printed number to its column's sum; a minus sign stands before a currency."""
    total = sums.setdefault(column, Decimal(0))
    found = _NUMBER.search(text)
    if found:
        value = Decimal(found[0].replace(",", ""))
        sums[column] = total - value if text.startswith("-") else total + value


def _map(font: Any, known: dict[tuple[int, int], dict[bytes, str]], problems: list[str]) -> dict[bytes, str]:
    """A font's Unicode map, by the four hex digits of its codes; notes what the font lacks."""
    if font.objgen in known:
        return known[font.objgen]
    label = str(font.get("/BaseFont", "unnamed"))[1:]
    unicode: dict[bytes, str] = {}
    if "/ToUnicode" in font:
        for block in font.ToUnicode.read_bytes().split(b"beginbfchar")[1:]:
            for code, text in _MAPPED.findall(block.split(b"endbfchar")[0]):
                unicode[code.upper()] = bytes.fromhex(text.decode()).decode("utf-16-be", "replace")
    else:
        problems.append(f"font {label} has no ToUnicode map")
    descendants = font.get("/DescendantFonts", [font])
    if not all("/FontFile2" in d.get("/FontDescriptor", {}) for d in descendants):
        problems.append(f"font {label} is not embedded")
    known[font.objgen] = unicode
    return unicode
