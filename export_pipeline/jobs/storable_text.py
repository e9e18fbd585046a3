"""Strings that every database can store, and JSON that Python can parse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\ufffd"
_MAX_DEPTH = 50


def is_storable(value: Any) -> bool:
    """Return whether every database can store the string or JSON value unchanged."""
    if isinstance(value, Mapping):
        return all(is_storable(key) and is_storable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_storable(item) for item in value)
    return not isinstance(value, str) or storable(value) == value


def storable(value: Any) -> Any:
    """Replace NUL and lone surrogates, which PostgreSQL rejects, with U+FFFD, at any depth of the value."""
    if isinstance(value, str):
        text = value.replace("\x00", _REPLACEMENT)
        return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


class Unreadable(dict[str, None]):
    """A placeholder for a JSON value that cannot be parsed; its only key says why."""


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON string of the ledger; SQLite returns bytes if bytes were stored.

    Applications write these values, and databases accept numbers and nesting that Python's parser rejects.
    Such a value becomes an object with one key that names the problem. No dataset has a filter, column or
    option with this name, so the request is refused.
    """
    try:
        value = json.loads(text)
        if _is_deep(value):
            raise RecursionError
    except RecursionError:
        return Unreadable({f"JSON that nests more than {_MAX_DEPTH} deep": None})
    except ValueError as error:
        return Unreadable({f"JSON that cannot be read ({error})": None})
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
