"""Excel: a workbook with typed cells, written straight from Arrow batches."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

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

    def write(self, layout: Layout, out: BinaryIO, options: ExcelOptions) -> Rendered:
        if layout.template is not None:
            from export_pipeline.formats.excel.template.write import render_template

            return render_template(layout, layout.template, out, options)
        from export_pipeline.formats.excel import write

        return write.render(layout, out, options)

    def read_back(self, path: Path, options: ExcelOptions) -> FileFacts:
        from export_pipeline.formats.excel import readback

        return readback.read_back(path)
