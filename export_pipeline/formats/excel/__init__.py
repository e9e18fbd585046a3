"""Excel: write a workbook straight from Arrow batches, and read it back to verify it."""

from export_pipeline.formats.excel.readback import read_back
from export_pipeline.formats.excel.write import render

__all__ = ["read_back", "render"]
