"""Measurements as BidTakeoff elements, a batch at a time, without a Python step per row.

A straight segment, a polygon or a counted place is one takeoff; the segments of one measurement share a `No`.
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
from export_pipeline.takeoff.ost.pages import Pages
from export_pipeline.takeoff.ost.positions import END, positions
from export_pipeline.takeoff.ost.tally import Tally

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_FARTHEST = 1e12
"""Inches from the origin. A larger coordinate means nothing on a drawing, and its digits would fill pages."""

_MOST = 100_000
"""Most takeoffs made at once, unless a single measurement has more."""
_SHORTEST_POINT = len('{"x":1,"y":1},')
_BEFORE_NO = '" BidAreaUID="0" BidTypAreaUID="0" ParentUID="0" No="'
_BEFORE_POSITION = '" Quantity="1" Count="1" Rotation="0" Position="'
_AFTER_POSITION = f'{END}" IsNegativeQuantity="0" Curve="-1"/>\r\n'


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
class _Shaped:
    """The takeoffs of some measurements, not numbered yet; arrays have one entry per takeoff unless noted.

    Attributes:
        condition, page: Indexes.
        measurement: Index, from 0, of the written measurement that the takeoff belongs to.
        positions: Position strings, as returned by `positions`.
        measured: By written measurement: condition index, size, and whether it is on a page with a scale.
        unreadable, unfit: Condition indexes of the measurements left out for this reason.
        astray: Number of measurements that name no page or condition of the export.
    """

    condition: Ints
    page: Ints
    measurement: Ints
    positions: pa.Array
    measured: tuple[Ints, Floats, Bools]
    unreadable: Ints
    unfit: Ints
    astray: int


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
        kept = np.flatnonzero(there & readable & fit)
        linear = types[kept] == LINEAR
        elements, texts = _elements(shapes, kept, linear, inches)
        owner = np.repeat(kept, elements)
        return _Shaped(
            condition=condition[owner],
            page=page[owner],
            measurement=np.repeat(np.arange(len(kept)), elements),
            positions=texts,
            measured=(condition[kept], _sizes(shapes, types, inches)[kept], self._scaled[page[kept]]),
            unreadable=condition[there & ~readable],
            unfit=condition[there & readable & ~fit],
            astray=int((~there).sum()),
        )

    def _add_number(self, shaped: _Shaped) -> Iterator[Run]:
        self._tally.add_astray(shaped.astray)
        self._tally.add(shaped.unreadable, shaped.unfit)
        self._tally.add_computed(*shaped.measured)
        many = len(shaped.page)
        if not many:
            return
        xml = pc.binary_join_element_wise(
            '<BidTakeoff UID="',
            _integers(self._top - np.arange(many)),
            '" BidUID="1" BidConditionUID="',
            self._condition_uids.take(_int64(shaped.condition)),
            '" BidZoneUID="0" BidPageUID="',
            self._page_uids.take(_int64(shaped.page)),
            _BEFORE_NO,
            _integers(self.written + 1 + shaped.measurement),
            _BEFORE_POSITION,
            shaped.positions,
            _AFTER_POSITION,
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
    circles = pc.fill_null(pc.equal(batch["geometry_type"], "circle"), False)
    most = pc.fill_null(pc.if_else(circles, geometry.CIRCLE_SEGMENTS, most), 0)
    return to_numpy(most.cast(pa.int64()), np.int64)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split the batch into slices with few enough takeoffs to fit in memory."""
    upto = np.cumsum(_most(batch))
    start = 0
    while start < batch.num_rows:
        before = upto[start - 1] if start else 0
        stop = max(int(np.searchsorted(upto, before + _MOST, side="right")), start + 1)
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


def _elements(shapes: Geometry, kept: Ints, linear: Bools, inches: Floats) -> tuple[Ints, pa.Array]:
    """Return how many takeoffs each measurement becomes, and the positions of them all, in inches.

    Args:
        kept: The rows that are written.
        linear: By written row: True if its condition is linear.
        inches: By row, inches per pixel.
    """
    lines = np.zeros(len(inches), bool)
    lines[kept] = linear
    values = _perimeters(shapes, lines)
    corners = np.diff(shapes.offsets)[kept] // 2
    closed = shapes.codes[kept] == geometry.POLYGON
    elements = np.where(linear, corners - ~closed, 1)
    owner = np.repeat(kept, elements)
    is_segment = np.repeat(linear, elements)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(elements) - elements, elements)
    first = shapes.offsets[:-1][owner]
    sizes = np.where(is_segment, 4, np.diff(shapes.offsets)[owner])
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.empty(int(offsets[-1]))
    one = first[is_segment] + 2 * nth[is_segment]
    wrapped = (nth + 1) % np.repeat(corners, elements)
    two = first[is_segment] + 2 * wrapped[is_segment]
    flat[offsets[:-1][is_segment][:, None] + np.arange(4)] = values[np.stack((one, one + 1, two, two + 1), 1)]
    whole = ~is_segment
    flat[_ranges(offsets[:-1][whole], sizes[whole])] = values[_ranges(first[whole], sizes[whole])]
    flat *= np.repeat(inches[owner], sizes)
    return elements, positions(flat, offsets)


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
