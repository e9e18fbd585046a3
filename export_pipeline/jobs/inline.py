"""Exports that the HTTP service makes without a run: rows of the ledger and reuse of files.

A row is written when the file has been proven and is about to appear in the store, so that a refused or
failed ask leaves none. If the process dies before it completes the row, the reconciler finds it without a
lease and starts a new attempt, which is a run like any other and replaces the file.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from export_pipeline.jobs.ledger import Ledger, check_storable
from export_pipeline.jobs.records import Attempt, Job
from export_pipeline.jobs.reuse import reuse_file
from export_pipeline.jobs.states import EventKind, Status
from export_pipeline.jobs.tables import jobs
from export_pipeline.jobs.transitions import note_unreported, record_event

Answer = TypeVar("Answer")

_RUN = "inline-"


def new_inline_run() -> str:
    """Return a new id that replaces the run id of an export that the HTTP service makes."""
    return f"{_RUN}{uuid.uuid4()}"


def is_inline_run(run_id: str | None) -> bool:
    """Return whether a run id is one of `new_inline_run`, so that Dagster has no such run."""
    return run_id is not None and run_id.startswith(_RUN)


class InlineExports(Ledger):
    """A ledger that also records exports of the HTTP service."""

    def begin_inline(
        self,
        attempt: Attempt,
        request: Mapping[str, Any],
        summary: Mapping[str, Any],
        *,
        since: timedelta,
    ) -> None:
        """Insert the row of an export, as processing, right before its file becomes visible.

        Args:
            attempt: The new job's id, and an id from `new_inline_run`.
            request: Dataset, format, scope, filters, columns, options and requested_by.
            summary: Summary of the file, for Dagster.
            since: Time since the work began.

        Raises:
            LedgerError: the database rejects a value, e.g. a NUL character.
        """
        check_storable(request)
        with self._writing() as (connection, now):
            begun = {"created_at": now - since}
            connection.execute(sa.insert(jobs).values(id=attempt.job_id, **request, **begun))
            values = {"status": Status.PROCESSING, "run_id": attempt.run_id, "started_at": now - since}
            update = sa.update(jobs).where(jobs.c.id == attempt.job_id).values(**values)
            job = Job.of(connection.execute(update.returning(*jobs.c)).mappings().one())
            record_event(connection, job, EventKind.STARTED)
            note_unreported(connection, job, summary)

    def reuse_inline(
        self, request: Mapping[str, Any], within: timedelta, open_file: Callable[[Job], Answer | None]
    ) -> Answer | None:
        """Write a completed job with the file of an identical request; return its file, opened.

        Args:
            request: As for `begin_inline`.
            within: As for `reuse`.
            open_file: Called with the job. If it returns None, the file cannot be used and there is no job.

        Returns:
            What `open_file` returns; None if there is no such file.

        Raises:
            LedgerError: the database rejects a value, e.g. a NUL character.
        """
        check_storable(request)
        with suppress(_NothingToReuse), self._writing() as (connection, now):
            row = connection.execute(sa.insert(jobs).values(**request).returning(*jobs.c)).mappings().one()
            completed = reuse_file(connection, now, Job.of(row), within)
            answer = None if completed is None else open_file(completed)
            if answer is None:
                raise _NothingToReuse  # rolls the row back
            return answer
        return None


class _NothingToReuse(Exception):
    pass
