"""Finished files that may serve another request."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import EventKind, Status
from export_pipeline.jobs.tables import jobs
from export_pipeline.jobs.transitions import record_event

_REUSED = (
    "file_key",
    "file_name",
    "file_size",
    "sha256",
    "row_count",
    "total_rows",
    "warnings",
    "changed_cells",
    "expires_at",
)
"""Columns that a request takes over with the file."""

_MAX_COMPARED = 20


def reuse_file(connection: sa.Connection, now: datetime, job: Job, within: timedelta) -> Job | None:
    """Complete a pending job with the file of an identical request. Return None if there is no such file."""
    reusable = _find_reusable(connection, job, now, within)
    if reusable is None:
        return None
    mine = (jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.status == Status.PENDING)
    begin = (
        sa.update(jobs)
        .where(*mine)
        .values(status=Status.PROCESSING, run_id=reusable.run_id, started_at=utc_now())
    )
    if not connection.execute(begin).rowcount:
        return None
    end = (
        sa.update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            status=Status.COMPLETED,
            completed_at=utc_now(),
            progress_percent=100,
            **{name: getattr(reusable, name) for name in _REUSED},
        )
    )
    completed = Job.of(connection.execute(end.returning(*jobs.c)).mappings().one())
    details = {"reused": reusable.id, "file_key": reusable.file_key, "rows": reusable.row_count}
    record_event(connection, completed, EventKind.COMPLETED, None, details)
    return completed


def _find_reusable(connection: sa.Connection, job: Job, now: datetime, within: timedelta) -> Job | None:
    """Return the newest completed job with an identical request, and lock it; None if there is none.

    Files that have expired, were deleted, are under legal hold, or are of a deleted scope serve nobody.
    """
    earlier = jobs.alias("earlier")
    older = sa.exists().where(
        earlier.c.file_key == jobs.c.file_key, earlier.c.started_at < now - within
    )  # the request that the file was made for, if this one only got it
    usable = (
        jobs.c.id != job.id,
        jobs.c.status == Status.COMPLETED,
        jobs.c.dataset == job.dataset,
        jobs.c.format == job.format,
        jobs.c.scope == job.scope,
        jobs.c.requested_by == job.requested_by,
        jobs.c.started_at >= now - within,
        jobs.c.deleted_at.is_(None),
        ~jobs.c.legal_hold,
        jobs.c.error_code.is_distinct_from(SCOPE_DELETED),
        sa.or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > now),
        ~older,
    )
    newest = sa.select(jobs).where(*usable).order_by(jobs.c.started_at.desc(), jobs.c.id)
    for row in connection.execute(newest.limit(_MAX_COMPARED)).mappings().all():
        if Job.of(row).identity == job.identity:
            # Looked at again with its lock: a purge may have removed the file meanwhile.
            locked = sa.select(jobs).where(*usable, jobs.c.id == row["id"]).with_for_update(of=jobs)
            still = connection.execute(locked).mappings().one_or_none()
            return None if still is None else Job.of(still)
    return None
