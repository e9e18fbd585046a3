"""Rows as people read them: sorted by a declared order."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.tables import Table
from export_pipeline.tabular.groups import sort_rows
from export_pipeline.tabular.validation import CheckedTableSpec

COLUMNS = (Column("day", "Day", Kind.INTEGER), Column("name", "Name", Kind.TEXT))
ROWS = [(3, "c"), (None, "x"), (1, "b"), (3, "a"), (None, "w"), (1, "a")]


def rows(table: Table) -> list[tuple[Any, Any]]:
    return [(row["day"], row["name"]) for batch in table.open() for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["day"], [(1, "b"), (1, "a"), (3, "c"), (3, "a"), (None, "x"), (None, "w")]),
        (["day", "name"], [(1, "a"), (1, "b"), (3, "a"), (3, "c"), (None, "w"), (None, "x")]),
        ([], ROWS),
    ],
)
def test_equal_rows_keep_their_order_and_missing_values_come_last(
    order: list[str], expected: list[tuple[Any, Any]]
) -> None:
    data = pa.table({"day": [day for day, _ in ROWS], "name": [name for _, name in ROWS]})
    table = Table.of("t", COLUMNS, data, batch_rows=2)
    assert rows(sort_rows(table, order)) == expected
    assert rows(sort_rows(Table.of("t", COLUMNS, data.slice(0, 0)), order)) == []


def test_rows_have_one_order() -> None:
    columns = [{"name": "day", "type": "date"}, {"name": "state"}]
    with pytest.raises(ValidationError, match="`group_by` already sorts the rows; say one of the two"):
        CheckedTableSpec.model_validate(
            {"source": {"table": "t"}, "columns": columns, "print_order": ["day"], "group_by": ["state"]}
        )
