"""Measurements as BidTakeoff elements, a batch at a time, without a Python step per row.

A straight segment, a polygon, a hole or a counted place is one takeoff; those of a measurement share a `No`.
A hole follows its polygon and has the polygon's sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.json_text import to_numpy
from export_pipeline.core.streams import map_concurrently
from export_pipeline.takeoff import geometry
from export_pipeline.takeoff.geometry import Geometry
from export_pipeline.takeoff.ost.conditions import AREA, COUNT, LINEAR, Conditions
from export_pipeline.takeoff.ost.guids import derive_guids
from export_pipeline.takeoff.ost.pages import Pages
from export_pipeline.takeoff.ost.positions import END, positions
from export_pipeline.takeoff.ost.tally import Left, Tally

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_FARTHEST = 1e12
"""Inches from the origin. A larger coordinate means nothing on a drawing, and its digits would fill pages."""

_BATCH = 100_000
"""Most takeoffs made at once, unless a single measurement has more."""
_SHORTEST_POINT = len('{"x":1,"y":1},')
_MAX_PIECES = 10_000
"""Largest count of one measurement that is written as takeoffs, one for each piece."""
_BEFORE_PARENT = '" BidAreaUID="0" BidTypAreaUID="0" ParentUID="'
_BEFORE_POSITION = '" Quantity="1" Count="1" Rotation="0" Position="'
_SIGNS = pa.array(["0", "1"])
_BEFORE_SIGN = f'{END}" IsNegativeQuantity="'


@dataclass(frozen=True, slots=True)
class Run:
    """The takeoffs of one page in one batch.

    Attributes:
        page: Index of the page.
        xml: The elements in UTF-8.
    """

    page: int
    xml: memoryview


@dataclass(frozen=True, slots=True)
class _Elements:
    """Takeoffs without numbers; arrays have one entry for each.

    Attributes:
        row: Row of the batch.
        number: Number in its measurement, from 0.
        is_hole: True if it is a hole in the takeoff with number 0.
        positions: Position strings, as returned by `positions`.
    """

    row: Ints
    number: Ints
    is_hole: Bools
    positions: pa.Array


@dataclass(frozen=True, slots=True)
class _Shaped:
    """The takeoffs of some measurements, not numbered yet; arrays have one entry per takeoff unless noted.

    Attributes:
        condition, page: Indexes.
        measurement: Index, from 0, of the written measurement that the takeoff belongs to.
        elements: The takeoffs.
        negative: True if the quantity is negative.
        guids: GUIDs (string).
        measured: By written measurement: condition index, size, and whether it is on a page with a scale.
        left: What is not in the file.
    """

    condition: Ints
    page: Ints
    measurement: Ints
    elements: _Elements
    negative: Bools
    guids: pa.Array
    measured: tuple[Ints, Floats, Bools]
    left: Left


class Takeoffs:
    """Converts batches of measurements, ordered by page, into runs of takeoffs.

    UIDs count down from `top`, so they descend within each page.
    """

    def __init__(self, conditions: Conditions, pages: Pages, tally: Tally, top: int) -> None:
        self._types = conditions.types
        self._inches = pages.inches
        self._condition_uids = pa.array([str(uid) for uid in conditions.uids], pa.string())
        self._page_uids = pa.array([str(uid) for uid in pages.uids], pa.string())
        self._scaled = pages.scaled
        self._tally = tally
        self._top = top
        self.written = 0
        """Number of measurements written so far."""

    def runs(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Run]:
        """Yield the takeoffs of the batches, a run for each page and slice."""
        for shaped in map_concurrently(
            self._add_shape, (part for batch in batches for part in _parts(batch))
        ):
            yield from self._add_number(shaped)

    def _add_shape(self, batch: pa.RecordBatch) -> _Shaped:
        condition, page = _indexes(batch, "condition_index"), _indexes(batch, "page_index")
        there = (condition >= 0) & (condition < len(self._types)) & (page >= 0) & (page < len(self._inches))
        shapes = geometry.parse(batch["geometry_type"], batch["geometry_data"])
        types = np.full(len(there), -1, np.int8)
        types[there] = self._types[condition[there]]
        inches = np.ones(len(there))
        inches[there] = self._inches[page[there]]
        readable = (shapes.codes != geometry.NONE) & _within(shapes, _FARTHEST / inches)
        fit = _fits(types, shapes.codes)
        quantities = to_numpy(batch["quantity"].fill_null(np.nan), np.float64)
        pieces = np.where(types == COUNT, _pieces(quantities), 1)
        kept = np.flatnonzero(there & readable & fit)
        elements = _elements(shapes, kept, types, pieces, inches)
        fresh = np.diff(elements.row, prepend=-1) != 0
        written = elements.row[fresh]
        negative = quantities < 0
        sizes = _sizes(shapes, types, inches) * np.where(negative, -1, 1) * pieces
        return _Shaped(
            condition=condition[elements.row],
            page=page[elements.row],
            measurement=np.cumsum(fresh) - 1,
            elements=elements,
            negative=negative[elements.row],
            guids=derive_guids(batch["id"].take(pa.array(elements.row)), elements.number),
            measured=(condition[written], sizes[written], self._scaled[page[written]]),
            left=Left(
                unreadable=condition[there & ~readable],
                unfit=condition[there & readable & ~fit],
                empty=condition[np.setdiff1d(kept, written, assume_unique=True)],
                astray=int((~there).sum()),
                rounded=int(
                    ((types == COUNT) & (np.abs(quantities) != pieces) & ~np.isnan(quantities))[kept].sum()
                ),
                notes=int(pc.sum(pc.greater(pc.binary_length(batch["notes"]), 0)).as_py() or 0),
                unverified=int(pc.sum(pc.invert(batch["is_verified"])).as_py() or 0),
            ),
        )

    def _add_number(self, shaped: _Shaped) -> Iterator[Run]:
        self._tally.add(shaped.left)
        self._tally.add_computed(*shaped.measured)
        many = len(shaped.page)
        if not many:
            return
        elements = shaped.elements
        uids = self._top - np.arange(many)
        xml = pc.binary_join_element_wise(
            '<BidTakeoff UID="',
            _integers(uids),
            '" BidUID="1" BidConditionUID="',
            self._condition_uids.take(_int64(shaped.condition)),
            '" BidZoneUID="0" BidPageUID="',
            self._page_uids.take(_int64(shaped.page)),
            _BEFORE_PARENT,
            _integers(np.where(elements.is_hole, uids + elements.number, 0)),
            '" No="',
            _integers(self.written + 1 + shaped.measurement),
            _BEFORE_POSITION,
            elements.positions,
            _BEFORE_SIGN,
            _SIGNS.take(_int64(shaped.negative)),
            '" Curve="-1" GUID="',
            shaped.guids,
            '"/>\r\n',
            "",
        )
        self.written += len(shaped.measured[0])
        self._top -= many
        yield from _by_page(xml, shaped.page)


def max_takeoffs(batch: pa.RecordBatch) -> int:
    """Return an upper bound on a batch's takeoffs, from the length of its strings alone."""
    return int(_most(batch).sum())


