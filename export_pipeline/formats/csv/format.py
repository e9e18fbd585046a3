"""CSV: one flat table as text."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from export_pipeline.core.arrow import pa
from export_pipeline.core.layout import Layout, Presentation
from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.csv.options import CsvOptions


class Csv(Format[CsvOptions]):
    """CSV as in RFC 4180, with options for the dialect."""

    name = "csv"
    extension = ".csv"
    media_type = "text/csv; charset=utf-8"
    help = "One flat table, after RFC 4180."
    options = CsvOptions
    names_columns = False
    is_text = True
    has_parts = True

    def presentation(self, options: CsvOptions) -> Presentation:
        return Presentation(
            self.name,
            self.content,
            names=options.headers == "name",
            units=options.money == "units",
            labels=True,
            rounds=True,
            prints_nulls=True,
            sums_by_header=True,
            printed_header=_guard_header,
        )

    def write(self, layout: Layout, out: BinaryIO, options: CsvOptions) -> Rendered:
        from export_pipeline.formats.csv import write

        return write.render(layout, out, options)

    def read_back(self, path: Path, options: CsvOptions) -> FileFacts:
        from export_pipeline.formats.csv import readback

        return readback.read_back(path, options)


def _guard_header(header: str) -> str:
    """Return a header as CSV holds it: with an apostrophe if it looks like a formula."""

    from export_pipeline.core.sanitize import guard_formulas

    return str(guard_formulas(pa.array([header], pa.string()))[0][0])
