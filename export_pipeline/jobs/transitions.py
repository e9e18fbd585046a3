"""The only code that changes the status of a job.

A transition is one UPDATE whose conditions name the job, the attempt, the run and the allowed source states.
If two callers try to change a job at once, one succeeds and the other gets an error. The event is written in
the same transaction. A transition that an attempt has made already is not made again, so a caller that lost
the answer to a commit may repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.errors import (
    SCOPE_DELETED,
    ErrorCode,
    IllegalTransitionError,
    LedgerError,
    RefusedError,
    SupersededError,
    UnknownJobError,
)
from export_pipeline.jobs.queries import Reader, seen_by
from export_pipeline.jobs.records import OPERATOR, Attempt, Job, Viewer
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import EventKind, Status, states_before
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import events, jobs, materializations, removals
from export_pipeline.redaction import hide_credentials


class Transitions(Reader):
    """A reader that can also change the state of jobs."""

    @contextmanager
    def _writing(self) -> Iterator[tuple[sa.Connection, datetime]]:
        """Yield a connection in a write transaction, and the transaction's current time."""
        with transaction(self._engine, write=True) as connection:
            yield connection, connection.scalars(sa.select(utc_now())).one()

    def _change_status(
        self,
        job: str | Attempt,
        to: Status,
        values: Mapping[str, Any],
        kind: EventKind,
        who: str | None = None,
        viewer: Viewer = OPERATOR,
        details: Mapping[str, Any] | None = None,
        sources: Collection[Status] | None = None,
    ) -> Job:
        """Change the state of a job, given by an attempt or by its id.

        Args:
            sources: Allowed current states; default: all that may precede `to`.
        """
        with self._writing() as (connection, _):
            update = (
                sa.update(jobs)
                .where(
                    *self._conditions(job), seen_by(viewer), jobs.c.status.in_(sources or states_before(to))
                )
                .values(status=to, **values)
                .returning(*jobs.c)
            )
            row = connection.execute(update).mappings().one_or_none()
            if row is None:
                return self._repeated(connection, job, to, viewer)
            moved = Job.of(row)
            record_event(connection, moved, kind, who, details)
        return moved

    def _conditions(self, job: str | Attempt) -> tuple[sa.ColumnElement[bool], ...]:
        """Return conditions that select the job; they match no row if the attempt is not the current one."""
        if isinstance(job, str):
            return (jobs.c.id == self._known(job),)
        named = (jobs.c.id == self._known(job.job_id), jobs.c.attempt == job.number)
        if job.run_id is None:
            return named
        # A pending job has no run yet.
        return (*named, sa.or_(jobs.c.run_id == job.run_id, jobs.c.status == Status.PENDING))

    def _repeated(self, connection: sa.Connection, job: str | Attempt, to: Status, viewer: Viewer) -> Job:
        """Return the job if it is in the requested state already, perhaps because this call was repeated.

        Raises:
            LedgerError: the job is in another state, or the attempt is not the current one.
        """
        current = self._read_job(connection, job, viewer)
        reason = transition_error(current, job, to)
        if isinstance(reason, SupersededError) or current.status != to or to is Status.PENDING:
            raise reason
        return current

    def _read_job(self, connection: sa.Connection, job: str | Attempt, viewer: Viewer) -> Job:
        job_id = job if isinstance(job, str) else job.job_id
        select = sa.select(jobs).where(jobs.c.id == self._known(job_id), seen_by(viewer))
        row = connection.execute(select).mappings().one_or_none()
        if row is None:
            raise UnknownJobError(job_id)
        return Job.of(row)

    def _lock_job(self, connection: sa.Connection, job_id: str, viewer: Viewer) -> tuple[Job, bool]:
        """Lock a job and the completed jobs with the same file; return it, and whether there are others."""
        job = self._read_job(connection, job_id, viewer)
        same_file = sa.and_(jobs.c.file_key == job.file_key, jobs.c.status == Status.COMPLETED)
        select = sa.select(jobs).where(sa.or_(jobs.c.id == job.id, same_file)).order_by(jobs.c.id)
        rows = {row["id"]: row for row in connection.execute(select.with_for_update()).mappings()}
        job = Job.of(rows.pop(job.id))
        if job.deleted_at is not None:
            raise UnknownJobError(job_id)
        # While this waited for the lock, another request may have got the file.
        again = sa.select(jobs.c.id).where(same_file, jobs.c.id != job.id).limit(1)
        return job, bool(rows) or connection.execute(again).first() is not None

    def _remove_file(
        self,
        connection: sa.Connection,
        job: Job,
        remove: Callable[[str], None] | None,
        who: str | None,
        deleted_at: datetime | None = None,
    ) -> Job:
        """Remove the file of a locked job: expire it if it was completed, delete it if a time is given.

        Raises:
            RefusedError: the job is under legal hold.
        """
        if job.legal_hold:
            raise RefusedError(f"Export job {job.id} is under legal hold; release it first.", job.status)
        values: dict[str, Any] = {"deleted_at": deleted_at}
        removed = None
        if job.status == Status.COMPLETED:
            values |= {"status": Status.EXPIRED, "warnings": []}  # warnings may quote rows
            self._forget_warnings(connection, job)
            if remove is not None and job.file_key is not None:
                removed = job.file_key
                note_removed = sa.insert(removals).values(file_key=removed, run_id=job.run_id)
                connection.execute(note_removed)
                remove(removed)
        unreported = sa.delete(materializations).where(materializations.c.job_id == job.id)
        connection.execute(unreported)
        update = sa.update(jobs).where(jobs.c.id == job.id).values(**values).returning(*jobs.c)
        purged = Job.of(connection.execute(update).mappings().one())
        details: dict[str, Any] = {"file_key": removed, "deleted": deleted_at is not None}
        if job.error_code == SCOPE_DELETED:
            details["reason"] = SCOPE_DELETED
        record_event(connection, purged, EventKind.PURGED, who, details)
        return purged

    @staticmethod
    def _forget_warnings(connection: sa.Connection, job: Job) -> None:
        """Remove the warnings about a job's file from the events that say it was made."""
        made = sa.and_(events.c.job_id == job.id, events.c.kind == EventKind.COMPLETED)
        for event in connection.execute(sa.select(events.c.id, events.c.details).where(made)).all():
            kept = {name: value for name, value in event.details.items() if name != "warnings"}
            if kept != event.details:
                connection.execute(sa.update(events).where(events.c.id == event.id).values(details=kept))


