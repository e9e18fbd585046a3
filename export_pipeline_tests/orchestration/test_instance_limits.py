"""Limits of what people start in the UI: large backfills and invented scopes."""

import sys
from collections.abc import Iterator
from types import ModuleType

import dagster as dg
import pytest
from dagster._core.execution.asset_backfill import AssetBackfillData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from export_pipeline.datasets.partition_keys import scope_key
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.instance_limits import ExportInstance, RefusedInUIError
from export_pipeline.orchestration.partitions import add_scope, known_scopes


@pytest.fixture
def instance(environment: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    """The instance of the dagster.yaml that is delivered."""
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance, ExportInstance)
        yield instance


def of_partitions(*names: str) -> PartitionBackfill:
    return PartitionBackfill(
        "one", BulkActionStatus.REQUESTED, False, {}, 0.0, partition_names=list(names), asset_selection=[]
    )


def test_a_backfill_beyond_the_setting_is_refused(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_MAX_BACKFILL_PARTITIONS", "2")
    with pytest.raises(
        RefusedInUIError, match="has 3 partitions, and EXPORT_MAX_BACKFILL_PARTITIONS allows 2"
    ):
        instance.add_backfill(of_partitions("a", "b", "c"))
    assert instance.get_backfills() == []
    instance.add_backfill(of_partitions("a", "b"))
    assert len(instance.get_backfills()) == 1
    monkeypatch.setenv("EXPORT_MAX_BACKFILL_PARTITIONS", "0")
    ExportInstance.check_backfill(instance, 21_900_000)  # type: ignore[arg-type]


def test_formats_of_one_cadence_count_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-11")

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(["t", cadence, format], partitions_def=days)
            for cadence in ("daily", "other")
            for format in ("csv", "pdf")
        ],
    )
    def assets():  # type: ignore[no-untyped-def]
        pass

    graph = dg.Definitions(assets=[assets]).resolve_asset_graph()

    def backfill(limit: int) -> None:
        monkeypatch.setenv("EXPORT_MAX_BACKFILL_PARTITIONS", str(limit))
        instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=f"of {limit}",
                asset_graph=graph,
                partition_names=None,
                asset_selection=[spec.key for spec in assets.specs],
                backfill_timestamp=1_800_000_000.0,
                tags={},
                dynamic_partitions_store=instance,
                all_partitions=True,
                title=None,
                description=None,
                run_config=None,
            )
        )

    with pytest.raises(RefusedInUIError, match="has 20 partitions"):
        backfill(19)
    backfill(20)
    (there,) = instance.get_backfills()
    assert isinstance(there.asset_backfill_data or there.get_asset_backfill_data(graph), AssetBackfillData)


def test_only_the_webserver_refuses_scopes(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "dagster_webserver", raising=False)
    assert add_scope(instance, "t", scope_key("a", "Shop")) == "Shop (a)"
    monkeypatch.setitem(sys.modules, "dagster_webserver", ModuleType("dagster_webserver"))
    with pytest.raises(
        RefusedInUIError, match="'invented' was not added: scopes are those of the application"
    ):
        instance.add_dynamic_partitions("t_scopes", ["invented"])
    assert known_scopes(instance, "t") == ["a"]
    instance.add_dynamic_partitions("regions", ["north"])
