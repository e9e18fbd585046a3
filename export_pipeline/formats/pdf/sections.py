"""Chapters: a section's heading, its lines, and its table in groups over as many pages as needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from export_pipeline.core.columns import Column
from export_pipeline.core.layout import Group, Section, Total
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.arrays import batches
from export_pipeline.formats.pdf.cells import heading, number_text
from export_pipeline.formats.pdf.columns import Strip
from export_pipeline.formats.pdf.pages import Bookmark, Pages, ascent_of, leading_of
from export_pipeline.formats.pdf.rows import Block, Marks, RowSetter
from export_pipeline.formats.pdf.structure import Element
from export_pipeline.formats.pdf.style import CELL, LEADING, MARGIN, PAD_X, PAD_Y, UNIT
from export_pipeline.formats.pdf.typeset import Line

_GAP = 10 * UNIT
_SIDE_BY_SIDE = 2
"""Batches laid out in parallel; the same on every machine, so that equal data give equal bytes."""
_MOST_LINES = 12
"""Most lines of a header or a total's label; a longer one is printed in full as a paragraph, once."""
_COLUMN_SCOPE = b"/A<</O/Table/Scope/Column>>"
_ROWS_TOGETHER = 2
"""Rows that stay with a table's header, and with its totals."""
_SMALL_TABLE = 12
"""Most rows of a table that is not divided if it takes at most a quarter of a page."""
_FIRST_BASELINE = PAD_Y + CELL * 96 // 100
"""Distance from a row's top edge to its first baseline."""


_TotalCells = list[tuple[int, int | None, list[Line]]]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _TotalRow:
    """A total row, ready to print.

    Attributes:
        label: Its label in full.
        height: Height of the row.
        strips: For every strip its cells: x, the right edge of a number, and the lines.
        is_cut: True if the row does not hold its whole label.
    """

    label: str
    height: int
    strips: Sequence[_TotalCells]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Header:
    """A strip's header row: the lines of each cell, and the height of the row."""

    cells: Sequence[Sequence[Line]]
    height: int


