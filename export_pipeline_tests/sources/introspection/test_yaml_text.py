"""The YAML of a table, which exports at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.core.windows import Window
from export_pipeline.datasets.table import TableModel
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline_tests.hostile import file_readers, introspected
from export_pipeline_tests.sources.introspection.schemas import attributes, execute, sqlite, types


def test_a_table_is_declared_with_all_that_its_schema_says(shop: str) -> None:
    declared = attributes(shop, "orders")

    assert declared["dataset"] == "orders"
    assert declared["formats"] == ["csv", "excel", "pdf", "json", "jsonl", "parquet"]
    assert declared["source"] == {
        "table": "orders",
        "key": ["id"],
        "where": {"deleted_at": None},
        "relations": {"customer": {"table": "customers", "from": "customer_id", "to": "id"}},
    }
    assert types(declared) == {
        "id": "integer", "customer_id": "integer", "total": "decimal(10,2)", "fee_cents": "integer", "paid": "boolean",
        "status": "text", "note": "text", "api_key": "text", "created_at": "timestamp", "deleted_at": "timestamp",
        "customer.name": "text",
    }  # fmt: skip
    columns = {column["name"]: column for column in declared["columns"]}
    assert columns["customer_name"] == {
        "name": "customer_name", "type": "text", "from": "customer.name", "extra": True, "personal": True,
    }  # fmt: skip
    assert columns["api_key"]["hidden"] is True
    assert columns["created_at"]["zone"] is None
    assert declared["window"] == {"column": "created_at", "zone": "UTC"}
    assert declared["filters"] == {
        "id": ["equals", "in", "range"], "customer_id": ["equals", "in"], "total": ["range", "is_null"],
        "fee_cents": ["range", "is_null"], "paid": ["equals", "is_null"], "status": ["equals", "in", "is_null"],
        "note": ["contains", "is_null"], "created_at": ["range"],
    }  # fmt: skip
    assert not {"api_key", "deleted_at"} & set(declared["sort"])  # one is hidden, one is the same in all rows
    assert {"id", "total", "created_at"} <= set(declared["sort"])


def test_names_and_numbers_of_rows_have_filters_for_whole_and_partial_values(shop: str) -> None:
    declared = yaml.safe_load(introspect(shop, "customers").yaml)["attributes"]
    assert declared["filters"]["name"] == ["equals", "in", "contains"]
    assert declared["filters"]["email"] == ["equals", "in", "contains", "is_null"]


def test_comments_say_what_somebody_may_want_to_change(shop: str) -> None:
    text = introspect(shop, "orders").yaml

    assert "# scope: { column: customer_id, table: customers, id: id, name: name }" in text
    assert "{ name: fee_cents, type: integer }  # with `type: money` all files hold whole units" in text
    assert '#   daily: { cron: "15 2 * * *"' in text
    uncommented = (
        text.replace("  # scope:", "  scope:")
        .replace("  # cadences:", "  cadences:")
        .replace("  #   ", "    ")
    )
    declared = TableModel.model_validate(yaml.safe_load(uncommented)["attributes"])
    assert declared.scope is not None
    assert [*declared.cadences.named()] == ["daily", "monthly"]
    options = tabular.options(declared.spec()).model_validate({})
    january = Window("2026-01", datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    with open_snapshot(shop) as snapshot:
        assert source.scopes(snapshot, declared.spec()) == {"1": "Ann", "2": "Böb"}
        for scope, window, rows in (("1", None, 1), ("2", None, 1), ("1", january, 0), ("2", january, 1)):
            request = Request("orders", tabular, declared.spec(), scope, options, window)
            assert source.read(snapshot, request).source_rows == rows


def test_an_introspected_table_exports_at_once_in_every_format(shop: str, tmp_path: Path) -> None:
    made = introspected.export(shop, "customers", tmp_path / "made")

    assert introspected.differences(shop, "customers", made) == []
    assert set(made.files) == {"csv", "json", "jsonl", "excel", "pdf", "parquet"}


def test_deleted_rows_stay_out_and_names_of_others_come_where_asked(shop: str, tmp_path: Path) -> None:
    made = introspected.export(shop, "orders", tmp_path / "made", ["json"])

    assert [row["id"] for row in file_readers.documents(made.files["json"])] == [1, 2]


def test_the_columns_that_people_read_are_guessed(tmp_path: Path) -> None:
    table = "CREATE TABLE works (id INTEGER PRIMARY KEY, title TEXT, sha256 TEXT, file_path TEXT, token TEXT, day DATE)"
    assert attributes(sqlite(tmp_path, table), "works")["print"] == ["id", "title", "day"]


def test_a_table_without_columns_for_programs_is_printed_whole(shop: str) -> None:
    assert "print" not in attributes(shop, "orders")


def test_a_table_whose_key_is_json_can_be_exported(postgres_url: str, tmp_path: Path) -> None:
    execute(
        postgres_url,
        "CREATE TABLE t (k jsonb PRIMARY KEY); INSERT INTO t VALUES ('[10]'), ('[9]');"
        "CREATE TABLE of_t (id int PRIMARY KEY, t jsonb REFERENCES t)",
    )
    made = introspected.export(postgres_url, "t", tmp_path / "t", ["csv"])
    assert introspected.differences(postgres_url, "t", made) == []
    introspected.export(postgres_url, "of_t", tmp_path / "of_t", ["csv"])
