"""The code location: builds resources from the settings, and assets, schedules and sensors from `defs/`."""

import dagster as dg

from export_pipeline.components.loading import component_tree, datasets_of, definitions_of
from export_pipeline.orchestration.backfill_job import backfill_scope_job
from export_pipeline.orchestration.lineage import table_assets
from export_pipeline.orchestration.resources import (
    ExportStore,
    executor_of,
    ledger_resource,
    source_resource,
    store_resources,
)
from export_pipeline.orchestration.runs.shared_staging import shared_staging
from export_pipeline.orchestration.scheduled_exports import run_schedule_now_job, scheduled_exports_asset
from export_pipeline.orchestration.sensors.commands import commands_sensor
from export_pipeline.orchestration.sensors.deliveries import delivery_sensor, webhooks_sensor
from export_pipeline.orchestration.sensors.intake import intake_sensor
from export_pipeline.orchestration.sensors.materializations import materializations_sensor
from export_pipeline.orchestration.sensors.purge import housekeeping_sensor, purge_sensor
from export_pipeline.orchestration.sensors.queue import requests_sensor
from export_pipeline.orchestration.sensors.run_retention import retention_sensor
from export_pipeline.orchestration.sensors.schedules import schedules_sensor
from export_pipeline.orchestration.staging_io_manager import StagingIOManager
from export_pipeline.orchestration.store_io_manager import ExportStoreIOManager
from export_pipeline.orchestration.window_requests import window_requests_job
from export_pipeline.settings import load_settings
from export_pipeline.store.file_modes import keep_files_private

keep_files_private()  # files of every run, and files that Dagster writes


@dg.definitions
def defs() -> dg.Definitions:
    """Return all definitions that Dagster shows and runs."""
    settings = load_settings()
    tree = component_tree()
    datasets = datasets_of(tree)
    ledger = ledger_resource(settings)
    return dg.Definitions.merge(
        definitions_of(tree),
        dg.Definitions(
            assets=[*table_assets(datasets.values()), scheduled_exports_asset()],
            jobs=[
                window_requests_job(datasets),
                run_schedule_now_job(datasets),
                backfill_scope_job(datasets, settings.timezone),
            ],
            sensors=[
                housekeeping_sensor,
                requests_sensor(datasets),
                schedules_sensor(datasets),
                commands_sensor,
                materializations_sensor,
                delivery_sensor,
                webhooks_sensor,
                purge_sensor,
                retention_sensor,
                *([intake_sensor(datasets)] if settings.queue_url else []),
            ],
            resources={
                "source": source_resource(settings),
                **store_resources(settings),
                "ledger": ledger,
                "datasets": datasets,
                "staging": StagingIOManager(
                    settings.staging_folder, ledger, datasets, shared_staging(settings)
                ),
                "export_store": ExportStoreIOManager(
                    ledger, settings.api_url, ExportStore(settings), settings.staging_folder
                ),
            },
            executor=executor_of(settings),
        ),
    )
