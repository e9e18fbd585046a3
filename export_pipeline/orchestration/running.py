"""Runs an export in this process, recorded in the Dagster instance like any other run."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import dagster as dg

from export_pipeline.orchestration.io_managers import clean_staging
from export_pipeline.orchestration.ops import EXPORT_ID_TAG
from export_pipeline.orchestration.partitions import ON_DEMAND, scopes_partition
from export_pipeline.settings import load_settings

Progress = Callable[[str, int, int], None]
"""Told what is happening, and how many of how many steps are done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: the published files' metadata by format, and why the rest failed."""

    export_id: str
    run_id: str
    files: dict[str, dict[str, Any]]
    errors: tuple[str, ...]


def run_export(
    definitions: dg.Definitions,
    *,
    dataset: str,
    scope: str,
    formats: Sequence[str],
    options: Mapping[str, Any],
    export_id: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Export one scope on demand, here and now.

    Raises:
        dagster.DagsterInvalidConfigError: an option is unknown or has a wrong type.
    """
    export_id = export_id or str(uuid.uuid4())
    run_id = str(uuid.uuid4())
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(str(scopes_partition(dataset).name), [scope])

        def run() -> dg.ExecuteInProcessResult:
            return job.execute_in_process(
                run_id=run_id,
                instance=instance,
                asset_selection=[dg.AssetKey([dataset, ON_DEMAND, format]) for format in formats],
                partition_key=scope,
                run_config={
                    "ops": {f"{dataset}_{ON_DEMAND}": {"config": dict(options)}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                tags={EXPORT_ID_TAG: export_id, "export_pipeline/scope": scope},
                raise_on_error=False,
            )

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(run)
            while wait([future], timeout=0.2).not_done:
                _tell(instance, run_id, len(formats) + 3, progress)
            result = future.result()
    clean_staging(load_settings().staging_folder, run_id)
    return Outcome(export_id, run_id, _files(result), tuple(_errors(result)))


def _tell(instance: dg.DagsterInstance, run_id: str, steps: int, progress: Progress | None) -> None:
    if progress is None:
        return
    records = instance.get_records_for_run(run_id).records
    done = sum(1 for r in records if (e := r.event_log_entry.dagster_event) and e.is_step_success)
    said = [r.event_log_entry.user_message for r in records if not r.event_log_entry.is_dagster_event]
    progress(said[-1] if said else "Starting", done, steps)


def _files(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.asset_key.path[-1]: {key: value.value for key, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def _errors(result: dg.ExecuteInProcessResult) -> list[str]:
    found = []
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            failure = event.step_failure_data
            message = failure.user_failure_data and failure.user_failure_data.description
            cause = failure.error
            while cause and cause.cause:
                cause = cause.cause
            text = message or (cause.message.strip() if cause else "failed")
            found.append(f"{event.step_key.rpartition('.')[2]}: {text}")
    return found
