"""Numbers as text: every digit where asked for, and the right rounding with an exact count where not."""

import math
from decimal import ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from export_pipeline.formats import cells


@given(st.lists(st.none() | st.floats(), max_size=30))
def test_exact_floats_come_back_to_the_bit(values: list[float | None]) -> None:
    texts = cells.format_exact(pa.array(values, pa.float64())).to_pylist()
    for value, text in zip(values, texts, strict=True):
        if value is None:
            assert text is None
        elif math.isnan(value):
            assert text == "NaN"
        else:
            assert float(text) == value
            assert text.replace("Infinity", "inf") == text or math.isinf(value)


@pytest.mark.slow
@given(st.lists(st.none() | st.floats(), max_size=30), st.integers(0, 6))
@example(
    [
        0.5,
        1.5,
        2.675,
        1.00005,
        0.00015,
        0.285,
        -0.00004999999999999999,
        9e10 + 0.00005,
        0.00005,
        1e22,
        -1e-9,
        123456789.123456789,
    ],
    4,
)
@example([0.125, 0.375, 2.5, 1.005, 0.285, 2**45 + 0.005], 2)
def test_floats_are_rounded_half_up_on_the_digits_people_see(values: list[float | None], digits: int) -> None:
    texts, changed = cells.format_rounded(pa.array(values, pa.float64()), digits)
    expected_changes = 0
    for value, text in zip(values, texts.to_pylist(), strict=True):
        if value is None:
            assert text is None
        elif not math.isfinite(value):
            assert text in ("NaN", "Infinity", "-Infinity")
        else:
            shown = Decimal(repr(value)).quantize(
                Decimal(1).scaleb(-digits), ROUND_HALF_UP, Context(prec=800)
            )
            assert Decimal(text) == shown
            assert len(text.partition(".")[2]) == digits
            assert text.startswith("-") == (shown < 0)
            expected_changes += float(text) != value
    assert changed == expected_changes


@pytest.mark.parametrize(
    ("value", "digits", "text", "changed"),
    [
        ("1.2345", 4, "1.2345", 0),
        ("1.23455", 4, "1.2346", 1),
        ("-0.5", 2, "-0.50", 0),
        ("12", 0, "12", 0),
        ("0.125", 2, "0.13", 1),
    ],
)
def test_decimals_are_rounded_half_away_from_zero_and_counted(
    value: str, digits: int, text: str, changed: int
) -> None:
    array = pa.array([Decimal(value), None], pa.decimal128(18, 5))
    texts, count = cells.format_rounded(array, digits)
    assert (texts.to_pylist(), count) == ([text, None], changed)


def test_exact_decimals_lose_no_digit_and_show_no_padding() -> None:
    values = ["1.5000000000", "2", "-0.0000000001", "12345678901234567890.1234567891", "0", "100"]
    array = pa.array([Decimal(v) for v in values], pa.decimal128(38, 10))
    assert [Decimal(t) for t in cells.format_exact(array).to_pylist()] == [Decimal(v) for v in values]
    assert cells.format_exact(array).to_pylist()[:3] == ["1.5", "2", "-0.0000000001"]
    assert cells.format_exact(array).to_pylist()[-1] == "100"


@pytest.mark.parametrize("digits", [0, 1, 2, 16, 20, 38])
def test_more_digits_than_machine_words_hold(digits: int) -> None:
    nines = Decimal(10**76 - 1)
    for values, kind in (
        ([nines, nines.copy_negate(), Decimal(0), None], pa.decimal256(76, 0)),
        ([nines.scaleb(-3, Context(prec=80)), Decimal("-0.004"), Decimal("0.5")], pa.decimal256(76, 3)),
        ([0.1, -1e300, 5e-324, 123456789.5, None, math.inf], pa.float64()),
    ):
        texts, changed = cells.format_rounded(pa.array(values, kind), digits)
        lost = 0
        for value, text in zip(values, texts.to_pylist(), strict=True):
            if value is None or value == math.inf:
                assert text == (None if value is None else "Infinity")
                continue
            exact = value if isinstance(value, Decimal) else Decimal(repr(value))
            near = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, Context(prec=800))
            assert text == f"{near.copy_abs() if near.is_zero() else near:f}"
            lost += float(near) != value if isinstance(value, float) else near != value
        assert changed == lost
