"""Excel: a workbook with typed cells, written straight from Arrow batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Content, Layout, Presentation
from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.excel.options import ExcelOptions


class Excel(Format[ExcelOptions]):
    """Office Open XML workbooks."""

    name = "excel"
    extension = ".xlsx"
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    help = "A workbook with typed cells and live totals."
    content = Content.SHEETS
    options = ExcelOptions
    names_columns = False
    has_parts = True
    is_for_people = True

    def presentation(self, options: ExcelOptions) -> Presentation:
        return Presentation(
            self.name,
            self.content,
            labels=True,
            prints_nulls=True,
            prints=options.layout == "report",
            fills_template=options.layout == "report",
            proves_charts=True,
        )

    def options_of_parts(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options for plain workbooks: totals and charts would be those of all parts."""
        return {**request, f"{self.prefix}_layout": "plain"}

    def share(self, layout: Layout, start: int, stop: int) -> Layout:
        (section,) = (section for section in layout.sheets if section.counts)
        return replace(layout, sheets=(replace(section, table=section.table.share(start, stop)),))

    def write(self, layout: Layout, out: BinaryIO, options: ExcelOptions) -> Rendered:
        if layout.template is not None:
            from export_pipeline.formats.excel.template.write import render_template

            return render_template(layout, layout.template, out, options)
        from export_pipeline.formats.excel import write

        return write.render(layout, out, options)

    def read_back(self, path: Path, options: ExcelOptions) -> FileFacts:
        from export_pipeline.formats.excel import readback

        return readback.read_back(path)
