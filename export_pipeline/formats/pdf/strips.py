"""Strips: the columns of a table that share a page, with their header, rows and totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from export_pipeline.core.layout import Total
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.cells import heading, number_text
from export_pipeline.formats.pdf.columns import Slot, Strip
from export_pipeline.formats.pdf.pages import Pages, ascent_of, leading_of
from export_pipeline.formats.pdf.rows import StripRows
from export_pipeline.formats.pdf.structure import Element
from export_pipeline.formats.pdf.style import CELL, LEADING, MARGIN, PAD_X, PAD_Y, UNIT
from export_pipeline.formats.pdf.typeset import Line, Typesetter

_FIRST_ROWS, _LAST_ROWS = 2, 4
"""Rows that stay with a table's header where it begins, and with its totals: a page of two is a waste."""
_SMALL_TABLE = 12
"""Most rows of a table that is not divided if it takes at most a quarter of a page."""
_MAX_LINES = 12
"""Most lines of a header or a total's label; a longer one is printed in full as a paragraph, once."""
_COLUMN_SCOPE = b"/A<</O/Table/Scope/Column>>"
_FIRST_BASELINE = PAD_Y + CELL * 96 // 100
"""Distance from a row's top edge to its first baseline."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Header:
    """The header row of a strip: the lines of each cell, and the slots whose header is cut."""

    cells: Sequence[Sequence[Line]]
    cut: Sequence[Slot]

    @property
    def height(self) -> int:
        """Height of the row."""
        return max(len(lines) for lines in self.cells) * LEADING + 2 * PAD_Y


@dataclass(frozen=True, slots=True)
class TotalRow:
    """A total row of a strip, ready to print.

    Attributes:
        label: Its label in full.
        height: Height of the row, the same in every strip.
        cells: x, the right edge of a number, and the lines of each cell.
        is_cut: True if the row does not hold its whole label.
    """

    label: str
    height: int
    cells: Sequence[tuple[int, int | None, list[Line]]]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Links:
    """The destinations of a column's cells.

    Attributes:
        column: Index of the column.
        first: Number of the first destination object.
        titles: Titles of the destinations.
        targets: By row, its destination or None; None if each row has the next one.
    """

    column: int
    first: int
    titles: Sequence[str]
    targets: Sequence[int | None] | None

    def target(self, row: int) -> int | None:
        """Return the index of a row's destination; None if it has none."""
        target = row if self.targets is None else self.targets[row]
        return target if target is not None and target < len(self.titles) else None


def set_header(typesetter: Typesetter, strip: Strip) -> Header:
    """Lay out the header of a strip."""
    cells = [
        typesetter.lines(heading(slot.column), CELL, slot.width, slot.column.header, bold=True)
        for slot in strip.slots
    ]
    cut = [slot for slot, lines in zip(strip.slots, cells, strict=True) if len(lines) > _MAX_LINES]
    return Header([lines[:_MAX_LINES] for lines in cells], cut)


def set_total(typesetter: Typesetter, strips: Sequence[Strip], total: Total) -> list[TotalRow]:
    """Lay a total row out, strip by strip: its label starts in the first column without a value and runs up
    to the next column that has one.
    """
    rows: list[list[tuple[int, int | None, list[Line]]]] = []
    is_cut = False
    for strip in strips:
        texts = {
            slot.index: number_text(slot.column, total.values[slot.column.name])
            for slot in strip.slots
            if total.values.get(slot.column.name) is not None
        }
        cells: list[tuple[int, int | None, list[Line]]] = []
        free = [slot.x for slot in strip.slots if slot.index not in texts]
        if free:
            valued = [slot.x for slot in strip.slots if slot.index in texts and slot.x > free[0]]
            wide = min(valued, default=strip.width) - PAD_X - free[0]
            label = typesetter.lines(total.label, CELL, max(wide, 20 * UNIT), "Total", bold=True)
            is_cut |= len(label) > _MAX_LINES
            cells.append((free[0], None, label[:_MAX_LINES]))
        for slot in strip.slots:
            if slot.index in texts:
                lines = typesetter.lines(texts[slot.index], CELL, slot.width, "Total", bold=True)
                cells.append((slot.x, slot.x + slot.width, lines))
        rows.append(cells)
    tallest = max([1, *(len(lines) for cells in rows for _, _, lines in cells)])
    return [TotalRow(total.label, tallest * LEADING + 2 * PAD_Y, cells, is_cut) for cells in rows]


