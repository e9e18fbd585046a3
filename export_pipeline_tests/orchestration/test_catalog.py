"""The catalog and the launchpad before the first run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from export_pipeline.definitions import defs
from export_pipeline.demo import archive, bookkeeping, ecology, property_services
from export_pipeline.orchestration.lineage import application_key, table_key
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Deployment


@pytest.fixture(scope="module")
def graph(read_once: None) -> Any:
    return defs().resolve_asset_graph()


def spec_of(graph: Any, *path: str) -> Any:
    return graph.get(dg.AssetKey(path))


def test_columns_filters_and_cadences_are_shown_before_the_first_run(graph: Any) -> None:
    node = spec_of(graph, "records", "on_demand", "excel")
    columns = {column.name: column for column in node.metadata["dagster/column_schema"].columns}
    assert columns["Sale Date"].type == "date"
    assert (
        columns["Profit"].description
        == "Net earnings less cost of goods; of a closed return, the cost of its label."
    )
    for shown in ("`status`", "SUCCESSFUL", "`essential`", "America/New_York"):
        assert shown in node.description


def test_only_assets_that_a_cadence_makes_exist(graph: Any) -> None:
    made = {tuple(key.path) for key in graph.materializable_asset_keys if key.path[0] == "records"}
    assert {path[1:] for path in made if path[1] != "on_demand"} == {
        ("daily", "csv"), ("monthly", "excel"), ("monthly", "pdf"),
    }  # fmt: skip
    assert len(graph.materializable_asset_keys) < 115


def test_datasets_share_the_tables_that_they_read(graph: Any) -> None:
    members = table_key("archive_members")
    readers = {key for key in graph.get_all_asset_keys() if members in graph.get(key).parent_keys}
    assert {application_key("enrollments"), application_key("archive")} <= readers
    lineage = spec_of(graph, "enrollments", "on_demand", "csv").metadata["dagster/column_lineage"]
    assert lineage.deps_by_column["Enrolled By"] == [dg.TableColumnDep(members, "display_name")]
    schema = graph.get(members).metadata["dagster/column_schema"]
    assert "display_name" in [column.name for column in schema.columns]


def test_a_late_window_makes_its_assets_stale_but_not_one_that_is_made_on_demand(graph: Any) -> None:
    policies = {
        path: graph.get(dg.AssetKey(["records", path, format])).freshness_policy_or_from_metadata
        for path, format in (("on_demand", "pdf"), ("daily", "csv"), ("monthly", "pdf"))
    }
    assert policies["on_demand"] is None
    assert policies["daily"].fail_window.to_timedelta() == timedelta(hours=26)
    assert policies["monthly"].fail_window.to_timedelta() == timedelta(days=31, hours=3)


def test_the_example_of_each_dataset_can_be_pasted_into_its_launchpad(graph: Any) -> None:
    examples = 0
    job = defs().resolve_implicit_global_asset_job_def()
    for key in graph.materializable_asset_keys:
        _, cadence, _ = key.path
        if cadence == "on_demand" and "```yaml" in (text := graph.get(key).description):
            config = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
            subset = job.get_subset(asset_selection={key})
            dg.validate_run_config(subset, config)
            examples += 1
    assert examples > 40


def test_the_launchpad_lists_choices_first_and_nothing_that_is_refused() -> None:
    loaded = defs()
    for dataset, first, missing in (
        ("records", ["preset", "columns", "filters", "sort", "window"], {"zip_formats"}),
        ("sellers", ["columns", "filters", "sort", "window"], {"preset"}),
        ("takeoff", ["window"], {"preset", "sort", "dwca_license"}),
    ):
        assets = loaded.resolve_assets_def(dg.AssetKey([dataset, "on_demand", "csv"]))
        config = assets.node_def.config_schema.config_type.fields
        assert list(config)[: len(first)] == first
        assert not missing & config.keys()


def test_a_wrong_choice_in_the_launchpad_is_answered_with_those_there_are() -> None:
    job = defs().resolve_implicit_global_asset_job_def()
    for dataset, chosen, message in (
        (
            "records",
            {"preset": "x"},
            "not in enum type records_preset, one of essential, financial, all got x",
        ),
        (
            "takeoff",
            {"group_by": "x"},
            "not in enum type takeoff_group_by, one of condition, page, category got x",
        ),
        ("takeoff", {"sort": ["x"]}, 'unexpected config entry "sort"'),
    ):
        subset = job.get_subset(asset_selection={dg.AssetKey([dataset, "on_demand", "csv"])})
        with pytest.raises(dg.DagsterInvalidConfigError, match=message):
            dg.validate_run_config(subset, {"ops": {f"{dataset}_on_demand": {"config": chosen}}})


def test_a_page_of_all_datasets_can_be_written(command: Command, tmp_path: Path) -> None:
    assert command("datasets", "--write-docs", "team.md").code == 0
    page = (tmp_path / "team.md").read_text(encoding="utf-8")
    for line in (
        "- [records](#records): Bookkeeping records",
        "## records",
        "| `profit_cents` | Profit | money | Net earnings less cost of goods",
        "| `status` | equals, in |",
        "| daily | `15 2 * * *` America/New\\_York | csv | – |",
    ):
        assert line in page.replace("America/New_York", "America/New\\_York")
    assert command("datasets", "--write-docs", "none/team.md").code == 2


def test_each_column_leads_to_columns_of_the_database_upstream(graph: Any) -> None:
    tables = {
        table_key(table.name): {column.name for column in table.columns}
        for metadata in (archive.METADATA, bookkeeping.METADATA, ecology.METADATA, property_services.METADATA)
        for table in metadata.tables.values()
    }
    checked = set()
    for key in graph.materializable_asset_keys:
        metadata = graph.get(key).metadata
        if "dagster/column_lineage" not in metadata:
            continue
        shown = {column.name for column in metadata["dagster/column_schema"].columns}
        for header, origins in metadata["dagster/column_lineage"].deps_by_column.items():
            assert header in shown, (key, header)
            for origin in origins:
                assert origin.asset_key in graph.get(application_key(key.path[0])).parent_keys
                if origin.asset_key in tables:
                    assert origin.column_name in tables[origin.asset_key]
                    checked.add(key.path[0])
    assert {"records", "occurrences", "enrollments", "rfp"} <= checked
    profit = spec_of(graph, "records", "on_demand", "csv").metadata["dagster/column_lineage"].deps_by_column
    assert {origin.column_name for origin in profit["Profit"]} >= {
        "status", "sale_price_cents", "ebay_fees_cents", "amazon_price_cents", "return_label_cost_cents",
    }  # fmt: skip


def test_a_table_is_one_asset_whoever_reads_it(graph: Any) -> None:
    of_database = [key for key in graph.get_all_asset_keys() if key.path[0] == "database"]
    assert len(of_database) == len({key.path[-1].lower() for key in of_database})
    for key in of_database:
        readers = {child.path[0] for child in graph.get(key).child_keys}
        assert readers
        assert all(reader in graph.get(key).description for reader in readers)
    accounts = graph.get(table_key("accounts"))
    assert {child.path[-1] for child in accounts.child_keys} == {"application"}


def test_a_file_has_the_lineage_of_the_columns_that_it_holds(deployment: Deployment) -> None:
    result = deployment.run(["csv"])
    (made,) = result.get_asset_materialization_events()
    metadata = made.materialization.metadata
    lineage = metadata["dagster/column_lineage"].value
    held = {column.name for column in metadata["dagster/column_schema"].value.columns}
    assert isinstance(lineage, dg.TableColumnLineage)
    assert set(lineage.deps_by_column) <= held
