"""Views whose rows or values change at each read, tables with very many columns, and names with dots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.sources.snapshot import Snapshot, SourceError, open_snapshot
from export_pipeline.sources.tables import key_ranges
from export_pipeline.sources.tables import read as table
from export_pipeline.sources.tables.consistency import ConsistencyCheck
from export_pipeline.tabular import options

VIEWS = {
    "values_change": "SELECT id, random() AS n FROM t",
    "rows_change": "SELECT id, 1 AS n FROM t WHERE abs(random()) * {scale} < 0.5",
    "sound": "SELECT id, id / 7.0 AS n FROM t",
}
SCALE = {"sqlite": "1.0 / 9223372036854775807", "postgresql": "1"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/app.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    run(url, "CREATE TABLE t (id bigint PRIMARY KEY)")
    run(url, f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(3_000))}")
    for name, select in VIEWS.items():
        run(url, f"CREATE VIEW {name} AS {select.format(scale=SCALE[request.param])}")
    return url


def run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def read(snapshot: Snapshot, spec: dict[str, Any]) -> ExportData:
    return table.read(snapshot, Request("items", tabular, spec, None, options(spec).model_validate({})))


def spec(name: str) -> dict[str, Any]:
    return {
        "source": {"table": name},
        "columns": [{"name": "id", "type": "integer"}, {"name": "n", "type": "float"}],
    }


@pytest.mark.parametrize("name", ["values_change", "rows_change"])
def test_a_view_that_changes_at_each_read_is_named(url: str, name: str) -> None:
    with (
        open_snapshot(url) as snapshot,
        pytest.raises(SourceError, match=f"{name} gives other rows or values at each read"),
    ):
        read(snapshot, spec(name)).tables["rows"].arrow()


@pytest.mark.parametrize("name", ["values_change", "rows_change", "sound"])
def test_an_inconsistency_is_named_where_shares_are_read_side_by_side(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ranges, "LEAST_ROWS", 10)
    with open_snapshot(url) as snapshot:
        parts = read(snapshot, spec(name)).tables["rows"].parts
        try:
            assert sum(batch.num_rows for part in parts for batch in part()) in (0, 3_000)
            assert name == "sound" or not parts
        except SourceError as error:
            assert name in str(error)


def test_a_sound_view_is_read(url: str) -> None:
    with open_snapshot(url) as snapshot:
        rows = read(snapshot, spec("sound")).tables["rows"]
        assert rows.arrow().num_rows == rows.arrow().num_rows == 3_000


@pytest.mark.slow
def test_more_sums_than_a_statement_may_have(url: str) -> None:
    """PostgreSQL allows 1,664 expressions, SQLite 2,000; each of 700 columns of floats has four sums."""
    names = [f"c{n}" for n in range(700)]
    run(url, f"CREATE TABLE wide (id int PRIMARY KEY, {', '.join(f'{name} real' for name in names)})")
    run(url, f"INSERT INTO wide VALUES (1, {', '.join(map(str, range(700)))})")
    wide = {
        "source": {"table": "wide"},
        "columns": [{"name": "id", "type": "integer"}, *({"name": name, "type": "float"} for name in names)],
    }
    with open_snapshot(url) as snapshot:
        data = read(snapshot, wide)
        (row,) = data.tables["rows"].arrow().to_pylist()
    assert row == {"id": 1} | {name: float(n) for n, name in enumerate(names)}
    assert {name: data.source_totals[name] for name in names} == {
        name: float(n) for n, name in enumerate(names)
    }


@pytest.mark.slow
def test_more_columns_than_the_database_gives_at_once(url: str) -> None:
    run(url, "CREATE TABLE texts (id bigint PRIMARY KEY, name text)")
    columns = [{"name": f"c{n}", "from": "name", "type": "text"} for n in range(2_100)]
    with (
        open_snapshot(url) as snapshot,
        pytest.raises(SourceError, match="reads more columns than the source"),
    ):
        read(snapshot, {"source": {"table": "texts"}, "columns": columns}).tables["rows"].arrow()


@pytest.mark.slow
def test_names_with_dots_are_found_and_never_mistaken(postgres_url: str) -> None:
    run(
        postgres_url,
        'CREATE SCHEMA "a.b"', "CREATE SCHEMA a",
        'CREATE TABLE "a.b"."c.d" AS SELECT 1 AS id', 'CREATE TABLE a."x.y" AS SELECT 2 AS id',
        'CREATE TABLE "p.q" AS SELECT 3 AS id', 'CREATE TABLE "a.z" AS SELECT 4 AS id', "CREATE TABLE a.z AS SELECT 5 AS id",
    )  # fmt: skip
    names = {
        "a.b.c.d": 1, '"a.b"."c.d"': 1, "a.x.y": 2, 'a."x.y"': 2, "p.q": 3, 'public."p.q"': 3,
        'public."a.z"': 4, '"a"."z"': 5,
    }  # fmt: skip
    with open_snapshot(postgres_url) as snapshot:
        for name, id in names.items():
            one = {"source": {"table": name}, "columns": [{"name": "id", "type": "integer"}]}
            assert read(snapshot, one).tables["rows"].arrow().to_pylist() == [{"id": id}], name
        with pytest.raises(
            SourceError, match=r'may be "a.z" or "a"."z"; write schema and table, each in quotes'
        ):
            read(snapshot, {"source": {"table": "a.z"}, "columns": [{"name": "id", "type": "integer"}]})


@pytest.mark.parametrize(
    ("stored", "cell"),
    [
        ("1000000000000000256.0", 1000000000000000256),  # whose shortest digits are …0300
        ("'1e3'", 1000),
        ("' 1.5e1 '", 15),
        ("'9223372036854775807'", 2**63 - 1),
        ("'9223372036854775808'", None),
        ("9223372036854775808.0", None),
        ("'1e19'", None),
        ("'12.50'", None),
        ("3.7", None),
    ],
)
def test_an_integer_of_sqlite_is_added_as_it_is_read(tmp_path: Path, stored: str, cell: int | None) -> None:
    sqlite_url = f"sqlite:///{tmp_path}/odd.db"
    run(sqlite_url, "CREATE TABLE odd (id INTEGER PRIMARY KEY, n)")
    run(sqlite_url, f"INSERT INTO odd VALUES (1, {stored})")
    columns = [{"name": "id", "type": "integer"}, {"name": "n", "type": "integer"}]
    with open_snapshot(sqlite_url) as snapshot:
        data = read(snapshot, {"source": {"table": "odd"}, "columns": columns})
        assert data.tables["rows"].arrow().to_pylist() == [{"id": 1, "n": cell}]
    assert data.exact_totals["n"] == str(cell or 0)


def test_sums_of_large_integers_are_exact_and_read_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (2**63 - 1, 2**63 - 1, -(2**63), 30000000000000465, -7)
    run(url, "CREATE TABLE large (id bigint PRIMARY KEY, n bigint)")
    run(url, f"INSERT INTO large VALUES {', '.join(f'({key}, {cell})' for key, cell in enumerate(cells))}")
    monkeypatch.setattr(ConsistencyCheck, "_explain", lambda _: pytest.fail("the source seems to change"))
    columns = [{"name": "id", "type": "integer"}, {"name": "n", "type": "integer"}]
    columns.append({"name": "cents", "from": "n", "type": "money"})
    with open_snapshot(url) as snapshot:
        data = read(snapshot, {"source": {"table": "large"}, "columns": columns})
        assert data.tables["rows"].arrow().num_rows == len(cells)
    assert data.exact_totals == {"id": "10", "n": str(sum(cells)), "cents": str(sum(cells))}
    assert data.source_totals["|n|"] == float(sum(map(abs, cells)))
