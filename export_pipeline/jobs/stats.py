"""Statistics of the ledger: length and age of the queue, results of recent requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from export_pipeline.jobs.claims import in_flight
from export_pipeline.jobs.leases import Disk
from export_pipeline.jobs.queries import PATIENCE, Reader
from export_pipeline.jobs.sql_types import UtcTime, utc_now
from export_pipeline.jobs.states import EventKind, Status
from export_pipeline.jobs.tables import (
    commands,
    deliveries,
    events,
    jobs,
    leases,
    materializations,
    schedules,
    webhook_deliveries,
)


@dataclass(frozen=True, slots=True)
class Late:
    """Rows that are overdue.

    Attributes:
        count: Number of rows.
        since: Time since which the oldest is unchanged (UTC).
        examples: Ids of the oldest, at most three.
    """

    count: int
    since: datetime
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Totals of the requests of one dataset that ended with one status. Times in seconds, sizes in bytes."""

    dataset: str
    status: Status
    count: int
    rows: int
    bytes: int
    seconds: float
    longest_seconds: float
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class DatasetQueue:
    """Numbers of waiting and in-flight requests of one dataset. Times in seconds."""

    dataset: str
    pending: int
    in_flight: int
    oldest_wait: float


class seconds_between(FunctionElement[float]):
    """Seconds from the second argument to the first."""

    inherit_cache = True
    type = sa.Float()


@compiles(seconds_between, "postgresql")
def _seconds_postgresql(element: seconds_between, compiler: Any, **options: Any) -> str:
    later, earlier = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({later}) - ({earlier})) AS DOUBLE PRECISION)"


@compiles(seconds_between, "sqlite")
def _seconds_sqlite(element: seconds_between, compiler: Any, **options: Any) -> str:
    later, earlier = (compiler.process(clause, **options) for clause in element.clauses)
    return f"((julianday({later}) - julianday({earlier})) * 86400.0)"


def _waits_since() -> sa.ColumnElement[datetime]:
    """Return the time at which the current attempt of a job was requested."""
    requested_at = sa.select(sa.func.max(events.c.at)).where(
        events.c.job_id == jobs.c.id, events.c.kind == EventKind.REQUESTED
    )
    again = sa.type_coerce(requested_at.scalar_subquery(), UtcTime())
    return sa.case((jobs.c.attempt > 1, sa.func.coalesce(again, jobs.c.created_at)), else_=jobs.c.created_at)


