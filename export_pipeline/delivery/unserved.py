"""Mails that are not sent because no mail server is set. Their rows are written once a server is set."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import sqlalchemy as sa

from export_pipeline.delivery.enqueue import BACKLOG, untold
from export_pipeline.delivery.recipients import recipients_of
from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.tables import jobs

if TYPE_CHECKING:
    from export_pipeline.settings import Settings

_MOST = 10_000
NOT_SENT = f"not sent: EXPORT_SMTP_URL is not set; once it is, mails of the last {BACKLOG.days} days are"


def unserved(job: Job, settings: Settings) -> list[str]:
    """Return the recipients whose mails are not sent because no server is set; empty if one is set."""
    told = job.recipients or job.schedule_id or job.window_key  # no mail about requests by programs
    if settings.smtp_url is not None or not told or job.status in (Status.CANCELED, Status.EXPIRED):
        return []
    return _addressed(job, settings.mail_domains, None)


def unserved_jobs(engine: sa.Engine, domains: Collection[str]) -> list[Job]:
    """Return at most 10,000 jobs whose mails would be sent if a server were set, oldest end first.

    Args:
        domains: Allowed domains of recipients; empty for all.
    """
    with transaction(engine, write=False) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        rows = connection.execute(untold(now, _MOST)).mappings().all()
    found = [(Job.of({column.name: row[column] for column in jobs.c}), row["empty"]) for row in rows]  # type: ignore[arg-type]
    return [job for job, empty in found if _addressed(job, domains, empty)]


def _addressed(job: Job, domains: Collection[str], empty: str | None) -> list[str]:
    empty = job.options.get("empty") or empty or "send"
    return [one.spec for one in recipients_of(job, domains, empty) if one.status == "pending"]
