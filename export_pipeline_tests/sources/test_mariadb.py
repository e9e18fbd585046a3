"""A database that we have no reader of our own for: read by its SQLAlchemy dialect."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.core.windows import Window
from export_pipeline.sources.arrow_types import NO_NUMBER
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.introspection.schema import connect
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options
from export_pipeline_tests.services.mariadb import mariadb_server

SCHEMA = """
SET time_zone = '+02:00';
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;
CREATE TABLE customers (
    id INT PRIMARY KEY, name VARCHAR(80) NOT NULL, vip BOOLEAN, born DATE, seen DATETIME(6), at TIMESTAMP(6) NULL,
    balance DECIMAL(20,4), score DOUBLE, big BIGINT UNSIGNED, kind ENUM('a','b'), noon TIME, raw VARBINARY(20),
    bits BIT(8), uid UUID, notes TEXT, place POINT);
INSERT INTO customers VALUES
    (1, 'Zoë 🦊 "x"', TRUE, '1001-01-01', '2024-02-29 23:59:59.123456', '2024-07-01 12:00:00.5', 1234567890123456.7891,
     1e308, 18446744073709551615, 'a', '25:00:01', x'00ff', b'1', '550e8400-e29b-41d4-a716-446655440000', '', POINT(1, 2)),
    (2, '=1+1', FALSE, NULL, NULL, NULL, -0.0001, -1.5, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, 'zoe', NULL, '9999-12-31', NULL, NULL, NULL, NULL, NULL, 'b', NULL, NULL, NULL, NULL, 'ZOË', NULL);
CREATE TABLE orders (
    id BIGINT PRIMARY KEY, customer_id INT, total DECIMAL(12,2), placed DATETIME,
    FOREIGN KEY (customer_id) REFERENCES customers (id));
