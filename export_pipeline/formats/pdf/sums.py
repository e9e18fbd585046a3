"""Add up numbers as they are printed, many at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_HELD = 65_536
_FEW = 2_000
"""Cells that wait for others rather than to be added by themselves."""
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NO_DIGITS = "".join(chr(code) for code in range(128) if not chr(code).isdigit())
_OTHER, _UNMAPPED = ord("x"), 0
"""Placeholders for characters outside ASCII, and for codes without a mapping."""
_MAX_DIGITS = 32
"""Numbers of up to this many digits can be added `_HELD` times in 128 bits."""


class PrintedSum:
    """The exact sum of one column's cells.

    Attributes:
        unmapped: Number of cells with a code that is not in the font's map.
    """

    def __init__(self) -> None:
        self.unmapped = 0
        self._total = Decimal(0)
        self._waiting: list[bytes] = []
        self._unicode: Mapping[int, str] = {}
        self._letters = _letters(self._unicode)
        self._size = 2

    def add(self, first: bool, digits: bytes, unicode: Mapping[int, str], size: int = 2) -> None:
        """Add a cell, or, if this is not its `first` piece, continue the last one.

        Args:
            first: True if a cell begins here.
            digits: Font codes in hex.
            unicode: Unicode of the font's codes.
            size: Bytes of a code, 1 or 2.
        """
        if not first and self._waiting:
            self._waiting[-1] += digits
            return
        self._prepare_for(unicode, size)
        self._waiting.append(digits)

    def extend(self, cells: pa.Array, unicode: Mapping[int, str], size: int = 2) -> None:
        """Add whole cells (large_binary), as `add` does; the last may still be continued."""
        if len(cells):
            self._prepare_for(unicode, size)
            if len(cells) <= _FEW:
                self._waiting += cells.to_pylist()
                return
            before = pa.array(self._waiting, pa.large_binary())
            self._count_cells(pa.concat_arrays([before, cells.slice(0, len(cells) - 1)]))
            self._waiting = [cells[-1].as_py()]

    def _prepare_for(self, unicode: Mapping[int, str], size: int) -> None:
        """Prepare for cells in a font with this Unicode map."""
        if unicode is not self._unicode:
            self._count()
            self._unicode, self._size = unicode, size
            self._letters = _letters(unicode)
        elif len(self._waiting) >= _HELD:
            self._count()

    def total(self) -> Decimal:
        """Return the sum of all cells."""
        self._count()
        return self._total

    def _count(self) -> None:
        cells, self._waiting = self._waiting, []
        self._count_cells(pa.array(cells, pa.large_binary()))

    def _count_cells(self, cells: pa.Array) -> None:
        if not len(cells):
            return
        lengths = pc.binary_length(cells)
        digits = 2 * self._size
        if pc.any(pc.not_equal(pc.bit_wise_and(lengths, digits - 1), 0)).as_py():
            whole = [cell[: len(cell) // digits * digits] for cell in cells.to_pylist()]
            cells = pa.array(whole, pa.large_binary())
        _, offsets, data = cells.buffers()
        edges = np.frombuffer(offsets, np.int64)[cells.offset : cells.offset + len(cells) + 1]
        begin, end = int(edges[0]), int(edges[-1])
        codes = np.frombuffer(bytes.fromhex(str(memoryview(data)[begin:end], "ascii")), f">u{self._size}")
        starts = ((edges - begin) // digits).astype(np.int32)
        letters = self._letters[codes]
        unknown = np.zeros(letters.size + 1, np.int64)
        np.cumsum(letters == _UNMAPPED, out=unknown[1:])
        self.unmapped += int((unknown[starts[1:]] > unknown[starts[:-1]]).sum())
        texts = pa.Array.from_buffers(
            pa.string(), len(cells), [None, pa.py_buffer(starts), pa.py_buffer(letters)]
        )
        odd = pc.match_substring_regex(texts, "[0-9][eE]")
        if pc.any(odd).as_py():
            self._total += _added_slowly(pc.filter(texts, odd))
            texts = pc.filter(texts, pc.invert(odd))
        total = _add(texts)
        self._total += _added_slowly(texts) if total is None else total


def _letters(unicode: Mapping[int, str]) -> NDArray[np.uint8]:
    """Return the ASCII character of every code."""
    table = np.full(0x10000, _UNMAPPED, np.uint8)
    for code, text in unicode.items():
        table[code] = ord(text) if len(text) == 1 and text.isascii() else _OTHER
    return table


def _add(texts: pa.Array) -> Decimal | None:
    """Return the sum of strings like "-$1,234.50"; None if they need closer parsing."""
    cores = pc.replace_substring(pc.ascii_trim(texts, _NO_DIGITS), ",", "")
    cores = pc.if_else(pc.equal(cores, ""), pa.scalar(None, pa.string()), cores)
    lengths = pc.binary_length(cores)
    points = pc.find_substring(cores, ".")
    whole = pc.less(points, 0)
    before = pc.max(pc.if_else(whole, lengths, points)).as_py() or 0
    scale = pc.max(pc.if_else(whole, 0, pc.subtract(pc.subtract(lengths, points), 1))).as_py() or 0
    if before + scale > _MAX_DIGITS:
        return None
    try:
        values = pc.cast(cores, pa.decimal128(38, scale))
    except pa.ArrowInvalid:
        return None
    minus = pc.starts_with(texts, "-")
    total = pc.sum(values).as_py() or Decimal(0)
    taken = pc.sum(pc.filter(values, minus)).as_py() or Decimal(0)
    return Decimal(total - 2 * taken)


def _added_slowly(texts: pa.Array) -> Decimal:
    """Return the sum of any numbers, one by one; a minus sign may precede a currency symbol."""
    total = Decimal(0)
    for text in texts.to_pylist():
        match = _NUMBER.search(text)
        if match:
            value = Decimal(match[0].replace(",", ""))
            total += -value if text.startswith("-") else value
    return total
