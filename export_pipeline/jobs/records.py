"""Rows of the ledger as Python objects."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from export_pipeline.jobs.states import EventKind, Status

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

_UNREQUESTED = uuid.UUID("0d8f6c1e-7f0b-4a53-9a0e-3d1a54d7c2b6")


def unrequested_id(run_id: str | None, file_key: str) -> str:
    """Return the id of the job that records a run's file without a request."""
    return str(uuid.uuid5(_UNREQUESTED, f"{run_id}/{file_key}"))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to run a job. A process that works on the job holds it.

    Attributes:
        job_id: Id of the job.
        number: Number of the attempt, from 1.
        run_id: Id of the run that works on it; None for a caller that is not a run.
    """

    job_id: str
    number: int
    run_id: str | None = None

    @property
    def run_key(self) -> str:
        """Idempotency key of the attempt's run: it has one run, however often it is dispatched."""
        return f"{self.job_id}:{self.number}"


@dataclass(frozen=True, slots=True)
class Job:
    """A request and its state. Times are UTC; sizes are bytes."""

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
    dispatches: int
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    legal_hold: bool
    deleted_at: datetime | None
    warnings: Sequence[str]
    changed_cells: Mapping[str, Mapping[str, int]]
    idempotency_key: str | None
    webhook_id: str | None
    scheduled_for: datetime | None

    @classmethod
    def of(cls, row: RowMapping) -> Job:
        """Return the job of a complete row. Missing JSON becomes an empty value, except in `columns`."""
        empty = {"filters": row["filters"] or {}, "options": row["options"] or {}}
        known = {"status": Status(row["status"]), "recipients": row["recipients"] or []}
        values = {**row, **empty, **known}
        return cls(dispatches=values.pop("offers"), **values)

    @property
    def current(self) -> Attempt:
        """The current attempt."""
        return Attempt(self.id, self.attempt, self.run_id)

    @property
    def is_extra(self) -> bool:
        """True if the job is an extra one of its run, so that the run's tags do not name it."""
        return self.run_id is not None and self.claimed_by == self.run_id

    @property
    def shared_read_key(self) -> str:
        """Key of the rows without their scope: jobs with the same key can share one read of the source."""
        # The window_key of a schedule may name the format.
        time = self.window_key if self.schedule_id is None else str(self.scheduled_for)
        asked = [self.dataset, self.requested_by, self.filters, self.columns, self.options]
        return json.dumps([*asked, self.schedule_id, time], sort_keys=True)

    @property
    def identity(self) -> str:
        """Hash of the request (hexadecimal), equal for requests of one person that one run can serve."""
        request = [
            self.dataset,
            self.format,
            self.scope,
            self.requested_by,
            self.filters,
            self.columns,
            self.options,
        ]
        request += [self.schedule_id, self.window_key]
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class JobState:
    """The part of a job that changes while it is worked on."""

    status: Status
    attempt: int
    progress_percent: int
    progress_step: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a job in a list that is ordered by time and id."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """A viewer's rights. For the viewer, a job that they may not see does not exist.

    Attributes:
        scopes: Scopes whose jobs the viewer may see; None in it allows jobs without a scope. None for all.
        requested_by: Show only jobs that this person requested; None for everybody's.
        datasets: Datasets whose jobs the viewer may see; None for all.
    """

    scopes: Collection[str | None] | None = None
    requested_by: str | None = None
    datasets: Collection[str] | None = None


OPERATOR = Viewer()
"""The viewer who may see everything."""


@dataclass(frozen=True, slots=True)
class File:
    """A published export file.

    Attributes:
        key: Key in the store.
        name: File name for downloads.
        size: Size in bytes.
        rows: Rows of the export in the file.
        sha256: SHA-256 of the file, hexadecimal.
        total_rows: Rows of the export in the source; None if the file has them all.
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
    """An event of a job, with its actor."""

    id: int
    job_id: str
    at: datetime
    kind: EventKind
    who: str | None
    details: Mapping[str, Any]
