"""Bodies of the service's requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from export_pipeline.jobs import Job
from export_pipeline.jobs.states import Status


class Failure(BaseModel):
    """The reason why an export failed."""

    code: str
    message: str


class ExportFile(BaseModel):
    """The file of an export."""

    name: str | None
    size: Annotated[int | None, Field(description="Bytes.")]
    sha256: str | None


class Export(BaseModel):
    """An export and its state."""

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
    idempotency_key: str | None
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
