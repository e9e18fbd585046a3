"""The files that one mail gathers, and the subscriptions that recipients may end."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.tables import deliveries, jobs, unsubscribes
from export_pipeline.schedules.cadences import CadenceWindow, same_run_as


def gathered_jobs(connection: sa.Connection, job: Job) -> list[Job]:
    """Return the jobs whose files go into one mail: those of a schedule's run, in the order of its formats.

    The mail belongs to the first of them. A job that got a mail of its own, as after a retry, is left out
    unless it is this job.
    """
    same_run = same_run_as(job) if job.schedule_id is not None else None
    if same_run is None:
        return [job]
    own_mail = sa.exists().where(
        deliveries.c.job_id == jobs.c.id, deliveries.c.kind == "file", deliveries.c.status != "skipped"
    )
    select = sa.select(jobs).where(
        same_run,
        jobs.c.status == Status.COMPLETED,
        jobs.c.requested_by.is_not_distinct_from(job.requested_by),
        sa.or_(jobs.c.id == job.id, ~own_mail),
    )
    rows = connection.execute(select.order_by(jobs.c.window_key, jobs.c.id)).mappings().all()
    return [Job.of(row) for row in rows] or [job]


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
