"""Excel: a workbook written straight from Arrow batches, and a reader that proves it."""

from export_pipeline.formats.excel.readback import read_back
from export_pipeline.formats.excel.write import render

__all__ = ["read_back", "render"]
