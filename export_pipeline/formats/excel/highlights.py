"""Conditional formats of a sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from export_pipeline.core.highlights import Highlight
from export_pipeline.formats.excel.text import xml_text

COLORS = {"red": ("9C0006", "FFC7CE"), "amber": ("7F6000", "FFEB9C"), "green": ("006100", "C6EFCE"),
          "blue": ("1F3864", "DDEBF7")}  # fmt: skip
"""Colours of text and cell."""
_BAR, _DEEP = "9DC3E6", "5B9BD5"
_LONGEST_TEXT = 255  # characters of a string literal in a formula


def highlight_xml(
    highlights: Sequence[Highlight], letters: dict[str, str], first: int, last: int, dxf: Callable[[str], int]
) -> str:
    """Return the conditional formats of a sheet's rows.

    Args:
        highlights: The highlights; those of other columns are left out.
        letters: Column letters by name.
        first, last: First and last row.
        dxf: Returns the index of the look with this colour.
    """
    made = []
    for priority, one in enumerate(highlights, start=1):
        column = letters.get(one.column)
        if column is None or last < first:
            continue
        rule = _rule(one, f"{column}{first}", priority, dxf)
        made.append(
            f'<conditionalFormatting sqref="{column}{first}:{column}{last}">{rule}</conditionalFormatting>'
        )
    return "".join(made)


def _rule(one: Highlight, cell: str, priority: int, dxf: Callable[[str], int]) -> str:
    if one.look == "data_bar":
        # From zero on, so that a bar twice as long is a value twice as large.
        return (
            f'<cfRule type="dataBar" priority="{priority}"><dataBar><cfvo type="num" val="0"/>'
            f'<cfvo type="max"/><color rgb="FF{_BAR}"/></dataBar></cfRule>'
        )
    if one.look == "color_scale":
        return (
            f'<cfRule type="colorScale" priority="{priority}"><colorScale><cfvo type="min"/>'
            f'<cfvo type="max"/><color rgb="FFFFFFFF"/><color rgb="FF{_DEEP}"/></colorScale></cfRule>'
        )
    formula = xml_text(_condition(one, cell))
    return (
        f'<cfRule type="expression" dxfId="{dxf(one.color)}" priority="{priority}">'
        f"<formula>{formula}</formula></cfRule>"
    )


def _condition(one: Highlight, cell: str) -> str:
    """Return the formula of a condition; an empty cell, which counts as zero, meets none."""
    if one.below is not None:
        return f"AND(ISNUMBER({cell}),{cell}<{one.below!r})"
    if one.above is not None:
        return f"AND(ISNUMBER({cell}),{cell}>{one.above!r})"
    return f"OR({','.join(_equals(value, cell) for value in one.values)})"


def _equals(value: str | bool | float, cell: str) -> str:
    if isinstance(value, bool):
        return f"AND(ISLOGICAL({cell}),{cell}={str(value).upper()})"
    if isinstance(value, str):
        text = value[:_LONGEST_TEXT].replace('"', '""')
        return f'EXACT({cell},"{text}")'
    return f"AND(ISNUMBER({cell}),{cell}={value!r})"
