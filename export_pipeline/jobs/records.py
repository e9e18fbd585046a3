"""Rows of the ledger as Python sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from export_pipeline.jobs.states import Kind, Status

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job: what somebody who works on it holds.

    Attributes:
        job_id: Of the job.
        number: 1 for the first try.
        run_id: Of the run that works on it; None for who is no run.
    """

    job_id: str
    number: int
    run_id: str | None = None

    @property
    def run_key(self) -> str:
        """What names the one run that this try may have, however often it is offered."""
        return f"{self.job_id}:{self.number}"


@dataclass(frozen=True, slots=True)
class Job:
    """A request, and what has become of it. Times are UTC; sizes are bytes."""

    id: str
    dataset: str
    format: str
    scope: str | None
    filters: Mapping[str, Any]
    columns: Sequence[Any] | None
    options: Mapping[str, Any]
    requested_by: str | None
    recipients: Sequence[Any]
    priority: int
    schedule_id: str | None
    window_key: str | None
    status: Status
    progress_percent: int
    progress_step: str | None
    total_rows: int | None
    row_count: int | None
    file_key: str | None
    file_name: str | None
    file_size: int | None
    sha256: str | None
    error_code: str | None
    error_message: str | None
    attempt: int
    run_id: str | None
    created_at: datetime
    claimed_at: datetime | None
    claimed_by: str | None
    offers: int
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    legal_hold: bool
    deleted_at: datetime | None
    warnings: Sequence[str]
    changed_cells: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, row: RowMapping) -> Job:
        """The job of a row with all columns; JSON that is missing is empty, but for the columns."""
        empty = {"filters": row["filters"] or {}, "options": row["options"] or {}}
        known = {"status": Status(row["status"]), "recipients": row["recipients"] or []}
        return cls(**{**row, **empty, **known})

    @property
    def current(self) -> Attempt:
        """The try that counts now."""
        return Attempt(self.id, self.attempt, self.run_id)

    @property
    def identity(self) -> str:
        """The same for two requests of one person that one run can serve (hexadecimal)."""
        asked = [
            self.dataset,
            self.format,
            self.scope,
            self.requested_by,
            self.filters,
            self.columns,
            self.options,
        ]
        asked += [self.schedule_id, self.window_key]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: a job that they may not see does not exist for them.

    Attributes:
        scopes: The scopes whose jobs they may see, None among them for jobs without one; None for all.
        requested_by: Only jobs that this person asked for; None for everybody's.
    """

    scopes: Collection[str | None] | None = None
    requested_by: str | None = None


OPERATOR = Viewer()
"""Sees everything."""


@dataclass(frozen=True, slots=True)
class File:
    """A published export file.

    Attributes:
        key: In the store.
        name: As people download it.
        size: Bytes.
        rows: Rows of the export in the file.
        sha256: Hexadecimal.
        total_rows: Rows of the export that the source holds; None for as many as in the file.
        warnings: Sentences about what a reader of the file should know.
        changed_cells: Number of cells that differ from the source, by reason and column.
    """

    key: str
    name: str
    size: int
    rows: int
    sha256: str
    total_rows: int | None = None
    warnings: Sequence[str] = ()
    changed_cells: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job, and who did it."""

    id: int
    job_id: str
    at: datetime
    kind: Kind
    who: str | None
    details: Mapping[str, Any]
