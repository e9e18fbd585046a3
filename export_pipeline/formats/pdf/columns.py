"""How wide the columns of a table are, and which of them share a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section, Total
from export_pipeline.core.special_numbers import finite_decimals
from export_pipeline.core.tables import Table, copied
from export_pipeline.formats.pdf.arrays import batches
from export_pipeline.formats.pdf.cells import heading, number_text, printed
from export_pipeline.formats.pdf.characters import IDEOGRAPH, SPACE
from export_pipeline.formats.pdf.font import NEWLINE
from export_pipeline.formats.pdf.style import CELL, PAD_X, UNIT
from export_pipeline.formats.pdf.typeset import Typesetter, units

Ints = NDArray[np.int64]

_SAMPLE, _WINDOWS, _WINDOW = 2_000, 40, 50
"""The first rows are measured, and so many short runs of rows spread over the others."""
_WORD = 70 * UNIT
"""A text column is not made narrower than its longest word, unless that is wider than this."""
_NUMBER = 130 * UNIT
"""A number is broken over lines only where it is wider than this."""
_LINES, _NARROW = 5, 90 * UNIT
"""A text column is made so narrow that many cells take more lines than this only down to this width."""
_MORE, _GAIN = 3, 0.9
"""A table across pages goes across so many more where all its pages then become fewer than this part."""
_BESIDE = 2.5
"""Lines that a row takes whatever its longest text does: its padding, and what its other texts wrap to."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a column asks for, in page units: the least it can do with and what it would like.

    Attributes:
        mean: What a cell takes on one line, on average.
    """

    column: Column
    least: int
    wanted: int
    mean: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """A column's place on the page: `x` from the table's left edge and `width` are the text's own."""

    column: Column
    index: int
    x: int
    width: int

    @property
    def right(self) -> bool:
        """Numbers stand at the right edge."""
        return self.column.kind.is_number


@dataclass(frozen=True, slots=True)
class Strip:
    """Columns printed side by side on one page, and the width of all."""

    slots: tuple[Slot, ...]
    width: int