class StripPrinter:
    """Prints one strip of a table. The strip's page must be the one in progress (`Pages.select`).

    Args:
        pages: The pages to print on.
        number: Number of the strip.
        strip: Its columns' places.
        header: Its header.
        header_height: Height of the header, the same in every strip.
        band: The line that lists the columns on a page; "" if the page has them all.
        links: The links of a column, if any.

    Attributes:
        number: Number of the strip.
        row: Number of rows printed.
        table: The element that gets an element for each printed row; None if rows are given theirs.
    """

    def __init__(
        self,
        pages: Pages,
        number: int,
        strip: Strip,
        header: Header,
        header_height: int,
        band: str,
        links: Links | None,
    ) -> None:
        self.number = number
        self.row = 0
        self.table: Element | None = None
        self._pages = pages
        self._strip = strip
        self._header = header
        self._header_height = header_height + (_band_height() if band else 0)
        self._band = band
        self._links = links
        # The first column is repeated in each strip; in a tagged document only its first cells count.
        self._own = strip.slots[1 if number else 0 :]
        self._header_content: dict[int, bytes] = {}
        self._in_table = 0
        self._totals: Sequence[TotalRow] = ()
        self._title = ""
        self._continued: list[Line] = []

    def open_table(self, title: str, totals: Sequence[TotalRow]) -> None:
        """Begin a table. Its title is printed again on each of its pages."""
        self._title, self._totals = title, totals
        self._continued, self._in_table = [], 0

    def table_height(self, rows: int, heights: Ints) -> int:
        """Return the height that a table needs where it begins.

        Args:
            rows: Number of its rows.
            heights: Heights of the rows, as far as they are known.
        """
        if not rows:
            return 3 * LEADING
        whole = self._header_height + int(heights.sum()) + self._totals_height
        if rows == heights.size <= _SMALL_TABLE and whole <= self._pages.body // 4:
            return whole
        return self._header_height + min(int(heights[:_FIRST_ROWS].sum()), 8 * LEADING)

    def close_table(self, elements: Sequence[Element | None]) -> None:
        """Print the totals, whose rows are these elements."""
        if self._in_table:
            self._rule()
        for total, element in zip(self._totals, elements, strict=True):
            self._total(total, element)

    def print_header(self, row: Element | None = None) -> None:
        """Print the header; with a row's element it is part of the table, otherwise decoration."""
        pages = self._pages
        if row is not None:
            pages.draw(self._draw_header(pages.y, row))
        else:
            if pages.y not in self._header_content:
                # Most pages have their header at the same height, so it is cached for the next.
                self._header_content = {pages.y: self._draw_header(pages.y)}
            pages.draw(pages.marked(self._header_content[pages.y]))
        pages.y -= self._header_height

    def print_rows(
        self, rows: StripRows, begin: int, end: int, is_last: bool, elements: Sequence[Element | None]
    ) -> None:
        """Print rows; the last ones of a table stay together, and with its totals."""
        pages = self._pages
        at = begin
        while at < end:
            fit = int(np.searchsorted(rows.edges, rows.edges[at] + pages.room, side="right")) - 1
            fit = min(fit, end)
            last = end - _LAST_ROWS
            if is_last and last < fit:
                rest = int(rows.edges[end] - rows.edges[at]) + self._totals_height
                ending = int(rows.edges[end] - rows.edges[max(last, begin)]) + self._totals_height
                if rest > pages.room and self._header_height + ending <= pages.body // 2:
                    fit = max(last, at)
            if fit > at:
                self._run(rows, at, fit, elements[at - begin : fit - begin])
                at = fit
            elif rows.heights[at] > pages.body // 3:
                self._split(rows, at, elements[at - begin : at - begin + 1])
                at += 1
            else:
                self._next_page()

    @property
    def _totals_height(self) -> int:
        return sum(total.height for total in self._totals)

    def _draw_header(self, top: int, row: Element | None = None) -> bytes:
        """Return the header as content; with a row's element, each header is a cell of it."""
        pages, strip = self._pages, self._strip
        pieces: list[bytes] = []

        def decorate(content: bytes) -> None:
            pieces.append(content if row is None else pages.marked(content))

        if self._band:
            line = pages.typesetter.lines(self._band, style.SMALL, pages.width)
            y = top - ascent_of(style.SMALL)
            decorate(pages.text(line, 0, y, style.SMALL, style.MUTED, flush=strip.width))
            top -= _band_height()
        height = self._header_height - (_band_height() if self._band else 0)
        decorate(pages.filled(0, top - height, strip.width, height, pages.theme.accent))
        for slot, lines in zip(strip.slots, self._header.cells, strict=True):
            edge = slot.x + slot.width if slot.right or (lines and lines[0].rtl) else None
            # Headers of few lines stand at the foot of the row, by the cells they head.
            first = top - _FIRST_BASELINE - (height - 2 * PAD_Y - len(lines) * LEADING)
            text = pages.text(lines, slot.x, first, CELL, pages.theme.on_accent, True, LEADING, edge)
            if row is None or slot not in self._own:
                decorate(text)
            else:
                pieces.append(pages.marked(text, pages.element(b"TH", row, _COLUMN_SCOPE)))
        return b"".join(pieces)

    def _next_page(self) -> None:
        """Begin a new page within the table: repeat its title and the header."""
        pages = self._pages
        self._rule()
        pages.turn()
        if not self._continued:
            width = pages.width * 3 // 4
            self._continued = pages.typesetter.lines(f"{self._title} (continued)", style.SMALL, width)[:1]
        pages.print(self._continued, 0, pages.y - ascent_of(style.SMALL), style.SMALL, style.MUTED)
        if not self._band:
            pages.y -= _band_height()
        self.print_header()

    def _run(self, rows: StripRows, begin: int, end: int, elements: Sequence[Element | None]) -> None:
        """Print rows that fit on the page unchanged."""
        pages, strip = self._pages, self._strip
        top = pages.y
        tops = (top - (rows.edges[begin : end + 1] - rows.edges[begin])).tolist()
        odd = range(1 - self._in_table % 2, end - begin, 2)
        bands = b"".join(
            b"%d %d %d %d re\n" % (MARGIN, tops[i + 1], strip.width, tops[i] - tops[i + 1]) for i in odd
        )
        if bands:
            pages.draw(pages.marked(b"%b\n%bf\n" % (pages.theme.zebra, bands)))
        content = rows.content(begin, end)
        cells: list[Element] = []
        if pages.structure is not None and self.table is not None:
            columns = len(self._own)
            content = pages.structure.add_rows(content, self.table, end - begin, columns, pages.number)
            self._draw(content, rows.is_short)
        else:
            for number, row in enumerate(elements, self.row):
                cells += self._add_cells(row, number)
            self._text(content, cells, rows.is_short)
        self._add_links(tops, cells)
        pages.y = tops[-1]
        self._count(end - begin)

    def _count(self, rows: int) -> None:
        self._in_table += rows
        self.row += rows
        self._pages.row = self.row

    def _add_cells(self, row: Element | None, number: int | None = None) -> list[Element]:
        """Return new elements for the cells of a row; that of a cell with a link is the link in it."""
        structure, links = self._pages.structure, self._links
        if structure is None or row is None:
            return []
        cells = [structure.add(b"TD", row) for _ in self._own]
        if links is not None and number is not None and links.target(number) is not None:
            for place, slot in enumerate(self._own):
                if slot.index == links.column:
                    cells[place] = structure.add(b"Link", cells[place])
        return cells

    def _rule(self) -> None:
        """Draw the line that ends the rows of a page."""
        self._pages.rule(self._pages.y, self._strip.width)

    def _split(self, rows: StripRows, row: int, elements: Sequence[Element | None]) -> None:
        """Print a row taller than a page: as many of its lines as fit, the rest on the next pages."""
        pages = self._pages
        lines = int(rows.heights[row] - 2 * PAD_Y) // LEADING
        done = 0
        element = pages.element(b"TR", self.table) if self.table else next(iter(elements), None)
        cells = self._add_cells(element, self.row)
        while done < lines:
            fit = (pages.room - 2 * PAD_Y) // LEADING
            if fit < min(3, lines - done):
                self._next_page()
                continue
            stop = min(lines, done + fit)
            height = (stop - done) * LEADING + 2 * PAD_Y
            if self._in_table % 2:
                pages.rectangle(0, pages.y - height, self._strip.width, height, pages.theme.zebra)
            self._text(rows.fragment(row, done, stop), cells, rows.is_short)
            if not done:
                self._add_links([pages.y, pages.y - height], cells)
            pages.y -= height
            done = stop
        self._count(1)

    def _text(self, content: bytes, cells: list[Element], is_short: bool) -> None:
        """Print rows' content, whose cells are these elements."""
        if self._pages.structure is not None:
            content = self._pages.structure.number_cells(content, cells, self._pages.number)
        self._draw(content, is_short)

    def _draw(self, content: bytes, is_short: bool) -> None:
        pages = self._pages
        font = pages.typesetter.regular
        font.has_short_codes |= is_short
        resource = (font.short_resource if is_short else font.resource).encode()
        pages.draw(
            b"BT %b /%b %d Tf %d %d Td\n%bET\n"
            % (style.INK, resource, CELL, MARGIN, pages.y - _FIRST_BASELINE, content)
        )

    def _add_links(self, tops: Sequence[int], cells: Sequence[Element]) -> None:
        """Add the links of rows with these edges and cells."""
        links = self._links
        for place, slot in enumerate(self._own):
            if links is None or slot.index != links.column:
                continue
            for offset, (high, low) in enumerate(pairwise(tops)):
                target = links.target(self.row + offset)
                if target is not None:
                    element = cells[offset * len(self._own) + place] if cells else None
                    text = f"Go to {links.titles[target]}"
                    goal = links.first + target
                    self._pages.link(slot.x, low, slot.width, high - low, goal, text, element)

    def _total(self, total: TotalRow, row: Element | None) -> None:
        pages = self._pages
        if total.is_cut and not self.number:
            self._rule()
            pages.paragraph(total.label, "Total", CELL, bold=True)
        if total.height > pages.room:
            self._next_page()
        elements = dict(zip((slot.x for slot in self._own), self._add_cells(row), strict=False))
        pages.rectangle(0, pages.y - total.height, self._strip.width, total.height, pages.theme.total)
        for x, flush, lines in total.cells:
            baseline = pages.y - _FIRST_BASELINE
            pages.print(lines, x, baseline, CELL, style.INK, True, LEADING, flush, elements.get(x))
        pages.y -= total.height


def _band_height() -> int:
    """Return the height of a line of small text above the header."""
    return leading_of(style.SMALL) + UNIT * 3
