"""Elements of a table's rows in the structure tree, many at a time: one for each row, one for each cell.

A table of a million cells has a million elements. Each differs from the next only in a few numbers. So they
are made by columns of numbers when the file ends; until then a run of rows on a page is a few integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.formats.pdf.arrays import integers, join
from export_pipeline.formats.pdf.text import string_buffers

Ints = NDArray[np.int64]

_TOGETHER = 100
"""Runs whose elements are made together."""


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

    @property
    def row_references(self) -> bytes:
        """References to the rows' elements."""
        return _references(np.arange(self.first_row, self.first_row + self.rows))[0].tobytes()

    @property
    def cell_references(self) -> bytes:
        """References to the cells' elements, in the order of their marks."""
        return _references(np.arange(self.first_cell, self.first_cell + self.cells))[0].tobytes()


@dataclass(frozen=True, slots=True)
class ObjectStream:
    """The content of an object stream: numbers of its objects, head, and bodies."""

    first: int
    objects: int
    head: bytes
    bodies: bytes


def object_streams(runs: Sequence[RowRun], size: int) -> Iterator[ObjectStream]:
    """Yield the elements of runs, so many in each stream: first all rows, then all cells.

    Numbers of rows follow each other from run to run, and so do those of cells.
    """
    for make in (_rows, _cells):
        for start in range(0, len(runs), _TOGETHER):
            yield from _streams(*make(runs[start : start + _TOGETHER]), size)


def _rows(runs: Sequence[RowRun]) -> tuple[int, pa.Array]:
    """Return the first row's number, and the bodies of the rows' elements."""
    rows = [run.rows for run in runs]
    data, edges = _references(np.arange(runs[0].first_cell, runs[-1].first_cell + runs[-1].cells))
    ends = edges[np.cumsum(np.repeat([run.columns for run in runs], rows))]
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    cells = pa.Array.from_buffers(pa.string(), ends.size, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    tables = _text(np.repeat([run.table for run in runs], rows))
    return runs[0].first_row, join("<</S/TR/P ", tables, " 0 R/K[", cells, "]>>\n")


def _cells(runs: Sequence[RowRun]) -> tuple[int, pa.Array]:
    """Return the first cell's number, and the bodies of the cells' elements."""
    cells = [run.cells for run in runs]
    within = np.arange(sum(cells)) - np.repeat(np.cumsum(cells) - cells, cells)
    rows = np.repeat([run.first_row for run in runs], cells) + within // np.repeat(
        [run.columns for run in runs], cells
    )
    pages = _text(np.repeat([run.page for run in runs], cells))
    marks = _text(np.repeat([run.mark for run in runs], cells) + within)
    return runs[0].first_cell, join("<</S/TD/P ", _text(rows), " 0 R/Pg ", pages, " 0 R/K ", marks, ">>\n")


def _streams(first: int, bodies: pa.Array, size: int) -> Iterator[ObjectStream]:
    data, edges = string_buffers(bodies)
    count = len(bodies)
    starts = edges[np.arange(count) // size * size]
    heads = join(_text(first + np.arange(count)), " ", _text(edges[:-1] - starts), " ")
    head_data, head_edges = string_buffers(heads)
    for begin in range(0, count, size):
        end = min(begin + size, count)
        head = head_data[head_edges[begin] : head_edges[end]].tobytes()
        yield ObjectStream(first + begin, end - begin, head, data[edges[begin] : edges[end]].tobytes())


def _references(numbers: Ints) -> tuple[NDArray[np.uint8], Ints]:
    """Return references to these objects, one after the other, and the edges of each."""
    return string_buffers(join(_text(numbers), " 0 R "))


def _text(values: Ints) -> pa.Array:
    return pc.cast(integers(values), pa.string())
