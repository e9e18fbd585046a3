"""Read a PDF back from its bytes alone: rows by their marks, sums through the fonts' Unicode maps."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pikepdf
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.streams import prefetch
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.pdf.object_reader import NotPlain, PlainFile, references
from export_pipeline.formats.pdf.packed_objects import has_sound_objects
from export_pipeline.formats.pdf.sums import PrintedSum
from export_pipeline.formats.pdf.syntax import are_operators

_ROW = b"/Row BMC"
_CELL = r"\A(?P<column>[^ ]+) (?:BMC|1>>BDC) [^<]*<(?P<digits>[0-9A-F]*)>Tj[ \n]EMC"
"""A number, and its column in the name of its mark; in a tagged file in the mark of the cell. What stands for
a missing value there is not found, and adds nothing.
"""
_PIECE = re.compile(
    rb"/(Sum|More)\.([^ ]+) (?:BMC|1>>BDC) [^<]*<([0-9A-F]*)>Tj(?: [0-9. ]+ rg)?(?:[ \n]EMC|\n(?=/More))"
)
_MAPPED = re.compile(rb"<((?:[0-9A-Fa-f]{2}){1,2})>\s*<([0-9A-Fa-f]*)>")
_TRUETYPE = b"\x00\x01\x00\x00"
_NO_FONT = b"\n/ 0 Tf \n"
"""Separator between two pages: a page begins without a font."""
_BATCH = 4 << 20
"""Bytes of page content that are searched together."""
_PAGES = 32
"""Pages that are read ahead of the search."""
_PARSED_PAGES = 100
"""Up to this many pages, the syntax of every object and of every operator of every page is checked too, and
JPEG images are decoded. Where `syntax` does not know a form, and for images, qpdf does it, which takes longer
than all else. A file of any length is read object by object, if it is plain: every stream is decoded, which
checks its zlib checksum, every font of a page must be embedded, and every page must have its type and size.
"""

_Codes = tuple[dict[int, str], int]
"""The Unicode of a font's codes, and the bytes of a code."""
_NO_CODES: _Codes = ({}, 2)
_Page = tuple[bytes, Mapping[bytes, _Codes]]
"""A page's content, and the codes of each font."""
_DAMAGE = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")


def read_back(path: Path) -> FileFacts:
    """Return the rows and sums of a PDF, and its problems; an unreadable file is reported as a problem.

    Sums are of the numbers as printed; NaN, infinities and empty cells count 0.
    """
    reader = _Reader()
    try:
        reader.read(path)
    except _DAMAGE as error:
        # In a damaged file any object may be found in place of another.
        return FileFacts(0, {}, (f"not a sound PDF: {error}",))
    except pikepdf.PdfError as error:
        return FileFacts(0, {}, (f"not a readable PDF: {error}",))
    return reader.facts()


