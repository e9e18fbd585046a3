"""Backfills: request the past windows of one scope that have no file yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import sqlalchemy as sa

from export_pipeline.jobs import Ledger, Status
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.tables import jobs
from export_pipeline.schedules.cadence_requests import REPEAT, CadenceWindow, insert_requests
from export_pipeline.schedules.due_times import Schedule, ended_windows
from export_pipeline.store.keys import window_key


@dataclass(slots=True)
class BackfillCounts:
    """Numbers of exports (windows times formats) of a backfill.

    Attributes:
        new: Requested for the first time.
        repeated: Requested again: the request failed or was canceled, the file has expired, or everything was
            wanted again.
        waiting: Left alone, as a request is under way.
        completed: Left alone, as the file is there.
        held: Left alone, as the file is under legal hold.
    """

    new: int = 0
    repeated: int = 0
    waiting: int = 0
    completed: int = 0
    held: int = 0

    @property
    def requested(self) -> int:
        """Number of exports that will be made."""
        return self.new + self.repeated


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

    Requests that have ended stay as they are, whoever asked for them: a window is repeated by a new request.

    Args:
        windows: Windows of one dataset, cadence and scope.
        again: Also windows whose file is there. It is replaced, unless it is under legal hold.
        requested_by: The person who asks, for the record.

    Raises:
        LedgerError: the tables are missing, or the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    counts = BackfillCounts()
    statuses, held = _requests(ledger.engine, windows[0]) if windows else ({}, set())
    first: list[tuple[CadenceWindow, str]] = []
    repeated: list[tuple[CadenceWindow, str]] = []
    for window in windows:
        place = window_key(window.scope, window.dataset, window.cadence, window.window, "x")
        for format in formats:
            known = statuses.get((window.window, format), {})
            if (_without_extension(place), format) in held:
                counts.held += 1
            elif {Status.PENDING, Status.PROCESSING} & set(known.values()):
                counts.waiting += 1
            elif not known:
                first.append((window, format))
            elif [*known.values()][-1] is Status.COMPLETED and not again:
                counts.completed += 1
            else:
                repeated.append((replace(window, repeat=_mark(known)), format))
    counts.new = insert_requests(ledger.engine, iter(first), requested_by=requested_by)
    counts.repeated = insert_requests(ledger.engine, iter(repeated), requested_by=requested_by)
    counts.waiting += len(first) + len(repeated) - counts.requested
    return counts


def _mark(known: Iterable[str]) -> str:
    """Return the mark of the request that follows these. Who asks at the same time gets the same one."""
    return hashlib.sha256(" ".join(sorted(known)).encode()).hexdigest()[:8]


def _requests(
    engine: sa.Engine, like: CadenceWindow
) -> tuple[dict[tuple[str, str], dict[str, Status]], set[tuple[str, str]]]:
    """Read the requests of a window's cadence and scope.

    Returns:
        The statuses of jobs by window and format, oldest first, and the held files: key without extension,
        format.
    """
    of_scope = (jobs.c.dataset == like.dataset, jobs.c.scope.is_not_distinct_from(like.scope))
    select = (
        sa.select(jobs.c.id, jobs.c.window_key, jobs.c.format, jobs.c.options, jobs.c.status)
        .where(
            *of_scope,
            jobs.c.schedule_id.is_(None),
            jobs.c.window_key.startswith(f"{like.cadence}/", autoescape=True),
        )
        .order_by(jobs.c.created_at)
    )
    kept = sa.select(jobs.c.file_key, jobs.c.format).where(
        *of_scope, jobs.c.status == Status.COMPLETED, jobs.c.legal_hold, jobs.c.file_key.is_not(None)
    )
    statuses: dict[tuple[str, str], dict[str, Status]] = {}
    with transaction(engine, write=False) as connection:
        for job_id, key, format, options, status in connection.execute(select):
            window = replace(like, window=key.partition("/")[2], repeat=(options or {}).get(REPEAT))
            if window.job_id(format) == job_id:
                statuses.setdefault((window.window, format), {})[job_id] = Status(status)
        held = {(_without_extension(key), format) for key, format in connection.execute(kept)}
    return statuses, held


def _without_extension(key: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"
