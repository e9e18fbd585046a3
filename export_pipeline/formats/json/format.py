"""JSON and JSON Lines: exact numbers, nested documents or an object per line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from export_pipeline.core.layout import Content, Layout, Presentation
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.json.options import JsonLinesOptions, JsonOptions


class Json(Format[JsonOptions]):
    """JSON documents."""

    name = "json"
    extension = ".json"
    media_type = "application/json"
    help = "Everything, nested, exact."
    content = Content.DOCUMENT
    options = JsonOptions
    is_text = True

    def presentation(self, options: JsonOptions) -> Presentation:
        return Presentation(self.name, self.content, units=options.money == "units")

    def arrange(self, layout: Layout, options: JsonOptions) -> Layout:
        """Return the layout with its document, if it is a table, in the requested shape."""
        layout = super().arrange(layout, options)
        if options.shape == "object" and isinstance(layout.document, Table):
            return replace(layout, document={layout.document_key: layout.document})
        return layout

    def write(self, layout: Layout, out: BinaryIO, options: JsonOptions) -> Rendered:
        from export_pipeline.formats.json import write

        return write.render(layout, out, options)

    def read_back(self, path: Path, options: JsonOptions) -> FileFacts:
        from export_pipeline.formats.json import readback

        return readback.read_back(path)


class JsonLines(Format[JsonLinesOptions]):
    """JSON Lines: one object per line; cells as in JSON."""

    name = "jsonl"
    extension = ".jsonl"
    media_type = "application/jsonl"
    help = "An object a line, to stream."
    options = JsonLinesOptions
    prefix = "json"
    has_parts = True
    is_text = True

    def presentation(self, options: JsonLinesOptions) -> Presentation:
        return Presentation(self.name, self.content, units=options.money == "units")

    def write(self, layout: Layout, out: BinaryIO, options: JsonLinesOptions) -> Rendered:
        from export_pipeline.formats.json import write

        return write.render_lines(layout.main, out)

    def read_back(self, path: Path, options: JsonLinesOptions) -> FileFacts:
        from export_pipeline.formats.json import readback

        return readback.read_back(path)
