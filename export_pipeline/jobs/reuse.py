"""Finished files that may serve another request."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import jobs

REUSED = (
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


def find_reusable(connection: sa.Connection, job: Job, now: datetime, within: timedelta) -> Job | None:
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
