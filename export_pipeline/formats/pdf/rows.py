"""Rows as page content: a batch of cells becomes, for every strip, one run of bytes with a mark at each row.

The bytes of a row move the text position only relative to the row's start. So the same bytes print the row
anywhere on any page, and any range of rows is one slice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.core.columns import Column
from export_pipeline.formats.pdf.arrays import booleans, integers, join
from export_pipeline.formats.pdf.cells import print_cells
from export_pipeline.formats.pdf.columns import Slot, Strip
from export_pipeline.formats.pdf.font import SHORT_CODES, hex_codes, hex_pairs
from export_pipeline.formats.pdf.objects import name
from export_pipeline.formats.pdf.structure import ARTIFACT, LINK_MARK, MARK, SUM_MARK
from export_pipeline.formats.pdf.style import CELL, INK, LEADING, LINK, MISSING, PAD_Y
from export_pipeline.formats.pdf.text import Glyphs, string_buffers
from export_pipeline.formats.pdf.typeset import Typesetter
from export_pipeline.formats.pdf.wrapping import Lines

Ints = NDArray[np.int64]
_PALE, _DARK = f"{MISSING.decode()} ", f" {INK.decode()}"
"""Begin and end a missing value."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks for the reader of the file: whether rows are marked, and the marked columns by index."""

    rows: bool
    sums: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Cells:
    """The glyphs of a column's cells, and the mask of missing values; None if they print nothing special."""

    glyphs: Glyphs
    missing: NDArray[np.bool_] | None


@dataclass(slots=True)
class SetColumn:
    """A column's lines, ready to print.

    Attributes:
        slot: Its place on the page.
        lines: The lines of its cells.
        x: Start of each line, from the table's left edge.
        openings, closings: Marks and color around the first line of a cell, and around each other one.
        marks: In a tagged document, what begins a cell, and what begins the rest of one on another page.
        missing: Mask of missing values.
    """

    slot: Slot
    lines: Lines
    x: Ints
    openings: tuple[str, str]
    closings: tuple[str, str]
    marks: tuple[bytes, bytes]
    missing: NDArray[np.bool_] | None

    def enclose(self, row: int, is_first: bool) -> tuple[bytes, bytes]:
        """Return what stands before and after the first line, or another one, of a row's cell."""
        opening, closing = self.openings[not is_first], self.closings[not is_first]
        if self.missing is not None and self.missing[row]:
            opening, closing = f"{opening}{_PALE}", f"{closing}{_DARK}"
        return opening.encode(), closing.encode()

    def enclose_all(self) -> tuple[pa.Array | str, pa.Array | str]:
        """Return what stands before and after each line."""
        opening: pa.Array | str = self.openings[0]
        closing: pa.Array | str = self.closings[0]
        lines = self.lines
        if self.openings[0] != self.openings[1] and self.x.size > len(lines.first) - 1:
            is_first = np.zeros(self.x.size, bool)
            is_first[lines.first[:-1]] = True
            opening = pc.if_else(booleans(is_first), *self.openings)
            closing = pc.if_else(booleans(is_first), *self.closings)
        if self.missing is not None:
            pale = booleans(np.repeat(self.missing, lines.counts))
            opening = join(opening, pc.if_else(pale, _PALE, ""))
            closing = join(closing, pc.if_else(pale, _DARK, ""))
        return opening, closing


