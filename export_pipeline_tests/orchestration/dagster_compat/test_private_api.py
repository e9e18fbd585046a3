"""Contracts with Dagster: each test says what breaks when an undocumented name of Dagster changes."""

import ast
import inspect
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import dagster as dg
import pytest
from dagster._annotations import is_public
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import raise_execution_interrupts
from dagster._core.events import DagsterEvent
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    InProcessCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.remote_representation import grpc_server_registry
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.controller import DagsterDaemonController
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.types import DaemonHeartbeat
from dagster._grpc.server import GrpcServerCommand
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value, pack_value
from dagster._utils.error import SerializableErrorInfo

from export_pipeline.orchestration import dagster_compat
from export_pipeline.orchestration.dagster_compat import (
    CheckRunHealthResult,
    CodeUnreachableError,
    ConfigurableClassData,
    LaunchRunContext,
    RunLauncher,
    SensorState,
    StepFailure,
    Tick,
    WorkerStatus,
    add_run_tags,
    as_runs_of,
    assets_job,
    automatic_retry,
    check_evaluation,
    config_of_op,
    dynamic_partitions_ending,
    execute_run_command,
    forget_content,
    forget_runless_content,
    has_code_server_here,
    has_lost_worker,
    has_shared_connections,
    heartbeats,
    instance_of,
    interruptible,
    is_canceling,
    is_of_active_backfill,
    is_of_module,
    is_preview,
    keep_code_servers,
    last_window,
    launcher_in,
    log_entries,
    materializations,
    queue_takes_runs_back,
    remove_check_results,
    remove_run_files,
    remove_runless_materializations,
    report_canceled,
    report_canceling,
    report_event,
    report_failed,
    repository_of,
    repository_tags,
    required_daemons,
    resolve_partition,
    run_arguments,
    run_of_task,
    runs_of_partition,
    sensor_states,
    sensor_timeout_seconds,
    share_connections,
    start_timeout_seconds,
    step_failure,
    step_failures,
    step_of,
    will_be_retried,
    window_range,
    window_times,
    with_tags,
)
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.pooled_storage import PooledPostgresStorage
from export_pipeline_tests.paths import ROOT


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


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def execute(instance: dg.DagsterInstance, partition: str = "a", **tags: str) -> dg.ExecuteInProcessResult:
    return JOB.execute_in_process(instance=instance, partition_key=partition, tags=tags, raise_on_error=False)


def run_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


# --- the rule ---


@cache
def _nodes() -> list[tuple[str, Any]]:
    """Return each node of all other modules that imports, calls or has an attribute, with its file."""
    return [
        (str(file.relative_to(ROOT)), node)
        for file in (ROOT / "export_pipeline").rglob("*.py")
        if file != Path(str(dagster_compat.__file__))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Attribute)
    ]


