"""Keys, names and places: any that a database can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.introspection.naming import (
    dataset_name,
    find_label,
    is_for_machines,
    relation_name,
    safe_name,
)
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.hostile import introspected, plain_driver
from export_pipeline_tests.sources.introspection.schemas import SHOP, attributes, execute


@pytest.mark.parametrize(
    ("table", "key", "comment"),
    [
        ("two (a int, b int, c int, primary key (b, a))", ["b", "a"], ""),
        (
            "one (a int, b int not null unique, c int not null, d int not null, unique (c, d))",
            ["b"],
            "no primary key",
        ),
        ("nullable (a int unique, b int)", ["a", "b"], "There is no key"),
        ('"no key" (a int, b text)', ["a", "b"], "There is no key"),
    ],
)
def test_a_key_is_found_or_all_columns_are_it(shop: str, table: str, key: list[str], comment: str) -> None:
    with plain_driver.connect(shop) as connection:
        connection.cursor().execute(f"CREATE TABLE {table}")
        connection.commit()
    name = table.partition(" (")[0].strip('"')

    assert attributes(shop, name)["source"]["key"] == key
    assert comment in introspect(shop, name).yaml


HOSTILE_NAMES = ['with "quotes"', "a.b", "1st", "_id", "schema", "model_config", "yes", "日本", "Größe (m²)", "#x: [y]", "%s", ":p", "select", "ÿ\t"]  # fmt: skip


@pytest.mark.slow
def test_any_name_of_a_column_or_table_can_be_exported(shop: str, tmp_path: Path) -> None:
    quoted = ['"' + name.replace('"', '""').replace("%", "%") + '"' for name in HOSTILE_NAMES]
    table = '"Odd: {name} #1"'
    with plain_driver.connect(shop) as connection:
        cursor = connection.cursor()
        cursor.execute(
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {', '.join(f'{name} TEXT' for name in quoted)})"
        )
        cursor.execute(
            f"INSERT INTO {table} VALUES (1, {', '.join(f''''{i}' ''' for i in range(len(quoted)))})"
        )
        connection.commit()
    declared = attributes(shop, "Odd: {name} #1")

    assert declared["dataset"] == "odd_name_1"
    assert [column.get("from", column["name"]) for column in declared["columns"]] == ["id", *HOSTILE_NAMES]
    assert all(column["header"] == column["from"] for column in declared["columns"] if "from" in column)
    assert introspected.use_everything(shop, "Odd: {name} #1") > 40
    made = introspected.export(shop, "Odd: {name} #1", tmp_path / "made", ["csv", "json", "parquet", "excel"])
    assert introspected.differences(shop, "Odd: {name} #1", made) == []


@pytest.mark.slow
def test_views_and_other_schemas_are_introspected_too(postgres_url: str, tmp_path: Path) -> None:
    execute(
        postgres_url,
        SHOP
        + 'CREATE SCHEMA sales; CREATE TABLE sales."Visit" (id uuid PRIMARY KEY, order_id int REFERENCES orders (id));'
        "CREATE VIEW sales.totals AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY 1;"
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM customers; COMMENT ON TABLE orders IS 'What was \"sold\"';"
        "COMMENT ON COLUMN orders.total IS E'with tax\\nand fees';",
    )

    assert attributes(postgres_url, "sales.visit")["source"]["table"] == "sales.Visit"
    assert attributes(postgres_url, "sales.totals")["source"]["key"] == ["customer_id", "total"]
    assert attributes(postgres_url, "kept")["dataset"] == "kept"
    assert attributes(postgres_url, "orders")["description"] == 'What was "sold"'
    columns = {column["name"]: column for column in attributes(postgres_url, "orders")["columns"]}
    assert columns["total"]["description"] == "with tax and fees"
    assert "description" not in columns["id"]
    made = introspected.export(postgres_url, "sales.totals", tmp_path / "made", ["csv"])
    assert introspected.differences(postgres_url, "sales.totals", made) == []
    with pytest.raises(SourceError, match=r"did you mean sales\.visit"):
        introspect(postgres_url, "visit")


def test_an_unknown_table_is_refused_with_the_nearest(shop: str) -> None:
    with pytest.raises(SourceError, match="no table 'oders'; did you mean orders"):
        introspect(shop, "oders")
    assert introspect(shop, "ORDERS").table == "orders"


def test_a_missing_database_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is no SQLite file"):
        introspect(f"sqlite:///{tmp_path}/none.db", "orders")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(SourceError, match="cannot be reached: check EXPORT_SOURCE_URL"):
        introspect("postgresql://nobody@127.0.0.1:1/none", "orders")
    with pytest.raises(SourceError, match="not a database URL"):
        introspect("orders", "orders")


def test_names_are_made_safe_and_stay_unique() -> None:
    assert safe_name("Größe (m²)") == "Grosse_m2"
    assert safe_name("日本") == "column"
    assert safe_name("a b", ["A_B", "a_b_2"]) == "a_b_3"
    assert dataset_name("sales.OrderLines") == "order_lines"
    assert dataset_name("2026 orders") == "table_2026_orders"
    assert relation_name("CustomerId", "people", []) == "Customer"
    assert relation_name("id", "sales.people", ["people"]) == "people_2"
    assert find_label(["id", "Title", "FullName"]) == "FullName"


@pytest.mark.parametrize("name", ["content_sha256", "fileHash", "md5", "storage_path", "row_uuid", "etag"])
def test_hashes_and_paths_are_for_programs(name: str) -> None:
    assert is_for_machines(name)


@pytest.mark.parametrize("name", ["name", "hashtag_count", "pathology", "id", "shape", "dashboard"])
def test_other_names_are_for_people(name: str) -> None:
    assert not is_for_machines(name)
