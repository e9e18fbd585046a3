"""A workbook in progress: its sheets, shared parts, and what is known only after every row."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section
from export_pipeline.core.sanitize import GUARDED, guard_formulas
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.base import Rendered, RenderError
from export_pipeline.formats.excel import package
from export_pipeline.formats.excel.archive import Archive, Entry
from export_pipeline.formats.excel.cells import ColumnCells, Shared, SharedStrings
from export_pipeline.formats.excel.chart_sheet import ChartSheet
from export_pipeline.formats.excel.charts import chart_part, chart_xml, drawing_xml
from export_pipeline.formats.excel.links import SheetLinks, all_links
from export_pipeline.formats.excel.list_objects import (
    MAX_TABLES,
    can_head_table,
    table_name,
    table_part,
    table_xml,
)
from export_pipeline.formats.excel.names import column_letters, utf16_head, utf16_length
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.overflow import CUT, Overflow
from export_pipeline.formats.excel.paper import fit_pages, footer_code
from export_pipeline.formats.excel.plan import SectionPlan, Sheet
from export_pipeline.formats.excel.rows import RowXml, slices
from export_pipeline.formats.excel.sheet import Frame, SheetWriter
from export_pipeline.formats.excel.sheet_run import SheetRun
from export_pipeline.formats.excel.styles import (
    HEADER,
    TITLE,
    Style,
    StyleBook,
    data_style,
    missing_style,
    odd_style,
    wraps,
)
from export_pipeline.formats.excel.text import MAX_TEXT
from export_pipeline.formats.excel.widths import column_width


class Workbook:
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
        self._charts = 0
        self._footer = ""
        self._title = ""
        self._is_single = False
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
        self._footer, self._title = layout.footer, layout.title
        is_divided = any(section.groups is not None for section in layout.sheets)
        self._is_single = len(layout.sheets) == 1 and not layout.charts and not is_divided
        core = package.core_properties(layout)
        self._archive.add("docProps/core.xml", core.encode())

    def write_section(self, plan: SectionPlan) -> None:
        """Write the sheets of a section."""
        section = plan.section
        table = section.table
        letters = tuple(column_letters(i) for i in range(len(table.columns)))
        if section.counts:
            self._rendered.rows += table.rows
        prefix = f"{section.dataset}: " if section.dataset else ""
        columns_by_name = dict(zip(table.schema, letters, strict=True))
        self._sums += [
            package.Sum(columns_by_name[name], prefix + name, table.schema[name].null, section.key)
            for name in (section.sums if section.counts or section.proves else ())
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
        changed = partial(self._count_in, prefix)
        columns = []
        for i, column in enumerate(table.columns):
            sample = None if first is None else first.column(i)
            has_links = column.kind is Kind.URL and not self._plain
            looks_linked = column.name == linked or (has_links and sample is not None and all_links(sample))
            styles = (
                self._styles.number(data_style(column, linked=looks_linked)),
                self._styles.number(odd_style(column)),
                self._styles.number(missing_style(column)) if column.null else 0,
            )
            width = widths[i] if wraps(column) and not self._plain else None
            columns.append(
                ColumnCells(column, letters[i], styles, self._shared, sample, width, has_links=has_links)
            )
        page = fit_pages(widths, self._paper)
        # The footer has the document's title: a sheet with this heading need not name itself.
        is_titled = section.groups is None and (section.heading or section.title) == self._title
        frame = Frame(
            columns=table.columns,
            letters=letters,
            headers=headers,
            widths=widths,
            empty=section.empty,
            freeze=self._freeze,
            header_numbers=self._header_numbers(plan, headers),
            page=page,
            footer=footer_code(self._footer, names_sheet=not (is_titled or self._is_single)),
            highlights=() if self._plain else section.highlights,
            changed=changed,
        )
        run = SheetRun(self, plan, SheetWriter(frame, self._styles, self._label), frame)
        prepared = run.prepared(chain(() if first is None else (first,), batches), columns)
        for made in map_concurrently(lambda rows: RowXml(rows, columns), prepared):
            for (reason, header), count in made.changed.items():
                changed(reason, header, count)
            run.write(made)
        run.finish()

    def _header_numbers(self, plan: SectionPlan, headers: tuple[str, ...]) -> tuple[int, ...]:
        """Return the headers' shared strings if the section's sheets are to have tables."""
        is_table = not self._plain and plan.section.groups is None and can_head_table(headers)
        if not is_table or self._tables + len(plan.sheets) > MAX_TABLES:
            return ()
        numbers = [self._shared.strings.number(header) for header in headers]
        return tuple(number for number in numbers if number is not None) if None not in numbers else ()

    def open_sheet(self, sheet: Sheet, frame: Frame, section: Section) -> Entry:
        """Begin the next sheet's part and add the sheet to the list."""
        letters = frame.letters
        area = f"${letters[0]}${sheet.header_row}:${letters[-1]}${sheet.last_row}" if letters else None
        self._entries.append(
            package.SheetEntry(
                sheet.name,
                sheet.header_row,
                area,
                section.counts,
                has_filter=not self._plain and not frame.header_numbers,
                across=frame.page.across > 1,
                section=section.key,
            )
        )
        return self._archive.entry(package.sheet_part(len(self._entries)))

    def write_relations(self, sheet: Sheet, frame: Frame, links: SheetLinks | None) -> None:
        """Write the table of the sheet that was written last, if it has one, and what the sheet refers to."""
        relations = []
        if frame.header_numbers:
            self._write_table(sheet, frame)
            relations.append(("table", f"/{table_part(self._tables)}"))
        part = package.sheet_part(len(self._entries))
        if links is not None:
            self._archive.copy(package.relationships_part(part), links.finish(*relations))
            links.close()
        elif relations:
            self._relate(part, *relations)

    def _write_table(self, sheet: Sheet, frame: Frame) -> None:
        self._tables += 1
        letters, last = frame.letters, max(sheet.last_row, sheet.first_row)
        area = f"{letters[0]}{sheet.header_row}:{letters[-1]}{last}"
        name = table_name(sheet.name, self._tables)
        xml = table_xml(self._tables, name, area, frame.headers)
        self._archive.add(table_part(self._tables), xml.encode())

    def _relate(self, part: str, *links: tuple[str, str]) -> None:
        """Write the relationships of a part."""
        self._archive.add(package.relationships_part(part), package.relationships(*links))

    def write_charts(self, layout: Layout, name: str) -> None:
        """Write the sheet with the charts, if there are any."""
        if not layout.charts:
            return
        title, origin = self._label(layout.title), self._label(layout.origin)
        sheet = ChartSheet(name, title, origin, layout.charts, self._styles, self._label)
        areas = tuple(placed.area(1, len(placed.chart.series)) for placed in sheet.placed)
        self._entries.append(package.SheetEntry(name, charts=areas))
        part = package.sheet_part(len(self._entries))
        self._archive.add(
            part, sheet.xml(footer_code(self._footer, names_sheet=True), self._paper, self._count).encode()
        )
        self._relate(part, ("drawing", f"/{package.DRAWING_PART}"))
        self._archive.add(package.DRAWING_PART, drawing_xml(sheet.placed).encode())
        for number, placed in enumerate(sheet.placed, start=1):
            self._archive.add(chart_part(number), chart_xml(placed).encode())
        parts = [chart_part(number) for number in range(1, len(sheet.placed) + 1)]
        self._relate(package.DRAWING_PART, *(("chart", f"/{part}") for part in parts))
        self._charts = len(parts)

    @property
    def sheets(self) -> int:
        """Number of sheets begun."""
        return len(self._entries)

    def warn(self, sentence: str) -> None:
        """Add a warning for the manifest."""
        self._rendered.warnings.append(sentence)

    def finish(self, layout: Layout) -> None:
        """Write the parts that are known only after every row.

        Raises:
            RenderError: There is no sheet.
        """
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
            ("[Content_Types].xml", package.content_types(count, self._tables, self._charts)),
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
        self._count_in("", reason, header)

    def _count_in(self, dataset: str, reason: str, header: str, count: int = 1) -> None:
        self._rendered.changed[reason, dataset + header] += count


def _totals(section: Section, column: Column) -> list[Any]:
    groups = section.groups or ()
    totals = chain(section.totals, *(group.totals for group in groups))
    return [total.values[column.name] for total in totals if column.name in total.values]
