"""Sums are said at their column's scale and in its unit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from export_pipeline.core.amounts import Amount


@pytest.mark.parametrize(
    ("amount", "total", "text"),
    [
        (Amount("price", 2, "$"), 219.29999999999998, "219.30 $"),
        (Amount("price", 2, "$", minor_digits=2), 21930.0, "219.30 $"),
        (Amount("count", 0), 45.0, "45"),
        (Amount("quantity"), 219.29999999999998, "219.3"),
        (Amount("quantity"), 1e22, "10000000000000000000000"),
        (Amount("weight", 4, None), -0.00004, "-0.0000"),
        (Amount("big", 2, "EUR", exact=Decimal("12345678901234567.89")), 12345678901234568.0,
         "12345678901234567.89 EUR"),
        (Amount("big", 2, "EUR", exact=Decimal("12345678901234567.89")), 12345678901235000.0,
         "12345678901235000.00 EUR"),
        (Amount("quantity"), float("nan"), "nan"),
    ],
)  # fmt: skip
def test_a_sum_is_printed_at_its_scale_with_its_unit(amount: Amount, total: float, text: str) -> None:
    assert amount.text(total) == text
