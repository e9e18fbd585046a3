"""The code location: settings become resources, `defs/` becomes assets, schedules and sensors."""

import dagster as dg

from export_pipeline.components.catalogue import component_tree, definitions_of
from export_pipeline.orchestration.housekeeping import housekeeping_sensor
from export_pipeline.orchestration.io_managers import ExportStoreIOManager, StagingIOManager
from export_pipeline.orchestration.resources import source_of, store_of
from export_pipeline.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Everything Dagster shows and runs."""
    settings = load_settings()
    store = store_of(settings)
    return dg.Definitions.merge(
        definitions_of(component_tree()),
        dg.Definitions(
            sensors=[housekeeping_sensor],
            resources={
                "source": source_of(settings),
                "store": store,
                "staging": StagingIOManager(folder=str(settings.staging_folder)),
                "export_store": ExportStoreIOManager(store=store),
            },
            executor=dg.in_process_executor,
        ),
    )