def _last_name(node: ast.AST) -> str:
    """Return the last name of an expression such as `context.instance`; empty for other expressions."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_no_other_module_imports_a_private_module_of_dagster() -> None:
    private = [
        f"{file}:{node.lineno} {name}"
        for file, node in _nodes()
        for name in _imported(node)
        if name.startswith(("dagster.", "dagster_")) and _is_private(name)
    ]
    assert private == []


def _imported(node: ast.AST) -> list[str]:
    """Return the names that a node imports, also those given to `import_module`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
        return [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return []


def _is_private(name: str) -> bool:
    package, *rest = name.split(".")
    return package == "dagster_shared" or any(part.startswith("_") for part in rest)


def test_no_other_module_uses_an_undocumented_member_of_an_instance_a_context_or_a_run() -> None:
    contexts = (dg.OpExecutionContext, dg.OutputContext, dg.InputContext, dg.SensorEvaluationContext)
    classes: dict[str, tuple[type, ...]] = {
        "instance": (dg.DagsterInstance,),
        "_instance": (dg.DagsterInstance,),
        "context": contexts,
    }
    fields = {
        "log",
        "instance",
        "resources",
        "load_component",
        "path",
        "dagster_run",
    }  # documented without the mark
    undocumented = [
        f"{file}:{node.lineno} {ast.unparse(node)}"
        for file, node in _nodes()
        if isinstance(node, ast.Attribute) and node.attr not in fields
        for members in [classes.get(_last_name(node.value), ())]
        if members and not any(_is_documented(cls, node.attr) for cls in members)
        if any(hasattr(cls, node.attr) for cls in members)
    ]
    assert undocumented == []
    origins = [
        f"{file}:{node.lineno}"
        for file, node in _nodes()
        if isinstance(node, ast.Attribute)
        and node.attr in ("job_code_origin", "remote_job_origin", "_instance")
    ]
    assert origins == []


def _is_documented(cls: type, name: str) -> bool:
    member = inspect.getattr_static(cls, name, None)
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    try:
        return member is not None and is_public(member)
    except Exception:  # a plain value, which cannot be marked
        return False


def test_each_function_has_a_contract_here() -> None:
    functions = {
        name
        for name, value in vars(dagster_compat).items()
        if inspect.isfunction(value) and value.__module__ == dagster_compat.__name__ and name[0] != "_"
    }
    assert functions - globals().keys() == set()


# --- ticks ---


def test_else_a_preview_would_work_on_requests_and_a_tick_would_not() -> None:
    """`SensorEvaluationContext.log_key`; sensors/test_previews.py asks Dagster's own UI and daemon for it."""
    keys = (None, ["repository", "sensor", "17"], ["repository", "sensor", "2026-01-01T00:00:00.5"])
    assert [is_preview(SimpleNamespace(log_key=key)) for key in keys] == [False, False, True]  # type: ignore[arg-type]
    assert "log_key" in inspect.signature(dg.SensorEvaluationContext).parameters


def test_else_ticks_would_not_end_before_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sensor_timeout_seconds() == 60
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "90")
    assert sensor_timeout_seconds() == 90


# --- steps and runs ---


def test_else_io_managers_would_not_know_their_run(instance: dg.DagsterInstance) -> None:
    known: list[Any] = []

    class Keeper(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None:
            step = step_of(context)
            known.append((step.dagster_run, step.instance, step.job_def.name, step.previous_attempt_count))

        def load_input(self, context: dg.InputContext) -> int:
            known.append((step_of(context).dagster_run, step_of(context).previous_attempt_count))
            return 1

    @dg.op
    def draw() -> int:
        return 1

    @dg.op
    def look(drawn: int) -> None:
        pass

    @dg.job(resource_defs={"io_manager": dg.IOManagerDefinition.hardcoded_io_manager(Keeper())})
    def work() -> None:
        look(draw())

    result = work.execute_in_process(instance=instance)
    assert {(entry[0].run_id, entry[-1]) for entry in known} == {(result.run_id, 0)}
    assert known[0][1] is instance
    assert known[0][2] == "work"


def test_else_a_reexecution_elsewhere_would_not_know_what_to_read(instance: dg.DagsterInstance) -> None:
    known: list[Any] = []

    @dg.op(config_schema={"dataset": str})
    def read() -> int:
        return 1

    @dg.op
    def look(context: dg.OpExecutionContext, rows: int) -> None:
        known.append(config_of_op(context, "read"))

    @dg.graph
    def export() -> None:
        look(read())

    @dg.job
    def work() -> None:
        export()

    config = {"ops": {"export": {"ops": {"read": {"config": {"dataset": "records"}}}}}}
    assert work.execute_in_process(instance=instance, run_config=config).success
    assert known == [{"dataset": "records"}]


def test_else_checks_would_belong_to_another_partitions_materialization(
    instance: dg.DagsterInstance,
) -> None:
    for partition in ("a", "b"):
        instance.report_runless_asset_event(dg.AssetMaterialization("asset", partition=partition))
    context: Any = SimpleNamespace(instance=instance, run_id="")
    result = dg.AssetCheckResult(passed=True, asset_key="asset", check_name="rows", metadata={"rows": 1})
    evaluation = check_evaluation(context, result, "a", is_published=True)
    of_a = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("asset"), asset_partitions=["a"]), limit=1
    ).records[0]
    target = evaluation.target_materialization_data
    assert target is not None
    assert (target.storage_id, target.run_id) == (of_a.storage_id, of_a.run_id)
    assert (evaluation.partition, evaluation.blocking, evaluation.passed) == ("a", True, True)
    rejected = check_evaluation(context, result, "a", is_published=False)
    assert rejected.target_materialization_data is None


