"""The body of a request for an export, as the HTTP service and the queue take it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

_EXAMPLE: dict[str, Any] = {
    "dataset": "records",
    "format": "csv",
    "scope": "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11",
    "preset": "financial",
    "filters": {"sale_date": {"range": {"from": "2026-01-01", "to": "2026-03-31"}}},
}


class ExportRequest(BaseModel):
    """The body of a request for an export, over HTTP or from a queue."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    dataset: Annotated[str, Field(max_length=200)]
    format: Annotated[str | None, Field(max_length=50, description="One format; or name `formats`.")] = None
    formats: Annotated[
        list[Annotated[str, Field(max_length=50)]] | None,
        Field(min_length=1, max_length=10, description="Several formats: an export for each."),
    ] = None
    scope: Annotated[
        str | None, Field(max_length=1_000, description="Whose rows, where the dataset has scopes.")
    ] = None
    preset: Annotated[str | None, Field(max_length=200, description="Ready-made choice of columns.")] = None
    columns: Annotated[
        list[str] | None, Field(max_length=5_000, description="Columns in this order; by default all.")
    ] = None
    filters: Annotated[
        dict[str, Any],
        Field(description="`{column: {operator: value}}`; see `GET /v1/datasets/{name}/schema`."),
    ] = {}
    sort: Annotated[
        list[str] | None, Field(max_length=100, description="Columns; `-column` for descending.")
    ] = None
    options: Annotated[dict[str, Any], Field(description="Options of the format and the dataset.")] = {}
    recipients: Annotated[
        list[Annotated[str, Field(max_length=320)]],
        Field(max_length=100, description="Mail addresses that get the file or a link to it."),
    ] = []
    webhook_id: Annotated[
        str | None, Field(max_length=100, description="A webhook that is notified when it ends.")
    ] = None
    priority: Annotated[int, Field(ge=-100, le=100, description="Higher goes first.")] = 0

    @model_validator(mode="after")
    def _names_formats_once(self) -> ExportRequest:
        if (self.format is None) == (self.formats is None):
            raise ValueError("name either format or formats")
        if self.formats is not None and len(set(self.formats)) < len(self.formats):
            raise ValueError("formats names one twice")
        return self
