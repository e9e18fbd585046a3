"""Handles schedules that cannot be run: sets them inactive with one notice, and active once corrected."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from export_pipeline.core.messages import sentence
from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.errors import SCHEDULE_BROKEN, ScheduleError
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import jobs, schedules
from export_pipeline.jobs.transitions import fail_at_once
from export_pipeline.schedules.due_times import next_run
from export_pipeline.schedules.scheduled_export import ScheduledExport

Check = Callable[[ScheduledExport], None]
"""Raises ScheduleError if a schedule cannot be run for a reason that its row alone does not show."""

ROW_ERRORS = (ScheduleError, ValueError, TypeError, OverflowError, RecursionError)
"""Errors that an invalid row raises while it is read and checked."""

_NAMESPACE = uuid.UUID("0c1f7d8e-52a9-4c0b-8f3e-7d0e5a3b9c64")


def reason_of(error: BaseException) -> str:
    """Return the reason why a row cannot be run, from an error of WRONG."""
    reason = str(error) if isinstance(error, ScheduleError) else f"The row cannot be read: {error!r}."
    return str(storable(reason))


def set_inactive(connection: sa.Connection, schedule_id: str, reason: str, now: datetime) -> None:
    """Set a locked schedule inactive. Its owner gets the same notice as for a failed request.

    The notice is stored as a failed request, so it is listed, mailed and kept like one. The same reason is
    reported at most once a day, even if somebody sets the row active again and again.
    """
    this = schedules.c.id == schedule_id
    broken = {"active": False, "next_run": None, "problem": reason}
    connection.execute(sa.update(schedules).where(this).values(**broken))
    names = ("dataset", "format", "scope", "cadence", "owner", "recipients")
    row = connection.execute(sa.select(*(schedules.c[name] for name in names)).where(this)).mappings().one()
    identity = [schedule_id, reason, now.astimezone(UTC).date().isoformat()]
    values = {
        "id": str(uuid.uuid5(_NAMESPACE, json.dumps(identity))),
        **{name: row[name] for name in ("dataset", "format", "scope")},
        "requested_by": row["owner"],
        "recipients": row["recipients"] if isinstance(row["recipients"], list) else [],
        "schedule_id": schedule_id,
    }
    insert = insert_new(connection, jobs, "id").values(**values).returning(jobs.c.id)
    if (job_id := connection.scalars(insert).one_or_none()) is not None:
        message = (
            f"Schedule {schedule_id} ({row['cadence']}) cannot be run and was set inactive: "
            f"{sentence(reason)} Correct it, and it goes on by itself."
        )
        fail_at_once(connection, job_id, SCHEDULE_BROKEN, message, "schedules_sensor")


def resume_corrected(
    engine: sa.Engine, now: datetime, check: Check, limit: int, until: float = math.inf
) -> int:
    """Reactivate schedules that were set inactive and now can be run; return their number.

    They start now. Schedules that still cannot be run get their current problem recorded.

    Args:
        now: Current time (aware).
        limit: Maximum number of schedules to check, chosen at random.
        until: Deadline on the clock of `time.monotonic`. No schedule is checked after it.
    """
    broken = sa.select(schedules.c.id).where(~schedules.c.active, schedules.c.problem.is_not(None))
    some = broken.order_by(sa.func.random()).limit(limit).with_for_update(skip_locked=True)
    resumed = 0
    with transaction(engine, write=True) as connection:
        for schedule_id in connection.scalars(some).all():
            if time.monotonic() >= until:
                break
            this = schedules.c.id == schedule_id
            try:
                row = connection.execute(sa.select(schedules).where(this)).mappings().one()
                schedule = ScheduledExport.of(row)
                schedule.check()
                check(schedule)
                values = {"active": True, "since": now, "next_run": next_run(schedule.calendar, now)}
                resumed += 1
            except ROW_ERRORS as error:
                values = {"problem": reason_of(error)}
            connection.execute(sa.update(schedules).where(this).values(**values))
    return resumed
