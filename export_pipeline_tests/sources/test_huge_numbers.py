"""Numbers such as 1e999999999: written out as digits or as an int, one would fill the memory."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import Request
from export_pipeline.orchestration.runs import staging
from export_pipeline.sources.arrow_types import NO_NUMBER
from export_pipeline.sources.database_types import parse_declared_type
from export_pipeline.sources.python_rows import build_batch
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline.sources.tables.operands import match_value
from export_pipeline.tabular.validation import CheckedTableSpec

HUGE = ["1e999999999", "-1e999999999", "1e-999999999", "9" * 5000, "1e999999999999999999999"]
TYPES: list[dict[str, Any]] = [
    {"kind": Kind.INTEGER},
    {"kind": Kind.MONEY},
    {"kind": Kind.DECIMAL, "precision": (12, 2)},
    {"kind": Kind.DECIMAL, "precision": (38, 0)},
    {"kind": Kind.DECIMAL, "precision": (76, 10)},
]


@pytest.mark.parametrize("text", HUGE)
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_cell_that_no_column_can_hold_is_left_empty_and_counted(type_: dict[str, Any], text: str) -> None:
    """SQLite stores any text in a column of numbers."""
    reports: list[Any] = []
    batch = build_batch(
        [(text,), ("7",), (None,)], [Column("a", "a", **type_)], lambda *what: reports.append(what)
    )
    assert batch.column(0).to_pylist() == [None, 7, None]
    assert reports == [(NO_NUMBER, "a", 1)]


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999", "-1e999999999"])
def test_a_fixed_condition_is_never_written_out(number: str) -> None:
    condition = match_value(sa.column("n"), parse_declared_type("numeric"), number, "sqlite", "n")
    (value,) = condition.compile().params.values()
    assert value == float(Decimal(number))


def test_an_export_of_such_cells_proves_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n, d)")
        for number, text in enumerate([*HUGE, "7"]):
            connection.exec_driver_sql("INSERT INTO t VALUES (?, ?, ?)", (number, text, text))
    engine.dispose()
    columns = [
        {"name": "id", "type": "integer"},
        {"name": "n", "type": "integer", "total": True},
        {"name": "d", "type": "decimal(20,2)", "total": True},
    ]
    spec = CheckedTableSpec.model_validate({"source": {"table": "t", "key": ["id"]}, "columns": columns})
    given = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    with open_snapshot(url) as snapshot:
        request = Request("t", tabular, given, None, tabular.options(given).model_validate({}))
        staging.save(source.read(snapshot, request), tmp_path / "read")
    data = staging.load(tmp_path / "read", {"t": request})
    rows = [row for batch in data.tables["rows"].open() for row in batch.to_pylist()]
    assert [row["n"] for row in rows] == [None] * len(HUGE) + [7]
    assert [row["d"] for row in rows] == [None] * len(HUGE) + [7]
    assert sum(Counter(data.changed).values()) == 2 * len(HUGE)
    assert (data.source_totals["n"], data.source_totals["d"]) == (7, 7)
