"""PDF: a document to read, print and search, in any script, of any length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import FileFacts, Rendered


def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
    """Writes a layout as PDF; see `document.render` for the options."""
    from export_pipeline.formats.pdf import write as document

    return document.render(layout, out, options)


def read_back(path: Path) -> FileFacts:
    """Counts the rows, adds up the marked columns and checks the structure of a PDF this package wrote."""
    from export_pipeline.formats.pdf import readback

    return readback.read_back(path)
