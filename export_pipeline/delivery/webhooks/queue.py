"""The webhook queue: rows of `export_webhook_deliveries`. A trigger of `export_jobs` inserts them.

A delivery is claimed before it is sent. Its id is the same over all tries, so a receiver that got one twice,
because the sender died before it wrote the answer down, can tell.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from export_pipeline.delivery.webhooks.endpoints import Webhook
from export_pipeline.jobs import Job
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import jobs, webhook_deliveries, webhooks

LEASE = timedelta(minutes=2)
"""Time after which a silent sender counts as dead; one try takes at most 15 s."""

DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (0, 30, 5 * 60, 30 * 60, 2 * 3600, 8 * 3600, 24 * 3600)
)
"""Time before each try, counted from the try before it."""

TEST_EVENT = "export.test"

DeliveryStatus = Literal["pending", "claimed", "delivered", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of one event to one webhook. Times are UTC.

    Attributes:
        job_id: The job that ended; None for a test.
        claims: Number of claims so far; identifies the claim that this sender holds.
        tries: Number of tries that failed.
        http_status: Status of the last answer.
    """

    id: str
    webhook_id: str
    job_id: str | None
    attempt: int | None
    event: str
    status: DeliveryStatus
    claims: int
    tries: int
    http_status: int | None
    error_message: str | None
    created_at: datetime
    next_at: datetime
    claimed_at: datetime | None
    delivered_at: datetime | None


def is_due(engine: sa.Engine) -> bool:
    """Return whether a delivery can be claimed."""
    with transaction(engine, write=False) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        select = sa.select(webhook_deliveries.c.id).where(_due(now)).limit(1)
        return connection.execute(select).first() is not None


def claim(
    engine: sa.Engine, busy: Collection[str] = (), only: str | None = None
) -> tuple[Delivery, Webhook, Job | None, datetime] | None:
    """Claim the next due delivery; return it with its webhook, its job and the time. None if none is due.

    Args:
        busy: Webhooks whose deliveries are left for later.
        only: Claim only this delivery.
    """
    table = webhook_deliveries.c
    with transaction(engine, write=True) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        select = sa.select(table.id).where(_due(now), table.webhook_id.not_in(list(busy)))
        if only is not None:
            select = select.where(table.id == only)
        select = select.order_by(table.next_at, table.id).limit(1).with_for_update(skip_locked=True)
        chosen = connection.scalars(select).one_or_none()
        if chosen is None:
            return None
        taken = (
            sa.update(webhook_deliveries)
            .where(table.id == chosen)
            .values(status="claimed", claimed_at=now, claims=table.claims + 1)
            .returning(*table)
        )
        delivery = Delivery(**connection.execute(taken).mappings().one())
        hook = connection.execute(sa.select(webhooks).where(webhooks.c.id == delivery.webhook_id))
        webhook = Webhook(**hook.mappings().one())
        job = None
        if delivery.job_id is not None:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == delivery.job_id)).mappings().one()
            job = Job.of(row)
    return delivery, webhook, job, now


def _due(now: datetime) -> sa.ColumnElement[bool]:
    table = webhook_deliveries.c
    return sa.or_(
        sa.and_(table.status == "pending", table.next_at <= now),
        sa.and_(table.status == "claimed", table.claimed_at < now - LEASE),
    )


def add_test(engine: sa.Engine, webhook: Webhook) -> str:
    """Queue a test of a webhook, and return the id of the delivery."""
    values = {"webhook_id": webhook.id, "event": TEST_EVENT}
    with transaction(engine, write=True) as connection:
        insert = sa.insert(webhook_deliveries).values(**values).returning(webhook_deliveries.c.id)
        return str(connection.scalars(insert).one())


def delivered(engine: sa.Engine, delivery: Delivery, http_status: int) -> None:
    """Mark a delivery as accepted by its receiver."""
    values = {"delivered_at": utc_now(), "http_status": http_status, "error_message": None}
    with transaction(engine, write=True) as connection:
        _end(connection, delivery, "delivered", values)


def skip(engine: sa.Engine, delivery: Delivery, reason: str) -> None:
    """Mark a delivery as not needed."""
    with transaction(engine, write=True) as connection:
        _end(connection, delivery, "skipped", {"error_message": reason})


def put_back(
    engine: sa.Engine,
    delivery: Delivery,
    reason: str,
    http_status: int | None = None,
    not_before: timedelta = timedelta(0),
) -> bool:
    """Record a failed try and schedule the next one; return False if this was the last.

    Args:
        not_before: The receiver's Retry-After.
    """
    tries = delivery.tries + 1
    is_last = tries >= len(DELAYS) or delivery.job_id is None
    values: dict[str, Any] = {"tries": tries, "http_status": http_status, "error_message": storable(reason)}
    with transaction(engine, write=True) as connection:
        if not is_last:
            now = connection.scalars(sa.select(utc_now())).one()
            values["next_at"] = now + max(DELAYS[tries], min(not_before, DELAYS[-1]))
        _end(connection, delivery, "failed" if is_last else "pending", values)
    return not is_last


def release(engine: sa.Engine, delivery: Delivery) -> None:
    """Release the claim of a delivery that could not be tried, for a reason that is not its own."""
    with transaction(engine, write=True) as connection:
        _end(connection, delivery, "pending", {})


def switch_off(engine: sa.Engine, delivery: Delivery, http_status: int, reason: str) -> None:
    """Record that the receiver is gone: the delivery failed, and its webhook is switched off."""
    with transaction(engine, write=True) as connection:
        gone = sa.update(webhooks).where(webhooks.c.id == delivery.webhook_id)
        connection.execute(gone.values(active=False, problem=reason))
        values = {"tries": delivery.tries + 1, "http_status": http_status, "error_message": reason}
        _end(connection, delivery, "failed", values)


def find_deliveries(
    engine: sa.Engine,
    webhook_ids: Collection[str],
    status: Collection[DeliveryStatus] = (),
    limit: int = 50,
) -> list[Delivery]:
    """Return deliveries of these webhooks, newest first."""
    table = webhook_deliveries.c
    select = sa.select(webhook_deliveries).where(table.webhook_id.in_(list(webhook_ids)))
    if status:
        select = select.where(table.status.in_(list(status)))
    select = select.order_by(table.created_at.desc(), table.id).limit(limit)
    with transaction(engine, write=False) as connection:
        return [Delivery(**row) for row in connection.execute(select).mappings()]


def forget(engine: sa.Engine, older_than: timedelta) -> int:
    """Delete old deliveries that have ended, and return their number."""
    table = webhook_deliveries.c
    with transaction(engine, write=True) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        ended = table.status.in_(["delivered", "failed", "skipped"])
        old = sa.delete(webhook_deliveries).where(ended, table.created_at < now - older_than)
        return connection.execute(old).rowcount


def _end(
    connection: sa.Connection, delivery: Delivery, status: DeliveryStatus, values: dict[str, Any]
) -> None:
    """Write the result of a try, unless another sender has claimed the delivery meanwhile."""
    mine = (webhook_deliveries.c.id == delivery.id, webhook_deliveries.c.claims == delivery.claims)
    update = sa.update(webhook_deliveries).where(*mine, webhook_deliveries.c.status == "claimed")
    connection.execute(update.values(status=status, **values))
