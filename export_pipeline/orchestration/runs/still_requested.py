"""Check that a job still waits for the file of a run, so that a late run does not replace a newer file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg

from export_pipeline.jobs import Job, Ledger, RefusedError
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs.attempts import asks_for, attempts_of
from export_pipeline.orchestration.runs.heartbeat import ensure_lease

_WITHDRAWN = (Status.CANCELED, Status.EXPIRED)


def ensure_still_requested(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str) -> None:
    """Raise unless a job still waits for the run's file of a format, or no job ever requested it.

    Raises:
        LeaseLostError: the run was taken for dead; another run may do its work.
        RefusedError: every job that requested it was canceled, has a newer attempt or another run.
    """
    ensure_lease(ledger, run.run_id)
    withdrawn = None
    for job, number in _requests_of(ledger, run, format):
        # A re-execution continues the attempt of its parent run; a run that begins takes it over.
        ours = job.run_id in (None, run.run_id, run.parent_run_id, run.root_run_id)
        if job.attempt == number and ours and job.status not in _WITHDRAWN:
            return
        withdrawn = job
    if withdrawn is None:
        return
    joined = (job for job in ledger().of_run(run.run_id) if asks_for(run.tags, job.format, format))
    if any(job.status not in _WITHDRAWN for job in joined):
        return
    raise RefusedError(
        f"Export job {withdrawn.id} is {withdrawn.status} in attempt {withdrawn.attempt} and does not wait "
        "for this run any more, so the run's file is not published.",
        withdrawn.status,
    )


def _requests_of(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str) -> Iterator[tuple[Job, int]]:
    for attempt in attempts_of(run.tags, run.run_id, format):
        yield ledger().get(attempt.job_id), attempt.number
