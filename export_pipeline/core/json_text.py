"""JSON in string arrays, checked and parsed a batch at a time by Arrow's JSON parser.

The parser accepts or refuses a whole batch. A refused batch is split again and again, so that a few bad rows
cost little.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import bytes_of, offsets_of, pack_mask

EMPTY = "{}"
# Parsing with this schema only checks the syntax; its single field hardly ever occurs.
_ANY_OBJECT = pa.schema([("\u0001", pa.float64())])
_HUGE = r"[:,\[][ \t]*-?(?:[0-9.]+[eE]\+?[0-9]{3}|[0-9.]{200})"
"""Matches every number beyond the range of doubles, and few others: with fewer digits it is below 1e300."""
_SLOW_ROWS = 128
_FEW_BRACKETS = 1000


def is_valid_json(texts: pa.Array) -> pa.Array:
    """Return whether each string is one valid JSON value (RFC 8259); false for null.

    Also false for a value nested deeper than 1024 levels, which few readers accept, and for one with a number
    beyond the range of doubles. Objects are checked a batch at a time, other values one by one.
    """
    # The parser accepts NaN, Infinity, numbers slightly beyond the doubles and any depth, and would read a
    # raw newline as the end of a row.
    data = bytes_of(texts).tobytes()
    strange = any(word in data for word in (b"NaN", b"Inf", b"\r", b"\n"))
    lines, refused = screen_objects(texts, rf"{_HUGE}|NaN|Inf|[\r\n]" if strange else _HUGE)
    deep = np.zeros(len(lines), bool)
    if len(lines) and np.diff(offsets_of(lines)).max() > _FEW_BRACKETS:
        deep = to_bools(pc.greater(_brackets(lines), _FEW_BRACKETS)) & ~refused
    if deep.any():
        refused |= deep
        lines = pc.if_else(pack_mask(deep), EMPTY, lines)
    marks = np.zeros(len(texts), bool)
    start = 0
    for part in parse_parts(lines, _ANY_OBJECT):
        rows = len(part)
        marks[start : start + rows] = (
            True if isinstance(part, pa.Table) else [_is_json(text.as_py()) for text in part]
        )
        start += rows
    for index in np.flatnonzero(refused):
        marks[index] = _is_json(texts[int(index)].as_py())
    if texts.null_count:
        marks &= ~to_bools(texts.is_null())
    return pack_mask(marks)


def to_numpy(array: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the values of a fixed-width Arrow array without nulls, not copied.

    Arrow's own conversion to numpy would import pandas if it is installed.
    """
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(0, dtype)
    return np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array)]


def to_bools(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Return the values of a boolean array without nulls."""
    return to_numpy(array.cast(pa.uint8()), np.uint8).astype(bool)


def screen_objects(texts: pa.Array, pattern: str | None = None) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return lines that are safe for the parser, and which rows are not (their lines are empty objects).

    Each line starts with { and ends with }. So no object can continue on the next line, and a batch that is
    accepted with as many objects as lines has exactly one in each. Arrow 26 crashes on a null outside of any
    object. The first value of a line is an object, so such a null can only follow a }.
    """
    lines = pc.ascii_trim(pc.fill_null(texts, EMPTY), " \t\r\n")
    fit = pc.and_(pc.starts_with(lines, "{"), pc.ends_with(lines, "}"))
    if b"null" in bytes_of(lines).tobytes():
        fit = pc.and_not(fit, pc.match_substring_regex(lines, r"\}\s*null"))
    if pattern is not None:
        fit = pc.and_not(fit, pc.match_substring_regex(lines, pattern))
    return pc.if_else(fit, lines, EMPTY), ~to_bools(fit)


def _brackets(lines: pa.Array) -> pa.Array:
    return pc.add(pc.count_substring(lines, "{"), pc.count_substring(lines, "["))


def parse_parts(lines: pa.Array, schema: pa.Schema) -> Iterator[pa.Table | pa.Array]:
    """Yield the rows in order: tables of parsed rows, and short arrays of refused ones."""
    if len(lines) == 0:
        return
    table = parse_lines(lines, schema)
    if table is not None:
        yield table
    elif len(lines) <= _SLOW_ROWS:
        yield lines
    else:
        size = max(_SLOW_ROWS, -(-len(lines) // 8))
        for start in range(0, len(lines), size):
            yield from parse_parts(lines.slice(start, size), schema)


def parse_lines(lines: pa.Array, schema: pa.Schema) -> pa.Table | None:
    """Parse the lines, one row for each; None if any of them is invalid."""
    from pyarrow import json as arrow_json

    ended = pc.binary_join_element_wise(lines, "", "\n")
    offsets = np.frombuffer(ended.buffers()[1], np.int32)
    first, last = int(offsets[ended.offset]), int(offsets[ended.offset + len(ended)])
    try:
        table = arrow_json.read_json(
            pa.BufferReader(ended.buffers()[2].slice(first, last - first)),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=last - first + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == len(lines) else None


def _is_json(text: str) -> bool:
    import orjson

    try:
        orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return False
    return True