@dataclass(slots=True)
class StripRows:
    """Rows of one strip, ready to print.

    Attributes:
        heights: Height of each row in page units; shape (rows,).
        edges: Sum of the heights before each row; shape (rows + 1,).
        data: The content bytes of all rows.
        offsets: Start of each row's content; shape (rows + 1,).
        columns: The strip's columns, for rows that must be split over pages.
        is_short: True if all glyphs are printed by codes of one byte.
        marked: True if rows are marked.
        tagged: True if cells are marked for a structure tree.
    """

    heights: Ints
    edges: Ints
    data: NDArray[np.uint8]
    offsets: Ints
    columns: list[SetColumn]
    is_short: bool
    marked: bool
    tagged: bool = False

    def content(self, begin: int, end: int) -> bytes:
        """Return content that prints whole rows."""
        return self.data[self.offsets[begin] : self.offsets[end]].tobytes()

    def fragment(self, row: int, begin: int, end: int) -> bytes:
        """Return content that prints lines `begin` to `end` of one row's cells."""
        pieces = [b"/Row BMC\n" if not begin else b"/RowGoesOn BMC\n"] if self.marked else []
        at_x, at_y = 0, 0
        for column in self.columns:
            first, stop = int(column.lines.first[row]), int(column.lines.first[row + 1])
            if self.tagged:
                pieces.append(column.marks[begin > 0])
            for line in range(first + begin, min(first + end, stop)):
                low, high = column.lines.bounds[line : line + 2]
                x, y = int(column.x[line]), -(line - first - begin) * LEADING
                opening, closing = column.enclose(row, line == first)
                digits = (hex_pairs() if self.is_short else hex_codes())[
                    column.lines.cids[low:high]
                ].tobytes()
                pieces.append(b"%b%d %d Td<%b>Tj%b\n" % (opening, x - at_x, y - at_y, digits, closing))
                at_x, at_y = x, y
            if self.tagged:
                pieces.append(b"EMC\n")
        if self.marked:
            pieces.append(b"EMC\n")
        return b"".join(pieces)


