"""Render a layout as an Excel workbook, sheet by sheet, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section
from export_pipeline.core.sanitize import GUARDED, guard_formulas
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.base import Rendered, RenderError
from export_pipeline.formats.excel import package
from export_pipeline.formats.excel.archive import Archive, Entry
from export_pipeline.formats.excel.cells import ColumnCells, Shared, SharedStrings
from export_pipeline.formats.excel.list_objects import (
    MAX_TABLES,
    can_head_table,
    table_name,
    table_part,
    table_relationship,
    table_xml,
)
from export_pipeline.formats.excel.names import column_letters, quote_sheet, utf16_head, utf16_length
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.overflow import Overflow
from export_pipeline.formats.excel.paper import fit_pages
from export_pipeline.formats.excel.plan import SectionPlan, Sheet, plan_workbook
from export_pipeline.formats.excel.rows import Positions, RowXml, Slice, slices
from export_pipeline.formats.excel.sheet import Frame, SheetWriter
from export_pipeline.formats.excel.styles import (
    HEADER,
    TITLE,
    Style,
    StyleBook,
    data_style,
    odd_style,
    wraps,
)
from export_pipeline.formats.excel.text import MAX_TEXT
from export_pipeline.formats.excel.widths import column_width

CUT = "cut to the length of a cell"
_LONGEST_FOOTER = 200  # characters; Excel refuses more than 255 in all
MAX_LINKS = 65_530  # hyperlinks of a sheet


def render(layout: Layout, out: BinaryIO, options: ExcelOptions) -> Rendered:
    """Write `layout.sheets` as an .xlsx workbook.

    Args:
        layout: The layout. Its batches are read once, in order.
        out: A binary stream; only `write` is used.
        options: `guard_formulas` (bool, default False): put an apostrophe before text that starts
            like a formula. Text cells are never formulas, even without it; it is for people who copy cells
            to CSV.
            `freeze` (bool, default True): freeze the header row. `sheet_title` (str): the name of
            the export's sheet, instead of its section's title. `currency` (str): the symbol of every
            money column, instead of its own.

    Returns:
        The rows of the counting section, and counts of cells that do not hold their source value exactly.

    Raises:
        RenderError: More columns than a sheet can hold, more than 4 GB, or a table whose row count is not
            the declared one.
    """
    plan = plan_workbook(_apply_options(layout, options), plain=options.layout == "plain")
    rendered = Rendered(warnings=list(plan.warnings))
    with Archive(out, layout.created) as archive:
        workbook = _Workbook(archive, rendered, plan.overflow_name, options)
        try:
            workbook.write_properties(layout)
            workbook.footer = _footer(layout)
            for section in plan.sections:
                workbook.write_section(section)
            workbook.finish(layout)
        finally:
            workbook.overflow.close()
    return rendered


class _Workbook:
    """A workbook in progress."""

    def __init__(
        self, archive: Archive, rendered: Rendered, overflow_name: str, options: ExcelOptions
    ) -> None:
        self._archive = archive
        self._rendered = rendered
        self._guard = options.guard_formulas
        self._plain = options.layout == "plain"
        self._paper = options.page_size
        self._tables = 0
        self.footer = ""
        self._freeze = options.freeze
        self._styles = StyleBook()
        number = self._styles.number
        self.overflow = Overflow(
            overflow_name, (number(TITLE), number(HEADER), number(Style(vertical="top")))
        )
        self._shared = Shared(SharedStrings(), self.overflow, self._guard, options.layout == "report")
        self._entries: list[package.SheetEntry] = []
        self._sums: list[package.Sum] = []

    def write_properties(self, layout: Layout) -> None:
        """Write the parts that are known before any row: they come first, where file sniffers look."""
        for name, text in package.FIXED_PARTS.items():
            self._archive.add(name, text.encode())
        core = package.core_properties(layout)
        self._archive.add("docProps/core.xml", core.encode())

    def write_section(self, plan: SectionPlan) -> None:
        """Write the sheets of a section."""
        section = plan.section
        table = section.table
        letters = tuple(column_letters(i) for i in range(len(table.columns)))
        if section.counts:
            self._rendered.rows += table.rows
            columns_by_name = dict(zip(table.schema, letters, strict=True))
            self._sums += [
                package.Sum(columns_by_name[name], name, table.schema[name].null) for name in section.sums
            ]
        batches = slices(table)
        first = next(batches, None)
        linked = section.links[0] if section.links and plan.targets else None
        headers = tuple(self._header(column) for column in table.columns)
        widths = tuple(
            column_width(
                column, headers[i], None if first is None else first.column(i), _totals(section, column)
            )
            for i, column in enumerate(table.columns)
        )
        columns = []
        for i, column in enumerate(table.columns):
            styles = (
                self._styles.number(data_style(column, linked=column.name == linked)),
                self._styles.number(odd_style()),
            )
            sample = None if first is None else first.column(i)
            width = widths[i] if wraps(column) and not self._plain else None
            columns.append(ColumnCells(column, letters[i], styles, self._shared, sample, width))
        page = fit_pages(widths, self._paper)
        frame = Frame(
            columns=table.columns,
            letters=letters,
            headers=headers,
            widths=widths,
            empty=section.empty,
            freeze=self._freeze,
            header_numbers=self._header_numbers(plan, headers),
            page=page,
            footer=self.footer,
            changed=self._count,
        )
        run = _SheetRun(self, plan, SheetWriter(frame, self._styles, self._label), frame)
        prepared = run.prepared(chain(() if first is None else (first,), batches), columns)
        for made in map_concurrently(lambda rows: RowXml(rows, columns), prepared):
            self._rendered.changed.update(made.changed)
            run.write(made)
        run.finish()

    def _header_numbers(self, plan: SectionPlan, headers: tuple[str, ...]) -> tuple[int, ...]:
        """Return the headers' shared strings if the section's sheets are to have tables."""
        is_table = not self._plain and plan.section.groups is None and can_head_table(headers)
        if not is_table or self._tables + len(plan.sheets) > MAX_TABLES:
            return ()
        numbers = [self._shared.strings.number(header) for header in headers]
        return tuple(number for number in numbers if number is not None) if None not in numbers else ()

    def open_sheet(self, sheet: Sheet, frame: Frame, counts: bool) -> Entry:
        """Begin the next sheet's part and add the sheet to the list."""
        letters = frame.letters
        area = f"${letters[0]}${sheet.header_row}:${letters[-1]}${sheet.last_row}" if letters else None
        self._entries.append(
            package.SheetEntry(
                sheet.name,
                sheet.header_row,
                area,
                counts,
                has_filter=not self._plain and not frame.header_numbers,
                across=frame.page.across > 1,
            )
        )
        return self._archive.entry(package.sheet_part(len(self._entries)))

    def write_table(self, sheet: Sheet, frame: Frame) -> None:
        """Write the table of the sheet that was written last."""
        self._tables += 1
        letters, last = frame.letters, max(sheet.last_row, sheet.first_row)
        area = f"{letters[0]}{sheet.header_row}:{letters[-1]}{last}"
        name = table_name(sheet.name, self._tables)
        xml = table_xml(self._tables, name, area, frame.headers)
        self._archive.add(table_part(self._tables), xml.encode())
        relations = f"xl/worksheets/_rels/sheet{len(self._entries)}.xml.rels"
        self._archive.add(relations, table_relationship(self._tables).encode())

    @property
    def sheets(self) -> int:
        """Number of sheets begun."""
        return len(self._entries)

    def warn(self, sentence: str) -> None:
        """Add a warning for the manifest."""
        self._rendered.warnings.append(sentence)

    def finish(self, layout: Layout) -> None:
        """Write the parts that are known only after every row."""
        if self.overflow.used:
            self._entries.append(package.SheetEntry(self.overflow.name))
            self.overflow.write(self._archive, package.sheet_part(len(self._entries)))
        if not self._entries:
            raise RenderError(f"{layout.title!r} has no section for a sheet.")
        strings = self._archive.entry("xl/sharedStrings.xml")
        for piece in self._shared.strings.xml():
            strings.write(piece)
        strings.close()
        count = len(self._entries)
        for name, text in (
            ("xl/styles.xml", self._styles.xml()),
            ("xl/workbook.xml", package.workbook(self._entries, self._sums)),
            ("xl/_rels/workbook.xml.rels", package.workbook_relationships(count)),
            ("[Content_Types].xml", package.content_types(count, self._tables)),
        ):
            self._archive.add(name, text.encode())

    def _header(self, column: Column) -> str:
        named = column.kind is Kind.TIMESTAMP and column.zone is not None
        header = f"{column.header} ({column.zone})" if named else column.header
        return self._printable(header, column.header)

    def _label(self, text: str) -> str:
        return self._printable(text, "titles and lines")

    def _printable(self, text: str, where: str) -> str:
        """Convert a string that is not data so that a cell can hold it."""
        if utf16_length(text) > MAX_TEXT:
            self._count(CUT, where)
            text = utf16_head(text, MAX_TEXT - 2) + "…"
        if not self._guard:
            return text
        safe, count = guard_formulas(pa.array([text], pa.string()))
        if count:
            self._count(GUARDED, where)
        made: str = safe[0].as_py()
        return made

    def _count(self, reason: str, header: str) -> None:
        self._rendered.changed[reason, header] += 1


