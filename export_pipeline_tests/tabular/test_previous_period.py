"""Comparisons need windows with a period before them, and money of one currency."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from export_pipeline.tabular.validation import CheckedTableSpec

PRICE = {"name": "price_cents", "type": "money", "total": True}


def problems(*columns: dict[str, Any], **more: Any) -> list[str]:
    """The problems that are reported at `compare`."""
    spec = {"source": {"table": "t"}, "columns": [*columns], "compare": "previous_period", **more}
    try:
        CheckedTableSpec.model_validate(spec)
    except ValidationError as error:
        assert {one["loc"] for one in error.errors()} == {("compare",)}
        return [one["msg"].removeprefix("Value error, ") for one in error.errors()]
    return []


def test_a_window_with_money_can_be_compared() -> None:
    assert problems(PRICE, window={"column": "day", "type": "date"}) == []


@pytest.mark.parametrize(
    ("columns", "window", "message"),
    [
        ([PRICE], None, "this export has no window, so no period before it"),
        ([PRICE], {"mode": "as_of"}, "`window: {mode: as_of}` has all rows up to an end, so no period before it"),
        ([{**PRICE, "total": False}], {}, "no column of money has `total: true`"),
        ([PRICE, {**PRICE, "name": "fee", "currency": "EUR"}], {},
         "sums of several currencies cannot stand in one table: price_cents ($), fee (EUR)"),
        ([{**PRICE, "name": "wide", "type": "money(70,2)"}], {}, "wide has more than 66 digits, too many to add up"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    columns: list[dict[str, Any]], window: dict[str, Any] | None, message: str
) -> None:
    declared = None if window is None else {"column": "day", "type": "date", **window}
    assert problems(*columns, window=declared) == [message]
