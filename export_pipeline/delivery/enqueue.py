"""Enqueues the mails about ended jobs, as one row of `export_deliveries` each.

While no mail server is set, no rows are written: the mails wait until one is set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import sqlalchemy as sa

from export_pipeline.delivery.mail_files import gathered_jobs
from export_pipeline.delivery.recipients import MailKind, Recipient, mail_kind, recipients_of
from export_pipeline.delivery.subscriptions import subscription_of
from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import deliveries, jobs, schedules, unsubscribes
from export_pipeline.schedules.cadence_requests import same_run_as

if TYPE_CHECKING:
    from export_pipeline.settings import Settings

BACKLOG = timedelta(days=7)
"""Maximum age of an ended job that still gets mails: after a longer pause, old mails are not sent."""

_MAX_JOBS = 10_000
NOT_SENT = f"not sent: EXPORT_SMTP_URL is not set; once it is, mails of the last {BACKLOG.days} days are"

_other = jobs.alias("other")
_IS_NOTICE = sa.and_(deliveries.c.kind == "failure", deliveries.c.status.not_in(["refused", "skipped"]))
_MAX_NOTICES = 20

Notices: TypeAlias = dict[tuple[str | None, datetime | None], Counter[str]]
"""Number of failure notices by run of a schedule and recipient in lower case."""

_LOCK = 0x6D61_696C  # key of an advisory lock that no other code uses


def enqueue_mails(
    engine: sa.Engine, domains: Collection[str], sender_domain: str, limit: int
) -> dict[str, int]:
    """Write a row for each mail about an ended job; existing rows are left alone.

    Args:
        domains: Allowed domains of recipients; empty for all.
        sender_domain: Domain of the Message-IDs.
        limit: Maximum number of jobs.

    Returns:
        Number of new rows by status: pending, refused, skipped.
    """
    counts: dict[str, int] = {}
    with transaction(engine, write=True) as connection:
        if connection.dialect.name == "postgresql":
            # Serialized: if several formats of a window fail at once, one mail reports them all.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        now = connection.scalars(sa.select(utc_now())).one()
        waiting = jobs_without_mails(now, limit).with_for_update(of=jobs, skip_locked=True)
        enqueued: set[str] = set()
        notices: Notices = {}
        for row in connection.execute(waiting).mappings().all():
            job = Job.of({column.name: row[column] for column in jobs.c})  # type: ignore[arg-type]
            if job.id in enqueued:
                continue
            empty = job.options.get("empty") or row["empty"] or "send"
            kind = mail_kind(job)
            gathered = gathered_jobs(connection, job) if kind == "file" else [job]
            for one in gathered:
                recipients = _skip_unsubscribed(connection, one, recipients_of(one, domains, empty))
                if one.id != gathered[0].id:
                    recipients = _skip(recipients, f"the file is in the mail of {gathered[0].format}")
                if kind == "failure":
                    recipients = _skip_notified(connection, one, recipients, notices)
                for status in _insert_mails(connection, one, kind, recipients, sender_domain, now):
                    counts[status] = counts.get(status, 0) + 1
                enqueued.add(one.id)
    return counts


def jobs_without_mails(now: datetime, limit: int) -> sa.Select[tuple[object, ...]]:
    """Return a query for ended jobs without mails, and for their schedules' rules for empty exports."""
    return (
        sa.select(jobs, schedules.c.empty)
        .outerjoin(schedules, schedules.c.id == jobs.c.schedule_id)
        .where(
            jobs.c.completed_at >= now - BACKLOG,
            jobs.c.status.in_([Status.COMPLETED, Status.FAILED]),
            jobs.c.deleted_at.is_(None),
            # A request by a program, without recipients, gets no mail.
            sa.or_(
                sa.cast(jobs.c.recipients, sa.Text).not_in(["[]", "null"]),
                jobs.c.schedule_id.is_not(None),
                jobs.c.window_key.is_not(None),
            ),
            ~sa.exists().where(deliveries.c.job_id == jobs.c.id, deliveries.c.attempt == jobs.c.attempt),
            # The formats of a schedule's run wait for each other, to go into one mail.
            ~sa.exists().where(
                _other.c.schedule_id == jobs.c.schedule_id,
                _other.c.scheduled_for == jobs.c.scheduled_for,
                _other.c.dataset == jobs.c.dataset,
                _other.c.scope.is_not_distinct_from(jobs.c.scope),
                # PostgreSQL can hash this, and cannot use an index for the comparison above.
                sa.func.coalesce(_other.c.scope, "") == sa.func.coalesce(jobs.c.scope, ""),
                _other.c.status.in_([Status.PENDING, Status.PROCESSING]),
            ),
        )
        .order_by(jobs.c.completed_at, jobs.c.id)
        .limit(limit)
    )


