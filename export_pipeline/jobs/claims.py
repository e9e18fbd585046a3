"""Selection of the requests to run next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import jobs, leases, secrets

ScopeLimits: TypeAlias = Mapping[str | None, int]
"""Maximum numbers of runs at a time by scope; that of None holds for each scope without one of its own."""
NO_LIMITS: ScopeLimits = {}
_CODE = "code that claims requests"
"""Name of a value in `export_secrets`, the ledger's table of values by name; it is no secret."""


def record_code_version(connection: sa.Connection, version: str) -> None:
    """Record the version of the code that claims requests from now on."""
    known = secrets.c.name == _CODE
    if connection.scalars(sa.select(secrets.c.secret).where(known)).one_or_none() == version:
        return
    insert_first = insert_new(connection, secrets, "name").values(name=_CODE, secret=version)
    connection.execute(insert_first)
    connection.execute(sa.update(secrets).where(known).values(secret=version))


def claim_rows(
    connection: sa.Connection,
    now: datetime,
    *,
    limit: int,
    patience: timedelta,
    max_in_flight: int | None,
    who: str | None,
) -> list[sa.RowMapping]:
    """Claim the next requests, in order, within the connection's transaction.

    Higher priority goes first. Within one priority, scopes take turns: the scope with the fewest jobs in
    flight goes first, then the scope that was served the longest ago. Within a scope the oldest request goes
    first. The formats of one window of a cadence are claimed together, so that one run writes them all; they
    may exceed the limit.
    """
    if max_in_flight is not None:
        limit = min(limit, max_in_flight - in_flight_count(connection, now - patience))
    if limit <= 0:
        return []
    chosen: list[Any] = list(connection.scalars(_next(now - patience, limit)))
    chosen += _other_formats(connection, now - patience, chosen)
    taken = (
        sa.update(jobs)
        .where(jobs.c.id.in_(chosen))
        .values(claimed_at=now, claimed_by=who, dispatches=jobs.c.dispatches + 1)
        .returning(*jobs.c)
    )
    place = {job_id: index for index, job_id in enumerate(chosen)}
    return sorted(connection.execute(taken).mappings(), key=lambda row: place[row["id"]])


def claim_extra(
    connection: sa.Connection,
    now: datetime,
    dataset: str,
    run_id: str,
    code: str,
    patience: timedelta,
    limits: ScopeLimits,
) -> sa.RowMapping | None:
    """Claim the next request of a dataset as an extra one of a run; None if none fits.

    It is no window of a schedule, in its first attempt, and was never dispatched. There is none while a
    request of higher priority is pending: the run makes room for it. Nor is there one for a run of other code
    than that by which requests are claimed, or of a scope for which as many other runs work as may.
    """
    if connection.scalars(sa.select(secrets.c.secret).where(secrets.c.name == _CODE)).one_or_none() != code:
        return None
    pending = (jobs.c.status == Status.PENDING, jobs.c.deleted_at.is_(None))
    highest = sa.select(sa.func.max(jobs.c.priority)).where(*pending).scalar_subquery()
    suits = (
        jobs.c.dataset == dataset,
        jobs.c.claimed_at.is_(None),
        jobs.c.attempt == 1,
        jobs.c.dispatches == 0,
        jobs.c.window_key.is_(None),
        jobs.c.schedule_id.is_(None),
        jobs.c.priority >= highest,
        sa.or_(jobs.c.scope.is_(None), jobs.c.scope.not_in(_scopes_at_limit(limits, run_id))),
    )
    if connection.execute(sa.select(jobs.c.id).where(*pending, *suits).limit(1)).first() is None:
        return None  # the order of the queue need not be computed
    chosen = connection.scalars(_next(now - patience, 1).where(*suits)).one_or_none()
    taken = sa.update(jobs).where(jobs.c.id == chosen).values(claimed_at=now, claimed_by=run_id, dispatches=1)
    return connection.execute(taken.returning(*jobs.c)).mappings().one_or_none()


def _scopes_at_limit(limits: ScopeLimits, run_id: str) -> sa.Select[tuple[str | None]]:
    """Return the select of the scopes for which as many other runs work as may."""
    others = jobs.alias("others")
    worker = sa.case((others.c.status == Status.PROCESSING, others.c.run_id), else_=others.c.claimed_by)
    is_extra = others.c.claimed_by.in_(sa.select(leases.c.run_id))
    works = sa.or_(others.c.status == Status.PROCESSING, sa.and_(others.c.status == Status.PENDING, is_extra))
    limit: sa.ColumnElement[Any] = sa.literal(limits.get(None), sa.Integer())
    if own := {scope: number for scope, number in limits.items() if scope is not None}:
        limit = sa.case(own, value=others.c.scope, else_=limit)
    return (
        sa.select(others.c.scope)
        .where(works, others.c.scope.is_not(None), worker != run_id)
        .group_by(others.c.scope)
        .having(sa.func.count(worker.distinct()) >= limit)
    )


