"""Rows read over several connections of one snapshot are the rows of one select, in its order."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.orchestration.runs.staging import StagingError, load, save
from export_pipeline.sources.snapshot import Snapshot, SourceError, SourceUnavailableError, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options

SPEC: dict[str, Any] = {
    "source": {"table": "orders", "key": ["id"]},
    "scope": {"column": "shop", "table": "shops", "id": "id", "name": "id"},
    "columns": [{"name": "id", "type": "integer"}, {"name": "amount", "type": "decimal(12,2)"}],
    "filters": {"amount": {"operators": ["range"]}},
}


@pytest.fixture
def url(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("export_pipeline.sources.tables.key_ranges.LEAST_ROWS", 10)
    monkeypatch.setattr("export_pipeline.sources.tables.key_ranges.WORKERS", 3)
    execute(
        postgres_url,
        "CREATE TABLE shops (id text PRIMARY KEY)",
        "INSERT INTO shops VALUES ('a'), ('b')",
        "CREATE TABLE orders (id bigint, shop text, amount numeric(12,2))",
        "INSERT INTO orders SELECT n * n * n, CASE WHEN n % 3 = 0 THEN 'b' ELSE 'a' END, n / 4.0"
        " FROM generate_series(-500, 500) n ORDER BY random()",
    )
    return postgres_url


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


def read(
    snapshot: Snapshot, spec: dict[str, Any] = SPEC, scope: str | None = "a", **asked: Any
) -> ExportData:
    return table.read(snapshot, Request("orders", tabular, spec, scope, options(spec)(**asked), None))


def staged(data: ExportData, folder: Path) -> list[dict[str, Any]]:
    save(data, folder)
    rows: list[dict[str, Any]] = load(folder, {data.dataset: data}).tables["rows"].arrow().to_pylist()
    return rows


@pytest.mark.parametrize("asked", [{}, {"filters": {"amount": {"range": {"from": "-60", "to": "31.25"}}}}])
def test_shares_are_the_rows_of_one_select(url: str, tmp_path: Path, asked: dict[str, Any]) -> None:
    with open_snapshot(url) as snapshot:
        data = read(snapshot, **asked)
        execute(url, "INSERT INTO orders SELECT n, 'a', 1 FROM generate_series(-9, 9) n")  # later: not seen
        whole = data.tables["rows"].arrow().to_pylist()
        assert len(data.tables["rows"].parts) == 3
        shares = [
            [row for batch in part() for row in batch.to_pylist()] for part in data.tables["rows"].parts
        ]
        assert staged(data, tmp_path / "staged") == whole
    assert [row for share in shares for row in share] == whole
    assert [row["id"] for row in whole] == sorted(row["id"] for row in whole)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(whole) == data.source_rows == (668 if not asked else len(whole)) > 100
    again = load(tmp_path / "staged", {data.dataset: data})
    assert len(again.tables["rows"].files) == 3
    assert staged(again, tmp_path / "linked") == whole
    assert again.tables["rows"].mapped is not None
    assert again.tables["rows"].mapped().to_pylist() == whole


def test_rows_without_a_key_come_last_and_equal_keys_stay_together(url: str, tmp_path: Path) -> None:
    execute(
        url,
        "INSERT INTO orders SELECT NULL, 'a', n FROM generate_series(1, 400) n",
        "INSERT INTO orders SELECT 7, 'a', n FROM generate_series(1, 900) n",
    )
    with open_snapshot(url) as snapshot:
        data = read(snapshot)
        ids = [row["id"] for row in staged(data, tmp_path)]
    assert len(ids) == data.source_rows == 668 + 1300
    assert ids[-400:] == [None] * 400
    assert ids[:-400] == sorted(ids[:-400])


def test_special_numbers_are_kept_in_every_share(url: str, tmp_path: Path) -> None:
    execute(url, "ALTER TABLE orders ALTER amount TYPE numeric", "UPDATE orders SET amount = 'NaN'")
    with open_snapshot(url) as snapshot:
        data = read(snapshot)
        rows = staged(data, tmp_path)
    assert not data.changed
    assert {str(row["amount"]) for row in rows} == {"NaN"}
    assert len(rows) == 668


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({}, {"sort": ["-amount"]}),
        ({"source": {**SPEC["source"], "order": ["-amount"]}}, {}),
        ({"source": {**SPEC["source"], "key": ["shop", "id"]}}, {}),
    ],
)
def test_another_order_is_read_in_one_piece(url: str, change: dict[str, Any], asked: dict[str, Any]) -> None:
    spec = {**SPEC, **change, "sort": ["amount"]}
    with open_snapshot(url) as snapshot:
        assert read(snapshot, spec, **asked).tables["rows"].parts == ()


def test_without_a_free_connection_rows_are_read_over_one(url: str, tmp_path: Path) -> None:
    execute(
        url,
        "DROP ROLE IF EXISTS single",
        "CREATE ROLE single LOGIN PASSWORD 'single' CONNECTION LIMIT 1",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO single",
    )
    single = sa.make_url(url).set(username="single", password="single").render_as_string(hide_password=False)
    with ExitStack() as stack:
        for _ in range(50):
            with suppress(SourceUnavailableError):
                snapshot = stack.enter_context(open_snapshot(single))
                break
            # The driver has asked for types over one before, which PostgreSQL counts until its process has ended.
            time.sleep(0.1)
        data = read(snapshot)
        assert data.tables["rows"].parts == ()
        assert len(staged(data, tmp_path)) == 668
    execute(url, "DROP OWNED BY single", "DROP ROLE single")


def test_a_share_that_fails_ends_the_others(url: str, tmp_path: Path) -> None:
    execute(
        url, "ALTER TABLE orders ALTER amount TYPE numeric", "UPDATE orders SET amount = 1e30 WHERE id = 8"
    )
    with open_snapshot(url) as snapshot:
        data = read(snapshot)
        with pytest.raises(SourceError, match="amount"):
            save(data, tmp_path)
    with pytest.raises(StagingError):
        load(tmp_path, {data.dataset: data})


def test_the_connections_are_used_again_and_end_with_the_snapshot(url: str) -> None:
    with open_snapshot(url) as snapshot:
        read(snapshot)
        assert count_connections(url) == 3
        for _ in range(5):
            read(snapshot)
        assert count_connections(url) == 3
    assert count_connections(url) == 0


def test_exports_of_one_snapshot_are_staged_over_the_same_connections(url: str, tmp_path: Path) -> None:
    with open_snapshot(url) as snapshot:
        exports = [read(snapshot, scope=scope) for scope in ("a", "b", "a")]
        rows = [staged(data, tmp_path / str(number)) for number, data in enumerate(exports)]
    assert [len(one) for one in rows] == [668, 333, 668]
    assert rows[0] == rows[2]


def count_connections(url: str) -> int:
    """Return the number of this program's connections to a database."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = connection.scalar(
            sa.text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name = 'export_pipeline' AND datname = current_database()"
            )
        )
    engine.dispose()
    return int(count or 0)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    import threading

    before = threading.active_count()
    yield
    assert threading.active_count() <= before
