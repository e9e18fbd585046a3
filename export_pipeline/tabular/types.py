"""Column types as written in a defs.yaml: `decimal(12,4)`, `money`, `timestamp`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from export_pipeline.core.columns import Kind

TYPES = (
    "text", "integer", "decimal(p,s)", "money", "money(p,s)", "percent", "float", "boolean", "date",
    "timestamp", "duration", "duration(days)", "json", "uuid", "enum", "url",
)  # fmt: skip
"""The types that may be written; p is the precision, s the scale."""

_DURATIONS = {"duration": False, "duration(days)": True}
_WORD = re.compile(r"^([a-z]+)(?:\(\s*(\d+)\s*,\s*(\d+)\s*\))?$")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type.

    Attributes:
        kind: The meaning of its cells.
        precision: (precision, scale) of a decimal or of money in whole units; None for others.
        is_duration: True for texts H:MM:SS, which JSON has as ISO 8601.
        names_days: True if other formats have a duration's days in words: "1 day, 2:03:04".
    """

    kind: Kind
    precision: tuple[int, int] | None = None
    is_duration: bool = False
    names_days: bool = False

    @property
    def minor(self) -> bool:
        """True for `money` without precision: integers that count the minor unit, e.g. cents."""
        return self.kind is Kind.MONEY and self.precision is None


@lru_cache(1024)  # called for each column many times per export
def parse_type(text: str) -> ColumnType:
    """Parse a type.

    Raises:
        ValueError: There is no such type, or its precision or scale is invalid; the message lists the types.
    """
    if (names_days := _DURATIONS.get(text.strip().lower())) is not None:
        return ColumnType(Kind.TEXT, is_duration=True, names_days=names_days)
    match = _WORD.match(text.strip().lower())
    if match is None or match[1] not in {one.value for one in Kind}:
        near = get_close_matches(text, TYPES, 1, 0.5)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise ValueError(f"there is no type {text!r}; {hint} are {', '.join(TYPES)}")
    kind, precision, scale = Kind(match[1]), match[2], match[3]
    if precision is None:
        if kind is Kind.DECIMAL:
            raise ValueError(f"say how many digits a decimal has, e.g. decimal(12,4), not {text!r}")
        return ColumnType(kind)
    if kind not in (Kind.DECIMAL, Kind.MONEY):
        raise ValueError(f"{kind} has no digits to choose; write it without ({precision},{scale})")
    p, s = int(precision), int(scale)
    if not 1 <= p <= 76 or s > p:
        raise ValueError(f"{text}: the precision is 1 to 76, and the scale at most the precision")
    return ColumnType(kind, (p, s))
