"""Turns the due runs of schedules into requests: exactly one for each run, even with several processes.

The request and the new state of the schedule are written in one transaction. Schedules that another process
has locked are skipped. The ledger accepts each window of a schedule only once.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import explain_refusal, transaction
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.jobs.records import OPERATOR, Viewer
from export_pipeline.jobs.tables import jobs, schedules
from export_pipeline.schedules.broken_schedules import (
    ROW_ERRORS,
    Check,
    reason_of,
    resume_corrected,
    set_inactive,
)
from export_pipeline.schedules.due_times import Due, due, due_now, next_run
from export_pipeline.schedules.editing import get_schedule
from export_pipeline.schedules.run_requests import (
    RecipientsOfScopes,
    ScheduledRequest,
    first_request_id,
    request_run,
    window_key,
)
from export_pipeline.schedules.scheduled_export import ScheduledExport

_MAX_CORRECTED = 100
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def claim_due(
    engine: sa.Engine,
    now: datetime,
    limit: int,
    check: Check | None = None,
    until: float = math.inf,
    recipients: RecipientsOfScopes | None = None,
) -> list[ScheduledRequest]:
    """Request the due runs of schedules, the most overdue first. Call again if it returns `limit` requests.

    A schedule that cannot be run is set inactive, even before its first run; its `problem` says why, and its
    owner gets one notice. Once it is corrected, it is set active again. If this function raises, the requests
    made so far are in the ledger.

    Args:
        engine: Engine returned by `open_engine`.
        now: Current time (aware).
        limit: Maximum number of requests.
        check: Validates what the row alone does not show, e.g. that the dataset exists. Without it no
            schedule is set active again.
        until: Deadline on the clock of `time.monotonic`. No schedule is looked at after it; the next call
            continues.
        recipients: Recipients of each scope, by dataset, for schedules of each scope. A schedule whose
            dataset is not in it waits for the next call. One run may make more than `limit` requests.

    Raises:
        LedgerError: the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    if check is not None:
        resume_corrected(engine, now, check, _MAX_CORRECTED, until)
    requests: list[ScheduledRequest] = []
    known = recipients or {}
    while (room := limit - len(requests)) > 0 and time.monotonic() < until:
        with transaction(engine, write=True) as connection:
            chosen = _overdue(connection, now, room, known)
            for schedule_id in chosen:
                if len(requests) < limit and time.monotonic() < until:
                    requests += _ask(connection, schedule_id, now, limit - len(requests), check, known)
        if len(chosen) < room:
            break
    return requests


def datasets_due(engine: sa.Engine, now: datetime, *, each_scope: bool = False) -> list[str]:
    """Return the datasets of the schedules that `claim_due` would process.

    Args:
        each_scope: Only those of schedules for each scope, whose recipients must be read.
    """
    broken = sa.and_(~schedules.c.active, schedules.c.problem.is_not(None))
    select = sa.select(schedules.c.dataset).where(sa.or_(_is_runnable(now), broken)).distinct()
    if each_scope:
        select = select.where(schedules.c.each_scope, _is_runnable(now))
    with transaction(engine, write=False) as connection:
        return list(connection.scalars(select.order_by(schedules.c.dataset)))


