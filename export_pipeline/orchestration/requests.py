"""Requests that applications put into the ledger become runs; each attempt of a job becomes one run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from typing import Any, Protocol

import dagster as dg

from export_pipeline.jobs import Attempt, Job, Ledger, LedgerError, RefusedError
from export_pipeline.jobs.schedule_rows import TOLD
from export_pipeline.jobs.scheduled import window_of
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.launch_config import OptionError
from export_pipeline.orchestration.partitions import ON_DEMAND, SCOPE_TAG, scopes_partition
from export_pipeline.orchestration.resources import JobLedger, SourceDatabase
from export_pipeline.orchestration.settling import runs_by_tag, settle
from export_pipeline.orchestration.working import job_tags
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

PATIENCE = timedelta(minutes=3)
"""How long a request may take to become a started run before it is offered again."""
HELD_SECONDS = 4.0
"""How long a tick waits for a request: Dagster looks only every five seconds which sensors are due."""
_LOOK_SECONDS = 0.2
MOST_OFFERS = 5
_BATCH = 25


class Exportable(Protocol):
    """A dataset, as far as requests need to know it."""

    @property
    def dataset(self) -> str: ...
    @property
    def formats(self) -> Sequence[str]: ...

    source: str
    spec: Mapping[str, Any]
    scoped: bool

    def option_names(self) -> set[str]: ...
    def typed_options(self, given: Mapping[str, Any]) -> dict[str, Any]: ...


class RequestError(Exception):
    """A request that cannot be met as it is. The message says what is valid.

    Attributes:
        code: For programs, e.g. unknown_dataset.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def requests_sensor(datasets: Mapping[str, Exportable]) -> dg.SensorDefinition:
    """Claims what is asked for, refuses what cannot be met, starts runs for the rest, and ends what ended."""

    @dg.sensor(
        name="requests_sensor",
        jobs=[
            # One a dataset, as the assets of a job must have the same partitions.
            dg.define_asset_job(
                _job_name(name), [dg.AssetKey([name, ON_DEMAND, format]) for format in dataset.formats]
            )
            for name, dataset in datasets.items()
        ],
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger", "source"},
        description="Starts the exports that applications ask for in export_jobs, and says how they ended.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        resource: JobLedger = context.resources.ledger
        try:
            ledger = resource.open()
            settle(ledger, context.instance, PATIENCE)
            jobs = _next_jobs(ledger, resource.max_in_flight)
        except LedgerError as error:
            yield dg.SkipReason(str(error))
            return
        scopes = _Scopes(context.resources.source, datasets)
        earlier = {job.id: runs_by_tag(context.instance, job) for job in jobs if job.offers > 1}
        jobs = [job for job in jobs if not any(map(_is_under_way, earlier.get(job.id, ())))]
        for same in _identical(jobs):
            lost = sum(run.is_finished for run in earlier.get(same[0].id, ()))
            request = _run_request(ledger, datasets, scopes, same, lost)
            if request is None:
                continue
            if request.partition_key is not None:
                dataset = same[0].dataset
                context.instance.add_dynamic_partitions(
                    str(scopes_partition(dataset).name), [request.partition_key]
                )
            yield request
        if not jobs:
            yield dg.SkipReason("Nothing is asked for.")

    return sensor


def _is_under_way(run: dg.DagsterRun) -> bool:
    """Whether a run waits for its turn or has it. Asking again starts one that was only written down."""
    return not run.is_finished and run.status is not dg.DagsterRunStatus.NOT_STARTED


def _next_jobs(ledger: Ledger, max_in_flight: int) -> list[Job]:
    """The next requests; where there are none, those that come within a moment."""
    until = time.monotonic() + HELD_SECONDS
    while True:
        jobs = ledger.claim(_BATCH, patience=PATIENCE, max_in_flight=max_in_flight, who="requests_sensor")
        if jobs:
            return jobs
        while True:
            if time.monotonic() >= until:
                return []
            time.sleep(_LOOK_SECONDS)
            if ledger.is_asked():
                break


def _job_name(dataset: str) -> str:
    return f"{dataset}_{ON_DEMAND}_job"


def _identical(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs, those together that ask for exactly the same: one run serves them."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.identity, []).append(job)
    return list(groups.values())


def _run_request(
    ledger: Ledger, datasets: Mapping[str, Exportable], scopes: _Scopes, same: list[Job], lost: int
) -> dg.RunRequest | None:
    """The run that serves these jobs; None where they were refused, or another run serves them already.

    Args:
        lost: How many runs of this attempt ended before they began: each of them has used up a run key.
    """
    first = same[0]
    try:
        config = _config(datasets, scopes, first)
    except RequestError as error:
        _refuse(ledger, same, error.code, str(error))
        return None
    except SourceUnavailableError as error:
        if first.offers > MOST_OFFERS:
            _refuse(ledger, same, "source_unavailable", str(error))
        return None  # else offered again, when the database may be reached
    except SourceError as error:
        _refuse(ledger, same, "source_error", str(error))
        return None
    if _joined(ledger, same):
        return None
    tags = job_tags(same) | ({SCOPE_TAG: first.scope} if first.scope else {})
    return dg.RunRequest(
        run_key=first.current.run_key + (f"/{lost}" if lost else ""),
        job_name=_job_name(first.dataset),
        asset_selection=[dg.AssetKey([first.dataset, ON_DEMAND, first.format])],
        partition_key=first.scope,
        run_config={"ops": {f"{first.dataset}_{ON_DEMAND}": {"config": config}}},
        tags=tags | {"dagster/priority": str(first.priority)},
    )


def _refuse(ledger: Ledger, jobs: Sequence[Job], code: str, message: str) -> None:
    for job in jobs:
        with suppress(RefusedError):  # canceled meanwhile
            ledger.failed(job.current, code, message, "requests_sensor")


def _joined(ledger: Ledger, same: list[Job]) -> bool:
    """Whether a run that has begun serves these jobs too."""
    running = [
        other
        for other in ledger.identical_in_flight(same[0])
        if other.status is Status.PROCESSING and other.run_id
    ]
    if not running:
        return False
    for job in same:
        with suppress(RefusedError):
            ledger.started(Attempt(job.id, job.attempt, running[0].run_id))
    return True


def _config(datasets: Mapping[str, Exportable], scopes: _Scopes, job: Job) -> dict[str, Any]:
    """The run's config: the job's filters, columns and options, typed.

    Raises:
        RequestError: something about the request is wrong.
    """
    dataset = datasets.get(job.dataset)
    if dataset is None:
        there = ", ".join(datasets)
        raise RequestError("unknown_dataset", f"There is no dataset {job.dataset!r}; there are {there}.")
    if job.format not in dataset.formats:
        there = ", ".join(dataset.formats)
        message = f"{job.dataset} has no format {job.format!r}; it has {there}."
        raise RequestError("unknown_format", message)
    if dataset.scoped and job.scope is None:
        raise RequestError("no_scope", f"Say whose rows: {job.dataset} needs a scope.")
    if not dataset.scoped and job.scope is not None:
        raise RequestError("unknown_scope", f"{job.dataset} has no scopes; leave scope out.")
    if job.scope is not None and job.scope not in scopes.of(job.dataset):
        raise RequestError("unknown_scope", f"{job.dataset} has no scope {job.scope!r}.")
    if job.offers > MOST_OFFERS:
        message = f"No run could be started in {MOST_OFFERS} tries; is the Dagster daemon healthy?"
        raise RequestError("not_started", message)
    given = {name: value for name, value in job.options.items() if name not in TOLD}
    if job.filters:
        given["filters"] = job.filters
    if job.columns is not None:
        given["columns"] = list(job.columns)
    if job.requested_by and "requested_by" in dataset.option_names():
        given["requested_by"] = job.requested_by
    try:
        typed = dataset.typed_options(given)
    except OptionError as error:
        raise RequestError("invalid_options", str(error)) from error
    try:
        window = window_of(job.options)
    except (KeyError, TypeError, ValueError) as error:
        said = 'options.window must be {"name": …, "start": …, "end": …} with times of ISO 8601'
        raise RequestError("invalid_options", f"{said}; it is {job.options['window']!r}.") from error
    if window is None:
        return typed
    ends = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    return typed | {"window": {"name": window.name, **ends}}


class _Scopes:
    """The scopes of datasets, read once in a tick."""

    def __init__(self, source: SourceDatabase, datasets: Mapping[str, Exportable]) -> None:
        self._source, self._datasets = source, datasets
        self._known: dict[str, Mapping[str, str]] = {}

    def of(self, dataset: str) -> Mapping[str, str]:
        if dataset not in self._known:
            there = self._datasets[dataset]
            with self._source.snapshot() as snapshot:
                self._known[dataset] = import_module(there.source).scopes(snapshot, there.spec)
        return self._known[dataset]
