"""Columns as cell XML: Arrow arrays in, pieces of text out, to be joined row by row in one go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.formats.excel import numbers
from export_pipeline.formats.excel.overflow import MOVED, Overflow
from export_pipeline.formats.excel.strings import SharedStrings
from export_pipeline.formats.excel.text import (
    INLINE_END,
    cleaned,
    coded,
    escaped,
    inline_start,
    too_long,
)
from export_pipeline.model.columns import Column, Kind
from export_pipeline.model.sanitize import GUARDED, REPLACED, guard

Piece: TypeAlias = str | pa.StringArray

_VALUE_END = "</v></c>"
_SHARED_SHARE = 8  # shared strings pay where a sample has at most one distinct text in so many rows

_NUMBERS: dict[Kind, Callable[[pa.Array], numbers.Numbers]] = {
    Kind.INTEGER: numbers.integers,
    Kind.DECIMAL: numbers.decimals,
    Kind.MONEY: numbers.decimals,
    Kind.PERCENT: numbers.decimals,
    Kind.FLOAT: numbers.floats,
    Kind.BOOLEAN: numbers.booleans,
    Kind.DATE: numbers.dates,
    Kind.TIMESTAMP: numbers.timestamps,
}


@dataclass(slots=True)
class Shared:
    """What all columns of a workbook use together."""

    strings: SharedStrings
    overflow: Overflow
    changed: Counter[tuple[str, str]]
    guard_formulas: bool


@dataclass(frozen=True, slots=True)
class Cells:
    """One column of a batch.

    Attributes:
        before: From the cell's reference to its content.
        value: The content; null where there is no cell.
        after: The rest of the cell.
        odd: Where a number's column holds text instead; None if nowhere.
    """

    before: Piece
    value: pa.StringArray
    after: Piece
    odd: pa.BooleanArray | None = None

    def pieces(self, letters: str, rows: pa.StringArray) -> list[Piece]:
        """The cells as pieces without nulls, or as one array in which a null is a missing cell."""
        pieces: list[Piece] = [f'<c r="{letters}', rows, self.before, self.value, self.after]
        if self.value.null_count == 0:
            return pieces
        return [pc.binary_join_element_wise(*pieces, "", null_handling="emit_null")]


class ColumnCells:
    """Makes one column's cells, batch after batch.

    Args:
        column: The column.
        letters: Its letters in the sheet.
        styles: Numbers of the style of its cells and of a number that is written as text.
        shared: What the workbook's columns have in common.
        sample: The first rows, to see whether texts repeat; None without rows.
    """

    def __init__(
        self, column: Column, letters: str, styles: tuple[int, int], shared: Shared, sample: pa.Array | None
    ) -> None:
        self.column = column
        self.letters = letters
        self._style, self._odd_style = styles
        self._shared = shared
        self._share = column.kind.is_text and sample is not None and _repeats(sample)

    def cells(self, array: pa.Array, place: Callable[[int], tuple[str, int]]) -> Cells:
        """The cells of a batch.

        Args:
            array: The batch's values.
            place: Gives sheet name and row number of the batch's i-th row.
        """
        if self.column.kind.is_text:
            return self._texts(array if pa.types.is_string(array.type) else array.cast(pa.string()), place)
        made = _NUMBERS[self.column.kind](array)
        mark = ' t="b"' if self.column.kind is Kind.BOOLEAN else ""
        before = f'" s="{self._style}"{mark}><v>'
        if made.odd is None:
            return Cells(before, made.text, _VALUE_END)
        self._count(made.reason, pc.sum(made.odd).as_py())
        return Cells(
            pc.if_else(made.odd, inline_start(self._odd_style), before),
            escaped(made.text),
            pc.if_else(made.odd, INLINE_END, _VALUE_END),
            made.odd,
        )

    def _texts(self, array: pa.StringArray, place: Callable[[int], tuple[str, int]]) -> Cells:
        clean = cleaned(array)
        array = clean.array
        self._count(REPLACED, clean.replaced)
        if self._shared.guard_formulas:
            array, count = guard(array)
            self._count(GUARDED, count)
        array = self._moved(array, place)
        if self._share:
            cells = self._shared_texts(array)
            if cells is not None:
                return cells
            self._share = False
        return self._inline_texts(array)

    def _moved(self, array: pa.StringArray, place: Callable[[int], tuple[str, int]]) -> pa.StringArray:
        """Texts that do not fit in a cell go to the sheet for them."""
        positions = too_long(array)
        if not positions:
            return array
        self._count(MOVED, len(positions))
        texts = []
        for position in positions:
            sheet, row = place(position)
            text = array[position].as_py()
            texts.append(self._shared.overflow.move(sheet, f"{self.letters}{row}", text))
        return pc.replace_with_mask(array, _mask(len(array), positions), pa.array(texts, pa.string()))

    def _shared_texts(self, array: pa.StringArray) -> Cells | None:
        encoded = array.dictionary_encode()
        known = [self._shared.strings.number(text.as_py()) for text in encoded.dictionary]
        if None in known:
            return None
        values = pa.array([str(number) for number in known], pa.string()).take(encoded.indices)
        return Cells(self._shared_start, values, _VALUE_END)

    def _inline_texts(self, array: pa.StringArray) -> Cells:
        start = inline_start(self._style)
        mask = coded(array)
        if mask is None:
            return Cells(start, escaped(array), INLINE_END)
        # Some readers decode `_x005F_` in shared strings only, so texts that need it go there.
        known = [self._shared.strings.number(text.as_py()) for text in array.filter(mask)]
        if None in known:
            return Cells(start, escaped(array), INLINE_END)
        values = pa.array([str(number) for number in known], pa.string())
        return Cells(
            pc.if_else(mask, self._shared_start, start),
            pc.replace_with_mask(escaped(array), mask, values),
            pc.if_else(mask, _VALUE_END, INLINE_END),
        )

    @property
    def _shared_start(self) -> str:
        return f'" s="{self._style}" t="s"><v>'

    def _count(self, reason: str, count: int) -> None:
        if count:
            self._shared.changed[reason, self.column.header] += count


def _repeats(sample: pa.Array) -> bool:
    texts = sample.drop_null()
    return len(texts) >= _SHARED_SHARE and len(texts.unique()) * _SHARED_SHARE <= len(texts)


def _mask(length: int, positions: list[int]) -> pa.BooleanArray:
    mask = bytearray(length)
    for position in positions:
        mask[position] = 1
    return pa.Array.from_buffers(pa.uint8(), length, [None, pa.py_buffer(mask)]).cast(pa.bool_())
