"""Render a layout as an Excel workbook, sheet by sheet, in constant memory."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.excel.archive import Archive
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.plan import plan_workbook
from export_pipeline.formats.excel.workbook import Workbook


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
    rendered = Rendered(warnings=[*layout.notes, *plan.warnings])
    with Archive(out, layout.created) as archive:
        workbook = Workbook(archive, rendered, plan.overflow_name, options)
        try:
            workbook.write_properties(layout)
            for section in plan.sections:
                workbook.write_section(section)
            workbook.write_charts(layout, plan.charts_name)
            workbook.finish(layout)
        finally:
            workbook.overflow.close()
    return rendered


def _apply_options(layout: Layout, options: ExcelOptions) -> Layout:
    """Return the layout with the requested sheet title and currency."""
    title, currency = options.sheet_title, options.currency
    sections = []
    for section in layout.sheets:
        if title and section.counts and section.groups is None and not section.dataset:
            section = replace(section, title=title, heading=section.heading or section.title)
        if currency:
            columns = tuple(replace(column, currency=currency) for column in section.table.columns)
            section = replace(section, table=replace(section.table, columns=columns))
        sections.append(section)
    return replace(layout, sheets=tuple(sections))
