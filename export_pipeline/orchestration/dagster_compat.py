"""Private API of Dagster that this project uses. A contract test checks each name."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._grpc.utils import default_sensor_grpc_timeout

if TYPE_CHECKING:
    from dagster_postgres import DagsterPostgresStorage

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

    GrpcServerRegistry.clear_all_grpc_endpoints = clear  # type: ignore[method-assign]


def runs_of_partition(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Sequence[str]
) -> list[str]:
    """Return the ids of the runs that have materialized any of these partitions of an asset."""
    table = SqlEventLogStorageTable.c
    select = sa.select(table.run_id).where(
        table.asset_key == asset.to_string(),
        table.partition.in_(partitions),
        table.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value,
    )
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
