"""PDF: a document to read, print and search, in any script, of any length."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from export_pipeline.core.layout import Content, Layout, Presentation
from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.pdf.options import PdfOptions


class Pdf(Format[PdfOptions]):
    """PDF documents."""

    name = "pdf"
    extension = ".pdf"
    media_type = "application/pdf"
    help = "A report to read, print and search."
    content = Content.CHAPTERS
    options = PdfOptions
    names_columns = False
    is_for_people = True

    def presentation(self, options: PdfOptions) -> Presentation:
        return Presentation(self.name, self.content, labels=True, rounds=True, prints_nulls=True, prints=True)

    def write(self, layout: Layout, out: BinaryIO, options: PdfOptions) -> Rendered:
        from export_pipeline.formats.pdf import write

        return write.render(layout, out, options)

    def read_back(self, path: Path, options: PdfOptions) -> FileFacts:
        from export_pipeline.formats.pdf import readback

        return readback.read_back(path)