def _most(batch: pa.RecordBatch) -> Ints:
    most = pc.add(pc.divide(pc.binary_length(batch["geometry_data"]), _SHORTEST_POINT), 5)
    kinds = pc.fill_null(batch["geometry_type"], "")
    most = pc.fill_null(pc.if_else(pc.equal(kinds, "circle"), geometry.CIRCLE_SEGMENTS, most), 0)
    bent = pc.or_(
        pc.equal(kinds, "arc"), pc.fill_null(pc.match_substring(batch["geometry_data"], "arcs"), False)
    )
    most = pc.if_else(bent, pc.multiply(most, geometry.MAX_ARC_SEGMENTS), most)
    counts = _pieces(to_numpy(batch["quantity"].fill_null(np.nan), np.float64))
    points = to_numpy(pc.equal(kinds, "point").cast(pa.int8()), np.int8).astype(bool)
    takeoffs: Ints = np.maximum(to_numpy(most.cast(pa.int64()), np.int64), np.where(points, counts, 0))
    return takeoffs


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split the batch into slices with few enough takeoffs to fit in memory."""
    upto = np.cumsum(_most(batch))
    start = 0
    while start < batch.num_rows:
        before = upto[start - 1] if start else 0
        stop = max(int(np.searchsorted(upto, before + _BATCH, side="right")), start + 1)
        yield batch.slice(start, stop - start)
        start = stop


def _indexes(batch: pa.RecordBatch, name: str) -> Ints:
    return to_numpy(pc.fill_null(batch[name].cast(pa.int64()), -1), np.int64)


def _within(shapes: Geometry, limits: Floats) -> Bools:
    """Return a mask of rows whose coordinates are all within the row's limit."""
    within = np.ones(len(limits), bool)
    some = np.flatnonzero(np.diff(shapes.offsets))
    if len(some):
        farthest = np.maximum.reduceat(np.abs(shapes.values), shapes.offsets[:-1][some])
        within[some] = farthest <= limits[some]
    holes = shapes.holes
    if len(holes.rows):
        farthest = np.maximum.reduceat(np.abs(holes.values), holes.offsets[:-1])
        within[holes.rows[farthest > limits[holes.rows]]] = False
    return within


def _fits(types: npt.NDArray[np.int8], codes: npt.NDArray[np.int8]) -> Bools:
    """Return a mask of rows that fit their condition: lines and polygon sides for linear, polygons for
    area, points for count.
    """
    point, polygon = codes == geometry.POINT, codes == geometry.POLYGON
    fit: Bools = np.select([types == LINEAR, types == AREA, types == COUNT], [~point, polygon, point], False)
    return fit


