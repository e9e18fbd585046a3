"""Subscriptions: the mails of a schedule or cadence, from which each recipient can unsubscribe."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from export_pipeline.jobs import Job
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.tables import deliveries, jobs, unsubscribes
from export_pipeline.schedules.cadence_requests import CadenceWindow


def is_unsubscribed(connection: sa.Connection, job: Job, recipient: str) -> bool:
    """Return whether a recipient has unsubscribed from the mails of a job's subscription."""
    subscription = subscription_of(job)
    select = sa.select(sa.func.count()).where(
        unsubscribes.c.subscription == subscription, unsubscribes.c.recipient == recipient.lower()
    )
    return subscription is not None and bool(connection.scalar(select))


def subscription_of(job: Job) -> str | None:
    """Return the subscription that a job belongs to; None for a single request."""
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
    """Unsubscribe a recipient from the mails of a subscription. A second call changes nothing."""
    values = {"subscription": subscription, "recipient": recipient}
    with transaction(engine, write=True) as connection:
        connection.execute(insert_new(connection, unsubscribes, "subscription", "recipient").values(**values))


def list_unsubscribed(engine: sa.Engine, subscription: str) -> list[str]:
    """Return the recipients who have unsubscribed, by address."""
    select = sa.select(unsubscribes.c.recipient).where(unsubscribes.c.subscription == subscription)
    with transaction(engine, write=False) as connection:
        return list(connection.scalars(select.order_by(unsubscribes.c.recipient)))


def resubscribe(engine: sa.Engine, subscription: str, recipient: str) -> bool:
    """Subscribe a recipient again. Return False if they were not unsubscribed."""
    where = (unsubscribes.c.subscription == subscription, unsubscribes.c.recipient == recipient.lower())
    with transaction(engine, write=True) as connection:
        return connection.execute(sa.delete(unsubscribes).where(*where)).rowcount > 0
