"""Bodies of the service's requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from export_pipeline.jobs import Job
from export_pipeline.jobs.states import Status

_EXAMPLE: dict[str, Any] = {
    "dataset": "records",
    "format": "csv",
    "scope": "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11",
    "preset": "financial",
    "filters": {"sale_date": {"range": {"from": "2026-01-01", "to": "2026-03-31"}}},
}


class ExportRequest(BaseModel):
    """What to export."""

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
        str | None, Field(max_length=100, description="A webhook that hears when it ends.")
    ] = None
    priority: Annotated[int, Field(ge=-100, le=100, description="Higher goes first.")] = 0

    @model_validator(mode="after")
    def _names_formats_once(self) -> ExportRequest:
        if (self.format is None) == (self.formats is None):
            raise ValueError("name either format or formats")
        if self.formats is not None and len(set(self.formats)) < len(self.formats):
            raise ValueError("formats names one twice")
        return self


class Failure(BaseModel):
    """Why an export failed."""

    code: str
    message: str


class ExportFile(BaseModel):
    """The file of an export."""

    name: str | None
    size: Annotated[int | None, Field(description="Bytes.")]
    sha256: str | None


class Export(BaseModel):
    """An export and what became of it."""

    id: str
    dataset: str
    format: str
    scope: str | None
    status: Status
    progress_percent: int
    progress_step: str | None
    filters: dict[str, Any]
    columns: list[Any] | None
    options: dict[str, Any]
    requested_by: str | None
    recipients: list[Any]
    priority: int
    schedule_id: str | None
    webhook_id: str | None
    attempt: int
    row_count: Annotated[int | None, Field(description="Rows in the file, or written so far.")]
    total_rows: Annotated[int | None, Field(description="Rows in the source, if known.")]
    file: ExportFile | None
    warnings: list[str]
    changed_cells: dict[str, dict[str, int]]
    error: Failure | None
    legal_hold: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Export:
        """Return the export of a job."""
        done = job.status in (Status.COMPLETED, Status.EXPIRED)
        failed = job.error_code is not None
        values = {name: getattr(job, name) for name in cls.model_fields if name not in ("file", "error")}
        return cls(
            **values,
            file=ExportFile(name=job.file_name, size=job.file_size, sha256=job.sha256) if done else None,
            error=Failure(code=job.error_code or "", message=job.error_message or "") if failed else None,
        )


class ExportList(BaseModel):
    """A page of exports, newest first."""

    data: list[Export]
    next: Annotated[str | None, Field(description="Cursor of the next page; null at the end.")] = None


class ExportEvent(BaseModel):
    """A change of an export, as an event."""

    id: str
    status: Status
    attempt: int
    progress_percent: int
    progress_step: str | None
    row_count: int | None
    total_rows: int | None
