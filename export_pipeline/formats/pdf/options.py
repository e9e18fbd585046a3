"""Options of PDF."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from export_pipeline.formats.base import Options


class PdfOptions(Options):
    """Options of PDF."""

    title: Annotated[str, Field(description="Title of the PDF; empty for the export's own.")] = ""
    page_size: Annotated[Literal["letter", "legal", "a4", "a3"], Field(description="Paper of the PDF.")] = (
        "letter"
    )
    tagged: Annotated[
        bool | None,
        Field(
            description="Tag the document for screen readers (PDF/UA-1); by default tables of up to "
            "50,000 cells."
        ),
    ] = None
    orientation: Annotated[
        Literal["auto", "portrait", "landscape"],
        Field(description="`auto` turns the paper if the columns need it."),
    ] = "auto"
