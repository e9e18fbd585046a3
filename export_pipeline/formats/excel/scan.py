"""Scan a sheet's XML block by block, and report its content and defects.

It relies on the file format alone, not on the code that wrote the sheet, and its memory does not grow with
the sheet. A block is a run of whole rows. Blocks of the plainest form are read by `fast_scan`, many cells at
a time; all others element by element, which is slow but says what is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from xml.parsers import expat

from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats.excel.fast_scan import AHEAD, Plain, PlainRows
from export_pipeline.formats.excel.names import column_letters, utf16_length
from export_pipeline.formats.excel.text import MAX_TEXT
from export_pipeline.formats.sums import add_parts

_DIMENSION = re.compile(rb'<dimension ref="(?:[A-Z]+[0-9]+:)?([A-Z]+)([0-9]+)"')
_ADDRESS = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_IN_MAIN = frozenset({"sheetData", "row", "c", "v", "is", "t", "f"})
_ROW_END = b"</row>"
_PAD = b" " * AHEAD  # so that looking a few bytes ahead never leaves the block


@dataclass(frozen=True, slots=True)
class Summed:
    """A column to add up: its index from 0, its name, and its null text."""

    column: int
    name: str
    null: str


@dataclass(slots=True)
class _Cell:
    """The cell that is being read.

    Attributes:
        row, column: Its address, counted from 1.
        type: Its type attribute; "n" if it has none.
        value: The content of `v`; None without one.
        text: The content of all its `t`; None without one.
        has_formula: True if it has an `f`.
    """

    row: int
    column: int
    type: str
    value: str | None = None
    text: str | None = None
    has_formula: bool = False


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
        self._summed = {summed.column + 1: summed for summed in sums}
        self._parts: dict[str, list[float]] = {summed.name: [] for summed in sums}
        self._plain = PlainRows(data_rows, {summed.column: summed.null for summed in sums}, shared)
        self._shared = shared
        self._problems: dict[str, tuple[str, int]] = {}
        self._previous = (0, 0)  # row and column of the last cell
        self._row = 0
        self._has_root = False
        self._widest = 0
        self._dimension: tuple[int, int] | None = None
        self._rest = b""
        self._cell: _Cell | None = None
        self._content: list[str] | None = None
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read the part, a few blocks in parallel.

        Raises:
            xml.parsers.expat.ExpatError: The XML is not well-formed.
        """

        def read_plain(block: tuple[bytes, int]) -> tuple[bytes, int, Plain | None]:
            return *block, self._plain.read(*block)

        for buffer, size, plain in map_concurrently(read_plain, self._blocks(chunks)):
            # The parser need not see whole rows of plain form.
            if plain is None or not self._take(plain):
                self._parser.Parse(buffer[:size], False)
        self._parser.Parse(self._rest, True)
        if self._dimension and self._dimension != (self._widest, self._row):
            says = f"{column_letters(self._dimension[0] - 1)}{self._dimension[1]}"
            self._note(f"the dimension ends at {says}, the cells do not at", self._row, self._widest)

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
                    self._dimension = _column_number(dimension[1].decode()), int(dimension[2])
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
            for what, (where, count) in self._problems.items()
        ]

    def _note(self, what: str, row: int, column: int) -> None:
        where, before = self._problems.get(what, (f"{column_letters(max(column, 1) - 1)}{row}", 0))
        self._problems[what] = where, before + 1

    def _take(self, plain: Plain) -> bool:
        """Add a block's content to the total; return False if it does not follow the previous block."""
        if plain.rows[0] <= self._row:
            return False
        self.rows += int(((plain.rows >= self._first) & (plain.rows <= self._last)).sum())
        self._row = int(plain.rows[-1])
        self._widest = max(self._widest, plain.widest)
        if plain.last:
            self._previous = plain.last
        for summed in self._sums:
            self._parts[summed.name].append(plain.sums.get(summed.column, 0.0))
        return True

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._has_root or (name in _IN_MAIN and "xmlns" in attributes):
            is_main = attributes.get("xmlns") == _MAIN and (self._has_root or name == "worksheet")
            self._has_root = True
            if not is_main:
                self._note("elements that are not in the namespace of spreadsheets after", self._row, 1)
        if name == "c":
            self._start_cell(attributes)
        elif name == "row":
            number = attributes.get("r", "")
            self._start_row(int(number) if number.isdecimal() else 0)
        elif self._cell:
            self._cell.has_formula |= name == "f"
            self._content = [] if name in ("v", "t") else None

    def _start_row(self, number: int) -> None:
        if number <= self._row:
            self._note("rows out of order at", number, 1)
        self._row = number
        self.rows += self._first <= number <= self._last

    def _start_cell(self, attributes: dict[str, str]) -> None:
        address = _ADDRESS.fullmatch(attributes.get("r", ""))
        if not address:
            self._note("a cell without a readable address after row", self._row, 0)
            return
        place = row, column = int(address[2]), _column_number(address[1])
        if row != self._row:
            self._note("a cell stands in another row than its address says:", row, column)
        if place <= self._previous:
            is_same = place == self._previous
            self._note("the same cell twice:" if is_same else "a cell out of order:", row, column)
        self._previous = place
        if column > self._widest:
            self._widest = column
        self._cell = _Cell(row, column, attributes.get("t", "n"))

    def _add(self, text: str) -> None:
        if self._content is not None:
            self._content.append(text)

    def _end(self, name: str) -> None:
        cell = self._cell
        if cell and self._content is not None and name in ("v", "t"):
            content = "".join(self._content)
            if name == "v":
                cell.value = content
            else:
                cell.text = (cell.text or "") + content
            self._content = None
        elif cell and name == "c":
            self._end_cell(cell)
            self._cell = None

    def _end_cell(self, cell: _Cell) -> None:
        """Check a cell's content, and add it to its column's sum."""
        place = cell.row, cell.column
        value = cell.value or ""
        is_data = self._first <= cell.row <= self._last
        if cell.has_formula and is_data:
            self._note("a formula among the data:", *place)
        if cell.text is not None and utf16_length(cell.text) > MAX_TEXT:
            self._note("a text is longer than a cell can be:", *place)
        is_number = False
        if cell.type == "n" and cell.value is not None:
            is_number = _NUMBER.fullmatch(value) is not None
            if not is_number:
                self._note("a number cell holds text:", *place)
        elif cell.type == "s" and not (value.isdecimal() and int(value) < self._shared):
            self._note("a shared string is missing:", *place)
        summed = self._summed.get(cell.column) if is_data else None
        if summed and is_number:
            self._parts[summed.name].append(float(value))
        elif summed and cell.type == "inlineStr":
            number = math.nan if cell.text is None else decode_text(cell.text, summed.null)
            self._parts[summed.name].append(number)


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


@cache  # at most three letters
def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number
