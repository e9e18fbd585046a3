"""The numbers in a batch's geometry JSON, in the order that its type defines.

Nearly all geometry is written in one of a few plain forms. A regular expression finds these rows. They have
digits only in numbers, so their numbers are read without a JSON parser. The parser reads the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import bytes_of, offsets_of, pack_mask
from export_pipeline.core.json_text import to_bools
from export_pipeline.takeoff import geometry_json

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]

TYPES = ("line", "polyline", "polygon", "rectangle", "circle", "point", "arc")
LINE, POLYLINE, POLYGON, RECTANGLE, CIRCLE, POINT, ARC, UNKNOWN = range(8)

_SIZES = np.array([4, 0, 0, 5, 3, 2, 0, 0])
"""Count of numbers that the parser's fields give for a type; 0 for types with lists of points."""

_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
_XY = rf'\{{"x": ?{_NUMBER}, ?"y": ?{_NUMBER}'
_SIDES = rf', ?"width": ?{_NUMBER}, ?"height": ?{_NUMBER}(?:, ?"rotation": ?{_NUMBER})?'
_PLAIN = (
    rf'\A(?:\{{"points": ?\[(?:{_XY}\}}, ?)*{_XY}\}}\]\}}'
    rf"|{_XY}(?:{_SIDES})?\}}"
    rf'|\{{"end": ?{_XY}\}}, ?"start": ?{_XY}\}}\}}'  # shorter names first, the order of jsonb
    rf'|\{{"start": ?{_XY}\}}, ?"end": ?{_XY}\}}\}}'
    rf'|\{{"center": ?{_XY}\}}, ?"radius": ?{_NUMBER}\}})\z'
)
_NAME = len('{"')
_FORMS = np.full(256, UNKNOWN, np.int8)
_FORMS[[ord(letter) for letter in "esxpc"]] = LINE, LINE, POINT, POLYLINE, CIRCLE
"""Type by the initial of a plain row's first name. Rectangles count as POINT, polygons as POLYLINE."""
_LONGEST = 300
"""Number of characters up to which a number surely fits a double."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers that make up the shapes of a batch.

    A line has x1 y1 x2 y2, a polyline or polygon x1 y1 x2 y2 …, a rectangle x y width height and optionally
    its rotation, a circle x y radius, a point x y.

    Attributes:
        values: float64, in the rows' order; NaN if the JSON has no number.
        counts: The count of values by row.
    """

    values: Floats
    counts: Ints


def read(types: Codes, texts: pa.Array) -> Numbers:
    """Return the numbers of geometry JSON (string by row), by the rows' types. Invalid JSON never raises."""
    is_plain, numbers = _plain(types, texts)
    if is_plain.all():
        return numbers
    rest = ~is_plain
    parsed = _parse(types[rest], texts.filter(pack_mask(rest)))
    counts = np.empty(len(types), np.int64)
    counts[is_plain], counts[rest] = numbers.counts, parsed.counts
    values = np.empty(int(counts.sum()))
    of_plain = np.repeat(is_plain, counts)
    values[of_plain], values[~of_plain] = numbers.values, parsed.values
    return Numbers(values, counts)


def _plain(types: Codes, texts: pa.Array) -> tuple[Bools, Numbers]:
    """Return which rows are plain and match their type, and the numbers of these rows."""
    is_plain = to_bools(pc.fill_null(pc.match_substring_regex(texts, _PLAIN), False))
    nothing = np.zeros(len(types), bool), Numbers(np.empty(0), np.empty(0, np.int64))
    if not is_plain.any():
        return nothing
    if not is_plain.all():
        texts = texts.filter(pack_mask(is_plain))
    data, offsets = bytes_of(texts), offsets_of(texts)
    offsets = offsets - offsets[0]
    in_number = data - np.uint8(ord("-")) <= ord("9") - ord("-")
    edges = np.flatnonzero(in_number[1:] != in_number[:-1]) + 1
    begins = edges[0::2]
    if (edges[1::2] - begins).max() > _LONGEST:
        return nothing
    firsts = np.searchsorted(begins, offsets)
    counts = np.diff(firsts)
    forms = _FORMS[data[offsets[:-1] + _NAME]]
    forms[(forms == POINT) & (counts > 2)] = RECTANGLE
    plain_types = types[is_plain]
    fits = forms == np.where(plain_types == POLYGON, POLYLINE, plain_types)
    values = _values(data, edges)
    ended_first = firsts[:-1][(forms == LINE) & (data[offsets[:-1] + _NAME] == ord("e"))][:, None]
    values[ended_first + np.arange(4)] = values[ended_first + np.array([2, 3, 0, 1])]
    if not fits.all():
        values, counts = values[np.repeat(fits, counts)], counts[fits]
        is_plain[is_plain] = fits
    return is_plain, Numbers(values, counts)


def _values(data: npt.NDArray[np.uint8], edges: Ints) -> Floats:
    """Parse the numbers between each even edge and the next; there are none between the others."""
    stretches = len(edges) - 1
    every_other = np.full(stretches // 8 + 1, 0b01010101, np.uint8)
    buffers = [pa.py_buffer(part) for part in (every_other, edges.astype(np.int32), data)]
    texts = pa.Array.from_buffers(pa.string(), stretches, buffers)
    return np.frombuffer(texts.cast(pa.float64()).buffers()[1], np.float64, stretches)[::2].copy()


def _parse(types: Codes, texts: pa.Array) -> Numbers:
    """Return the numbers, read by the JSON parser."""
    fields = geometry_json.read(texts)
    x, y, points = fields.points()
    listed = (types == POLYLINE) | (types == POLYGON)
    counts = np.where(listed, 2 * points, _SIZES[types])
    starts = np.cumsum(counts) - counts
    values = np.empty(int(counts.sum()))
    for code, columns in (
        (LINE, fields.columns("start.x", "start.y", "end.x", "end.y")),
        (RECTANGLE, fields.columns("x", "y", "width", "height", "rotation", defaults={"rotation": 0.0})),
        (CIRCLE, fields.columns("center.x", "center.y", "radius")),
        (POINT, fields.columns("x", "y")),
    ):
        rows = np.flatnonzero(types == code)
        values[starts[rows][:, None] + np.arange(columns.shape[1])] = columns[rows]
    pairs = np.stack((x, y), axis=1)[np.repeat(listed, points)]
    values[np.repeat(listed, counts)] = pairs.ravel()
    return Numbers(values, counts)