class _SheetRun:
    """The sheets of one section, opened and closed as its rows arrive."""

    def __init__(self, workbook: _Workbook, plan: SectionPlan, writer: SheetWriter, frame: Frame) -> None:
        self._workbook = workbook
        self._plan = plan
        self._writer = writer
        self._frame = frame
        self._positions = Positions(plan.sheets)
        self._seen = 0
        self._current = -1
        self._entry: Entry | None = None
        # Numeric columns that hold a string, keyed by their table (the name of its last sheet).
        self._text_columns: dict[str, set[int]] = {}

    def prepared(self, batches: Iterable[pa.RecordBatch], columns: list[ColumnCells]) -> Iterator[Slice]:
        """Yield the batches' rows with their positions."""
        table = self._plan.section.table
        for batch in batches:
            if self._seen + batch.num_rows > table.rows:
                raise RenderError(f"Table {table.name!r} gave more rows than the {table.rows:,} it promised.")
            yield Slice(batch, columns, self._positions, self._seen)
            self._seen += batch.num_rows

    def write(self, rows: RowXml) -> None:
        """Write rows into their sheets."""
        for column, sheets in rows.odd:
            for index in sheets:
                self._text_columns.setdefault(_table_key(self._plan.sheets[index]), set()).add(column)
        for run in rows.runs:
            self._advance(run.sheet)
            assert self._entry is not None
            self._entry.write(run.data, run.packed)

    def finish(self) -> None:
        """Write the remaining sheets, which have no rows, and close the last one."""
        table = self._plan.section.table
        if self._seen != table.rows:
            raise RenderError(
                f"Table {table.name!r} gave {self._seen:,} rows, not the {table.rows:,} it promised."
            )
        self._advance(len(self._plan.sheets))

    def _advance(self, index: int) -> None:
        """Close sheets until the one with this index is open."""
        while self._current < index:
            if self._entry is not None:
                sheet = self._plan.sheets[self._current]
                texts = self._text_columns.get(_table_key(sheet), ())
                self._entry.write(self._writer.tail(sheet, texts, self._links(sheet)))
                self._entry.close()
                self._entry = None
                if self._frame.header_numbers:
                    self._workbook.write_table(sheet, self._frame)
            self._current += 1
            if self._current < len(self._plan.sheets):
                sheet = self._plan.sheets[self._current]
                first = self._workbook.sheets == 0
                self._entry = self._workbook.open_sheet(sheet, self._frame, self._plan.section.counts)
                self._entry.write(self._writer.head(sheet, selected=first))

    def _links(self, sheet: Sheet) -> list[tuple[str, str]]:
        """Return (cell, location) of the sheet's links."""
        section, targets = self._plan.section, self._plan.targets
        if section.links is None or not targets:
            return []
        names = [column.name for column in section.table.columns]
        letters = self._frame.letters[names.index(section.links[0])]
        start = int(self._positions.starts[self._current])
        names_here = targets[start : start + sheet.rows]
        if len(names_here) > MAX_LINKS:
            self._workbook.warn(f"Only the first {MAX_LINKS:,} rows of {sheet.name!r} are links.")
        return [
            (f"{letters}{row}", f"{quote_sheet(name)}!A1")
            for row, name in enumerate(names_here[:MAX_LINKS], start=sheet.first_row)
            if name is not None
        ]


def _apply_options(layout: Layout, options: ExcelOptions) -> Layout:
    """Return the layout with the requested sheet title and currency."""
    title, currency = options.sheet_title, options.currency
    sections = []
    for section in layout.sheets:
        if title and section.counts and section.groups is None:
            section = replace(section, title=title, heading=section.heading or section.title)
        if currency:
            columns = tuple(replace(column, currency=currency) for column in section.table.columns)
            section = replace(section, table=replace(section.table, columns=columns))
        sections.append(section)
    return replace(layout, sheets=tuple(sections))


def _footer(layout: Layout) -> str:
    """Return the code of a page's footer: the sheet if there are several, whose data, what, when, pages."""
    text = layout.footer.replace("&", "&&")
    if len(layout.sheets) > 1 or any(section.groups is not None for section in layout.sheets):
        text = "&A · " + text
    return f"&L{utf16_head(text, _LONGEST_FOOTER)}&RPage &P of &N"


def _totals(section: Section, column: Column) -> list[Any]:
    groups = section.groups or ()
    totals = chain(section.totals, *(group.totals for group in groups))
    return [total.values[column.name] for total in totals if column.name in total.values]


def _table_key(sheet: Sheet) -> str:
    return sheet.ranges[-1][0]
