"""Run an export in this process, recorded in the Dagster instance like any other run."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg

from export_pipeline.datasets.partition_keys import scope_key
from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline.orchestration.dagster_compat.code_locations import as_runs_of, assets_job
from export_pipeline.orchestration.dagster_compat.runs import log_entries
from export_pipeline.orchestration.dagster_compat.steps import step_failure
from export_pipeline.orchestration.partitions import ON_DEMAND, add_scope, scope_tags
from export_pipeline.orchestration.runs.attempts import job_tags
from export_pipeline.orchestration.runs.reconciler import end_local_jobs, reconcile
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging

OnStep = Callable[[str, int, int], None]
"""Receives the current step, the number of steps done and their total. It is called from another thread."""

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a request: metadata of the published files by format, and the errors of the others."""

    export_id: str
    files: dict[str, dict[str, Any]]
    errors: tuple[str, ...]


def run_export(
    definitions: dg.Definitions,
    *,
    dataset: str,
    scope: str | None,
    scope_name: str | None = None,
    formats: Sequence[str],
    options: Mapping[str, Any],
    staging: Path,
    export_id: str | None = None,
    progress: OnStep | None = None,
    jobs: Sequence[Job] = (),
    aliases: Mapping[str, str] = MappingProxyType({}),
    ledger: Ledger | None = None,
) -> Outcome:
    """Export a dataset on demand in this process.

    Staged data of a failed run stay, so that Dagster can re-execute it from the failure.

    Args:
        scope: An existing scope; a partition is added for it if needed. None for a dataset without scopes.
        scope_name: Name of the scope in a new partition; None for its id alone.
        options: Options by name. Missing options have their defaults. Jobs have theirs in the ledger.
        staging: The staging folder.
        export_id: A UUID: the id of the Dagster run, and the name of files without a job.
        jobs: Jobs in `ledger` that request these formats.
        aliases: Formats by the aliases that jobs may have asked for.

    Raises:
        dagster.DagsterInvalidConfigError: an option is unknown or has a wrong type.
        KeyboardInterrupt: an interrupt, such as Ctrl-C, ended the run. Its jobs are left as they were.
    """
    export_id = export_id or str(uuid.uuid4())
    job = assets_job(definitions)
    tags = job_tags(jobs, aliases)
    with dg.DagsterInstance.get() as instance:
        if ledger is not None:
            reconcile(ledger, instance)
            ledger.expect_lease(export_id)
        partition = None
        if scope is not None:
            partition = add_scope(instance, dataset, scope_key(scope, scope_name))
            tags = {**tags, **scope_tags(partition)}
        # The run keeps the main thread, so that Ctrl-C reaches it and Dagster can record how it ended.
        with (
            as_runs_of(instance, "export_pipeline.definitions", "export_pipeline"),
            _watching(instance, export_id, len(formats) + 3, progress),
        ):
            result = _execute(
                job,
                run_id=export_id,
                instance=instance,
                asset_selection=[dg.AssetKey([dataset, ON_DEMAND, format]) for format in formats],
                partition_key=partition,
                run_config={
                    "ops": {} if jobs else {f"{dataset}_{ON_DEMAND}": {"config": dict(options)}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                tags=tags,
                raise_on_error=False,
            )
        if _is_interrupted(result) and not _are_canceled(ledger, jobs):
            raise KeyboardInterrupt
        if ledger is not None and jobs:
            end_local_jobs(ledger, instance, jobs, list(_errors(result)))
        if result.success:
            shutil.rmtree(staging / export_id, ignore_errors=True)
        clean_staging(instance, staging, None if ledger is None else lambda: ledger)
    return Outcome(export_id, _files(result), tuple(_errors(result)))


def _execute(job: dg.JobDefinition, **arguments: Any) -> dg.ExecuteInProcessResult:
    try:
        return job.execute_in_process(**arguments)
    except dg.DagsterExecutionInterruptedError:  # between two steps
        raise KeyboardInterrupt from None


def _is_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Return whether an interrupt, such as Ctrl-C, ended a step."""
    return any(step_failure(event).is_interrupt for event in result.all_events if event.is_step_failure)


def _are_canceled(ledger: Ledger | None, jobs: Sequence[Job]) -> bool:
    """Return whether the jobs of a run were canceled, which interrupts the run as Ctrl-C would."""
    if ledger is None or not jobs:
        return False
    return all(ledger.get(job.id).status is Status.CANCELED for job in jobs)


@contextmanager
def _watching(
    instance: dg.DagsterInstance, run_id: str, steps: int, progress: OnStep | None
) -> Iterator[None]:
    """Forward progress from the run's log to `progress` while the block runs."""
    if progress is None:
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(instance, run_id, steps, progress, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(
    instance: dg.DagsterInstance, run_id: str, steps: int, progress: OnStep, done: threading.Event
) -> None:
    cursor, ended, step = None, 0, "Starting"
    while not done.wait(_LOOK_SECONDS):
        entries, cursor = log_entries(instance, run_id, cursor)
        for entry in entries:
            if entry.dagster_event is None:
                step = entry.user_message
            elif entry.dagster_event.is_step_success:
                ended += 1
        progress(step, ended, steps)


def _files(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.asset_key.path[-1]: {key: value.value for key, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            failure = step_failure(event)
            reason = failure.description or failure.error or "failed"
            if failure.is_interrupt:
                reason = "interrupted; Dagster can execute the run again from there"
            yield f"{failure.step}: {reason}"
