"""Geometry of measurements: JSON strings in page pixels become flat coordinate lists, a batch at a time.

Pixels have their origin top-left, and y points down. The JSON by geometry type:
line {start, end}; polyline and polygon {points}; rectangle {x, y, width, height, rotation?};
circle {center, radius}; point {x, y}; where start, end, center and each of the points are {x, y}. Arcs, bent
sides and holes: `curves`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import pack_mask
from export_pipeline.core.json_text import to_bools, to_numpy
from export_pipeline.takeoff import curves, geometry_numbers

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

KINDS = ("none", "line", "polyline", "polygon", "point")
NONE, LINE, POLYLINE, POLYGON, POINT = range(5)

CIRCLE_SEGMENTS = 96
_STEP = 2 * np.pi / CIRCLE_SEGMENTS
# A regular polygon with this circumradius has the area of the unit circle.
_EQUAL_AREA_RADIUS = float(np.sqrt(_STEP / np.sin(_STEP)))
MAX_ARC_SEGMENTS = curves.MAX_STEPS
EQUAL_PERIMETER = float((_STEP / 2) / (_EQUAL_AREA_RADIUS * np.sin(_STEP / 2)))
"""Scaled by this about its centre, a circle's polygon has the circle's perimeter instead of its area."""

_POLYLINE, _POLYGON, _ARC = geometry_numbers.POLYLINE, geometry_numbers.POLYGON, geometry_numbers.ARC
_RECTANGLE, _CIRCLE = geometry_numbers.RECTANGLE, geometry_numbers.CIRCLE
_KIND_OF_TYPE = np.array([LINE, POLYLINE, POLYGON, POLYGON, POLYGON, POINT, NONE, NONE], np.int8)
_LEAST = np.array([4, 4, 6, 4, 3, 2, 0, 0])
"""Minimum count of numbers in a shape of each type."""


@dataclass(frozen=True, slots=True)
class Holes:
    """The holes in the polygons of one batch, in the order of their rows.

    Attributes:
        rows: int64 by hole, ascending: the row of its polygon.
        offsets: int64, holes + 1: hole i owns `values[offsets[i]:offsets[i + 1]]`.
        values: float64, x1 y1 x2 y2 …
    """

    rows: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    offsets: Ints = field(default_factory=lambda: np.zeros(1, np.int64))
    values: Floats = field(default_factory=lambda: np.empty(0))

    def by_row(self, rows: int) -> pa.Array:
        """Return the holes of each row (list<list<float64>>): x1 y1 x2 y2 … each."""
        rings = pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), pa.array(self.values))
        starts = np.searchsorted(self.rows, np.arange(rows + 1))
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), rings)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shapes of one batch of rows.

    Attributes:
        codes: int8 by row, an index into `KINDS`; `NONE` if the row has no readable shape.
        offsets: int64, rows + 1: row i owns `values[offsets[i]:offsets[i + 1]]`.
        values: float64, x1 y1 x2 y2 …, all finite. A polygon's first point is not repeated at its end.
        circles: bool by row: the polygon stands for a circle.
        holes: The polygons' holes.
    """

    codes: npt.NDArray[np.int8]
    offsets: Ints
    values: Floats
    circles: Bools
    holes: Holes = field(default_factory=Holes)

    @property
    def kind(self) -> pa.Array:
        """The kind of each row's shape (string): line, polyline, polygon, point or none."""
        codes = pa.Array.from_buffers(pa.int8(), len(self.codes), [None, pa.py_buffer(self.codes)])
        return pa.array(KINDS, pa.string()).take(codes)

    @property
    def points(self) -> pa.ListArray:
        """The points of each row's shape (list<float64>): x1 y1 x2 y2 …; empty if there is no shape."""
        offsets = self.offsets.astype(np.int32)
        values = pa.Array.from_buffers(pa.float64(), len(self.values), [None, pa.py_buffer(self.values)])
        return pa.ListArray.from_buffers(
            pa.list_(pa.float64()), len(self.codes), [None, pa.py_buffer(offsets)], children=[values]
        )

    @property
    def valid(self) -> pa.Array:
        """True for rows with a shape (bool)."""
        return pc.not_equal(
            pa.Array.from_buffers(pa.int8(), len(self.codes), [None, pa.py_buffer(self.codes)]), NONE
        )

    def lengths(self) -> Floats:
        """Return pixels by row: length of a line or polyline, perimeter of a polygon or circle, else 0.

        Holes do not count.
        """
        x, y, starts, counts = _corners(self.values, self.offsets)
        dx, dy = _following(x, starts, counts) - x, _following(y, starts, counts) - y
        sides = np.hypot(dx, dy)
        open_rows = (self.codes == LINE) | (self.codes == POLYLINE)
        sides[(starts + counts - 1)[open_rows]] = 0.0
        lengths = _sums(sides, counts)
        lengths[self.circles] *= EQUAL_PERIMETER
        return lengths

    def areas(self) -> Floats:
        """Return square pixels by row: area of a polygon without its holes (a circle's is exact), else 0."""
        areas = _areas(self.values, self.offsets)
        areas[self.codes != POLYGON] = 0.0
        if len(self.holes.rows):
            np.subtract.at(areas, self.holes.rows, _areas(self.holes.values, self.holes.offsets))
        return areas


