"""The types that a defs.yaml may give a column, as words: `decimal(12,4)`, `money`, `timestamp`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from export_pipeline.core.columns import Kind

TYPES = (
    "text", "integer", "decimal(p,s)", "money", "money(p,s)", "percent", "float", "boolean", "date",
    "timestamp", "json", "uuid", "enum", "url",
)  # fmt: skip
"""What may be written; p is the number of digits in all, s of those behind the point."""

_WORD = re.compile(r"^([a-z]+)(?:\(\s*(\d+)\s*,\s*(\d+)\s*\))?$")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type.

    Attributes:
        kind: What its cells mean.
        precision: (p, s) of a decimal or of money in whole units; None for the others.
    """

    kind: Kind
    precision: tuple[int, int] | None = None

    @property
    def minor(self) -> bool:
        """Whether this is `money` without digits: integers that count the minor unit, e.g. cents."""
        return self.kind is Kind.MONEY and self.precision is None


@lru_cache(1024)  # asked for each column many times in an export
def parse_type(word: str) -> ColumnType:
    """The type behind a word.

    Raises:
        ValueError: there is no such type, or its digits make no sense; the message says what there is.
    """
    found = _WORD.match(word.strip().lower())
    if found is None or found[1] not in {one.value for one in Kind}:
        near = get_close_matches(word, TYPES, 1, 0.5)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise ValueError(f"there is no type {word!r}; {hint} are {', '.join(TYPES)}")
    kind, digits, behind = Kind(found[1]), found[2], found[3]
    if digits is None:
        if kind is Kind.DECIMAL:
            raise ValueError(f"say how many digits a decimal has, e.g. decimal(12,4), not {word!r}")
        return ColumnType(kind)
    if kind not in (Kind.DECIMAL, Kind.MONEY):
        raise ValueError(f"{kind} has no digits to choose; write it without ({digits},{behind})")
    p, s = int(digits), int(behind)
    if not 1 <= p <= 76 or s > p:
        raise ValueError(f"{word}: 1 to 76 digits in all, and no more behind the point than that")
    return ColumnType(kind, (p, s))