class RowSetter:
    """Lays out the rows of one table in its strips; counts cells printed differently from the source."""

    def __init__(
        self,
        typesetter: Typesetter,
        columns: Sequence[Column],
        strips: Sequence[Strip],
        marks: Marks,
        link: int | None,
        tagged: bool = False,
    ) -> None:
        self._tagged = tagged
        self._typesetter = typesetter
        self._columns = columns
        self._strips = strips
        self._marks = marks
        self._link = link
        self.changed: Counter[tuple[str, str]] = Counter()

    def encode(self, batch: pa.RecordBatch) -> list[Cells]:
        """Return the cells of a batch, column by column. Batches must come in order: a glyph's number
        depends on its first use.
        """
        cells = []
        for column, values in zip(self._columns, batch.columns, strict=True):
            text = print_cells(column, values)
            for reason, count in text.changed.items():
                self.changed[(reason, column.header)] += count
            glyphs = self._typesetter.encode(text.strings, column.header)
            missing = None
            if column.null and values.null_count:
                missing = np.asarray(values.is_null().to_numpy(zero_copy_only=False), bool)
            cells.append(Cells(glyphs, missing))
        return cells

    def set(self, batch: Sequence[Cells]) -> list[StripRows]:
        """Lay out an encoded batch, strip by strip, ready to print. Batches may be laid out in parallel."""
        done: dict[tuple[int, int], Lines] = {}
        return [
            self._set_strip(
                [self._column(batch, slot, number == 0 or place > 0, done)
                 for place, slot in enumerate(strip.slots)],
                is_marked=self._marks.rows and number == 0,
            )
            for number, strip in enumerate(self._strips)
        ]  # fmt: skip

    def _set_strip(self, columns: list[SetColumn], is_marked: bool) -> StripRows:
        tallest = np.maximum.reduce([column.lines.counts for column in columns], initial=1)
        heights = tallest * LEADING + 2 * PAD_Y
        edges = np.zeros(heights.size + 1, np.int64)
        np.cumsum(heights, out=edges[1:])
        is_short = all(int(column.lines.cids.max(initial=0)) < SHORT_CODES for column in columns)
        data, offsets = _content(columns, heights, is_short, is_marked, self._tagged)
        return StripRows(heights, edges, data, offsets, columns, is_short, is_marked, self._tagged)

    def _column(
        self, batch: Sequence[Cells], slot: Slot, first: bool, done: dict[tuple[int, int], Lines]
    ) -> SetColumn:
        """Lay out a column's lines; `first` is False if the column is printed again on another strip."""
        lines = done.get((slot.index, slot.width))
        if lines is None:
            lines = self._typesetter.wrap(batch[slot.index].glyphs, CELL, slot.width)
            done[(slot.index, slot.width)] = lines
        x = np.full(lines.widths.size, slot.x, np.int64)
        if slot.right:
            x += slot.width + -lines.widths * CELL // 1000
        elif lines.rtl is not None:
            flush = np.repeat(lines.rtl, lines.counts)
            full = _full_widths(self._typesetter, lines)
            x[flush] += slot.width + (-full * CELL // 1000)[flush]
        openings, closings = ("", ""), ("", "")
        mark = rest = ARTIFACT if not first else LINK_MARK if slot.index == self._link else MARK
        if slot.index == self._link:
            openings, closings = (f"{LINK.decode()} ",) * 2, (f" {INK.decode()}",) * 2
        if first and slot.index in self._marks.sums:
            label = name(self._marks.sums[slot.index])[1:]
            openings, closings = (
                (f"/Sum.{label.decode()} BMC ", f"/More.{label.decode()} BMC "),
                (" EMC",) * 2,
            )
            if self._tagged and mark == MARK:
                mark = SUM_MARK % label
                openings, closings = ("", openings[1]), ("", closings[1])
        return SetColumn(slot, lines, x, openings, closings, (mark, rest), batch[slot.index].missing)


def _full_widths(typesetter: Typesetter, lines: Lines) -> Ints:
    """Return widths of lines including trailing spaces, which are at the left in a right-to-left line."""
    edges = np.zeros(lines.cids.size + 1, np.int64)
    np.cumsum(typesetter.regular.widths[lines.cids], out=edges[1:])
    widths: Ints = edges[lines.bounds[1:]] - edges[lines.bounds[:-1]]
    return widths


def _content(
    columns: Sequence[SetColumn], heights: Ints, is_short: bool, marked: bool, tagged: bool
) -> tuple[NDArray[np.uint8], Ints]:
    pieces: list[pa.Array | str] = ["/Row BMC\n" if marked else ""]
    last_x = np.zeros(heights.size, np.int64)
    last_count = np.ones(heights.size, np.int64)
    for column in columns:
        cells = _cells(column, last_x, last_count, is_short)
        pieces += [column.marks[0].decode(), *cells, "EMC\n"] if tagged else cells
        last_x = column.x[column.lines.first[1:] - 1]
        last_count = column.lines.counts
    pieces += ["EMC " if marked else "", _numbers(-last_x), " "]
    pieces += [_numbers((last_count - 1) * LEADING - heights), " Td\n"]
    data, offsets = string_buffers(_join(pieces))
    return data, offsets


def _cells(column: SetColumn, from_x: Ints, from_count: Ints, is_short: bool) -> list[pa.Array | str]:
    """Return the content of a column's cells in pieces, each starting where the cell to its left ended."""
    lines = column.lines
    dx = np.diff(column.x, prepend=0)
    dy = np.full(column.x.size, -LEADING, np.int64)
    heads = lines.first[:-1]
    dx[heads] = column.x[heads] - from_x
    dy[heads] = (from_count - 1) * LEADING
    digits = hex_pairs() if is_short else hex_codes()
    glyphs = pa.Array.from_buffers(
        pa.string(),
        column.x.size,
        [
            None,
            pa.py_buffer((lines.bounds * digits.itemsize).astype(np.int32)),
            pa.py_buffer(digits[lines.cids]),
        ],
    )
    opening, closing = column.enclose_all()
    pieces = [opening, _numbers(dx), " ", _numbers(dy), " Td<", glyphs, ">Tj", closing, "\n"]
    if column.x.size == heads.size:
        return pieces
    _, offsets, data = _join(pieces).buffers()
    ends = np.frombuffer(offsets, np.int32)[lines.first].copy()
    return [pa.Array.from_buffers(pa.string(), heads.size, [None, pa.py_buffer(ends), data])]


def _join(pieces: Sequence[pa.Array | str]) -> pa.Array:
    """Concatenate strings row by row; those that are the same in each row are joined first."""
    merged: list[pa.Array | str] = []
    for piece in pieces:
        if merged and isinstance(piece, str) and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return join(*merged)


def _numbers(values: Ints) -> pa.Array | str:
    """Return integers as strings; a single string if all are equal."""
    if values.size and (values == values[0]).all():
        return str(int(values[0]))
    return pc.cast(integers(values), pa.string())
