"""Tables of very many columns: memory follows the cells of a batch, not its rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.orchestration.runs import staging
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline.tabular.validation import CheckedTableSpec

COLUMNS, ROWS = 1900, 600
NAMES = [f"c{number}" for number in range(COLUMNS)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite database with a table of 1,900 columns."""
    url = f"sqlite:///{tmp_path_factory.mktemp('wide') / 'app.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {' TEXT, '.join(NAMES)} TEXT)")
        row = [f"value of {name}" for name in NAMES]
        insert = f"INSERT INTO t VALUES (?, {', '.join('?' * COLUMNS)})"
        for number in range(ROWS):
            connection.exec_driver_sql(insert, (number, *row))
    engine.dispose()
    return url


def read(url: str, folder: Path, *computed: dict[str, object]) -> ExportData:
    columns = [{"name": "id", "type": "integer"}, *({"name": name} for name in NAMES), *computed]
    spec = CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": columns})
    given = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    with open_snapshot(url) as snapshot:
        request = Request("wide", tabular, given, None, tabular.options(given).model_validate({}))
        staging.save(source.read(snapshot, request), folder)
    return staging.load(folder, {"wide": request})


def test_a_batch_of_wide_rows_has_few_rows(wide: str, tmp_path: Path) -> None:
    batches = list(read(wide, tmp_path / "read").tables["rows"].open())
    assert sum(batch.num_rows for batch in batches) == ROWS
    assert max(batch.num_rows * batch.num_columns for batch in batches) <= 100_000


def test_a_batch_of_long_texts_has_few_rows(tmp_path: Path) -> None:
    """Python's strings of 2,048 rows would be 200 MB."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT)")
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
            " INSERT INTO notes SELECT i, CASE WHEN i <= 500 THEN printf('%.*c', 100000, 'x') ELSE 'short' END FROM n"
        )
    engine.dispose()
    columns = [Column("id", "Id", Kind.INTEGER), Column("note", "Note", Kind.TEXT)]
    select = sa.select(sa.column("id"), sa.column("note")).select_from(sa.table("notes")).order_by("id")
    with open_snapshot(url) as snapshot:
        batches = list(snapshot.batches(select, columns))
    ids = [id for batch in batches for id in batch.column("id").to_pylist()]
    assert ids == list(range(1, 2001))
    assert max(batch.nbytes for batch in batches) < 6 << 20
    assert max(batch.num_rows for batch in batches) > 1_000  # short ones are read many at a time


def test_all_columns_in_one_text(wide: str, tmp_path: Path) -> None:
    """Part by part, as an expression is short; each batch of the result is small too."""
    groups = [NAMES[start : start + 190] for start in range(0, COLUMNS, 190)]
    parts = [
        {"name": f"part{number}", "compute": f"concat({', '.join(group)})", "hidden": True}
        for number, group in enumerate(groups)
    ]
    whole = {"name": "whole", "compute": f"concat({', '.join(str(part['name']) for part in parts)})"}
    data = tabular.build(read(wide, tmp_path / "read", *parts, whole))
    expected = "".join(f"value of {name}" for name in NAMES)
    for batch in data.tables["rows"].open():
        assert batch.nbytes < 16 << 20
        assert set(batch.column("whole").to_pylist()) == {expected}


@pytest.mark.parametrize(
    ("count", "message"),
    [(1900, "at most 4,000 characters"), (300, r"write concat\(a, b, …\); here are 300")],
)
def test_one_expression_of_all_columns_is_refused(count: int, message: str) -> None:
    compute = f"concat({', '.join(NAMES[:count])})"
    columns = [*({"name": name} for name in NAMES), {"name": "whole", "compute": compute}]
    with pytest.raises(ValueError, match=message):
        CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": columns})
