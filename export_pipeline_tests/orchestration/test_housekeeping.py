import os
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import EngineEventData
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from export_pipeline.formats import csv
from export_pipeline.orchestration import housekeeping, warm_server
from export_pipeline.orchestration.housekeeping import (
    HOST_TAG,
    KEPT_SECONDS,
    clean_staging,
    end_dead_runs,
    end_stepless_runs,
    housekeeping_sensor,
    living,
)
from export_pipeline_tests.orchestration.deployment import Deployment


def make_old(path: Path) -> None:
    moment = time.time() - KEPT_SECONDS - 60
    for item in (path, *path.rglob("*")):
        os.utime(item, (moment, moment))


def test_staged_data_go_when_the_run_succeeded_and_stay_when_it_failed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = deployment.run()
    with monkeypatch.context() as patch:
        patch.setattr(csv, "render", lambda *_: 1 / 0)
        failed = deployment.run()
    assert {path.name for path in deployment.staging.iterdir()} == {good.run_id, failed.run_id}
    (deployment.staging / f"{good.run_id}.lock").touch()
    with dg.build_sensor_context(
        instance=deployment.instance, resources={"staging": deployment.definitions.resources["staging"]}
    ) as context:
        tick = housekeeping_sensor.evaluate_tick(context)
    assert tick.skip_message == "0 dead runs ended, 2 leftovers removed from staging."
    assert {path.name for path in deployment.staging.iterdir()} == {failed.run_id}
    make_old(deployment.staging / failed.run_id)
    assert clean_staging(deployment.instance, deployment.staging) == [failed.run_id]
    assert list(deployment.staging.iterdir()) == []


def test_what_nobody_knows_goes_after_a_day(deployment: Deployment) -> None:
    stray = deployment.staging / "stray" / "deeper"
    stray.mkdir(parents=True)
    (stray / "file").write_text("x")
    log = deployment.staging / "request.log"
    log.write_text("x")
    assert clean_staging(deployment.instance, deployment.staging) == []
    make_old(stray.parent)
    make_old(log)
    (stray / "file").touch()  # somebody still writes there
    assert clean_staging(deployment.instance, deployment.staging) == ["request.log"]
    make_old(stray.parent)
    assert clean_staging(deployment.instance, deployment.staging) == ["stray"]
    deployment.staging.rmdir()
    assert clean_staging(deployment.instance, deployment.staging) == []


def test_a_living_run_is_left_alone_and_a_dead_one_ended(deployment: Deployment) -> None:
    instance, staging = deployment.instance, deployment.staging
    job = deployment.definitions.resolve_implicit_global_asset_job_def()

    def started(tags: dict[str, str]) -> str:
        run = instance.create_run_for_job(job, tags=tags)
        return str(run.run_id)

    with living(staging, "x") as tags:
        other_host = started(dict.fromkeys(tags, "elsewhere"))
        dead = started(tags)
    with living(staging, dead):
        assert end_dead_runs(instance, staging) == []
        make_old(staging)
        assert clean_staging(instance, staging) == []
    assert end_dead_runs(instance, staging) == [dead]
    for run_id, status in (
        (dead, dg.DagsterRunStatus.FAILURE),
        (other_host, dg.DagsterRunStatus.NOT_STARTED),
    ):
        run = instance.get_run_by_id(run_id)
        assert run
        assert run.status is status


def test_a_run_whose_process_died_before_its_first_step_is_ended_after_minutes(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's default launcher knows nothing of it once the code server has died too."""
    instance = deployment.instance
    job = deployment.definitions.resolve_implicit_global_asset_job_def()

    def started(module: str = warm_server.LOCATION, **tags: str) -> dg.DagsterRun:
        pointer = ModuleCodePointer(module, "defs")
        origin = JobPythonOrigin(job.name, RepositoryPythonOrigin("python", pointer))
        return instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags=tags, job_code_origin=origin
        )

    lost, working, launching = started(), started(), started()
    others = [started(module="somebody.else"), started(**{HOST_TAG: "elsewhere"})]
    for run, event, data in (
        (working, "STEP_START", None),
        (launching, "STEP_WORKER_STARTING", EngineEventData()),
    ):
        said = dg.DagsterEvent(event, job.name, step_key="fetch_project", event_specific_data=data)
        instance.report_dagster_event(said, run.run_id)
    assert end_stepless_runs(instance) == []
    monkeypatch.setattr(housekeeping, "NO_STEP", timedelta(seconds=-60))
    assert end_stepless_runs(instance) == [lost.run_id]
    left = [run.run_id for run in (working, launching, *others)]
    assert {
        run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    } == set(left)
    assert end_stepless_runs(instance) == []
