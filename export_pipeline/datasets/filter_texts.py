"""Filters written as text, on the command line and in addresses of the HTTP service."""

from __future__ import annotations

import re
from typing import Any

_RANGE = ("from", "to")
_BOOLEANS = {"true": True, "false": False}
_VALUE = re.compile(r'(?:"((?:[^"]|"")*+)"|((?!\s*")[^,]*))(,|\Z)')


def add_filter(filters: dict[str, dict[str, Any]], name: str, operator: str, value: str) -> None:
    """Add a filter to those of a request, by name and operator.

    Args:
        operator: `in` takes comma-separated values; `from` and `to` are the inclusive ends of a range.
        value: Spaces are kept.

    Raises:
        ValueError: the filter is there already, or the quotes of its values do not pair up.
    """
    operators = filters.setdefault(name, {})
    place = operators.setdefault("range", {}) if operator in _RANGE else operators
    if operator in place:
        raise ValueError(f"{name} has this filter twice; the operator `in` takes several values: A,B.")
    match operator:
        case "in":
            place[operator] = split_values(value)
        case "is_null":
            place[operator] = _BOOLEANS.get(value, value)
        case _:
            place[operator] = value


def split_values(text: str) -> list[str]:
    """Split comma-separated values with CSV quoting.

    A value in double quotes may contain commas; a double quote in it is doubled. Spaces are kept.

    Example:
        >>> split_values('"a, b",plain,5" pipe,')
        ["a, b", "plain", '5" pipe', ""]

    Raises:
        ValueError: a value begins with a quote but does not end with one.
    """
    values: list[str] = []
    place, more = 0, ","
    while more:
        value = _VALUE.match(text, place)
        if value is None:
            raise ValueError(
                f"quotes do not pair up at {text[place : place + 40]!r}; put a value with commas "
                "in double quotes, right between its commas, and write a quote in it twice: "
                'in="a, b","5"" pipe",plain.'
            )
        quoted, bare, more = value.groups()
        values.append(bare if quoted is None else quoted.replace('""', '"'))
        place = value.end()
    return values
