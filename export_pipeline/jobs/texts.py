"""Texts that every database can hold, and JSON that Python can."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\ufffd"
_DEEPEST = 50


def is_storable(value: Any) -> bool:
    """Whether every database can hold the text or JSON as it is."""
    if isinstance(value, Mapping):
        return all(is_storable(key) and is_storable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_storable(item) for item in value)
    return not isinstance(value, str) or storable(value) == value


def storable(value: Any) -> Any:
    """The text or JSON with U+FFFD for NUL and lone surrogates, which PostgreSQL refuses, at any depth."""
    if isinstance(value, str):
        text = value.replace("\x00", _REPLACEMENT)
        return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


class Unreadable(dict[str, None]):
    """What stands for a JSON value that cannot be read; its one name says why."""


def json_of(text: str | bytes) -> Any:
    """The value of a JSON text of the ledger; SQLite gives bytes where somebody has put bytes.

    Applications write it, and databases take numbers and depths that stop Python. Such a value becomes an
    object with one name that says so: no dataset has a filter, column or option of this name, so the request
    is refused.
    """
    try:
        value = json.loads(text)
        if _is_deep(value):
            raise RecursionError
    except RecursionError:
        return Unreadable({f"JSON that nests more than {_DEEPEST} deep": None})
    except ValueError as error:
        return Unreadable({f"JSON that cannot be read ({error})": None})
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
