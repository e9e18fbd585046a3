"""The ledger: requests, their states and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new
from export_pipeline.jobs.errors import (
    NO_RECIPIENTS,
    NOTICES,
    IllegalTransitionError,
    LedgerError,
    RefusedError,
)
from export_pipeline.jobs.idempotency import find_repeated_request
from export_pipeline.jobs.records import OPERATOR, Attempt, Job, Viewer
from export_pipeline.jobs.reuse import reuse_file
from export_pipeline.jobs.run_reports import RunReports, new_attempt
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import ENDED, EventKind, Status
from export_pipeline.jobs.storable_text import is_storable
from export_pipeline.jobs.tables import events, jobs
from export_pipeline.jobs.transitions import record_event

Remove = Callable[[str], None]
"""Removes the file with this key, and its manifest. A file that does not exist is not an error."""

_PRIORITIES = 2**31
"""A priority is an integer of 32 bits on PostgreSQL, so on SQLite too."""


class Ledger(RunReports):
    """Reads and writes the ledger. Every method is one transaction; threads may share an instance.

    Methods that take a job id and a viewer raise UnknownJobError if the viewer may not see the job. Methods
    that take an attempt raise SupersededError if it is no longer the current one. Both raise
    IllegalTransitionError if the job's state does not allow the change.
    """

    def request(
        self,
        dataset: str,
        format: str,
        *,
        scope: str | None = None,
        filters: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        requested_by: str | None = None,
        recipients: Sequence[str] = (),
        priority: int = 0,
        schedule_id: str | None = None,
        window_key: str | None = None,
        idempotency_key: str | None = None,
        webhook_id: str | None = None,
        reuse_within: timedelta | None = None,
    ) -> Job:
        """Request an export. The request is not validated here, but by the process that claims the job.

        Args:
            schedule_id: The schedule that makes the request.
            window_key: The window of the schedule. A window is requested once: a second request returns the
                existing job.
            idempotency_key: The same request by the same person in the same scope under the same key returns
                the existing job, whatever became of it, unless it was deleted.
            webhook_id: A webhook that is told of the export's end, if it hears only of exports that name it.
            reuse_within: Complete the job at once with the file of an identical request whose data are not
                older. The caller has checked the request.

        Raises:
            IdempotencyError: the key was used for another request, or for one that was deleted.
            LedgerError: the database rejects a value, e.g. a NUL character or an unknown schedule.
        """
        values = {
            "dataset": dataset,
            "format": format,
            "scope": scope,
            "filters": dict(filters or {}),
            "columns": None if columns is None else list(columns),
            "options": dict(options or {}),
            "requested_by": requested_by,
            "recipients": list(recipients),
            "priority": priority,
            "schedule_id": schedule_id,
            "window_key": window_key,
            "idempotency_key": idempotency_key,
            "webhook_id": webhook_id,
        }
        if not -_PRIORITIES <= priority < _PRIORITIES:
            raise LedgerError(f"The request's priority must be from {-_PRIORITIES:,} to {_PRIORITIES - 1:,}.")
        check_storable(values)
        with self._writing() as (connection, _):
            if (
                idempotency_key is not None
                and (earlier := find_repeated_request(connection, values)) is not None
            ):
                return earlier
            insert = insert_new(connection, jobs, "schedule_id", "window_key").values(**values)
            row = connection.execute(insert.returning(*jobs.c)).mappings().one_or_none()
            if row is None:
                there = sa.select(jobs).where(
                    jobs.c.schedule_id == schedule_id, jobs.c.window_key == window_key
                )
                row = connection.execute(there).mappings().one()
        job = Job.of(row)
        return job if reuse_within is None else self.reuse(job, reuse_within) or job

    def reuse(self, job: Job, within: timedelta) -> Job | None:
        """Complete a pending job with the file of an identical request of the same person.

        The file goes when it would have gone, and its data are as old as they are.

        Args:
            within: Maximum age of the data. It is counted from the start of the run that read them.

        Returns:
            The completed job; None if there is no such file.
        """
        with self._writing() as (connection, now):
            return reuse_file(connection, now, job, within)

    def canceled(self, job: str | Attempt, who: str | None = None, viewer: Viewer = OPERATOR) -> Job:
        """Mark a job as canceled, because a person canceled it or the attempt's run was canceled.

        The process that works on it learns this from its next report. The caller must end the run.
        """
        return self._change_status(
            job, Status.CANCELED, {"completed_at": utc_now()}, EventKind.CANCELED, who, viewer
        )

    def retry(self, job_id: str, who: str | None = None, viewer: Viewer = OPERATOR) -> Job:
        """Start a new attempt of a failed or canceled job. Its events keep the result of the last one.

        Raises:
            RefusedError: the job is only a notice that a schedule cannot be run.
        """
        job = self.get(job_id, viewer)
        if job.error_code in NOTICES:
            command = f"`export-pipeline schedules change {job.schedule_id} …` corrects it"
            if job.error_code == NO_RECIPIENTS:
                command = f"name recipients, then `export-pipeline schedules run-now {job.schedule_id}`"
            raise RefusedError(
                f"Export job {job.id} is only a notice, so there is nothing to retry: {command}.",
                job.status,
            )
        ended = (Status.FAILED, Status.CANCELED)
        values = new_attempt()
        return self._change_status(
            job_id, Status.PENDING, values, EventKind.REQUESTED, who, viewer, sources=ended
        )

    def hold(self, job_id: str, held: bool, who: str | None = None, viewer: Viewer = OPERATOR) -> Job:
        """Put a job under legal hold, or release it. A job under hold neither expires nor can be deleted."""
        with self._writing() as (connection, _):
            was, _ = self._lock_job(connection, job_id, viewer)
            update = sa.update(jobs).where(jobs.c.id == was.id).values(legal_hold=held).returning(*jobs.c)
            job = Job.of(connection.execute(update).mappings().one())
            if job != was:
                record_event(connection, job, EventKind.HELD if held else EventKind.RELEASED, who)
        return job

    def delete(self, job_id: str, remove: Remove, who: str | None = None, viewer: Viewer = OPERATOR) -> Job:
        """Delete a job that has ended, and its file.

        Args:
            remove: Called with the file's key, unless another job has the same file. If it raises, nothing
                has changed.

        Raises:
            RefusedError: the job has not ended (cancel it first), or is under legal hold.
        """
        with self._writing() as (connection, now):
            job, shared = self._lock_job(connection, job_id, viewer)
            if job.status not in ENDED:
                raise RefusedError(f"Export job {job.id} is {job.status}; cancel it first.", job.status)
            return self._remove_file(connection, job, None if shared else remove, who, now)

    def expire(self, job_id: str, remove: Remove, who: str | None = None) -> Job:
        """Remove the file of a completed job that is due, and mark the job as expired.

        If the process dies after `remove`, the job stays completed and due, and the next call finishes it.

        Args:
            remove: See `delete`.

        Raises:
            RefusedError: the job is not due yet, or is under legal hold.
        """
        with self._writing() as (connection, now):
            job, shared = self._lock_job(connection, job_id, OPERATOR)
            if job.status == Status.EXPIRED:
                return job
            if job.status != Status.COMPLETED:
                raise IllegalTransitionError(job.id, job.status, Status.EXPIRED)
            if job.expires_at is None or job.expires_at > now:
                when = (
                    f"expires at {job.expires_at:%Y-%m-%d %H:%M} UTC" if job.expires_at else "never expires"
                )
                raise RefusedError(f"Export job {job.id} {when}; delete it to remove it now.", job.status)
            return self._remove_file(connection, job, None if shared else remove, who)

    def forget_events(self, older_than: timedelta, limit: int = 10_000, *, dry_run: bool = False) -> int:
        """Delete old events and return their number; 0 means that none are left.

        Events of requests that are open, have a file or are under legal hold are kept.

        Args:
            limit: Maximum number of events to delete.
            dry_run: Only count the events, up to the limit.
        """
        kept = sa.or_(jobs.c.status.not_in(ENDED - {Status.COMPLETED}), jobs.c.legal_hold)
        of_kept = sa.exists().where(jobs.c.id == events.c.job_id, kept)
        with self._writing() as (connection, now):
            old = sa.select(events.c.id).where(events.c.at < now - older_than, ~of_kept)
            old = old.order_by(events.c.id).limit(limit)
            if dry_run:
                return connection.scalars(sa.select(sa.func.count()).select_from(old.subquery())).one()
            return connection.execute(sa.delete(events).where(events.c.id.in_(old))).rowcount

    def record(
        self, job_id: str, kind: EventKind, who: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """Record that a job's file was sent or downloaded.

        Raises:
            ValueError: the kind is another one; the methods that cause other events write them.
            UnknownJobError: there is no such job.
        """
        if kind not in (EventKind.SENT, EventKind.DOWNLOADED):
            raise ValueError(f"{kind} is no event that is only noted")
        with self._writing() as (connection, _):
            job, _ = self._lock_job(connection, job_id, OPERATOR)
            record_event(connection, job, kind, who, details)


def check_storable(request: Mapping[str, Any]) -> None:
    """Check that a database can store the fields of a request.

    Raises:
        LedgerError: one holds a NUL or a broken character.
    """
    for name, value in request.items():
        if not is_storable(value):
            raise LedgerError(f"The request's {name} hold a NUL or a broken character; leave it out.")
