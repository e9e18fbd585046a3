"""Parquet of random tables, as DuckDB reads it: every value is the database's."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from export_pipeline_tests.hostile.tables import rules
from export_pipeline_tests.hostile.tables.exporting import Exported, each_sample


def check_parquet(made: Exported) -> None:
    sample = made.sample
    path, done = made.file("parquet")
    assert not done.changed
    wide = {f.name for f in pq.read_schema(path) if str(f.type).startswith("decimal256")}
    names = []
    for column in sample.columns:
        name = f'"{column.name}"'
        names.append(
            f"epoch_us({name})"
            if column.kind == "timestamp"
            else f"{name}::VARCHAR"
            if column.kind == "date"
            else name
        )
    with closing(duckdb.connect()) as connection:
        connection.execute("SET timezone = 'UTC'")
        rows = connection.execute(f"SELECT {', '.join(names)} FROM read_parquet(?)", [str(path)]).fetchall()
    exact = {name: pq.read_table(path, columns=[name]).column(0).to_pylist() for name in wide}
    assert len(rows) == sample.rows
    for row, cells in enumerate(rows):
        for (column, value), cell in zip(rules.of(sample, row), cells, strict=True):
            cell = exact[column.name][row] if column.name in wide else cell
            if column.minor:
                value = rules.whole(column, value, True)
            elif column.kind == "date" and value is not None:
                value = value.isoformat()
            if isinstance(value, float):
                assert (str(cell), math.copysign(1, cell)) == (str(value), math.copysign(1, value)), column
            else:
                assert cell == value, column


@pytest.mark.slow
def test_parquet_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_parquet)
