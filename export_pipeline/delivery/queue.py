"""The mail queue: rows of `export_deliveries`. `enqueue` inserts them, and only this module changes them.

The conditions of each UPDATE name the row, the claim and the allowed states. So a slow sender whose mail
another one has taken over changes nothing and gets an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from export_pipeline.delivery.recipients import MailKind
from export_pipeline.jobs import EventKind as EventKind
from export_pipeline.jobs import Job, LedgerError
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import deliveries, jobs
from export_pipeline.jobs.transitions import record_event

LEASE = timedelta(minutes=15)
"""Time after which a silent sender counts as dead; sending one mail always takes less."""

MAX_TRIES = 10

MailStatus = Literal["pending", "claimed", "sending", "sent", "unknown", "failed", "refused", "skipped"]


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one recipient about the end of one attempt of a job. Times are UTC.

    Attributes:
        recipient: The bare address.
        claims: Number of claims so far; identifies the claim that this sender holds.
        tries: Number of claims that failed because of this mail itself.
        error_message: Reason why the mail is not sent, for people.
        next_at: Earliest time of the next try.
    """

    id: str
    job_id: str
    attempt: int
    kind: MailKind
    recipient: str
    status: MailStatus
    message_id: str
    claims: int
    tries: int
    error_message: str | None
    created_at: datetime
    next_at: datetime
    claimed_at: datetime | None
    sent_at: datetime | None


class LostClaimError(Exception):
    """Raised when another sender has the mail now, or an operator or the application has withdrawn it."""


def recover_mails(engine: sa.Engine) -> int:
    """Recover mails whose sender died; return how many were being sent, so that their delivery is unknown.

    Mails that were only claimed are tried again; they fail after `MAX_TRIES` failed tries or dead senders.
    """
    with transaction(engine, write=True) as connection:
        dead = deliveries.c.claimed_at < connection.scalars(sa.select(utc_now())).one() - LEASE
        last = deliveries.c.tries + 1 >= MAX_TRIES
        ended = f"{MAX_TRIES} senders ended before they sent it"
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.status == "claimed", dead)
            .values(
                status=sa.case((last, "failed"), else_="pending"),
                error_message=sa.case((last, ended), else_=deliveries.c.error_message),
                tries=deliveries.c.tries + 1,
            )
        )
        unheard = "its sender ended before it recorded the server's reply: it may have been delivered"
        lost = sa.update(deliveries).where(deliveries.c.status == "sending", dead)
        return connection.execute(lost.values(status="unknown", error_message=unheard)).rowcount


