"""JSON Lines: one object per line; cells as in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.json.write import lines, read_back

__all__ = ["read_back", "render"]


def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
    """Write the flat table; a table without rows gives an empty file. There are no options."""
    return lines(layout.flat.get("jsonl", layout.main), out)
