"""Whether somebody still waits for the file that a run makes: a late run must not replace a newer one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg

from export_pipeline.jobs import Job, Ledger, RefusedError
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs.attempts import attempts_of
from export_pipeline.orchestration.runs.heartbeat import ensure_lease

_UNWANTED = (Status.CANCELED, Status.EXPIRED)


def check_wanted(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str) -> None:
    """Do nothing if a job still waits for the run's file of a format, or none ever asked for it.

    Raises:
        LeaseLostError: The run was taken for dead; another one may do its work.
        RefusedError: Every job that asked was canceled, has a newer attempt or another run.
    """
    ensure_lease(ledger, run.run_id)
    unwanted = None
    for job, number in _asking(ledger, run, format):
        # A re-execution goes on with the attempt of the run before it; a run that begins takes it over.
        ours = job.run_id in (None, run.run_id, run.parent_run_id, run.root_run_id)
        if job.attempt == number and ours and job.status not in _UNWANTED:
            return
        unwanted = job
    if unwanted is None:
        return
    if any(job.format == format and job.status not in _UNWANTED for job in ledger().of_run(run.run_id)):
        return  # one that joined the run after it had begun
    raise RefusedError(
        f"Export job {unwanted.id} is {unwanted.status} in attempt {unwanted.attempt} and does not wait for "
        "this run any more, so the run's file is not published.",
        unwanted.status,
    )


def is_a_job_s(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str, key: str) -> bool:
    """Whether a job that asked for the run's file has completed with this key, by another attempt."""
    return any(
        job.status is Status.COMPLETED and job.file_key == key for job, _ in _asking(ledger, run, format)
    )


def _asking(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str) -> Iterator[tuple[Job, int]]:
    for attempt in attempts_of(run.tags, run.run_id, format):
        yield ledger().get(attempt.job_id), attempt.number
