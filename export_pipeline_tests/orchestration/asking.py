"""Requests as applications make them, and what Dagster's daemon would do with them."""

from __future__ import annotations

import uuid
from typing import Any

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context

from export_pipeline_tests.orchestration.deployment import QUIET, Deployment


def insert(deployment: Deployment, **values: Any) -> str:
    """A row by plain SQL, as an application would write it."""
    id = str(uuid.uuid4())
    row = {"id": id, "dataset": "takeoff", "format": "csv"} | values
    names, texts = (
        ", ".join(row),
        ", ".join("'" + str(value).replace("'", "''") + "'" for value in row.values()),
    )
    deployment.source.rows(f"INSERT INTO export_jobs ({names}) VALUES ({texts})")
    return id


def tick(deployment: Deployment) -> list[dg.RunRequest]:
    """What the sensor asks Dagster for."""
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
