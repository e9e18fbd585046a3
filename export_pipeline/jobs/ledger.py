"""The ledger: operations on requests for people, launchers, runs and maintenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.claims import claim_rows
from export_pipeline.jobs.database import insert_new
from export_pipeline.jobs.errors import (
    NO_RECIPIENTS,
    NOTICES,
    ErrorCode,
    IllegalTransitionError,
    LedgerError,
    RefusedError,
)
from export_pipeline.jobs.idempotency import asked_before
from export_pipeline.jobs.leases import LeaseKeeper
from export_pipeline.jobs.queries import PATIENCE
from export_pipeline.jobs.records import OPERATOR, Attempt, File, Job, Viewer, unrequested_id
from export_pipeline.jobs.reuse import REUSED, find_reusable
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import ENDED, EventKind, Status
from export_pipeline.jobs.tables import events, jobs
from export_pipeline.jobs.texts import is_storable, storable
from export_pipeline.jobs.transitions import record_event, transition_error
from export_pipeline.redaction import hide_credentials

Remove = Callable[[str], None]
"""Removes the file with this key, and its manifest. A file that does not exist is not an error."""

_PRIORITIES = 2**31
"""A priority is an integer of 32 bits on PostgreSQL, so on SQLite too."""
_CLAIM_REFRESHED = timedelta(seconds=15)


class Ledger(LeaseKeeper):
    """Reads and writes the ledger. Every method is one transaction; threads may share an instance.

    Methods that take a job id and a viewer raise UnknownJobError if the viewer may not see the job. Methods
    that take an attempt raise SupersededError if it is no longer the current one. Both raise
    IllegalTransitionError if the job's state does not allow the change.
    """

    # --- people ---

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
            if idempotency_key is not None and (earlier := asked_before(connection, values)) is not None:
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

    def canceled(self, job: str | Attempt, who: str | None = None, viewer: Viewer = OPERATOR) -> Job:
        """Mark a job as canceled, because a person canceled it or the attempt's run was canceled.

        The process that works on it learns this from its next report. The caller must end the run.
        """
        return self._change_status(
            job, Status.CANCELED, {"completed_at": utc_now()}, EventKind.CANCELED, who, viewer
        )

    def retry(self, job_id: str, who: str | None = None, viewer: Viewer = OPERATOR) -> Job:
        """Start a new attempt of a failed or canceled job. The events keep the result of the last attempt.

        Raises:
            RefusedError: the job is only a notice that a schedule cannot be run.
        """
        job = self.get(job_id, viewer)
        if job.error_code in NOTICES:
            command = f"`export-pipeline schedules change {job.schedule_id} …` corrects it"
            if job.error_code == NO_RECIPIENTS:
                command = f"name recipients, then `export-pipeline schedules run-now {job.schedule_id}`"
            raise RefusedError(
                f"Export job {job.id} only tells about a schedule, there is nothing to retry: {command}.",
                job.status,
            )
        ended = (Status.FAILED, Status.CANCELED)
        values = _new_attempt()
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

    # --- the launcher ---

    def claim(
        self,
        limit: int,
        *,
        patience: timedelta = PATIENCE,
        max_in_flight: int | None = None,
        who: str | None = None,
    ) -> list[Job]:
        """Claim the next requests, in order; nobody else gets them within `patience`.

        They stay pending until their run reports that it has started. A job that has not started by then can
        be claimed again, as the same attempt. The launcher uses `Attempt.run_key`, so the attempt gets one
        run however often it is dispatched. `Job.dispatches` counts the dispatches.

        Args:
            limit: Maximum number of requests.
            patience: Time after which a claimed job that has not started can be claimed again.
            max_in_flight: Maximum number of jobs in flight. Two concurrent claims may exceed it once.
            who: Name of the claimer.
        """
        with self._writing() as (connection, now):
            rows = claim_rows(
                connection,
                now,
                limit=limit,
                patience=patience,
                max_in_flight=max_in_flight,
                who=storable(who),
            )
        return [Job.of(row) for row in rows]

    def keep_claims(self, waiting: Sequence[Job]) -> None:
        """Renew the claims of jobs whose run is queued, so that nobody else claims them."""
        with self._writing() as (connection, now):
            old = sa.and_(jobs.c.status == Status.PENDING, jobs.c.claimed_at < now - _CLAIM_REFRESHED)
            ids = [job.id for job in waiting]
            connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids), old).values(claimed_at=now))

    def requeue(self, attempt: Attempt) -> None:
        """Requeue a claimed job whose run ended before it started to work on it."""
        with self._writing() as (connection, _):
            waits = (*self._conditions(attempt), jobs.c.status == Status.PENDING)
            connection.execute(sa.update(jobs).where(*waits).values(claimed_at=None))

    def release(self, attempts: Sequence[Attempt]) -> None:
        """Release claimed jobs that were not dispatched after all; the claim does not count."""
        with self._writing() as (connection, _):
            for attempt in attempts:
                waits = (*self._conditions(attempt), jobs.c.status == Status.PENDING, jobs.c.dispatches > 0)
                update = sa.update(jobs).where(*waits)
                connection.execute(update.values(claimed_at=None, dispatches=jobs.c.dispatches - 1))

    # --- the run ---

    def started(self, attempt: Attempt, replaces: str | None = None) -> Job:
        """Mark a job as started by the attempt's run, which owns the job from now on.

        Args:
            attempt: The attempt, with the id of its run.
            replaces: Id of the earlier run of the same attempt that this run retries.
        """
        if attempt.run_id is None:
            raise ValueError("only a run starts a job")
        values = {"run_id": attempt.run_id, "started_at": utc_now()}
        if replaces is None:
            return self._change_status(attempt, Status.PROCESSING, values, EventKind.STARTED)
        with self._writing() as (connection, _):
            lost = self._conditions(Attempt(attempt.job_id, attempt.number, replaces))
            update = sa.update(jobs).where(*lost, jobs.c.status == Status.PROCESSING).values(**values)
            row = connection.execute(update.returning(*jobs.c)).mappings().one_or_none()
            if row is not None:
                job = Job.of(row)
                record_event(connection, job, EventKind.STARTED, None, {"replaces": replaces})
                return job
        return self._change_status(attempt, Status.PROCESSING, values, EventKind.STARTED)

    def reuse(self, job: Job, within: timedelta) -> Job | None:
        """Complete a pending job with the file of an identical request of the same person.

        The file goes when it would have gone, and its data are as old as they are.

        Args:
            within: Maximum age of the data. It is counted from the start of the run that read them.

        Returns:
            The completed job; None if there is no such file.
        """
        with self._writing() as (connection, now):
            return self._reuse(connection, now, job, within)

    def _reuse(self, connection: sa.Connection, now: datetime, job: Job, within: timedelta) -> Job | None:
        reusable = find_reusable(connection, job, now, within)
        if reusable is None:
            return None
        mine = (*self._conditions(job.current), jobs.c.status == Status.PENDING)
        begin = (
            sa.update(jobs)
            .where(*mine)
            .values(status=Status.PROCESSING, run_id=reusable.run_id, started_at=utc_now())
        )
        if not connection.execute(begin).rowcount:
            return None
        end = (
            sa.update(jobs)
            .where(jobs.c.id == job.id)
            .values(
                status=Status.COMPLETED,
                completed_at=utc_now(),
                progress_percent=100,
                **{name: getattr(reusable, name) for name in REUSED},
            )
        )
        completed = Job.of(connection.execute(end.returning(*jobs.c)).mappings().one())
        details = {"reused": reusable.id, "file_key": reusable.file_key, "rows": reusable.row_count}
        record_event(connection, completed, EventKind.COMPLETED, None, details)
        return completed

    def progress(
        self,
        attempt: Attempt,
        step: str,
        *,
        percent: float,
        rows: int | None = None,
        total: int | None = None,
    ) -> Job:
        """Record the progress of an attempt. A new step writes an event. The percentage never decreases.

        Args:
            step: Name of the current step.
            percent: Share of the whole work, clamped to 0 to 100.
            rows: Number of rows processed so far.
            total: Total number of rows, if known.
        """
        whole = min(100, max(0, int(percent)))
        known = {"row_count": rows, "total_rows": total}
        values = {
            "progress_step": storable(step),
            "progress_percent": sa.case(
                (jobs.c.progress_percent > whole, jobs.c.progress_percent), else_=whole
            ),
            **{name: value for name, value in known.items() if value is not None},
        }
        with self._writing() as (connection, _):
            mine = (*self._conditions(attempt), jobs.c.status == Status.PROCESSING)
            was = connection.scalars(sa.select(jobs.c.progress_step).where(*mine)).one_or_none()
            update = sa.update(jobs).where(*mine).values(**values).returning(*jobs.c)
            row = connection.execute(update).mappings().one_or_none()
            if row is None:
                raise transition_error(
                    self._read_job(connection, attempt, OPERATOR), attempt, Status.PROCESSING
                )
            job = Job.of(row)
            if was != job.progress_step:
                record_event(
                    connection, job, EventKind.PROGRESS, None, {"step": job.progress_step, "rows": rows}
                )
        return job

    def completed(self, attempt: Attempt, file: File, expires_at: datetime | None = None) -> Job:
        """Mark a job as completed: the attempt's file is in the store.

        Args:
            expires_at: Time after which the file may be removed (aware); None to keep it forever.
        """
        values = _result(file, expires_at)
        details = _file_details(values)
        return self._change_status(attempt, Status.COMPLETED, values, EventKind.COMPLETED, details=details)

    def record_export(
        self,
        run_id: str,
        file: File,
        expires_at: datetime | None,
        *,
        dataset: str,
        format: str,
        scope: str | None,
        filters: Mapping[str, Any],
        columns: Sequence[str] | None,
        options: Mapping[str, Any],
        requested_by: str | None,
        started_at: datetime,
        who: str,
    ) -> Job:
        """Record a file that a run made without a request, as the launchpad and backfills do.

        It becomes a completed job, so it is listed, downloaded, held and removed as all others. The same run
        and file are recorded once.

        Args:
            who: What started the run, for the job's record.
        """
        job_id = unrequested_id(run_id, file.key)
        request = {
            "id": job_id,
            "dataset": dataset,
            "format": format,
            "scope": scope,
            "filters": storable(dict(filters)),
            "columns": None if columns is None else storable(list(columns)),
            "options": storable(dict(options)),
            "requested_by": requested_by,
            "created_at": started_at,
        }
        with self._writing() as (connection, _):
            insert = insert_new(connection, jobs, "id").values(**request)
            if connection.execute(insert.returning(jobs.c.id)).one_or_none() is None:
                return self._read_job(connection, job_id, OPERATOR)
            values = _result(file, expires_at)
            mine = sa.update(jobs).where(jobs.c.id == job_id)
            begin = {"status": Status.PROCESSING, "run_id": run_id, "started_at": started_at}
            connection.execute(mine.values(**begin))
            end = mine.values(status=Status.COMPLETED, **values).returning(*jobs.c)
            job = Job.of(connection.execute(end).mappings().one())
            record_event(connection, job, EventKind.COMPLETED, who, _file_details(values))
        return job

    def failed(self, attempt: Attempt, code: ErrorCode, message: str, who: str | None = None) -> Job:
        """Mark a job as failed: the attempt failed, or the request is invalid.

        Args:
            code: Error code for programs, e.g. unknown_column.
            message: Error message for people, of any length. Characters that a database cannot store become
                U+FFFD.
        """
        error = {"code": storable(code), "message": storable(hide_credentials(message))}
        values = {"error_code": error["code"], "error_message": error["message"], "completed_at": utc_now()}
        return self._change_status(attempt, Status.FAILED, values, EventKind.FAILED, who, details=error)

    def restart(self, attempt: Attempt, code: ErrorCode, message: str, who: str | None = None) -> Job:
        """Give up an attempt and queue the next one in one step; the job never counts as failed in between.

        Args:
            code: Reason for giving up the attempt, as a code for programs, e.g. worker_lost.
            message: The reason as a sentence for people.
        """
        details = {"gave_up": attempt.number, "code": code, "message": message}
        under_way = (Status.PROCESSING,)
        return self._change_status(
            attempt,
            Status.PENDING,
            _new_attempt(),
            EventKind.REQUESTED,
            who,
            details=details,
            sources=under_way,
        )

    # --- maintenance ---

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


def _new_attempt() -> dict[str, Any]:
    """Return the column values of a job whose next attempt is ready to be claimed."""
    cleared = ["progress_step", "total_rows", "row_count", "error_code", "error_message", "run_id"]
    cleared += ["claimed_at", "claimed_by", "started_at", "completed_at"]
    values: dict[str, Any] = dict.fromkeys(cleared) | {"warnings": [], "changed_cells": {}}
    return values | {"progress_percent": 0, "dispatches": 0, "attempt": jobs.c.attempt + 1}


def _result(file: File, expires_at: datetime | None) -> dict[str, Any]:
    """Return the columns of a job that its file fills."""
    return {
        "file_key": storable(file.key),
        "file_name": storable(file.name),
        "file_size": file.size,
        "row_count": file.rows,
        "total_rows": file.rows if file.total_rows is None else file.total_rows,
        "sha256": file.sha256,
        "warnings": storable(list(file.warnings)),
        "changed_cells": storable(file.changed_cells),
        "progress_percent": 100,
        "progress_step": None,
        "completed_at": utc_now(),
        "expires_at": expires_at,
    }


def _file_details(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of the event that a job was completed."""
    names = {"rows": "row_count", "bytes": "file_size", "changed": "changed_cells"}
    same = {name: values[name] for name in ("file_key", "total_rows", "warnings")}
    return same | {name: values[column] for name, column in names.items()}
