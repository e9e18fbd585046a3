"""The event log: runs of partitions, and removal of runs, results, materializations and content of files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)

from export_pipeline.orchestration.dagster_compat.storage import overwriting, sql_storage


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


def remove_runless_materializations(
    instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], before: datetime
) -> int:
    """Remove old materializations that no run has made, with their checks. Dagster removes those of runs.

    The newest materialization of each asset and partition stays, as it does for runs.

    Args:
        assets: The assets whose materializations are removed.

    Returns:
        Number of removed materializations.
    """
    storage, events, tags = sql_storage(instance), SqlEventLogStorageTable, AssetEventTagsTable
    newer = events.alias("newer")
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION.value
    is_newest = ~sa.exists().where(
        newer.c.dagster_event_type == materialized,
        newer.c.asset_key == events.c.asset_key,
        newer.c.partition.is_not_distinct_from(events.c.partition),
        newer.c.timestamp > events.c.timestamp,
    )
    is_old = sa.and_(
        events.c.run_id == RUNLESS_RUN_ID, events.c.timestamp < before.astimezone(UTC).replace(tzinfo=None)
    )
    of_assets = events.c.asset_key.in_([asset.to_string() for asset in assets])
    old = sa.and_(is_old, events.c.dagster_event_type == materialized, of_assets)
    checked = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    old_checks = sa.and_(is_old, events.c.dagster_event_type == checked)
    results = AssetCheckExecutionsTable
    with storage.index_connection() as connection:
        ids = connection.scalars(sa.select(events.c.id).where(old, ~is_newest).limit(_MAX_REMOVED)).all()
        of_files = sa.and_(
            results.c.run_id == RUNLESS_RUN_ID, results.c.materialization_event_storage_id.in_(ids)
        )
        reported = sa.select(results.c.evaluation_event_storage_id).where(of_files)
        connection.execute(sa.delete(events).where(events.c.id.in_(connection.scalars(reported).all())))
        connection.execute(sa.delete(results).where(of_files))
        connection.execute(sa.delete(tags).where(tags.c.event_id.in_(ids)))
        connection.execute(sa.delete(events).where(events.c.id.in_(ids)))
    if isinstance(storage, SqliteEventLogStorage):
        with storage.run_connection(RUNLESS_RUN_ID) as connection:  # a second copy, which nobody reads
            connection.execute(sa.delete(events).where(sa.or_(old, old_checks)))
    return len(ids)


_MAX_REMOVED = 500  # SQLite takes no more than 999 values in older versions


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
    with sql_storage(instance).index_connection() as connection:
        return [run_id for (run_id,) in connection.execute(select.distinct())]


def erase_content(
    instance: dg.DagsterInstance,
    run_id: str,
    has_run: bool,
    step: str,
    file_key: str,
    kept: Collection[str],
) -> None:
    """Remove metadata and descriptions from the events of a file, in every table that holds a copy.

    Events name their file by its key: a step may have made files of several requests and formats. Of events
    that name no file, those of the file's own step lose theirs.

    Dagster can delete a run or a whole asset, but not the content of one materialization. Both deletions
    leave a copy of the last materialization in the asset table.

    Args:
        has_run: True if Dagster has the run. If not, only copies outside the run's events remain.
        step: Name of the op, without the name of its graph.
        file_key: Key of the file that the step has made.
        kept: Names of the metadata to keep.
    """
    storage = sql_storage(instance)
    events, assets, checks = SqlEventLogStorageTable, AssetKeyTable, AssetCheckExecutionsTable
    of_step = sa.or_(events.c.step_key == step, events.c.step_key.endswith(f".{step}"))
    of_file = sa.and_(events.c.run_id == run_id, sa.or_(of_step, _names(events.c.event, file_key)))
    copies = [
        (events, events.c.event, of_file),
        (assets, assets.c.last_materialization, _names(assets.c.last_materialization, file_key)),
        (checks, checks.c.evaluation_event, checks.c.run_id == run_id),
    ]
    of_run = [storage.run_connection(run_id)] if has_run else []
    for opened, where in [*((one, copies[:1]) for one in of_run), (storage.index_connection(), copies)]:
        _strip_rows(opened, where, step, file_key, kept)


def _strip_rows(
    opened: AbstractContextManager[sa.Connection],
    where: Sequence[tuple[sa.Table, sa.Column[Any], sa.ColumnElement[bool]]],
    step: str,
    file_key: str,
    kept: Collection[str],
) -> None:
    with overwriting(opened) as connection:
        for table, column, condition in where:
            for id, text in connection.execute(sa.select(table.c.id, column).where(condition)).all():
                stripped = _stripped(text, step, file_key, kept) if text else text
                if stripped != text:
                    update = sa.update(table).where(table.c.id == id)
                    connection.execute(update.values({column.name: stripped}))


def erase_runless_content(instance: dg.DagsterInstance, file_key: str, kept: Collection[str]) -> None:
    """Remove metadata of the materialization and the checks of a file that was reported without a run.

    Args:
        file_key: Key of the file.
        kept: Names of the metadata to keep.
    """
    storage = sql_storage(instance)
    events, assets, checks = SqlEventLogStorageTable, AssetKeyTable, AssetCheckExecutionsTable
    of_file = sa.and_(events.c.run_id == RUNLESS_RUN_ID, _names(events.c.event, file_key))
    of_checks = sa.and_(checks.c.run_id == RUNLESS_RUN_ID, _names(checks.c.evaluation_event, file_key))
    copies = [
        (events, events.c.event, of_file),
        (assets, assets.c.last_materialization, _names(assets.c.last_materialization, file_key)),
        (checks, checks.c.evaluation_event, of_checks),
    ]
    _strip_rows(storage.run_connection(RUNLESS_RUN_ID), copies[:1], "", file_key, kept)
    _strip_rows(storage.index_connection(), copies, "", file_key, kept)


def _names(column: sa.Column[Any], file_key: str) -> sa.ColumnElement[bool]:
    """Return the condition that a serialized event holds the key of a file as a text."""
    return column.contains(json.dumps(file_key), autoescape=True)


def _stripped(text: str, step: str, file_key: str, kept: Collection[str]) -> str:
    """Return a serialized event with only the metadata to keep; one of another file or step as it is."""
    event = json.loads(text)
    entry = event.get("event_log_entry", event)
    if not entry.get("dagster_event"):
        return text
    described = list(_described(event))
    if keys := set(_keys(described)):
        is_of_file = file_key in keys
    else:
        is_of_file = (entry.get("step_key") or "").rpartition(".")[2] == step
    if not is_of_file:
        return text
    for part in described:
        if part["__class__"] == _CHECKED:
            part["metadata"] = {name: one for name, one in part["metadata"].items() if name in kept}
            part["description"] = None
        else:
            part["metadata_entries"] = [one for one in part["metadata_entries"] if one["label"] in kept]
    if entry["dagster_event"]["event_type_value"] == dg.DagsterEventType.ASSET_CHECK_EVALUATION.value:
        entry["dagster_event"]["message"] = entry["user_message"] = "The file was removed."
    return json.dumps(event)


_CHECKED = "AssetCheckEvaluation"


def _described(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a serialized event that have metadata.

    Metadata is not searched: it holds rows, whose columns and cells may be named as anything here is.
    """
    if isinstance(value, list):
        for item in value:
            yield from _described(item)
    elif isinstance(value, dict):
        if value.get("__class__") == _CHECKED or ("__class__" in value and "metadata_entries" in value):
            yield value
        for name, item in value.items():
            if name not in ("metadata", "metadata_entries"):
                yield from _described(item)


def _keys(described: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the keys of the files that metadata names."""
    for part in described:
        if part["__class__"] == _CHECKED:
            named = [part["metadata"].get("key", {})]
        else:
            named = [one["entry_data"] for one in part["metadata_entries"] if one["label"] == "key"]
        yield from (one["text"] for one in named if "text" in one)
