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
        executor_def=dg.multiprocess_executor,
    )
    return dg.Definitions.merge(defs(), dg.Definitions(jobs=[job])).resolve_job_def("in_processes")
