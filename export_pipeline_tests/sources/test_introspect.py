"""A working defs.yaml from a live schema: what it says of types, keys, relations and names, and that it loads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import yaml

from export_pipeline import introspection
from export_pipeline.cli import _run
from export_pipeline.components.scaffold import TableParams, TableScaffolder
from export_pipeline.components.table_export import TableModel
from export_pipeline.model import tabular
from export_pipeline.model.export_data import Request
from export_pipeline.model.windows import Window
from export_pipeline.sources import table as source
from export_pipeline.sources.introspect import introspect
from export_pipeline.sources.introspection.naming import dataset_name, label_among, relation_name, safe_name
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline_tests.hostile import public_databases as public

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), total NUMERIC(10,2),
    fee_cents INTEGER, paid BOOLEAN, status VARCHAR(12), note TEXT, api_key TEXT,
    created_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP);
INSERT INTO customers VALUES (1, 'Ann', 'ann@example.org'), (2, 'Böb', NULL);
INSERT INTO orders VALUES
    (1, 1, '12.50', 100, true, 'new', '=1+1', 'k', '2026-01-01 10:00:00', NULL),
    (2, 2, '99999999.99', -5, false, NULL, '', NULL, '2026-01-02 10:00:00.5', NULL),
    (3, 2, NULL, NULL, NULL, NULL, NULL, NULL, '2026-01-03 00:00:00', '2026-02-01 00:00:00');
"""


def sqlite(folder: Path, script: str) -> str:
    """The URL of a SQLite database that a script made."""
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        connection.executescript(script)
    return f"sqlite:///{folder}/app.db"


def execute(url: str, script: str) -> None:
    """Run a script in PostgreSQL."""
    with public.plain(url) as connection:
        connection.cursor().execute(script)
        connection.commit()


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a small shop, on each database."""
    if request.param == "sqlite":
        return sqlite(tmp_path, SHOP)
    url: str = request.getfixturevalue("postgres_url")
    execute(url, SHOP)
    return url


def attributes(url: str, table: str) -> dict[str, Any]:
    """What the YAML of a table says; it loads as Dagster would load it."""
    said: dict[str, Any] = yaml.safe_load(introspect(url, table).yaml)["attributes"]
    TableModel.model_validate(said)
    return said


def types(said: dict[str, Any]) -> dict[str, str]:
    return {column.get("from", column["name"]): column["type"] for column in said["columns"]}


# --- what is written --------------------------------------------------------------------------------


def test_a_table_is_declared_with_all_that_its_schema_says(shop: str) -> None:
    said = attributes(shop, "orders")

    assert said["dataset"] == "orders"
    assert said["formats"] == ["csv", "json", "jsonl", "excel", "pdf", "parquet"]
    assert said["source"] == {
        "table": "orders",
        "key": ["id"],
        "where": {"deleted_at": None},
        "relations": {"customer": {"table": "customers", "from": "customer_id", "to": "id"}},
    }
    assert types(said) == {
        "id": "integer", "customer_id": "integer", "total": "decimal(10,2)", "fee_cents": "integer", "paid": "boolean",
        "status": "text", "note": "text", "api_key": "text", "created_at": "timestamp", "deleted_at": "timestamp",
        "customer.name": "text",
    }  # fmt: skip
    columns = {column["name"]: column for column in said["columns"]}
    assert columns["customer_name"] == {
        "name": "customer_name", "type": "text", "from": "customer.name", "extra": True,
    }  # fmt: skip
    assert columns["api_key"]["hidden"] is True
    assert columns["created_at"]["zone"] is None
    assert said["window"] == {"column": "created_at", "zone": "UTC"}
    assert said["filters"] == {
        "id": ["equals", "in", "range"], "customer_id": ["equals", "in"], "total": ["range", "is_null"],
        "fee_cents": ["range", "is_null"], "paid": ["equals", "is_null"], "status": ["equals", "in", "is_null"],
        "note": ["contains", "is_null"], "created_at": ["range"], "deleted_at": ["range", "is_null"],
    }  # fmt: skip
    assert "api_key" not in said["sort"]
    assert {"id", "total", "created_at"} <= set(said["sort"])


def test_comments_say_what_somebody_may_want_to_change(shop: str) -> None:
    text = introspect(shop, "orders").yaml

    assert "# scope: { column: customer_id, table: customers, id: id, name: name }" in text
    assert "{ name: fee_cents, type: integer }  # `type: money` shows whole units to people" in text
    assert '#   daily: { cron: "15 2 * * *"' in text
    uncommented = (
        text.replace("  # scope:", "  scope:")
        .replace("  # cadences:", "  cadences:")
        .replace("  #   ", "    ")
    )
    said = TableModel.model_validate(yaml.safe_load(uncommented)["attributes"])
    assert said.scope is not None
    assert [*said.cadences.named()] == ["daily", "monthly"]
    options = tabular.options(said.spec()).model_validate({})
    january = Window("2026-01", datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    with open_snapshot(shop) as snapshot:
        assert source.scopes(snapshot, said.spec()) == {"1": "Ann", "2": "Böb"}
        for scope, window, rows in (("1", None, 1), ("2", None, 1), ("1", january, 0), ("2", january, 1)):
            request = Request("orders", "export_pipeline.model.tabular", said.spec(), scope, options, window)
            assert source.read(snapshot, request).source_rows == rows


def test_it_exports_at_once_in_every_format(shop: str, tmp_path: Path) -> None:
    made = public.export(shop, "customers", tmp_path / "made")

    assert public.differences(shop, "customers", made) == []
    assert set(made.files) == {"csv", "json", "jsonl", "excel", "pdf", "parquet"}


def test_deleted_rows_stay_out_and_names_of_others_come_where_asked(shop: str, tmp_path: Path) -> None:
    made = public.export(shop, "orders", tmp_path / "made", ["json"])

    assert [row["id"] for row in public.documents(made.files["json"])] == [1, 2]


# --- types ------------------------------------------------------------------------------------------

EXOTIC = """
CREATE TYPE mood AS ENUM ('happy', 'so "so"', 'Ärger');
CREATE DOMAIN positive AS numeric(8,3) CHECK (value > 0);
CREATE DOMAIN more AS positive CHECK (value > 1);
CREATE DOMAIN stamp AS timestamp(2) with time zone;
CREATE TABLE exotic (
    a smallint, b bigint, c numeric(76,10), d numeric, e numeric(5,-2), f numeric(3,5), g real, h double precision,
    i boolean, j date, k timestamp, l timestamptz, m json, n jsonb, o uuid, p mood, q positive, r text[], s int4range,
    t inet, u bytea, v interval, w time, x macaddr, y money, z "char", aa bit(3), ab timetz, ac oid, ad varchar(10)[],
    ae cidr, af tsvector, ag point, ah name, ai character(5), aj int[][], ak mood[], al more, am stamp);
