"""Convert columns to cell XML: Arrow arrays in, string pieces out, joined row by row in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.sanitize import GUARDED, REPLACED, guard_formulas
from export_pipeline.formats.excel import numbers
from export_pipeline.formats.excel.numbers import timestamps
from export_pipeline.formats.excel.text import (
    INLINE_END,
    clean_texts,
    escape,
    find_codes,
    inline_start,
    too_long,
    xml_text,
)

Piece: TypeAlias = str | pa.StringArray

_VALUE_END = "</v></c>"
_SHARED_SHARE = 8  # shared strings pay off if a sample has at most one distinct string in this many rows

_NUMBERS: dict[Kind, Callable[[pa.Array], numbers.Numbers]] = {
    Kind.INTEGER: numbers.integers,
    Kind.DECIMAL: numbers.decimals,
    Kind.MONEY: numbers.decimals,
    Kind.PERCENT: numbers.decimals,
    Kind.FLOAT: numbers.floats,
    Kind.BOOLEAN: numbers.booleans,
    Kind.DATE: numbers.dates,
}


class LongTexts(Protocol):
    """The place of texts that are too long for a cell."""

    @property
    def reason(self) -> str:
        """Reason why a cell does not hold its whole text, for counting."""

    def move(self, sheet: str, cell: str, text: str) -> str:
        """Return what the cell holds instead."""


@dataclass(slots=True)
class Shared:
    """State shared by all columns of a workbook."""

    strings: SharedStrings
    overflow: LongTexts
    guard_formulas: bool
    whole_seconds: bool = False


@dataclass(frozen=True, slots=True)
class Texts:
    """A text column of a batch, fit for cells but not yet XML.

    Attributes:
        array: The strings; a shared string is given by its index.
        shared: The cells that are shared strings: all, none or a mask.
        codes: Mask of strings that look like `_x0041_` and must be escaped; None if none does.
        changed: Number of changed cells by reason.
    """

    array: pa.StringArray
    shared: pa.BooleanArray | bool
    codes: pa.BooleanArray | None
    changed: Counter[str]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one column of a batch.

    Attributes:
        before: XML between the cell's reference and its content.
        value: The content; null where there is no cell.
        after: The rest of the cell.
        odd: Mask of cells in a numeric column that hold text instead; None if there are none.
        missing: XML after the reference where `value` is null; "" for no cell at all.
        changed: Number of cells that do not hold their source value exactly, by reason.
    """

    before: Piece
    value: pa.StringArray
    after: Piece
    odd: pa.BooleanArray | None = None
    missing: str = ""
    changed: Mapping[str, int] = field(default_factory=dict)

    def pieces(self, letters: str, rows: pa.StringArray) -> list[Piece]:
        """Return the cells as pieces without nulls, or as one array in which a null is a missing cell."""
        start = f'<c r="{letters}'
        if self.value.null_count == 0:
            return [start, rows, self.before, self.value, self.after]
        if not self.missing:
            pieces = (start, rows, self.before, self.value, self.after)
            return [pc.binary_join_element_wise(*pieces, "", null_handling="emit_null")]
        there = self.value.is_valid()
        before = pc.if_else(there, self.before, self.missing)
        return [start, rows, before, pc.fill_null(self.value, ""), pc.if_else(there, self.after, "")]


