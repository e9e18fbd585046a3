"""A job of an asset with partitions, and its runs."""

import sys
from typing import Any

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin

from export_pipeline.orchestration.dagster_compat.code_locations import assets_job


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def drawing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    if context.run.tags.get("fails") == "plainly":
        raise ValueError("no such page") from KeyError("7")
    if context.run.tags.get("fails") == "with a reason":
        raise dg.Failure("The page is missing.")
    if context.run.tags.get("fails") == "interrupted":
        raise KeyboardInterrupt
    return dg.MaterializeResult(metadata={"title": "Ground floor", "bytes": 7, "key": "drawing.pdf"})


DEFINITIONS = dg.Definitions(assets=[drawing])
JOB = assets_job(DEFINITIONS)


def execute(instance: dg.DagsterInstance, partition: str = "a", **tags: str) -> dg.ExecuteInProcessResult:
    return JOB.execute_in_process(instance=instance, partition_key=partition, tags=tags, raise_on_error=False)


def run_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def run_from(module: str = "ours", executable: str = sys.executable, server: Any = None) -> dg.DagsterRun:
    code = JobPythonOrigin("job", RepositoryPythonOrigin(executable, ModuleCodePointer(module, "defs")))
    remote = server and RemoteJobOrigin(RemoteRepositoryOrigin(server, "repository"), "job")
    return dg.DagsterRun("job", job_code_origin=code, remote_job_origin=remote)
