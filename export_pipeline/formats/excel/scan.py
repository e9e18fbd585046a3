"""Scan a sheet's XML as bytes, block by block, and report its content and defects.

It relies on the file format alone, not on the code that wrote the sheet, and its memory does not grow with
the sheet. A block is a run of whole rows; array operations find everything inside it.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.excel.fast_scan import AHEAD, Plain, PlainRows
from export_pipeline.formats.excel.names import column_letters, utf16_length
from export_pipeline.formats.excel.text import MAX_TEXT
from export_pipeline.formats.sums import add_parts

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_MAX_COLUMNS = 16_384
_DIMENSION = re.compile(rb'<dimension ref="(?:[A-Z]+[0-9]+:)?([A-Z]+)([0-9]+)"')
_TEXT = re.compile(rb"<t[^<>]*+>([^<]*+)</t>")
_ROW_END = b"</row>"
_PAD = b" " * AHEAD  # so that looking a few bytes ahead never leaves the block
_NUMBER_BYTES = np.zeros(256, np.bool_)
_NUMBER_BYTES[list(b"0123456789+-.eE")] = True


@dataclass(frozen=True, slots=True)
class Summed:
    """A column to add up: its index from 0, its name, and its null text."""

    column: int
    name: str
    null: str


class SheetScan:
    """The content of one sheet, read block by block.

    Args:
        data_rows: First and last row of the data, (1, 0) for none.
        sums: The columns to add up over the data rows.
        shared: Number of shared strings; every reference is checked against it.

    Attributes:
        rows: Number of rows found among `data_rows`.
        totals: Sums by column name.
        problems: One sentence per kind of problem, with the first cell and the count.
    """

    def __init__(self, data_rows: tuple[int, int], sums: Sequence[Summed], shared: int) -> None:
        self.rows = 0
        self._first, self._last = data_rows
        self._sums = sums
        self._parts: dict[str, list[float]] = {summed.name: [] for summed in sums}
        self._plain = PlainRows(data_rows, {summed.column: summed.null for summed in sums}, shared)
        self._shared = shared
        self._found: dict[str, tuple[str, int]] = {}
        self._previous = 0
        self._previous_row = 0
        self._widest = 0
        self._dimension: tuple[int, int] | None = None
        self._rest = b""
        self._parser = expat.ParserCreate()

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read the part, a few blocks in parallel.

        Raises:
            xml.parsers.expat.ExpatError: The XML is not well-formed.
        """

        def plainly(block: tuple[bytes, int]) -> tuple[bytes, int, Plain | None]:
            return *block, self._plain.read(*block)

        for buffer, size, plain_rows in map_concurrently(plainly, self._blocks(chunks)):
            # The parser need not see whole rows of plain form.
            if plain_rows is None or not self._take(plain_rows):
                self._parser.Parse(buffer[:size], False)
                self._block(buffer[:size])
        self._parser.Parse(self._rest, True)
        if self._dimension and self._dimension != (self._widest, self._previous_row):
            says = f"{column_letters(self._dimension[0] - 1)}{self._dimension[1]}"
            self._note(f"the dimension ends at {says}, the cells do not at", self._previous_row, self._widest)

    def _blocks(self, chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
        """Yield runs of whole rows, each with its size and more bytes behind it. The parser gets what
        precedes the first row; what follows the last row is kept.
        """
        in_data = False
        for chunk in chunks:
            self._rest += chunk
            if not in_data:
                start = self._rest.find(b"<row ")
                if start < 0:
                    continue
                head, self._rest, in_data = self._rest[:start], self._rest[start:], True
                self._parser.Parse(head, False)
                if dimension := _DIMENSION.search(head):
                    self._dimension = _column_number(dimension[1]), int(dimension[2])
            size = self._rest.rfind(_ROW_END) + len(_ROW_END)
            if size >= len(_ROW_END):
                buffer = self._rest if len(self._rest) >= size + AHEAD else self._rest + _PAD
                self._rest = self._rest[size:]
                yield buffer, size

    @property
    def totals(self) -> dict[str, float]:
        """Sums over the data rows by column name, rounded once."""
        return {name: add_parts(parts) for name, parts in self._parts.items()}

    @property
    def problems(self) -> list[str]:
        """One sentence for each kind of problem: the first cell, and how many more there are."""
        return [
            f"{what} {where}" + (f" and {count - 1:,} more" if count > 1 else "")
            for what, (where, count) in self._found.items()
        ]

    def _note(self, what: str, row: int, column: int, count: int = 1) -> None:
        where, before = self._found.get(what, (f"{column_letters(max(column, 1) - 1)}{row}", 0))
        self._found[what] = where, before + count

    def _note_all(self, what: str, wrong: npt.NDArray[np.bool_], rows: Ints, columns: Ints) -> None:
        if wrong.any():
            first = int(np.argmax(wrong))
            self._note(what, int(rows[first]), int(columns[first]), int(wrong.sum()))

    def _take(self, plain_rows: Plain) -> bool:
        """Add a block's content to the total; return False if it does not follow the previous block."""
        if plain_rows.rows[0] <= self._previous_row:
            return False
        self.rows += int(((plain_rows.rows >= self._first) & (plain_rows.rows <= self._last)).sum())
        self._previous_row = int(plain_rows.rows[-1])
        self._widest = max(self._widest, plain_rows.widest)
        if plain_rows.last:
            self._previous = plain_rows.last[0] * _MAX_COLUMNS + plain_rows.last[1] - 1
        for summed in self._sums:
            self._parts[summed.name].append(plain_rows.sums.get(summed.column, 0.0))
        return True

    def _block(self, block: bytes) -> None:
        """Read a block of any form, and record its problems."""
        data = np.frombuffer(block + _PAD, np.uint8)
        tags = np.flatnonzero(data == ord("<"))
        one, two = data[tags + 1], data[tags + 2]
        closes_name = (two == ord(" ")) | (two == ord(">")) | (two == ord("/"))
        row_starts = tags[(one == ord("r")) & (two == ord("o"))]
        cells = tags[(one == ord("c")) & closes_name]
        row_numbers = self._rows(data, row_starts)
        if not len(cells):
            return
        rows, columns, sound = _references(data, cells)
        if not sound.all():
            self._note("a cell without a readable address after row", self._previous_row, 0)
            return
        home = row_numbers[np.searchsorted(row_starts, cells) - 1]
        self._note_all("a cell stands in another row than its address says:", home != rows, rows, columns)
        self._order(rows, columns)
        self._widest = max(self._widest, int(columns.max()))

        ends = np.flatnonzero(data == ord(">"))
        kinds = _kinds(data, cells, ends[np.searchsorted(ends, cells)])
        numeric = (kinds == 0) | (kinds == ord("n"))
        in_data = (rows >= self._first) & (rows <= self._last)
        formulas = np.searchsorted(cells, tags[(one == ord("f")) & closes_name]) - 1
        is_formula = np.zeros(len(cells), np.bool_)
        is_formula[formulas] = True
        self._note_all("a formula among the data:", is_formula & in_data, rows, columns)

        values = tags[(one == ord("v")) & (two == ord(">"))]
        owners = np.searchsorted(cells, values) - 1
        stops = tags[np.searchsorted(tags, values) + 1]
        self._values(data, values + 3, stops, owners, kinds, numeric, rows, columns)
        for summed in self._sums:
            selected = in_data & (columns == summed.column + 1)
            mine = (selected & numeric)[owners]
            parts = self._parts[summed.name]
            parts.append(float(np.sum(_floats(data, values[mine] + 3, stops[mine]))))
            for cell in np.flatnonzero(selected & (kinds == ord("i"))):
                parts.append(_number_in_text(block, int(cells[cell]), summed.null))
        self._texts(data, block, tags[(one == ord("t")) & closes_name], ends, cells, rows, columns)

    def _rows(self, data: Bytes, starts: Ints) -> Ints:
        """Return the numbers of the rows that start here; count them and check their order."""
        numbers, _ = _digits(data, starts + len('<row r="'))
        order = np.diff(numbers, prepend=self._previous_row)
        self._note_all("rows out of order at", order <= 0, numbers, np.ones_like(numbers))
        if len(numbers):
            self._previous_row = int(numbers[-1])
        self.rows += int(((numbers >= self._first) & (numbers <= self._last)).sum())
        return numbers

    def _order(self, rows: Ints, columns: Ints) -> None:
        keys = rows * _MAX_COLUMNS + columns - 1
        steps = np.diff(keys, prepend=self._previous)
        self._note_all("the same cell twice:", steps == 0, rows, columns)
        self._note_all("a cell out of order:", steps < 0, rows, columns)
        self._previous = int(keys[-1])

    def _values(
        self,
        data: Bytes,
        starts: Ints,
        stops: Ints,
        owners: Ints,
        kinds: Bytes,
        numeric: npt.NDArray[np.bool_],
        rows: Ints,
        columns: Ints,
    ) -> None:
        strange = np.cumsum(~_NUMBER_BYTES[data], dtype=np.int32)
        bad = (strange[stops - 1] > strange[starts - 1]) | (stops <= starts)
        self._note_all("a number cell holds text:", bad & numeric[owners], rows[owners], columns[owners])
        shared = kinds[owners] == ord("s")
        if shared.any():
            numbers = _floats(data, starts[shared], stops[shared])
            beyond = numbers >= self._shared
            self._note_all(
                "a shared string is missing:", beyond, rows[owners[shared]], columns[owners[shared]]
            )

    def _texts(
        self, data: Bytes, block: bytes, tags: Ints, ends: Ints, cells: Ints, rows: Ints, columns: Ints
    ) -> None:
        if not len(tags):
            return
        starts = ends[np.searchsorted(ends, tags)] + 1
        all_tags = np.flatnonzero(data == ord("<"))
        stops = all_tags[np.searchsorted(all_tags, starts)]
        for index in np.flatnonzero(stops - starts > MAX_TEXT):
            text = html.unescape(block[starts[index] : stops[index]].decode())
            if utf16_length(text) > MAX_TEXT:
                cell = int(np.searchsorted(cells, tags[index])) - 1
                self._note("a text is longer than a cell can be:", int(rows[cell]), int(columns[cell]))


def scan_shared_strings(chunks: Iterable[bytes]) -> tuple[int, list[str]]:
    """Count a workbook's shared strings; return the count and their problems."""
    parser = expat.ParserCreate()
    count, longest = 0, 0
    text: list[str] = []

    def started(name: str, _: dict[str, str]) -> None:
        nonlocal count
        if name == "si":
            count += 1
            text.clear()

    def ended(name: str) -> None:
        nonlocal longest
        if name == "si":
            longest = max(longest, utf16_length("".join(text)))

    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = text.append
    for chunk in chunks:
        parser.Parse(chunk, False)
    parser.Parse(b"", True)
    return count, ["a shared string is longer than a cell can be"] if longest > MAX_TEXT else []


def _references(data: Bytes, cells: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Return the row and column (from 1) of each cell's address, and a mask of cells that have one."""
    sound = np.ones(len(cells), np.bool_)
    for offset, character in enumerate(b'c r="', start=1):
        sound &= data[cells + offset] == character
    position = cells + len('<c r="')
    columns = np.zeros(len(cells), np.int64)
    for _ in range(3):
        letter = data[position]
        is_letter = (letter >= ord("A")) & (letter <= ord("Z"))
        columns = np.where(is_letter, columns * 26 + letter - 64, columns)
        position = position + is_letter
    rows, end = _digits(data, position)
    return rows, columns, sound & (columns > 0) & (rows > 0) & (data[end] == ord('"'))


def _digits(data: Bytes, position: Ints) -> tuple[Ints, Ints]:
    """Return the numbers of up to seven digits at these positions, and where they end."""
    numbers = np.zeros(len(position), np.int64)
    for _ in range(7):
        digit = data[position]
        is_digit = (digit >= ord("0")) & (digit <= ord("9"))
        numbers = np.where(is_digit, numbers * 10 + digit - 48, numbers)
        position = position + is_digit
    return numbers, position


def _kinds(data: Bytes, cells: Ints, ends: Ints) -> Bytes:
    """Return the first letter of each cell's type; 0 if it has none; "r" for a formula's string."""
    marks = np.flatnonzero(
        (data[:-4] == ord(" "))
        & (data[1:-3] == ord("t"))
        & (data[2:-2] == ord("="))
        & (data[3:-1] == ord('"'))
    )
    kinds = np.zeros(len(cells), np.uint8)
    if not len(marks):
        return kinds
    mark = marks[np.minimum(np.searchsorted(marks, cells), len(marks) - 1)]
    typed = (mark > cells) & (mark < ends)
    kinds[typed] = data[mark[typed] + 4]
    formula_text = typed & (kinds == ord("s")) & (data[mark + 5] == ord("t"))
    kinds[formula_text] = ord("r")
    return kinds


def _floats(data: Bytes, starts: Ints, stops: Ints) -> npt.NDArray[np.float64]:
    """Return the numbers between these positions; anything else counts as 0."""
    edges = np.zeros(len(data) + 1, np.int8)
    edges[starts] += 1
    edges[stops + 1] -= 1  # the "<" that ends a value stays, as a separator
    digits = data[np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)].copy()
    digits[~_NUMBER_BYTES[digits]] = ord(" ")
    numbers: npt.NDArray[np.float64] = np.array(digits.tobytes().split(), dtype=np.float64)
    return numbers


def _number_in_text(block: bytes, cell: int, null: str) -> float:
    match = _TEXT.search(block, cell)
    return decode_text(html.unescape(match[1].decode("utf-8", "replace")), null) if match else math.nan


def decode_text(text: str, null: str) -> float:
    """Return the number that a string in a numeric column spells out, as it counts in a sum.

    The null text counts 0. NaN and the infinities count 0 too: no total includes them. Any other string
    makes the sum NaN.
    """
    if null and text == null:
        return 0.0
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else 0.0


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