def test_else_dead_and_canceled_runs_would_stay_as_they_were(instance: dg.DagsterInstance) -> None:
    started = dg.DagsterRunStatus.STARTED
    first, second = (instance.create_run_for_job(JOB, status=started) for _ in range(2))
    report_canceling(instance, first, "Its job was canceled.")
    assert run_of(instance, first.run_id).status is dg.DagsterRunStatus.CANCELING
    assert is_canceling(instance, first.run_id)
    assert not is_canceling(instance, second.run_id)
    assert not is_canceling(instance, "unknown")
    report_canceled(instance, first, "It has died.")
    assert is_canceling(instance, first.run_id)
    report_event(instance, second, "Noted.")
    report_failed(instance, second, "It has died.")
    assert run_of(instance, first.run_id).status is dg.DagsterRunStatus.CANCELED
    assert run_of(instance, second.run_id).status is dg.DagsterRunStatus.FAILURE
    entries, cursor = log_entries(instance, second.run_id, None)
    messages = [entry.dagster_event.message for entry in entries if entry.dagster_event]
    assert "Noted." in messages
    assert "It has died." in messages
    assert log_entries(instance, second.run_id, cursor)[0] == []


def test_else_lost_window_requests_would_be_repeated_for_ever(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(JOB)
    add_run_tags(instance, run, {"done": "by us"})
    assert run_of(instance, run.run_id).tags["done"] == "by us"
    assert with_tags(run, {"more": "1"}).tags == {**run.tags, "more": "1"}
    assert with_tags(run, {"more": "1"}).run_id == run.run_id


def test_else_runs_of_a_backfill_would_be_removed_under_it(instance: dg.DagsterInstance) -> None:
    def belongs(status: BulkActionStatus) -> bool:
        backfill = PartitionBackfill(
            status.value, status=status, from_failure=False, tags={}, backfill_timestamp=0.0
        )
        instance.add_backfill(backfill)
        run = instance.create_run_for_job(JOB, tags={"dagster/backfill": status.value})
        return is_of_active_backfill(instance, run)

    active = {status for status in BulkActionStatus if belongs(status)}
    assert active == {BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING}
    assert not is_of_active_backfill(instance, instance.create_run_for_job(JOB))


def test_else_a_job_would_fail_although_dagster_retries_its_run(tmp_path: Path) -> None:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True}}) as retrying:
        failed = retrying.create_run_for_job(JOB, status=dg.DagsterRunStatus.FAILURE)
        assert will_be_retried(retrying, failed)
        assert automatic_retry(retrying, failed) is None
        again = retrying.create_run_for_job(JOB)
        add_run_tags(retrying, failed, {"dagster/auto_retry_run_id": again.run_id})
        retried = automatic_retry(retrying, run_of(retrying, failed.run_id))
        assert retried is not None
        assert retried.run_id == again.run_id
        last = retrying.create_run_for_job(JOB, tags={"dagster/will_retry": "false"})
        assert not will_be_retried(retrying, last)


