"""Jobs that Dagster can load again in another process, as it does for executors and re-executions."""

import dagster as dg


def exports() -> dg.JobDefinition:
    """Every format on demand."""
    from export_pipeline.definitions import defs

    job = dg.define_asset_job("every_export", selection="key:takeoff/on_demand/*")
    return dg.Definitions.merge(defs(), dg.Definitions(jobs=[job])).resolve_job_def("every_export")


def in_processes() -> dg.JobDefinition:
    """One format, each step in a process of its own."""
    from export_pipeline.definitions import defs

    job = dg.define_asset_job(
        "in_processes",
        selection=["takeoff/on_demand/csv"],
        # Forked from a process that has imported everything; by default each step's own would.
        executor_def=dg.multiprocess_executor.configured(
            {"start_method": {"forkserver": {"preload_modules": ["export_pipeline.definitions"]}}}
        ),
    )
    return dg.Definitions.merge(defs(), dg.Definitions(jobs=[job])).resolve_job_def("in_processes")
