"""Parquet: typed columns for programs."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import FileFacts, Format, Options, Rendered


class Parquet(Format[Options]):
    """Apache Parquet files."""

    name = "parquet"
    extension = ".parquet"
    media_type = "application/vnd.apache.parquet"
    help = "Typed columns for programs, compressed."
    has_parts = True

    def write(self, layout: Layout, out: BinaryIO, options: Options) -> Rendered:
        from export_pipeline.formats.parquet import write

        return write.render(layout, out)

    def read_back(self, path: Path, options: Options) -> FileFacts:
        from export_pipeline.formats.parquet import readback

        return readback.read_back(path)
