"""Reports of runs about their jobs: started, progress, completed, failed, restarted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new
from export_pipeline.jobs.dispatch import Dispatcher
from export_pipeline.jobs.errors import ErrorCode, SupersededError
from export_pipeline.jobs.records import OPERATOR, Attempt, File, Job, unrequested_id
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import EventKind, Status
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import jobs
from export_pipeline.jobs.transitions import note_unreported, record_event, transition_error
from export_pipeline.redaction import hide_credentials


class RunReports(Dispatcher):
    """Records the reports of runs. Each is accepted for the run's own attempt only."""

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

    def started_extra(self, attempt: Attempt, since: datetime, summary: Mapping[str, Any]) -> Job:
        """Mark a job as started by the run that has claimed it by `claim_extra`.

        Args:
            since: Time of the claim, after which its rows were read (aware).
            summary: Summary of its file, for Dagster, if the run cannot tell it.

        Raises:
            SupersededError: the run's claim does not stand any more: somebody else may have the job.
            UnknownJobError: the job was deleted.
        """
        values = {"status": Status.PROCESSING, "run_id": attempt.run_id, "started_at": since}
        with self._writing() as (connection, _):
            claimed = (jobs.c.claimed_by == attempt.run_id, jobs.c.claimed_at.is_not(None))
            mine = (*self._conditions(attempt), *claimed, jobs.c.status == Status.PENDING)
            update = sa.update(jobs).where(*mine).values(**values).returning(*jobs.c)
            row = connection.execute(update).mappings().one_or_none()
            if row is None:
                job = self._read_job(connection, attempt, OPERATOR)
                message = f"Run {attempt.run_id} has lost its claim of export job {job.id}."
                raise SupersededError(message, job.status)
            job = Job.of(row)
            record_event(connection, job, EventKind.STARTED)
            note_unreported(connection, job, summary)
        return job

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

        It becomes a completed job, which is listed, downloaded, held and removed as all others. There is one
        job for a run and key: if it exists, it is returned as it is, whatever its status and file are today.

        Args:
            started_at: Time at which the job counts as requested and started.
            who: Who is named in the event of its completion, e.g. dagster.
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
        """End an attempt and queue the next one in one transaction; the job is never failed in between.

        Args:
            code: Reason for giving up the attempt, as a code for programs, e.g. worker_lost.
            message: The reason as a sentence for people.
        """
        details = {"gave_up": attempt.number, "code": code, "message": message}
        under_way = (Status.PROCESSING,)
        return self._change_status(
            attempt,
            Status.PENDING,
            new_attempt(),
            EventKind.REQUESTED,
            who,
            details=details,
            sources=under_way,
        )


def new_attempt() -> dict[str, Any]:
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
