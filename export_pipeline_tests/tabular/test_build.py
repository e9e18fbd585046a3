from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.expressions.types import ComputeError
from export_pipeline.tabular import build
from export_pipeline.tabular.spec import TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.tabular.random_exports import staged

ZERO = ("division by zero, left empty", "rows.ratio")


def spec(*columns: dict[str, Any]) -> TableSpec:
    return CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": columns})


RATIO = spec(
    {"name": "double", "type": "decimal(20,2)", "compute": "ratio * 2"},
    {"name": "a", "type": "integer"},
    {"name": "b", "type": "integer", "hidden": True},
    {"name": "ratio", "type": "decimal(18,2)", "compute": "round(a / b, 2)"},
    {"name": "other", "type": "integer", "compute": "a * 922337203685477580 * 10", "extra": True},
)
CELLS = {"a": [1, 2, None, 7], "b": [3, 0, 0, -2]}


def test_columns_are_computed_one_from_another_batch_by_batch() -> None:
    made = build(staged(RATIO, CELLS, batch_rows=1)).tables["rows"]
    assert [column.name for column in made.columns] == ["a", "b", "ratio", "double"]
    got = made.arrow()
    assert [got[column.name].type for column in made.columns] == [
        column.arrow_type for column in made.columns
    ]
    assert got["ratio"].to_pylist() == [Decimal("0.33"), None, None, Decimal("-3.50")]
    assert got["double"].to_pylist() == [Decimal("0.66"), None, None, Decimal("-7.00")]


def test_reading_twice_counts_once_and_half_a_pass_counts_nothing() -> None:
    given = staged(RATIO, CELLS, batch_rows=1)
    given.changed["before", "rows.a"] = 1
    data = build(given)
    half = data.tables["rows"].open()
    next(half)
    half.close()  # type: ignore[attr-defined]
    assert data.changed == {("before", "rows.a"): 1}
    for _ in range(3):
        list(data.tables["rows"].open())
    # Of a null nothing is divided, so only one cell became empty by it.
    assert data.changed == {("before", "rows.a"): 1, ZERO: 2}
    assert given.changed == {("before", "rows.a"): 1}


def test_a_table_with_nothing_to_compute_is_the_very_same() -> None:
    data = staged(RATIO, CELLS, {"columns": ["a"]})
    assert build(data).tables["rows"] is data.tables["rows"]


def test_an_overflow_names_its_column_and_expression() -> None:
    data = build(staged(RATIO, CELLS, {"columns": ["other"]}))
    with pytest.raises(
        ComputeError, match=r"^column other \(a \* 922337203685477580 \* 10\): \* gives an integer"
    ):
        list(data.tables["rows"].open())


def test_a_value_that_does_not_fit_its_declared_type_fails() -> None:
    narrow = spec(
        {"name": "a", "type": "integer"}, {"name": "n", "type": "decimal(3,2)", "compute": "a * 1.5"}
    )
    assert build(staged(narrow, {"a": [6]})).tables["rows"].arrow()["n"].to_pylist() == [Decimal("9.00")]
    with pytest.raises(
        ComputeError, match=r"^column n \(a \* 1.5\): a value of decimal\(\d+,1\) does not fit decimal\(3,2\)"
    ):
        list(build(staged(narrow, {"a": [7]})).tables["rows"].open())


def test_no_rows_have_computed_columns_too() -> None:
    made = build(staged(RATIO, {"a": [], "b": []})).tables["rows"]
    assert made.rows == 0
    assert made.arrow().schema.names == ["a", "b", "ratio", "double"]


def test_batches_are_made_as_they_are_read() -> None:
    given = staged(RATIO, {"a": list(range(1, 1001)), "b": [1] * 1000}, batch_rows=10)
    read = 0
    rows = given.tables["rows"]

    def counting() -> Any:
        nonlocal read
        for batch in rows.open():
            read += 1
            yield batch

    data = build(replace(given, tables={"rows": replace(rows, open=counting)}))
    stream = data.tables["rows"].open()
    assert isinstance(next(stream), pa.RecordBatch)
    assert read < 20
    stream.close()  # type: ignore[attr-defined]
