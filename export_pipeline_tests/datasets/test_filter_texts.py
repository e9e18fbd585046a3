"""Filters as text keep every value."""

from typing import Any

import pytest

from export_pipeline.datasets.filter_texts import add_filter


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("in", '"a, b",plain', {"in": ["a, b", "plain"]}),
        ("in", " a , b ", {"in": [" a ", " b "]}),
        ("in", "", {"in": [""]}),
        ("equals", "a,b", {"equals": "a,b"}),
        ("from", "2026-01-01", {"range": {"from": "2026-01-01"}}),
        ("is_null", "true", {"is_null": True}),
        ("is_null", "perhaps", {"is_null": "perhaps"}),
    ],
)
def test_a_value_is_taken_as_it_is_written(operator: str, value: str, expected: dict[str, Any]) -> None:
    filters: dict[str, dict[str, Any]] = {}
    add_filter(filters, "name", operator, value)
    assert filters == {"name": expected}


def test_a_filter_given_twice_is_refused() -> None:
    filters: dict[str, dict[str, Any]] = {}
    for operator in ("from", "to", "equals"):
        add_filter(filters, "day", operator, "1")
    for operator in ("from", "to", "equals"):
        with pytest.raises(ValueError, match="day has this filter twice"):
            add_filter(filters, "day", operator, "2")
