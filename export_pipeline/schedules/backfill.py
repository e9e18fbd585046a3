"""Backfills: request the past windows of one scope that have no file yet."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime

import sqlalchemy as sa

from export_pipeline.jobs import Ledger, RefusedError, Status
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.tables import jobs
from export_pipeline.schedules.cadences import REPEAT, CadenceWindow, insert_requests
from export_pipeline.schedules.calendar import Schedule, ended_windows


@dataclass(slots=True)
class BackfillCounts:
    """Numbers of exports (windows times formats) of a backfill.

    Attributes:
        new: Requested for the first time.
        repeated: Requested again: the file has expired, or everything was wanted again.
        retried: The request had failed or was canceled, and is tried again.
        waiting: Left alone, as a request is under way.
        completed: Left alone, as the file is there.
    """

    new: int = 0
    repeated: int = 0
    retried: int = 0
    waiting: int = 0
    completed: int = 0

    @property
    def requested(self) -> int:
        """Number of exports that will be made."""
        return self.new + self.repeated + self.retried


def past_windows(
    cadence: str, timezone: str, start: date, first: date | None, last: date | None, now: datetime
) -> list[str]:
    """Return the names of the windows of a cadence that have ended, in order.

    Args:
        cadence: daily, weekly or monthly.
        timezone: IANA zone in which days begin.
        start: First day of the dataset's windows.
        first: Only windows that begin on this day or later.
        last: Only windows that begin on this day or earlier.
        now: An aware time.
    """
    calendar = Schedule(cadence, timezone=timezone)
    return [window.name for window in ended_windows(calendar, max(start, first or start), last, now)]


def request_past_windows(
    ledger: Ledger,
    windows: Sequence[CadenceWindow],
    formats: Sequence[str],
    *,
    again: bool = False,
    requested_by: str | None = None,
) -> BackfillCounts:
    """Request windows for which there is neither a file nor a request under way. No mail is sent.

    Args:
        windows: Windows of one dataset, cadence and scope.
        again: Also windows whose file is there. It is replaced.
        requested_by: The person who asks, for the record.

    Raises:
        LedgerError: the tables are missing, or the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    counts = BackfillCounts()
    newest = _newest_requests(ledger.engine, windows[0]) if windows else {}
    mark, asked, retried = uuid.uuid4().hex[:8], [], []
    for window in windows:
        for format in formats:
            job_id, status = newest.get((window.window, format), ("", None))
            if status in (Status.PENDING, Status.PROCESSING):
                counts.waiting += 1
            elif status in (Status.FAILED, Status.CANCELED):
                retried.append(job_id)
            elif status is None:
                asked.append((window, format))
            elif status is Status.EXPIRED or again:
                asked.append((replace(window, repeat=mark), format))
            else:
                counts.completed += 1
    inserted = insert_requests(ledger.engine, iter(asked), requested_by=requested_by)
    counts.repeated = sum(window.repeat is not None for window, _ in asked)
    counts.new = inserted - counts.repeated
    for job_id in retried:
        with suppress(RefusedError):  # somebody else has retried it meanwhile
            ledger.retry(job_id, requested_by)
            counts.retried += 1
    return counts


def _newest_requests(engine: sa.Engine, like: CadenceWindow) -> dict[tuple[str, str], tuple[str, Status]]:
    """Return id and status of the newest request by window and format, in a window's cadence and scope."""
    select = (
        sa.select(jobs.c.id, jobs.c.window_key, jobs.c.format, jobs.c.options, jobs.c.status)
        .where(
            jobs.c.dataset == like.dataset,
            jobs.c.scope.is_not_distinct_from(like.scope),
            jobs.c.schedule_id.is_(None),
            jobs.c.window_key.startswith(f"{like.cadence}/", autoescape=True),
        )
        .order_by(jobs.c.created_at)
    )
    newest: dict[tuple[str, str], tuple[str, Status]] = {}
    with transaction(engine, write=False) as connection:
        for job_id, key, format, options, status in connection.execute(select):
            window = replace(like, window=key.partition("/")[2], repeat=(options or {}).get(REPEAT))
            if window.job_id(format) == job_id:
                newest[window.window, format] = (job_id, Status(status))
    return newest
