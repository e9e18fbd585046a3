"""Cells that a column of their kind cannot hold exactly are counted, with the reason."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.arrow_types import CUT, NO_NUMBER, ROUNDED, ROUNDED_DOUBLE, to_kind
from export_pipeline.sources.python_rows import build_batch


def read(cells: list[Any], kind: Kind) -> tuple[list[Any], dict[str, int]]:
    counts: Counter[str] = Counter()
    batch = build_batch(
        [(cell,) for cell in cells], [Column("x", "X", kind)], lambda reason, _, n: counts.update({reason: n})
    )
    return batch.column(0).to_pylist(), dict(counts)


def converted(texts: list[str | None]) -> tuple[list[Any], dict[str, int]]:
    """PostgreSQL's numerics, which arrive as texts, in a column of floats."""
    counts: Counter[str] = Counter()
    batch = to_kind(
        pa.record_batch({"x": pa.array(texts, pa.string())}),
        [Column("x", "X", Kind.FLOAT)],
        lambda reason, _, n: counts.update({reason: n}),
    )
    return batch.column(0).to_pylist(), dict(counts)


def test_numbers_that_a_float_rounds_are_counted() -> None:
    cells = [2**53 + 1, "0.12345678901234567890", "no number", 1.5, None, 2**53, 0.1, "0.1", "NaN"]
    numbers, counts = read(cells, Kind.FLOAT)
    assert numbers[:7] == [float(2**53), 0.12345678901234568, None, 1.5, None, float(2**53), 0.1]
    assert counts == {ROUNDED: 2, NO_NUMBER: 1}


def test_doubles_of_sqlite_that_a_decimal_rounds_are_counted() -> None:
    """As SQLite shows them, with 15 digits, unless the column has places for all."""
    cells = [0.1 + 0.2, 17.247563800000002, 1.5, 0.1, 123456789012345.67, 3, "0.30000", None]
    numbers, counts = read(cells, Kind.DECIMAL)
    shown = ["0.3", "17.2475638", "1.5", "0.1", "123456789012345.67", "3", "0.3", None]
    assert numbers == [text and Decimal(text) for text in shown]
    assert counts == {ROUNDED_DOUBLE: 2}


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        *(("123456789012345.0", 0), ("0.0000123", 0), ("100000000000000000000", 0), ("9007199254740992", 0)),
        *(("9007199254740993", 1), ("100000000000000000001", 1), ("1.00000000000000000001", 1)),
        *(("NaN", 0), ("Infinity", 0), (None, 0)),
    ],
)
def test_numerics_that_a_float_rounds_are_counted(text: str | None, rounded: int) -> None:
    assert converted([text, "1.5"])[1].get(ROUNDED, 0) == rounded


@pytest.mark.slow
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=12), max_size=20))
def test_a_number_is_counted_if_its_double_says_another_one(numbers: list[Decimal]) -> None:
    read_numbers, counts = converted([f"{number:f}" for number in numbers])
    other = [n for n, made in zip(numbers, read_numbers, strict=True) if Decimal(repr(made)) != n]
    assert counts.get(ROUNDED, 0) == len(other)


def test_times_finer_than_microseconds_are_counted() -> None:
    zero = "2026-01-01T00:00:00"
    cells = [f"{zero}.1234567", f"{zero}.123456000", f"{zero}.123456789+02:00", f"{zero}.123456Z", zero, None]
    times, counts = read(cells, Kind.TIMESTAMP)
    assert [time and time.microsecond for time in times] == [123456, 123456, 123456, 123456, 0, None]
    assert counts == {CUT: 2}
