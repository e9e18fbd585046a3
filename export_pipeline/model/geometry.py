"""Geometry of measurements: JSON text in page pixels becomes flat coordinate lists, a batch at a time.

Pixels have their origin top-left, and y runs down. What the JSON holds, by geometry type:
line {start, end}; polyline and polygon {points}; rectangle {x, y, width, height, rotation?};
circle {center, radius}; point {x, y}; where start, end, center and each of the points are {x, y}.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model import geometry_json

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

KINDS = ("none", "line", "polyline", "polygon", "point")
NONE, LINE, POLYLINE, POLYGON, POINT = range(5)

CIRCLE_SEGMENTS = 96
_STEP = 2 * np.pi / CIRCLE_SEGMENTS
# A regular polygon with this circumradius has the area of the unit circle.
_EQUAL_AREA_RADIUS = float(np.sqrt(_STEP / np.sin(_STEP)))
EQUAL_PERIMETER = float((_STEP / 2) / (_EQUAL_AREA_RADIUS * np.sin(_STEP / 2)))
"""Scaled by this about its centre, a circle's polygon has the circle's perimeter instead of its area."""

_TYPES = ("line", "polyline", "polygon", "rectangle", "circle", "point")
_LINE, _POLYLINE, _POLYGON, _RECTANGLE, _CIRCLE, _POINT = range(6)
_KIND_OF_TYPE = np.array([LINE, POLYLINE, POLYGON, POLYGON, POLYGON, POINT, NONE], np.int8)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shapes of one batch of rows.

    Attributes:
        codes: int8 by row, an index into `KINDS`; `NONE` where the row has no readable shape.
        offsets: int64, rows + 1: row i owns `values[offsets[i]:offsets[i + 1]]`.
        values: float64, x1 y1 x2 y2 …, all finite. A polygon is not closed by its first point.
        circles: bool by row: the polygon stands for a circle.
    """

    codes: npt.NDArray[np.int8]
    offsets: Ints
    values: Floats
    circles: Bools

    @property
    def kind(self) -> pa.Array:
        """string by row: line, polyline, polygon, point or none."""
        codes = pa.Array.from_buffers(pa.int8(), len(self.codes), [None, pa.py_buffer(self.codes)])
        return pa.array(KINDS, pa.string()).take(codes)

    @property
    def points(self) -> pa.ListArray:
        """list<float64> by row: x1 y1 x2 y2 …; empty where there is no shape."""
        offsets = self.offsets.astype(np.int32)
        values = pa.Array.from_buffers(pa.float64(), len(self.values), [None, pa.py_buffer(self.values)])
        return pa.ListArray.from_buffers(
            pa.list_(pa.float64()), len(self.codes), [None, pa.py_buffer(offsets)], children=[values]
        )

    @property
    def valid(self) -> pa.Array:
        """bool by row: whether the row has a shape."""
        return pc.not_equal(
            pa.Array.from_buffers(pa.int8(), len(self.codes), [None, pa.py_buffer(self.codes)]), NONE
        )

    def lengths(self) -> Floats:
        """Pixels by row: length of a line or polyline, perimeter of a polygon or circle, else 0."""
        x, y, starts, counts = self._corners()
        dx, dy = _following(x, starts, counts) - x, _following(y, starts, counts) - y
        sides = np.hypot(dx, dy)
        open_rows = (self.codes == LINE) | (self.codes == POLYLINE)
        sides[(starts + counts - 1)[open_rows]] = 0.0
        lengths = _sums(sides, counts)
        lengths[self.circles] *= EQUAL_PERIMETER
        return lengths

    def areas(self) -> Floats:
        """Square pixels by row: area of a polygon (a circle's is exact), else 0."""
        x, y, starts, counts = self._corners()
        # Relative to each shape's first point, so that a small shape far from the origin keeps its digits.
        x = x - np.repeat(_firsts(x, starts, counts), counts)
        y = y - np.repeat(_firsts(y, starts, counts), counts)
        doubled = x * _following(y, starts, counts) - _following(x, starts, counts) * y
        areas = np.abs(_sums(doubled, counts)) / 2
        areas[self.codes != POLYGON] = 0.0
        return areas

    def _corners(self) -> tuple[Floats, Floats, Ints, Ints]:
        counts = np.diff(self.offsets) // 2
        return self.values[0::2], self.values[1::2], self.offsets[:-1] // 2, counts


