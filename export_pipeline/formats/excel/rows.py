"""Data rows of a section: read in slices, turned into XML in one join, split where sheets begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.tables import Table
from export_pipeline.formats.excel.archive import compress
from export_pipeline.formats.excel.cells import ColumnCells, Piece
from export_pipeline.formats.excel.links import find_links
from export_pipeline.formats.excel.plan import Sheet
from export_pipeline.formats.excel.widths import MAX_LINES, row_height
from export_pipeline.formats.excel.wrapping import wrapped_lines

_SLICE_BYTES = 1 << 20
_SLICE_CELLS = 1 << 16

Ints = npt.NDArray[np.int64]


class Positions:
    """Positions of a table's rows in its sheets."""

    def __init__(self, sheets: Sequence[Sheet]) -> None:
        self.sheets = sheets
        counts = np.fromiter((sheet.rows for sheet in sheets), np.int64, len(sheets))
        self.starts = np.cumsum(counts) - counts
        self._first_rows = np.fromiter((sheet.first_row for sheet in sheets), np.int64, len(sheets))

    def locate(self, start: int, count: int) -> tuple[Ints, Ints]:
        """Return the sheet indexes and row numbers of `count` rows from the table's row `start` on."""
        index = np.arange(start, start + count, dtype=np.int64)
        # An empty sheet starts where the next one does; `right` skips it.
        sheet = np.searchsorted(self.starts, index, side="right") - 1
        return sheet, self._first_rows[sheet] + index - self.starts[sheet]


class Slice:
    """Some rows of a table, with everything that depends on earlier rows.

    Attributes:
        sheets: Sheet index of each row.
        numbers: Number of each row in its sheet.
        values: Results of each column's `prepared`.
        wrapped: (cells, width in characters) of the columns whose text wraps.
        urls: (letters, cells) of the columns with links.
        height: Attributes of every row, where no text wraps.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        columns: Sequence[ColumnCells],
        positions: Positions,
        start: int,
        height: str = "",
    ) -> None:
        self.height = height
        self.urls = [
            (column.letters, batch.column(i)) for i, column in enumerate(columns) if column.has_links
        ]
        self.sheets, self.numbers = positions.locate(start, batch.num_rows)

        def place(row: int) -> tuple[str, int]:
            return positions.sheets[self.sheets[row]].name, int(self.numbers[row])

        self.wrapped = [
            (batch.column(i), column.wrap_width)
            for i, column in enumerate(columns)
            if column.wrap_width is not None
        ]
        self.values = [column.prepared(batch.column(i), place) for i, column in enumerate(columns)]


@dataclass(frozen=True, slots=True)
class Run:
    """XML of consecutive rows of one sheet, plain and deflated."""

    sheet: int
    data: memoryview
    packed: bytes


class RowXml:
    """The XML of a slice of rows. Any thread may build it.

    Attributes:
        runs: The rows by sheet, in order.
        odd: (column index, sheet indexes) of numeric columns that hold strings on those sheets.
        changed: Number of cells that do not hold their source value exactly, by reason and header.
        links: The links of columns that have any.
    """

    def __init__(self, rows: Slice, columns: Sequence[ColumnCells]) -> None:
        self.odd: list[tuple[int, set[int]]] = []
        self.changed: Counter[tuple[str, str]] = Counter()
        self.links = [_links(rows, letters, cells) for letters, cells in rows.urls]
        count = len(rows.numbers)
        texts = pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(rows.numbers)]).cast(pa.string())
        pieces: list[Piece] = ['<row r="', texts, _heights(rows.wrapped, rows.height)]
        for index, column in enumerate(columns):
            cells = column.cells(rows.values[index])
            pieces.extend(cells.pieces(column.letters, texts))
            for reason, changed in cells.changed.items():
                if changed:
                    self.changed[reason, column.column.header] += changed
            if cells.odd is not None:
                self.odd.append((index, set(rows.sheets[_true_positions(cells.odd)].tolist())))
        pieces.append("</row>")
        joined = pc.binary_join_element_wise(
            *_merge(pieces), "", null_handling="replace", null_replacement=""
        )
        _, offsets, data = joined.buffers()
        self.runs = list(_runs(rows.sheets, np.frombuffer(offsets, np.int32, count + 1), memoryview(data)))


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a column in a slice: of each its sheet, row and address.

    Attributes:
        letters: The column.
        sheets: Sheet index of each link.
        rows: Row number of each link.
        addresses: Their addresses.
        too_long: Number of addresses that are too long for a link.
    """

    letters: str
    sheets: Ints
    rows: Ints
    addresses: list[str]
    too_long: int


def _links(rows: Slice, letters: str, cells: pa.Array) -> Links:
    positions, too_long = find_links(cells)
    addresses = cells.take(pa.array(positions)).to_pylist()
    return Links(letters, rows.sheets[positions], rows.numbers[positions], addresses, too_long)


def _heights(wrapped: Sequence[tuple[pa.Array, float]], height: str) -> Piece:
    """Return the rest of the rows' start tags: a height where a text wraps."""
    lines: pa.Array | None = None
    for cells, width in wrapped:
        counted = wrapped_lines(cells, width, MAX_LINES)
        lines = counted if lines is None else pc.max_element_wise(lines, counted)
    if lines is None or (pc.max(lines).as_py() or 1) == 1:
        return f'"{height}>'
    return row_height(lines)


def _runs(sheets: Ints, offsets: npt.NDArray[np.int32], data: memoryview) -> Iterator[Run]:
    cuts = np.flatnonzero(np.diff(sheets)) + 1
    for first, last in pairwise([0, *cuts.tolist(), len(sheets)]):
        piece = data[offsets[first] : offsets[last]]
        yield Run(int(sheets[first]), piece, compress(piece))


def slices(table: Table) -> Iterator[pa.RecordBatch]:
    """Yield the table's rows in pieces small enough that their XML takes a few MB."""
    for batch in table.open():
        if not batch.num_rows:
            continue
        by_bytes = batch.num_rows * _SLICE_BYTES // max(batch.nbytes, 1)
        size = max(min(by_bytes, _SLICE_CELLS // max(batch.num_columns, 1)), 1)
        for start in range(0, batch.num_rows, size):
            yield batch.slice(start, size)


def _merge(pieces: Sequence[Piece]) -> list[Piece]:
    """Merge adjacent literal pieces."""
    merged: list[Piece] = []
    for piece in pieces:
        if merged and isinstance(piece, str) and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def _true_positions(mask: pa.BooleanArray) -> Ints:
    positions = pc.indices_nonzero(mask)
    return np.frombuffer(positions.buffers()[1], np.uint64, len(positions)).astype(np.int64)
