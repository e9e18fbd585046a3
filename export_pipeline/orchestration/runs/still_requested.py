"""Check that a job still waits for a run's file, so that a late run does not replace a newer file."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from export_pipeline.jobs import Ledger, RefusedError
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs.attempts import attempts_of, awaits_format, deleted_error
from export_pipeline.orchestration.runs.heartbeat import ensure_lease

_WITHDRAWN = (Status.CANCELED, Status.EXPIRED)


def ensure_still_requested(ledger: Callable[[], Ledger], run: dg.DagsterRun, format: str) -> None:
    """Raise unless a job still waits for the run's file of a format, or no job ever requested it.

    Raises:
        LeaseLostError: the run was taken for dead; another run may do its work.
        RefusedError: every job that requested it was canceled or deleted, has a newer attempt or another run.
    """
    ensure_lease(ledger, run.run_id)
    if not (attempts := attempts_of(run.tags, run.run_id, format)):
        return
    reason = None
    there = ledger().get_all([attempt.job_id for attempt in attempts])
    for attempt in attempts:
        if (job := there.get(attempt.job_id)) is None:
            reason = deleted_error(attempt.job_id)
            continue
        # A re-execution continues the attempt of its parent run; a run that begins takes it over.
        ours = job.run_id in (None, run.run_id, run.parent_run_id, run.root_run_id)
        if job.attempt == attempt.number and ours and job.status not in _WITHDRAWN:
            return
        reason = RefusedError(
            f"Export job {job.id} is {job.status} in attempt {job.attempt} and does not wait for this run "
            "any more, so the run's file is not published.",
            job.status,
        )
    if reason is None:
        return
    joined = (job for job in ledger().of_run(run.run_id) if awaits_format(run.tags, job.format, format))
    if any(job.status not in _WITHDRAWN for job in joined):
        return
    raise reason