INSERT INTO exotic VALUES (
    -32768, 9223372036854775807, 123456789012345678901234567890123456789012345678901234567890.0123456789,
    -1234567890123456789012345.000000001, 12345, 0.00123, 0.1, 0.1, true, '0001-01-01', '2026-03-29 02:30:00.000001',
    '2026-03-29 02:30:00+05:30', '{"b": 1, "a": [1.10, null]}', '{"b": 1, "a": 12345678901234567890}',
    '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', 'so "so"', 1.5, '{"a","b,c",NULL}', '[1,5)', '192.168.0.1/24', '\\xDEADBEEF',
    '1 year 2 days 03:04:05.6', '23:59:59.999999', '08:00:2b:01:02:03', '1234.56', 'x', '101', '12:00:00+01', 4294967295,
    '{x}', '10.0.0.0/8', 'a fat cat', '(1.5,2)', 'nm', 'ab', '{{1,2},{3,4}}', '{happy}', 2.125, '2026-03-29 02:30:00.25+00');
INSERT INTO exotic (a) VALUES (NULL);
"""


def test_every_type_of_postgres_is_exported_as_it_is_or_as_it_is_printed(
    postgres_url: str, tmp_path: Path
) -> None:
    execute(postgres_url, EXOTIC)
    said = attributes(postgres_url, "exotic")

    assert types(said) == {
        "a": "integer", "b": "integer", "c": "decimal(76,10)", "d": "decimal(38,9)", "e": "decimal(38,0)",
        "f": "decimal(5,5)", "g": "float", "h": "float", "i": "boolean", "j": "date", "k": "timestamp", "l": "timestamp",
        "m": "json", "n": "json", "o": "uuid", "p": "enum", "q": "decimal(8,3)", "al": "decimal(8,3)", "am": "timestamp", "ah": "text", "ai": "text",
        **dict.fromkeys(("r", "s", "t", "u", "v", "w", "x", "y", "z", "aa", "ab", "ac", "ad", "ae"), "text"),
        **dict.fromkeys(("af", "ag", "aj", "ak"), "text"),
    }  # fmt: skip
    columns = {column["name"]: column for column in said["columns"]}
    assert (columns["k"]["zone"], columns["l"]["zone"]) == (None, "UTC")
    assert [*columns["p"]["labels"]] == ["happy", 'so "so"', "Ärger"]
    made = public.export(postgres_url, "exotic", tmp_path / "made")
    assert public.differences(postgres_url, "exotic", made) == []


def test_everything_that_is_offered_works(shop: str) -> None:
    assert public.use_everything(shop, "orders") > 30
    assert public.use_everything(shop, "customers") > 10


def test_filters_and_orders_work_for_every_type(postgres_url: str, tmp_path: Path) -> None:
    execute(postgres_url, EXOTIC)
    assert public.use_everything(postgres_url, "exotic") > 100
    assert public.use_everything(sqlite(tmp_path, STORED), "stored") > 50


def test_numerics_without_limits_get_the_digits_that_their_values_need(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE sums (few numeric, wide numeric, huge numeric, odd numeric, none numeric);"
        f"INSERT INTO sums VALUES (1.25, {'9' * 40}.5, {'9' * 90}, 'NaN', NULL), (-100, 0, 0, 'Infinity', NULL)",
    )
    said = attributes(postgres_url, "sums")

    assert types(said) == {
        "few": "decimal(38,2)", "wide": "decimal(76,1)", "huge": "text", "odd": "decimal(38,10)", "none": "decimal(38,10)",
    }  # fmt: skip


STORED = """
CREATE TABLE stored (
    whole INTEGER, mixed INTEGER, price DECIMAL(10,2), deep DECIMAL(10,2), loose NUMERIC, wordy NUMERIC, flag BOOLEAN,
    yes BOOLEAN, day DATE, late DATE, moment DATETIME, zoned TIMESTAMP WITH TIME ZONE, epoch DATETIME, shipped_at TEXT,
    code UUID, doc JSON, broken JSON, picture BLOB, part BLOB, bare, "empty" DATE, name TEXT, ratio REAL, big NUMERIC);
