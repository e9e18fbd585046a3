"""Texts that every database can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\ufffd"


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
