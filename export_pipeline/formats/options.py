"""The options of all formats, independent of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class FormatOptions(BaseModel):
    """Options of the formats; each name begins with its format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    csv_bom: Annotated[
        bool, Field(description="Start CSV with a byte order mark, so that Excel reads it as UTF-8.")
    ] = False
    csv_headers: Annotated[
        Literal["header", "name"],
        Field(description="First row of CSV: what people read above the columns, or the columns' names."),
    ] = "header"
    csv_money: Annotated[
        Literal["units", "minor"],
        Field(description="Money kept in minor units: as whole units (12.50), or as it is kept (1250)."),
    ] = "units"
    csv_delimiter: Annotated[
        Literal["comma", "semicolon", "tab", "pipe"], Field(description="What stands between CSV's fields.")
    ] = "comma"
    csv_decimal_comma: Annotated[
        bool,
        Field(
            description="Write 12,5 and not 12.5 in CSV, for spreadsheets of such countries; they expect the "
            "delimiter semicolon with it. Between commas such numbers are quoted."
        ),
    ] = False
    csv_quoting: Annotated[
        Literal["minimal", "all"],
        Field(description="Quote CSV's fields where they need it, or all that hold a value."),
    ] = "minimal"
    json_shape: Annotated[
        Literal["array", "object", "lines"],
        Field(
            description="Rows of a table in JSON: one array, an object with facts and the array, or an "
            "object a line. Exports with a document of their own always have that."
        ),
    ] = "array"
    json_money: Annotated[
        Literal["units", "minor"],
        Field(description="Money kept in minor units, in JSON: as whole units, or as it is kept."),
    ] = "units"
    excel_sheet_title: Annotated[
        str, Field(description="Name of the sheet of a table; empty for the export's own.")
    ] = ""
    excel_freeze: Annotated[bool, Field(description="Keep the header in sight while people scroll.")] = True
    excel_currency: Annotated[
        str, Field(description="Sign of money in Excel, e.g. EUR; empty for the columns' own.")
    ] = ""
    excel_guard_formulas: Annotated[
        bool,
        Field(
            description="Put an apostrophe before texts that look like formulas in Excel too. They are text "
            "cells and never run, but somebody may save the sheet as CSV."
        ),
    ] = False
    pdf_title: Annotated[str, Field(description="Title of the PDF; empty for the export's own.")] = ""
    pdf_page_size: Annotated[
        Literal["letter", "legal", "a4", "a3"], Field(description="Paper of the PDF.")
    ] = "letter"
    pdf_orientation: Annotated[
        Literal["auto", "portrait", "landscape"],
        Field(description="`auto` turns the paper where the columns need it."),
    ] = "auto"

    zip_formats: Annotated[tuple[str, ...], Field(description="Formats of the files in a ZIP.")] = (
        "csv",
        "json",
    )

    @field_validator("zip_formats")
    @classmethod
    def _can_be_zipped(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from export_pipeline.formats.registry import FORMATS

        able = [name for name in FORMATS if name != "zip"]
        if unknown := [name for name in names if name not in able]:
            raise ValueError(f"a ZIP cannot hold {', '.join(unknown)[:100]}; there are {', '.join(able)}")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"name one or more formats, each once; there are {', '.join(able)}")
        return names

    def of(self, format: str) -> dict[str, Any]:
        """Return one format's options, without the prefix in their names; for zip also those of the
        formats in it.
        """
        if format == "zip":
            return {"formats": self.zip_formats} | {name: self.of(name) for name in self.zip_formats}
        prefix = f"{format}_"
        return {name.removeprefix(prefix): value for name, value in self if name.startswith(prefix)}


def of_other_formats(formats: Sequence[str]) -> set[str]:
    """Return the names of options for formats that are not in this list, nor in a ZIP."""
    if "zip" in formats:
        return set()
    return {name for name in FormatOptions.model_fields if name.partition("_")[0] not in formats}
