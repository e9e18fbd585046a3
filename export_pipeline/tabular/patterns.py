"""Patterns for printing dates and times."""

from __future__ import annotations

import re

from export_pipeline.core.strict import describe_unknown_name

DAY_PARTS = ("yyyy", "MMM", "MM", "dd")
TIME_PARTS = ("HH", "mm", "ss")
_WORD = re.compile(r"[A-Za-z]+")
_PARTS = re.compile(f"(?>{'|'.join((*DAY_PARTS, *TIME_PARTS, 'T'))})++")


def pattern_problem(pattern: str | None, times: bool) -> str | None:
    """Return the error in a pattern such as `MMM dd, yyyy`; None if it is valid.

    Args:
        times: True if the column has a time of day.
    """
    if pattern is None:
        return None
    known = (*DAY_PARTS, *TIME_PARTS) if times else DAY_PARTS
    for token in _WORD.findall(pattern):
        if not _PARTS.fullmatch(token):
            return f"no part of a pattern: {describe_unknown_name(token, known)}"
        if not times and any(part in token for part in TIME_PARTS):
            return f"a date has no {token}; there are {', '.join(DAY_PARTS)}"
    if not any(part in pattern for part in known):
        return f"a pattern has at least one of {', '.join(known)}"
    return None
