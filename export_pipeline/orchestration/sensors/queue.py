"""Start runs for requests in the ledger: each attempt of a job gets one run."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import dagster as dg

from export_pipeline.core.messages import one_line
from export_pipeline.datasets.requests import RequestError, check_target, config_of, within_time_limit
from export_pipeline.datasets.scopes import Scopes
from export_pipeline.jobs import Attempt, Job, Ledger, LedgerError, RefusedError
from export_pipeline.jobs.errors import ErrorCode
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.cadences import Schedulable, cadence_of
from export_pipeline.orchestration.dagster_compat.partitions import resolve_partition
from export_pipeline.orchestration.dagster_compat.ticks import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.partitions import ON_DEMAND, WINDOW_TAG, add_scope, scope_tags
from export_pipeline.orchestration.pod_size import pod_tags
from export_pipeline.orchestration.resources import JobLedger
from export_pipeline.orchestration.runs.attempts import CODE_TAG, job_tags
from export_pipeline.orchestration.runs.code_version import loaded_version
from export_pipeline.orchestration.runs.reconciler import reconcile, runs_by_tag
from export_pipeline.orchestration.sensors.tick_deadline import tick_deadline
from export_pipeline.redaction import hide_in_error, redacted_errors
from export_pipeline.schedules.cadence_requests import CadenceWindow
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

_logger = logging.getLogger(__name__)

MAX_DISPATCHES = 10
"""Maximum number of times that a request is dispatched to Dagster before it fails."""
PATIENCE = timedelta(minutes=3)
"""Time after which a request without a started run is dispatched again."""
HELD_SECONDS = 9.0
"""Time that a tick waits for a request. The next one begins within a second, and reconciles first."""
CHECKING_SECONDS = 30.0
"""Time that a tick spends on checks of requests, out of Dagster's limit of a minute."""
_LOOK_SECONDS = 0.2
_BATCH = 25