def _insert_mails(
    connection: sa.Connection,
    job: Job,
    kind: MailKind,
    recipients: list[Recipient],
    sender_domain: str,
    now: datetime,
) -> Iterator[str]:
    """Insert the rows of a job's mails; yield the status of each new one."""
    for recipient in recipients:
        insert = insert_new(connection, deliveries, "job_id", "attempt", "kind", "recipient")
        values = {
            "job_id": job.id,
            "attempt": job.attempt,
            "kind": kind,
            "recipient": storable(recipient.spec),
            "status": recipient.status,
            "message_id": _message_id(job, kind, recipient.spec, sender_domain),
            "error_message": storable(recipient.reason),
            # The same time: a job's mails are claimed one after another, and know the files they gather.
            "created_at": now,
            "next_at": now,
        }
        if connection.execute(insert.values(**values)).rowcount:
            yield recipient.status


def _skip(recipients: list[Recipient], reason: str, only: Collection[str] | None = None) -> list[Recipient]:
    """Mark the pending recipients as skipped, or only those of some mailboxes (in lower case)."""
    return [
        Recipient(recipient.spec, "skipped", reason)
        if recipient.status == "pending" and (only is None or recipient.spec.lower() in only)
        else recipient
        for recipient in recipients
    ]


def _skip_unsubscribed(connection: sa.Connection, job: Job, recipients: list[Recipient]) -> list[Recipient]:
    """Mark the recipients who want no more mails of this schedule or cadence."""
    subscription = subscription_of(job)
    if subscription is None:
        return recipients
    gone = sa.select(unsubscribes.c.recipient).where(unsubscribes.c.subscription == subscription)
    return _skip(recipients, "the recipient has unsubscribed", set(connection.scalars(gone)))


def _skip_notified(
    connection: sa.Connection, job: Job, recipients: list[Recipient], notices: Notices
) -> list[Recipient]:
    """Mark the recipients who got a failure notice about another format of the same run, or many of it."""
    same_run = same_run_as(job)
    if same_run is None:
        return recipients
    notified = (
        sa.select(deliveries.c.recipient, jobs.c.format)
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(same_run, deliveries.c.attempt == job.attempt, _IS_NOTICE)
    )
    for recipient, format in connection.execute(notified).all():
        reason = f"the notice about {format} of the same window covers this format too"
        recipients = _skip(recipients, reason, {recipient.lower()})
    if job.schedule_id is not None:
        run = (job.schedule_id, job.scheduled_for)
        if run not in notices:
            notices[run] = _count_notices(connection, *run)
        counts = notices[run]
        reason = f"{_MAX_NOTICES} notices about this run are enough; `export-pipeline jobs` lists the others"
        full = {one for one, count in counts.items() if count >= _MAX_NOTICES}
        recipients = _skip(recipients, reason, full)
        counts.update(one.spec.lower() for one in recipients if one.status == "pending")
    return recipients


def _count_notices(
    connection: sa.Connection, schedule_id: str | None, scheduled_for: datetime | None
) -> Counter[str]:
    """Return the number of failure notices about a schedule's run, by recipient in lower case."""
    of_run = sa.and_(jobs.c.schedule_id == schedule_id, jobs.c.scheduled_for == scheduled_for)
    recipient = sa.func.lower(deliveries.c.recipient)
    count = (
        sa.select(recipient, sa.func.count())
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(of_run, _IS_NOTICE)
        .group_by(recipient)
    )
    return Counter({row[0]: row[1] for row in connection.execute(count)})


def _message_id(job: Job, kind: MailKind, recipient: str, domain: str) -> str:
    """Return the Message-ID, a hash and not random: it stays the same if the row is lost and recreated."""
    whole = "\n".join((job.id, str(job.attempt), kind, recipient))
    return f"<{hashlib.sha256(whole.encode('utf-8', 'replace')).hexdigest()[:40]}@{domain}>"


def waiting_recipients(job: Job, settings: Settings) -> list[str]:
    """Return the recipients whose mails are not sent because no server is set; empty if one is set."""
    is_mailed = job.recipients or job.schedule_id or job.window_key  # no mail about requests by programs
    if settings.smtp_url is not None or not is_mailed or job.status in (Status.CANCELED, Status.EXPIRED):
        return []
    return _pending_recipients(job, settings.mail_domains, None)


def waiting_jobs(engine: sa.Engine, domains: Collection[str]) -> list[Job]:
    """Return at most 10,000 jobs whose mails would be sent if a server were set, oldest end first.

    Args:
        domains: Allowed domains of recipients; empty for all.
    """
    with transaction(engine, write=False) as connection:
        now = connection.scalars(sa.select(utc_now())).one()
        rows = connection.execute(jobs_without_mails(now, _MAX_JOBS)).mappings().all()
    waiting = [(Job.of({column.name: row[column] for column in jobs.c}), row["empty"]) for row in rows]  # type: ignore[arg-type]
    return [job for job, empty in waiting if _pending_recipients(job, domains, empty)]


def _pending_recipients(job: Job, domains: Collection[str], empty: str | None) -> list[str]:
    empty = job.options.get("empty") or empty or "send"
    return [one.spec for one in recipients_of(job, domains, empty) if one.status == "pending"]