class ColumnCells:
    """Converts one column to cells, batch after batch.

    Args:
        column: The column.
        letters: Its column letters in the sheet.
        styles: Indexes of three styles: for its cells, for a number written as text, and for the text of a
            missing value.
        shared: State shared by the workbook's columns.
        sample: The first rows, to see whether strings repeat; None if there are no rows.
        width: Width of the column in characters, if its text wraps and rows shall be high enough for it.
        has_links: True if web and mail addresses among its texts become links.
        keeps_blanks: True if an empty cell is written too, for its style.
    """

    def __init__(
        self,
        column: Column,
        letters: str,
        styles: tuple[int, int, int],
        shared: Shared,
        sample: pa.Array | None,
        width: float | None = None,
        *,
        has_links: bool = False,
        keeps_blanks: bool = False,
    ) -> None:
        self.has_links = has_links
        self.wrap_width = width
        self.column = column
        self.letters = letters
        self._style, self._odd_style, missing = styles
        self._shared = shared
        self._share = column.kind.is_text and sample is not None and _repeats(sample)
        self._missing = f"{inline_start(missing)}{xml_text(column.null)}{INLINE_END}" if column.null else ""
        if keeps_blanks and not column.null:
            self._missing = f'" s="{self._style}"/>'

    def prepared(self, array: pa.Array, place: Callable[[int], tuple[str, int]]) -> pa.Array | Texts:
        """Do the part that depends on earlier batches: choose which strings are shared or moved.

        Args:
            array: The batch's values.
            place: Returns the sheet name and row number of the batch's i-th row.
        """
        if not self.column.kind.is_text:
            return array
        clean = clean_texts(array if pa.types.is_string(array.type) else array.cast(pa.string()))
        texts, changed = clean.array, Counter({REPLACED: clean.replaced})
        if self._shared.guard_formulas:
            texts, changed[GUARDED] = guard_formulas(texts)
        if positions := too_long(texts):
            changed[self._shared.overflow.reason] = len(positions)
            texts = self._move_long(texts, positions, place)
        return self._all_shared(texts, changed) or self._coded_shared(texts, changed)

    def cells(self, values: pa.Array | Texts) -> Cells:
        """Return the cells of a batch prepared by `prepared`. Thread-safe."""
        if isinstance(values, Texts):
            return self._texts(values)
        kind = self.column.kind
        if kind is Kind.TIMESTAMP:
            made = timestamps(values, self.column.zone, whole_seconds=self._shared.whole_seconds)
        else:
            made = _NUMBERS[kind](values)
        mark = ' t="b"' if kind is Kind.BOOLEAN else ""
        before = f'" s="{self._style}"{mark}><v>'
        if made.odd is None:
            return Cells(before, made.text, _VALUE_END, None, self._missing, made.lost)
        return Cells(
            pc.if_else(made.odd, inline_start(self._odd_style), before),
            escape(made.text, None),
            pc.if_else(made.odd, INLINE_END, _VALUE_END),
            made.odd,
            self._missing,
            {**made.lost, made.reason: pc.sum(made.odd).as_py()},
        )

    def _texts(self, texts: Texts) -> Cells:
        start, shared_start = inline_start(self._style), f'" s="{self._style}" t="s"><v>'
        array, shared, missing, changed = texts.array, texts.shared, self._missing, texts.changed
        if shared is True:
            return Cells(shared_start, array, _VALUE_END, None, missing, changed)
        array = escape(array, texts.codes)
        if shared is False:
            return Cells(start, array, INLINE_END, None, missing, changed)
        before, after = pc.if_else(shared, shared_start, start), pc.if_else(shared, _VALUE_END, INLINE_END)
        return Cells(before, array, after, None, missing, changed)

    def _move_long(
        self, array: pa.StringArray, positions: list[int], place: Callable[[int], tuple[str, int]]
    ) -> pa.StringArray:
        """Move strings that do not fit in a cell to the overflow sheet."""
        texts = []
        for position in positions:
            sheet, row = place(position)
            text = array[position].as_py()
            texts.append(self._shared.overflow.move(sheet, f"{self.letters}{row}", text))
        return pc.replace_with_mask(array, _mask(len(array), positions), pa.array(texts, pa.string()))

    def _all_shared(self, array: pa.StringArray, changed: Counter[str]) -> Texts | None:
        """Return the strings as shared strings if they repeat and there is room for them; None otherwise."""
        if not self._share:
            return None
        encoded = array.dictionary_encode()
        known = [self._shared.strings.number(text) for text in encoded.dictionary.to_pylist()]
        if None in known:
            self._share = False
            return None
        numbers = pa.array([str(number) for number in known], pa.string())
        return Texts(numbers.take(encoded.indices), True, None, changed)

    def _coded_shared(self, array: pa.StringArray, changed: Counter[str]) -> Texts:
        """Share only strings that look like codes: some readers decode `_x005F_` in shared strings only."""
        mask = find_codes(array)
        if mask is None:
            return Texts(array, False, None, changed)
        known = [self._shared.strings.number(text.as_py()) for text in array.filter(mask)]
        if None in known:
            return Texts(array, False, mask, changed)
        numbers = pa.array([str(number) for number in known], pa.string())
        return Texts(pc.replace_with_mask(array, mask, numbers), mask, None, changed)


def _repeats(sample: pa.Array) -> bool:
    texts = sample.drop_null()
    return len(texts) >= _SHARED_SHARE and len(texts.unique()) * _SHARED_SHARE <= len(texts)


def _mask(length: int, positions: list[int]) -> pa.BooleanArray:
    mask = bytearray(length)
    for position in positions:
        mask[position] = 1
    return pa.Array.from_buffers(pa.uint8(), length, [None, pa.py_buffer(mask)]).cast(pa.bool_())


MAX_STRINGS = 50_000
MAX_LENGTH = 1_000  # characters; longer strings are never shared, so that the table stays small


class SharedStrings:
    """Distinct strings by index, bounded in count and length."""

    def __init__(self, most: int = MAX_STRINGS) -> None:
        self._numbers: dict[str, int] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, text: str) -> int | None:
        """Return the string's index; None if the table is full or the string too long to share."""
        known = self._numbers.get(text)
        if known is None and len(text) <= MAX_LENGTH and len(self._numbers) < self._most:
            known = self._numbers[text] = len(self._numbers)
        return known

    def xml(self) -> Iterator[bytes]:
        """Yield the part `sharedStrings.xml`, piece by piece."""
        count = len(self._numbers)
        yield (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
            f'uniqueCount="{count}">'
        ).encode()
        for text in self._numbers:
            yield f'<si><t xml:space="preserve">{xml_text(text)}</t></si>'.encode()
        yield b"</sst>"
