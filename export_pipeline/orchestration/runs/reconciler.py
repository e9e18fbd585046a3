"""The reconciler: ends runs whose process is dead, and the jobs of runs that have ended or are dead.

A run is alive while its lease in the ledger is. Dagster's record only decides how it ended. So several
deployments can share a ledger, and a deployment survives the loss of its Dagster database.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from export_pipeline.jobs import File, Job, Lease, Ledger, RefusedError
from export_pipeline.jobs.leases import START_TIMEOUT
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.dagster_compat.code_locations import is_of_module
from export_pipeline.orchestration.dagster_compat.launchers import has_lost_worker
from export_pipeline.orchestration.dagster_compat.runs import (
    automatic_retry,
    materializations,
    report_canceled,
    report_failed,
    will_be_retried,
)
from export_pipeline.orchestration.dagster_compat.steps import step_failures
from export_pipeline.orchestration.partitions import ON_DEMAND
from export_pipeline.orchestration.runs.attempts import attempts_of, awaits_format, job_tags
from export_pipeline.orchestration.runs.warm_server import LOCATION

MAX_ATTEMPTS = 3
"""Maximum number of attempts of a job whose worker was lost."""

_YOUNG = timedelta(seconds=10)
_NO_RUN = timedelta(minutes=1)
"""Time after which a claimed job without a run is lost. Normally it has a (queued) run within seconds."""
_ALWAYS = timedelta(days=36_500)
LAUNCHED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
"""Statuses of a launched run before its start. Without a lease, Dagster's `start_timeout_seconds` ends it."""
_BEGUN = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


def reconcile(ledger: Ledger, instance: dg.DagsterInstance, until: float = math.inf) -> int:
    """End every run of this instance whose process is dead, and every job whose run has ended or is dead.

    Args:
        until: Deadline on the clock of `time.monotonic`. The next call continues.

    Returns:
        Number of jobs that ended or began a new attempt.
    """
    jobs = ledger.in_flight(_ALWAYS)
    under_way = _runs(instance, dg.RunsFilter(statuses=[*LAUNCHED, *_BEGUN]))
    runs = _runs_of(instance, jobs) | {run.run_id: run for run in under_way}
    working = {job.run_id for job in jobs if job.run_id and job.status is Status.PROCESSING}
    begun = {run.run_id for run in under_way if run.status in _BEGUN and is_of_this_code(run)}
    ended = {run_id for run_id in working if run_id in runs and runs[run_id].is_finished}
    # Runs that claim requests themselves may be of another instance.
    claimers = {job.claimed_by for job in jobs if job.claimed_by and job.status is Status.PENDING}
    leases = ledger.check_leases(working | begun, others=runs.keys() | claimers, doubted=ended)
    for run in under_way:
        if time.monotonic() >= until:
            return 0
        if _is_lost(leases, run.run_id):
            _end_run(instance, run)
    settled = reconcile_jobs(ledger, instance, jobs, runs, leases, until=until)
    for run in under_way:  # last, as launchers may answer slowly, or not at all
        if time.monotonic() >= until:
            break
        if run.run_id not in leases and _is_launch_lost(instance, run):
            _end_run(instance, run)
    return settled


def end_local_jobs(
    ledger: Ledger, instance: dg.DagsterInstance, jobs: Sequence[Job], errors: Sequence[str]
) -> None:
    """End the jobs of a run that has ended in this process, successful or not, without automatic retries."""
    now = [ledger.get(job.id) for job in jobs]
    reconcile_jobs(ledger, instance, now, _runs_of(instance, now), {}, max_attempts=0)
    for job in jobs:
        with suppress(RefusedError):  # it has ended
            ledger.failed(
                ledger.get(job.id).current, "export_failed", "; ".join(errors) or "The run did not begin."
            )


