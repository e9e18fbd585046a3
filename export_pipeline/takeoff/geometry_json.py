"""Geometry JSON of a batch of rows as columns of numbers; only valid fields are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import pack_mask
from export_pipeline.core.json_text import EMPTY, parse_lines, parse_parts, screen_objects, to_numpy

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
    lines, refused = screen_objects(
        pc.replace_substring_regex(texts, r"[\r\n]", " ") if _has(texts, "\n") else texts
    )
    if refused.any():
        cleaned = [_clean(texts[int(index)].as_py()) for index in np.flatnonzero(refused)]
        lines = pc.replace_with_mask(lines, pack_mask(refused), pa.array(cleaned, pa.string()))
    tables = []
    for part in parse_parts(lines, _SCHEMA):
        if isinstance(part, pa.Array):
            part = parse_lines(pa.array([_clean(text.as_py()) for text in part], pa.string()), _SCHEMA)
        tables.append(part)
    return Fields(pa.concat_tables(tables) if tables else _SCHEMA.empty_table())


def _fill(array: pa.Array, missing: float) -> Floats:
    return to_numpy(pc.fill_null(array, missing), np.float64)


def _has(texts: pa.Array, text: str) -> bool:
    return bool(pc.any(pc.match_substring(texts, text)).as_py())


def _clean(text: str) -> str:
    """Return the object with only those fields that have the right type and finite numbers."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return EMPTY
    if not isinstance(value, dict):
        return EMPTY
    kept: dict[str, Any] = {name: _number(value[name]) for name in _NUMBERS if name in value}
    kept |= {name: _pair(value[name]) for name in _PAIRS if name in value}
    if value.get("rotation") is not None and kept["rotation"] is None:
        return EMPTY
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
