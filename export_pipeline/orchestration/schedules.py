"""Schedules and sensors that every scoped dataset gets."""

from collections.abc import Iterator
from importlib import import_module

import dagster as dg

from export_pipeline.orchestration.partitions import SCOPE, SCOPE_TAG, WINDOW, last_ended, scopes_partition


def cadence_schedule(
    *, dataset: str, cadence: str, cron: str, timezone: str, assets: dg.AssetsDefinition
) -> dg.ScheduleDefinition:
    """Exports the window that ended last, of every scope there is. Off until somebody turns it on."""
    partitions = assets.partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    windows = partitions.get_partitions_def_for_dimension(WINDOW)
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)
    job = dg.define_asset_job(f"{dataset}_{cadence}_job", selection=[assets])

    @dg.schedule(
        name=f"{dataset}_{cadence}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Exports every scope of {dataset}: the {cadence} window that ended last.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ended = last_ended(windows, context.scheduled_execution_time)
        scopes = context.instance.get_dynamic_partitions(str(scopes_partition(dataset).name))
        if ended is None:
            yield dg.SkipReason("No window has ended yet.")
        elif not scopes:
            yield dg.SkipReason(
                f"{dataset} has no scopes yet; is the sensor {dataset}_scopes_sensor running?"
            )
        else:
            for scope in scopes:
                yield dg.RunRequest(
                    run_key=f"{dataset}/{cadence}/{ended}/{scope}",
                    partition_key=dg.MultiPartitionKey({SCOPE: scope, WINDOW: ended}),
                    tags={SCOPE_TAG: scope},
                )

    return schedule


def scopes_sensor(*, dataset: str, source: str, interval_seconds: int = 60) -> dg.SensorDefinition:
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
            there = import_module(source).scopes(snapshot)
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
