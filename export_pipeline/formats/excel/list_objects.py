"""Excel's tables (ListObject): the name and columns of a range of rows, with its filter and bands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from export_pipeline.formats.excel.text import xml_attribute

MAX_TABLES = 500
"""Most tables of a workbook; more would only slow programs down."""
_LONGEST_HEADER = 255
_NOT_A_LETTER = re.compile(r"\W+", re.ASCII)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def can_head_table(headers: Sequence[str]) -> bool:
    """Return whether these can be the headers of a table: none empty, long or odd, no two the same."""
    plain = all(0 < len(header) <= _LONGEST_HEADER and header.isprintable() for header in headers)
    return plain and "_x" not in "".join(headers) and len({h.casefold() for h in headers}) == len(headers) > 0


def table_name(title: str, number: int) -> str:
    """Return the name of a workbook's n-th table: never a cell's address, and never used twice."""
    words = _NOT_A_LETTER.sub("_", title).strip("_")[:60] or "Rows"
    return f"T_{words}_{number}" if words[0].isdigit() else f"{words}_Table{number}"


def table_part(number: int) -> str:
    """Return the part name of a table counted from 1."""
    return f"xl/tables/table{number}.xml"


def table_xml(number: int, name: str, area: str, headers: Sequence[str]) -> str:
    """Return the part of a table.

    Args:
        number: Its number in the workbook, from 1.
        name: Its name in formulas.
        area: Header and rows, e.g. A4:G20; at least one row.
        headers: Its headers, as their cells have them.
    """
    columns = "".join(
        f'<tableColumn id="{index}" name="{xml_attribute(header)}"/>'
        for index, header in enumerate(headers, start=1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<table xmlns="{_MAIN}" id="{number}" name="{name}" displayName="{name}" ref="{area}" '
        'totalsRowShown="0">'
        f'<autoFilter ref="{area}"/><tableColumns count="{len(headers)}">{columns}</tableColumns>'
        '<tableStyleInfo name="TableStyleLight1" showFirstColumn="0" showLastColumn="0" showRowStripes="1" '
        'showColumnStripes="0"/></table>'
    )
