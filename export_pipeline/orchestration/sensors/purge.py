"""Remove files that have expired, and staged data that no re-execution needs."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from export_pipeline.delivery.queue import LEASE
from export_pipeline.jobs.purge import purge
from export_pipeline.jobs.store_claim import StoreClaim
from export_pipeline.orchestration.dagster_compat.ticks import NOT_PREVIEWED, is_preview
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline.orchestration.sensors.maintenance import maintenance_sensor
from export_pipeline.orchestration.sensors.tick_deadline import tick_deadline
from export_pipeline.orchestration.staging_io_manager import StagingIOManager
from export_pipeline.redaction import redacted_errors


def _purge(context: dg.SensorEvaluationContext, until: float) -> str:
    ledger, store = context.resources.ledger.open(), context.resources.store.open()
    kept = timedelta(days=context.resources.ledger.retention_days)
    instance = context.instance
    StoreClaim.sharing(ledger).claim(store)
    # Only the files of expired jobs; `export-pipeline purge` scans the whole store.
    purged = purge(ledger, store, retention=kept, scan=False, who="purge_sensor", until=until)
    erase_removed_files(ledger, store, instance, until)
    more = "" if purged.ended else " The next tick goes on."
    return f"{purged.removed} files were due and are removed.{more}"


purge_sensor = maintenance_sensor(
    "purge_sensor",
    600,
    "Removes files that have expired, and marks their jobs as expired.",
    _purge,
    abandoned_after=LEASE.total_seconds(),
)


@dg.sensor(
    name="housekeeping_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"staging"},
    description="Removes staged data that no re-execution needs.",
)
@redacted_errors()
def housekeeping_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Clean up, and report the result in the tick."""
    if is_preview(context):
        return dg.SkipReason(NOT_PREVIEWED)
    until = tick_deadline()
    staging: StagingIOManager = context.resources.staging
    removed = clean_staging(context.instance, staging.folder, staging.ledger.open, until=until)
    freed = f"{len(removed)} leftovers with {sum(removed.values()):,} bytes removed from staging"
    if staging.shared is not None:
        freed += f", and {staging.shared.clean(context.instance, until):,} files in S3"
    return dg.SkipReason(f"{freed}.")