def requests_sensor(datasets: Mapping[str, Schedulable]) -> dg.SensorDefinition:
    """Build the sensor that claims requests, rejects invalid ones, starts runs, and reconciles ended runs."""

    problem: str | None = None
    loaded_version()

    def say(now: str | None) -> None:
        """Log one line in the daemon's log for each change, not for each tick."""
        nonlocal problem
        if now != problem:
            _logger.warning(now or "The ledger of requests can be used again.")
        problem = now

    def evaluate(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if is_preview(context):
            yield dg.SkipReason(NOT_PREVIEWED)
            return
        resource: JobLedger = context.resources.ledger
        begun, deadline = time.monotonic(), tick_deadline()
        try:
            ledger = resource.open()
            ledger.record_code_version(loaded_version())
            reconcile(ledger, context.instance, until=begun + (deadline - begun) / 4)
            jobs = _next_jobs(ledger, resource.max_in_flight)
        except LedgerError as error:
            say(str(error))
            yield dg.SkipReason(str(error))
            return
        say(None)
        scopes = Scopes(context.resources.source, datasets)
        earlier = {job.id: runs_by_tag(context.instance, job) for job in jobs if job.dispatches > 1}
        jobs = [job for job in jobs if not any(map(_is_under_way, earlier.get(job.id, ())))]
        groups = _together(jobs)
        until = min(time.monotonic() + CHECKING_SECONDS, deadline)
        for number, same in enumerate(groups):
            if time.monotonic() > until:
                _release(ledger, groups[number:])
                break
            lost = sum(run.is_finished for run in earlier.get(same[0].id, ()))
            try:
                request = _run_request(ledger, context.instance, datasets, scopes, same, lost)
                if request is None:
                    continue
                request = _resolved(context, request)
            except LedgerError as error:  # claimed requests are dispatched again
                say(str(error))
                break
            except RequestError as error:
                _refuse(ledger, same, error.code, str(error))
                continue
            except Exception as error:  # an unforeseen error must not block other requests
                hide_in_error(error)
                context.log.exception("The request %s cannot be made a run", same[0].id)
                if same[0].dispatches >= MAX_DISPATCHES:
                    _refuse(ledger, same, "not_started", f"No run can be made of it: {error}")
                continue
            yield request
        if not jobs:
            yield dg.SkipReason("There is no new request.")

    @dg.sensor(
        name="requests_sensor",
        jobs=list(_dagster_jobs(datasets)),
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger", "source"},
        description="Starts the exports that are requested in export_jobs, and records how they ended.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        with redacted_errors():
            yield from evaluate(context)

    return sensor


def _is_under_way(run: dg.DagsterRun) -> bool:
    """Return whether a run is queued or running. A run that was only recorded is started by a new request."""
    return not run.is_finished and run.status is not dg.DagsterRunStatus.NOT_STARTED


def _next_jobs(ledger: Ledger, max_in_flight: int) -> list[Job]:
    """Return the next requests. If there are none, wait a moment for new ones."""
    until = time.monotonic() + HELD_SECONDS
    while True:
        jobs = ledger.claim(_BATCH, patience=PATIENCE, max_in_flight=max_in_flight, who="requests_sensor")
        if jobs:
            return jobs
        while True:
            if time.monotonic() >= until:
                return []
            time.sleep(_LOOK_SECONDS)
            if ledger.has_new_requests():
                break


def _dagster_jobs(datasets: Mapping[str, Schedulable]) -> Iterator[Any]:
    """Yield one job per dataset and per cadence, as all assets of a job must have the same partitions."""
    for name, dataset in datasets.items():
        assets = [dg.AssetKey([name, ON_DEMAND, format]) for format in dataset.formats]
        tags = pod_tags(dataset.resources)
        yield dg.define_asset_job(_job_name(name), assets, run_tags=tags)
        yield from (cadence.job(tags) for cadence in dataset.regular().values())


def _job_name(dataset: str) -> str:
    return f"{dataset}_{ON_DEMAND}_job"


def _together(jobs: Sequence[Job]) -> list[list[Job]]:
    """Group the jobs that one run serves: jobs with equal requests, or for the same window.

    Jobs that are dispatched again come last, in random order. If Dagster stops at one of them in the middle
    of a tick's runs, the next tick has the others before it.
    """
    groups: dict[object, list[Job]] = {}
    for job in jobs:
        groups.setdefault(CadenceWindow.of(job) or job.identity, []).append(job)
    return sorted(groups.values(), key=lambda same: random.random() if same[0].dispatches > 1 else 0)


def _release(ledger: Ledger, groups: Sequence[Sequence[Job]]) -> None:
    """Release requests for which this tick has no time left."""
    with suppress(LedgerError):  # otherwise they are dispatched again later
        ledger.release([job.current for same in groups for job in same])


def _run_request(
    ledger: Ledger,
    instance: dg.DagsterInstance,
    datasets: Mapping[str, Schedulable],
    scopes: Scopes,
    same: list[Job],
    lost: int,
) -> dg.RunRequest | None:
    """Return the run request for these jobs; None if they were rejected or another run's file serves them.

    Args:
        lost: Number of runs of this attempt that ended before they began. Each has used up a run key.
    """
    window = CadenceWindow.of(same[0])
    met: list[Job] = []
    run: dict[str, Any] = {}
    for job in same:
        try:
            scopes.read(job)
            run = within_time_limit(partial(_checked_run, instance, datasets, scopes, job, window))
            met.append(job)
        except RequestError as error:
            _refuse(ledger, [job], error.code, str(error))
        except SourceUnavailableError as error:
            if job.dispatches > MAX_DISPATCHES:
                _refuse(ledger, same, "source_unavailable", str(error))
            return None  # otherwise dispatched again, when the database may be up
        except SourceError as error:
            _refuse(ledger, same, "source_error", str(error))
            return None
    if met and window is None and (within := datasets[met[0].dataset].reuse_within) is not None:
        met = [job for job in met if ledger.reuse(job, within) is None]
    if not met or _joined(ledger, met):
        return None
    first = met[0]
    cadence = window.cadence if window else ON_DEMAND
    aliases = datasets[first.dataset].format_aliases
    formats = dict.fromkeys(aliases.get(job.format, job.format) for job in met)
    tags = job_tags(met, aliases) | run.pop("tags")
    return dg.RunRequest(
        run_key=first.current.run_key + (f"/{lost}" if lost else ""),
        asset_selection=[dg.AssetKey([first.dataset, cadence, format]) for format in formats],
        tags=tags | {"dagster/priority": str(first.priority), CODE_TAG: loaded_version()},
        **run,
    )


def check_request(datasets: Mapping[str, Schedulable], scopes: Scopes, job: Job) -> Schedulable:
    """Return the dataset of a job, after a check of the job's format, scope and recipients.

    Raises:
        RequestError: one of them is invalid, or no run can be started for the job.
        SourceError: the scopes cannot be read.
    """
    if job.dispatches > MAX_DISPATCHES:
        message = f"No run could be started in {MAX_DISPATCHES} tries; is the Dagster daemon healthy?"
        raise RequestError("not_started", message)
    check_target(datasets, scopes.of, job)
    return datasets[job.dataset]


def _checked_run(
    instance: dg.DagsterInstance,
    datasets: Mapping[str, Schedulable],
    scopes: Scopes,
    job: Job,
    window: CadenceWindow | None,
) -> dict[str, Any]:
    """Return the arguments of `dagster.RunRequest` for a job, without those common to all runs."""
    dataset = check_request(datasets, scopes, job)
    cadence = cadence_of(dataset, window, job.format) if window else None
    if window is None:
        config_of(dataset, job)  # a check: the run reads the request itself
    partition, tags = None, {}
    if job.scope is not None:
        partition = add_scope(instance, job.dataset, scopes.key(job.dataset, job.scope))
        tags = scope_tags(partition)
    if window is None or cadence is None:
        return _run_on_demand(job, partition) | {"tags": tags}
    return cadence.run_of(window, partition) | {"tags": tags | {WINDOW_TAG: window.window}}


def _resolved(context: dg.SensorEvaluationContext, request: dg.RunRequest) -> dg.RunRequest:
    """Check config and partition of a run as Dagster will, as one rejected run would fail its whole tick.

    Raises:
        RequestError: Dagster would reject it.
    """
    if context.repository_def is None:
        return request
    job = context.repository_def.get_job(str(request.job_name))
    try:
        dg.validate_run_config(job, dict(request.run_config))
        if request.partition_key is None:
            return request
        return resolve_partition(request, job, context.instance)
    except dg.DagsterInvalidConfigError as error:
        raise RequestError("invalid_options", str(error)) from error
    except dg.DagsterError as error:
        raise RequestError("refused", f"Dagster refuses its run: {error}") from error


def _run_on_demand(job: Job, partition: str | None) -> dict[str, Any]:
    """Return the arguments of `dagster.RunRequest` for an on-demand job, without those common to all runs."""
    return {"job_name": _job_name(job.dataset), "partition_key": partition}


def _refuse(ledger: Ledger, jobs: Sequence[Job], code: ErrorCode, message: str) -> None:
    for job in jobs:
        with suppress(RefusedError):  # canceled meanwhile
            ledger.failed(job.current, code, one_line(message), "requests_sensor")


def _joined(ledger: Ledger, same: list[Job]) -> bool:
    """Let a living run that has begun serve these jobs too. Return False if there is none."""
    others = ledger.identical_in_flight(same[0])
    running = [
        other.run_id
        for other in others
        if other.status is Status.PROCESSING and other.run_id and not other.is_extra
    ]
    living = [run_id for run_id, lease in ledger.leases(running).items() if lease.is_alive]
    if not living:
        return False
    for job in same:
        with suppress(RefusedError):
            ledger.started(Attempt(job.id, job.attempt, living[0]))
    return True
