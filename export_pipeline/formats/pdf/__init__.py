"""PDF: a document to read, print and search, in any script, of any length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import FileFacts, Rendered


def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
    """Write a layout as PDF; see `write.render` for the options."""
    from export_pipeline.formats.pdf import write as document

    return document.render(layout, out, options)


def read_back(path: Path) -> FileFacts:
    """Count the rows, add up the marked columns and check the structure of a PDF that this package wrote."""
    from export_pipeline.formats.pdf import readback

    return readback.read_back(path)
