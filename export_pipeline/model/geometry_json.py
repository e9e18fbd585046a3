"""Geometry JSON of a batch of rows as columns of numbers, read by Arrow's JSON parser.

The parser takes a whole batch at once or refuses it. A refused batch is halved and halved again, so that a
few bad rows cost little; what is left is read row by row, and only sound fields are kept of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
_SLOW_ROWS = 16
_EMPTY = "{}"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a batch's objects; a number that is missing is NaN."""

    table: pa.Table

    def columns(self, *paths: str) -> Floats:
        """float64 (rows, paths) of fields such as "x" or "start.x"."""
        found = np.empty((self.table.num_rows, len(paths)))
        for index, path in enumerate(paths):
            name, _, child = path.partition(".")
            array = self.table.column(name).combine_chunks()
            found[:, index] = _with_nan(pc.struct_field(array, child) if child else array)
        return found

    def points(self) -> tuple[Floats, Floats, Ints, Ints]:
        """x and y of all points, and each row's first place and count in them."""
        lists = self.table.column("points").combine_chunks()
        counts = numpy_of(pc.fill_null(pc.list_value_length(lists), 0), np.int32).astype(np.int64)
        x, y = (_with_nan(child) for child in lists.flatten().flatten())
        return x, y, np.cumsum(counts) - counts, counts


def read(texts: pa.Array) -> Fields:
    """Read geometry JSON (string by row). A row that is no JSON object has no fields; nothing raises."""
    plain = _safe_lines(texts)
    return Fields(pa.concat_tables(_read_parts(plain, _SCHEMA, _cleaned)))


def valid(texts: pa.Array) -> pa.Array:
    """bool by row: whether the text is one JSON value. Objects are checked a batch at a time."""
    schema = pa.schema([("_", pa.null())])
    # Only rows that the parser judges as RFC 8259 does may go to it: it also takes NaN and Infinity.
    lines = _safe_lines(texts, refuse=r"NaN|Inf")
    refused = pc.equal(lines, _EMPTY)
    marks: list[bool] = []
    for part in _parts(lines, schema):
        marks.extend([True] * len(part) if isinstance(part, pa.Table) else (_is_json(t.as_py()) for t in part))
    checked = pa.array(marks, pa.bool_())
    if not pc.any(refused).as_py():
        return checked
    for index in np.flatnonzero(_bits(refused)):
        marks[index] = _is_json(texts[int(index)].as_py())
    return pa.array(marks, pa.bool_())


def numpy_of(array: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The values of a fixed-width Arrow array without nulls, not copied, and without importing pandas."""
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]