def parse(geometry_type: pa.Array, geometry_data: pa.Array) -> Geometry:
    """Read the shapes of a batch. Invalid data never raise an error.

    A row has no shape (kind none) if its type is unknown, its JSON is not an object, a coordinate is
    missing, not a number or not finite, a polyline has fewer than 2 points or a polygon fewer than 3, a
    circle's radius is not positive, or a hole or an arc is not as `curves` describes. Rectangles become
    their 4 corners, rotated by `rotation` degrees about their centre, clockwise as seen (y points down).
    Circles become regular polygons of 96 corners with exactly the circle's area; unscaled, the error would
    be 0.07 %. A polygon's repeated last point is left out.

    Args:
        geometry_type: string by row.
        geometry_data: string by row, JSON.
    """
    types, geometry_data = _flatten_arcs(_type_codes(geometry_type), geometry_data)
    numbers = geometry_numbers.read(types, geometry_data)
    values, starts, counts = numbers.values, np.cumsum(numbers.counts) - numbers.counts, numbers.counts
    sound = counts > 0
    finite = np.isfinite(values)
    if not finite.all():
        sound[np.repeat(np.arange(len(types)), counts)[~finite]] = False
    repeats = (types == _POLYGON) & _repeats_first(values, starts, counts)
    sound &= counts - 2 * repeats >= _LEAST[types]

    holes = _read_holes(types, sound, geometry_data)
    made: list[tuple[Ints, Floats]] = []
    for code, corners in ((_RECTANGLE, _rectangle_corners), (_CIRCLE, _circle_corners)):
        rows = np.flatnonzero((types == code) & sound)
        with np.errstate(all="ignore"):  # overflow makes inf or NaN, which is found below
            block = corners(values, starts[rows], counts[rows])
        good = np.isfinite(block).all(axis=1)
        sound[rows[~good]] = False
        made.append((rows[good], block[good]))

    as_they_are = sound & (types != _RECTANGLE) & (types != _CIRCLE)
    sizes = np.where(as_they_are, counts - 2 * repeats, 0)
    for rows, block in made:
        sizes[rows] = block.shape[1]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.empty(int(offsets[-1]), np.float64)
    taken = np.repeat(as_they_are, counts)
    ends = (starts + counts)[repeats]
    taken[ends - 1] = taken[ends - 2] = False
    flat[np.repeat(as_they_are, sizes)] = values[taken]
    for rows, block in made:
        flat[offsets[:-1][rows][:, None] + np.arange(block.shape[1])] = block
    return Geometry(
        np.where(sound, _KIND_OF_TYPE[types], NONE).astype(np.int8),
        offsets,
        flat,
        sound & (types == _CIRCLE),
        holes,
    )


def _flatten_arcs(types: npt.NDArray[np.int8], texts: pa.Array) -> tuple[npt.NDArray[np.int8], pa.Array]:
    """Return types and JSON with straight sides only; a row with an unreadable arc has an unknown type."""
    bent = (types == _ARC) | (np.isin(types, (_POLYLINE, _POLYGON)) & _contains(texts, '"arcs"'))
    rows = np.flatnonzero(bent)
    if not len(rows):
        return types, texts
    names = geometry_numbers.TYPES
    flat = [curves.flatten(names[types[row]], texts[int(row)].as_py() or "") for row in rows]
    types = types.copy()
    types[types == _ARC] = _POLYLINE
    types[rows[[text is None for text in flat]]] = geometry_numbers.UNKNOWN
    return types, pc.replace_with_mask(texts, pack_mask(bent), pa.array([text or "{}" for text in flat]))