def _sizes(shapes: Geometry, types: npt.NDArray[np.int8], inches: Floats) -> Floats:
    """Return the size of each row for an importer: inches, square inches, or 1 for a counted place."""
    with np.errstate(over="ignore", invalid="ignore"):  # in rows that are not written
        lengths, areas = shapes.lengths() * inches, shapes.areas() * inches**2
    sizes: Floats = np.select([types == LINEAR, types == AREA], [lengths, areas], 1.0)
    return sizes


def _pieces(quantities: Floats) -> Ints:
    """Return how many pieces each quantity counts; 1 where it is unknown or too large to write one by one."""
    counts = np.rint(np.abs(quantities))
    pieces: Ints = np.where(counts <= _MAX_PIECES, counts, 1).astype(np.int64)
    return pieces


def _elements(
    shapes: Geometry, kept: Ints, types: npt.NDArray[np.int8], pieces: Ints, inches: Floats
) -> _Elements:
    """Return the takeoffs of the measurements. Segments without length are left out.

    Args:
        kept: The rows that are written.
        types: By row, the type of its condition.
        pieces: By row, how many takeoffs a place becomes.
        inches: By row, inches per pixel.
    """
    holes = shapes.holes
    linear = types[kept] == LINEAR
    corners = np.diff(shapes.offsets)[kept] // 2
    closed = shapes.codes[kept] == geometry.POLYGON
    holes_of = np.bincount(holes.rows, minlength=len(types))[kept] * (types[kept] == AREA)
    counts = np.where(linear, corners - ~closed, pieces[kept] + holes_of)
    owner = np.repeat(kept, counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    pool = np.concatenate((_perimeters(shapes, types == LINEAR), holes.values))
    first, size = shapes.offsets[:-1][owner], np.diff(shapes.offsets)[owner]
    is_segment, is_hole = types[owner] == LINEAR, (types[owner] == AREA) & (number > 0)
    if is_hole.any():
        hole = np.searchsorted(holes.rows, owner[is_hole]) + number[is_hole] - 1
        first[is_hole] = len(shapes.values) + holes.offsets[:-1][hole]
        size[is_hole] = np.diff(holes.offsets)[hole]
    first[is_segment] += 2 * number[is_segment]
    second = np.where(number + 1 < np.repeat(corners, counts), first + 2, shapes.offsets[:-1][owner])
    some = np.flatnonzero(is_segment)
    here, there = pool[first[some][:, None] + np.arange(2)], pool[second[some][:, None] + np.arange(2)]
    live = np.ones(len(owner), bool)
    live[some] = (here != there).any(axis=1)
    if not live.all():
        owner, number, is_segment, is_hole = owner[live], number[live], is_segment[live], is_hole[live]
        first, size, second = first[live], size[live], second[live]
    size[is_segment] = 4
    offsets = np.concatenate(([0], np.cumsum(size)))
    flat = np.empty(int(offsets[-1]))
    one, two = first[is_segment], second[is_segment]
    flat[offsets[:-1][is_segment][:, None] + np.arange(4)] = pool[np.stack((one, one + 1, two, two + 1), 1)]
    whole = ~is_segment
    flat[_ranges(offsets[:-1][whole], size[whole])] = pool[_ranges(first[whole], size[whole])]
    flat *= np.repeat(inches[owner], size)
    return _Elements(owner, number, is_hole, positions(flat, offsets))


def _perimeters(shapes: Geometry, linear: Bools) -> Floats:
    """Return the coordinates; circles of linear conditions keep the perimeter instead of the area."""
    circles = np.flatnonzero(shapes.circles & linear)
    if not len(circles):
        return shapes.values
    values = shapes.values.copy()
    places = shapes.offsets[:-1][circles][:, None] + np.arange(2 * geometry.CIRCLE_SEGMENTS)
    rings = values[places].reshape(len(circles), geometry.CIRCLE_SEGMENTS, 2)
    centres = rings.mean(axis=1, keepdims=True)
    values[places] = (centres + (rings - centres) * geometry.EQUAL_PERIMETER).reshape(len(circles), -1)
    return values


def _ranges(starts: Ints, counts: Ints) -> Ints:
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: Ints = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return places


def _int64(values: npt.NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(
        pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int64))]
    )


def _integers(values: Ints) -> pa.Array:
    return _int64(values).cast(pa.string())


def _by_page(xml: pa.Array, page: Ints) -> Iterator[Run]:
    offsets = np.frombuffer(xml.buffers()[1], np.int32)[xml.offset : xml.offset + len(xml) + 1]
    data = memoryview(xml.buffers()[2])
    starts = np.flatnonzero(np.diff(page, prepend=page[0] - 1))
    for start, stop in zip(starts, [*starts[1:], len(page)], strict=True):
        yield Run(int(page[start]), data[offsets[start] : offsets[stop]])
