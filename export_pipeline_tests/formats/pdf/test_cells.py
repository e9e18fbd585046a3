"""Cells as text: numbers against Python's own decimals, times against its datetimes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.formats.pdf.cells import number_text, print_cells

EXACT = Context(prec=60)
DIGITS = st.none() | st.integers(0, 12)


def texts(column: Column, array: pa.Array, null_text: str = "") -> list[str]:
    return [scalar.as_py() for scalar in print_cells(replace(column, null=null_text), array).strings]


@given(
    st.lists(st.none() | st.decimals(-(10**27), 10**27, places=10, allow_nan=False), max_size=20),
    DIGITS,
    st.integers(0, 5),
)
def test_decimals_are_rounded_half_up_and_grouped(
    values: list[Decimal | None], digits: int | None, skipped: int
) -> None:
    column = Column("d", "D", Kind.DECIMAL, digits)
    array = pa.array(values, pa.decimal128(38, 10)).slice(min(skipped, len(values)))
    expected = []
    rounded = 0
    for value in values[skipped:]:
        if value is None:
            expected.append("-")
            continue
        if digits is None:
            text = f"{value:,.10f}".rstrip("0").rstrip(".")
        else:
            kept = value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, EXACT) if digits < 10 else value
            rounded += kept != value
            text = f"{kept:,.{digits}f}"
        expected.append(text.removeprefix("-") if Decimal(text.replace(",", "")) == 0 else text)
    result = print_cells(replace(column, null="-"), array)
    assert [scalar.as_py() for scalar in result.strings] == expected
    assert result.changed.total() == rounded


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_integers_are_whole_whatever_their_size(values: list[int | None]) -> None:
    column = Column("n", "N", Kind.INTEGER)
    assert texts(column, pa.array(values, pa.int64())) == ["" if v is None else f"{v:,}" for v in values]


@given(st.lists(st.floats(), max_size=20))
def test_floats_without_digits_say_every_digit(values: list[float]) -> None:
    for value, text in zip(
        values, texts(Column("f", "F", Kind.FLOAT), pa.array(values, pa.float64())), strict=True
    ):
        number = float(text.replace(",", ""))
        assert number == value or (number != number and value != value)


@given(st.lists(st.floats(-1e15, 1e15), max_size=20), st.integers(0, 6))
def test_floats_with_digits_are_within_half_a_unit(values: list[float], digits: int) -> None:
    column = Column("f", "F", Kind.FLOAT, digits)
    for value, text in zip(values, texts(column, pa.array(values, pa.float64())), strict=True):
        plain = text.replace(",", "")
        assert len(plain.partition(".")[2]) == digits
        assert abs(Decimal(plain) - Decimal(value)) <= Decimal("0.5001").scaleb(-digits) + abs(
            Decimal(value)
        ) * Decimal("1e-15")


@pytest.mark.parametrize(
    ("column", "array", "expected"),
    [
        (Column("m", "M", Kind.MONEY), pa.array(["1234567.5", "-0.004", "-2.5"]), ["$1,234,567.50", "$0.00", "-$2.50"]),
        (Column("m", "M", Kind.MONEY, 4, "EUR"), pa.array(["1.5"]), ["EUR 1.5000"]),
        (Column("p", "P", Kind.PERCENT, 1), pa.array(["12.34"]), ["12.3%"]),
    ],
)  # fmt: skip
def test_money_and_percent_are_printed_with_their_sign(
    column: Column, array: pa.Array, expected: list[str]
) -> None:
    assert texts(column, array.cast(pa.decimal128(18, 4))) == expected
    assert [number_text(column, Decimal(v.as_py())) for v in array] == expected


def test_numbers_that_identify_something_have_no_separators() -> None:
    column = Column("id", "Id", Kind.INTEGER, grouping=False)
    assert texts(column, pa.array([1099511628247, -2026, 7])) == ["1099511628247", "-2026", "7"]
    assert number_text(column, 2026) == "2026"
    assert texts(Column("n", "N", Kind.DECIMAL, 2, grouping=False), pa.array([Decimal("12345.678")])) == [
        "12345.68"
    ]


def test_floats_are_rounded_half_up_on_the_digits_people_see() -> None:
    column = Column("n", "N", Kind.FLOAT, 2)
    array = pa.array([0.285, 1.005, -0.285, 2.675, 0.125, 4503599627370.495, 0.2849999])
    expected = ["0.29", "1.01", "-0.29", "2.68", "0.13", "4,503,599,627,370.50", "0.28"]
    assert texts(column, array) == expected
    assert [number_text(column, value.as_py()) for value in array] == expected


def test_unusual_floats_have_names() -> None:
    values = pa.array([float("nan"), float("inf"), float("-inf"), None, -0.0001, 1e300, 2.5], pa.float64())
    assert texts(Column("f", "F", Kind.FLOAT, 2), values, "n/a")[:5] == [
        "NaN",
        "Infinity",
        "-Infinity",
        "n/a",
        "0.00",
    ]
    assert texts(Column("f", "F", Kind.FLOAT), values)[:3] == ["NaN", "Infinity", "-Infinity"]
    assert texts(Column("f", "F", Kind.FLOAT, 2), values)[5].startswith("1,000,000,")


def test_booleans_dates_and_times_are_printed_for_people() -> None:
    assert texts(Column("b", "B", Kind.BOOLEAN), pa.array([True, False, None]), "?") == ["Yes", "No", "?"]
    assert texts(Column("d", "D", Kind.DATE), pa.array([datetime(1, 2, 3).date()])) == ["0001-02-03"]
    times = [
        datetime(2025, 1, 2, 3, 4, tzinfo=UTC),
        datetime(1960, 1, 2, 3, 4, 5, 120_000, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    column = Column("t", "T", Kind.TIMESTAMP)
    result = print_cells(column, pa.array(times, pa.timestamp("us", tz="UTC")))
    assert [s.as_py() for s in result.strings] == [
        "2025-01-02 03:04:00",
        "1960-01-02 03:04:05",
        "9999-12-31 23:59:59",
    ]
    assert result.changed == {"cut to the second": 2}
    result = print_cells(Column("t", "T", Kind.TIMESTAMP, pattern="yyyy-MM-dd HH:mm"), pa.array(times))
    assert [s.as_py() for s in result.strings] == [f"{t.date()} {t:%H:%M}" for t in times]
    assert result.changed == {"printed as yyyy-MM-dd HH:mm": 2}
    result = print_cells(Column("t", "T", Kind.DATE, pattern="MMM yyyy"), pa.array([times[0].date(), None]))
    assert result.changed == {"printed as MMM yyyy": 1}


def test_infinite_times_have_names() -> None:
    ends = pa.array([2**63 - 1, -(2**63), 2**62, None], pa.int64()).view(pa.timestamp("us", tz="UTC"))
    assert texts(Column("t", "T", Kind.TIMESTAMP), ends, "-") == [
        "Infinity",
        "-Infinity",
        f"{2**62} \N{MICRO SIGN}s after 1970",
        "-",
    ]
