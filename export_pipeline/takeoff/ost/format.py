"""On-Screen Takeoff XML: writer, reader and validator."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from export_pipeline.core.layout import Content, Layout
from export_pipeline.formats.base import FileFacts, Format, Options, Rendered


class Ost(Format[Options]):
    """XML for On-Screen Takeoff importers: the one format that knows a single application's tables."""

    name = "ost"
    extension = ".xml"
    media_type = "application/xml"
    help = "On-Screen Takeoff XML to import."
    content = Content.TABLES
    is_text = True
    is_general = False
    icon = "xml"

    def personal(self, layout: Layout, options: Options) -> dict[str, tuple[str, ...]]:
        """Return the facts with personal data, which are in the notes of the bid; no note of a row is."""
        return {"facts": layout.personal_facts} if layout.personal_facts else {}

    def write(self, layout: Layout, out: BinaryIO, options: Options) -> Rendered:
        from export_pipeline.takeoff.ost import write

        return write.render(layout, out)

    def read_back(self, path: Path, options: Options) -> FileFacts:
        from export_pipeline.takeoff.ost import validate

        return validate.read_back(path)
