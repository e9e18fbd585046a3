"""Turns the due runs of schedules into requests: exactly one for each run, even with several processes.

The request and the new state of the schedule are written in one transaction. Schedules that another process
has locked are skipped. The ledger accepts each window of a schedule only once.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from export_pipeline.core.windows import Window
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.errors import NO_RECIPIENTS, ScheduleError
from export_pipeline.jobs.records import OPERATOR, Job, Viewer
from export_pipeline.jobs.tables import jobs, schedules
from export_pipeline.jobs.transitions import fail_at_once
from export_pipeline.schedules.calendar import Due, calendar_window, due, due_now, is_moment, next_run
from export_pipeline.schedules.editing import get_schedule
from export_pipeline.schedules.problems import ROW_ERRORS, Check, reason_of, resume_corrected, set_inactive
from export_pipeline.schedules.rows import ScheduledExport

RecipientsOfScopes = Mapping[str, Mapping[str, Sequence[str]]]
"""Mail addresses by dataset and scope; a scope without recipients has an empty list."""

_NAMESPACE = uuid.UUID("a3f3a0de-5b4c-4f0f-9a8e-3d1f4be0c2a7")
_BATCH = 1_000
_MAX_NAMED = 20
_MAX_NAME_LENGTH = 100
_MAX_CORRECTED = 100
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """A request that a schedule has made.

    Attributes:
        job_id: Id of the pending row of `export_jobs`.
        scheduled_for: Time at which the run was due (UTC).
        window: The window that it exports; None for every row.
    """

    job_id: str
    schedule_id: str
    dataset: str
    format: str
    scope: str | None
    scheduled_for: datetime
    window: Window | None


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
    select = sa.select(schedules.c.dataset).where(sa.or_(_is_looked_at(now), broken)).distinct()
    if each_scope:
        select = select.where(schedules.c.each_scope, _is_looked_at(now))
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
    elif runs := due(schedule.calendar, datetime.min.replace(tzinfo=UTC), now, "last"):
        (run,) = runs
    else:
        raise ScheduleError("cron: it has never run before now, so there is no window yet.")
    if again:
        run = replace(run, name=f"{run.name}+{uuid.uuid4().hex[:8]}", scheduled_for=now)
    of_dataset = (recipients or {}).get(schedule.dataset)
    if schedule.each_scope and of_dataset is None:
        raise ScheduleError("each_scope: the recipients of the scopes cannot be read now.")
    with transaction(engine, write=True) as connection:
        requests = _request(connection, schedule, run, of_dataset)
        if requests:
            return requests[0].job_id, True
        there = sa.select(jobs.c.id).where(jobs.c.schedule_id == schedule.id)
        if schedule.each_scope:
            there = there.where(jobs.c.scheduled_for == run.scheduled_for)
        else:
            there = there.where(jobs.c.window_key == _window_key(schedule, run, schedule.format))
        job_id = connection.scalars(there.order_by(jobs.c.created_at, jobs.c.id).limit(1)).one_or_none()
    if job_id is None:
        raise ScheduleError(f"each_scope: {schedule.dataset} names nobody who gets a file.")
    return job_id, False


def window_of(options: Mapping[str, Any]) -> Window | None:
    """Return the window that a schedule put into a request's options; None if there is none.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: the value is not a window, as somebody else set it.
    """
    window_option = options.get("window")
    if window_option is None:
        return None
    start, end = (datetime.fromisoformat(window_option[end]) for end in ("start", "end"))
    name = window_option["name"]
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError("its name is no short text")
    if not start < end:
        raise ValueError("it does not end after it begins")
    _ = start - _DAY, end + _DAY  # raises unless the times can be represented in every zone
    zone = window_option.get("timezone")
    if zone is not None:
        ZoneInfo(zone)
    return Window(name, start, end, zone)


def period_of(job: Job) -> str | None:
    """Return the window of a job as a readable period; None if it exports every row.

    A window key that cannot be parsed is returned as it is.
    """
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        if window := window_of(job.options):
            return window.period()
    cadence, _, name = (run_key(job) or "").partition("/")
    if is_moment(name):
        return None
    with suppress(ValueError):
        return calendar_window(cadence, date.fromisoformat(name)).period()
    return job.window_key


def run_key(job: Job) -> str | None:
    """Return the part of a job's window key that all formats of a schedule's run have in common."""
    return job.window_key and "/".join(job.window_key.split("/")[:2])


def _overdue(
    connection: sa.Connection, now: datetime, limit: int, recipients: RecipientsOfScopes
) -> list[str]:
    """Lock the most overdue schedules and return their ids; first come those without a known next run."""
    ready = sa.or_(~schedules.c.each_scope, schedules.c.dataset.in_(list(recipients)))
    select = sa.select(schedules.c.id).where(_is_looked_at(now), ready)
    select = select.order_by(schedules.c.next_run.asc().nulls_first(), schedules.c.id).limit(limit)
    return list(connection.scalars(select.with_for_update(skip_locked=True)))


def _is_looked_at(now: datetime) -> sa.ColumnElement[bool]:
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
        most = max(1, limit // len(schedule.formats))
        runs = due(schedule.calendar, schedule.since, now, schedule.misfire, limit=most)
        # All due runs are handled, unless the limit postpones some.
        handled = runs[-1].scheduled_for if len(runs) == most else max(schedule.since, now)
        known: dict[str, Any] = {"since": handled, "next_run": next_run(schedule.calendar, handled)}
    except ROW_ERRORS as error:
        set_inactive(connection, schedule_id, reason_of(error), now)
        return []
    of_dataset = recipients.get(schedule.dataset)
    requests = [ask for run in runs for ask in _request(connection, schedule, run, of_dataset)]
    if requests:
        known["last_run"] = requests[-1].scheduled_for
    connection.execute(sa.update(schedules).where(this).values(**known))
    return requests


def _request(
    connection: sa.Connection,
    schedule: ScheduledExport,
    run: Due,
    recipients: Mapping[str, Sequence[str]] | None,
) -> list[ScheduledRequest]:
    """Insert pending requests for a run, one for each format; those requested before are left out.

    Args:
        recipients: Recipients of each scope, for a schedule of each scope.
    """
    options = {**schedule.options, "empty": schedule.empty}
    if run.window is not None:
        options["window"] = {
            "cadence": schedule.cadence,
            "name": run.window.name,
            "start": run.window.start.isoformat(),
            "end": run.window.end.isoformat(),
            "timezone": schedule.timezone,
        }
    values = {
        "dataset": schedule.dataset,
        "scope": schedule.scope,
        "filters": dict(schedule.filters),
        "columns": schedule.columns,
        "requested_by": schedule.owner,
        "recipients": list(schedule.recipients),
        "schedule_id": schedule.id,
        "scheduled_for": run.scheduled_for,
    }
    if schedule.each_scope:
        return _request_each(connection, schedule, run, {**values, "options": options}, recipients or {})
    requests = []
    for format in schedule.formats:
        key = _window_key(schedule, run, format)
        insert = insert_new(connection, jobs, "schedule_id", "window_key")
        insert = insert.values(**values, format=format, options=options, window_key=key)
        if job_id := connection.scalars(insert.returning(jobs.c.id)).one_or_none():
            made = (job_id, schedule.id, schedule.dataset, format, schedule.scope)
            requests.append(ScheduledRequest(*made, run.scheduled_for, run.window))
    return requests


def _request_each(
    connection: sa.Connection,
    schedule: ScheduledExport,
    run: Due,
    values: Mapping[str, Any],
    recipients: Mapping[str, Sequence[str]],
) -> list[ScheduledRequest]:
    """Insert a pending request for each scope and format, and a notice of scopes without recipients.

    The ids of the requests follow from the run, so that none is inserted twice.
    """
    rows = [
        {
            **values,
            "id": _id_of(schedule, run, format, scope),
            "format": format,
            "scope": scope,
            "recipients": list(mailboxes),
        }
        for scope, mailboxes in recipients.items()
        if mailboxes
        for format in schedule.formats
    ]
    requests = []
    for first in range(0, len(rows), _BATCH):
        batch = rows[first : first + _BATCH]
        insert = insert_new(connection, jobs, "id").returning(jobs.c.id)
        new = set(connection.scalars(insert, batch))
        requests += [
            ScheduledRequest(
                row["id"],
                schedule.id,
                schedule.dataset,
                row["format"],
                row["scope"],
                run.scheduled_for,
                run.window,
            )
            for row in batch
            if row["id"] in new
        ]
    if without := sorted(scope for scope, mailboxes in recipients.items() if not mailboxes):
        _notify_of_scopes(connection, schedule, run, without, len(recipients))
    return requests


def _notify_of_scopes(
    connection: sa.Connection, schedule: ScheduledExport, run: Due, without: Sequence[str], total: int
) -> None:
    """Tell the owner of a schedule which scopes got no export; once for each run."""
    values = {
        "id": _id_of(schedule, run, NO_RECIPIENTS, None),
        "dataset": schedule.dataset,
        "format": schedule.format,
        "requested_by": schedule.owner,
        "schedule_id": schedule.id,
    }
    insert = insert_new(connection, jobs, "id").values(**values).returning(jobs.c.id)
    if (job_id := connection.scalars(insert).one_or_none()) is not None:
        more = len(without) - _MAX_NAMED
        named = ", ".join(without[:_MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        message = (
            f"Schedule {schedule.id} made no export of {len(without):,} of {total:,} scopes of "
            f"{schedule.dataset}, as its scope.recipients names nobody for them: {named}."
        )
        fail_at_once(connection, job_id, NO_RECIPIENTS, message, "schedules_sensor")


def _id_of(schedule: ScheduledExport, run: Due, part: str, scope: str | None) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps([schedule.id, schedule.cadence, run.name, part, scope])))


def _window_key(schedule: ScheduledExport, run: Due, format: str) -> str:
    """Return the key of a request within its schedule: cadence/window, or cadence/window/format."""
    key = f"{schedule.cadence}/{run.name}"
    return key if format == schedule.format else f"{key}/{format}"
