"""Contracts with Dagster about code locations."""

import dagster as dg
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from export_pipeline.orchestration.dagster_compat.code_locations import (
    as_runs_of,
    assets_job,
    has_code_server_here,
    is_of_module,
    repository_of,
    repository_tags,
)
from export_pipeline_tests.orchestration.dagster_compat.drawings import (
    DEFINITIONS,
    JOB,
    execute,
    run_from,
    run_of,
)


def test_else_nothing_could_be_forked_from_the_warm_process() -> None:
    job = assets_job(DEFINITIONS)
    assert repository_of(DEFINITIONS).has_job(job.name)
    assert job.asset_layer.has(dg.AssetKey("drawing"))


def test_else_runs_of_other_code_locations_would_be_ended_as_ours() -> None:
    assert is_of_module(run_from("ours"), "ours")
    assert not is_of_module(run_from("theirs"), "ours")
    assert not is_of_module(dg.DagsterRun("job"), "ours")


def test_else_runs_of_other_hosts_or_pythons_would_be_forked_here() -> None:
    managed = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="ours"))
    assert has_code_server_here(run_from(server=managed))
    assert has_code_server_here(run_from(server=GrpcServerCodeLocationOrigin("localhost", socket="/tmp/s")))
    assert not has_code_server_here(run_from(server=GrpcServerCodeLocationOrigin("elsewhere", port=1)))
    assert not has_code_server_here(run_from(executable="/other/python", server=managed))
    assert not has_code_server_here(run_from())


def test_else_the_timeline_would_not_show_runs_of_the_command_line(instance: dg.DagsterInstance) -> None:
    with as_runs_of(instance, "ours", "location"):
        run_id = execute(instance, "a").run_id
    tags = instance.get_run_tags(tag_keys=[".dagster/repository"])
    assert tags == [(".dagster/repository", {"__repository__@location"})]
    origin = run_of(instance, run_id).remote_job_origin
    assert origin is not None
    assert origin.job_name == JOB.name
    assert run_of(instance, execute(instance, "a").run_id).remote_job_origin is None


def test_else_runs_of_other_code_locations_would_be_removed(instance: dg.DagsterInstance) -> None:
    with as_runs_of(instance, "ours", "location"):
        run = run_of(instance, execute(instance, "a").run_id)
    assert run.remote_job_origin is not None
    origin = run.remote_job_origin.repository_origin
    with dg.SensorEvaluationContext(
        instance_ref=None,
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=None,
        repository_name=origin.repository_name,
        code_location_origin=origin.code_location_origin,
        instance=instance,
    ) as context:
        tags = repository_tags(context)
    assert [one.run_id for one in instance.get_runs(dg.RunsFilter(tags=tags))] == [run.run_id]
