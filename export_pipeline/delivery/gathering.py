"""The files that one mail gathers, and the subscriptions that recipients may end."""

from __future__ import annotations

import uuid
from datetime import datetime

import sqlalchemy as sa

from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.tables import deliveries, jobs, unsubscribes
from export_pipeline.schedules.cadence_requests import CadenceWindow, same_run_as


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


def is_unsubscribed(connection: sa.Connection, job: Job, recipient: str) -> bool:
    """Return whether a recipient wants no more mails of the subscription that a job belongs to."""
    subscription = subscription_of(job)
    select = sa.select(sa.func.count()).where(
        unsubscribes.c.subscription == subscription, unsubscribes.c.recipient == recipient.lower()
    )
    return subscription is not None and bool(connection.scalar(select))


def subscription_of(job: Job) -> str | None:
    """Return the subscription that a job belongs to; None if somebody asked for it once."""
    if job.schedule_id is not None:
        return job.schedule_id
    if (window := CadenceWindow.of(job)) is not None:
        return f"{window.dataset}/{window.cadence}"
    return None


def find_subscription(engine: sa.Engine, delivery_id: str) -> tuple[str, str, str] | None:
    """Return the subscription, the recipient and the dataset of a mail.

    None if there is no such mail, or nothing to unsubscribe from.
    """
    try:
        known = str(uuid.UUID(delivery_id))
    except ValueError:
        return None
    with transaction(engine, write=False) as connection:
        select = sa.select(deliveries.c.job_id, deliveries.c.recipient).where(deliveries.c.id == known)
        mail = connection.execute(select).mappings().one_or_none()
        if mail is None:
            return None
        job = Job.of(connection.execute(sa.select(jobs).where(jobs.c.id == mail["job_id"])).mappings().one())
        subscription = subscription_of(job)
        if subscription is None:
            return None
    return subscription, str(mail["recipient"]).lower(), job.dataset


def unsubscribe(engine: sa.Engine, subscription: str, recipient: str) -> None:
    """Send a recipient no more mails of a subscription. A second time changes nothing."""
    values = {"subscription": subscription, "recipient": recipient}
    with transaction(engine, write=True) as connection:
        connection.execute(insert_new(connection, unsubscribes, "subscription", "recipient").values(**values))


def list_unsubscribed(engine: sa.Engine, subscription: str) -> list[str]:
    """Return the recipients who want no more mails of a subscription, by address."""
    select = sa.select(unsubscribes.c.recipient).where(unsubscribes.c.subscription == subscription)
    with transaction(engine, write=False) as connection:
        return list(connection.scalars(select.order_by(unsubscribes.c.recipient)))


def resubscribe(engine: sa.Engine, subscription: str, recipient: str) -> bool:
    """Send a recipient mails of a subscription again. Return False if they were not unsubscribed."""
    where = (unsubscribes.c.subscription == subscription, unsubscribes.c.recipient == recipient.lower())
    with transaction(engine, write=True) as connection:
        return connection.execute(sa.delete(unsubscribes).where(*where)).rowcount > 0
