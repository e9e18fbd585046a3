"""Formulas of total rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from export_pipeline.core.layout import Total
from export_pipeline.formats.excel.names import quoted

_LONGEST_TEXT = 255  # characters of a string literal in a formula
_LONGEST_FORMULA = 8_000
# Words that SUMIF compares literally: no wildcard, operator, number, date or boolean.
_PLAIN_WORD = re.compile(r"[A-Za-z]{1,8}[²³]?")
_NOT_PLAIN = frozenset({"true", "false"})
# Programs disagree whether _x0041_ in a formula is the letter A.
_CODED = re.compile("_x[0-9A-Fa-f]{4}_")

Range = tuple[str, int, int]


def total_formula(
    total: Total,
    others: Sequence[Total],
    letters: str,
    where_letters: str | None,
    ranges: Sequence[Range],
    here: str,
) -> str | None:
    """Return the formula that sums a column for a total row.

    Args:
        total: The total.
        others: All totals of the table, to find criteria that differ only in case.
        letters: The summed column.
        where_letters: The letters of the column in `total.where`; None if it has none.
        ranges: (sheet name, first row, last row) of the table's sheets.
        here: The name of the sheet that holds the formula.

    Returns:
        The formula without `=`; None if no formula is certain to give the total, e.g. for a very
        long criterion.
    """
    if total.where is None:
        formula = f"SUM({','.join(_range(letters, span, here) for span in ranges)})"
    else:
        value = total.where[1]
        if where_letters is None or len(value) > _LONGEST_TEXT:
            return None
        if not value.isprintable() or _CODED.search(value):
            return None
        text = '"' + value.replace('"', '""') + '"'
        exact = not _PLAIN_WORD.fullmatch(value) or value.lower() in _NOT_PLAIN or _clashes(total, others)
        formula = "+".join(
            (f"SUMPRODUCT(--EXACT({where},{text}),{values})" if exact else f"SUMIF({where},{text},{values})")
            for where, values in (
                (_range(where_letters, span, here), _range(letters, span, here)) for span in ranges
            )
        )
    return formula if len(formula) <= _LONGEST_FORMULA else None


def _range(letters: str, span: Range, here: str) -> str:
    name, first, last = span
    area = f"{letters}{first}:{letters}{last}"
    return area if name == here else f"{quoted(name)}!{area}"


def _clashes(total: Total, others: Sequence[Total]) -> bool:
    assert total.where is not None
    folded = total.where[1].casefold()
    return any(
        other.where is not None
        and other.where[0] == total.where[0]
        and other.where[1] != total.where[1]
        and other.where[1].casefold() == folded
        for other in others
    )