def run_now(
    engine: sa.Engine,
    schedule_id: str,
    now: datetime,
    viewer: Viewer = OPERATOR,
    *,
    again: bool = False,
    recipients: RecipientsOfScopes | None = None,
) -> tuple[str, bool]:
    """Request what a schedule exports: the window of its last run before now, or every row as of now.

    The schedule itself does not change and may be inactive.

    Args:
        again: Request the window even if it was requested before; its recipients get it again.
        recipients: See `claim_due`.

    Returns:
        The id of the first request, and whether it is new.

    Raises:
        UnknownScheduleError: the schedule does not exist, or the viewer may not see it.
        ScheduleError: the schedule cannot be run.
    """
    schedule = get_schedule(engine, schedule_id, viewer)
    schedule.check()
    if schedule.export_window == "none":
        run = due_now(now)
    elif runs := due(schedule.calendar, _LONG_AGO, now, "last", last_run=schedule.last_run):
        (run,) = runs
    else:
        raise ScheduleError("cron: it has never run before now, so there is no window yet.")
    if again:
        run = replace(run, name=f"{run.name}+{uuid.uuid4().hex[:8]}", scheduled_for=now)
    of_dataset = (recipients or {}).get(schedule.dataset)
    if schedule.each_scope and of_dataset is None:
        raise ScheduleError("each_scope: the recipients of the scopes cannot be read now.")
    with transaction(engine, write=True) as connection:
        if schedule.cadence == "cron" and not again and (job_id := _job_of(connection, schedule, run)):
            return job_id, False  # its window may have begun elsewhere, by the run before it
        requests = request_run(connection, schedule, run, of_dataset)
        if requests:
            return requests[0].job_id, True
        if schedule.each_scope:
            if (job_id := first_request_id(schedule, run, of_dataset or {})) is None:
                raise ScheduleError(f"each_scope: {schedule.dataset} names nobody who gets a file.")
            return job_id, False
        key = window_key(schedule, run, schedule.format)
        there = sa.select(jobs.c.id).where(jobs.c.schedule_id == schedule.id, jobs.c.window_key == key)
        return connection.scalars(there).one(), False


def _job_of(connection: sa.Connection, schedule: ScheduledExport, run: Due) -> str | None:
    """Return the id of the first job that was requested for a run; None if there is none."""
    select = sa.select(jobs.c.id).where(
        jobs.c.schedule_id == schedule.id, jobs.c.scheduled_for == run.scheduled_for
    )
    order = (jobs.c.format != schedule.format, jobs.c.created_at, jobs.c.id)
    return connection.scalars(select.order_by(*order).limit(1)).one_or_none()


def _overdue(
    connection: sa.Connection, now: datetime, limit: int, recipients: RecipientsOfScopes
) -> list[str]:
    """Lock the most overdue schedules and return their ids; first come those without a known next run."""
    ready = sa.or_(~schedules.c.each_scope, schedules.c.dataset.in_(list(recipients)))
    select = sa.select(schedules.c.id).where(_is_runnable(now), ready)
    select = select.order_by(schedules.c.next_run.asc().nulls_first(), schedules.c.id).limit(limit)
    return list(connection.scalars(select.with_for_update(skip_locked=True)))


def _is_runnable(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(schedules.c.active, sa.or_(schedules.c.next_run.is_(None), schedules.c.next_run <= now))


def _ask(
    connection: sa.Connection,
    schedule_id: str,
    now: datetime,
    limit: int,
    check: Check | None,
    recipients: RecipientsOfScopes,
) -> list[ScheduledRequest]:
    """Request the due runs of a locked schedule, and set its next run."""
    this = schedules.c.id == schedule_id
    try:
        row = connection.execute(sa.select(schedules).where(this)).mappings().one()
        schedule = ScheduledExport.of(row)
        schedule.check()
        if check is not None:
            check(schedule)
        most = 1 if schedule.each_scope else max(1, limit // len(schedule.formats))
        runs = due(
            schedule.calendar, schedule.since, now, schedule.misfire, limit=most, last_run=schedule.last_run
        )
        # All due runs are handled, unless the limit postpones some.
        handled = runs[-1].scheduled_for if len(runs) == most else max(schedule.since, now)
        known: dict[str, Any] = {"since": handled, "next_run": next_run(schedule.calendar, handled)}
        of_dataset = recipients.get(schedule.dataset)
        with connection.begin_nested():  # what the database refuses of it stops no other schedule
            requests = [ask for run in runs for ask in request_run(connection, schedule, run, of_dataset)]
    except ROW_ERRORS as error:
        set_inactive(connection, schedule_id, reason_of(error), now)
        return []
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated or not isinstance(error, (sa.exc.IntegrityError, sa.exc.DataError)):
            raise
        set_inactive(
            connection, schedule_id, f"the ledger refuses its requests: {explain_refusal(error)}", now
        )
        return []
    if requests:
        known["last_run"] = requests[-1].scheduled_for
    connection.execute(sa.update(schedules).where(this).values(**known))
    return requests
