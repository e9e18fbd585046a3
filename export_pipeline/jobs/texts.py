"""Texts that every database can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\ufffd"


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
