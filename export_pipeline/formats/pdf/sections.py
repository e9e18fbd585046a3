"""Chapters: a section's heading, its lines, and its table in groups over as many pages as needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from export_pipeline.core.layout import Group, Section
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.arrays import batches
from export_pipeline.formats.pdf.cells import heading
from export_pipeline.formats.pdf.columns import Strip
from export_pipeline.formats.pdf.outline import Bookmark
from export_pipeline.formats.pdf.pages import Pages, ascent_of, leading_of
from export_pipeline.formats.pdf.rows import Marks, RowSetter, StripRows
from export_pipeline.formats.pdf.strips import Links, StripPrinter, set_header, set_total
from export_pipeline.formats.pdf.structure import Element
from export_pipeline.formats.pdf.style import LEADING, UNIT

_GAP = 10 * UNIT
_SIDE_BY_SIDE = 2
"""Batches laid out in parallel; the same on every machine, so that equal data give equal bytes."""

Ints = NDArray[np.int64]


class SectionPrinter:
    """Prints one section.

    Args:
        pages: The pages to print on; a page must have been started.
        section: The section.
        strips: Its columns' places, from `columns.arrange`.
        anchors: Number of the first of its groups' reserved destination objects; None without links.
        targets: The first destination object and the titles that the section's link column leads to, if any.
        known_as: The document's title; a section heading equal to it is not repeated.
    """

    def __init__(
        self,
        pages: Pages,
        section: Section,
        strips: Sequence[Strip],
        anchors: int | None,
        targets: tuple[int, Sequence[str]] | None,
        known_as: str | None,
    ) -> None:
        self._pages = pages
        self._section = section
        self._strips = strips
        self._anchors = anchors
        self._known_as = known_as
        self._headed = known_as or section.heading or section.title
        names = [column.name for column in section.table.columns]
        links = None
        if section.links and targets:
            links = Links(names.index(section.links[0]), *targets, section.targets)
        self._has_no_links = links is None
        sums = {names.index(label): label for label in section.sums if label in names}
        self._setter = RowSetter(
            pages.typesetter,
            section.table.columns,
            strips,
            Marks(section.counts, sums if section.counts or section.proves else {}),
            links.column if links else None,
            tagged=pages.structure is not None,
        )
        headers = [set_header(pages.typesetter, strip) for strip in strips]
        self._header_height = max(header.height for header in headers)
        self._cut_headers = {slot.index: slot.column for header in headers for slot in header.cut}
        self._printers = [
            StripPrinter(pages, number, strip, header, self._header_height, self._band(number), links)
            for number, (strip, header) in enumerate(zip(strips, headers, strict=True))
        ]
        self._table: Element | None = None
        self._totals = 0
        self._chapter: Bookmark | None = None

    def print(self) -> int:
        """Print everything; return the number of rows printed.

        Raises:
            RenderError: The groups have fewer rows than the table.
        """
        pages, section = self._pages, self._section
        if pages.strips > 1:
            pages.start()
        elif not pages.fresh:
            pages.y -= 2 * _GAP
        self._open_chapter()
        pages.spread(len(self._strips))
        self._name_pages_beside()
        groups = self._groups()
        left = 0
        printed = 0
        encoded = map(self._setter.encode, batches(section.table.open()))
        for block in map_concurrently(self._setter.set, encoded, _SIDE_BY_SIDE):
            rows = block[0].heights.size
            at = 0
            while at < rows:
                while not left:
                    group = next(groups, None)
                    if group is None:
                        raise RenderError(f"Section {section.key!r} has more rows than its groups.")
                    left = group.rows
                    self._open_group(group, [strip.heights[at : at + left] for strip in block])
                step = min(left, rows - at)
                left -= step
                self._rows(block, at, at + step, is_last=not left)
                at += step
                if not left:
                    self._close_group()
            printed += rows
        for group in groups:
            if group.rows:
                left += group.rows
            else:
                self._open_group(group, [np.zeros(0, np.int64)] * len(self._strips))
        if left:
            raise RenderError(f"Section {section.key!r} has fewer rows than its groups.")
        pages.typesetter.changed.update(self._setter.changed)
        return printed

    def _band(self, number: int) -> str:
        """Return the line that lists the columns of a strip; "" if the page shows them all."""
        if len(self._strips) == 1:
            return ""
        # The first column is on every page; the others tell the pages apart.
        shown = self._strips[number].slots[1 if number else 0 :]
        first, last = shown[0].index + 1, shown[-1].index + 1
        return f"Columns {first}-{last} of {len(self._section.table.columns)}"

    def _each(self) -> Iterator[StripPrinter]:
        """Yield the strips' printers, each with its page in progress."""
        for printer in self._printers:
            self._pages.select(printer.number)
            self._pages.row = printer.row
            yield printer
        self._pages.select(0)

    def _name_pages_beside(self) -> None:
        """Print the heading at the top of pages that begin beside one in progress."""
        pages = self._pages
        lines = pages.typesetter.lines(self._headed, style.SMALL, pages.width * 3 // 4)[:1]
        for printer in self._each():
            if printer.number:
                pages.print(lines, 0, pages.top - ascent_of(style.SMALL), style.SMALL, style.MUTED)
                pages.y -= leading_of(style.SMALL)

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
            pages.paragraph(self._headed, "Heading", size, pages.theme.heading, bold=True, element=heading_)
            pages.y -= UNIT * 3
        for text in section.lines:
            pages.paragraph(text, "Heading", style.BODY, style.MUTED)
        for index, column in self._cut_headers.items():
            text = f"Column {index + 1}: {heading(column)}"
            pages.paragraph(text, column.header, style.BODY, style.MUTED)
        pages.y -= UNIT * 5
        if section.groups is not None and not section.groups:
            self._nothing()

    def _open_group(self, group: Group, heights: Sequence[Ints]) -> None:
        """Print a group's heading on one page with its header and first rows; a small table stays whole.

        Args:
            group: The group.
            heights: For each strip the heights of its rows, as far as they are known.
        """
        pages = self._pages
        totals = [set_total(pages.typesetter, self._strips, total) for total in group.totals]
        self._totals = len(totals)
        is_grouped = self._section.groups is not None
        title = group.title if is_grouped else self._headed
        self._table, row = None, None
        for printer in self._each():
            printer.open_table(title, [total[printer.number] for total in totals])
            height = printer.table_height(group.rows, heights[printer.number])
            if is_grouped:
                self._heading(group, height, is_first=not printer.number)
            if not group.rows:
                if not printer.number:
                    self._nothing()
                continue
            pages.need(height)
            if not printer.number:
                self._table = pages.element(b"Table")
                row = pages.element(b"TR", self._table) if self._table else None
            printer.print_header(row)
            # Rows over several strips, or with links, have elements of their own.
            printer.table = self._table if len(self._strips) == 1 and self._has_no_links else None
        if not group.rows:
            self._close_group()

    def _heading(self, group: Group, table: int, is_first: bool) -> None:
        """Print a group's heading, with room for its table; on further strips as decoration."""
        pages = self._pages
        size, indent = style.GROUP, 0
        inner = pages.width - 14 * UNIT
        titles = pages.typesetter.lines(group.title, size, inner, bold=True)
        notes = [pages.typesetter.lines(text, style.BODY, pages.width) for text in group.lines]
        height = leading_of(size) * len(titles) + sum(len(n) for n in notes) * leading_of(style.BODY)
        pages.need(min(pages.body, height + table + 2 * UNIT))
        if not is_first:
            pages.print(
                titles, 0, pages.y - ascent_of(size), size, style.INK, bold=True, leading=leading_of(size)
            )
            pages.y -= height + UNIT * 4
            return
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
        gap = _GAP if self._section.groups is None else _GAP + UNIT * 6
        elements = self._add_rows(self._totals)
        for printer in self._each():
            printer.close_table(elements)
            self._pages.y -= gap

    def _rows(self, block: Sequence[StripRows], begin: int, end: int, is_last: bool) -> None:
        is_own = self._table is not None and self._printers[0].table is None
        elements = self._add_rows(end - begin) if is_own else []
        for printer in self._each():
            printer.print_rows(block[printer.number], begin, end, is_last, elements)

    def _add_rows(self, count: int) -> list[Element | None]:
        """Return new elements of the table for so many rows; None for each if the document is not tagged."""
        return [self._pages.element(b"TR", self._table) if self._table else None for _ in range(count)]
