"""Options of CSV."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from export_pipeline.formats.base import Options


class CsvOptions(Options):
    """Options of CSV."""

    bom: Annotated[
        bool, Field(description="Start CSV with a byte order mark, so that Excel reads it as UTF-8.")
    ] = False
    headers: Annotated[
        Literal["header", "name"],
        Field(description="First row of CSV: what people read above the columns, or the columns' names."),
    ] = "header"
    money: Annotated[
        Literal["units", "minor"],
        Field(description="Money kept in minor units: as whole units (12.50), or as it is kept (1250)."),
    ] = "units"
    delimiter: Annotated[
        Literal["comma", "semicolon", "tab", "pipe"], Field(description="Delimiter of CSV's fields.")
    ] = "comma"
    decimal_comma: Annotated[
        bool,
        Field(
            description="Write 12,5 instead of 12.5 in CSV, for spreadsheets that use a decimal comma; they "
            "also expect the delimiter semicolon. With the delimiter comma such numbers are quoted."
        ),
    ] = False
    quoting: Annotated[
        Literal["minimal", "all"],
        Field(description="Quote CSV's fields where they need it, or all that hold a value."),
    ] = "minimal"
