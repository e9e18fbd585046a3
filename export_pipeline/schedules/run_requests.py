"""Inserts the requests of a schedule's run: one for each format, or for each scope and format."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.core.windows import Window
from export_pipeline.jobs.database import insert_new
from export_pipeline.jobs.errors import NO_RECIPIENTS
from export_pipeline.jobs.storable_text import is_storable, storable
from export_pipeline.jobs.tables import jobs
from export_pipeline.jobs.transitions import fail_at_once
from export_pipeline.schedules.due_times import Due
from export_pipeline.schedules.scheduled_export import ScheduledExport

RecipientsOfScopes = Mapping[str, Mapping[str, Sequence[str]]]
"""Mail addresses by dataset and scope; a scope without recipients has an empty list."""

_NAMESPACE = uuid.UUID("a3f3a0de-5b4c-4f0f-9a8e-3d1f4be0c2a7")
_BATCH = 1_000
_MAX_NAMED = 20
_MAX_RECIPIENTS = 1_000
_MAX_SCOPE_BYTES = 2_000
_MAX_LIST_BYTES = 500_000
"""Limits of the ledger, in which one scope too long would stop the others."""


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


def request_run(
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
        key = window_key(schedule, run, format)
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
    usable, unusable = {}, {}
    for scope, mailboxes in recipients.items():
        if problem := _problem_of(scope, mailboxes):
            unusable[scope] = problem
        else:
            usable[scope] = mailboxes
    rows = [
        {
            **values,
            "id": _id_of(schedule, run, format, scope),
            "format": format,
            "scope": scope,
            "recipients": list(mailboxes),
        }
        for scope, mailboxes in usable.items()
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
    if unusable:
        _notify_of_scopes(connection, schedule, run, unusable, len(recipients))
    return requests


def first_request_id(
    schedule: ScheduledExport, run: Due, recipients: Mapping[str, Sequence[str]]
) -> str | None:
    """Return the id of the first request that a run of each scope makes; None if it makes none."""
    for scope, mailboxes in recipients.items():
        if _problem_of(scope, mailboxes) is None:
            return _id_of(schedule, run, schedule.format, scope)
    return None


def _problem_of(scope: str, mailboxes: Sequence[str]) -> str | None:
    """Return why nothing can be requested for a scope; None if it can."""
    if not mailboxes:
        return "nobody is named"
    if len(mailboxes) > _MAX_RECIPIENTS:
        return f"it has more than {_MAX_RECIPIENTS:,} recipients"
    if not (is_storable(scope) and is_storable(list(mailboxes))):
        return "a character cannot be stored"
    if len(scope.encode()) > _MAX_SCOPE_BYTES or len(json.dumps(list(mailboxes)).encode()) > _MAX_LIST_BYTES:
        return "its id or its addresses are too long"
    return None


def _notify_of_scopes(
    connection: sa.Connection, schedule: ScheduledExport, run: Due, problems: Mapping[str, str], total: int
) -> None:
    """Tell the owner of a schedule which scopes got no export, and why; once for each run."""
    values = {
        "id": _id_of(schedule, run, NO_RECIPIENTS, None),
        "dataset": schedule.dataset,
        "format": schedule.format,
        "requested_by": schedule.owner,
        "schedule_id": schedule.id,
    }
    insert = insert_new(connection, jobs, "id").values(**values).returning(jobs.c.id)
    if (job_id := connection.scalars(insert).one_or_none()) is not None:
        named = [f"{str(storable(scope))[:100]} ({problem})" for scope, problem in sorted(problems.items())]
        more = len(named) - _MAX_NAMED
        message = (
            f"Schedule {schedule.id} made no export of {len(named):,} of {total:,} scopes of "
            f"{schedule.dataset}; its scope.recipients says who gets which: {', '.join(named[:_MAX_NAMED])}"
            + (f" and {more:,} more." if more > 0 else ".")
        )
        fail_at_once(connection, job_id, NO_RECIPIENTS, message, "schedules_sensor")


def _id_of(schedule: ScheduledExport, run: Due, part: str, scope: str | None) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps([schedule.id, schedule.cadence, run.name, part, scope])))


def window_key(schedule: ScheduledExport, run: Due, format: str) -> str:
    """Return the key of a request within its schedule: cadence/window, or cadence/window/format."""
    key = f"{schedule.cadence}/{run.name}"
    return key if format == schedule.format else f"{key}/{format}"
