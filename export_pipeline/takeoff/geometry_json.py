"""Geometry JSON of a batch of rows as columns of numbers, read by Arrow's JSON parser.

The parser accepts or refuses a whole batch. A refused batch is split again and again, so that a
few bad rows cost little. The remaining rows are read one by one, and only their valid fields are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import bytes_of, offsets_of, pack_mask

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PAIRS = ("start", "end", "center")
_NUMBERS = ("x", "y", "width", "height", "rotation", "radius")
_PAIR = pa.struct([("x", pa.float64()), ("y", pa.float64())])
_SCHEMA = pa.schema(
    [(name, _PAIR) for name in _PAIRS]
    + [("points", pa.list_(_PAIR))]
    + [(name, pa.float64()) for name in _NUMBERS]
)
# Parsing with this schema only checks the syntax; its single field hardly ever occurs.
_ANY_OBJECT = pa.schema([("\u0001", pa.float64())])
_HUGE = r"[:,\[][ \t]*-?(?:[0-9.]+[eE]\+?[0-9]{3}|[0-9.]{200})"
"""Matches every number beyond the range of doubles, and few others: with fewer digits it is below 1e300."""
_SLOW_ROWS = 128
_EMPTY = "{}"
_FEW_BRACKETS = 1000


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a batch's objects; a missing number is NaN."""

    table: pa.Table

    def columns(self, *paths: str, defaults: Mapping[str, float] = MappingProxyType({})) -> Floats:
        """Return float64 (rows, paths) of fields such as "x" or "start.x".

        A missing field has its default, or NaN without one.
        """
        values = np.empty((self.table.num_rows, len(paths)))
        for index, path in enumerate(paths):
            name, _, child = path.partition(".")
            array = self.table.column(name).combine_chunks()
            numbers = pc.struct_field(array, child) if child else array
            values[:, index] = _fill(numbers, defaults.get(path, np.nan))
        return values

    def points(self) -> tuple[Floats, Floats, Ints]:
        """Return x and y of all points, and the number of points of each row."""
        lists = self.table.column("points").combine_chunks()
        counts = to_numpy(pc.fill_null(pc.list_value_length(lists), 0), np.int32).astype(np.int64)
        x, y = (_fill(child, np.nan) for child in lists.flatten().flatten())
        return x, y, counts


def read(texts: pa.Array) -> Fields:
    """Read geometry JSON (string by row). A row that is not a JSON object has no fields; nothing raises."""
    lines, refused = _screen(
        pc.replace_substring_regex(texts, r"[\r\n]", " ") if _has(texts, "\n") else texts
    )
    if refused.any():
        cleaned = [_clean(texts[int(index)].as_py()) for index in np.flatnonzero(refused)]
        lines = pc.replace_with_mask(lines, pack_mask(refused), pa.array(cleaned, pa.string()))
    tables = []
    for part in _parts(lines, _SCHEMA):
        if isinstance(part, pa.Array):
            part = _parse(pa.array([_clean(text.as_py()) for text in part], pa.string()), _SCHEMA)
        tables.append(part)
    return Fields(pa.concat_tables(tables) if tables else _SCHEMA.empty_table())