def claim_mail(engine: sa.Engine) -> tuple[Mail, Job] | None:
    """Claim the next due mail and return it with its job; nobody else gets it within `LEASE`."""
    with transaction(engine, write=True) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        due = (
            sa.select(deliveries.c.id)
            .where(deliveries.c.status == "pending", deliveries.c.next_at <= now)
            .order_by(deliveries.c.next_at, deliveries.c.job_id, deliveries.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        chosen = connection.scalars(due).one_or_none()
        if chosen is None:
            return None
        taken = (
            sa.update(deliveries)
            .where(deliveries.c.id == chosen)
            .values(status="claimed", claimed_at=now, claims=deliveries.c.claims + 1)
            .returning(*deliveries.c)
        )
        mail = Mail(**connection.execute(taken).mappings().one())
        job = connection.execute(sa.select(jobs).where(jobs.c.id == mail.job_id)).mappings().one()
    return mail, Job.of(job)


def mark_sending(engine: sa.Engine, mail: Mail) -> None:
    """Mark a mail as being sent: from now on it may be delivered at any moment.

    Raises:
        LostClaimError: another sender has claimed the mail; it must not be sent.
    """
    _change_status(engine, mail, ("claimed", "sending"), "sending", {"claimed_at": utc_now()})


def mark_sent(engine: sa.Engine, mail: Mail, job: Job, answer: str) -> None:
    """Mark a mail as accepted by the server, and write its event in the same transaction."""
    details = {"recipient": mail.recipient, "kind": mail.kind, "message_id": mail.message_id}
    details["answer"] = answer
    values = {"sent_at": utc_now(), "error_message": None}
    _change_status(engine, mail, ("sending", "unknown"), "sent", values, event=(job, details))


def mark_unsent(engine: sa.Engine, mail: Mail, status: MailStatus, reason: str) -> None:
    """Set the final status of a mail that was not sent: failed, skipped or unknown."""
    _change_status(engine, mail, ("claimed", "sending"), status, {"error_message": storable(reason)})


def schedule_retry(engine: sa.Engine, mail: Mail, reason: str) -> bool:
    """Schedule a retry with exponential backoff; return False if this was the last try and it failed."""
    again = mail.tries + 1 < MAX_TRIES
    values = {"error_message": storable(reason), "tries": mail.tries + 1}
    to: MailStatus = "pending" if again else "failed"
    _change_status(engine, mail, ("claimed", "sending"), to, values, delay=backoff(mail.tries + 1))
    return again


def release(engine: sa.Engine, mail: Mail, reason: str) -> None:
    """Release the claim of a mail that could not be tried, for a reason that is not its own."""
    _change_status(engine, mail, ("claimed", "sending"), "pending", {"error_message": storable(reason)})


def backoff(tries: int) -> timedelta:
    """Return the backoff after this many tries: 1, 3, 9, … minutes, at most 8 hours; 30 hours in all."""
    return timedelta(minutes=min(3 ** (tries - 1), 480))


def find_mails(
    engine: sa.Engine,
    *,
    job_id: str | None = None,
    status: Iterable[MailStatus] | None = None,
    limit: int = 100,
) -> list[Mail]:
    """Return mails, newest first, by job or status. Unknown and failed mails need an operator."""
    select = sa.select(deliveries)
    if job_id is not None:
        select = select.where(deliveries.c.job_id == job_id)
    if status is not None:
        select = select.where(deliveries.c.status.in_(list(status)))
    select = select.order_by(deliveries.c.created_at.desc(), deliveries.c.id).limit(limit)
    with transaction(engine, write=False) as connection:
        return [Mail(**row) for row in connection.execute(select).mappings()]


def resend(engine: sa.Engine, job_id: str, recipient: str | None = None) -> list[Mail]:
    """Queue the unknown, failed and refused mails of a job again, or only the one to a recipient.

    The recipient of an unknown mail may get a copy, with the same Message-ID.

    Raises:
        LedgerError: there are no such mails; the message lists the job's mails.
    """
    named = [deliveries.c.job_id == job_id]
    if recipient is not None:
        named.append(sa.func.lower(deliveries.c.recipient) == recipient.lower())
    with transaction(engine, write=True) as connection:
        again = (
            sa.update(deliveries)
            .where(*named, deliveries.c.status.in_(["unknown", "failed", "refused"]))
            .where(deliveries.c.recipient != "")
            .values(status="pending", tries=0, next_at=utc_now(), claims=deliveries.c.claims + 1)
            .returning(*deliveries.c)
        )
        mails = [Mail(**row) for row in connection.execute(again).mappings()]
        if not mails:
            there = connection.execute(sa.select(deliveries.c.recipient, deliveries.c.status).where(*named))
            known = ", ".join(f"{to} is {status}" for to, status in there) or "there is none"
            raise LedgerError(f"No unknown, failed or refused mail of export job {job_id} to send: {known}.")
    return mails


def _change_status(
    engine: sa.Engine,
    mail: Mail,
    states: tuple[MailStatus, ...],
    to: MailStatus,
    values: dict[str, Any],
    *,
    delay: timedelta | None = None,
    event: tuple[Job, dict[str, Any]] | None = None,
) -> None:
    """Change the status of a mail that this sender holds. A caller that lost a commit's reply may retry."""
    mine = (deliveries.c.id == mail.id, deliveries.c.claims == mail.claims)
    with transaction(engine, write=True) as connection:
        if delay is not None:
            values = {**values, "next_at": connection.scalars(sa.select(utc_now())).one() + delay}
        move = sa.update(deliveries).where(*mine, deliveries.c.status.in_(states)).values(status=to, **values)
        if connection.execute(move).rowcount:
            if event is not None:
                record_event(connection, event[0], EventKind.SENT, None, event[1])
            return
        made = connection.scalars(sa.select(deliveries.c.status).where(*mine)).one_or_none() == to
    if not made:
        raise LostClaimError(f"The mail {mail.message_id} is no longer this sender's.")
