"""Elements of a table's rows in the structure tree, many at a time: one for each row, one for each cell.

A table of a million cells has a million elements. Each differs from the next only in a few numbers. So they
are made when the file ends, as rows of a matrix of bytes: a number has as many places as the largest one, and
a column of numbers is a few columns of the matrix. Until then a run of rows on a page is a few integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

_TOGETHER = 100
"""Runs whose elements are made together."""
_QUAD = 10_000


@dataclass(slots=True)
class RowRun:
    """Consecutive rows of a table on one page, with a mark for each cell.

    Attributes:
        page: Object number of the page.
        mark: Number of the first cell's mark on it; the others follow row by row.
        rows, columns: Number of rows, and of cells in each.
        table: Object number of the table's element.
        first_row: Object number of the first row's element; those of the others follow.
        first_cell: The same of the first cell's element; the others follow row by row.
    """

    page: int
    mark: int
    rows: int
    columns: int
    table: int = 0
    first_row: int = 0
    first_cell: int = 0

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class ObjectStream:
    """The content of an object stream: numbers of its objects, head, bodies, and the length of each body."""

    first: int
    objects: int
    head: bytes
    bodies: bytes
    period: int


def row_references(runs: Sequence[RowRun]) -> Iterator[bytes]:
    """Yield the references to the rows' elements, run by run."""
    return _references([(run.first_row, run.rows) for run in runs])


def cell_references(runs: Sequence[RowRun]) -> Iterator[bytes]:
    """Yield the references to the cells' elements, run by run, in the order of their marks."""
    return _references([(run.first_cell, run.cells) for run in runs])


def _references(numbers: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Yield references to objects, so many from a first one on; the first ones follow each other."""
    width = len(str(numbers[-1][0] + numbers[-1][1])) if numbers else 0
    for start in range(0, len(numbers), _TOGETHER):
        some = numbers[start : start + _TOGETHER]
        first, (last, count) = some[0][0], some[-1]
        made = references(np.arange(first, last + count), width)
        for begin, count in some:
            yield made[begin - first : begin - first + count].tobytes()


def object_streams(runs: Sequence[RowRun], size: int) -> Iterator[ObjectStream]:
    """Yield the elements of runs, so many in each stream: first all rows, then all cells.

    Numbers of rows follow each other from run to run, and so do those of cells.
    """
    for make in (_rows, _cells):
        for columns, alike in groupby(runs, lambda run: run.columns):
            some = [*alike]
            for start in range(0, len(some), _TOGETHER):
                yield from _streams(*make(some[start : start + _TOGETHER], columns), size)


def _rows(runs: Sequence[RowRun], columns: int) -> tuple[int, Bytes]:
    """Return the first row's number, and the bodies of the rows' elements."""
    rows = [run.rows for run in runs]
    cells = references(np.arange(runs[0].first_cell, runs[-1].first_cell + runs[-1].cells))
    tables = digits(np.repeat([run.table for run in runs], rows))
    return runs[0].first_row, _lines(b"<</S/TR/P", tables, b" 0 R/K[", cells.reshape(sum(rows), -1), b"]>>")


def _cells(runs: Sequence[RowRun], columns: int) -> tuple[int, Bytes]:
    """Return the first cell's number, and the bodies of the cells' elements."""
    cells = [run.cells for run in runs]
    count = sum(cells)
    rows = digits(np.arange(runs[0].first_row, runs[0].first_row + count // columns))
    pages = digits(np.array([run.page for run in runs]))
    firsts = np.cumsum(cells) - cells
    marks = np.arange(count) + np.repeat([run.mark for run in runs] - firsts, cells)
    parents = np.repeat(_lines(b"<</S/TD/P", rows, b" 0 R/Pg"), columns, axis=0)
    return runs[0].first_cell, _lines(
        parents, np.repeat(pages, cells, axis=0), b" 0 R/K", digits(marks), b">>"
    )


def _streams(first: int, bodies: Bytes, size: int) -> Iterator[ObjectStream]:
    count, length = bodies.shape
    places = digits(np.arange(0, length * min(size, count), length))
    numbers = digits(np.arange(first, first + count))
    for begin in range(0, count, size):
        end = min(begin + size, count)
        blanks = b" " * (length - numbers.shape[1] - places.shape[1])
        head = _lines(numbers[begin:end], places[: end - begin], blanks)
        yield ObjectStream(first + begin, end - begin, head.tobytes(), bodies[begin:end].tobytes(), length)


def references(numbers: Ints, width: int = 0) -> Bytes:
    """Return a reference to each of these objects, a line of the matrix."""
    return _lines(digits(numbers, width), b" 0 R")


def digits(numbers: Ints, width: int = 0) -> Bytes:
    """Return the decimal digits of each number, a line of the matrix, with at least one blank before them;
    `width` is the least number of places.
    """
    width = max(width, len(str(int(numbers.max(initial=0)))))
    quads = -(-width // 4)
    text = np.empty((numbers.size, quads), np.uint32)
    left = numbers
    for quad in range(quads - 1, 0, -1):
        left, low = np.divmod(left, _QUAD)
        text[:, quad] = _quads()[low]
    text[:, 0] = _quads()[left]
    made = np.empty((numbers.size, width + 1), np.uint8)
    made[:, 0] = ord(" ")
    made[:, 1:] = text.view(np.uint8).reshape(numbers.size, -1)[:, -width:]
    for place in range(1, width):  # leading zeros
        small = numbers < 10 ** (width - place)
        if not small.any():
            break
        made[small, place] = ord(" ")
    return made


@cache
def _quads() -> NDArray[np.uint32]:
    """Return the four digits of every number below 10,000 as one word."""
    places = np.arange(_QUAD)[:, None] // (1000, 100, 10, 1) % 10
    quads: NDArray[np.uint32] = (places + ord("0")).astype(np.uint8).view(np.uint32).reshape(-1)
    return quads


def _lines(*pieces: bytes | Bytes) -> Bytes:
    """Return pieces side by side: texts that are the same in each line, and matrices."""
    widths = [_width(piece) for piece in pieces]
    count = max(len(piece) for piece in pieces if not isinstance(piece, bytes))
    made = np.empty((count, sum(widths)), np.uint8)
    at = 0
    for piece, width in zip(pieces, widths, strict=True):
        made[:, at : at + width] = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece
        at += width
    return made


def _width(piece: bytes | Bytes) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.shape[1]