INSERT INTO stored VALUES (
    1, 1, 12.5, 0.125, 7, 7, 1, 'yes', '2026-01-01', '2026-01-01 08:00', '2026-01-01T08:00:00.123456',
    '2026-01-01 08:00:00+05:30', 1767225600, '2026-01-01 10:00:00', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a": 1.10}',
    '{', x'00ff', x'61', 5, '', 'O''Neil', 1, 1e300);
INSERT INTO stored VALUES (
    9223372036854775807, 'two', 99999999.99, 12, 1.25, 'seven', 0, 'no', NULL, '2026-01-02', '2026-01-02', NULL, NULL,
    '2026-01-02', NULL, '[1]', '[]', NULL, 'text', 2, '2026-01-01', NULL, 0.1, 2);
"""


def test_sqlite_is_declared_by_what_it_stores(tmp_path: Path) -> None:
    url = sqlite(tmp_path, STORED)
    said = attributes(url, "stored")

    assert types(said) == {
        "whole": "integer", "mixed": "text", "price": "decimal(10,2)", "deep": "decimal(38,3)", "loose": "decimal(38,2)",
        "wordy": "text", "flag": "boolean", "yes": "text", "day": "date", "late": "timestamp", "moment": "timestamp",
        "zoned": "timestamp", "epoch": "integer", "shipped_at": "timestamp", "code": "uuid", "doc": "json",
        "broken": "text", "bare": "integer", "empty": "text", "name": "text", "ratio": "float", "big": "float",
    }  # fmt: skip
    zones = {column["name"]: column.get("zone", "?") for column in said["columns"]}
    assert (zones["moment"], zones["zoned"]) == (None, "UTC")
    text = introspect(url, "stored").yaml
    assert "# picture is left out: bytes, which no format can hold." in text
    assert "# part is left out: bytes among other values." in text
    made = public.export(url, "stored", tmp_path / "made")
    assert public.differences(url, "stored", made) == []


# --- keys, names, places ----------------------------------------------------------------------------


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
    with public.plain(shop) as connection:
        connection.cursor().execute(f"CREATE TABLE {table}")
        connection.commit()
    name = table.partition(" (")[0].strip('"')

    assert attributes(shop, name)["source"]["key"] == key
    assert comment in introspect(shop, name).yaml


HOSTILE_NAMES = ['with "quotes"', "a.b", "1st", "_id", "schema", "model_config", "yes", "日本", "Größe (m²)", "#x: [y]", "%s", ":p", "select", "ÿ\t"]  # fmt: skip


def test_any_name_of_a_column_or_table_can_be_exported(shop: str, tmp_path: Path) -> None:
    quoted = ['"' + name.replace('"', '""').replace("%", "%") + '"' for name in HOSTILE_NAMES]
    table = '"Odd: {name} #1"'
    with public.plain(shop) as connection:
        cursor = connection.cursor()
        cursor.execute(
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {', '.join(f'{name} TEXT' for name in quoted)})"
        )
        cursor.execute(
            f"INSERT INTO {table} VALUES (1, {', '.join(f''''{i}' ''' for i in range(len(quoted)))})"
        )
        connection.commit()
    said = attributes(shop, "Odd: {name} #1")

    assert said["dataset"] == "odd_name_1"
    assert [column.get("from", column["name"]) for column in said["columns"]] == ["id", *HOSTILE_NAMES]
    assert all(column["header"] == column["from"] for column in said["columns"] if "from" in column)
    assert public.use_everything(shop, "Odd: {name} #1") > 40
    made = public.export(shop, "Odd: {name} #1", tmp_path / "made", ["csv", "json", "parquet", "excel"])
    assert public.differences(shop, "Odd: {name} #1", made) == []


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
    assert 'type: "decimal(10,2)" }  # with tax and fees' in introspect(postgres_url, "orders").yaml
    made = public.export(postgres_url, "sales.totals", tmp_path / "made", ["csv"])
    assert public.differences(postgres_url, "sales.totals", made) == []
    with pytest.raises(SourceError, match=r"did you mean sales\.visit"):
        introspect(postgres_url, "visit")


def test_an_unknown_table_is_refused_with_the_nearest(shop: str) -> None:
    with pytest.raises(SourceError, match="no table 'oders'; did you mean orders"):
        introspect(shop, "oders")
    assert introspect(shop, "ORDERS").table == "orders"


def test_a_database_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is no SQLite file"):
        introspect(f"sqlite:///{tmp_path}/none.db", "orders")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(SourceError, match="cannot be read"):
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
    assert label_among(["id", "Title", "FullName"]) == "FullName"


# --- the command and the scaffolder -----------------------------------------------------------------


@pytest.fixture
def defs(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of datasets, for a deployment on the shop."""
    monkeypatch.setenv("EXPORT_SOURCE_URL", shop)
    monkeypatch.setattr(introspection, "DEFS", tmp_path / "defs")
    return tmp_path / "defs"