class _Reader:
    """The facts found in a file so far."""

    def __init__(self) -> None:
        self._rows = 0
        self._pages = 0
        self._sums: dict[bytes, PrintedSum] = {}
        self._fonts: dict[object, _Codes] = {}
        self._problems: dict[str, None] = {}
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._maps: Mapping[bytes, _Codes] = {}
        self._is_short = False
        self._is_known = True

    def read(self, path: Path) -> None:
        """Read all pages."""
        with suppress(NotPlain), PlainFile(path) as file:
            self._is_short = file.pages <= _PARSED_PAGES
            self._read_plain(file)
            if self._is_short and (file.has_jpeg or not self._is_known):
                self._parse(path, has_images=file.has_jpeg)
            return
        self._read_any(path)

    def _parse(self, path: Path, has_images: bool) -> None:
        """Parse the objects and operators of a short file, whose streams were decoded already."""
        with pikepdf.open(path) as pdf:
            if has_images:
                self._note(*pdf.check_pdf_syntax())
            else:
                len(pdf.objects)  # resolves each
                for page in pdf.pages:
                    pikepdf.parse_content_stream(page, "none")  # keeps no operator: a quarter of the time
            self._note(*pdf.get_warnings())

    def _read_any(self, path: Path) -> None:
        """Read the pages of any file, however it is written."""
        with pikepdf.open(path) as pdf:
            for page in pdf.pages:
                named = page.obj.get("/Resources", {}).get("/Font", {})
                maps = {label[1:].encode(): self._map(font) for label, font in named.items()}
                try:
                    self._page(_content(page.obj), maps)
                except pikepdf.PdfError as error:
                    self._note(f"page {self._pages}: {error}")
            self._note(*pdf.check_pdf_syntax())
            self._note(*pdf.get_warnings())

    def _read_plain(self, file: PlainFile) -> None:
        """Read the pages of a plain file; stop at the first defect."""
        try:
            pages = self._plain_pages(file)
            for content, maps in chain.from_iterable(pages if self._is_short else prefetch(pages)):
                self._page(content, maps)
        except NotPlain as error:
            self._note(f"after page {self._pages}: {error}")
        self._look()

    def _plain_pages(self, file: PlainFile) -> Iterator[list[_Page]]:
        """Yield a plain file's pages, in groups."""
        maps: dict[int, dict[bytes, _Codes]] = {}
        pages: list[_Page] = []
        try:
            for page in file.page_bodies():
                resources = file.reference(page, b"Resources")
                if resources not in maps:
                    fonts = file.named(resources, b"Font")
                    maps[resources] = {label: self._plain_map(file, font) for label, font in fonts.items()}
                content = b"\n".join([file.stream(part) for part in references(page, b"Contents")])
                pages.append((content, maps[resources]))
                if len(pages) == _PAGES:
                    yield pages
                    pages = []
        except NotPlain:
            yield pages
            raise
        yield pages
        if self._is_short:
            self._is_known &= has_sound_objects(file)
        file.check_other_objects()

    def _plain_map(self, file: PlainFile, number: int) -> _Codes:
        if number in self._fonts:
            return self._fonts[number]
        font = file.body(number)
        label = font.partition(b"/BaseFont/")[2].partition(b"/")[0].decode("ascii", "replace")
        unicode: dict[int, str] = {}
        codes = self._fonts[number] = (unicode, 2 if b"/Type0" in font else 1)
        if b"/ToUnicode" in font:
            unicode.update(_unicode(file.stream(file.reference(font, b"ToUnicode"))))
        else:
            self._note(f"font {label} has no ToUnicode map")
        for one in references(font, b"DescendantFonts") or [number]:
            descriptor = file.body(file.reference(file.body(one), b"FontDescriptor"))
            if b"/FontFile2" not in descriptor:
                self._note(f"font {label} is not embedded")
            elif not file.stream(file.reference(descriptor, b"FontFile2")).startswith(_TRUETYPE):
                self._note(f"font {label} has no font program")
        return codes

    def facts(self) -> FileFacts:
        """Return the result."""
        self._look()
        totals = {_column(mark): float(printed_sum.total()) for mark, printed_sum in self._sums.items()}
        unmapped = sum(printed_sum.unmapped for printed_sum in self._sums.values())
        if unmapped:
            self._note(f"{unmapped} numbers have characters without a Unicode value")
        return FileFacts(self._rows, totals, tuple(self._problems))

    def _note(self, *problems: object) -> None:
        self._problems.update(dict.fromkeys(map(str, problems)))

    def _page(self, content: bytes, maps: Mapping[bytes, _Codes]) -> None:
        """Add a page's content; `maps` has the codes of each font."""
        self._pages += 1
        if maps != self._maps or self._waiting_bytes > _BATCH:
            self._look()
            self._maps = maps
        self._waiting.append(content)
        self._waiting_bytes += len(content)

    def _look(self) -> None:
        """Count the rows and cells of the waiting pages."""
        if self._is_short:
            self._is_known &= are_operators(self._waiting)
        content = _NO_FONT.join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        self._rows += content.count(_ROW)
        broken = b"/More." in content
        marked: dict[bytes, list[bytes]] = defaultdict(list)
        before, *stretches = content.split(b" Tf ")
        for stretch in stretches:
            # The operand before Tf names the font of all text up to the next Tf.
            font = before[before.rfind(b"/") + 1 :].partition(b" ")[0]
            before = stretch
            if b"BMC" not in stretch:
                continue
            if broken:
                for mark, column, digits in _PIECE.findall(stretch):
                    self._sum(column).add(mark == b"Sum", digits, *self._maps.get(font, _NO_CODES))
            else:
                marked[font].append(stretch)
        for font, texts in marked.items():
            for column, cells in _cells(b"".join(texts)):
                self._sum(column).extend(cells, *self._maps.get(font, _NO_CODES))

    def _sum(self, column: bytes) -> PrintedSum:
        if column not in self._sums:
            self._sums[column] = PrintedSum()
        return self._sums[column]

    def _map(self, font: Any) -> _Codes:
        """Return a font's codes; record what the font lacks."""
        if font.objgen in self._fonts:
            return self._fonts[font.objgen]
        label = str(font.get("/BaseFont", "unnamed"))[1:]
        unicode: dict[int, str] = {}
        if "/ToUnicode" in font:
            unicode = _unicode(font.ToUnicode.read_bytes())
        else:
            self._note(f"font {label} has no ToUnicode map")
        descendants = font.get("/DescendantFonts", [font])
        programs = [one.get("/FontDescriptor", {}).get("/FontFile2") for one in descendants]
        if not all(isinstance(program, pikepdf.Stream) for program in programs):
            self._note(f"font {label} is not embedded")
        codes = self._fonts[font.objgen] = (unicode, 2 if font.get("/Subtype") == "/Type0" else 1)
        return codes


def _unicode(cmap: bytes) -> dict[int, str]:
    """Return the Unicode of codes, from a ToUnicode map."""
    return {
        int(code, 16): bytes.fromhex(text.decode()).decode("utf-16-be", "replace")
        for block in cmap.split(b"beginbfchar")[1:]
        for code, text in _MAPPED.findall(block.split(b"endbfchar")[0])
    }


def _content(page: Any) -> bytes:
    streams = page.get("/Contents", [])
    parts = [streams] if isinstance(streams, pikepdf.Stream) else streams
    return b"\n".join(part.read_bytes() for part in parts)


def _column(mark: bytes) -> str:
    """Return a column's name from its mark, in which #xx stands for a byte."""
    return _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), mark).decode("utf-8", "replace")


def _cells(content: bytes) -> Iterator[tuple[bytes, pa.Array]]:
    """Yield the marked cells of pages, by column, as codes in hex; no cell may be broken over lines."""
    whole = pa.array([content], pa.large_binary())
    cells = pc.extract_regex(pc.split_pattern(whole, b"/Sum.").flatten().slice(1), _CELL).drop_null()
    columns, digits = (cells.field(name) for name in ("column", "digits"))
    for column in columns.unique():
        yield column.as_py(), digits.filter(pc.equal(columns, column))
