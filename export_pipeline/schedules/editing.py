"""Operations of people on schedules: list, create, change, pause, resume and delete.

A viewer sees only their own schedules: for them, a schedule that they may not see does not exist.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.errors import ScheduleError, UnknownScheduleError
from export_pipeline.jobs.queries import belongs_to
from export_pipeline.jobs.records import OPERATOR, Viewer
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import schedules
from export_pipeline.schedules.broken_schedules import Check
from export_pipeline.schedules.due_times import Schedule, next_run
from export_pipeline.schedules.scheduled_export import ScheduledExport

_KEPT = {"id", "active", "last_run", "next_run", "since", "problem", "created_at"}
EDITABLE = tuple(field.name for field in fields(ScheduledExport) if field.name not in _KEPT)
"""The fields that people may set."""

_WHEN = tuple(field.name for field in fields(Schedule))
_DEFAULTS: Mapping[str, Any] = {
    "additional_formats": [],
    "scope": None,
    "each_scope": False,
    "hour": 0,
    "minute": 0,
    "weekday": 1,
    "day_of_month": 1,
    "timezone": "UTC",
    "cron": None,
    "export_window": "previous",
    "filters": {},
    "columns": None,
    "options": {},
    "recipients": [],
    "misfire": "last",
    "empty": "send",
}


def list_schedules(
    engine: sa.Engine,
    viewer: Viewer = OPERATOR,
    *,
    dataset: str | None = None,
    active: bool | None = None,
    limit: int | None = None,
) -> list[ScheduledExport]:
    """Return the schedules that the viewer may see: active ones by next run, then the others."""
    select = sa.select(schedules).where(_theirs(viewer))
    if dataset is not None:
        select = select.where(schedules.c.dataset == storable(dataset))
    if active is not None:
        select = select.where(schedules.c.active if active else ~schedules.c.active)
    order = (schedules.c.active.desc(), schedules.c.next_run.asc().nulls_last(), schedules.c.id)
    with transaction(engine, write=False) as connection:
        rows = connection.execute(select.order_by(*order).limit(limit)).mappings().all()
    return [ScheduledExport.of(row) for row in rows]


def count_schedules(engine: sa.Engine) -> int:
    """Return the number of all schedules."""
    with transaction(engine, write=False) as connection:
        return int(connection.scalars(sa.select(sa.func.count()).select_from(schedules)).one())


def get_schedule(engine: sa.Engine, schedule_id: str, viewer: Viewer = OPERATOR) -> ScheduledExport:
    """Return a schedule.

    Raises:
        UnknownScheduleError: the schedule does not exist, or the viewer may not see it.
    """
    with transaction(engine, write=False) as connection:
        return _visible(connection, schedule_id, viewer)


def create_schedule(
    engine: sa.Engine,
    chosen: Mapping[str, Any],
    now: datetime,
    viewer: Viewer = OPERATOR,
    check: Check | None = None,
) -> ScheduledExport:
    """Create a schedule that starts now.

    Args:
        chosen: Values of EDITABLE fields: dataset, format, cadence, and all that differ from the defaults.
        now: Current time (aware).
        check: Validates what the row alone does not show, e.g. that the dataset exists.

    Raises:
        ScheduleError: a field is unknown, missing or invalid; the message names it and the valid values.
    """
    _known(chosen)
    for name in ("dataset", "format", "cadence"):
        if chosen.get(name) is None:
            raise ScheduleError(f"{name}: it is missing.")
    schedule = ScheduledExport(
        **{**_DEFAULTS, "owner": viewer.requested_by, **chosen},
        id=str(uuid.uuid4()),
        active=True,
        last_run=None,
        next_run=None,
        since=now,
        problem=None,
        created_at=now,
    )
    _check(schedule, viewer, check)
    schedule = replace(schedule, next_run=next_run(schedule.calendar, now))
    with transaction(engine, write=True) as connection:
        connection.execute(sa.insert(schedules).values(**_values(schedule)))
    return schedule


def update_schedule(
    engine: sa.Engine,
    schedule_id: str,
    changes: Mapping[str, Any],
    viewer: Viewer = OPERATOR,
    check: Check | None = None,
    *,
    expected: Callable[[ScheduledExport], None] | None = None,
) -> ScheduledExport:
    """Change a schedule, with immediate effect: a run that is past by the new time counts as missed.

    Args:
        changes: Values of EDITABLE fields.
        check: See `create_schedule`.
        expected: Called with the locked schedule before the change; if it raises, nothing changes.

    Raises:
        UnknownScheduleError: the schedule does not exist, or the viewer may not see it.
        ScheduleError: see `create_schedule`.
    """
    _known(changes)
    with transaction(engine, write=True) as connection:
        was = _visible(connection, schedule_id, viewer, lock=True)
        if expected is not None:
            expected(was)
        if changes.get("cadence", "cron") != "cron":
            changes = {"cron": None, **changes}
        changed = replace(was, **changes)
        _check(changed, viewer, check)
        if changed.active and any(getattr(was, name) != getattr(changed, name) for name in _WHEN):
            changed = replace(changed, next_run=next_run(changed.calendar, changed.since))
        return _written(connection, changed)


def pause_schedule(engine: sa.Engine, schedule_id: str, viewer: Viewer = OPERATOR) -> ScheduledExport:
    """Make a schedule inactive: it exports nothing, and its missed runs are not made up later.

    A schedule that was set inactive because it cannot be run stays inactive even after it is corrected.

    Raises:
        UnknownScheduleError: the schedule does not exist, or the viewer may not see it.
    """
    with transaction(engine, write=True) as connection:
        was = _visible(connection, schedule_id, viewer, lock=True)
        if not was.active and was.problem is None:
            return was
        return _written(connection, replace(was, active=False, next_run=None, problem=None))


def resume_schedule(
    engine: sa.Engine,
    schedule_id: str,
    now: datetime,
    viewer: Viewer = OPERATOR,
    check: Check | None = None,
) -> ScheduledExport:
    """Make a schedule active again; it starts now.

    Raises:
        UnknownScheduleError: the schedule does not exist, or the viewer may not see it.
        ScheduleError: the schedule cannot be run; change it first.
    """
    with transaction(engine, write=True) as connection:
        was = _visible(connection, schedule_id, viewer, lock=True)
        if was.active:
            return was
        _check(was, viewer, check)
        begins = next_run(was.calendar, now)
        begun = replace(was, active=True, problem=None, since=now, next_run=begins)
        return _written(connection, begun)


def delete_schedule(engine: sa.Engine, schedule_id: str, viewer: Viewer = OPERATOR) -> ScheduledExport:
    """Delete a schedule. Its requests are kept, with its id.

    Raises:
        UnknownScheduleError: the schedule does not exist, or the viewer may not see it.
    """
    with transaction(engine, write=True) as connection:
        was = _visible(connection, schedule_id, viewer, lock=True)
        connection.execute(sa.delete(schedules).where(schedules.c.id == was.id))
        return was


def _theirs(viewer: Viewer) -> sa.ColumnElement[bool]:
    theirs = belongs_to(viewer, schedules.c.scope, schedules.c.owner, schedules.c.dataset)
    # One of each scope belongs to nobody's scopes, though its own scope is NULL.
    return theirs if viewer.scopes is None else sa.and_(theirs, ~schedules.c.each_scope)


def _visible(
    connection: sa.Connection, schedule_id: str, viewer: Viewer, *, lock: bool = False
) -> ScheduledExport:
    known = schedule_id
    if connection.dialect.name == "postgresql":
        try:
            known = str(uuid.UUID(schedule_id))  # which reads more spellings than PostgreSQL
        except ValueError:
            raise UnknownScheduleError(schedule_id) from None
    select = sa.select(schedules).where(schedules.c.id == known, _theirs(viewer))
    row = connection.execute(select.with_for_update() if lock else select).mappings().one_or_none()
    if row is None:
        raise UnknownScheduleError(schedule_id)
    return ScheduledExport.of(row)


def _written(connection: sa.Connection, changed: ScheduledExport) -> ScheduledExport:
    update = sa.update(schedules).where(schedules.c.id == changed.id)
    connection.execute(update.values(**_values(changed)))
    # Written again, as the database resets these after an edit that leaves them unchanged.
    connection.execute(update.values(since=changed.since, next_run=changed.next_run))
    return changed


def _values(schedule: ScheduledExport) -> dict[str, Any]:
    return {field.name: getattr(schedule, field.name) for field in fields(schedule)}


def _known(chosen: Mapping[str, Any]) -> None:
    for name in chosen:
        if name not in EDITABLE:
            near = get_close_matches(name, EDITABLE, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ScheduleError(f"{name}: there is no such field; there are {', '.join(EDITABLE)}.{hint}")


def _check(schedule: ScheduledExport, viewer: Viewer, check: Check | None) -> None:
    schedule.check()
    if check is not None:
        check(schedule)
    if viewer.scopes is not None and schedule.each_scope:
        raise ScheduleError("each_scope: it is only for those who may see every scope.")
    if viewer.scopes is not None and schedule.scope not in viewer.scopes:
        yours = ", ".join(sorted(str(scope) for scope in viewer.scopes)) or "none"
        raise ScheduleError(f"scope: {schedule.scope!r} is not one of yours; they are {yours}.")
    if viewer.requested_by not in (None, schedule.owner):
        raise ScheduleError(f"owner: {schedule.owner!r} is not you; leave it out.")