def measure(section: Section, typesetter: Typesetter) -> list[Measure]:
    """The widths a section's columns ask for, from their headers, totals, a sample of the texts and the least
    and greatest of all numbers."""
    samples = _samples(section.table)
    totals = [*section.totals, *(total for group in section.groups or () for total in group.totals)]
    measures = []
    for index, column in enumerate(section.table.columns):
        words = [typesetter.width(word, CELL, bold=True) for word in heading(column).split()] or [0]
        header = typesetter.width(heading(column), CELL, bold=True)
        widest, word, usual, mean = 0, 0, 0, 0
        for values in samples[index]:
            extent = _extent(typesetter, printed(column, values).strings)
            widest, word, usual, mean = np.maximum((widest, word, usual, mean), extent).tolist()
        if column.kind.is_number:
            widest = max([widest, *(_total_width(typesetter, column, total) for total in totals)])
            word = min(widest, _NUMBER)
        elif column.kind is Kind.DATE:
            word = widest
        elif column.kind.is_text:
            word = max(min(word, _WORD), min(usual // _LINES, _NARROW))
        if column.width is not None:
            widest = max(units(round(column.width * 572), CELL), word)
        least = max(max(words), word) + 2 * PAD_X
        wanted = max(widest, min(header, 2 * max(words))) + 2 * PAD_X
        measures.append(Measure(column, least, max(least, wanted), mean))
    return measures


def arrange(measures: Sequence[Measure], width: int) -> list[Strip]:
    """Columns on pages `width` units wide: one strip if they fit, else several, each beginning with the
    first column; more than are needed where long texts get so much wider that fewer pages are filled."""
    everything = list(range(len(measures)))
    if sum(m.least for m in measures) <= width:
        return [_strip(measures, everything, width)]
    lead = max(min(measures[0].least, width // 3), min(measures[0].wanted, width // 4))
    needs = [min(measure.least, width - lead) for measure in measures]
    fewest = len(_dealt(needs, width - lead))
    best: list[Strip] = []
    for count in range(fewest, min(fewest + _MORE + 1, len(measures))):
        strips = [_strip(measures, members, width, lead) for members in _even(needs, width - lead, count)]
        if not best or _pages(strips, measures) < _GAIN * _pages(best, measures):
            best = strips
    return best


def _pages(strips: Sequence[Strip], measures: Sequence[Measure]) -> float:
    """What the strips fill, compared with others: pages side by side times the lines of a row."""
    lines = max(measures[slot.index].mean / max(slot.width, 1) for strip in strips for slot in strip.slots)
    return len(strips) * (lines + _BESIDE)


def _even(needs: Sequence[int], width: int, count: int) -> list[list[int]]:
    """Columns dealt to no more than so many strips, filled alike."""
    strips = _dealt(needs, width)
    low, high = max(needs), width
    while low < high:
        level = (low + high) // 2
        dealt = _dealt(needs, level)
        if len(dealt) <= count:
            strips, high = dealt, level
        else:
            low = level + 1
    return strips


def _dealt(needs: Sequence[int], width: int) -> list[list[int]]:
    """Columns after the first, in order, dealt to strips with so much room; each strip has the first too."""
    strips: list[list[int]] = [[0]]
    used = 0
    for index, need in enumerate(needs[1:], 1):
        if used + need > width and len(strips[-1]) > 1:
            strips.append([0])
            used = 0
        strips[-1].append(index)
        used += need
    return strips


def _strip(measures: Sequence[Measure], members: Sequence[int], width: int, lead: int = 0) -> Strip:
    """Columns side by side over the whole width; with `lead`, the first one is exactly that wide."""
    least = np.array([measures[i].least for i in members], np.int64)
    wanted = np.array([measures[i].wanted for i in members], np.int64)
    if lead:
        # A column of the width of the page is narrowed to what the leading column leaves.
        least = np.minimum(least, width - lead)
        wanted = np.maximum(least, np.minimum(wanted, width - lead))
        least[0] = wanted[0] = lead
    given = wanted if wanted.sum() <= width else _shared(least, wanted, width)
    spare = width - int(given.sum())
    texts = np.array([measures[i].column.kind.is_text for i in members])
    weight = np.where(texts, given, 0)
    weight[0] = 0 if lead else weight[0]
    if not weight.any():
        weight = given.copy()
        weight[0] = 0 if lead else weight[0]
    given = given + spare * weight // max(1, int(weight.sum()))
    slots, x = [], 0
    for index, wide in zip(members, given.tolist(), strict=True):
        slots.append(Slot(measures[index].column, index, x + PAD_X, wide - 2 * PAD_X))
        x += wide
    return Strip(tuple(slots), width)


def _shared(least: Ints, wanted: Ints, width: int) -> Ints:
    """Widths between least and wanted that sum to `width`: those who want little get it all, the rest
    get the same."""
    low, high = 0, int(wanted.max())
    while low < high:
        level = (low + high + 1) // 2
        if np.clip(level, least, wanted).sum() <= width:
            low = level
        else:
            high = level - 1
    shared: Ints = np.clip(low, least, wanted)
    return shared


def _samples(table: Table) -> list[list[pa.Array]]:
    """Cells to measure of every column, however the source cuts its batches."""
    rest = max(0, table.rows - _SAMPLE)
    step = max(_WINDOW, -(-rest // _WINDOWS))
    starts = np.array([0, *range(_SAMPLE, table.rows, step)], np.int64)
    ends = np.minimum(starts + np.where(starts, _WINDOW, _SAMPLE), table.rows)
    found: list[list[pa.Array]] = [[] for _ in table.columns]
    at = 0
    for batch in batches(table.open()):
        low, high = np.maximum(starts - at, 0), np.minimum(ends - at, batch.num_rows)
        for index, column in enumerate(table.columns):
            values = batch.column(index)
            if rest and column.kind.is_number and not pa.types.is_null(values.type):
                finite = finite_decimals(values)
                reach = pc.min_max(finite)
                found[index].append(pa.array([reach["min"], reach["max"]], finite.type).cast(values.type))
            for window in np.flatnonzero(low < high):
                found[index].append(copied(values.slice(low[window], high[window] - low[window])))
        at += batch.num_rows
    return [[pa.concat_arrays(parts)] if parts else [] for parts in found]


def _extent(typesetter: Typesetter, strings: pa.Array) -> tuple[int, int, int, int]:
    """The widest cell, the widest word, what nine of ten cells keep to, and the mean cell, in page units."""
    font = typesetter.regular
    glyphs = typesetter.encode(strings, where=None)
    edges = np.zeros(glyphs.cids.size + 1, np.int64)
    np.cumsum(font.widths[glyphs.cids], out=edges[1:])
    parts = (font.properties[glyphs.cids] & (SPACE | IDEOGRAPH)) != 0
    parts |= glyphs.cids == NEWLINE
    breaks = np.unique(np.concatenate([glyphs.starts, np.flatnonzero(parts), np.flatnonzero(parts) + 1]))
    words = np.diff(edges[breaks]) if breaks.size > 1 else np.zeros(1, np.int64)
    lines = np.unique(np.concatenate([glyphs.starts, np.flatnonzero(glyphs.cids == NEWLINE)]))
    whole = np.diff(edges[lines]) if lines.size > 1 else np.zeros(1, np.int64)
    cells = np.diff(edges[glyphs.starts]) if len(strings) else np.zeros(1, np.int64)
    usual = int(np.sort(cells)[cells.size * 9 // 10])
    widths = (int(whole.max()), int(words.max()), usual, int(cells.mean()))
    widest, word, usual, mean = (units(width, CELL) for width in widths)
    return widest, word, usual, mean


def _total_width(typesetter: Typesetter, column: Column, total: Total) -> int:
    value = total.values.get(column.name)
    return 0 if value is None else typesetter.width(number_text(column, value), CELL, bold=True)