class SectionPrinter:
    """Prints one section.

    Args:
        pages: The pages to print on; a page must have been started.
        section: The section.
        strips: Its columns' places, from `columns.arrange`.
        anchors: Number of the first of its groups' reserved destination objects; None without links.
        targets: (first destination object, count) that the section's link column leads to, if any.
        known_as: The document's title; a section heading equal to it is not repeated.
    """

    def __init__(
        self,
        pages: Pages,
        section: Section,
        strips: Sequence[Strip],
        anchors: int | None,
        targets: tuple[int, int] | None,
        known_as: str | None,
    ) -> None:
        self._pages = pages
        self._section = section
        self._strips = strips
        self._anchors = anchors
        self._known_as = known_as
        self._headed = known_as or section.heading or section.title
        self._targets = targets
        self._rows_before = 0
        self._in_group = 0
        names = [column.name for column in section.table.columns]
        link = names.index(section.links[0]) if section.links and targets else None
        sums = {names.index(label): label for label in section.sums if label in names}
        marks = Marks(section.counts, sums if section.counts else {})
        self._link = link
        self._setter = RowSetter(
            pages.typesetter, section.table.columns, strips, marks, link, tagged=pages.structure is not None
        )
        self._long_headers: list[Column] = []
        self._headers = [self._header(strip) for strip in strips]
        self._header_height = max(header.height for header in self._headers) + self._band_height
        self._header_content: dict[int, list[bytes]] = {}
        self._continued: list[Line] = []
        self._group: Group | None = None
        self._table: Element | None = None
        self._cells = [len(strip.slots) - (number > 0) for number, strip in enumerate(strips)]
        self._totals: list[_TotalRow] = []
        self._totals_height = 0
        self._chapter: Bookmark | None = None

    def print(self) -> int:
        """Print everything; return the number of rows printed."""
        pages, section = self._pages, self._section
        if pages.strips != len(self._strips):
            pages.spread(len(self._strips))
            self._name_pages_beside()
        if not pages.fresh:
            pages.y -= 2 * _GAP
        self._open_chapter()
        groups = self._groups()
        left = 0
        printed = 0
        encoded = map(self._setter.encode, batches(section.table.open()))
        for block in map_concurrently(self._setter.set, encoded, _SIDE_BY_SIDE):
            at = 0
            while at < block.rows:
                while not left:
                    group = next(groups, None)
                    if group is None:
                        raise RenderError(f"Section {section.key!r} has more rows than its groups.")
                    left = group.rows
                    self._open_group(group, block.heights[at : at + left])
                step = min(left, block.rows - at)
                left -= step
                self._rows(block, at, at + step, is_last=not left)
                at += step
                if not left:
                    self._close_group()
            printed += block.rows
        for group in groups:
            if group.rows:
                left += group.rows
            else:
                self._open_group(group, np.zeros(0, np.int64))
        if left:
            raise RenderError(f"Section {section.key!r} has fewer rows than its groups.")
        pages.typesetter.changed.update(self._setter.changed)
        return printed

    def _name_pages_beside(self) -> None:
        """Print the heading at the top of pages that begin beside one in progress."""
        pages = self._pages
        lines = pages.typesetter.lines(self._headed, style.SMALL, pages.width * 3 // 4)[:1]
        for strip in range(1, pages.strips):
            pages.print(lines, 0, pages.top - ascent_of(style.SMALL), style.SMALL, style.MUTED, strip=strip)

    def _groups(self) -> Iterator[Group]:
        section = self._section
        if section.groups is not None:
            return iter(section.groups)
        return iter((Group("", section.table.rows, totals=section.totals),))

    def _open_chapter(self) -> None:
        pages, section = self._pages, self._section
        size = style.CHAPTER
        lines = pages.typesetter.lines(self._headed, size, pages.width, bold=True)
        height = leading_of(size) * len(lines) + 2 * _GAP
        pages.need(min(pages.body, height + self._header_height + 5 * LEADING))
        if not self._known_as:
            self._chapter = pages.bookmark(self._headed)
            heading_ = pages.element(b"H2")
            pages.paragraph(self._headed, "Heading", size, style.ACCENT, bold=True, element=heading_)
            pages.y -= UNIT * 3
        for text in section.lines:
            pages.paragraph(text, "Heading", style.BODY, style.MUTED)
        for column in self._long_headers:
            number = section.table.columns.index(column) + 1
            pages.paragraph(f"Column {number}: {heading(column)}", column.header, style.BODY, style.MUTED)
        pages.y -= UNIT * 5
        if section.groups is not None and not section.groups:
            self._nothing()

    def _open_group(self, group: Group, heights: Ints) -> None:
        """Print a group's heading on one page with its header and first rows; a small table stays whole.

        Args:
            group: The group.
            heights: Heights of its rows, as far as they are known.
        """
        pages = self._pages
        self._group, self._in_group, self._continued = group, 0, []
        self._totals = [self._set_total(total) for total in group.totals]
        self._totals_height = sum(total.height for total in self._totals)
        grouped = self._section.groups is not None
        table = self._table_height(group, heights)
        if grouped:
            self._heading(group, table)
        if group.rows:
            pages.need(table)
            self._table = pages.element(b"Table")
            self._print_header(is_first=True)
        else:
            self._nothing()
            self._close_group()

    def _table_height(self, group: Group, heights: Ints) -> int:
        """Return the height that a table needs where it begins."""
        if not group.rows:
            return 3 * LEADING
        whole = self._header_height + int(heights.sum()) + self._totals_height
        if group.rows == heights.size <= _SMALL_TABLE and whole <= self._pages.body // 4:
            return whole
        return self._header_height + min(int(heights[:_ROWS_TOGETHER].sum()), 8 * LEADING)

    def _heading(self, group: Group, table: int) -> None:
        pages = self._pages
        size, indent = style.GROUP, 0
        inner = pages.width - 14 * UNIT
        titles = pages.typesetter.lines(group.title, size, inner, bold=True)
        notes = [pages.typesetter.lines(text, style.BODY, pages.width) for text in group.lines]
        height = leading_of(size) * len(titles) + sum(len(n) for n in notes) * leading_of(style.BODY)
        pages.need(min(pages.body, height + table + 2 * UNIT))
        if self._anchors is not None:
            pages.destination(self._anchors)
            self._anchors += 1
        pages.bookmark(group.title, self._chapter)
        if group.color:
            fill = b"%.3f %.3f %.3f rg" % style.color(group.color)
            pages.rectangle(0, pages.y - ascent_of(size), 9 * UNIT, 9 * UNIT, fill)
            indent = 14 * UNIT
        title = pages.element(b"H2" if self._known_as else b"H3")
        pages.paragraph(group.title, "Heading", size, style.INK, True, indent, inner + indent, element=title)
        for text in group.lines:
            pages.paragraph(text, "Heading", style.BODY, style.MUTED)
        pages.y -= UNIT * 4

    def _nothing(self) -> None:
        self._pages.paragraph(self._section.empty, "Heading", style.BODY, style.MUTED)

    def _close_group(self) -> None:
        pages = self._pages
        if self._in_group:
            self._rule()
        for total in self._totals:
            self._total(total)
        pages.y -= _GAP if self._section.groups is None else _GAP + UNIT * 6

    def _header(self, strip: Strip) -> _Header:
        cells = [
            self._pages.typesetter.lines(
                heading(slot.column), CELL, slot.width, slot.column.header, bold=True
            )
            for slot in strip.slots
        ]
        shown = [lines[:_MOST_LINES] for lines in cells]
        for slot, lines in zip(strip.slots, cells, strict=True):
            if len(lines) > _MOST_LINES and slot.column not in self._long_headers:
                self._long_headers.append(slot.column)
        return _Header(shown, max(len(lines) for lines in shown) * LEADING + 2 * PAD_Y)

    @property
    def _band_height(self) -> int:
        """Return the height of the line that lists the columns on a page; 0 if the page shows them all."""
        return leading_of(style.SMALL) + UNIT * 3 if len(self._strips) > 1 else 0

    def _print_header(self, is_first: bool = False) -> None:
        """Print the header row; only the first one of a table is part of it, the others are decoration."""
        pages = self._pages
        if is_first and self._table is not None:
            row = pages.element(b"TR", self._table)
            for number in range(len(self._strips)):
                pages.draw(self._header_of(number, pages.y, row), number)
            pages.y -= self._header_height
            return
        if pages.y not in self._header_content:
            # Most pages have their header at the same height, so it is cached for the next.
            self._header_content = {
                pages.y: [self._header_of(number, pages.y) for number in range(len(self._strips))]
            }
        for number, content in enumerate(self._header_content[pages.y]):
            pages.draw(pages.marked(content, number), number)
        pages.y -= self._header_height

    def _header_of(self, number: int, top: int, row: Element | None = None) -> bytes:
        """Return a strip's header as content; with a row's element, each header is a cell of it."""
        pages, strip = self._pages, self._strips[number]
        pieces: list[bytes] = []

        def decorate(content: bytes) -> None:
            pieces.append(content if row is None else pages.marked(content, number))

        if self._band_height:
            # The first column is on every page; the others tell the pages apart.
            shown = strip.slots[1 if number else 0 :]
            band = f"Columns {shown[0].index + 1}-{shown[-1].index + 1} of {len(self._section.table.columns)}"
            line = pages.typesetter.lines(band, style.SMALL, pages.width)
            y = top - ascent_of(style.SMALL)
            decorate(pages.text(line, 0, y, style.SMALL, style.MUTED, flush=strip.width))
            top -= self._band_height
        height = self._header_height - self._band_height
        decorate(pages.filled(0, top - height, strip.width, height, style.ACCENT))
        for place, (slot, lines) in enumerate(zip(strip.slots, self._headers[number].cells, strict=True)):
            edge = slot.x + slot.width if slot.right or (lines and lines[0].rtl) else None
            baseline = top - _FIRST_BASELINE
            text = pages.text(lines, slot.x, baseline, CELL, style.WHITE, True, LEADING, edge)
            if row is None or (number and not place):
                decorate(text)
            else:
                pieces.append(pages.marked(text, number, pages.element(b"TH", row, _COLUMN_SCOPE)))
        return b"".join(pieces)

    def _next_page(self) -> None:
        """Begin a new page within a table: repeat the group's name and the header."""
        pages = self._pages
        self._rule()
        pages.turn()
        if not self._continued:
            title = self._group.title if self._group and self._section.groups is not None else self._headed
            width = pages.width * 3 // 4
            self._continued = pages.typesetter.lines(f"{title} (continued)", style.SMALL, width)[:1]
        for strip in range(pages.strips):
            y = pages.y - ascent_of(style.SMALL)
            pages.print(self._continued, 0, y, style.SMALL, style.MUTED, strip=strip)
        if not self._band_height:
            pages.y -= leading_of(style.SMALL) + UNIT * 3
        self._print_header()

    def _rows(self, block: Block, begin: int, end: int, is_last: bool) -> None:
        """Print rows; the last ones of a table stay together, and with its totals."""
        pages = self._pages
        at = begin
        while at < end:
            fit = int(np.searchsorted(block.edges, block.edges[at] + pages.room, side="right")) - 1
            fit = min(fit, end)
            last = end - _ROWS_TOGETHER
            if is_last and last < fit:
                rest = int(block.edges[end] - block.edges[at]) + self._totals_height
                ending = int(block.edges[end] - block.edges[max(last, begin)]) + self._totals_height
                if rest > pages.room and self._header_height + ending <= pages.body // 2:
                    fit = max(last, at)
            if fit > at:
                self._run(block, at, fit)
                at = fit
            elif block.heights[at] > pages.body // 3:
                self._split(block, at)
                at += 1
            else:
                self._next_page()

    def _run(self, block: Block, begin: int, end: int) -> None:
        """Print rows that fit on the page unchanged."""
        pages = self._pages
        top = pages.y
        tops = (top - (block.edges[begin : end + 1] - block.edges[begin])).tolist()
        odd = range(1 - self._in_group % 2, end - begin, 2)
        rows = [pages.element(b"TR", self._table) for _ in range(end - begin)]
        for number, (strip, (data, offsets)) in enumerate(zip(self._strips, block.strips, strict=True)):
            bands = b"".join(
                b"%d %d %d %d re\n" % (MARGIN, tops[i + 1], strip.width, tops[i] - tops[i + 1]) for i in odd
            )
            if bands:
                pages.draw(pages.marked(b"%b\n%bf\n" % (style.ZEBRA, bands), number), number)
            content = data[offsets[begin] : offsets[end]].tobytes()
            if pages.structure is not None:
                content = self._number_cells(content, rows, number)
            self._text(content, top, number)
        if self._link is not None:
            self._links(tops)
        pages.y = tops[-1]
        self._in_group += end - begin
        self._rows_before += end - begin

    def _number_cells(self, content: bytes, rows: Sequence[Element | None], strip: int) -> bytes:
        """Return rows' content with the numbers of their cells, which become part of these rows."""
        pages = self._pages
        assert pages.structure is not None
        cells = [pages.structure.add(b"TD", row) for row in rows for _ in range(self._cells[strip])]
        return pages.structure.number_cells(content, cells, pages.page_number(strip))

    def _rule(self) -> None:
        """Draw the line that ends the rows of a page."""
        for number, strip in enumerate(self._strips):
            self._pages.rule(self._pages.y, number, strip.width)

    def _split(self, block: Block, row: int) -> None:
        """Print a row taller than a page: as many of its lines as fit, the rest on the next pages."""
        pages = self._pages
        lines = int(block.heights[row] - 2 * PAD_Y) // LEADING
        done = 0
        cells = self._cells_of_a_row()
        while done < lines:
            fit = (pages.room - 2 * PAD_Y) // LEADING
            if fit < min(3, lines - done):
                self._next_page()
                continue
            stop = min(lines, done + fit)
            height = (stop - done) * LEADING + 2 * PAD_Y
            for number, strip in enumerate(self._strips):
                if self._in_group % 2:
                    pages.rectangle(0, pages.y - height, strip.width, height, style.ZEBRA, number)
                content = block.fragment(number, row, done, stop)
                if pages.structure is not None:
                    page = pages.page_number(number)
                    content = pages.structure.number_cells(content, cells[number], page)
                self._text(content, pages.y, number)
            if self._link is not None and not done:
                self._links([pages.y, pages.y - height])
            pages.y -= height
            done = stop
        self._in_group += 1
        self._rows_before += 1

    def _cells_of_a_row(self) -> list[list[Element]]:
        """Return the elements of a new row's cells, by strip; nothing if the document is not tagged."""
        structure = self._pages.structure
        if structure is None:
            return []
        row = structure.add(b"TR", self._table)
        return [[structure.add(b"TD", row) for _ in range(count)] for count in self._cells]

    def _text(self, content: bytes, top: int, strip: int) -> None:
        resource = self._pages.typesetter.regular.resource.encode()
        self._pages.draw(
            b"BT %b /%b %d Tf %d %d Td\n%bET\n"
            % (style.INK, resource, CELL, MARGIN, top - _FIRST_BASELINE, content),
            strip,
        )

    def _links(self, tops: Sequence[int]) -> None:
        assert self._targets is not None
        first, count = self._targets
        for strip, columns in enumerate(self._strips):
            for slot in columns.slots:
                if slot.index != self._link:
                    continue
                for offset, (high, low) in enumerate(pairwise(tops)):
                    place = self._rows_before + offset
                    targets = self._section.targets
                    target = place if targets is None else targets[place]
                    if target is not None and target < count:
                        self._pages.link(slot.x, low, slot.width, high - low, first + target, strip)

    def _set_total(self, total: Total) -> _TotalRow:
        """Lay a total row out: its label starts in the first column without a value and runs up to the next
        column that has one.
        """
        pages = self._pages
        printed: list[_TotalCells] = []
        is_cut = False
        tallest = 1
        for strip in self._strips:
            texts = {
                slot.index: number_text(slot.column, total.values[slot.column.name])
                for slot in strip.slots
                if total.values.get(slot.column.name) is not None
            }
            cells: _TotalCells = []
            free = [slot.x for slot in strip.slots if slot.index not in texts]
            if free:
                valued = [slot.x for slot in strip.slots if slot.index in texts and slot.x > free[0]]
                wide = min(valued, default=strip.width) - PAD_X - free[0]
                label = pages.typesetter.lines(total.label, CELL, max(wide, 20 * UNIT), "Total", bold=True)
                is_cut |= len(label) > _MOST_LINES
                cells.append((free[0], None, label[:_MOST_LINES]))
            for slot in strip.slots:
                if slot.index in texts:
                    lines = pages.typesetter.lines(texts[slot.index], CELL, slot.width, "Total", bold=True)
                    cells.append((slot.x, slot.x + slot.width, lines))
            tallest = max([tallest, *(len(lines) for _, _, lines in cells)])
            printed.append(cells)
        return _TotalRow(total.label, tallest * LEADING + 2 * PAD_Y, printed, is_cut)

    def _total(self, total: _TotalRow) -> None:
        pages = self._pages
        if total.is_cut:
            self._rule()
            pages.paragraph(total.label, "Total", CELL, bold=True)
        if total.height > pages.room:
            self._next_page()
        elements = self._cells_of_a_row()
        for number, (strip, cells) in enumerate(zip(self._strips, total.strips, strict=True)):
            places = {slot.x: place - (number > 0) for place, slot in enumerate(strip.slots)}
            pages.rectangle(0, pages.y - total.height, strip.width, total.height, style.TOTAL, number)
            for x, flush, lines in cells:
                baseline = pages.y - _FIRST_BASELINE
                place = places[x]
                cell = elements[number][place] if elements and place >= 0 else None
                pages.print(lines, x, baseline, CELL, style.INK, True, LEADING, flush, number, cell)
        pages.y -= total.height
