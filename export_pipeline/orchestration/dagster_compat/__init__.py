"""Private and undocumented API of Dagster: no other module uses any, and a contract test checks each name.

Undocumented are modules with an underscore, and members that Dagster does not mark as public.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.instance.ref import InstanceRef
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.launcher.base import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher.base import LaunchRunContext as LaunchRunContext
from dagster._core.launcher.base import RunLauncher
from dagster._core.launcher.base import WorkerStatus as WorkerStatus
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType, TickStatus
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    DynamicPartitionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, REPOSITORY_LABEL_TAG, WILL_RETRY_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.types import ExecuteRunArgs
from dagster._grpc.utils import default_sensor_grpc_timeout
from dagster._serdes import ConfigurableClassData as ConfigurableClassData
from dagster._serdes import serialize_value, unpack_value
from dagster._utils.interrupts import capture_interrupts

if TYPE_CHECKING:
    import click
    from dagster._core.execution.context.system import StepExecutionContext
    from dagster_postgres import DagsterPostgresStorage

# --- ticks ---

NOT_PREVIEWED = (
    "A preview does nothing: a real tick of this sensor works on requests, mails or files itself. "
    "`export-pipeline jobs` and `export-pipeline health` say what waits."
)
"""Skip reason of a sensor with side effects when it is previewed."""


def is_preview(context: dg.SensorEvaluationContext) -> bool:
    """Return whether this evaluation of a sensor is a dry run, such as the UI's "Preview tick".

    The log key of a real tick ends with the tick's number; the log key of a preview ends with a time. A test
    that calls a sensor directly has no log key.
    """
    return context.log_key is not None and not context.log_key[-1].isdigit()


def sensor_timeout_seconds() -> float:
    """Return Dagster's timeout of a tick: DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS, by default 60 s."""
    return float(default_sensor_grpc_timeout())


# --- steps and runs ---


def step_of(context: dg.OutputContext | dg.InputContext) -> StepExecutionContext:
    """Return the step of an IO manager's call: its run, instance, job and number of earlier tries."""
    return context.step_context


def config_of_op(context: dg.OpExecutionContext, name: str) -> Any:
    """Return the config of another op in the same graph, which may not be part of the run."""
    handle = NodeHandle(name, context.op_handle.parent)
    return context.get_step_execution_context().resolved_run_config.ops[str(handle)].config


def report_canceling(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str | None = None) -> None:
    """Record that a run is being canceled."""
    instance.report_run_canceling(run, message)