class Statistics(Reader):
    """Computes statistics for operators and monitoring."""

    def queue(self) -> list[DatasetQueue]:
        """Return the current state of the queue for each dataset with waiting or in-flight requests."""
        waits = sa.and_(jobs.c.status == Status.PENDING, jobs.c.deleted_at.is_(None))
        waited = seconds_between(utc_now(), _waits_since())
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            flies = in_flight(now - PATIENCE)
            select = sa.select(
                jobs.c.dataset,
                sa.func.count(sa.case((waits, 1))),
                sa.func.count(sa.case((flies, 1))),
                sa.func.max(sa.case((waits, waited))),
            ).where(sa.or_(waits, flies))
            rows = connection.execute(select.group_by(jobs.c.dataset)).all()
        return [
            DatasetQueue(dataset, pending, flying, _positive(oldest))
            for dataset, pending, flying, oldest in sorted(rows)
        ]

    def unsent_mails(self) -> dict[str, int]:
        """Return the numbers of mails that are not sent, by status."""
        select = sa.select(deliveries.c.status, sa.func.count()).where(
            deliveries.c.status.not_in(("sent", "skipped", "refused"))
        )
        with self._reading() as connection:
            rows = connection.execute(select.group_by(deliveries.c.status)).all()
        return {status: int(count) for status, count in rows}

    def ended(self, within: timedelta) -> list[Ended]:
        """Return totals of the requests that ended within this time, by dataset and status."""
        took = seconds_between(jobs.c.completed_at, jobs.c.started_at)
        waited = seconds_between(jobs.c.started_at, jobs.c.created_at)
        sums = [
            sa.func.count(),
            *(sa.func.sum(column) for column in (jobs.c.row_count, jobs.c.file_size, took)),
        ]
        # Waiting times of later attempts are not recorded.
        first = sa.case((jobs.c.attempt == 1, waited), else_=0.0)
        select = sa.select(jobs.c.dataset, jobs.c.status, *sums, sa.func.max(took), sa.func.sum(first))
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            recent = select.where(jobs.c.completed_at >= now - within)
            rows = connection.execute(recent.group_by(jobs.c.dataset, jobs.c.status)).all()
        return [
            Ended(dataset, Status(status), count, int(written or 0), int(size or 0), *map(_positive, times))
            for dataset, status, count, written, size, *times in sorted(rows)
        ]

    def failures(self, within: timedelta) -> list[tuple[str, int]]:
        """Return error codes and counts of requests that failed within this time, most frequent first."""
        count = sa.func.count()
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            select = sa.select(sa.func.coalesce(jobs.c.error_code, ""), count).where(
                jobs.c.status == Status.FAILED, jobs.c.completed_at >= now - within
            )
            rows = connection.execute(select.group_by(jobs.c.error_code).order_by(count.desc())).all()
        return [(code, number) for code, number in rows]

    def waiting(self, longer_than: timedelta) -> Late | None:
        """Return requests that have waited for longer than this."""
        here = sa.and_(jobs.c.status == Status.PENDING, jobs.c.deleted_at.is_(None))
        return self._late(jobs.c.id, _waits_since(), here, longer_than)

    def working(self, longer_than: timedelta) -> Late | None:
        """Return requests that have been processing for longer than this."""
        return self._late(jobs.c.id, jobs.c.started_at, jobs.c.status == Status.PROCESSING, longer_than)

    def unsent(self, longer_than: timedelta) -> Late | None:
        """Return mails that have been due or in progress for longer than this."""
        moves = sa.case(
            (deliveries.c.status == "pending", deliveries.c.next_at), else_=deliveries.c.claimed_at
        )
        here = deliveries.c.status.in_(("pending", "claimed", "sending"))
        return self._late(deliveries.c.job_id, moves, here, longer_than)

    def unsure(self) -> Late | None:
        """Return mails whose delivery is unknown."""
        return self._late(
            deliveries.c.job_id, deliveries.c.created_at, deliveries.c.status == "unknown", timedelta(0)
        )

    def unsent_for_good(self, within: timedelta) -> Late | None:
        """Return mails created within this time that have failed for good."""
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
        here = sa.and_(deliveries.c.status == "failed", deliveries.c.created_at >= now - within)
        return self._late(deliveries.c.job_id, deliveries.c.created_at, here, timedelta(0))

    def webhooks_late(self, longer_than: timedelta) -> Late | None:
        """Return webhooks with deliveries that have been due for longer than this."""
        table = webhook_deliveries.c
        return self._late(table.webhook_id, table.next_at, table.status == "pending", longer_than)

    def webhooks_failed(self, within: timedelta) -> Late | None:
        """Return webhooks with deliveries whose last try, within this time, failed. Tests do not count."""
        table = webhook_deliveries.c
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
        failed = sa.and_(
            table.status == "failed", table.job_id.is_not(None), table.claimed_at >= now - within
        )
        return self._late(table.webhook_id, table.claimed_at, failed, timedelta(0))

    def commands_late(self, longer_than: timedelta) -> Late | None:
        """Return exports with commands that have waited for longer than this."""
        return self._late(
            commands.c.job_id, commands.c.created_at, commands.c.status == "pending", longer_than
        )

    def unreported(self, longer_than: timedelta) -> Late | None:
        """Return exports of the HTTP service that Dagster has not been told of for longer than this."""
        return self._late(materializations.c.job_id, materializations.c.created_at, sa.true(), longer_than)

    def overdue(self, longer_than: timedelta) -> Late | None:
        """Return completed requests whose file has been due for removal for longer than this."""
        here = sa.and_(jobs.c.status == Status.COMPLETED, ~jobs.c.legal_hold)
        return self._late(jobs.c.id, jobs.c.expires_at, here, longer_than)

    def unscheduled(self, longer_than: timedelta) -> Late | None:
        """Return schedules whose run has been due for longer than this."""
        return self._late(schedules.c.id, schedules.c.next_run, schedules.c.active, longer_than)

    def broken_schedules(self, limit: int = 20) -> Sequence[tuple[str, str]]:
        """Return id and problem of schedules that were set inactive because they cannot be run."""
        select = sa.select(schedules.c.id, schedules.c.problem).where(schedules.c.problem.is_not(None))
        with self._reading() as connection:
            rows = connection.execute(select.order_by(schedules.c.id).limit(limit)).all()
        return [(schedule_id, str(problem)) for schedule_id, problem in rows]

    def staging_disks(self, within: timedelta) -> dict[tuple[str, int], tuple[Disk, datetime]]:
        """Return workers' staging disks by host and size, each with the time of its last report.

        Args:
            within: Leave out what was reported longer ago.
        """
        columns = (leases.c.host, leases.c.staging_size, leases.c.staging_free, leases.c.renewed_at)
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            # A lease expires after its renewal, and its index is by that time.
            recent = sa.and_(leases.c.expires_at > now - within, leases.c.staging_size.is_not(None))
            rows = connection.execute(sa.select(*columns).where(recent).order_by(leases.c.renewed_at)).all()
        return {(str(host), size): (Disk(free, size), at) for host, size, free, at in rows}

    def _late(
        self,
        name: sa.ColumnElement[str],
        since: sa.ColumnElement[Any],
        here: sa.ColumnElement[bool],
        longer_than: timedelta,
    ) -> Late | None:
        since = sa.type_coerce(since, UtcTime())
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            late = sa.select(name.label("name"), since.label("since")).where(here, since < now - longer_than)
            count = connection.scalars(sa.select(sa.func.count()).select_from(late.subquery())).one()
            oldest = connection.execute(late.order_by(sa.text("since")).limit(3)).all()
        if not oldest:
            return None
        return Late(count, oldest[0].since, tuple(row.name for row in oldest))


def _positive(seconds: float | None) -> float:
    """Return the seconds, or 0 if negative: the clocks of two machines may differ a little."""
    return max(0.0, seconds or 0.0)