def reconcile_jobs(
    ledger: Ledger,
    instance: dg.DagsterInstance,
    jobs: Sequence[Job],
    runs: Mapping[str, dg.DagsterRun],
    leases: Mapping[str, Lease],
    max_attempts: int = MAX_ATTEMPTS,
    until: float = math.inf,
) -> int:
    """End the jobs whose run has ended or is dead. Return their number.

    Args:
        runs: Runs in this Dagster instance, by id.
        leases: Leases by run.
        max_attempts: Maximum number of attempts of a job.
        until: Deadline on the clock of `time.monotonic`.
    """
    settled = 0
    waiting = []
    now = ledger.now()
    for job in jobs:
        if time.monotonic() >= until:
            break
        age = now - (job.started_at or job.claimed_at or job.created_at)
        run = runs.get(job.run_id or "")
        # A job that has begun is decided by its own run alone, which may be of another instance.
        if job.run_id is None and job.claimed_at and age >= _YOUNG:
            run = next(iter(runs_by_tag(instance, job)), None)
        while run and not job.is_extra and (retried := automatic_retry(instance, run)):
            run = retried
        if run is not None and run.is_finished:
            settled += _end(ledger, instance, job, run, leases.get(run.run_id), max_attempts)
        elif job.status is Status.PROCESSING:
            if _is_lost(leases, run.run_id if run else job.run_id):
                settled += _retry_or_fail(ledger, job, "Its worker was lost.", max_attempts)
        elif run is not None and run.status is not dg.DagsterRunStatus.NOT_STARTED:
            if _is_lost(leases, run.run_id):
                ledger.requeue(job.current)  # it never began, so no attempt is used up
            else:
                waiting.append(job)
        elif job.claimed_at and _has_ended(runs.get(job.claimed_by or ""), leases):
            ledger.requeue(job.current)
        elif job.claimed_at and _may_live(leases, job.claimed_by):
            waiting.append(job)  # that run makes it
        elif job.claimed_at and age > _NO_RUN:
            ledger.requeue(job.current)
    if waiting:
        ledger.keep_claims(waiting)
    return settled


def is_of_this_code(run: dg.DagsterRun) -> bool:
    """Return whether a run belongs to this package's definitions. The instance may have others."""
    return is_of_module(run, LOCATION)


def runs_by_tag(instance: dg.DagsterInstance, job: Job) -> Sequence[dg.DagsterRun]:
    """Return the runs that were launched for the attempt of a job, newest first."""
    return _runs(instance, dg.RunsFilter(tags=job_tags([job])))


def _runs_of(instance: dg.DagsterInstance, jobs: Sequence[Job]) -> dict[str, dg.DagsterRun]:
    # A run claims further requests itself.
    ids = [id for job in jobs if (id := job.run_id or job.claimed_by)]
    return {run.run_id: run for run in _runs(instance, dg.RunsFilter(run_ids=ids))} if ids else {}


def _runs(instance: dg.DagsterInstance, of: dg.RunsFilter) -> list[dg.DagsterRun]:
    return [record.dagster_run for record in instance.get_run_records(of)]


def _is_lost(leases: Mapping[str, Lease], run_id: str | None) -> bool:
    lease = leases.get(run_id or "")
    return lease is not None and lease.is_lost


def _may_live(leases: Mapping[str, Lease], run_id: str | None) -> bool:
    lease = leases.get(run_id or "")
    return lease is not None and not lease.is_lost


def _has_ended(run: dg.DagsterRun | None, leases: Mapping[str, Lease]) -> bool:
    return run is not None and (run.is_finished or _is_lost(leases, run.run_id))