def test_else_jobs_would_not_say_why_their_run_failed(instance: dg.DagsterInstance) -> None:
    plain, reasoned, interrupted = (
        execute(instance, fails=how) for how in ("plainly", "with a reason", "interrupted")
    )
    assert list(step_failures(instance, plain.run_id)) == [
        StepFailure("drawing", None, "KeyError: '7'", is_interrupt=False, is_outage=False)
    ]
    (failure,) = step_failures(instance, reasoned.run_id)
    assert failure.description == "The page is missing."
    (failure,) = step_failures(instance, interrupted.run_id)
    assert failure.is_interrupt
    (event,) = [event for event in plain.all_events if event.is_step_failure]
    assert [step_failure(event)] == list(step_failures(instance, plain.run_id))


def test_else_a_job_would_not_get_the_file_of_its_run(instance: dg.DagsterInstance) -> None:
    (made,) = materializations(instance, execute(instance).run_id)
    assert made.asset_key == dg.AssetKey("drawing")
    assert made.metadata["key"].value == "drawing.pdf"


# --- launching ---


def test_else_nothing_could_be_forked_from_the_warm_process() -> None:
    assert repository_of(DEFINITIONS).has_job(JOB.name)
    assert JOB.asset_layer.has(dg.AssetKey("drawing"))


def _run(module: str = "ours", executable: str = sys.executable, server: Any = None) -> dg.DagsterRun:
    code = JobPythonOrigin("job", RepositoryPythonOrigin(executable, ModuleCodePointer(module, "defs")))
    remote = server and RemoteJobOrigin(RemoteRepositoryOrigin(server, "repository"), "job")
    return dg.DagsterRun("job", job_code_origin=code, remote_job_origin=remote)


def test_else_runs_of_other_code_locations_would_be_ended_as_ours() -> None:
    assert is_of_module(_run("ours"), "ours")
    assert not is_of_module(_run("theirs"), "ours")
    assert not is_of_module(dg.DagsterRun("job"), "ours")


def test_else_runs_of_other_hosts_or_pythons_would_be_forked_here() -> None:
    managed = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="ours"))
    assert has_code_server_here(_run(server=managed))
    assert has_code_server_here(_run(server=GrpcServerCodeLocationOrigin("localhost", socket="/tmp/s")))
    assert not has_code_server_here(_run(server=GrpcServerCodeLocationOrigin("elsewhere", port=1)))
    assert not has_code_server_here(_run(executable="/other/python", server=managed))
    assert not has_code_server_here(_run())


def test_else_a_forked_run_would_not_know_what_to_do() -> None:
    with dg.instance_for_test() as stored:
        run = _run()
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
        assert start_timeout_seconds(stored) == 180
        run = _run()
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
    assert has_lost_worker(SimpleNamespace(run_launcher=Launcher()), _run()) is lost  # type: ignore[arg-type]
    silent: Any = SimpleNamespace(run_launcher=dg.DefaultRunLauncher())
    assert not has_lost_worker(silent, _run())


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
            job_code_origin=_run().job_code_origin,
        )
        stored.report_dagster_event(DagsterEvent.job_enqueue(run), run.run_id)
        patch.setattr(dg.DefaultRunLauncher, "launch_run", launch)
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        daemon._dequeue_run(stored, None, run, stored.get_concurrency_config(), None)  # type: ignore[arg-type]
        found = stored.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.QUEUED
    queue["config"] = {}
    with dg.instance_for_test({"run_coordinator": queue}) as stored:
        assert not queue_takes_runs_back(stored)
    with dg.instance_for_test() as stored:
        assert not queue_takes_runs_back(stored)


# --- daemon ---


