"""Contracts with Dagster about run launchers and the queue."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import dagster as dg
import pytest
from dagster._core.errors import raise_execution_interrupts
from dagster._core.events import DagsterEvent
from dagster._core.launcher.base import RunLauncher
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value, pack_value

from export_pipeline.orchestration.dagster_compat.launchers import (
    CheckRunHealthResult,
    CodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
    execute_run_command,
    has_lost_worker,
    instance_of,
    interruptible,
    launcher_in,
    launcher_of,
    queue_takes_runs_back,
    run_arguments,
    run_limits,
    run_of_task,
    start_timeout_seconds,
)
from export_pipeline_tests.orchestration.dagster_compat.drawings import run_from
from export_pipeline_tests.paths import ROOT


def test_else_a_forked_run_would_not_know_what_to_do() -> None:
    with dg.instance_for_test() as stored:
        run = run_from()
        arguments = deserialize_value(run_arguments(stored, run), ExecuteRunArgs)
        assert (arguments.run_id, arguments.job_origin) == (run.run_id, run.job_code_origin)
        assert arguments.instance_ref == stored.get_ref()
        task = pack_value(arguments)
        assert run_of_task(task, "ours") == run.run_id
        assert run_of_task(task, "other") is None
    assert isinstance(execute_run_command(), click.Command)
    assert isinstance(execute_run_command().params[0], click.Argument)


def test_else_canceling_a_run_would_leave_its_event_half_written() -> None:
    with interruptible():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(dg.DagsterExecutionInterruptedError), raise_execution_interrupts():
            pass


def test_else_the_launcher_could_not_launch() -> None:
    with dg.instance_for_test() as stored:
        launcher = dg.DefaultRunLauncher()
        launcher.register_instance(stored)
        assert instance_of(launcher) is stored
        assert launcher_of(stored) is stored.run_launcher
        queue = dg.QueuedRunCoordinator()
        queue.register_instance(stored)
        assert instance_of(queue) is stored
        assert start_timeout_seconds(stored) == 180
        run = run_from()
        assert LaunchRunContext(run, workspace=None).dagster_run is run


def test_else_a_worker_would_not_know_its_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor may it open a connection before it forks."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
    (tmp_path / "dagster.yaml").write_text((ROOT / "deploy" / "dagster-postgres.yaml").read_text())
    assert type(launcher_in(tmp_path)).__name__ == "WarmRunLauncher"


@pytest.mark.parametrize("status", list(WorkerStatus))
def test_else_runs_whose_task_is_lost_would_wait_for_ever(status: WorkerStatus) -> None:
    class Launcher(dg.DefaultRunLauncher):
        supports_check_run_worker_health = True

        def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
            return CheckRunHealthResult(status)

    assert issubclass(Launcher, RunLauncher)
    lost = status in (WorkerStatus.FAILED, WorkerStatus.NOT_FOUND)
    assert has_lost_worker(SimpleNamespace(run_launcher=Launcher()), run_from()) is lost  # type: ignore[arg-type]
    silent: Any = SimpleNamespace(run_launcher=dg.DefaultRunLauncher())
    assert not has_lost_worker(silent, run_from())


def test_the_queue_s_limits_of_a_tag() -> None:
    limits: list[dict[str, Any]] = [
        {"key": "customer", "value": {"applyLimitPerUniqueValue": True}, "limit": 3},
        {"key": "customer", "value": "large", "limit": 1},
        {"key": "other", "value": "large", "limit": 2},
        {"key": "customer", "limit": 9},
    ]
    queue = {"tag_concurrency_limits": limits}
    with dg.instance_for_test({"run_queue": queue}) as stored:
        assert run_limits(stored, "customer") == {None: 3, "large": 1}
        assert run_limits(stored, "nobody") == {}
    with dg.instance_for_test() as stored:
        assert run_limits(stored, "customer") == {}


def test_else_a_run_would_fail_while_the_warm_process_loads() -> None:
    def launch(*_: Any) -> None:
        raise CodeUnreachableError("still loading")

    queue = {
        "module": "dagster",
        "class": "QueuedRunCoordinator",
        "config": {"max_user_code_failure_retries": 1},
    }
    with dg.instance_for_test({"run_coordinator": queue}) as stored, pytest.MonkeyPatch.context() as patch:
        assert queue_takes_runs_back(stored)
        managed = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="ours"))
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(managed, "repository"), "job")
        run = create_run_for_test(
            stored,
            status=dg.DagsterRunStatus.QUEUED,
            remote_job_origin=origin,
            job_code_origin=run_from().job_code_origin,
        )
        stored.report_dagster_event(DagsterEvent.job_enqueue(run), run.run_id)
        patch.setattr(dg.DefaultRunLauncher, "launch_run", launch)
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        daemon._dequeue_run(stored, None, run, stored.get_concurrency_config(), None)  # type: ignore[arg-type]
        stored_run = stored.get_run_by_id(run.run_id)
        assert stored_run is not None
        assert stored_run.status is dg.DagsterRunStatus.QUEUED
    queue["config"] = {}
    with dg.instance_for_test({"run_coordinator": queue}) as stored:
        assert not queue_takes_runs_back(stored)
    with dg.instance_for_test() as stored:
        assert not queue_takes_runs_back(stored)
