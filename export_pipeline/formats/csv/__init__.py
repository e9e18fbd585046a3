"""CSV: writer, dialects and reader."""

from export_pipeline.formats.csv.readback import read_back
from export_pipeline.formats.csv.write import render

__all__ = ["read_back", "render"]
