from __future__ import annotations

import fcntl
import os
import signal

import dagster as dg
import pytest

from export_pipeline.definitions import defs
from export_pipeline.orchestration.housekeeping import HOST_TAG, end_dead_runs
from export_pipeline_tests.orchestration.deployment import Deployment


def takeoff_job() -> dg.JobDefinition:
    """With the deployment's own executor, as workers have it."""
    return defs().resolve_job_def("takeoff_on_demand_job")


def _run(deployment: Deployment, tags: dict[str, str] | None = None) -> str:
    tags = {"dagster/partition": deployment.scope} | (tags or {})
    key = dg.AssetKey(["takeoff", "on_demand", "csv"])
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
    with dg.execute_job(
        dg.reconstructable(takeoff_job), deployment.instance, asset_selection=[key], tags=tags
    ) as result:
        assert result.success
        return str(result.run_id)


def test_a_run_that_dies_is_found_by_its_lock(deployment: Deployment) -> None:
    """Whichever process started it, and whether that lives or not."""
    instance, staging = deployment.instance, deployment.staging
    child, told = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(told, _run(deployment).encode())
            signal.pause()
        finally:
            os._exit(1)
    try:
        run_id = os.read(child, 36).decode()
        job = deployment.definitions.resolve_job_def("takeoff_on_demand_job")
        host = os.uname().nodename
        run = instance.create_run_for_job(job, run_id=run_id, tags={HOST_TAG: host})
        assert end_dead_runs(instance, staging) == []
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert end_dead_runs(instance, staging) == [run.run_id]


def test_a_run_says_where_it_is(deployment: Deployment) -> None:
    run = deployment.instance.get_run_by_id(_run(deployment))
    assert run is not None
    assert run.tags[HOST_TAG] == os.uname().nodename
    with (deployment.staging / f"{run.run_id}.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_run_that_is_executed_again_is_not_dead_before_it_begins(deployment: Deployment) -> None:
    """Its tags are copied from the run before."""
    first = _run(deployment)
    job = deployment.definitions.resolve_job_def("takeoff_on_demand_job")
    tags = {HOST_TAG: os.uname().nodename}
    deployment.instance.create_run_for_job(job, tags=tags, parent_run_id=first, root_run_id=first)
    assert end_dead_runs(deployment.instance, deployment.staging) == []

    again = _run(deployment, tags)
    with (deployment.staging / f"{again}.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
