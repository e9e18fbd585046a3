"""Ends the jobs whose run has ended without saying so: it failed, was canceled, or its process was lost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import dagster as dg

from export_pipeline.jobs import Attempt, File, Job, Ledger, RefusedError
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.working import job_tags

MOST_ATTEMPTS = 3
"""A job whose worker was lost is tried again until it has had so many attempts."""

_YOUNG = timedelta(seconds=10)
_NO_RUN = timedelta(minutes=1)
"""A claimed job has a run, waiting or not, after seconds, unless who claimed it died on the way."""
_ALWAYS = timedelta(days=36_500)


def settle(ledger: Ledger, instance: dg.DagsterInstance, patience: timedelta) -> int:
    """End every job in flight whose run has ended; returns how many jobs that were."""
    return settle_jobs(ledger, instance, ledger.in_flight(_ALWAYS), patience)


def settle_jobs(
    ledger: Ledger, instance: dg.DagsterInstance, jobs: Sequence[Job], patience: timedelta
) -> int:
    """End those of these jobs whose run has ended; returns how many that were."""
    runs = {run.run_id: run for run in _runs_of(instance, jobs)}
    settled = 0
    for job in jobs:
        run = runs.get(job.run_id or "") or _run_by_tag(instance, job)
        if run is None:
            # What nobody claimed, a command line works on, whose Dagster instance may be another one.
            if job.claimed_by and job.status is Status.PROCESSING and _age(job) > patience:
                settled += _lost(ledger, job, "Dagster knows nothing of its run any more.")
            elif job.claimed_at and job.status is Status.PENDING and _age(job) > _NO_RUN:
                ledger.offer_again(job.current)
        elif run.is_finished:
            settled += _end(ledger, instance, job, run)
    return settled


def _runs_of(instance: dg.DagsterInstance, jobs: Sequence[Job]) -> list[dg.DagsterRun]:
    ids = [job.run_id for job in jobs if job.run_id]
    return list(instance.get_runs(dg.RunsFilter(run_ids=ids))) if ids else []


def _run_by_tag(instance: dg.DagsterInstance, job: Job) -> dg.DagsterRun | None:
    """The newest run that was launched for a job and has not said so yet."""
    if job.claimed_at is None or _age(job) < _YOUNG:
        return None
    return next(iter(runs_by_tag(instance, job)), None)


def runs_by_tag(instance: dg.DagsterInstance, job: Job) -> Sequence[dg.DagsterRun]:
    """The runs that were launched for the attempt of a job, newest first."""
    return instance.get_runs(dg.RunsFilter(tags=job_tags([job])))


def _age(job: Job) -> timedelta:
    return datetime.now(UTC) - (job.started_at or job.claimed_at or job.created_at)


def _end(ledger: Ledger, instance: dg.DagsterInstance, job: Job, run: dg.DagsterRun) -> int:
    attempt = Attempt(job.id, job.attempt, run.run_id if job.run_id else None)
    with suppress(RefusedError):
        if run.status is dg.DagsterRunStatus.CANCELED:
            ledger.canceled(attempt, "dagster")
        elif run.status is dg.DagsterRunStatus.SUCCESS:
            published = _published(instance, job, run)
            if published is None:
                return _lost(ledger, job, "Its run ended without a file.")
            ledger.completed(attempt, *published)
        else:
            message = _message(instance, run)
            if message is None and job.status is Status.PENDING:
                ledger.offer_again(attempt)  # it never began, so there is nothing that was tried in vain
            elif message is None:
                return _lost(ledger, job, "Its worker was lost.")
            else:
                ledger.failed(attempt, "export_failed", message, "dagster")
        return 1
    return 0


def _lost(ledger: Ledger, job: Job, reason: str) -> int:
    """Fail the attempt, and begin another one unless there were enough."""
    with suppress(RefusedError):
        again = job.attempt < MOST_ATTEMPTS
        hint = "It is tried again." if again else "Look at the run in Dagster, then `export-pipeline retry`."
        ledger.failed(job.current, "worker_lost", f"{reason} {hint}", "dagster")
        if again:
            ledger.retry(job.id, "dagster")
        return 1
    return 0


def _message(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """What went wrong, for people; None where no step said so: the process died."""
    for record in instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        failure = event.step_failure_data
        if failure.user_failure_data and failure.user_failure_data.description:
            return str(failure.user_failure_data.description)
        cause = failure.error
        while cause and cause.cause:
            cause = cause.cause
        if cause:
            step = (event.step_key or "run").rpartition(".")[2]
            return f"{step}: {cause.message.strip()}"
    return None


def _published(instance: dg.DagsterInstance, job: Job, run: dg.DagsterRun) -> tuple[File, datetime] | None:
    """The file that a run made for a job, and when it may go."""
    records = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records
    for record in records:
        made = record.event_log_entry.asset_materialization
        if made and made.asset_key.path[-1] == job.format and "key" in made.metadata:
            value = {name: entry.value for name, entry in made.metadata.items()}
            file = File(
                str(value["key"]),
                str(value["file name"]),
                int(str(value["bytes"])),
                int(str(value["dagster/row_count"])),
                str(value["sha256"]),
            )
            return file, datetime.fromtimestamp(float(str(value["expires"])), UTC)
    return None
