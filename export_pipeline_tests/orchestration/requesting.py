"""Requests as applications make them, and what Dagster's daemon would do with them."""

from __future__ import annotations

import uuid
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.partitions.context import partition_loading_context

from export_pipeline_tests.orchestration.deployment import QUIET, Deployment


def insert(deployment: Deployment, **values: Any) -> str:
    """A row by plain SQL, as an application would write it."""
    id = str(uuid.uuid4())
    row = {"id": id, "dataset": "takeoff", "format": "csv"} | values
    names, texts = (
        ", ".join(row),
        ", ".join(
            "'" + str(value).replace("'", "''").replace("\0", "' || char(0) || '") + "'"
            for value in row.values()
        ),
    )
    deployment.source.rows(f"INSERT INTO export_jobs ({names}) VALUES ({texts})")
    return id


def tick(deployment: Deployment) -> list[dg.RunRequest]:
    """Return the run requests of a tick of requests_sensor."""
    sensor = deployment.definitions.resolve_sensor_def("requests_sensor")
    with (
        dg.build_sensor_context(
            instance=deployment.instance,
            repository_def=deployment.definitions.get_repository_def(),
            resources={name: deployment.definitions.resources[name] for name in ("ledger", "source")},
        ) as context,
        partition_loading_context(dynamic_partitions_store=deployment.instance),
    ):  # as Dagster does
        return list(sensor.evaluate_tick(context).run_requests or [])


def launch(deployment: Deployment, request: dg.RunRequest, **more: Any) -> dg.ExecuteInProcessResult:
    job = deployment.definitions.resolve_job_def(str(request.job_name))
    return job.execute_in_process(
        instance=deployment.instance,
        asset_selection=request.asset_selection,
        partition_key=request.partition_key,
        run_config=QUIET | dict(request.run_config),
        tags=dict(request.tags),
        raise_on_error=False,
        **more,
    )


ODD_SCOPES = ["A|B", "nul\0x", "100%", "a...b", "line\nbreak", "tab\t", "a,b [c]", "漢字/🏗"]


def fill_odd_scopes(deployment: Deployment) -> list[str]:
    """Give the source projects of these ids, each with a condition and a measurement."""
    engine = sa.create_engine(deployment.source.url)
    with engine.begin() as connection:
        for scope in ODD_SCOPES:
            for table, key, parent in (("projects", None, None), ("conditions", "project_id", scope)):
                columns = [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
                chosen = ["?" if name == "id" or name == key else name for name in columns]
                given = (
                    (scope,)
                    if parent is None
                    else tuple(scope if name == "id" else parent for name in columns if name in ("id", key))
                )
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(chosen)} FROM {table} LIMIT 1",
                    given,
                )
    engine.dispose()
    return ODD_SCOPES
