"""From what is typed on the command line to the options of an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export_pipeline.cli.console import UserError

_RANGE = ("from", "to")


def options(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts as a mapping.

    Raises:
        UserError: a text has no `=`.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text}: write it as NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found


def filters(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`NAME=VALUE` and `NAME:OPERATOR=VALUE` texts as filters: by name and operator.

    Without an operator it is `equals`; `in` takes values with commas between them, `from` and `to` are the
    ends of a range, both inclusive.

    Example:
        >>> filters(["status:in=A,B", "sale_date:from=2026-01-01"])
        {"status": {"in": ["A", "B"]}, "sale_date": {"range": {"from": "2026-01-01"}}}

    Raises:
        UserError: a text has no `=`, or says the same twice.
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
        place[key] = [part.strip() for part in value.split(",")] if key == "in" else value
    return found
