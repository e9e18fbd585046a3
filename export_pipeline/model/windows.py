"""Windows: the range of time that an export is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open range of time `[start, end)`; both ends have a zone.

    Attributes:
        name: Its partition key, e.g. "2026-11-20"; part of the name of its files.
        start: The first moment in it.
        end: The first moment after it.
    """

    name: str
    start: datetime
    end: datetime
