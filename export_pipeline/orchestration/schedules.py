"""The schedules of a dataset's cadences, and the sensor of its scopes."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import dagster as dg

from export_pipeline.orchestration.partitions import SCOPE, SCOPE_TAG, WINDOW, last_ended, scopes_partition

RECIPIENTS_TAG = "export_pipeline/recipients"


def cadence_schedule(
    *,
    dataset: str,
    cadence: str,
    cron: str,
    timezone: str,
    formats: Sequence[str],
    recipients: Sequence[str],
    assets: dg.AssetsDefinition,
) -> dg.ScheduleDefinition:
    """Exports the window that ended last, of every scope there is. Off until somebody turns it on."""
    windows = assets.partitions_def
    scoped = isinstance(windows, dg.MultiPartitionsDefinition)
    if isinstance(windows, dg.MultiPartitionsDefinition):
        windows = windows.get_partitions_def_for_dimension(WINDOW)
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)
    job = dg.define_asset_job(
        f"{dataset}_{cadence}_job",
        selection=[dg.AssetKey([dataset, cadence, format]) for format in formats],
    )
    tags = {RECIPIENTS_TAG: ",".join(recipients)} if recipients else {}

    @dg.schedule(
        name=f"{dataset}_{cadence}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Exports {dataset}{', every scope' * scoped}: the {cadence} window that ended last.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ended = last_ended(windows, context.scheduled_execution_time)
        if ended is None:
            yield dg.SkipReason("No window has ended yet.")
            return
        if not scoped:
            yield dg.RunRequest(run_key=f"{dataset}/{cadence}/{ended}", partition_key=ended, tags=tags)
            return
        scopes = context.instance.get_dynamic_partitions(str(scopes_partition(dataset).name))
        if not scopes:
            yield dg.SkipReason(
                f"{dataset} has no scopes yet; is the sensor {dataset}_scopes_sensor running?"
            )
        else:
            for scope in scopes:
                yield dg.RunRequest(
                    run_key=f"{dataset}/{cadence}/{ended}/{scope}",
                    partition_key=dg.MultiPartitionKey({SCOPE: scope, WINDOW: ended}),
                    tags={SCOPE_TAG: scope, **tags},
                )

    return schedule


def scopes_sensor(
    *, dataset: str, source: str, spec: Mapping[str, Any], interval_seconds: int = 60
) -> dg.SensorDefinition:
    """Keeps the dataset's scope partitions in step with the application: added, and removed when gone."""

    @dg.sensor(
        name=f"{dataset}_scopes_sensor",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"source"},
        description=f"Keeps the partitions of {dataset} in step with the application's own list.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with context.resources.source.snapshot() as snapshot:
            there = import_module(source).scopes(snapshot, spec)
        changes = scope_changes(context.instance, dataset, list(there))
        if not changes:
            return dg.SkipReason(f"All {len(there)} scopes are known.")
        return dg.SensorResult(dynamic_partitions_requests=changes)

    return sensor


def scope_changes(
    instance: dg.DagsterInstance, dataset: str, there: list[str]
) -> list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]:
    """What makes the instance's partitions of a dataset equal to the scopes there are."""
    definition = scopes_partition(dataset)
    known = instance.get_dynamic_partitions(str(definition.name))
    added = [scope for scope in there if scope not in set(known)]
    gone = [scope for scope in known if scope not in set(there)]
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if added:
        changes.append(definition.build_add_request(added))
    if gone:
        changes.append(definition.build_delete_request(gone))
    return changes
