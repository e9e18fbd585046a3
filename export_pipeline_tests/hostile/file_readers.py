"""Rows of exported files, by readers that no writer uses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from export_pipeline.tabular.columns import column_of
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline_tests.hostile.plain_driver import Row, value


def _csv(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    csv.field_size_limit(2**30)
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline=""), strict=True))[1:]
    return [
        tuple(value(cell, c) if cell != "" else None for cell, c in zip(row, columns, strict=True))
        for row in rows
    ]


def _documents(found_rows: Sequence[dict[str, Any]], columns: Sequence[ColumnSpec]) -> list[Row]:
    def cell(cell_value: Any, column: ColumnSpec) -> Any:
        if column.type == "json" and cell_value is not None:
            return json.dumps(cell_value, default=str, sort_keys=True)
        return value(cell_value, column)

    return [tuple(cell(one[column.name], column) for column in columns) for one in found_rows]


def documents(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file, its numbers exact."""
    rows: list[dict[str, Any]] = json.loads(path.read_bytes(), parse_float=Decimal)
    return rows


def _json(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    return _documents(documents(path), columns)


def _jsonl(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    lines = path.read_text("utf-8").split("\n")
    return _documents([json.loads(line, parse_float=Decimal) for line in lines if line], columns)


def _excel(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    import openpyxl

    sheet = openpyxl.load_workbook(path, read_only=True).worksheets[0]
    rows = list(sheet.iter_rows(values_only=True))
    heads = [c.header or column_of(c).header for c in columns]
    # A moment's header also says its zone.
    starts = [[str(cell).partition(" (UTC)")[0] for cell in row] for row in rows]
    rows = rows[starts.index(heads) + 1 :]
    if rows and rows[0][0] == "No rows." and len(rows) == 1:
        return []

    def cell(cell_value: Any, column: ColumnSpec) -> Any:
        if isinstance(cell_value, datetime) and column.type == "timestamp":
            micros = round(cell_value.microsecond / 1000) * 1000  # a double's days hold no microseconds
            cell_value = cell_value.replace(microsecond=0) + timedelta(microseconds=micros)
        if isinstance(cell_value, time):
            cell_value = None
        return None if cell_value in (None, "") else value(cell_value, column)

    return [tuple(cell(content, c) for content, c in zip(row, columns, strict=True)) for row in rows]


def _parquet(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    import duckdb

    with closing(duckdb.connect()) as connection:
        connection.execute("SET timezone = 'UTC'")
        rows = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    wide = [i for i, c in enumerate(columns) if c.parsed.precision and c.parsed.precision[0] > 38]
    if wide:  # DuckDB reads such decimals as doubles
        whole = pq.read_table(path).to_pydict()
        exact = {i: whole[columns[i].name] for i in wide}
        rows = [
            tuple(exact[i][r] if i in exact else x for i, x in enumerate(row)) for r, row in enumerate(rows)
        ]
    return [tuple(value(cell, c) for cell, c in zip(row, columns, strict=True)) for row in rows]


READERS: dict[str, Callable[[Path, Sequence[ColumnSpec]], list[Row]]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "excel": _excel,
    "parquet": _parquet,
}
