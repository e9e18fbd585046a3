"""Contracts with Dagster about asset checks."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.orchestration.dagster_compat.checks import (
    check_evaluation,
    has_check_result,
    report_check,
)


def test_else_checks_would_belong_to_another_partitions_materialization(
    instance: dg.DagsterInstance,
) -> None:
    for partition in ("a", "b"):
        instance.report_runless_asset_event(dg.AssetMaterialization("asset", partition=partition))
    context: Any = SimpleNamespace(instance=instance, run_id="")
    result = dg.AssetCheckResult(passed=True, asset_key="asset", check_name="rows", metadata={"rows": 1})
    evaluation = check_evaluation(context, result, "a", "exports/a.csv", is_published=True)
    of_a = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("asset"), asset_partitions=["a"]), limit=1
    ).records[0]
    target = evaluation.target_materialization_data
    assert target is not None
    assert (target.storage_id, target.run_id) == (of_a.storage_id, of_a.run_id)
    assert (evaluation.partition, evaluation.blocking, evaluation.passed) == ("a", True, True)
    rejected = check_evaluation(context, result, "a", "exports/a.csv", is_published=False)
    assert rejected.target_materialization_data is None


def test_else_a_second_result_without_a_run_would_be_refused(instance: dg.DagsterInstance) -> None:
    asset = dg.AssetKey("asset")
    result = dg.AssetCheckResult(passed=True, asset_key=asset, check_name="rows", metadata={"rows": 1})
    for key in ("exports/1.csv", "exports/2.csv"):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition="a", metadata={"key": key})
        )
        assert not has_check_result(instance, asset, key)
        report_check(instance, result, "a", key)
        assert has_check_result(instance, asset, key)
    assert not has_check_result(instance, asset, "exports/1.csv")  # the newest file's stays
    again = dg.AssetCheckEvaluation(asset_key=asset, check_name="rows", passed=True, partition="a")
    with pytest.raises(sa.exc.IntegrityError):
        instance.report_runless_asset_event(again)
