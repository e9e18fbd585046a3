"""Sheet names and cell addresses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_NAME = 31  # UTF-16 units
_ILLEGAL = re.compile(r"[:\\/?*\[\]\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# In attributes and formulas some programs read _x0041_ as "A", so no name may contain such a code.
_CODED = re.compile(r"(_x[0-9A-Fa-f]{4})_")
_EDGES = re.compile(r"^[\s']+|(?<![\s'])[\s']++$")
_RESERVED = "history"


def sheet_names(titles: Iterable[tuple[str, str]]) -> list[str]:
    """Return legal, unique sheet names.

    Args:
        titles: (title, suffix) pairs. The suffix, e.g. " (part 2)", is kept when the title is cut.

    Returns:
        One name for each pair, at most 31 UTF-16 units, unique ignoring case.
    """
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    names = []
    for title, suffix in titles:
        base = _legal(title)
        name = _fit(base, suffix)
        number = next_number.get(fold := _fold(name), 2)
        candidate = name
        while _fold(candidate) in taken:
            candidate = _fit(base, f"{suffix} ({number})")
            number += 1
        next_number[fold] = number
        taken.add(_fold(candidate))
        names.append(candidate)
    return names


def quote_sheet(name: str) -> str:
    """Quote a sheet's name as formulas and links need it."""
    return "'" + name.replace("'", "''") + "'"


def column_letters(index: int) -> str:
    """Return the letters of a column counted from 0: A, B, … Z, AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def utf16_length(text: str) -> int:
    """Return the length in UTF-16 units, which is how spreadsheets count characters."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)


def utf16_head(text: str, units: int) -> str:
    """Return the longest prefix of at most this many UTF-16 units; no character is split."""
    head = text[:units]
    excess = utf16_length(head) - units
    while excess > 0:
        head = head[:-1] if excess == 1 else head[: -(excess // 2)]
        excess = utf16_length(head) - units
    return head


def _legal(title: str) -> str:
    name = _EDGES.sub("", _CODED.sub(r"\1-", _ILLEGAL.sub("_", title)))
    if not name:
        return "Sheet"
    return name + "_" if name.casefold() == _RESERVED else name


def _fit(base: str, suffix: str) -> str:
    room = MAX_NAME - utf16_length(suffix)
    if utf16_length(base) <= room:
        return base + suffix
    return utf16_head(base, room - 1).rstrip() + "…" + suffix


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
