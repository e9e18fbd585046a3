"""Parse command-line arguments into the options of an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export_pipeline.cli.console import UserError
from export_pipeline.datasets.filter_texts import add_filter


def options(texts: Sequence[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` and `NAME.FIELD=VALUE` strings into a mapping.

    Raises:
        UserError: a string has no `=`.
    """
    values: dict[str, Any] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text}: write it as NAME=VALUE.")
        name, _, field = (part.strip() for part in left.partition("."))
        if not field:
            values[name] = value
        elif isinstance(fields := values.setdefault(name, {}), dict):
            fields[field] = value
        else:
            raise UserError(f"--option {text}: {name} is given as a whole already.")
    return values


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
    by_name: dict[str, dict[str, Any]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--filter {text}: write it as NAME=VALUE or NAME:OPERATOR=VALUE.")
        name, _, operator = (part.strip() for part in left.partition(":"))
        try:
            add_filter(by_name, name, operator or "equals", value)
        except ValueError as error:
            raise UserError(f"--filter {text[:200]}: {error}") from None
    return by_name