def parse(geometry_type: pa.Array, geometry_data: pa.Array) -> Geometry:
    """Read the shapes of a batch. Never raises for what the data hold.

    A row has no shape (kind none) when its type is unknown, its text is no JSON object, a coordinate is
    missing, not a number or not finite, a polyline has fewer than 2 points or a polygon fewer than 3, or a
    circle's radius is not positive. Rectangles become their 4 corners, turned by `rotation` degrees about
    their centre, clockwise as seen (y runs down). Circles become regular polygons of 96 corners with exactly
    the circle's area; unscaled, its error would be 0.07 %. A polygon's repeated last point is left out.

    Args:
        geometry_type: string by row.
        geometry_data: string by row, JSON text.
    """
    types = _type_codes(geometry_type)
    fields = geometry_json.read(geometry_data)
    rows = len(types)

    points_x, points_y, point_starts, point_counts = fields.points()
    point_counts = np.where((types == _POLYLINE) | (types == _POLYGON), point_counts, 0)
    point_counts -= _repeats_first(points_x, points_y, point_starts, point_counts) & (types == _POLYGON)

    shapes: dict[int, Floats] = {
        _LINE: fields.columns("start.x", "start.y", "end.x", "end.y"),
        _POINT: fields.columns("x", "y"),
    }
    rectangles = np.flatnonzero(types == _RECTANGLE)
    circles = np.flatnonzero(types == _CIRCLE)
    with np.errstate(all="ignore"):  # overflow makes inf or NaN, which the check below finds
        shapes[_RECTANGLE] = _rectangle_corners(fields, rectangles)
        shapes[_CIRCLE] = _circle_corners(fields, circles)

    counts = np.zeros(rows, np.int64)
    counts[types == _LINE] = 4
    counts[types == _POINT] = 2
    counts[rectangles] = 8
    counts[circles] = 2 * CIRCLE_SEGMENTS
    counts += 2 * point_counts
    good = counts > 0
    good[(types == _POLYLINE) & (point_counts < 2)] = False
    good[(types == _POLYGON) & (point_counts < 3)] = False
    lists = _gathered(points_x, points_y, point_starts, point_counts)
    good[np.repeat(np.arange(rows), point_counts)[~np.isfinite(lists).all(axis=1)]] = False
    for code, picked in ((_LINE, None), (_POINT, None), (_RECTANGLE, rectangles), (_CIRCLE, circles)):
        where = np.flatnonzero(types == code)
        block = shapes[code][where] if picked is None else shapes[code]
        good[where[~np.isfinite(block).all(axis=1)]] = False

    kept = np.where(good, counts, 0)
    offsets = np.concatenate(([0], np.cumsum(kept)))
    values = np.empty(int(offsets[-1]), np.float64)
    for code, picked in ((_LINE, None), (_POINT, None), (_RECTANGLE, rectangles), (_CIRCLE, circles)):
        where = np.flatnonzero(types == code)
        block = shapes[code][where] if picked is None else shapes[code]
        chosen = good[where]
        places = offsets[:-1][where[chosen]][:, None] + np.arange(block.shape[1])
        values[places] = block[chosen]
    listed = good & (point_counts > 0)
    from_lists = np.repeat(listed, point_counts)
    targets = _ranges(offsets[:-1][listed], kept[listed])
    values[targets] = lists[from_lists].ravel()
    return Geometry(
        np.where(good, _KIND_OF_TYPE[types], NONE).astype(np.int8), offsets, values, good & (types == _CIRCLE)
    )


def valid_json(texts: pa.Array) -> pa.Array:
    """bool by row: whether the text is one JSON value as RFC 8259 says; null is not."""
    return geometry_json.valid(texts)


def _type_codes(geometry_type: pa.Array) -> npt.NDArray[np.int8]:
    found = pc.fill_null(
        pc.index_in(geometry_type, value_set=pa.array(_TYPES, geometry_type.type)), len(_TYPES)
    )
    return geometry_json.numpy_of(found.cast(pa.int8()), np.int8)


def _rectangle_corners(fields: geometry_json.Fields, rows: Ints) -> Floats:
    x, y, width, height = fields.columns("x", "y", "width", "height")[rows].T
    turn = np.deg2rad(fields.columns("rotation", missing=0.0)[rows, 0])
    across, down = np.array([-0.5, 0.5, 0.5, -0.5]), np.array([-0.5, -0.5, 0.5, 0.5])
    dx, dy = width[:, None] * across, height[:, None] * down
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    # An unturned rectangle's corners are sums of its own numbers, not of rounded products.
    turned = (turn != 0.0)[:, None]
    left, top = x[:, None] + width[:, None] * (across + 0.5), y[:, None] + height[:, None] * (down + 0.5)
    centre_x, centre_y = (x + width / 2)[:, None], (y + height / 2)[:, None]
    corners = np.empty((len(rows), 8))
    corners[:, 0::2] = np.where(turned, centre_x + dx * cos - dy * sin, left)
    corners[:, 1::2] = np.where(turned, centre_y + dx * sin + dy * cos, top)
    return corners


def _circle_corners(fields: geometry_json.Fields, rows: Ints) -> Floats:
    x, y, radius = fields.columns("center.x", "center.y", "radius")[rows].T
    reach = np.where(radius > 0, radius, np.nan)[:, None] * _EQUAL_AREA_RADIUS
    angles = _STEP * np.arange(CIRCLE_SEGMENTS)
    corners = np.empty((len(rows), 2 * CIRCLE_SEGMENTS))
    corners[:, 0::2] = x[:, None] + reach * np.cos(angles)
    corners[:, 1::2] = y[:, None] + reach * np.sin(angles)
    return corners


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """starts[0], starts[0]+1, … (counts[0] of them), starts[1], …"""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: Ints = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return places


def _gathered(x: Floats, y: Floats, starts: Ints, counts: Ints) -> Floats:
    places = _ranges(starts, counts)
    return np.stack((x[places], y[places]), axis=1)


def _repeats_first(x: Floats, y: Floats, starts: Ints, counts: Ints) -> Bools:
    repeats = np.zeros(len(counts), bool)
    some = np.flatnonzero(counts > 1)
    first, last = starts[some], starts[some] + counts[some] - 1
    repeats[some] = (x[first] == x[last]) & (y[first] == y[last])
    return repeats


def _firsts(values: Floats, starts: Ints, counts: Ints) -> Floats:
    firsts = np.zeros(len(counts))
    firsts[counts > 0] = values[starts[counts > 0]]
    return firsts


def _following(values: Floats, starts: Ints, counts: Ints) -> Floats:
    """Each corner's next one; the last corner's is the shape's first."""
    following = np.roll(values, -1)
    some = counts > 0
    following[(starts + counts - 1)[some]] = values[starts[some]]
    return following


def _sums(values: Floats, counts: Ints) -> Floats:
    sums = np.zeros(len(counts))
    some = counts > 0
    if some.any():
        sums[some] = np.add.reduceat(values, (np.cumsum(counts) - counts)[some])
    return sums
