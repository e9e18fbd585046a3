"""Remove old runs from Dagster's database, as each leaves 65 KB of events. The history is in the ledger.

Runs and assets of other code locations, which may share the database, stay.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus as Status

from export_pipeline.orchestration.dagster_compat.code_locations import repository_tags
from export_pipeline.orchestration.dagster_compat.event_log import (
    remove_check_results,
    remove_run_files,
    remove_runless_materializations,
)
from export_pipeline.orchestration.dagster_compat.runs import is_of_active_backfill
from export_pipeline.orchestration.dagster_compat.ticks import NOT_PREVIEWED, is_preview
from export_pipeline.redaction import redacted_errors
from export_pipeline.settings import load_settings

TICK_SECONDS = 20.0
"""Time that one tick spends on removals; the next tick continues. Dagster's limit of a tick is 60 s."""
_ENDED = [Status.SUCCESS, Status.FAILURE, Status.CANCELED]
_PAGE = 100


@dg.sensor(
    name="retention_sensor",
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Removes runs and their events from Dagster's database after EXPORT_RUN_RETENTION_DAYS.",
)
@redacted_errors()
def retention_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Remove old runs, and report their number in the tick."""
    if is_preview(context):
        return dg.SkipReason(NOT_PREVIEWED)
    days = load_settings().run_retention_days
    ours = repository_tags(context)
    removed = remove_old_runs(context.instance, ours, timedelta(days=days), seconds=TICK_SECONDS)
    assets = context.repository_def.asset_graph.get_all_asset_keys() if context.repository_def else ()
    remove_runless_materializations(context.instance, assets, datetime.now(UTC) - timedelta(days=days))
    return dg.SkipReason(f"{removed} runs older than {days} days are removed.")


def remove_old_runs(
    instance: dg.DagsterInstance, tags: Mapping[str, str], retention: timedelta, *, seconds: float
) -> int:
    """Remove runs that ended long ago, with their events and files, oldest first.

    Runs that made the newest file of an asset stay, as do runs of an active backfill.

    Args:
        tags: Tags of the runs to remove, as `repository_tags` returns them.
        retention: Time that a run is kept after its last change.
        seconds: Time limit. Call again for the rest.

    Returns:
        Number of removed runs.
    """
    until = time.monotonic() + seconds
    old = dg.RunsFilter(
        statuses=_ENDED,
        updated_before=datetime.now(UTC) - retention,
        tags=tags,
    )
    kept: set[str] = set()
    last_kept, removed = None, 0
    while time.monotonic() < until and (
        page := instance.get_run_records(old, cursor=last_kept, limit=_PAGE, ascending=True)
    ):
        kept = kept or _newest_of_assets(instance)
        gone = []
        for run in (record.dagster_run for record in page):
            if run.run_id in kept or is_of_active_backfill(instance, run):
                last_kept = run.run_id
                continue
            if time.monotonic() > until:
                break
            instance.delete_run(run.run_id)
            remove_run_files(instance, run.run_id)
            gone.append(run.run_id)
        remove_check_results(instance, gone)
        removed += len(gone)
    return removed


def _newest_of_assets(instance: dg.DagsterInstance) -> set[str]:
    """Return the ids of the runs that made the newest file of each asset."""
    newest = [record.asset_entry.last_materialization for record in instance.get_asset_records()]
    return {event.run_id for event in newest if event is not None}
