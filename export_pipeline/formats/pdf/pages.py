"""Pages filled from top to bottom, and their footers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.images import Image
from export_pipeline.formats.pdf.objects import PdfFile, text_string
from export_pipeline.formats.pdf.outline import Bookmark, Outline
from export_pipeline.formats.pdf.structure import Element, Structure
from export_pipeline.formats.pdf.style import FOOTER, MARGIN, UNIT
from export_pipeline.formats.pdf.typeset import Line, Typesetter

_SCALE = b"%g 0 0 %g 0 0 cm\n" % (1 / UNIT, 1 / UNIT)
_HELD = 1 << 20
"""Bytes of a page's content that are buffered before they are written."""


@dataclass(slots=True)
class _Sheet:
    """A page that is not yet part of the document.

    Attributes:
        number: Its object number.
        place: Its place among the pages of strips: the first row, and the strip.
        y: The next free height.
        size: Width and height in points.
        written: Content streams already written.
        content: Content that waits to be written, `waiting` bytes.
        annotations: Its links, as PDF objects or references to them.
    """

    number: int
    place: tuple[int, int]
    y: int
    size: tuple[float, float]
    written: list[int] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    waiting: int = 0
    annotations: list[bytes] = field(default_factory=list)


class Pages:
    """A document's pages. Lengths are page units from the lower left corner; `y` is the next free height.
    `footer` are the lines at the foot of each page.

    A table too wide for one page is printed in strips. Each has a page in progress of its own; `select`
    chooses the one that everything else refers to. Pages of strips are ordered by their first row: `row` is
    the one that the next page of the strip begins with.
    """

    def __init__(
        self,
        pdf: PdfFile,
        typesetter: Typesetter,
        size: tuple[float, float],
        footer: Sequence[str],
        structure: Structure | None,
        theme: style.Theme,
    ) -> None:
        self.pdf = pdf
        self.typesetter = typesetter
        self.size = size
        self.footer = footer
        self.structure = structure
        self.theme = theme
        self.images: dict[bytes, Image] = {}
        self._footers = array("q")
        self._sizes: list[tuple[int, tuple[float, float]]] = []
        self._sheets: list[_Sheet] = []
        self._full: list[_Sheet] = []
        self._strip = 0
        self.row = 0
        self.outline = Outline()

    @property
    def y(self) -> int:
        """The next free height of the page."""
        return self._sheets[self._strip].y

    @y.setter
    def y(self, y: int) -> None:
        self._sheets[self._strip].y = y

    @property
    def width(self) -> int:
        """Width between the margins."""
        return round(self.size[0] * UNIT) - 2 * MARGIN

    @property
    def top(self) -> int:
        """Height at which a page begins."""
        return round(self.size[1] * UNIT) - MARGIN

    @property
    def room(self) -> int:
        """Height left on the page."""
        return self.y - FOOTER - UNIT * 8

    @property
    def body(self) -> int:
        """Usable height of a whole page."""
        return self.top - FOOTER - UNIT * 8

    @property
    def fresh(self) -> bool:
        """True if nothing has been printed on this page yet."""
        return self.y == self.top

    def start(self, size: tuple[float, float] | None = None) -> None:
        """Begin a new page, in this size from here on."""
        self.finish_sheets()
        self.size = size or self.size
        self._strip = self.row = 0
        self._sheets = [self._new_sheet((0, 0))]

    def _new_sheet(self, place: tuple[int, int]) -> _Sheet:
        return _Sheet(self.pdf.reserve(), place, self.top, self.size, content=[_SCALE])

    def spread(self, strips: int) -> None:
        """Continue with this many pages: begin others beside the one in progress."""
        for strip in range(1, strips):
            self._sheets.append(self._new_sheet((0, strip)))

    def select(self, strip: int) -> None:
        """Make a strip's page the one in progress."""
        self._strip = strip

    def turn(self) -> None:
        """Begin the next page of the strip."""
        self._close(self._sheets[self._strip])
        self._sheets[self._strip] = self._new_sheet((self.row, self._strip))
        self._release()

    def _close(self, sheet: _Sheet) -> None:
        self._write(sheet)
        self._full.append(sheet)

    def need(self, height: int) -> bool:
        """Begin a new page unless this much height is left; return True if one was begun."""
        if height <= self.room or self.fresh:
            return False
        self.turn()
        return True

    @property
    def strips(self) -> int:
        """Number of pages filled side by side."""
        return len(self._sheets)

    @property
    def number(self) -> int:
        """Object number of the page in progress."""
        return self._sheets[self._strip].number

    def element(self, type: bytes, parent: Element | None = None, attributes: bytes = b"") -> Element | None:
        """Return a new element of a tagged document; None if it is not tagged."""
        return self.structure.add(type, parent, attributes) if self.structure else None

    def marked(self, content: bytes, element: Element | None = None) -> bytes:
        """Return content marked as an element's or as decoration, in a tagged document."""
        if self.structure is None:
            return content
        return self.structure.wrap(content, element, self.number)

    @contextmanager
    def figure(self, description: str, box: tuple[int, int, int, int]) -> Iterator[None]:
        """Make what is drawn meanwhile a figure, described for those who cannot see it; `box` is its left and
        lower edge on the paper, its width and height. It must be drawn on one page.
        """
        if self.structure is None:
            yield
            return
        left, low, wide, high = (length / UNIT for length in box)
        self.draw(self.structure.open_figure(description, (left, low, left + wide, low + high), self.number))
        yield
        self.draw(b"EMC\n")

    def draw(self, content: bytes) -> None:
        """Add content to the page."""
        sheet = self._sheets[self._strip]
        sheet.content.append(content)
        sheet.waiting += len(content)
        if sheet.waiting > _HELD:
            self._write(sheet)

    @staticmethod
    def filled(x: int, y: int, width: int, height: int, fill: bytes) -> bytes:
        """Return the content of a filled rectangle, x from the left margin."""
        return b"%b %d %d %d %d re f\n" % (fill, MARGIN + x, y, width, height)

    def add_image(self, image: Image) -> bytes:
        """Return the name under which pages draw an image, without its slash."""
        name = b"I%d" % len(self.images)
        self.images[name] = image
        return name

    def rectangle(self, x: int, y: int, width: int, height: int, fill: bytes) -> None:
        """Draw a filled rectangle, x from the left margin."""
        self.draw(self.marked(self.filled(x, y, width, height, fill)))

    def rule(self, y: int, width: int | None = None, weight: int = UNIT // 2) -> None:
        """Draw a thin line across the page."""
        end = MARGIN + (self.width if width is None else width)
        line = b"%b %d w %d %d m %d %d l S\n" % (style.RULE, weight, MARGIN, y, end, y)
        self.draw(self.marked(line))

    def print(
        self,
        lines: Sequence[Line],
        x: int,
        y: int,
        size: int,
        fill: bytes = style.INK,
        bold: bool = False,
        leading: int = 0,
        flush: int | None = None,
        element: Element | None = None,
    ) -> None:
        """Print lines of text on a page, as laid out by `text`; without an element they are decoration."""
        content = self.text(lines, x, y, size, fill, bold, leading, flush)
        self.draw(self.marked(content, element))

    def text(
        self,
        lines: Sequence[Line],
        x: int,
        y: int,
        size: int,
        fill: bytes = style.INK,
        bold: bool = False,
        leading: int = 0,
        flush: int | None = None,
    ) -> bytes:
        """Return the content of lines from baseline `y` down, x from the left margin; right-aligned at
        `flush` if given.
        """
        resource = self.typesetter.font(bold).resource.encode()
        pieces = [b"BT %b /%b %d Tf " % (fill, resource, size)]
        for number, line in enumerate(lines):
            left = MARGIN + (x if flush is None else flush - line.width)
            pieces.append(b"1 0 0 1 %d %d Tm<%b>Tj\n" % (left, y - number * leading, line.glyphs))
        pieces.append(b"ET\n")
        return b"".join(pieces)

    def paragraph(
        self,
        text: str,
        where: str,
        size: int = style.BODY,
        fill: bytes = style.INK,
        bold: bool = False,
        x: int = 0,
        width: int | None = None,
        element: Element | None = None,
    ) -> None:
        """Print a text over as many lines and pages as it needs; move `y` below it."""
        element = element or self.element(b"P")
        lines = self.typesetter.lines(text, size, (width or self.width) - x, where, bold)
        leading = leading_of(size)
        done = 0
        while done < len(lines):
            fit = self.room // leading
            if fit < 1 and not self.fresh:
                self.turn()
                continue
            part = lines[done : done + max(1, fit)]
            self.print(part, x, self.y - ascent_of(size), size, fill, bold, leading, element=element)
            self.y -= len(part) * leading
            done += len(part)

    def bookmark(self, title: str, parent: Bookmark | None = None) -> Bookmark | None:
        """Add an outline entry that leads here; return None if there are too many."""
        return self.outline.add(title, self.number, (self.y + UNIT * 6) / UNIT, parent)

    def destination(self, number: int) -> None:
        """Write the reserved destination object that links lead to: this place."""
        self.pdf.put(b"[%d 0 R/XYZ 0 %g null]" % (self.number, (self.y + UNIT * 6) / UNIT), number)

    def link(
        self, x: int, y: int, width: int, height: int, destination: int, text: str, element: Element | None
    ) -> None:
        """Add a rectangle that leads to a destination object when clicked; `text` says where that is. In a
        tagged document it belongs to an element.
        """
        left, low = (MARGIN + x) / UNIT, y / UNIT
        body = b"/Type/Annot/Subtype/Link/Border[0 0 0]/F 4/Rect[%.2f %.2f %.2f %.2f]/Dest %d 0 R" % (
            left, low, left + width / UNIT, low + height / UNIT, destination,
        )  # fmt: skip
        body = b"<<%b/Contents%b" % (body, text_string(text))
        if self.structure is not None and element is not None:
            number = self.pdf.reserve()
            key = self.structure.add_object(element, number, self.number)
            self.pdf.put(b"%b/StructParent %d>>" % (body, key), number)
            body = b"%d 0 R" % number
        else:
            body += b">>"
        self._sheets[self._strip].annotations.append(body)

    def finish_sheets(self) -> None:
        """Write the pages in progress."""
        for sheet in self._sheets:
            self._close(sheet)
        self._sheets = []
        self._release()

    def _release(self) -> None:
        """Write the full pages that come before all pages in progress."""
        first = min((sheet.place for sheet in self._sheets), default=None)
        self._full.sort(key=lambda sheet: sheet.place)
        while self._full and (first is None or self._full[0].place < first or len(self._sheets) == 1):
            self._finish_sheet(self._full.pop(0))

    def _finish_sheet(self, sheet: _Sheet) -> None:
        footer = self.pdf.reserve()
        entries = self.structure.page_entries(sheet.number) if self.structure else b""
        self.pdf.page(sheet.number, (*sheet.written, footer), sheet.size, sheet.annotations, entries)
        self._footers.append(footer)
        if not self._sizes or self._sizes[-1][1] != sheet.size:
            self._sizes.append((len(self._footers), sheet.size))

    def _write(self, sheet: _Sheet) -> None:
        sheet.written.append(self.pdf.stream(b"".join(sheet.content)))
        sheet.content.clear()
        sheet.waiting = 0

    def finish(self) -> None:
        """Write the last pages, and every page's footer now that the page count is known."""
        self.finish_sheets()
        titles: dict[int, bytes] = {}
        sizes = [*self._sizes, (len(self._footers) + 1, self.size)]
        resource = self.typesetter.regular.resource.encode()
        for (begin, size), (end, _) in pairwise(sizes):
            self.size = size
            head = titles.setdefault(self.width, self._footer_title())
            for page in range(begin, end):
                text = f"Page {page:,} of {len(self._footers):,}"
                line = self.typesetter.lines(text, style.SMALL, self.width)[0]
                shape = b"/Artifact BMC\n%bBT %b /%b %d Tf %d %d Td<%b>Tj ET\nEMC\n"
                if self.structure is None:
                    shape = b"%bBT %b /%b %d Tf %d %d Td<%b>Tj ET\n"
                body = shape % (
                    head,
                    style.MUTED,
                    resource,
                    style.SMALL,
                    MARGIN + self.width - line.width,
                    FOOTER - style.SMALL - UNIT * 4,
                    line.glyphs,
                )
                self.pdf.stream(body, number=self._footers[page - 1])

    def _footer_title(self) -> bytes:
        """Return the rule and the footer's lines; a long one is cut."""
        sheet, structure = _Sheet(0, (0, 0), 0, self.size), self.structure
        self._sheets, self._strip, self.structure = [sheet], 0, None
        self.rule(FOOTER)
        for number, text in enumerate(filter(None, self.footer)):
            lines = self.typesetter.lines(text, style.SMALL, self.width * 3 // 4)[:1]
            y = FOOTER - style.SMALL - UNIT * 4 - number * leading_of(style.SMALL)
            self.print(lines, 0, y, style.SMALL, style.MUTED)
        self._sheets, self.structure = [], structure
        return b"".join(sheet.content)


def leading_of(size: int) -> int:
    """Return the distance of baselines at a font size."""
    return size * 132 // 100


def ascent_of(size: int) -> int:
    """Return the distance from the top of a line to its baseline."""
    return size * 104 // 100