def transition_error(job: Job, claimed: str | Attempt, to: Status) -> LedgerError:
    """Return the error that explains why a job cannot change to this state."""
    if isinstance(claimed, Attempt):
        if job.attempt != claimed.number:
            now = f"export job {job.id} is at attempt {job.attempt}"
            return SupersededError(f"Attempt {claimed.number} is over: {now}.", job.status)
        if claimed.run_id is not None and job.run_id not in (None, claimed.run_id):
            now = f"run {job.run_id} has it"
            return SupersededError(f"Export job {job.id} is not run {claimed.run_id}'s: {now}.", job.status)
    return IllegalTransitionError(job.id, job.status, to)


def fail_at_once(connection: sa.Connection, job_id: str, code: ErrorCode, message: str, who: str) -> None:
    """Fail a request in the transaction that inserts it, so that it is never claimed."""
    error = {"code": storable(code), "message": storable(hide_credentials(message))}
    values = {"error_code": error["code"], "error_message": error["message"], "completed_at": utc_now()}
    update = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_(states_before(Status.FAILED)))
    row = (
        connection.execute(update.values(status=Status.FAILED, **values).returning(*jobs.c)).mappings().one()
    )
    record_event(connection, Job.of(row), EventKind.FAILED, who, error)


def note_unreported(connection: sa.Connection, job: Job, summary: Mapping[str, Any]) -> None:
    """Queue the file that a job is about to have for a report to Dagster; see `Materializations`."""
    values = {"job_id": job.id, "run_id": job.run_id, "summary": dict(summary)}
    connection.execute(sa.insert(materializations).values(**values))


def record_event(
    connection: sa.Connection,
    job: Job,
    kind: EventKind,
    who: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write an event of a job."""
    known = {"attempt": job.attempt} | ({"run_id": job.run_id} if job.run_id else {})
    values = {
        "job_id": job.id,
        "kind": kind,
        "who": storable(who),
        "details": storable({**known, **(details or {})}),
    }
    connection.execute(sa.insert(events).values(**values))