def test_else_health_would_not_see_a_dead_daemon(environment: dict[str, str]) -> None:
    prepare_home()
    with dg.DagsterInstance.get() as stored:
        assert {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= set(
            required_daemons(stored)
        )
        assert heartbeats(stored) == {}
        stored.add_daemon_heartbeat(DaemonHeartbeat(12.5, "SENSOR", "d", None))
        assert heartbeats(stored) == {"SENSOR": 12.5}


def test_else_health_would_not_see_a_sensor_that_is_off_or_fails(environment: dict[str, str]) -> None:
    prepare_home()
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(
            InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location_name="x"), "r"
        ),
        "purge_sensor",
    )
    data = SensorInstigatorData(min_interval=1)
    with dg.DagsterInstance.get() as stored:
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, data)
        stored.add_instigator_state(state)
        (seen,) = sensor_states(stored)
        assert isinstance(seen, SensorState)
        assert (seen.name, seen.is_stopped, seen.last_tick()) == ("purge_sensor", True, None)
        inner = SerializableErrorInfo("ValueError: no", [], "ValueError")
        error = SerializableErrorInfo("outer", [], "Outer", cause=inner)
        at = datetime(2026, 1, 2, tzinfo=UTC)
        for status, told in ((TickStatus.FAILURE, error), (TickStatus.SKIPPED, None)):
            stored.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name="purge_sensor",
                    instigator_type=InstigatorType.SENSOR,
                    status=status,
                    timestamp=at.timestamp(),
                    selector_id=state.selector_id,
                    error=told,
                )
            )
            (seen,) = sensor_states(stored)
            assert seen.last_tick() == Tick(at, "ValueError: no" if told else None)
            at += timedelta(seconds=1)


# --- partitions ---


def test_else_schedules_would_ask_for_the_wrong_windows(instance: dg.DagsterInstance) -> None:
    days = dg.DailyPartitionsDefinition("2026-01-01", timezone="Europe/Berlin")
    start, end = window_times(days, "2026-03-29")  # the day on which clocks go forward
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=23)
    assert last_window(days, end) == "2026-03-29"
    assert last_window(days, end - timedelta(seconds=1)) == "2026-03-28"
    assert last_window(days, datetime(2026, 1, 1, 12, tzinfo=UTC)) is None
    assert window_range(days, "2026-03-28", "2026-03-30") == ["2026-03-28", "2026-03-29", "2026-03-30"]


def test_else_a_request_for_a_partition_that_is_not_there_would_fail_a_whole_tick(
    instance: dg.DagsterInstance,
) -> None:
    resolved = resolve_partition(dg.RunRequest(partition_key="a"), JOB, instance)
    assert resolved.tags["dagster/partition"] == "a"
    with pytest.raises(dg.DagsterError):
        resolve_partition(dg.RunRequest(partition_key="x"), JOB, instance)


# --- storage ---


def test_else_each_query_would_open_a_connection(postgres_url: str) -> None:
    """runs/test_retention.py counts the connections."""
    url = postgres_url
    assert not has_shared_connections(url)
    storages = [PooledPostgresStorage.from_config_value(None, {"postgres_url": url}) for _ in range(2)]
    assert has_shared_connections(url)
    share_connections(storages[1], url)
    engines = {
        id(vars(part)["_engine"])
        for storage in storages
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage)
    }
    assert len(engines) == 1
    assert ConfigurableClassData("module", "Class", "{}").class_name == "Class"


