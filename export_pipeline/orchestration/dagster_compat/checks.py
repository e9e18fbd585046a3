"""Evaluations of asset checks."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)


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
        metadata={**(result.metadata or {}), "key": key},
        severity=result.severity,
        description=result.description,
        blocking=True,
        partition=partition,
        target_materialization_data=target,
    )
