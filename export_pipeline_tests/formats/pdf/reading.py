"""Layouts to print, and the words of the pages as an independent reader of the format finds them."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pikepdf
import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Drawing, Layout, Section
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.pdf.options import PdfOptions
from export_pipeline.formats.pdf.write import render
from export_pipeline_tests.tools import require_tool

CREATED = datetime(2025, 3, 4, 5, 6, tzinfo=UTC)


def strings(values: Sequence[str | None]) -> pa.Array:
    """A string column that may hold what Python's own text refuses: lone surrogates."""
    raw = [None if value is None else value.encode("utf-8", "surrogatepass") for value in values]
    return pa.array(raw, pa.binary()).view(pa.string())


def texts(values: Sequence[str | None], header: str = "Text") -> Table:
    """A table of one text column."""
    return Table.of("texts", (Column("text", header, Kind.TEXT),), pa.table({"text": strings(values)}))


def layout(*sections: Section, drawings: tuple[Drawing, ...] = (), **other: Any) -> Layout:
    """A layout of these chapters."""
    main = sections[0].table if sections else texts([])
    plain: dict[str, Any] = {"title": "Export: Riverside School", "created": CREATED, **other}
    return Layout(main=main, document={}, sheets=(), chapters=sections, drawings=drawings, **plain)


def write(path: Path, what: Layout, options: Mapping[str, Any] | None = None) -> Rendered:
    """Renders a layout to a file."""
    with path.open("wb") as out:
        return render(what, out, PdfOptions(**(options or {})))


def rendered(what: Layout, options: Mapping[str, Any] | None = None) -> bytes:
    """Renders a layout to bytes."""
    out = io.BytesIO()
    render(what, out, PdfOptions(**(options or {})))
    return out.getvalue()


def check(path: Path) -> None:
    """qpdf finds nothing wrong, and poppler finds every font embedded and mapped to Unicode."""
    done = subprocess.run([require_tool("qpdf"), "--check", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    fonts = subprocess.run(
        [require_tool("pdffonts"), path], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in fonts.splitlines()[2:]]
    assert rows
    assert all(row[-5:-2] == ["yes", "yes", "yes"] for row in rows), fonts


def poppler(path: Path, *options: str) -> str:
    """The text poppler finds, without the marks of direction it adds."""
    output = subprocess.run(
        [require_tool("pdftotext"), *options, path, "-"], capture_output=True, text=True, check=True
    )
    return re.sub("[\u200e\u200f\u202a-\u202e]", "", output.stdout)


def shown(page: pikepdf.Page) -> Iterator[tuple[str, str]]:
    """The content of a page, in order: ("text", its Unicode) and ("mark", name), ("end", "")."""
    fonts = page.obj.Resources.Font.items()
    maps = {label: _unicode(font.ToUnicode.read_bytes()) for label, font in fonts}
    unicode: dict[bytes, str] = {}
    for operands, operator in pikepdf.parse_content_stream(page):
        match str(operator):
            case "Tf":
                unicode = maps[str(operands[0])]
            case "Tj":
                yield "text", _decode(operands[0], unicode)
            case "BMC" | "BDC":
                yield "mark", str(operands[0])
            case "EMC":
                yield "end", ""


def fills(page: pikepdf.Page) -> dict[str, str]:
    """The fill of each text shown on a page: red, green and blue; of equal texts that of the last."""
    fonts = page.obj.Resources.Font.items()
    maps = {label: _unicode(font.ToUnicode.read_bytes()) for label, font in fonts}
    unicode: dict[bytes, str] = {}
    fill = ""
    colors = {}
    for operands, operator in pikepdf.parse_content_stream(page):
        if str(operator) == "Tf":
            unicode = maps[str(operands[0])]
        elif str(operator) == "rg":
            fill = " ".join(map(str, operands))
        elif str(operator) == "Tj":
            colors[_decode(operands[0], unicode)] = fill
    return colors


def _decode(shown: Any, unicode: Mapping[bytes, str]) -> str:
    codes, size = bytes(shown), len(next(iter(unicode)))
    assert len(codes) % size == 0
    return "".join(unicode[codes[at : at + size]] for at in range(0, len(codes), size))


def rows(source: Path | bytes) -> list[str]:
    """The text of every row marked in a file, its cells' lines end to end."""
    lines: list[str] = []
    with pikepdf.open(source if isinstance(source, Path) else io.BytesIO(source)) as file:
        for page in file.pages:
            marks: list[str] = []
            for kind, value in shown(page):
                if kind == "mark":
                    marks.append(value)
                    if value == "/Row":
                        lines.append("")
                elif kind == "end":
                    marks.pop()
                elif {"/Row", "/RowGoesOn"} & set(marks):
                    lines[-1] += value
    return lines


@lru_cache  # every page has the same fonts
def _unicode(cmap: bytes) -> dict[bytes, str]:
    pairs = re.findall(r"<([0-9A-F]{2,4})> <([0-9A-F]+)>\n", cmap.decode())
    return {
        bytes.fromhex(code): bytes.fromhex(text).decode("utf-16-be", "surrogatepass") for code, text in pairs
    }
