"""Read rows of the plainest form in a few passes over their bytes. One regular expression is the form's whole
grammar and checks that rows are well-formed; array operations find addresses and numbers.

Rows of another form are not an error: the caller reads them element by element and reports any problem.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.formats.excel.text import MAX_TEXT

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

AHEAD = 16  # bytes: how far the scan looks past a block
_MAX_COLUMNS = 16_384
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_CHARACTER = r"[^<>&\x00-\x08\x0b\x0c\x0e-\x1f\x{D800}-\x{DFFF}\x{FFFE}\x{FFFF}]"
_TEXT = rf"(?:{_CHARACTER}|&(?:amp|lt|gt|quot|apos|#13|#10|#9);)*"
_HEIGHT = r' ht="[0-9]+(?:\.[0-9]+)?" customHeight="1"'
_POWERS = 10 ** np.arange(1, 8)
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")  # strings that no total includes


@dataclass(frozen=True, slots=True)
class Plain:
    """The content of a block of whole rows.

    Attributes:
        rows: Row numbers, ascending.
        widest: The last column that has a cell, counted from 1; 0 without cells.
        last: Row and column of the last cell; None without cells.
        sums: Sum over the data rows, by column counted from 0.
    """

    rows: Ints
    widest: int
    last: tuple[int, int] | None
    sums: Mapping[int, float]


class PlainRows:
    """Reads blocks of rows.

    Args:
        data_rows: First and last row of the data.
        sums: The columns to add up, counted from 0, each with its null text.
        shared: Number of shared strings.
    """

    def __init__(self, data_rows: tuple[int, int], sums: Mapping[int, str], shared: int) -> None:
        self._first, self._last = data_rows
        self._sums = sums
        kinds = [rf">(?:<f>{_TEXT}</f>)?<v>{_NUMBER}</v>", ' t="b"><v>[01]</v>']
        kinds.append(f' t="inlineStr"><is><t(?: xml:space="preserve")?>{_TEXT}</t></is>')
        if shared:
            kinds.append(f' t="s"><v>(?:{_below(shared)})</v>')
        cell = f'<c r="[A-Z]{{1,3}}[1-9][0-9]{{0,6}}"(?: s="[0-9]+")?(?:/>|(?:{"|".join(kinds)})</c>)'
        self._memory = threading.local()
        self._grammar = f'^(?:<row r="[1-9][0-9]{{0,6}}"(?:{_HEIGHT})?>(?:{cell})*</row>)*$'

    def read(self, buffer: bytes, size: int) -> Plain | None:
        """Return the content of a block, or None if it is of another form, out of order, or has very long
        strings or formulas among the data. Thread-safe.

        Args:
            buffer: The block and at least `AHEAD` more bytes of any content.
            size: Size of the block in bytes; it is whole rows from `<row` to `</row>`.
        """
        if not pc.match_substring_regex(_one_text(buffer, size), self._grammar)[0].as_py():
            return None
        data = np.frombuffer(buffer, np.uint8, size + AHEAD)
        search = self._search()
        search.begin(data, size)
        row_starts, cells = search.elements(ord("r")), search.elements(ord("c"))
        rows, digits = _row_numbers(data, row_starts)
        if not len(rows) or (np.diff(rows) <= 0).any():
            return None
        if not len(cells):
            return Plain(rows, 0, None, {})
        home = np.repeat(np.arange(len(rows)), np.diff(np.searchsorted(cells, np.append(row_starts, size))))
        columns, letters = _columns(data, cells)
        if not _is_addressed(
            data, row_starts + len('<row r="'), digits, cells + len('<c r="') + letters, home
        ):
            return None
        if (np.diff(home * _MAX_COLUMNS + columns) <= 0).any() or columns.max() > _MAX_COLUMNS:
            return None
        ends = np.append(cells[1:], size)
        if (ends - cells > MAX_TEXT).any():
            return None
        in_data = ((rows >= self._first) & (rows <= self._last))[home]
        formulas = search.elements(ord("f"))
        if len(formulas) and in_data[np.searchsorted(cells, formulas) - 1].any():
            return None
        try:
            sums = dict(self._totals(search, data, cells, ends, columns, in_data))
        except pa.ArrowInvalid:  # a string that is not a number
            return None
        return Plain(rows, int(columns.max()), (int(rows[home[-1]]), int(columns[-1])), sums)

    def _search(self) -> _ByteSearch:
        """The search object of the current thread."""
        if not hasattr(self._memory, "search"):
            self._memory.search = _ByteSearch()
        search: _ByteSearch = self._memory.search
        return search

    def _totals(
        self, search: _ByteSearch, data: Bytes, cells: Ints, ends: Ints, columns: Ints, in_data: Bools
    ) -> Iterator[tuple[int, float]]:
        """Yield the sum of each column.

        Raises:
            pa.ArrowInvalid: A cell of these columns is a string that is neither a number nor the null text.
        """
        if not self._sums:
            return
        values, stops = search.elements(ord("v")), search.ends(ord("v"))
        for column, null in self._sums.items():
            selected = np.flatnonzero((columns == column + 1) & in_data)
            value, has_value = _within(values, cells[selected], ends[selected])
            total = _sum(_texts(data, values[value] + len("<v>"), stops[value]))
            selected = selected[~has_value]
            if len(selected):
                total += _text_total(search, data, cells[selected], ends[selected], null)
            yield column, total


class _ByteSearch:
    """Finds elements with one-letter names. It reuses its memory for every block: to allocate it each time
    would cost as much as the search.
    """

    def __init__(self) -> None:
        self._opens = self._matches = self._other = np.empty(0, np.bool_)
        self._data = np.empty(0, np.uint8)
        self._size = 0

    def begin(self, data: Bytes, size: int) -> None:
        """Start to search the first `size` bytes of new data."""
        if len(self._opens) < size:
            self._opens, self._matches, self._other = (np.empty(size + size // 4, np.bool_) for _ in range(3))
        self._data, self._size = data, size
        np.equal(data[:size], ord("<"), out=self._opens[:size])

    def elements(self, name: int) -> Ints:
        """Return the start positions of elements whose name begins with this letter (r for `row`)."""
        return np.flatnonzero(self._after_open(name))

    def ends(self, name: int) -> Ints:
        """Return the end positions of the content of elements with this name."""
        closing = self._after_open(ord("/"))
        other = np.equal(self._data[2 : self._size + 2], name, out=self._other[: self._size])
        return np.flatnonzero(np.logical_and(closing, other, out=closing))

    def _after_open(self, name: int) -> Bools:
        matches = np.equal(self._data[1 : self._size + 1], name, out=self._matches[: self._size])
        return np.logical_and(matches, self._opens[: self._size], out=matches)


def _text_total(search: _ByteSearch, data: Bytes, cells: Ints, ends: Ints, null: str) -> float:
    """Return the sum of numbers written as strings in these cells."""
    starts, stops = search.elements(ord("t")), search.ends(ord("t"))
    text, _ = _within(starts, cells, ends)
    has_no_attributes = data[starts[text] + len("<t")] == ord(">")
    begins = starts[text] + np.where(has_no_attributes, len("<t>"), len('<t xml:space="preserve">'))
    texts = _texts(data, begins, stops[text])
    skipped = pa.array([null, *_NO_NUMBERS] if null else _NO_NUMBERS, pa.string())
    return _sum(texts.filter(pc.invert(pc.is_in(texts, skipped))))


def _one_text(buffer: bytes, size: int) -> pa.StringArray:
    offsets = np.array([0, size], np.int32)
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(buffer)])


def _row_numbers(data: Bytes, starts: Ints) -> tuple[Ints, Ints]:
    """Return the row numbers and how many digits each has."""
    position = starts + len('<row r="')
    numbers = np.zeros(len(starts), np.int64)
    for _ in range(7):
        digit = data[position]
        is_digit = (digit >= ord("0")) & (digit <= ord("9"))
        numbers = np.where(is_digit, numbers * 10 + digit - ord("0"), numbers)
        position = position + is_digit
    return numbers, np.searchsorted(_POWERS, numbers, side="right") + 1


def _columns(data: Bytes, cells: Ints) -> tuple[Ints, Ints]:
    """Return the cells' columns, counted from 1, and how many letters each has."""
    one, two, three = (data[cells + len('<c r="') + i].astype(np.int64) - 64 for i in range(3))
    has_two = two > 0
    has_three = has_two & (three > 0)
    columns = np.where(has_two, one * 26 + two, one)
    return np.where(has_three, columns * 26 + three, columns), 1 + has_two + has_three


