"""Positions of On-Screen Takeoff XML: digits that give the same doubles, and no more of them than needed."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.takeoff.ost.positions import END, positions

FLOATS = (
    st.floats(-1e12, 1e12)
    | st.integers(-(10**12), 10**12).map(float)
    | st.integers(-(10**9), 10**9).map(lambda number: number * 0.32)
    | st.sampled_from([0.0, -0.0, 1e-5, 9.999e-6, -1e-7, 5e-324, 0.5, 100.0, 1e12])
)


def texts(rows: list[list[float]]) -> list[str]:
    offsets = np.array([0, *accumulate(map(len, rows))], np.int64)
    values = np.array([number for numbers in rows for number in numbers], np.float64)
    return [text + END for text in positions(values, offsets).to_pylist()]


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(st.lists(FLOATS, min_size=1, max_size=9), max_size=9))
def test_every_number_comes_back_in_its_shortest_form(rows: list[list[float]]) -> None:
    for text, values in zip(texts(rows), rows, strict=True):
        numbers = text.removesuffix("&#xa;").split(";")
        assert [float(number) for number in numbers] == values
        for number, value in zip(numbers, values, strict=True):
            assert "e" not in number
            assert not number.endswith(".0")
            assert number != "-0"
            digits = number.replace(".", "").lstrip("-0").rstrip("0")
            assert len(digits) <= len(repr(value).partition("e")[0].replace(".", "").lstrip("-0").rstrip("0"))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0, -0.0], "0;0&#xa;"),
        ([36.0, 10.0, -100.0], "36;10;-100&#xa;"),
        ([0.1 + 0.2, 1e-7], "0.30000000000000004;0.0000001&#xa;"),
        ([1e12, 999999999999.9], "1000000000000;999999999999.9&#xa;"),
    ],
)
def test_numbers_are_written_with_the_digits_they_need(values: list[float], text: str) -> None:
    assert texts([values, values]) == [text, text]
