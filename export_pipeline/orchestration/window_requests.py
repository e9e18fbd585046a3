"""Requests of cadences: a schedule's tick starts a run, which requests the windows in the ledger.

A schedule has no side effects, so its ticks can be previewed. `repeat_lost_requests` does the work of a run
that died or waits too long. Both may repeat a request: the ledger accepts each window once.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import dagster as dg

from export_pipeline.jobs.database import opened_engine
from export_pipeline.orchestration.cadences import Cadence, Schedulable
from export_pipeline.orchestration.dagster_compat.runs import add_run_tags
from export_pipeline.orchestration.partitions import known_scopes
from export_pipeline.orchestration.runs.errors import translate_errors
from export_pipeline.orchestration.runs.heartbeat import cancellable
from export_pipeline.orchestration.runs.outages import retry_until_available
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows

_T = TypeVar("_T")
JOB = "window_requests_job"
_OP = "request_windows"
_REQUESTED_TAG = "export_pipeline/windows_requested"
_LATE = timedelta(minutes=1)
_LOST = timedelta(days=7)
_UNDONE = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.CANCELED]
_UNDONE.remove(dg.DagsterRunStatus.SUCCESS)


def window_requests_job(datasets: Mapping[str, Schedulable]) -> dg.JobDefinition:
    """Build the Dagster job that schedules start. A run takes a second and makes no file."""

    @dg.op(
        name=_OP,
        config_schema={
            "dataset": dg.Field(str, description="Name of the dataset."),
            "cadence": dg.Field(str, description="daily, weekly or monthly."),
            "windows": dg.Field([str], description="Names of windows that have ended, e.g. 2026-01-31."),
        },
        required_resource_keys={"ledger"},
        description="Write a request into the ledger for each window, scope and format that has none yet.",
    )
    def request_windows(context: dg.OpExecutionContext) -> None:
        config, url = context.op_config, context.resources.ledger.url
        cadence = datasets[config["dataset"]].regular()[config["cadence"]]
        new = write_requests(context, partial(_request, context.instance, url, cadence, config["windows"]))
        context.log.info(f"{new} files are requested; `export-pipeline jobs` lists them.")

    @dg.job(
        name=JOB,
        executor_def=dg.in_process_executor,
        description="Requests the files of windows that have ended. Started by the schedules.",
        tags={"dagster/priority": "100"},  # short, so exports wait only a second
    )
    def job() -> None:
        request_windows()

    return job


def write_requests(context: dg.OpExecutionContext, write: Callable[[], _T]) -> _T:
    """Write requests in an op, which can be canceled, and waits while the ledger is unavailable."""
    ledger = context.resources.ledger.open
    with (
        cancellable(ledger, context.run, context.instance, context.job_def),
        translate_errors(context.retry_number, context.log),
    ):
        return retry_until_available(write, context.log)


def run_request(cadence: Cadence, windows: Sequence[str]) -> dg.RunRequest:
    """Return the run request of a schedule's tick.

    Args:
        windows: Names in order, at least one. All have ended.
    """
    names = " to ".join(dict.fromkeys([windows[0], windows[-1]]))
    config = {"dataset": cadence.dataset, "cadence": cadence.name, "windows": list(windows)}
    return dg.RunRequest(
        run_key=f"{cadence.dataset}/{cadence.name}/{names}",
        run_config={"ops": {_OP: {"config": config}}},
    )


def repeat_lost_requests(
    instance: dg.DagsterInstance, url: str, datasets: Mapping[str, Schedulable], until: float = math.inf
) -> int:
    """Request the windows of runs that failed, or that have not ended after a minute.

    A run that a person canceled is left alone.

    Returns:
        Number of files that were not requested before.

    Args:
        url: SQLAlchemy URL of the ledger.
        until: Deadline on the clock of `time.monotonic`. No run's windows are requested after it.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    now, new = datetime.now(UTC), 0
    undone = dg.RunsFilter(
        job_name=JOB, statuses=_UNDONE, created_before=now - _LATE, created_after=now - _LOST
    )
    for run in (record.dagster_run for record in instance.get_run_records(undone)):
        if time.monotonic() >= until:
            break
        if _REQUESTED_TAG in run.tags:
            continue
        run_config: Any = run.run_config
        config = run_config["ops"][_OP]["config"]
        dataset = datasets.get(config["dataset"])
        cadence = dataset and dataset.regular().get(config["cadence"])
        if cadence:
            new += _request(instance, url, cadence, config["windows"])
        add_run_tags(instance, run, {_REQUESTED_TAG: "by schedules_sensor"})
    return new


def _request(instance: dg.DagsterInstance, url: str, cadence: Cadence, windows: Sequence[str]) -> int:
    """Request windows for every scope. Return the number of files that were not requested before."""
    scopes: Sequence[str | None] = [None]
    if cadence.scoped:
        scopes = known_scopes(instance, cadence.dataset)
    windows_of_scopes = [
        CadenceWindow(cadence.dataset, cadence.name, name, scope) for name in windows for scope in scopes
    ]
    with opened_engine(url) as engine:
        return request_windows(
            engine, windows_of_scopes, cadence.formats, recipients=cadence.recipients, owners=cadence.owners
        )
