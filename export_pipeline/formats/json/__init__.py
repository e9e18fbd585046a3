"""JSON and JSON Lines: writers and reader."""

from export_pipeline.formats.json.readback import read_back
from export_pipeline.formats.json.write import render

__all__ = ["read_back", "render"]
