"""Files that may not be reported to Dagster yet: those of the HTTP service, and extra ones of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.queries import Reader
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import jobs, materializations

REPORT_DELAY = timedelta(minutes=1)
"""Time in which a run should report an extra file itself."""


@dataclass(frozen=True, slots=True)
class Unreported:
    """A file that may not be reported yet.

    Attributes:
        summary: Summary of the file.
        is_doubtful: True if an earlier report was begun, or a run was to tell it: Dagster may know it.
    """

    job: Job
    summary: Mapping[str, Any]
    is_doubtful: bool


class Materializations(Reader):
    """A queue of files to report to Dagster."""

    def claim(self) -> Unreported | None:
        """Claim the next completed export that was not reported; None if there is none.

        Those that were never tried come first. Those that a run has made meanwhile, or that have no file any
        more, are dropped.
        """
        mine = sa.and_(jobs.c.id == materializations.c.job_id, jobs.c.run_id == materializations.c.run_id)
        is_extra = jobs.c.claimed_by == jobs.c.run_id
        lives = sa.exists().where(mine, jobs.c.status.in_((Status.PROCESSING, Status.COMPLETED)))
        order = (materializations.c.claimed_at.asc().nulls_first(), materializations.c.created_at)
        with transaction(self._engine, write=True) as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            is_due = sa.or_(is_extra.is_not(True), jobs.c.completed_at < now - REPORT_DELAY)
            connection.execute(sa.delete(materializations).where(~lives))
            select = (
                sa.select(materializations)
                .join(jobs, mine)
                .where(jobs.c.status == Status.COMPLETED, is_due)
                .order_by(*order, materializations.c.job_id)
                .limit(1)
                .with_for_update(of=materializations, skip_locked=True)
            )
            row = connection.execute(select).mappings().one_or_none()
            if row is None:
                return None
            claimed = sa.update(materializations).where(materializations.c.job_id == row["job_id"])
            connection.execute(claimed.values(claimed_at=now))
            of_file = sa.select(jobs).where(jobs.c.id == row["job_id"])
            job = Job.of(connection.execute(of_file).mappings().one())
        return Unreported(job, row["summary"], job.is_extra or row["claimed_at"] is not None)

    def forget(self, job_id: str) -> None:
        """Remove a reported file from the queue."""
        with transaction(self._engine, write=True) as connection:
            connection.execute(sa.delete(materializations).where(materializations.c.job_id == job_id))