def _read_holes(types: npt.NDArray[np.int8], sound: Bools, texts: pa.Array) -> Holes:
    """Return the holes of sound polygons; a polygon with an unreadable hole is marked as not sound."""
    rows = np.flatnonzero(sound & (types == _POLYGON) & _contains(texts, '"holes"'))
    owners: list[int] = []
    holes: list[list[float]] = []
    for row in rows.tolist():
        parsed = curves.read_holes(texts[row].as_py())
        if parsed is None:
            sound[row] = False
            continue
        owners += [row] * len(parsed)
        holes += parsed
    if not holes:
        return Holes()
    offsets = np.cumsum([0, *map(len, holes)])
    return Holes(np.array(owners), offsets, np.concatenate([np.array(hole) for hole in holes]))


def _contains(texts: pa.Array, text: str) -> Bools:
    return to_bools(pc.fill_null(pc.match_substring(texts, text), False))


def _type_codes(geometry_type: pa.Array) -> npt.NDArray[np.int8]:
    codes = pc.fill_null(
        pc.index_in(geometry_type, value_set=pa.array(geometry_numbers.TYPES, geometry_type.type)),
        geometry_numbers.UNKNOWN,
    )
    return to_numpy(codes.cast(pa.int8()), np.int8)


def _rectangle_corners(values: Floats, starts: Ints, counts: Ints) -> Floats:
    x, y, width, height = values[starts[:, None] + np.arange(4)].T
    rotated = counts > 4
    turn = np.zeros(len(starts))
    turn[rotated] = np.deg2rad(values[starts[rotated] + 4])
    across, down = np.array([-0.5, 0.5, 0.5, -0.5]), np.array([-0.5, -0.5, 0.5, 0.5])
    dx, dy = width[:, None] * across, height[:, None] * down
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    # Compute the corners of an unrotated rectangle as sums of its own numbers, to avoid rounded products.
    turned = (turn != 0.0)[:, None]
    left, top = x[:, None] + width[:, None] * (across + 0.5), y[:, None] + height[:, None] * (down + 0.5)
    centre_x, centre_y = (x + width / 2)[:, None], (y + height / 2)[:, None]
    corners = np.empty((len(starts), 8))
    corners[:, 0::2] = np.where(turned, centre_x + dx * cos - dy * sin, left)
    corners[:, 1::2] = np.where(turned, centre_y + dx * sin + dy * cos, top)
    return corners


def _circle_corners(values: Floats, starts: Ints, counts: Ints) -> Floats:
    x, y, radius = values[starts[:, None] + np.arange(3)].T
    reach = np.where(radius > 0, radius, np.nan)[:, None] * _EQUAL_AREA_RADIUS
    angles = _STEP * np.arange(CIRCLE_SEGMENTS)
    corners = np.empty((len(starts), 2 * CIRCLE_SEGMENTS))
    corners[:, 0::2] = x[:, None] + reach * np.cos(angles)
    corners[:, 1::2] = y[:, None] + reach * np.sin(angles)
    return corners


def _repeats_first(values: Floats, starts: Ints, counts: Ints) -> Bools:
    """Return whether a row's last point repeats its first."""
    repeats = np.zeros(len(counts), bool)
    some = np.flatnonzero(counts > 3)
    first, last = starts[some], starts[some] + counts[some] - 2
    repeats[some] = (values[first] == values[last]) & (values[first + 1] == values[last + 1])
    return repeats


def _corners(values: Floats, offsets: Ints) -> tuple[Floats, Floats, Ints, Ints]:
    """Return x and y, and each shape's first corner and number of corners."""
    return values[0::2], values[1::2], offsets[:-1] // 2, np.diff(offsets) // 2


def _areas(values: Floats, offsets: Ints) -> Floats:
    """Return the area that each ring encloses."""
    x, y, starts, counts = _corners(values, offsets)
    # Relative to each shape's first point, so that a small shape far from the origin keeps its precision.
    x = x - np.repeat(_firsts(x, starts, counts), counts)
    y = y - np.repeat(_firsts(y, starts, counts), counts)
    doubled = x * _following(y, starts, counts) - _following(x, starts, counts) * y
    areas: Floats = np.abs(_sums(doubled, counts)) / 2
    return areas


def _firsts(values: Floats, starts: Ints, counts: Ints) -> Floats:
    firsts = np.zeros(len(counts))
    firsts[counts > 0] = values[starts[counts > 0]]
    return firsts


def _following(values: Floats, starts: Ints, counts: Ints) -> Floats:
    """Return the coordinate that follows each corner; the last corner is followed by the shape's first."""
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
