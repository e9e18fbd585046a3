"""What can be asked of the formats, whatever is exported."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class FormatOptions(BaseModel):
    """Options of the formats; each is named after the one it is for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    csv_bom: Annotated[
        bool, Field(description="Start CSV with a byte order mark, so that Excel reads it as UTF-8.")
    ] = False
    excel_guard_formulas: Annotated[
        bool,
        Field(
            description="Put an apostrophe before texts that look like formulas in Excel too. They are text "
            "cells and never run, but somebody may save the sheet as CSV."
        ),
    ] = False
    pdf_page_size: Annotated[
        Literal["letter", "legal", "a4", "a3"], Field(description="Paper of the PDF.")
    ] = "letter"
    pdf_orientation: Annotated[
        Literal["auto", "portrait", "landscape"],
        Field(description="`auto` turns the paper where the columns need it."),
    ] = "auto"

    def of(self, format: str) -> dict[str, Any]:
        """One format's options, by their names without the format's."""
        prefix = f"{format}_"
        return {name.removeprefix(prefix): value for name, value in self if name.startswith(prefix)}
