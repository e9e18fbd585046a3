"""Report a run's progress and result to the jobs that it serves, and read their state from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from types import MappingProxyType

import dagster as dg

from export_pipeline.jobs import (
    Attempt,
    File,
    Job,
    Ledger,
    LedgerError,
    LedgerUnavailableError,
    RefusedError,
    ThrottledProgress,
    UnknownJobError,
)
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs.outages import run_in_thread

JOB_TAG = "export_pipeline/job"
"""Prefix of the tag `PREFIX.format.id` for each job that a run serves. The tag's value is the attempt."""


CODE_TAG = "export_pipeline/code"
"""Tag of a run: the version of the code that has claimed its request. Only the daemon claims requests."""

FORMAT_TAG = "export_pipeline/format"
"""Prefix of the tag `PREFIX.alias` for each alias by which jobs ask for a format. The value is the format."""


def job_tags(jobs: Iterable[Job], aliases: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return the run tags that name the jobs which a run serves.

    Args:
        aliases: Formats by the aliases that jobs may have asked for.
    """
    tags = {}
    for job in jobs:
        tags[f"{JOB_TAG}.{job.format}.{job.id}"] = str(job.attempt)
        if job.format in aliases:
            tags[f"{FORMAT_TAG}.{job.format}"] = aliases[job.format]
    return tags


def awaits_format(tags: Mapping[str, str], asked: str, format: str) -> bool:
    """Return whether a job that asked for a format by this name, perhaps an alias, waits for this format."""
    return tags.get(f"{FORMAT_TAG}.{asked}", asked) == format


def deployment_of(ledger: Callable[[], Ledger]) -> str | None:
    """Return the id of this deployment, by which `purge` recognizes its files; None without a ledger."""
    with suppress(LedgerError):
        return run_in_thread(lambda: ledger().deployment())
    return None


def attempts_of(tags: Mapping[str, str], run_id: str | None, format: str | None = None) -> list[Attempt]:
    """Return the attempts that a run with these tags works on, optionally of one format."""
    attempts = []
    for tag, number in sorted(tags.items()):
        if tag.startswith(f"{JOB_TAG}."):
            of, _, job_id = tag.removeprefix(f"{JOB_TAG}.").partition(".")
            if format is None or awaits_format(tags, of, format):
                attempts.append(Attempt(job_id, int(number), run_id))
    return attempts


def deleted_error(job_id: str) -> RefusedError:
    """Return the error of a run whose request was deleted."""
    return RefusedError(
        f"Export job {job_id}, for which this run was started, was deleted, so the run makes no file. If the "
        "file is needed, request it again; this run cannot be executed again.",
        Status.CANCELED,
    )


def start_jobs(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str | None = None) -> None:
    """Mark the jobs of a run as processing. A job that was canceled meanwhile stays canceled.

    Args:
        format: Mark only the jobs that wait for this format.

    Raises:
        RefusedError: no job waits for this run any more.
    """
    attempts = attempts_of(run.tags, run.run_id, format)
    refused: list[RefusedError] = []
    for attempt in attempts:
        try:
            ledger().started(attempt, replaces=run.parent_run_id)
        except RefusedError as error:
            refused.append(error)
        except UnknownJobError:
            refused.append(deleted_error(attempt.job_id))
    if refused and len(refused) == len(attempts):
        raise refused[0]


def complete_jobs(
    ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str, file: File, expires_at: datetime | None
) -> None:
    """Complete every job that waits for the file of a format in this run.

    Raises:
        RefusedError: all of them were canceled or deleted meanwhile.
    """
    if not attempts_of(run.tags, run.run_id, format):
        return
    refused: RefusedError | None = None
    done = 0
    for job in ledger().of_run(run.run_id):
        if not awaits_format(run.tags, job.format, format):
            continue
        try:
            ledger().completed(job.current, file, expires_at)
            done += 1
        except RefusedError as error:
            refused = error
        except UnknownJobError:
            refused = deleted_error(job.id)
    if refused and not done:
        raise refused


class ProgressReporter:
    """Reports the progress of one part of a run to the run's jobs. Without jobs it does nothing.

    Args:
        share: Range of this part within the whole run, in percent (from, to).
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        run: dg.DagsterRun,
        share: tuple[float, float],
        format: str | None = None,
    ) -> None:
        attempts = attempts_of(run.tags, run.run_id, format)
        self._reports = [ThrottledProgress(ledger(), attempt) for attempt in attempts]
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
        """Report the current step, and how much of it is done.

        Args:
            rows: Number of rows of the export read so far.
            total_rows: Number of rows of the export in the source.

        Raises:
            RefusedError: every job of the run was canceled, or another run has taken it over.
        """
        percent = self._from + (self._to - self._from) * (done / total if total else 0.0)
        known = {"rows": rows, "total": total_rows}
        for report in list(self._reports):
            try:
                run_in_thread(partial(report, step, percent=percent, **known))
            except (RefusedError, UnknownJobError):
                with suppress(LedgerUnavailableError):  # the next report checks again
                    is_requested = partial(is_still_requested, self._ledger, self._run.run_id)
                    if len(self._reports) == 1 and not run_in_thread(is_requested):
                        raise
                    self._reports.remove(report)


def is_still_requested(ledger: Callable[[], Ledger], run_id: str) -> bool:
    """Return whether a job still waits for a run, including a job that joined the run after its start."""
    return any(job.status is Status.PROCESSING for job in ledger().of_run(run_id))