INSERT INTO orders SELECT seq, NULLIF(MOD(seq, 4), 0), seq / 8, '2024-01-01' + INTERVAL seq HOUR FROM seq_1_to_9000;
CREATE TABLE ratings (id INT PRIMARY KEY, stars TINYINT(1), shift INT(1), fine BOOLEAN);
INSERT INTO ratings VALUES (1, 5, 7, TRUE), (2, NULL, 0, FALSE), (3, 1, 1, NULL);
CREATE TABLE tenants (id VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY);
INSERT INTO tenants VALUES ('Zoe'), ('zoe'), ('Zoë');
CREATE TABLE ledger (id INT PRIMARY KEY, tenant VARCHAR(20), amount VARCHAR(20));
INSERT INTO ledger VALUES (1, 'Zoe', 'Zoe'), (2, 'zoe', 'zoe'), (3, 'Zoë', 'Zoë'), (4, 'zoe ', 'blank')
"""
LEDGER = {
    "source": {"table": "ledger", "key": ["id"]},
    "columns": [{"name": "amount"}],
    "scope": {"column": "tenant", "table": "tenants", "id": "id", "name": "id"},
}


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with mariadb_server() as server:
        engine = sa.create_engine(server)
        with engine.connect() as connection:
            for statement in SCHEMA.split(";\n"):
                connection.exec_driver_sql(statement)
            connection.commit()
        engine.dispose()
        yield f"{server}/shop?charset=utf8mb4"


def spec(url: str, name: str, **changed: Any) -> dict[str, Any]:
    """The YAML that `introspect` writes for a table."""
    attributes = yaml.safe_load(introspect(url, name).yaml)["attributes"]
    kept = ("source", "columns", "filters", "sort", "window")
    return {key: value for key, value in attributes.items() if key in kept} | changed


def rows(
    url: str, spec: dict[str, Any], scope: str | None = None, window: Window | None = None, **asked: Any
) -> list[dict[str, Any]]:
    with open_snapshot(url) as snapshot:
        asking = Request("items", tabular, spec, scope, options(spec)(**asked), window)
        data = table.read(snapshot, asking)
        rows: list[dict[str, Any]] = data.tables["rows"].arrow().to_pylist()
        assert len(rows) == data.source_rows
        return rows


def test_every_value_is_as_stored(shop: str) -> None:
    described = spec(shop, "customers")
    kinds = {column["name"]: column["type"] for column in described["columns"]}
    assert not {"raw", "bits", "place"} & set(kinds)  # bytes are no text, and no cast makes one of a point
    assert (kinds["vip"], kinds["big"]) == ("boolean", "decimal(20,0)")
    assert rows(shop, described) == [
        {
            "id": 1, "name": 'Zoë 🦊 "x"', "vip": True, "born": date(1001, 1, 1),
            "seen": datetime(2024, 2, 29, 23, 59, 59, 123456), "at": datetime(2024, 7, 1, 10, 0, 0, 500000, UTC),
            "balance": Decimal("1234567890123456.7891"), "score": 1e308, "big": Decimal(2**64 - 1), "kind": "a",
            "noon": "25:00:01", "uid": "550e8400-e29b-41d4-a716-446655440000", "notes": "",
        },
        {
            "id": 2, "name": "=1+1", "vip": False, "born": None, "seen": None, "at": None,
            "balance": Decimal("-0.0001"), "score": -1.5, "big": Decimal(0), "kind": None, "noon": None, "uid": None,
            "notes": None,
        },
        {
            "id": 3, "name": "zoe", "vip": None, "born": date(9999, 12, 31), "seen": None, "at": None,
            "balance": None, "score": None, "big": None, "kind": "b", "noon": None, "uid": None, "notes": "ZOË",
        },
    ]  # fmt: skip


def test_a_number_of_one_digit_is_a_number(shop: str) -> None:
    """BOOLEAN is an alias of TINYINT(1), which holds numbers up to 127, and INT(1) any number."""
    described = spec(shop, "ratings")
    kinds = {column["name"]: column["type"] for column in described["columns"]}
    assert kinds == {"id": "integer", "stars": "integer", "shift": "integer", "fine": "boolean"}
    assert rows(shop, described) == [
        {"id": 1, "stars": 5, "shift": 7, "fine": True},
        {"id": 2, "stars": None, "shift": 0, "fine": False},
        {"id": 3, "stars": 1, "shift": 1, "fine": None},
    ]
    assert [row["id"] for row in rows(shop, described, filters={"stars": {"range": {"from": 2}}})] == [1]


def test_a_number_beyond_64_bits_is_no_other_number(shop: str) -> None:
    """As a CAST to SIGNED makes it: -1 for the largest unsigned one."""
    columns = [{"name": "id", "type": "integer"}, {"name": "big", "type": "integer"}]
    asked = {"source": {"table": "customers", "key": ["id"]}, "columns": columns}
    assert [row["big"] for row in rows(shop, asked)] == [None, 0, None]
    with open_snapshot(shop) as snapshot:
        data = table.read(snapshot, Request("items", tabular, asked, None, options(asked).model_validate({})))
        assert list(data.tables["rows"].open())
    assert dict(data.changed) == {(NO_NUMBER, "rows.big"): 1}
    assert data.exact_totals["big"] == "0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": {"contains": "ZOË"}}, [1]),
        ({"notes": {"contains": "zoë"}}, [3]),
        ({"kind": {"equals": "a"}}, [1]),
        ({"notes": {"equals": "zoë"}}, []),
        ({"notes": {"in": ["zoe", "ZOË", "ZOË "]}}, [3]),
        ({"vip": {"equals": False}}, [2]),
        ({"seen": {"range": {"from": "2024-02-29", "to": "2024-02-29"}}}, [1]),
        ({"balance": {"range": {"to": "0"}}}, [2]),
        ({"big": {"range": {"from": "18446744073709551615"}}}, [1]),
        ({"uid": {"equals": "550E8400-E29B-41D4-A716-446655440000"}}, [1]),
        ({"born": {"is_null": True}}, [2]),
        ({"notes": {"contains": "' OR 1=1 -- "}}, []),
        ({"notes": {"contains": "%"}}, []),
    ],
)
def test_filters_find_the_same_rows_as_elsewhere(
    shop: str, filters: dict[str, Any], expected: list[int]
) -> None:
    described = spec(shop, "customers")
    described["filters"]["notes"] += ["equals", "in"]
    assert [row["id"] for row in rows(shop, described, filters=filters)] == expected


@pytest.mark.slow
def test_rows_without_a_value_come_last_in_either_order(shop: str) -> None:
    described = spec(shop, "customers")
    assert [row["id"] for row in rows(shop, described, sort=["notes"])] == [1, 3, 2]
    assert [row["id"] for row in rows(shop, described, sort=["-born"])] == [3, 1, 2]
    assert [row["id"] for row in rows(shop, described, sort=["name"])] == [2, 1, 3]  # by code point


@pytest.mark.slow
def test_a_scope_has_its_rows_and_no_others(shop: str) -> None:
    described = spec(shop, "orders")
    described["scope"] = {"column": "customer_id", "table": "customers", "id": "id", "name": "name"}
    with open_snapshot(shop) as snapshot:
        assert sorted(table.scopes(snapshot, described)) == ["1", "2", "3"]
    of_two = rows(shop, described, "2", columns=["id", "customer_name", "total"])
    assert [row["id"] for row in of_two] == list(range(2, 9001, 4))
    assert {row["customer_name"] for row in of_two} == {"=1+1"}
    assert sum(row["total"] for row in of_two) == sum(
        (Decimal(n) / 8).quantize(Decimal("0.01"), "ROUND_HALF_UP") for n in range(2, 9001, 4)
    )
    for foreign in ("2 ", "02", "2x", "2' OR '1'='1", "4", ""):
        with pytest.raises(SourceError, match="no such scope"):
            rows(shop, described, foreign)


@pytest.mark.slow
def test_a_scope_is_none_that_the_database_takes_for_the_same(shop: str) -> None:
    """To MySQL these ids are all equal; each must have its own rows alone."""
    for asked in ("Zoe", "zoe", "Zoë"):
        assert [row["amount"] for row in rows(shop, LEDGER, asked)] == [asked]
    for foreign in ("ZOE", "zoe ", "Zoé"):
        with pytest.raises(SourceError, match="no such scope"):
            rows(shop, LEDGER, foreign)


def test_a_window_has_the_rows_of_its_time(shop: str) -> None:
    described = spec(shop, "orders", window={"column": "placed", "zone": "UTC"})
    day = Window("daily", datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
    assert [row["id"] for row in rows(shop, described, window=day)] == list(range(24, 48))


def test_a_snapshot_of_mariadb_cannot_write(shop: str) -> None:
    with open_snapshot(shop) as snapshot, pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
        snapshot._connection.exec_driver_sql("DELETE FROM orders")  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_an_error_while_the_driver_reads_stays_that_error(
    shop: str, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """pymysql closes its socket then, and a rollback would say `(0, '')`."""

    def fail(*_: Any) -> None:
        raise error("while it was read")

    for opened in (connect, open_snapshot):
        before = signal.signal(signal.SIGALRM, fail)
        with pytest.raises(error, match="while it was read"), opened(shop) as reader:  # type: ignore[operator]
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            getattr(reader, "_connection", reader).exec_driver_sql("SELECT SLEEP(20)")
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("SELECT title FROM gone", r"A view of the source database is broken.*invalid table"),
        ("SELECT NEXTVAL(numbers) AS title", r"Exports only read.*READ ONLY transaction"),
    ],
)
def test_a_view_that_cannot_be_read_says_what_to_do(shop: str, view: str, message: str) -> None:
    engine = sa.create_engine(shop)
    with engine.connect() as connection:
        for statement in (
            "CREATE TABLE gone (title TEXT)",
            "CREATE SEQUENCE numbers",
            f"CREATE VIEW odd AS {view}",
            "DROP TABLE gone",
        ):
            connection.exec_driver_sql(statement)
        with pytest.raises(SourceError, match=message):
            introspect(shop, "odd")
            rows(shop, {"source": {"table": "odd", "key": ["title"]}, "columns": [{"name": "title"}]})
        connection.exec_driver_sql("DROP SEQUENCE numbers")
        connection.exec_driver_sql("DROP VIEW odd")
    engine.dispose()


def test_a_view_of_a_user_who_is_gone_says_so(shop: str) -> None:
    engine = sa.create_engine(shop)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "CREATE DEFINER = 'gone'@'localhost' VIEW theirs AS SELECT id FROM tenants"
        )
        with pytest.raises(SourceError, match=r"A view of the source database is broken.*'gone'@'localhost'"):
            rows(shop, {"source": {"table": "theirs", "key": ["id"]}, "columns": [{"name": "id"}]})
        connection.exec_driver_sql("DROP VIEW theirs")
    engine.dispose()


def test_a_query_has_its_time_limit(shop: str) -> None:
    slow = "SELECT count(*) FROM orders a, orders b, orders c WHERE a.total + b.total + c.total < 0"
    with (
        open_snapshot(shop, statement_timeout=0.2) as snapshot,
        pytest.raises(sa.exc.DBAPIError, match="max_statement_time"),
    ):
        snapshot._connection.exec_driver_sql(slow)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("TIME", ["-10:00:00", "09:00:00", "100:00:00"]),
        ("ENUM('small', 'large', 'huge')", ["small", "large", "huge"]),
        ("INET6", ["::9", "::10", "::ffff"]),
        ("YEAR", ["1999", "2024"]),
        ("VARCHAR(9)", ["B", "a", "Ä"]),
    ],
)
def test_keys_have_the_databases_order_and_texts_that_of_code_points(
    shop: str, type_: str, values: list[str]
) -> None:
    engine = sa.create_engine(shop)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS keyed"))
        connection.execute(sa.text(f"CREATE TABLE keyed (n INT, k {type_})"))
        for number, value in enumerate(values):
            connection.execute(sa.text("INSERT INTO keyed VALUES (:n, :k)"), {"n": number, "k": value})
    engine.dispose()
    spec = {"source": {"table": "keyed", "key": ["k"]}, "columns": [{"name": "n", "type": "integer"}]}
    with open_snapshot(shop) as snapshot:
        request = Request("keyed", tabular, spec, None, options(spec).model_validate({}), None)
        numbers = table.read(snapshot, request).tables["rows"].arrow()["n"].to_pylist()
    assert numbers == [*range(len(values))]
