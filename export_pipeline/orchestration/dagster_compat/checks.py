"""Evaluations of asset checks, by runs and without one."""

from __future__ import annotations

import json

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable

from export_pipeline.orchestration.dagster_compat.storage import sql_storage


def check_evaluation(
    context: dg.OpExecutionContext,
    result: dg.AssetCheckResult,
    partition: str | None,
    key: str,
    *,
    is_published: bool,
) -> dg.AssetCheckEvaluation:
    """Return the evaluation of a blocking check of one file.

    It belongs to the materialization that this run has just made for the partition. Dagster's own choice is
    the newest materialization of the asset, whatever its partition, if a run has several partitions, and the
    one before if the file was rejected.

    Args:
        key: Key of the file, by which it is told from others of the run.
        is_published: False if the file was rejected, so that the check belongs to no materialization.
    """
    record = None
    if is_published:
        of_partition = _materializations_of(result, partition)
        page = context.instance.fetch_materializations(of_partition, limit=1)
        while page.records[0].run_id != context.run_id:  # a run of another scope has made one meanwhile
            page = context.instance.fetch_materializations(of_partition, limit=1, cursor=page.cursor)
        record = page.records[0]
    return _evaluation(result, partition, key, record)


def report_check(
    instance: dg.DagsterInstance, result: dg.AssetCheckResult, partition: str | None, key: str
) -> None:
    """Report the evaluation of a check of a file that was materialized, without a run.

    Dagster's table holds one such evaluation of a partition, and refuses another one: that of the newest
    file stays.

    Args:
        key: Key of the file, which its materialization names.
    """
    record = _materialization_of(instance, _materializations_of(result, partition), key)
    if record is None:
        return
    results, events = AssetCheckExecutionsTable, SqlEventLogStorageTable
    earlier = sa.and_(
        results.c.asset_key == _asset_key(result).to_string(),
        results.c.check_name == result.check_name,
        results.c.run_id == RUNLESS_RUN_ID,
        results.c.partition.is_not_distinct_from(partition),
    )
    columns = (results.c.materialization_event_storage_id, results.c.evaluation_event_storage_id)
    with sql_storage(instance).index_connection() as connection:
        reported = connection.execute(sa.select(*columns).where(earlier)).all()
        if any((file or 0) >= record.storage_id for file, _ in reported):
            return
        connection.execute(sa.delete(events).where(events.c.id.in_([event for _, event in reported])))
        connection.execute(sa.delete(results).where(earlier))
    instance.report_runless_asset_event(_evaluation(result, partition, key, record))


def has_check_result(instance: dg.DagsterInstance, asset_key: dg.AssetKey, key: str) -> bool:
    """Return whether Dagster has the result of a check of a file.

    Args:
        key: Key of the file, which results name.
    """
    results = AssetCheckExecutionsTable.c
    named = results.evaluation_event.contains(json.dumps(key), autoescape=True)
    known = sa.select(results.id).where(results.asset_key == asset_key.to_string(), named)
    with sql_storage(instance).index_connection() as connection:
        return connection.execute(known.limit(1)).first() is not None


_PAGE, _PAGES = 10, 50


def _materialization_of(
    instance: dg.DagsterInstance, of_partition: dg.AssetRecordsFilter, key: str
) -> dg.EventLogRecord | None:
    """Return the record of the materialization that names a file; None if none of the newest does."""
    cursor = None
    for _ in range(_PAGES):
        page = instance.fetch_materializations(of_partition, limit=_PAGE, cursor=cursor)
        for record in page.records:
            if record.asset_materialization and _names(record.asset_materialization, key):
                return record
        if not page.has_more:
            break
        cursor = page.cursor
    return None


def _names(materialization: dg.AssetMaterialization, key: str) -> bool:
    return "key" in materialization.metadata and materialization.metadata["key"].value == key


def _asset_key(result: dg.AssetCheckResult) -> dg.AssetKey:
    assert result.asset_key is not None
    return result.asset_key


def _materializations_of(result: dg.AssetCheckResult, partition: str | None) -> dg.AssetRecordsFilter:
    return dg.AssetRecordsFilter(_asset_key(result), asset_partitions=partition and [partition])


def _evaluation(
    result: dg.AssetCheckResult, partition: str | None, key: str, record: dg.EventLogRecord | None
) -> dg.AssetCheckEvaluation:
    """Return the evaluation of a blocking check for the materialization of this record, if there is one."""
    assert result.asset_key is not None
    assert result.check_name is not None
    target = record and AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata={**(result.metadata or {}), "key": key},
        severity=result.severity,
        description=result.description,
        blocking=True,
        partition=partition,
        target_materialization_data=target,
    )