def test_else_a_scope_of_thousands_would_be_looked_for_in_all_of_them(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("scopes", ["Shop (a)", "Shop (b)", "100% (a_)", "a"])
    instance.add_dynamic_partitions("others", ["Other (a)"])
    assert dynamic_partitions_ending(instance, "scopes", " (a)") == ["Shop (a)"]
    assert dynamic_partitions_ending(instance, "scopes", " (a_)") == ["100% (a_)"]


def test_else_removed_runs_and_files_would_leave_their_content(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as stored:
        run_id = execute(stored, "a").run_id
        assert runs_of_partition(stored, dg.AssetKey("drawing"), ["a", "b"]) == [run_id]
        assert runs_of_partition(stored, dg.AssetKey("drawing"), ["b"]) == []
        assert runs_of_partition(stored, dg.AssetKey("drawing"), ["a"], run_ids=["another"]) == []
        forget_content(stored, run_id, True, "drawing", "drawing.pdf", {"bytes"})
        (made,) = materializations(stored, run_id)
        assert made.metadata.keys() == {"bytes"}
        (record,) = stored.fetch_materializations(dg.AssetKey("drawing"), limit=1).records
        assert record.asset_materialization is not None
        assert record.asset_materialization.metadata.keys() == {"bytes"}
        assert any(run_id in path.name for path in tmp_path.rglob("*"))
        stored.delete_run(run_id)
        remove_run_files(stored, run_id)
        remove_check_results(stored, [run_id])
        assert [path for path in tmp_path.rglob("*") if run_id in path.name] == []


def test_else_files_reported_without_a_run_would_leave_their_content_for_ever(tmp_path: Path) -> None:
    """sensors/test_materializations.py does this on PostgreSQL too."""
    drawing_key = dg.AssetKey("drawing")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as stored:
        for name in ("first.pdf", "second.pdf"):
            metadata = {"key": name, "bytes": 7, "title": f"Title of {name}"}
            stored.report_runless_asset_event(dg.AssetMaterialization(drawing_key, metadata=metadata))
        forget_runless_content(stored, "first.pdf", {"bytes"})
        records = stored.fetch_materializations(drawing_key, limit=9, ascending=True).records
        made = [record.asset_materialization for record in records]
        assert [sorted(one.metadata) for one in made if one] == [["bytes"], ["bytes", "key", "title"]]
        databases = [path.read_bytes() for path in tmp_path.rglob("*.db*")]
        assert not any(b"Title of first.pdf" in content for content in databases)
        assert (
            remove_runless_materializations(stored, [drawing_key], datetime.now(UTC) + timedelta(minutes=1))
            == 1
        )
        (newest,) = stored.fetch_materializations(drawing_key, limit=9).records
        assert newest.storage_id == records[1].storage_id


# --- code servers ---


@pytest.mark.slow
def test_else_the_daemon_would_start_a_code_server_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        GrpcServerRegistry, "clear_all_grpc_endpoints", GrpcServerRegistry.clear_all_grpc_endpoints
    )
    code, ended = ["old"], [None]
    keep_code_servers(lambda: code[0])
    process: Any = SimpleNamespace(server_process=SimpleNamespace(poll=lambda: ended[0]))
    with GrpcServerRegistry(None, GrpcServerCommand.API_GRPC, 20, 60, False) as registry:

        def is_kept(age: float = 0) -> bool:
            now = grpc_server_registry.get_current_timestamp()
            registry._active_entries["origin"] = ServerRegistryEntry(
                process=process,
                loadable_target_origin=None,
                creation_timestamp=now - age,  # type: ignore[arg-type]
            )
            registry.clear_all_grpc_endpoints()
            return "origin" in registry._active_entries

        assert is_kept()
        assert not is_kept(age=4000)
        code[0] = "new"
        assert not is_kept()
        assert is_kept()
        ended[0] = 0  # type: ignore[call-overload]
        assert not is_kept()


def test_the_daemon_keeps_its_code_server(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon asks which daemons it needs, and so makes the queue, before it starts a code server."""
    dagsters = GrpcServerRegistry.clear_all_grpc_endpoints
    monkeypatch.setattr(GrpcServerRegistry, "clear_all_grpc_endpoints", dagsters)
    prepare_home()
    with dg.DagsterInstance.get() as stored:
        assert "QUEUED_RUN_COORDINATOR" in required_daemons(stored)
    assert GrpcServerRegistry.clear_all_grpc_endpoints is not dagsters


def test_the_daemon_clears_its_code_servers_by_this_name() -> None:
    cleared = []
    daemon: Any = DagsterDaemonController.__new__(DagsterDaemonController)
    daemon._grpc_server_registry = SimpleNamespace(clear_all_grpc_endpoints=lambda: cleared.append(True))
    daemon._workspace_process_context = SimpleNamespace(refresh_workspace=lambda: None)
    daemon.check_workspace_freshness(0.0)
    assert cleared