def _is_addressed(data: Bytes, row_digits: Ints, digits: Ints, cell_digits: Ints, home: Ints) -> bool:
    """Return whether each cell's address ends in its row's number; compares eight bytes at once."""
    words: npt.NDArray[np.uint64] = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    kept = np.uint64(2**64 - 1) >> (np.uint64(8) * (7 - digits).astype(np.uint64))  # digits and a quote
    numbers = words[row_digits] & kept
    return bool(((words[cell_digits] & kept[home]) == numbers[home]).all())


def _within(positions: Ints, starts: Ints, stops: Ints) -> tuple[Ints, Bools]:
    """Return the index of the first position in each span that has one, and a mask of those spans."""
    index = np.searchsorted(positions, starts)
    is_inside = np.append(positions, np.iinfo(np.int64).max)[index] < stops
    return index[is_inside], is_inside


def _texts(data: Bytes, starts: Ints, stops: Ints) -> pa.StringArray:
    """Return the strings between these positions."""
    lengths = stops - starts
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    joined = data[np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined)]
    return pa.Array.from_buffers(pa.string(), len(starts), buffers)


def _sum(texts: pa.StringArray) -> float:
    return pc.sum(texts.cast(pa.float64())).as_py() or 0.0


def _below(count: int) -> str:
    """Return a regular expression for the whole numbers below `count`, which is at least 1."""
    last = str(count - 1)
    choices = [f"[0-9]{{1,{len(last) - 1}}}"] if len(last) > 1 else []
    for i, digit in enumerate(last):
        if digit > "0":
            rest = f"[0-9]{{{len(last) - i - 1}}}" if i < len(last) - 1 else ""
            choices.append(f"{last[:i]}[0-{int(digit) - 1}]{rest}")
    return "|".join([*choices, last])
