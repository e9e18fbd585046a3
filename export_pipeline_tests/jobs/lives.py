"""Jobs in every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from export_pipeline.jobs import Attempt, File, Job, Ledger, Status

FILE = File("exports/a/1.csv", "Kita Süd 漢字.csv", 3_000_000_000, 42, "ab" * 32)
PAST = datetime.now(UTC) - timedelta(days=1)


def run_of(job: Job, name: str = "run") -> Attempt:
    """The attempt of a job as its run holds it."""
    return Attempt(job.id, job.attempt, f"{name}-{job.id}-{job.attempt}")


def job_in(ledger: Ledger, status: Status, scope: str = "a") -> Job:
    """A new job, brought into a state by the ledger's own moves."""
    job = ledger.request("takeoff", "csv", scope=scope, requested_by="ann")
    run = run_of(job)
    if status is Status.FAILED:
        return ledger.failed(job.current, "unknown_format", "There is no format cvs; did you mean csv?")
    if status is Status.CANCELED:
        return ledger.canceled(job.id)
    if status in (Status.PROCESSING, Status.COMPLETED, Status.EXPIRED):
        job = ledger.started(run)
    if status in (Status.COMPLETED, Status.EXPIRED):
        job = ledger.completed(run, FILE, PAST)
    if status is Status.EXPIRED:
        job = ledger.expire(job.id, lambda key: None)
    return job
