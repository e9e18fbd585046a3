"""Splice the rows of an export into the table of a company's workbook, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from export_pipeline.core.layout import Layout, Section, WorkbookTemplate
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.base import Rendered, RenderError
from export_pipeline.formats.excel.archive import Archive, Entry
from export_pipeline.formats.excel.cells import ColumnCells, Shared, SharedStrings
from export_pipeline.formats.excel.names import column_letters, utf16_head
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.overflow import CUT
from export_pipeline.formats.excel.package import TEMPLATE_NAME, SheetEntry, Sum, proof_names
from export_pipeline.formats.excel.plan import MAX_ROWS, Sheet
from export_pipeline.formats.excel.rows import Positions, RowXml, Slice, slices
from export_pipeline.formats.excel.template.inspection import check_formats
from export_pipeline.formats.excel.template.references import TemplateError
from export_pipeline.formats.excel.template.splice import Opened, hash_file, open_template
from export_pipeline.formats.excel.text import MAX_TEXT, clean_text


class _Cutter:
    """Shortens texts that no cell holds: a template has no sheet for the rest of them."""

    reason = CUT

    def move(self, sheet: str, cell: str, text: str) -> str:
        """Return the beginning of a text."""
        return utf16_head(text, MAX_TEXT - 1) + "…"


def render_template(
    layout: Layout, template: WorkbookTemplate, out: BinaryIO, options: ExcelOptions
) -> Rendered:
    """Write the template with the layout's rows in its table.

    Raises:
        RenderError: The template has changed since it was checked, or cannot hold the rows.
    """
    section = next(section for section in layout.sheets if section.counts)
    try:
        if hash_file(template.path) != template.sha256:
            raise TemplateError("was changed since it was checked; reload the datasets")
        return _render(section, open_template(template.path, template.table), out, options, layout)
    except TemplateError as error:
        raise RenderError(f"{template.path.name} {error}.") from None


def _render(
    section: Section, opened: Opened, out: BinaryIO, options: ExcelOptions, layout: Layout
) -> Rendered:
    table, place = section.table, opened.place
    if len(table.columns) != len(place.headers):
        raise TemplateError(
            f"has {len(place.headers)} columns in its table, the export {len(table.columns)}; "
            "reload the datasets"
        )
    if table.rows > MAX_ROWS - place.header_row:
        raise TemplateError(
            f"holds {MAX_ROWS - place.header_row:,} rows, the export has {table.rows:,}; choose "
            "excel_layout: plain, or export fewer rows"
        )
    letters = [column_letters(place.left + index) for index in range(len(table.columns))]
    styles = opened.styles()
    check_formats(opened.package, place, styles, [column.kind for column in table.columns])
    sheet = Sheet(place.sheet, "", (), table.rows, place.header_row, (), (), None)
    rendered = Rendered(rows=table.rows, warnings=list(layout.notes))
    shared = Shared(SharedStrings(0), _Cutter(), options.guard_formulas, True)
    columns = [
        ColumnCells(
            column, letters[i], (styles[i], styles[i], styles[i]), shared, None, keeps_blanks=styles[i] > 0
        )
        for i, column in enumerate(table.columns)
    ]
    head, tail = opened.cut(table.rows, _names(section, opened, letters, sheet), _facts(layout, table.rows))
    with Archive(out, layout.created) as archive:
        for name in opened.package.names:
            if name != place.sheet_part:
                archive.add(name, opened.package.content(name))
                continue
            entry = archive.entry(name)
            entry.write(head)
            _write_rows(entry, section, columns, sheet, opened.height(), rendered)
            entry.write(tail)
            entry.close()
    return rendered


def _write_rows(
    entry: Entry,
    section: Section,
    columns: Sequence[ColumnCells],
    sheet: Sheet,
    height: str,
    rendered: Rendered,
) -> None:
    """Write the rows; a table without any has one that is empty."""
    if not sheet.rows:
        entry.write(f'<row r="{sheet.first_row}"{height}></row>'.encode())
    positions, written = Positions((sheet,)), 0

    def placed() -> Iterator[Slice]:
        nonlocal written
        for batch in slices(section.table):
            if written + batch.num_rows > sheet.rows:
                raise RenderError(f"Table {section.table.name!r} gave more rows than it promised.")
            yield Slice(batch, columns, positions, written, height)
            written += batch.num_rows

    def to_xml(rows: Slice) -> RowXml:
        return RowXml(rows, columns)

    for made in map_concurrently(to_xml, placed()):
        rendered.changed.update(made.changed)
        for run in made.runs:
            entry.write(run.data, run.packed)
    if written != sheet.rows:
        raise RenderError(f"Table {section.table.name!r} gave {written:,} rows, not {sheet.rows:,}.")


def _facts(layout: Layout, rows: int) -> dict[str, str]:
    """Return the facts that a template may show in its cells, by name, such as {scope}."""
    facts = {
        "title": layout.title,
        "scope": layout.scope,
        "period": layout.period or "",
        "rows": f"{rows:,}",
        "as_of": f"{layout.created:%Y-%m-%d %H:%M} UTC",
    }
    return {name: clean_text(text) for name, text in facts.items()}


def _names(
    section: Section, opened: Opened, letters: Sequence[str], sheet: Sheet
) -> list[tuple[str, str, int | None]]:
    """Return the hidden names by which the rows are read back."""
    by_name = dict(zip(section.table.schema, letters, strict=True))
    sums = [Sum(by_name[name], name, section.table.schema[name].null, section.key) for name in section.sums]
    area = f"${letters[0]}${sheet.header_row}:${letters[-1]}${sheet.last_row}"
    entry = SheetEntry(opened.place.sheet, area=area, counts=True, section=section.key)
    return [*proof_names([(opened.place.index, entry)], sums), (TEMPLATE_NAME, "1", None)]