def in_flight(patience_from: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a job is processing, or was dispatched since then."""
    return sa.or_(
        jobs.c.status == Status.PROCESSING,
        sa.and_(jobs.c.status == Status.PENDING, jobs.c.claimed_at >= patience_from),
    )


def in_flight_count(connection: sa.Connection, patience_from: datetime) -> int:
    """Return the number of jobs in flight."""
    return connection.scalars(
        sa.select(sa.func.count()).select_from(jobs).where(in_flight(patience_from))
    ).one()


def _waits(patience_from: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        jobs.c.status == Status.PENDING,
        jobs.c.deleted_at.is_(None),
        sa.or_(jobs.c.claimed_at.is_(None), jobs.c.claimed_at < patience_from),
    )


def _other_formats(
    connection: sa.Connection, patience_from: datetime, chosen: Sequence[Any]
) -> Sequence[Any]:
    """Return the ids of waiting jobs for other formats of the chosen jobs' windows."""
    windows = sa.select(jobs.c.dataset, jobs.c.scope, jobs.c.window_key).where(
        jobs.c.id.in_(chosen), jobs.c.schedule_id.is_(None), jobs.c.window_key.is_not(None)
    )
    # One condition for each window: a join of the table with itself would read every waiting job.
    same = [
        is_of_window(dataset, scope, key) for dataset, scope, key in connection.execute(windows.distinct())
    ]
    if not same:
        return []
    select = sa.select(jobs.c.id).where(sa.or_(*same), _waits(patience_from), jobs.c.id.not_in(chosen))
    return connection.scalars(select.order_by(jobs.c.id).with_for_update(skip_locked=True)).all()


def _next(patience_from: datetime, limit: int) -> sa.Select[tuple[str]]:
    waits = sa.case((_waits(patience_from), 1), else_=0)
    scope = sa.func.coalesce(jobs.c.scope, "")  # jobs without a scope take turns as one
    # Jobs in flight take the first turns of their scope, so that they count against it.
    turn = sa.func.row_number().over(
        partition_by=scope, order_by=(waits, jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
    )
    queue = (
        sa.select(jobs.c.id, scope.label("scope"), waits.label("waits"), turn.label("turn"))
        .where(sa.or_(_waits(patience_from), in_flight(patience_from)))
        .cte("queue")
    )
    earlier = jobs.alias("earlier")
    last = sa.select(sa.func.max(earlier.c.claimed_at))
    of_none = last.where(sa.or_(earlier.c.scope.is_(None), earlier.c.scope == ""))
    of_scope = last.where(earlier.c.scope == queue.c.scope)
    of_turn = sa.case((queue.c.scope == "", of_none.scalar_subquery()), else_=of_scope.scalar_subquery())
    # Evaluated for each scope, not for each job. A join would take SQLite a time that is quadratic in scopes.
    served = sa.func.max(sa.case((queue.c.turn == 1, of_turn))).over(partition_by=queue.c.scope)
    ranked = sa.select(queue.c.id, queue.c.waits, queue.c.turn, served.label("served")).cte("ranked")
    select = (
        sa.select(jobs.c.id)
        .join(ranked, ranked.c.id == jobs.c.id)
        # Checked again on the row itself: it may have changed while this transaction waited for its lock.
        .where(ranked.c.waits == 1, _waits(patience_from))
    )
    order = (
        jobs.c.priority.desc(),
        ranked.c.turn,
        ranked.c.served.asc().nulls_first(),
        jobs.c.created_at,
        jobs.c.id,
    )
    return select.order_by(*order).limit(limit).with_for_update(of=jobs, skip_locked=True)


def is_of_window(dataset: str, scope: str | None, key: str) -> sa.ColumnElement[bool]:
    """Return the condition that a job exports a window of a cadence for a scope, in any format."""
    return sa.and_(
        jobs.c.schedule_id.is_(None),
        jobs.c.scheduled_for.is_(None),
        jobs.c.scope == scope,
        jobs.c.dataset == dataset,
        # Concatenated, as SQLite would prefer an index by which it finds every scope of the window.
        jobs.c.window_key.concat("") == key,
    )
