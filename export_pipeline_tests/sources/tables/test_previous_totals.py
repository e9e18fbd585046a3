"""A damaged cell of the previous period neither stops the export nor falsifies the comparison."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.windows import Window
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options
from export_pipeline_tests.sources.tables.test_key_ranges import count_connections
from export_pipeline_tests.sources.tables.test_table import database, execute, export

__all__ = ["database"]

MARCH = Window("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), "UTC")
MONEY = {"type": "money(12,2)", "total": True}
SPEC: dict[str, Any] = {
    "source": {"table": "t"},
    "window": {"column": "day", "type": "date"},
    "compare": "previous_period",
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "price", **MONEY},
        {"name": "fee", **MONEY},
        {"name": "half", **MONEY, "compute": "round(price / pieces, 2)"},
        {"name": "pieces", "type": "integer", "hidden": True},
    ],
}


def compare(url: str, price: str = "numeric(12,2)", *rows: str, **changes: Any) -> ExportData:
    """Export March, after a February with these rows."""
    execute(
        url,
        f"CREATE TABLE t (id int PRIMARY KEY, day date, price {price}, fee numeric(12,2), pieces int)",
        "INSERT INTO t VALUES (1, '2026-03-05', 10, 1, 2)",
        *(f"INSERT INTO t VALUES ({row})" for row in rows),
    )
    data, _ = export(url, {**SPEC, **changes}, window=MARCH)
    return data


def test_all_columns_are_compared(database: str) -> None:
    data = compare(database, "numeric(12,2)", "2, '2026-02-01', 3, 1.25, 2", "3, '2026-02-28', 5, 0.5, 0")
    assert {name: float(total) for name, total in data.previous_totals.items()} == {
        "price": 8.0,
        "fee": 1.75,
        "half": 1.5,  # without the division by zero, which is null
    }
    assert data.warnings == []


@pytest.mark.parametrize("cell", ["'NaN'", "'Infinity'"])
def test_a_column_with_an_infinity_is_not_compared(postgres_url: str, cell: str) -> None:
    data = compare(postgres_url, "numeric", f"2, '2026-02-01', {cell}, 1.25, 2", "3, '2026-02-02', 7, 1, 1")
    assert {name: float(total) for name, total in data.previous_totals.items()} == {"fee": 2.25}
    (first, second) = data.warnings
    assert first.startswith("price: not compared with the previous period, whose sum would lack cells: ")
    assert second.startswith("half: not compared with the previous period")
    assert "NaN or infinity" in first


def test_a_text_among_numbers_of_sqlite_is_not_left_out_silently(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    data = compare(url, "integer", "2, '2026-02-01', 'anna', 1.25, 2", "3, '2026-02-02', 7, 1, 1")
    assert {name: float(total) for name, total in data.previous_totals.items()} == {"fee": 2.25}
    assert data.warnings == [
        "price: not compared with the previous period, whose sum would lack cells: "
        "1 (a number that its column cannot hold, left empty).",
        "half: not compared with the previous period, whose sum would lack cells: "
        "1 (a number that its column cannot hold, left empty).",
    ]


def test_cells_that_cannot_be_read_stop_no_export(database: str) -> None:
    columns = [*SPEC["columns"][:3], {"name": "cut", **MONEY, "compute": "round(price * 1.0, 2)"}]
    data = compare(database, "numeric", "2, '2026-02-01', 0.12345, 1.25, 2", columns=columns)
    assert data.source_rows == 1
    assert data.previous_totals == {}
    (warning,) = data.warnings
    assert warning.startswith(
        "price, fee, cut: not compared with the previous period, which cannot be added. "
    )
    assert "column 'price' holds a value that is no money(12,2)" in warning


def test_an_error_of_the_database_stops_no_export(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE texts (id int PRIMARY KEY, day date, price text)",
        "INSERT INTO texts VALUES (1, '2026-03-05', '10'), (2, '2026-02-05', 'anna')",
        "CREATE VIEW t AS SELECT id, day, price::numeric(12,2) AS price FROM texts",
    )
    data, rows = export(postgres_url, {**SPEC, "columns": SPEC["columns"][:2]}, window=MARCH)
    assert [row["id"] for row in rows] == [1]
    assert data.previous_totals == {}
    (warning,) = data.warnings
    assert "invalid text representation (SQLSTATE 22P02)" in warning
    assert "anna" not in warning


def test_windows_of_one_snapshot_need_no_further_connection(postgres_url: str) -> None:
    """A backfill reads all of its windows from one snapshot; a period that cannot be added harms no other."""
    execute(
        postgres_url,
        "CREATE TABLE texts (id int PRIMARY KEY, day date, price text)",
        "INSERT INTO texts VALUES (1, '2026-03-05', '10'), (2, '2026-02-05', 'anna'), (3, '2026-01-05', '7.5')",
        "CREATE VIEW t AS SELECT id, day, price::numeric(12,2) AS price FROM texts",
    )
    spec = {**SPEC, "columns": SPEC["columns"][:2]}
    months = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)]
    windows = [Window(f"{start:%F}", start, end, "UTC") for start, end in pairwise(months)]
    totals = []
    with open_snapshot(postgres_url) as snapshot:
        for window in [windows[2], windows[2], windows[0], windows[2]]:
            data = table.read(
                snapshot, Request("t", tabular, spec, None, options(spec).model_validate({}), window)
            )
            totals.append((dict(data.previous_totals), len(data.warnings)))
            assert data.tables["rows"].arrow().num_rows == 1
            assert count_connections(postgres_url) == 1
    assert totals == [({}, 1), ({}, 1), ({"price": "0"}, 0), ({}, 1)]


def test_a_period_that_fails_after_many_rows_is_cut_short(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE t (id int PRIMARY KEY, day date, price numeric)",
        "INSERT INTO t SELECT n, '2026-02-05', CASE n WHEN 1 THEN 0.12345 ELSE 1 END"
        " FROM generate_series(1, 300000) n",
        "INSERT INTO t VALUES (0, '2026-03-05', 1)",
    )
    columns = [*SPEC["columns"][:2], {"name": "cut", **MONEY, "compute": "round(price * 1.0, 2)"}]
    data, rows = export(postgres_url, {**SPEC, "columns": columns}, window=MARCH)
    assert [row["id"] for row in rows] == [0]
    assert data.previous_totals == {}
    assert "column 'price' holds a value that is no money(12,2)" in data.warnings[0]


GROUPED: dict[str, Any] = {
    **SPEC,
    "group_by": ["account", "name"],
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "account"},
        {"name": "name"},
        {"name": "price", **MONEY},
        {"name": "cents", "type": "money", "total": True},
        {"name": "double", **MONEY, "compute": "price * 2"},
    ],
}


def test_groups_of_the_previous_period_are_added_in_the_same_snapshot(database: str) -> None:
    execute(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, day date, account text, name text, price numeric(12,2), cents int)",
        "INSERT INTO t VALUES (1, '2026-03-05', '100', 'Cash', 10, 1000)",
        "INSERT INTO t VALUES (2, '2026-02-01', '200', 'Rent', 3, -5), (3, '2026-02-28', '200', 'Other', 5.25, 7)",
        "INSERT INTO t VALUES (4, '2026-02-02', NULL, NULL, NULL, 1), (5, '2026-01-31', '300', 'Old', 1, 1)",
    )
    data, _ = export(database, GROUPED, window=MARCH)
    groups = {group["value"]: group for group in data.previous_groups or ()}
    sums = {key: {n: float(total) for n, total in one["totals"].items()} for key, one in groups.items()}
    assert sums == {
        "200": {"price": 8.25, "cents": 2, "double": 16.5},
        None: {"price": 0, "cents": 1, "double": 0},
    }
    assert groups["200"]["names"] == {"account": "200", "name": "Rent"}
    assert {name: float(total) for name, total in data.previous_totals.items()} == {
        "price": 8.25, "cents": 3, "double": 16.5,
    }  # fmt: skip
    assert data.warnings == []


def test_too_many_groups_are_not_compared(database: str) -> None:
    execute(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, day date, account text, name text, price numeric(12,2), cents int)",
        "INSERT INTO t VALUES (0, '2026-03-05', '100', 'Cash', 10, 1000)",
        *(f"INSERT INTO t VALUES ({n}, '2026-02-05', '{n}', '', 1, 1)" for n in range(1, 202)),
    )
    data, _ = export(database, GROUPED, window=MARCH)
    assert (data.previous_groups, float(data.previous_totals["price"])) == (None, 201)
    assert data.warnings == [
        "Groups are not compared with those of the previous period: it has more than 200 of them."
    ]