def valid(texts: pa.Array) -> pa.Array:
    """Return whether each string is one valid JSON value (RFC 8259); false for null.

    Also false for a value nested deeper than 1024 levels, which few readers accept, and for one with a number
    beyond the range of doubles. Objects are checked a batch at a time, other values one by one.
    """
    # The parser accepts NaN, Infinity, numbers slightly beyond the doubles and any depth, and would read a
    # raw newline as the end of a row.
    data = bytes_of(texts).tobytes()
    strange = any(word in data for word in (b"NaN", b"Inf", b"\r", b"\n"))
    lines, refused = _screen(texts, rf"{_HUGE}|NaN|Inf|[\r\n]" if strange else _HUGE)
    deep = np.zeros(len(lines), bool)
    if len(lines) and np.diff(offsets_of(lines)).max() > _FEW_BRACKETS:
        deep = bools(pc.greater(_brackets(lines), _FEW_BRACKETS)) & ~refused
    if deep.any():
        refused |= deep
        lines = pc.if_else(pack_mask(deep), _EMPTY, lines)
    marks = np.zeros(len(texts), bool)
    start = 0
    for part in _parts(lines, _ANY_OBJECT):
        rows = len(part)
        marks[start : start + rows] = (
            True if isinstance(part, pa.Table) else [_is_json(text.as_py()) for text in part]
        )
        start += rows
    for index in np.flatnonzero(refused):
        marks[index] = _is_json(texts[int(index)].as_py())
    if texts.null_count:
        marks &= ~bools(texts.is_null())
    return pack_mask(marks)


def to_numpy(array: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the values of a fixed-width Arrow array without nulls, not copied.

    Arrow's own conversion to numpy would import pandas if it is installed.
    """
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(0, dtype)
    return np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array)]


def _fill(array: pa.Array, missing: float) -> Floats:
    return to_numpy(pc.fill_null(array, missing), np.float64)


def bools(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Return the values of a boolean array without nulls."""
    return to_numpy(array.cast(pa.uint8()), np.uint8).astype(bool)


def _has(texts: pa.Array, text: str) -> bool:
    return bool(pc.any(pc.match_substring(texts, text)).as_py())


def _screen(texts: pa.Array, pattern: str | None = None) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return lines that are safe for the parser, and which rows are not (their lines are empty objects).

    Each line starts with { and ends with }. So no object can continue on the next line, and a batch that is
    accepted with as many objects as lines has exactly one in each. Arrow 26 crashes on a null outside of any
    object. The first value of a line is an object, so such a null can only follow a }.
    """
    lines = pc.ascii_trim(pc.fill_null(texts, _EMPTY), " \t\r\n")
    fit = pc.and_(pc.starts_with(lines, "{"), pc.ends_with(lines, "}"))
    if b"null" in bytes_of(lines).tobytes():
        fit = pc.and_not(fit, pc.match_substring_regex(lines, r"\}\s*null"))
    if pattern is not None:
        fit = pc.and_not(fit, pc.match_substring_regex(lines, pattern))
    return pc.if_else(fit, lines, _EMPTY), ~bools(fit)


def _brackets(lines: pa.Array) -> pa.Array:
    return pc.add(pc.count_substring(lines, "{"), pc.count_substring(lines, "["))


def _parts(lines: pa.Array, schema: pa.Schema) -> Iterator[pa.Table | pa.Array]:
    """Yield the rows in order: tables of parsed rows, and short arrays of refused ones."""
    if len(lines) == 0:
        return
    table = _parse(lines, schema)
    if table is not None:
        yield table
    elif len(lines) <= _SLOW_ROWS:
        yield lines
    else:
        size = max(_SLOW_ROWS, -(-len(lines) // 8))
        for start in range(0, len(lines), size):
            yield from _parts(lines.slice(start, size), schema)


def _parse(lines: pa.Array, schema: pa.Schema) -> pa.Table | None:
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


def _clean(text: str) -> str:
    """Return the object with only those fields that have the right type and finite numbers."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _EMPTY
    if not isinstance(value, dict):
        return _EMPTY
    kept: dict[str, Any] = {name: _number(value[name]) for name in _NUMBERS if name in value}
    kept |= {name: _pair(value[name]) for name in _PAIRS if name in value}
    if value.get("rotation") is not None and kept["rotation"] is None:
        return _EMPTY
    points = value.get("points")
    if isinstance(points, list):
        kept["points"] = [_pair(point) for point in points]
    return json.dumps(kept)


def _pair(value: object) -> dict[str, float | None] | None:
    if not isinstance(value, dict):
        return None
    return {"x": _number(value.get("x")), "y": _number(value.get("y"))}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
