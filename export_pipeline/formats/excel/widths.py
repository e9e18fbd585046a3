"""Column widths: measured from the header, the first rows and the totals."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Number
from export_pipeline.core.special_numbers import to_finite_decimals

NARROWEST, WIDEST = 8.0, 60.0
_MARGIN = 3  # characters: padding and indent of a cell
_BUTTON = 6  # characters: the filter button beside the header, and as much on the other side of centered text
LINE_HEIGHT = 15.0  # points: height of a line
MAX_LINES = 27  # a row is at most 409 points high
_LARGEST_WIDTH = 255.0


def column_width(column: Column, header: str, sample: pa.Array | None, totals: Iterable[Number]) -> float:
    """Return the width of a column in characters.

    Args:
        column: The column, for its kind, decimal places and greatest width.
        header: Header text; it may wrap between words.
        sample: Values of the first rows; None if there are no rows.
        totals: Values that total rows print in it.
    """
    words = header.split() or [""]
    least = max(max(len(word) for word in words), (len(header) + 1) // 2) + _BUTTON
    needed = least
    if sample is not None and len(sample) > sample.null_count:
        needed = max(needed, _widest(column, sample) + _MARGIN)
    for total in totals:
        needed = max(needed, len(_print_cells(column, total)) + _MARGIN + 1)
    if len(header) - 1 <= needed < len(header) + _MARGIN:
        needed = len(header) + _MARGIN  # a header that just fits would touch both borders
    widest = WIDEST if column.width is None else min(max(column.width, least), _LARGEST_WIDTH)
    return min(max(float(needed), NARROWEST), widest)


def header_height(headers: Iterable[str], widths: Iterable[float]) -> float:
    """Return the height in points of a row of headers that wrap between words."""
    lines = 1
    for header, width in zip(headers, widths, strict=True):
        lines = max(lines, count_lines(header, max(width - _BUTTON + 1, 1.0)))
    return LINE_HEIGHT * min(lines, MAX_LINES) + 3


def count_lines(text: str, width: float) -> int:
    """Return the lines of a text that wraps between words, at a width in characters."""
    lines, used = 1, 0.0
    for word in text.split():
        if used and used + 1 + len(word) > width:
            lines, used = lines + 1, 0.0
        used += len(word) + (1 if used else 0)
    return lines


def row_height(lines: pa.Array) -> pa.Array:
    """Return the attributes of rows with cells of this many lines; nothing for one line."""
    heights = pc.multiply(lines, int(LINE_HEIGHT)).cast(pa.string())
    given = pc.binary_join_element_wise('" ht="', heights, '" customHeight="1">', "")
    return pc.if_else(pc.equal(lines, 1), '">', given)


def _widest(column: Column, sample: pa.Array) -> int:
    if column.kind in (Kind.DATE, Kind.TIMESTAMP):
        return len(column.pattern or ("yyyy-MM-dd" if column.kind is Kind.DATE else "yyyy-MM-dd HH:mm:ss"))
    if column.kind is Kind.BOOLEAN:
        return 5
    if column.kind.is_text:
        texts = sample.cast(pa.string())
        characters = pc.utf8_length(texts)
        # A CJK character takes three bytes and the width of two letters.
        wide = pc.divide(pc.subtract(pc.binary_length(texts), characters), 2)
        widest: int = pc.max(pc.add(characters, wide)).as_py()
        return widest
    if column.digits is None and column.kind in (Kind.DECIMAL, Kind.FLOAT):
        return min(int(pc.max(pc.binary_length(sample.cast(pa.string()))).as_py()), 22)
    bounds = pc.min_max(to_finite_decimals(sample))
    ends = [bounds[end].as_py() for end in ("min", "max")]
    return max(len("NaN" if end is None else _print_cells(column, end)) for end in ends)


def _print_cells(column: Column, value: Number) -> str:
    if column.kind is Kind.MONEY:
        return f"{column.currency}{value:,.{2 if column.digits is None else column.digits}f}"
    if column.kind is Kind.PERCENT:
        return f"{value:.{1 if column.digits is None else column.digits}f}%"
    group = "," if column.grouping else ""
    if column.digits is not None:
        return f"{value:{group}.{column.digits}f}"
    return f"{value:{group}}" if column.kind is Kind.INTEGER else str(value)