def test_the_command_prints_or_writes_but_never_over_a_dataset(
    defs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["introspect", "orders"]) == 0
    printed = capsys.readouterr().out
    assert not defs.exists()

    assert _run(["introspect", "orders", "--write"]) == 0
    assert (defs / "orders" / "defs.yaml").read_text("utf-8") == printed
    assert "export-pipeline request orders" in capsys.readouterr().out

    (defs / "orders" / "defs.yaml").write_text("mine")
    assert _run(["introspect", "orders", "--write"]) == 2
    assert (defs / "orders" / "defs.yaml").read_text() == "mine"
    assert "choose a --name" in capsys.readouterr().err
    assert _run(["introspect", "orders", "--write", "--name", "sold"]) == 0
    assert yaml.safe_load((defs / "sold" / "defs.yaml").read_text())["attributes"]["dataset"] == "sold"


@pytest.mark.parametrize("name", ["../up", "Orders", "1st", ""])
def test_a_dataset_cannot_have_any_name(defs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["introspect", "orders", "--write", "--name", name]) == 2
    assert "dataset" in capsys.readouterr().err
    assert not defs.exists()


def test_the_scaffolder_writes_the_same(defs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    ask: Callable[..., Any] = dg.ScaffoldRequest
    request = ask(
        type_name="export_pipeline.TableExport",
        target_path=folder,
        scaffold_format="yaml",
        project_root=tmp_path,
        params=TableParams(table="orders"),
    )
    TableScaffolder().scaffold(request)

    said = yaml.safe_load((folder / "defs.yaml").read_text("utf-8"))
    assert said["type"] == "export_pipeline.TableExport"
    assert TableModel.model_validate(said["attributes"]).dataset == "orders"


def test_the_scaffolder_says_what_is_wrong_and_leaves_nothing(defs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "oders"
    folder.mkdir()
    ask: Callable[..., Any] = dg.ScaffoldRequest
    request = ask(
        type_name="export_pipeline.TableExport",
        target_path=folder,
        scaffold_format="yaml",
        project_root=tmp_path,
        params=TableParams(table="oders"),
    )
    with pytest.raises(click.ClickException, match="did you mean orders"):
        TableScaffolder().scaffold(request)
    assert not folder.exists()
