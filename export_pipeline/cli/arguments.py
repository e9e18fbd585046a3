"""Parse command-line arguments into the options of an export."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from export_pipeline.cli.console import UserError

_RANGE = ("from", "to")


def options(texts: Sequence[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` strings into a mapping.

    Raises:
        UserError: a string has no `=`.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text}: write it as NAME=VALUE.")
        found[name.strip()] = value
    return found


def filters(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse `NAME=VALUE` and `NAME:OPERATOR=VALUE` strings into filters by name and operator.

    The default operator is `equals`. `in` takes comma-separated values. `from` and `to` are the inclusive
    ends of a range. Spaces in values are kept.

    Example:
        >>> filters(["status:in=A,B", "sale_date:from=2026-01-01"])
        {"status": {"in": ["A", "B"]}, "sale_date": {"range": {"from": "2026-01-01"}}}

    Raises:
        UserError: a string has no `=`, repeats a filter, or has an unmatched quote.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--filter {text}: write it as NAME=VALUE or NAME:OPERATOR=VALUE.")
        name, _, operator = (part.strip() for part in left.partition(":"))
        operators = found.setdefault(name, {})
        place = operators.setdefault("range", {}) if operator in _RANGE else operators
        key = operator or "equals"
        if key in place:
            raise UserError(f"--filter {text}: {name} has this filter twice; `{name}:in=A,B` takes several.")
        place[key] = split_values(value) if key == "in" else value
    return found


_VALUE = re.compile(r'(?:"((?:[^"]|"")*+)"|((?!\s*")[^,]*))(,|\Z)')


def split_values(text: str) -> list[str]:
    """Split comma-separated values with CSV quoting.

    A value in double quotes may contain commas; a double quote in it is doubled. Spaces are kept.

    Example:
        >>> split_values('"a, b",plain,5" pipe,')
        ["a, b", "plain", '5" pipe', ""]

    Raises:
        UserError: a value begins with a quote but does not end with one.
    """
    values: list[str] = []
    place, more = 0, ","
    while more:
        found = _VALUE.match(text, place)
        if found is None:
            raise UserError(
                f"--filter: quotes do not pair up at {text[place : place + 40]!r}; put a value with commas "
                "in double quotes, right between its commas, and write a quote in it twice: "
                'in="a, b","5"" pipe",plain.'
            )
        quoted, bare, more = found.groups()
        values.append(bare if quoted is None else quoted.replace('""', '"'))
        place = found.end()
    return values
