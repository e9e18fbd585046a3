"""Ordinary takeoffs by the thousand, read from a file's bytes as columns.

An ordinary takeoff is one line of plain attributes in their usual order, belongs to a condition and a page
only, and is straight. A line that matches is well-formed; `readback` decides whether it may be
in its place, with these values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_CHUNK = 1 << 20
_FEWEST = 16
"""Fewest lines in a run; a shorter one is read faster like any other element."""

_WHOLE = "(?:0|[1-9][0-9]{0,9})"
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_LINE = (
    rf'\A<BidTakeoff UID="{_WHOLE}" BidUID="{_WHOLE}" BidConditionUID="{_WHOLE}" BidZoneUID="0" '
    rf'BidPageUID="{_WHOLE}" BidAreaUID="0" BidTypAreaUID="0" ParentUID="{_WHOLE}" No="{_WHOLE}" '
    rf'Quantity="1" Count="1" Rotation="0" Position="(?:{_NUMBER};)*{_NUMBER}&#xa;" '
    r'IsNegativeQuantity="[01]" Curve="-1" GUID="(?:\{[0-9A-F-]{36}\})?"/>\r\n\z'
)
_WHOLES, _POSITION, _SIGN = (0, 1, 2, 4, 7, 8), 12, 13
"""Indexes of a line's attributes UID, BidUID, BidConditionUID, BidPageUID, ParentUID and No; of Position and
IsNegativeQuantity.
"""
_ENTITY = len("&#xa;")


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive ordinary takeoffs; every array has one entry for each.

    Attributes:
        uids, bids, conditions, pages, parents, numbers: UID, BidUID, BidConditionUID, BidPageUID,
            ParentUID, No.
        counts: How many numbers each position has.
        lengths: Distance from the first point to the second.
        areas: Unsigned area enclosed by the points.
        closed: True if the last point equals the first.
        negative: True if the quantity is negative.
    """

    uids: Ints
    bids: Ints
    conditions: Ints
    pages: Ints
    parents: Ints
    numbers: Ints
    counts: Ints
    lengths: Floats
    areas: Floats
    closed: Bools
    negative: Bools

    def __len__(self) -> int:
        return self.uids.size

    def part(self, begin: int, end: int) -> Run:
        """Return the takeoffs from index `begin` up to `end`."""
        return Run(*(getattr(self, name)[begin:end] for name in self.__slots__))


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the whole file in pieces that end with a line, as far as there are lines."""
    rest = b""
    while block := file.read(_CHUNK):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        else:
            yield rest + block
            rest = b""
    if rest:
        yield rest


def pieces(chunk: bytes) -> list[bytes | Run]:
    """Split a chunk into runs of ordinary takeoffs and the bytes between them."""
    data = np.frombuffer(chunk, np.uint8)
    edges = np.concatenate(([0], np.flatnonzero(data == ord("\n")) + 1))
    if edges[-1] < data.size:
        edges = np.append(edges, data.size)
    lines = _texts(pa.binary(), edges, data)
    ordinary = pc.match_substring_regex(lines, _LINE)
    changes = np.flatnonzero(np.diff(_bools(ordinary).view(np.int8), prepend=0, append=0))
    spans = [span for span in changes.reshape(-1, 2).tolist() if span[1] - span[0] >= _FEWEST]
    if not spans:
        return [chunk]
    parts: list[bytes | Run] = []
    at = 0
    marks = _bools(ordinary)
    read = _read(data, edges[:-1][marks], edges[1:][marks])
    rank = np.concatenate(([0], np.cumsum(marks)))
    for begin, end in spans:
        parts.append(chunk[at : edges[begin]])
        parts.append(read.part(int(rank[begin]), int(rank[end])))
        at = int(edges[end])
    parts.append(chunk[at:])
    return parts


def _read(data: Bytes, begins: Ints, ends: Ints) -> Run:
    """Return the columns of the ordinary lines from each begin to its end."""
    quotes = np.flatnonzero(data == ord('"'))
    first = np.searchsorted(quotes, begins)[:, None]
    # For each value, the positions before and after it.
    edges = quotes[first + np.array([2 * place + side for place in _WHOLES for side in (0, 1)])]
    edges[:, 0::2] += 1
    wholes = _every_other(np.int64, data, edges.ravel()).reshape(-1, len(_WHOLES))
    uids, bids, conditions, pages, parents, numbers = np.ascontiguousarray(wholes.T)
    negative = data[quotes[first[:, 0] + 2 * _SIGN] + 1] == ord("1")
    starts, stops = quotes[first + np.array([2 * _POSITION, 2 * _POSITION + 1])].T
    values, firsts, counts = _positions(data, starts + 1, stops)
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = _sizes(values, firsts, counts)
    return Run(uids, bids, conditions, pages, parents, numbers, counts, *sizes, negative)


def _positions(data: Bytes, begins: Ints, stops: Ints) -> tuple[Floats, Ints, Ints]:
    """Return all numbers of positions, each ended by an entity; for each position the index of its first
    number, and their count.
    """
    # One separator per number: one after each but the last, and the one that ends the entity.
    ends = np.flatnonzero(data == ord(";"))
    firsts, lasts = np.searchsorted(ends, begins), np.searchsorted(ends, stops)
    counts = lasts - firsts
    if counts.sum() < ends.size:  # the others are between the lines
        inside = np.zeros(ends.size + 1, np.int8)
        np.add.at(inside, firsts, 1)
        np.add.at(inside, lasts, -1)
        ends = ends[np.cumsum(inside[:-1]).astype(bool)]
        firsts = np.cumsum(counts) - counts
    between = np.empty(2 * ends.size, np.int64)
    between[0::2][1:], between[1::2] = ends[:-1] + 1, ends
    between[0::2][firsts] = begins
    between[1::2][firsts + counts - 1] = stops - _ENTITY
    return _every_other(np.float64, data, between), firsts, counts


def _sizes(values: Floats, firsts: Ints, counts: Ints) -> tuple[Floats, Floats, Bools]:
    """Return lengths, areas and whether closed, for points whose numbers begin at `firsts`."""
    lengths, areas = np.zeros(counts.size), np.zeros(counts.size)
    closed = np.zeros(counts.size, bool)
    straight = firsts[counts == 4]
    lengths[counts == 4] = np.hypot(
        values[straight + 2] - values[straight], values[straight + 3] - values[straight + 1]
    )
    polygons = np.flatnonzero((counts >= 6) & (counts % 2 == 0))
    if polygons.size:
        sizes = counts[polygons] // 2
        offsets = np.cumsum(sizes) - sizes
        place = np.arange(int(sizes.sum())) - np.repeat(offsets, sizes)
        corner = np.repeat(firsts[polygons], sizes) + 2 * place
        # Relative to the first corner, so that an area far from the origin keeps its precision.
        x = values[corner] - np.repeat(values[firsts[polygons]], sizes)
        y = values[corner + 1] - np.repeat(values[firsts[polygons] + 1], sizes)
        # Zero for the pair of a last corner and the next polygon's first, which is its own origin.
        crossed = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0.0)
        areas[polygons] = np.abs(np.add.reduceat(crossed, offsets)) / 2
        ends = offsets + sizes - 1
        closed[polygons] = (x[ends] == 0) & (y[ends] == 0)
    return lengths, areas, closed


def _every_other(dtype: npt.DTypeLike, data: Bytes, edges: Ints) -> npt.NDArray[Any]:
    """Return the numbers between each even edge and the next one."""
    texts = _texts(pa.string(), edges, data, np.full(edges.size // 8 + 1, 0b01010101, np.uint8))
    values = texts.cast(pa.from_numpy_dtype(dtype)).buffers()[1]
    return np.frombuffer(values, dtype, len(texts))[::2].copy()


def _texts(kind: pa.DataType, edges: Ints, data: Bytes, valid: Bytes | None = None) -> pa.Array:
    """Return the bytes from each edge to the next as strings; null where a bit of `valid` is not set."""
    buffers = [part if part is None else pa.py_buffer(part) for part in (valid, edges.astype(np.int32), data)]
    return pa.Array.from_buffers(kind, edges.size - 1, buffers)


def _bools(values: pa.Array) -> Bools:
    flags: Bools = values.to_numpy(zero_copy_only=False)
    return flags
