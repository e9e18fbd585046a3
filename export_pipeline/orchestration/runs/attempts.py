"""What a run tells the ledger about the jobs that it works for, and what it learns from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial

import dagster as dg

from export_pipeline.jobs import (
    Attempt,
    File,
    Job,
    Ledger,
    LedgerUnavailableError,
    Progress,
    RefusedError,
)
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs.retries import beside

JOB_TAG = "export_pipeline/job"
"""With `.format.id` behind it: a job whose file of this format a run makes; the value is its attempt."""


def job_tags(jobs: Iterable[Job]) -> dict[str, str]:
    """The tags that tell a run which jobs it works for."""
    return {f"{JOB_TAG}.{job.format}.{job.id}": str(job.attempt) for job in jobs}


def attempts_of(tags: Mapping[str, str], run_id: str | None, format: str | None = None) -> list[Attempt]:
    """The attempts that a run with these tags works on, by job; of one format, if it is given."""
    found = []
    for tag, number in sorted(tags.items()):
        if tag.startswith(f"{JOB_TAG}."):
            of, _, job_id = tag.removeprefix(f"{JOB_TAG}.").partition(".")
            if format in (None, of):
                found.append(Attempt(job_id, int(number), run_id))
    return found


def begin(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str | None = None) -> None:
    """Say that the jobs of a run are being worked on; a job that was canceled meanwhile stays so.

    Args:
        format: Only the jobs that wait for this format.

    Raises:
        RefusedError: none of them wants this run any more.
    """
    attempts = attempts_of(run.tags, run.run_id, format)
    refused: list[RefusedError] = []
    for attempt in attempts:
        try:
            ledger().started(attempt, replaces=run.parent_run_id)
        except RefusedError as error:
            refused.append(error)
    if refused and len(refused) == len(attempts):
        raise refused[0]


def finish(
    ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str, file: File, expires_at: datetime | None
) -> None:
    """Say that the file of a format lies in the store, to every job that waits for it in this run.

    Raises:
        RefusedError: they all were canceled meanwhile; nobody wants the file.
    """
    if not attempts_of(run.tags, run.run_id, format):
        return
    refused: RefusedError | None = None
    done = 0
    for job in ledger().of_run(run.run_id):
        if job.format != format:
            continue
        try:
            ledger().completed(job.current, file, expires_at)
            done += 1
        except RefusedError as error:
            refused = error
    if refused and not done:
        raise refused


class Reporter:
    """Tells the jobs of a run how far it is, within a part of the whole; without jobs it tells nobody.

    Args:
        share: From and to which percent of the whole this part goes.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        run: dg.DagsterRun,
        share: tuple[float, float],
        format: str | None = None,
    ) -> None:
        attempts = attempts_of(run.tags, run.run_id, format)
        self._tell = [Progress(ledger(), attempt) for attempt in attempts]
        self._ledger, self._run = ledger, run
        self._from, self._to = share

    def __call__(
        self,
        step: str,
        done: int = 0,
        total: int = 0,
        *,
        rows: int | None = None,
        total_rows: int | None = None,
    ) -> None:
        """Say what is being done, and how much of how much of it.

        Args:
            rows: Rows of the export read so far.
            total_rows: Rows of the export in the source.

        Raises:
            RefusedError: every job of the run was canceled, or another run has taken it over.
        """
        percent = self._from + (self._to - self._from) * (done / total if total else 0.0)
        known = {"rows": rows, "total": total_rows}
        for tell in list(self._tell):
            try:
                beside(partial(tell, step, percent=percent, **known))
            except RefusedError:
                with suppress(LedgerUnavailableError):  # the next word of progress asks again
                    wanted = partial(is_wanted, self._ledger, self._run.run_id)
                    if len(self._tell) == 1 and not beside(wanted):
                        raise
                    self._tell.remove(tell)


def is_wanted(ledger: Callable[[], Ledger], run_id: str) -> bool:
    """Return True if a job still waits for a run, also one that joined it after it had begun."""
    return any(job.status is Status.PROCESSING for job in ledger().of_run(run_id))