def _is_launch_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a launched run will never begin, as its launcher knows: no task waits for a worker."""
    if run.status is not dg.DagsterRunStatus.STARTING:
        return False
    record = instance.get_run_record_by_id(run.run_id)
    if record is None or datetime.now(UTC) - record.update_timestamp < START_TIMEOUT:
        return False
    return has_lost_worker(instance, run)


def _end_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    if run.status is dg.DagsterRunStatus.CANCELING:
        report_canceled(instance, run, "The process of this run has died.")
    else:
        report_failed(instance, run, "The process of this run has died or was killed; re-execute the run.")


def _end(
    ledger: Ledger,
    instance: dg.DagsterInstance,
    job: Job,
    run: dg.DagsterRun,
    lease: Lease | None,
    max_attempts: int,
) -> int:
    """End a job as its run has ended. Return 1 if the job changed its status, else 0."""
    attempt = job.current
    with suppress(RefusedError):
        if run.status is dg.DagsterRunStatus.CANCELED:
            ledger.canceled(attempt, "dagster")
        elif job.is_extra:  # what ended the run may be no fault of this one's
            return _retry_or_fail(ledger, job, "Its run ended without its file.", max_attempts)
        elif run.status is dg.DagsterRunStatus.SUCCESS:
            published = _published(ledger, instance, job, run)
            if published is None:
                return _retry_or_fail(ledger, job, "Its run ended without a file.", max_attempts)
            ledger.completed(attempt, *published)
        elif will_be_retried(instance, run):
            return 0
        elif lease is not None and lease.is_lost and job.status is Status.PROCESSING:
            return _retry_or_fail(ledger, job, "Its worker was lost.", max_attempts)
        elif message := _message(instance, run):
            ledger.failed(attempt, "export_failed", message, "dagster")
        elif job.status is Status.PENDING:
            ledger.requeue(attempt)  # it never began, so no attempt is used up
        elif lease is not None:
            return 0  # Dagster may be wrong; the lease decides within seconds
        else:
            return _retry_or_fail(ledger, job, "Its worker was lost.", max_attempts)
        return 1
    return 0


def _retry_or_fail(ledger: Ledger, job: Job, reason: str, max_attempts: int) -> int:
    """Begin another attempt of a job, or fail the job if no attempts are left."""
    with suppress(RefusedError):
        if job.attempt < max_attempts:
            ledger.restart(job.current, "worker_lost", f"{reason} It is tried again.", "dagster")
        else:
            hint = "Look at the run in Dagster, then `export-pipeline retry`."
            ledger.failed(job.current, "worker_lost", f"{reason} {hint}", "dagster")
        return 1
    return 0


def _message(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return the error message of a run.

    None if no step reported one, as its process died or was stopped, or lost Dagster's own database.
    """
    for failure in step_failures(instance, run.run_id):
        if failure.description:
            return failure.description
        if failure.is_interrupt or failure.is_outage:
            return None
        if failure.error:
            return f"{failure.step}: {failure.error}"
    return None


def _published(
    ledger: Ledger, instance: dg.DagsterInstance, job: Job, run: dg.DagsterRun
) -> tuple[File, datetime] | None:
    """Return the file that a run made for a job, and the time when it expires."""
    served = {attempt.job_id for attempt in attempts_of(run.tags, None)}
    if job.id not in served and all(one.identity != job.identity for one in ledger.get_all(served).values()):
        return None  # it has not joined an equal request, so no file of the run is its own
    for made in materializations(instance, run.run_id):
        value: dict[str, Any] = {name: entry.value for name, entry in made.metadata.items()}
        if _is_requested_file(job, run, made.asset_key.path, value, served):
            file = File(
                value["key"],
                value["file name"],
                value["bytes"],
                value["dagster/row_count"],
                value["sha256"],
                value.get("rows in source"),  # missing in runs of earlier versions
                value["warnings"] if isinstance(value["warnings"], list) else [],
                value["changed cells"],
            )
            return file, datetime.fromtimestamp(value["expires"], UTC)
    return None


def _is_requested_file(
    job: Job, run: dg.DagsterRun, asset: Sequence[str], value: Mapping[str, Any], served: Collection[str]
) -> bool:
    """Return whether a file of a run is that of a job. A run also makes files of other requests.

    Args:
        asset: Path of the file's asset key.
        value: Metadata of its materialization.
        served: Ids of the jobs for which the run was started.
    """
    if len(asset) != 3 or "key" not in value:
        return False  # an asset of somebody else's in the same run
    dataset, cadence, format = asset
    if dataset != job.dataset or not awaits_format(run.tags, job.format, format):
        return False
    export_id = value["key"].rpartition("/")[2].partition(".")[0]
    return value.get("scope") == job.scope and (cadence != ON_DEMAND or export_id in served)
