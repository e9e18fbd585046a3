"""Files of one mail: those of all jobs of a schedule's run that have the same recipients."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.tables import deliveries, jobs
from export_pipeline.schedules.cadence_requests import same_run_as


def gathered_jobs(connection: sa.Connection, job: Job) -> list[Job]:
    """Return the completed jobs whose files go into one new mail, in the order of the schedule's formats.

    They are of one run of a schedule, for the same recipients, and no mail had the file of another than this
    job. The mail belongs to the first of them.
    """
    mailed = sa.exists().where(
        deliveries.c.job_id == jobs.c.id, deliveries.c.attempt == jobs.c.attempt, deliveries.c.kind == "file"
    )
    request = (job.recipients, job.filters, job.columns)
    gathered = [
        one
        for one in _run_of(connection, job, sa.or_(jobs.c.id == job.id, ~mailed))
        if (one.recipients, one.filters, one.columns) == request
    ]
    return gathered or [job]


def jobs_of_mail(connection: sa.Connection, job: Job, queued_at: datetime) -> list[Job]:
    """Return the jobs whose files go into a queued mail: its own first.

    Args:
        queued_at: When the mail was queued; files that it gathers were marked at the same moment.
    """
    marked = sa.exists().where(
        deliveries.c.job_id == jobs.c.id,
        deliveries.c.attempt == jobs.c.attempt,
        deliveries.c.kind == "file",
        deliveries.c.status == "skipped",
        deliveries.c.created_at == queued_at,
    )
    return [job, *(one for one in _run_of(connection, job, marked) if one.id != job.id)]


def _run_of(connection: sa.Connection, job: Job, which: sa.ColumnElement[bool]) -> list[Job]:
    """Return the completed jobs of the schedule's run that a job belongs to."""
    same_run = same_run_as(job) if job.schedule_id is not None else None
    if same_run is None:
        return []
    select = sa.select(jobs).where(
        same_run,
        which,
        jobs.c.status == Status.COMPLETED,
        jobs.c.requested_by == job.requested_by,
    )
    rows = connection.execute(select.order_by(jobs.c.window_key, jobs.c.id)).mappings().all()
    return [Job.of(row) for row in rows]
