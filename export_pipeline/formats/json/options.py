"""Options of JSON and JSON Lines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from export_pipeline.formats.base import Options


class JsonLinesOptions(Options):
    """Options of JSON Lines, shared with JSON."""

    money: Annotated[
        Literal["units", "minor"],
        Field(description="Money kept in minor units, in JSON: as whole units, or as it is kept."),
    ] = "units"


class JsonOptions(JsonLinesOptions):
    """Options of JSON."""

    shape: Annotated[
        Literal["array", "object", "lines"],
        Field(
            description="Rows of a table in JSON: one array, an object with facts and the array, or an "
            "object a line. Exports with a document of their own ignore it."
        ),
    ] = "array"
