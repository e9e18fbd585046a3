"""Requests for the windows of a dataset's cadences: exactly one for each window, scope and format.

The id of such a job is a hash of its window, scope and format, so repeated requests by anybody create one
job. A backfill may repeat a window whose job has ended; the hash then has a mark, an option of the job. A
row whose fields do not match its id is an ordinary request.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.claims import is_of_window
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import jobs

_NAMESPACE = uuid.UUID("6f0d3c5e-2b1a-4c0e-9a63-0f5b6f7f7a11")
_BATCH = 1000
"""Rows of a transaction: a ledger on SQLite makes other writers wait meanwhile."""
REPEAT = "repeat"
"""Option of a job that repeats a window."""
_PRIORITY = -1  # requests of waiting people go first


@dataclass(frozen=True, slots=True)
class CadenceWindow:
    """A window of a dataset's cadence, for one scope.

    Attributes:
        cadence: daily, weekly or monthly.
        window: Name of the window, e.g. 2026-01-31.
        scope: None for a dataset without scopes.
        repeat: Mark of a repetition; None for the first request of a window.
    """

    dataset: str
    cadence: str
    window: str
    scope: str | None
    repeat: str | None = None

    @classmethod
    def of(cls, job: Job) -> CadenceWindow | None:
        """Return the window that a job exports; None if the job is not one of a cadence."""
        if job.window_key is None or job.schedule_id is not None:
            return None
        cadence, _, name = job.window_key.partition("/")
        window = cls(job.dataset, cadence, name, job.scope, job.options.get(REPEAT))
        return window if window.job_id(job.format) == job.id else None

    @property
    def key(self) -> str:
        """Key of the window in the ledger, within its dataset and scope."""
        return f"{self.cadence}/{self.window}"

    def job_id(self, format: str) -> str:
        """Return the id of the job that exports the window in a format (UUID, version 5)."""
        repeat = [] if self.repeat is None else [self.repeat]
        return str(uuid.uuid5(_NAMESPACE, json.dumps([self.dataset, self.key, self.scope, format, *repeat])))


def request_windows(
    engine: sa.Engine,
    windows: Sequence[CadenceWindow],
    formats: Sequence[str],
    *,
    recipients: Sequence[str],
    owners: Sequence[str],
) -> int:
    """Request windows that were not requested before; return the number of new requests.

    There may be one for each of many thousand scopes, so they are inserted in batches. If this raises, some
    are requested; repeat it.

    Args:
        engine: Engine returned by `open_engine`.
        recipients: Mail addresses that get each file.
        owners: Mail addresses that get notices of failures.

    Raises:
        LedgerError: the tables are missing, or the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    options = {"owners": storable(owners)} if owners else {}
    asked = ((window, format) for window in windows for format in formats)
    return insert_requests(engine, asked, options=options, recipients=storable(recipients))


def insert_requests(
    engine: sa.Engine,
    asked: Iterator[tuple[CadenceWindow, str]],
    *,
    options: Mapping[str, Any] | None = None,
    **rest: Any,
) -> int:
    """Insert requests of windows and formats that are not there yet, in batches. Return their number.

    Args:
        options: Options of each job.
        rest: Other values of each row.
    """
    new = 0
    while batch := [
        {
            "id": window.job_id(format),
            "dataset": window.dataset,
            "format": format,
            "scope": window.scope,
            "window_key": window.key,
            "options": {**(options or {}), **({REPEAT: window.repeat} if window.repeat else {})},
            "priority": _PRIORITY,
            **rest,
        }
        for window, format in islice(asked, _BATCH)
    ]:
        with transaction(engine, write=True) as connection:
            insert = insert_new(connection, jobs, "id").returning(jobs.c.id)
            new += len(connection.scalars(insert, batch).all())
    return new


def newest_window(engine: sa.Engine, dataset: str, cadence: str) -> str | None:
    """Return the name of the newest requested window of a cadence in any scope; None if there is none.

    Raises:
        LedgerError: the tables are missing, or the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    select = sa.select(sa.func.max(jobs.c.window_key)).where(
        jobs.c.dataset == dataset,
        jobs.c.schedule_id.is_(None),
        jobs.c.window_key.startswith(f"{cadence}/", autoescape=True),
    )
    with transaction(engine, write=False) as connection:
        newest: str | None = connection.scalar(select)
    return newest and newest.partition("/")[2]


def same_run_as(job: Job) -> sa.ColumnElement[bool] | None:
    """Return a condition for the jobs that were requested together with a job, in all formats.

    None if it was requested alone.
    """
    if (window := CadenceWindow.of(job)) is not None:
        return is_of_window(window.dataset, window.scope, window.key)
    if job.schedule_id is not None and job.scheduled_for is not None:
        return sa.and_(
            jobs.c.dataset == job.dataset,
            jobs.c.schedule_id == job.schedule_id,
            jobs.c.scheduled_for == job.scheduled_for,
            jobs.c.scope == job.scope,
        )
    return None


def failed_formats(engine: sa.Engine, job: Job) -> list[str]:
    """Return the formats of a job's run that have failed, by name; for a job alone, its own if it has."""
    same_run = same_run_as(job)
    if same_run is None:
        return [job.format] if job.status is Status.FAILED else []
    select = sa.select(jobs.c.format).where(same_run, jobs.c.status == Status.FAILED)
    with transaction(engine, write=False) as connection:
        return list(connection.scalars(select.order_by(jobs.c.format)))
