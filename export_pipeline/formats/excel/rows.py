"""The data rows of a section: read in slices, turned into XML in one join, cut where sheets begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.formats.excel.cells import ColumnCells, Piece
from export_pipeline.formats.excel.plan import Sheet
from export_pipeline.model.tables import Table

_SLICE_BYTES = 1 << 20
_SLICE_CELLS = 1 << 16

Ints = npt.NDArray[np.int64]


class Positions:
    """Where the rows of a table stand in its sheets."""

    def __init__(self, sheets: Sequence[Sheet]) -> None:
        self.sheets = sheets
        counts = np.fromiter((sheet.rows for sheet in sheets), np.int64, len(sheets))
        self.starts = np.cumsum(counts) - counts
        self._first_rows = np.fromiter((sheet.first_row for sheet in sheets), np.int64, len(sheets))

    def locate(self, start: int, count: int) -> tuple[Ints, Ints]:
        """Sheet indices and row numbers of `count` rows from the table's row `start` on."""
        index = np.arange(start, start + count, dtype=np.int64)
        # An empty sheet starts where the next one does; `right` passes over it.
        sheet = np.searchsorted(self.starts, index, side="right") - 1
        return sheet, self._first_rows[sheet] + index - self.starts[sheet]


class RowXml:
    """The XML of a slice of rows.

    Attributes:
        sheets: Index of each row's sheet.
        odd: (column index, rows whose numeric cell is a text) for columns that have such cells.
    """

    def __init__(
        self, batch: pa.RecordBatch, columns: Sequence[ColumnCells], positions: Positions, start: int
    ) -> None:
        self.sheets, numbers = positions.locate(start, batch.num_rows)
        self.odd: list[tuple[int, Ints]] = []
        rows = pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)]).cast(
            pa.string()
        )

        def place(row: int) -> tuple[str, int]:
            return positions.sheets[self.sheets[row]].name, int(numbers[row])

        pieces: list[Piece] = ['<row r="', rows, '">']
        for index, column in enumerate(columns):
            cells = column.cells(batch.column(index), place)
            pieces.extend(cells.pieces(column.letters, rows))
            if cells.odd is not None:
                self.odd.append((index, _true_positions(cells.odd)))
        pieces.append("</row>")
        joined = pc.binary_join_element_wise(
            *_merged(pieces), "", null_handling="replace", null_replacement=""
        )
        _, offsets, data = joined.buffers()
        self._offsets = np.frombuffer(offsets, np.int32, len(joined) + 1)
        self._data = memoryview(data)

    def by_sheet(self) -> Iterator[tuple[int, memoryview]]:
        """(sheet index, XML of its rows in this slice), in order."""
        cuts = np.flatnonzero(np.diff(self.sheets)) + 1
        edges = [0, *cuts.tolist(), len(self.sheets)]
        for first, last in pairwise(edges):
            yield int(self.sheets[first]), self._data[self._offsets[first] : self._offsets[last]]


def slices(table: Table) -> Iterator[pa.RecordBatch]:
    """The table's rows in pieces small enough that their XML takes a few MB."""
    for batch in table.open():
        if not batch.num_rows:
            continue
        by_bytes = batch.num_rows * _SLICE_BYTES // max(batch.nbytes, 1)
        size = max(min(by_bytes, _SLICE_CELLS // max(batch.num_columns, 1)), 1)
        for start in range(0, batch.num_rows, size):
            yield batch.slice(start, size)


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The same pieces with literal neighbours made one."""
    merged: list[Piece] = []
    for piece in pieces:
        if merged and isinstance(piece, str) and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def _true_positions(mask: pa.BooleanArray) -> Ints:
    found = pc.indices_nonzero(mask)
    return np.frombuffer(found.buffers()[1], np.uint64, len(found)).astype(np.int64)