def is_canceling(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run is being or was canceled. False too if Dagster's database is unavailable."""
    with suppress(Exception):  # each storage of Dagster has errors of its own for an outage
        run = instance.get_run_by_id(run_id)
        return run is not None and run.status in _CANCELED
    return False


_CANCELED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def report_canceled(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Record that a run was canceled."""
    instance.report_run_canceled(run, message)


def report_failed(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Record that a run failed."""
    instance.report_run_failed(run, message)


def report_event(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Write a message into the log of a run."""
    instance.report_engine_event(message, run)


def add_run_tags(instance: dg.DagsterInstance, run: dg.DagsterRun, tags: dict[str, str]) -> None:
    """Add tags to a run that exists."""
    instance.add_run_tags(run.run_id, tags)


def with_tags(run: dg.DagsterRun, tags: Mapping[str, str]) -> dg.DagsterRun:
    """Return a copy of a run with more tags."""
    return run.with_tags({**run.tags, **tags})


def is_of_active_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a run belongs to a backfill that has not ended."""
    backfill_id = run.tags.get("dagster/backfill")
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return backfill is not None and not backfill.status.name.startswith(("COMPLETED", "FAILED", "CANCELED"))


def automatic_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun | None:
    """Return the run with which Dagster itself has retried a failed run, or None."""
    run_id = run.tags.get(AUTO_RETRY_RUN_ID_TAG)
    return instance.get_run_by_id(run_id) if run_id else None


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether Dagster itself will retry a failed run. It records this shortly after the failure."""
    return instance.run_retries_enabled and run.tags.get(WILL_RETRY_TAG) != "false"


def log_entries(
    instance: dg.DagsterInstance, run_id: str, cursor: str | None
) -> tuple[list[dg.EventLogEntry], str]:
    """Return the entries of a run's log after a cursor, and the new cursor."""
    page = instance.get_records_for_run(run_id, cursor)
    return [record.event_log_entry for record in page.records], page.cursor


def materializations(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.AssetMaterialization]:
    """Yield what a run has materialized, in order."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    for record in instance.get_records_for_run(run_id, of_type=kind).records:
        if materialization := record.event_log_entry.asset_materialization:
            yield materialization


@dataclass(frozen=True, slots=True)
class StepFailure:
    """The failure of a step.

    Attributes:
        step: Name of the op, without the name of its graph.
        description: The message of a `dagster.Failure`; None for another exception.
        error: The message of the innermost exception, if there is one.
        is_interrupt: True if an interrupt, such as Ctrl-C, ended the step.
        is_outage: True if Dagster's own database was lost. The errors of the source, the ledger and the
            store are translated before.
    """

    step: str
    description: str | None
    error: str | None
    is_interrupt: bool
    is_outage: bool


def step_failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[StepFailure]:
    """Yield the failures of a run's steps, in order."""
    kind = dg.DagsterEventType.STEP_FAILURE
    for record in instance.get_records_for_run(run_id, of_type=kind).records:
        if event := record.event_log_entry.dagster_event:
            yield step_failure(event)


def step_failure(event: dg.DagsterEvent) -> StepFailure:
    """Return the failure that an event of the type STEP_FAILURE reports."""
    failure = event.step_failure_data
    causes = []
    cause = failure.error
    while cause:
        causes.append(cause)
        cause = cause.cause
    return StepFailure(
        step=(event.step_key or "run").rpartition(".")[2],
        description=failure.user_failure_data and failure.user_failure_data.description,
        error=causes[-1].message.strip() if causes else None,
        is_interrupt=any(cause.cls_name in _INTERRUPTS for cause in causes),
        is_outage=bool(causes) and causes[-1].cls_name in _OUTAGES,
    )


_INTERRUPTS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")
_OUTAGES = ("OperationalError", "InterfaceError")


# --- checks ---


def check_evaluation(
    context: dg.OpExecutionContext,
    result: dg.AssetCheckResult,
    partition: str | None,
    *,
    is_published: bool,
) -> dg.AssetCheckEvaluation:
    """Return the evaluation of a blocking check of one file.

    It belongs to the materialization that this run has just made for the partition. Dagster's own choice is
    the newest materialization of the asset, whatever its partition, if a run has several partitions, and the
    one before if the file was rejected.

    Args:
        is_published: False if the file was rejected, so that the check belongs to no materialization.
    """
    assert result.asset_key is not None
    assert result.check_name is not None
    target = None
    if is_published:
        of_partition = dg.AssetRecordsFilter(result.asset_key, asset_partitions=partition and [partition])
        page = context.instance.fetch_materializations(of_partition, limit=1)
        while page.records[0].run_id != context.run_id:  # a run of another scope has made one meanwhile
            page = context.instance.fetch_materializations(of_partition, limit=1, cursor=page.cursor)
        record = page.records[0]
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=True,
        partition=partition,
        target_materialization_data=target,
    )


# --- launching ---


@contextmanager
def as_runs_of(instance: dg.DagsterInstance, module: str, location: str) -> Iterator[None]:
    """Let runs that begin in this process within a block belong to a code location.

    The UI's timeline shows only runs of a code location, and re-executes no others.

    Args:
        module: Module of the code location.
        location: Its name in workspace.yaml.
    """
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=module)
    repository = RemoteRepositoryOrigin(
        ManagedGrpcPythonEnvCodeLocationOrigin(target, location), SINGLETON_REPOSITORY_NAME
    )
    create = instance.create_run_for_job

    def create_run(job_def: dg.JobDefinition, **more: Any) -> dg.DagsterRun:
        return create(job_def=job_def, **more, remote_job_origin=RemoteJobOrigin(repository, job_def.name))

    vars(instance)["create_run_for_job"] = create_run
    try:
        yield
    finally:
        del vars(instance)["create_run_for_job"]


def repository_of(definitions: dg.Definitions) -> dg.RepositoryDefinition:
    """Return the repository that Dagster makes of definitions, with all jobs, schedules and sensors."""
    return definitions.get_repository_def()


def repository_tags(context: dg.SensorEvaluationContext) -> dict[str, str]:
    """Return the tags by which Dagster marks the runs of a sensor's repository."""
    origin = context.code_location_origin
    return {REPOSITORY_LABEL_TAG: f"{context.repository_name}@{origin.location_name if origin else None}"}


def assets_job(definitions: dg.Definitions) -> dg.JobDefinition:
    """Return the job that can materialize any of the assets."""
    return definitions.resolve_implicit_global_asset_job_def()


def instance_of(launcher: RunLauncher) -> dg.DagsterInstance:
    """Return the instance that a launcher serves."""
    return launcher._instance


def launcher_in(home: Path) -> RunLauncher:
    """Return the launcher that the dagster.yaml of a folder names, without opening Dagster's database."""
    launcher = InstanceRef.from_dir(str(home)).run_launcher
    assert launcher is not None
    return launcher


def has_lost_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the launcher knows that no process will work on a run. Not every launcher can."""
    launcher = instance.run_launcher
    if not launcher.supports_check_run_worker_health:
        return False
    return launcher.check_run_worker_health(run).status in (WorkerStatus.FAILED, WorkerStatus.NOT_FOUND)


def is_of_module(run: dg.DagsterRun, module: str) -> bool:
    """Return whether the code location of a run is this module."""
    if run.job_code_origin is None:
        return False
    pointer = run.job_code_origin.repository_origin.code_pointer
    return isinstance(pointer, ModuleCodePointer) and pointer.module == module


def has_code_server_here(run: dg.DagsterRun) -> bool:
    """Return whether the code server of a run is on this host and uses the Python of this process."""
    if run.job_code_origin is None or run.remote_job_origin is None:
        return False
    server = run.remote_job_origin.repository_origin.code_location_origin
    is_here = isinstance(server, ManagedGrpcPythonEnvCodeLocationOrigin) or (
        isinstance(server, GrpcServerCodeLocationOrigin) and server.socket is not None
    )
    return is_here and run.job_code_origin.repository_origin.executable_path == sys.executable


def run_arguments(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the argument of `dagster api execute_run` for a run that has a code origin."""
    assert run.job_code_origin is not None
    return serialize_value(
        ExecuteRunArgs(job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=instance.get_ref())
    )


def run_of_task(arguments: Any, module: str) -> str | None:
    """Return the id of the run that a task of Celery executes; None if its code location is not this module.

    Args:
        arguments: The task's argument.
    """
    task = unpack_value(arguments, as_type=ExecuteRunArgs)
    pointer = task.job_origin.repository_origin.code_pointer
    return task.run_id if isinstance(pointer, ModuleCodePointer) and pointer.module == module else None


def execute_run_command() -> click.Command:
    """Return the command `dagster api execute_run`. The first call imports it, which takes a moment."""
    from dagster._cli.api import execute_run_command

    return execute_run_command


def interruptible() -> AbstractContextManager[None]:
    """Return a context in which a signal to end does so where Dagster checks for it, between two events."""
    return capture_interrupts()


def start_timeout_seconds(instance: dg.DagsterInstance) -> float:
    """Return the time after which Dagster ends a run that was launched and has not started."""
    return float(instance.run_monitoring_start_timeout_seconds)


# --- daemon ---


CodeUnreachableError = DagsterUserCodeUnreachableError
"""Raised by a launcher to give a run back to the queue, which launches it again after a pause."""


def queue_takes_runs_back(instance: dg.DagsterInstance) -> bool:
    """Return whether the queue launches a run again whose launch has raised `CodeUnreachableError`."""
    queue = instance.get_concurrency_config().run_queue_config
    is_queued = isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
    return is_queued and queue is not None and queue.max_user_code_failure_retries > 0


def heartbeats(instance: dg.DagsterInstance) -> dict[str, float]:
    """Return the time (seconds since the epoch) of the last heartbeat of each daemon, by its name."""
    return {name: beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}


def required_daemons(instance: dg.DagsterInstance) -> list[str]:
    """Return the names of the daemons that the instance needs."""
    return list(instance.get_required_daemon_types())


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of a sensor: its time, and the message of its innermost error if it failed."""

    at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class SensorState:
    """The state of a sensor in the instance; `last_tick` reads its newest tick, if there is one."""

    name: str
    is_stopped: bool
    last_tick: Callable[[], Tick | None]


def sensor_states(instance: dg.DagsterInstance) -> list[SensorState]:
    """Return the states of all sensors that the instance knows."""

    def reader(origin_id: str, selector_id: str) -> Callable[[], Tick | None]:
        return lambda: _last_tick(instance, origin_id, selector_id)

    return [
        SensorState(
            state.instigator_name,
            state.status is InstigatorStatus.STOPPED,
            reader(state.instigator_origin_id, state.selector_id),
        )
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    ]


def _last_tick(instance: dg.DagsterInstance, origin_id: str, selector_id: str) -> Tick | None:
    ticks = instance.get_ticks(origin_id, selector_id, limit=1)
    if not ticks:
        return None
    error, message = ticks[0].error, None
    if ticks[0].status is TickStatus.FAILURE:
        while error and error.cause:  # the outer errors only report that there is an inner one
            error = error.cause
        message = error.message if error else "no reason given"
    return Tick(datetime.fromtimestamp(ticks[0].timestamp, UTC), message)


# --- partitions ---


def window_times(windows: dg.TimeWindowPartitionsDefinition, name: str) -> tuple[datetime, datetime]:
    """Return start and end of the window with this partition key."""
    window = windows.time_window_for_partition_key(name)
    return window.start, window.end


def last_window(windows: dg.TimeWindowPartitionsDefinition, moment: datetime) -> str | None:
    """Return the key of the last window that ended by an aware time, or None if no window has ended yet."""
    window = windows.get_prev_partition_window(moment)
    return windows.get_partition_key_range_for_time_window(window).start if window else None


def window_range(windows: dg.TimeWindowPartitionsDefinition, first: str, last: str) -> list[str]:
    """Return the keys of the windows from the first to the last, inclusive."""
    return list(windows.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))


def resolve_partition(
    request: dg.RunRequest, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> dg.RunRequest:
    """Return a run request with the tags of its partition.

    Raises:
        dagster.DagsterError: the job has no such partition.
    """
    return request.with_resolved_tags_and_config(
        target_definition=job, dynamic_partitions_requests=[], dynamic_partitions_store=instance
    )


def dynamic_partitions_ending(instance: dg.DagsterInstance, name: str, ending: str) -> list[str]:
    """Return the dynamic partitions of a definition whose keys end so, without reading all its keys.

    Args:
        name: Name of the partitions definition.
    """
    table = DynamicPartitionsTable.c
    select = sa.select(table.partition).where(
        table.partitions_def_name == name, table.partition.endswith(ending, autoescape=True)
    )
    with _sql_storage(instance).index_connection() as connection:
        return list(connection.scalars(select))


# --- storage ---

_engines: dict[tuple[int, str], sa.Engine] = {}


def has_shared_connections(url: str) -> bool:
    """Return whether this process already has an instance on a database."""
    return (os.getpid(), url) in _engines


def share_connections(storage: DagsterPostgresStorage, url: str) -> None:
    """Make a storage use this process's connection pool for its database.

    Args:
        url: SQLAlchemy URL of PostgreSQL.
    """
    key = (os.getpid(), url)  # a forked process must not use its parent's connections
    if key not in _engines:
        _engines[key] = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=3,
            max_overflow=20,
            pool_recycle=1800,
            pool_pre_ping=True,
            connect_args={"application_name": "dagster"},
        )
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        vars(part)["_engine"] = _engines[key]


def remove_run_files(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the files of a deleted run: captured output and, on SQLite, its empty event database."""
    shutil.rmtree(Path(instance.storage_directory()) / run_id, ignore_errors=True)
    if isinstance(instance.event_log_storage, SqliteEventLogStorage):
        for suffix in ("", "-wal", "-shm"):
            Path(f"{instance.event_log_storage.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)


def remove_check_results(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Remove the asset check results of deleted runs. Dagster itself never removes them."""
    storage = instance.event_log_storage
    if run_ids and isinstance(storage, SqlEventLogStorage):
        results = AssetCheckExecutionsTable
        with storage.index_connection() as connection:
            connection.execute(results.delete().where(results.c.run_id.in_(run_ids)))


# --- instance ---


class GuardedInstance(dg.DagsterInstance):
    """A Dagster instance that asks `check_backfill` and `check_new_partitions` before it records anything.

    dagster.yaml names it as `instance_class`. Everything that starts a backfill ends in `add_backfill`, and
    the UI shows the error that is raised there.
    """

    @classmethod
    def config_schema(cls) -> dict[str, dg.Field]:
        return {"instance_class": dg.Field(dict, is_required=False)}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Any:
        return InstanceRef.config_defaults(base_dir)

    def __init__(self, *args: Any, instance_class: Any = None, **more: Any) -> None:
        super().__init__(*args, **more)

    def check_backfill(self, partitions: int) -> None:
        """Raise an error if a backfill has too many partitions."""

    def check_new_partitions(self, name: str, keys: Sequence[str]) -> None:
        """Raise an error if a person may not add these dynamic partitions in the UI."""

    def add_backfill(self, partition_backfill: Any) -> None:
        self.check_backfill(_backfill_size(partition_backfill))
        super().add_backfill(partition_backfill)

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        if "dagster_webserver" in sys.modules:
            self.check_new_partitions(partitions_def_name, partition_keys)
        super().add_dynamic_partitions(partitions_def_name, partition_keys)


def _backfill_size(backfill: Any) -> int:
    """Return the number of partitions of a backfill. Formats of one cadence are made by the same runs."""
    if backfill.asset_backfill_data is None:
        return len(backfill.partition_names or ())
    sizes: dict[tuple[str, ...], int] = {}
    for key, subset in backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.items():
        group = tuple(key.path[:-1]) or tuple(key.path)
        sizes[group] = max(sizes.get(group, 0), len(subset))
    return sum(sizes.values())


# --- code servers ---

_LONGEST_SECONDS = 3600.0


def keep_code_servers(version: Callable[[], object]) -> None:
    """Reuse a code server while it is alive and its code is unchanged.

    Dagster's daemon starts a code server every minute, which costs a tenth of a core. With this it starts one
    every hour, so that memory which a code server has accumulated is still released.

    Args:
        version: Returns a value that changes only when the code changes.
    """
    known = version()

    def clear(registry: GrpcServerRegistry) -> None:
        nonlocal known
        now, entries = version(), registry._active_entries
        same, known = now == known, now
        with registry._lock:
            for origin, entry in list(entries.items()):
                young = time.time() - entry.creation_timestamp < _LONGEST_SECONDS
                lives = isinstance(entry, ServerRegistryEntry) and entry.process.server_process.poll() is None
                if not (same and young and lives):
                    del entries[origin]
        # The daemon loads its workspace anew each minute. The definitions before it are tens of thousands of
        # objects in reference cycles, which Python by itself collects only after several minutes.
        gc.collect()

    GrpcServerRegistry.clear_all_grpc_endpoints = clear  # type: ignore[method-assign]


def remove_runless_materializations(
    instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], before: datetime
) -> int:
    """Remove old materializations that no run has made. Dagster removes only those of runs.

    The newest materialization of each asset and partition stays, as it does for runs.

    Args:
        assets: The assets whose materializations are removed.

    Returns:
        Number of removed materializations.
    """
    storage, events, tags = _sql_storage(instance), SqlEventLogStorageTable, AssetEventTagsTable
    newer = events.alias("newer")
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION.value
    is_newest = ~sa.exists().where(
        newer.c.dagster_event_type == materialized,
        newer.c.asset_key == events.c.asset_key,
        newer.c.partition.is_not_distinct_from(events.c.partition),
        newer.c.timestamp > events.c.timestamp,
    )
    old = sa.and_(
        events.c.run_id == RUNLESS_RUN_ID,
        events.c.dagster_event_type == materialized,
        events.c.asset_key.in_([asset.to_string() for asset in assets]),
        events.c.timestamp < before.astimezone(UTC).replace(tzinfo=None),
    )
    with storage.index_connection() as connection:
        ids = connection.scalars(sa.select(events.c.id).where(old, ~is_newest).limit(_MOST_REMOVED)).all()
        connection.execute(sa.delete(tags).where(tags.c.event_id.in_(ids)))
        connection.execute(sa.delete(events).where(events.c.id.in_(ids)))
    if isinstance(storage, SqliteEventLogStorage):
        with storage.run_connection(RUNLESS_RUN_ID) as connection:  # a second copy, which nobody reads
            connection.execute(sa.delete(events).where(old))
    return len(ids)


_MOST_REMOVED = 500  # SQLite takes no more than 999 values in older versions


def runs_of_partition(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    partitions: Sequence[str],
    ending: str | None = None,
    run_ids: Sequence[str] | None = None,
) -> list[str]:
    """Return the ids of the runs that have materialized any of these partitions of an asset.

    Args:
        ending: Also partitions whose keys end so.
        run_ids: Only runs of these.
    """
    table = SqlEventLogStorageTable.c
    ends = sa.false() if ending is None else table.partition.endswith(ending, autoescape=True)
    select = sa.select(table.run_id).where(
        table.asset_key == asset.to_string(),
        sa.or_(table.partition.in_(partitions), ends),
        table.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value,
    )
    if run_ids is not None:
        select = select.where(table.run_id.in_(run_ids))
    with _sql_storage(instance).index_connection() as connection:
        return [run_id for (run_id,) in connection.execute(select.distinct())]


def forget_content(
    instance: dg.DagsterInstance,
    run_id: str,
    has_run: bool,
    step: str,
    file_key: str,
    kept: Collection[str],
) -> None:
    """Remove metadata and descriptions from the events of a step, in every table that holds a copy.

    Dagster can delete a run or a whole asset, but not the content of one materialization. Both deletions
    leave a copy of the last materialization in the asset table.

    Args:
        has_run: True if Dagster has the run. If not, only copies outside the run's events remain.
        step: Name of the op, without the name of its graph.
        file_key: Key of the file that the step has made.
        kept: Names of the metadata to keep.
    """
    storage = _sql_storage(instance)
    events, assets, checks = SqlEventLogStorageTable, AssetKeyTable, AssetCheckExecutionsTable
    of_step = sa.and_(
        events.c.run_id == run_id, sa.or_(events.c.step_key == step, events.c.step_key.endswith(f".{step}"))
    )
    copies = [
        (events, events.c.event, of_step),
        (assets, assets.c.last_materialization, assets.c.last_materialization.contains(f'"{file_key}"')),
        (checks, checks.c.evaluation_event, checks.c.run_id == run_id),
    ]
    of_run = [storage.run_connection(run_id)] if has_run else []
    for opened, where in [*((one, copies[:1]) for one in of_run), (storage.index_connection(), copies)]:
        _strip_rows(opened, where, step, kept)


def _strip_rows(
    opened: AbstractContextManager[sa.Connection],
    where: Sequence[tuple[sa.Table, sa.Column[Any], sa.ColumnElement[bool]]],
    step: str,
    kept: Collection[str],
) -> None:
    with opened as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:  # otherwise freed pages still contain the text
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        for table, column, condition in where:
            for id, text in connection.execute(sa.select(table.c.id, column).where(condition)).all():
                stripped = _stripped(text, step, kept) if text else text
                if stripped != text:
                    update = sa.update(table).where(table.c.id == id)
                    connection.execute(update.values({column.name: stripped}))
        engine = connection.engine
    if is_sqlite:  # the write-ahead log contains it too
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()


def forget_runless_content(instance: dg.DagsterInstance, file_key: str, kept: Collection[str]) -> None:
    """Remove metadata of the materialization of a file that was reported without a run.

    Args:
        file_key: Key of the file.
        kept: Names of the metadata to keep.
    """
    storage = _sql_storage(instance)
    events, assets = SqlEventLogStorageTable, AssetKeyTable
    names = f'"{file_key}"'
    of_file = sa.and_(
        events.c.run_id == RUNLESS_RUN_ID, events.c.asset_key.is_not(None), events.c.event.contains(names)
    )
    copies = [
        (events, events.c.event, of_file),
        (assets, assets.c.last_materialization, assets.c.last_materialization.contains(names)),
    ]
    _strip_rows(storage.run_connection(RUNLESS_RUN_ID), copies[:1], "", kept)
    _strip_rows(storage.index_connection(), copies, "", kept)


def _stripped(text: str, step: str, kept: Collection[str]) -> str:
    """Return a serialized event with only the metadata to keep. Events of other steps are unchanged."""
    event = json.loads(text)
    entry = event.get("event_log_entry", event)
    if (entry.get("step_key") or "").rpartition(".")[2] != step or not entry.get("dagster_event"):
        return text
    _strip(event, kept)
    if entry["dagster_event"]["event_type_value"] == dg.DagsterEventType.ASSET_CHECK_EVALUATION.value:
        entry["dagster_event"]["message"] = entry["user_message"] = "The file was removed."
    return json.dumps(event)


def _strip(value: Any, kept: Collection[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _strip(item, kept)
    elif isinstance(value, dict):
        if "metadata_entries" in value:
            value["metadata_entries"] = [one for one in value["metadata_entries"] if one["label"] in kept]
        if value.get("__class__") == "AssetCheckEvaluation":
            value["metadata"] = {name: one for name, one in value["metadata"].items() if name in kept}
            value["description"] = None
        for item in value.values():
            _strip(item, kept)


def _sql_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"Dagster's events lie in {type(storage).__name__}, which is no SQL database.")
    return storage
