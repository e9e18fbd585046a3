"""Choose the widths of a table's columns, and which of them share a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section, Total
from export_pipeline.core.special_numbers import to_finite_decimals
from export_pipeline.core.tables import Table, copy_array
from export_pipeline.formats.pdf.arrays import batches
from export_pipeline.formats.pdf.cells import heading, number_text, print_cells
from export_pipeline.formats.pdf.characters import IDEOGRAPH, SPACE
from export_pipeline.formats.pdf.font import NEWLINE
from export_pipeline.formats.pdf.style import CELL, PAD_X, UNIT
from export_pipeline.formats.pdf.typeset import Typesetter, units

Ints = NDArray[np.int64]

_SAMPLE, _WINDOWS, _WINDOW = 2_000, 40, 50
"""The first rows are measured, and short runs of rows (`_WINDOWS` of `_WINDOW` rows) spread over the rest."""
_WORD = 70 * UNIT
"""A text column is not made narrower than its longest word, unless that word is wider than this."""
_IDENTIFIER = 190 * UNIT
"""A column whose cells are single words up to this width (ids, codes) never breaks them."""
_UNBROKEN = frozenset({Kind.TEXT, Kind.UUID, Kind.ENUM})
_NUMBER = 130 * UNIT
"""A number is broken over lines only if it is wider than this."""
_LINES, _NARROW = 5, 90 * UNIT
"""A text column in which many cells take more than `_LINES` lines is made no narrower than `_NARROW`."""
_MORE, _GAIN = 3, 0.9
"""A table across pages gets up to `_MORE` more strips if pages then fall below this share (`_GAIN`)."""
_BALANCED, _MOST_BALANCED = 200, 60
"""Rows that are looked at, and most pairs of columns, to move width between columns."""
_STEP = 6 * UNIT
_LOSS = 106
"""Percent of a text's width that it takes on several lines: they break between words."""
_BESIDE = 2.5
"""Lines of a row besides its longest text: its padding, and the lines that its other texts wrap to."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Widths that a column asks for, in page units: the least and the preferred one.

    Attributes:
        mean: Average width of a cell on one line.
        compact: The preferred one if the header is to take two lines.
        cells: Widths of the first cells on one line each, in page units.
    """

    column: Column
    least: int
    preferred: int
    mean: int = 0
    compact: int = 0
    cells: Ints = field(default_factory=lambda: np.zeros(0, np.int64), compare=False)


@dataclass(frozen=True, slots=True)
class Slot:
    """A column's place on the page: `x` from the table's left edge; `width` of the text itself."""

    column: Column
    index: int
    x: int
    width: int

    @property
    def right(self) -> bool:
        """True if the column is right-aligned, as numbers are."""
        return self.column.kind.is_number


@dataclass(frozen=True, slots=True)
class Strip:
    """Columns printed side by side on one page, and their total width."""

    slots: tuple[Slot, ...]
    width: int


def measure(section: Section, typesetter: Typesetter) -> list[Measure]:
    """Return the widths that a section's columns ask for, measured from their headers, totals, a sample of
    the strings, and the least and greatest of all numbers.
    """
    samples = _samples(section.table)
    totals = [*section.totals, *(total for group in section.groups or () for total in group.totals)]
    measures = []
    for index, column in enumerate(section.table.columns):
        words = [typesetter.width(word, CELL, bold=True) for word in heading(column).split()] or [0]
        header = typesetter.width(heading(column), CELL, bold=True)
        widest, word, usual, mean = 0, 0, 0, 0
        cells = np.zeros(0, np.int64)
        for values in samples[index]:
            *extent, cells = _extent(typesetter, print_cells(column, values).strings)
            widest, word, usual, mean = extent
        if column.kind.is_number:
            widest = max([widest, *(_total_width(typesetter, column, total) for total in totals)])
            word = min(widest, _NUMBER)
        elif column.kind is Kind.DATE:
            word = widest
        elif column.kind.is_text:
            is_identifier = column.kind in _UNBROKEN and word == widest <= _IDENTIFIER
            if not is_identifier:
                word = max(min(word, _WORD), min(usual // _LINES, _NARROW))
        if column.width is not None:
            widest = max(min(units(round(column.width * 572), CELL), widest), word)
        least = max(max(words), word) + 2 * PAD_X
        preferred = max(widest, min(header, 2 * max(words))) + 2 * PAD_X
        compact = max(least, min(preferred, max(widest, _two_lines(typesetter, heading(column))) + 2 * PAD_X))
        cells = cells[:_BALANCED] + 2 * PAD_X
        measures.append(Measure(column, least, max(least, preferred), mean, compact, cells))
    return measures


def arrange(measures: Sequence[Measure], width: int) -> list[Strip]:
    """Arrange columns on pages `width` units wide: one strip if they fit, else several that each begin
    with the first column. More strips than necessary are used if wider long texts then fill fewer
    pages.
    """
    everything = list(range(len(measures)))
    if sum(m.least for m in measures) <= width:
        return [_strip(measures, everything, width)]
    lead = max(min(measures[0].least, width // 3), min(measures[0].preferred, width // 4))
    needs = [min(measure.least, width - lead) for measure in measures]
    fewest = len(_dealt(needs, width - lead))
    best: list[Strip] = []
    for count in range(fewest, min(fewest + _MORE + 1, len(measures))):
        strips = [_strip(measures, members, width, lead) for members in _even_out(needs, width - lead, count)]
        if not best or _pages(strips, measures) < _GAIN * _pages(best, measures):
            best = strips
    return best


def _pages(strips: Sequence[Strip], measures: Sequence[Measure]) -> float:
    """Return a relative page count of strips: the lines of a row in each of them."""
    lines = [max(measures[slot.index].mean / max(slot.width, 1) for slot in strip.slots) for strip in strips]
    return sum(lines) + len(strips) * _BESIDE


def _even_out(needs: Sequence[int], width: int, count: int) -> list[list[int]]:
    """Distribute columns evenly over at most this many strips."""
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
    """Distribute columns in order over strips of this width; every strip has the first column."""
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
    """Place columns side by side over the whole width; with `lead`, the first one is exactly that wide."""
    least = np.array([measures[i].least for i in members], np.int64)
    preferred = np.array([measures[i].preferred for i in members], np.int64)
    if preferred.sum() > width:
        # Headers wrap before texts do.
        preferred = np.array([measures[i].compact for i in members], np.int64)
    if lead:
        # A column as wide as the page is narrowed to the space beside the leading column.
        least = np.minimum(least, width - lead)
        preferred = np.maximum(least, np.minimum(preferred, width - lead))
        least[0] = preferred[0] = lead
    widths = preferred
    if preferred.sum() > width:
        widths = _share_width(least, preferred, width)
    if widths is not preferred and not lead:
        _balance(widths, least, preferred, [measures[i] for i in members])
    spare = width - int(widths.sum())
    texts = np.array([measures[i].column.kind.is_text for i in members])
    weight = np.where(texts, widths, 0)
    weight[0] = 0 if lead else weight[0]
    if not weight.any():
        weight = widths.copy()
        weight[0] = 0 if lead else weight[0]
    widths = widths + spare * weight // max(1, int(weight.sum()))
    slots, x = [], 0
    for index, wide in zip(members, widths.tolist(), strict=True):
        slots.append(Slot(measures[index].column, index, x + PAD_X, wide - 2 * PAD_X))
        x += wide
    return Strip(tuple(slots), width)


def _share_width(least: Ints, preferred: Ints, width: int) -> Ints:
    """Return widths between least and wanted that sum to `width`: columns that want little get all they
    want, the rest get equal shares.
    """
    low, high = 0, int(preferred.max())
    while low < high:
        level = (low + high + 1) // 2
        if np.clip(level, least, preferred).sum() <= width:
            low = level
        else:
            high = level - 1
    shared: Ints = np.clip(low, least, preferred)
    return shared


def _balance(widths: Ints, least: Ints, preferred: Ints, measures: Sequence[Measure]) -> None:
    """Move width from texts to other columns, in place, as long as that makes the sample's rows lower."""
    cells = [one.cells for one in measures]
    rows = min((column.size for column in cells), default=0)
    givers = [i for i, one in enumerate(measures) if one.column.kind.is_text and widths[i] > least[i]]
    takers = np.flatnonzero(widths < preferred).tolist()
    if not rows or len(givers) * len(takers) > _MOST_BALANCED:
        return
    lines = np.array([_lines(column[:rows], wide) for column, wide in zip(cells, widths, strict=True)])
    best = _cost(lines)
    for step in (_STEP * 10, _STEP * 4, _STEP):
        is_better = True
        while is_better:
            is_better = False
            for giver in givers:
                for taker in takers:
                    moved = min(
                        step, int(widths[giver] - least[giver]), int(preferred[taker] - widths[taker])
                    )
                    if giver == taker or moved <= 0:
                        continue
                    tried = lines.copy()
                    tried[giver] = _lines(cells[giver][:rows], widths[giver] - moved)
                    tried[taker] = _lines(cells[taker][:rows], widths[taker] + moved)
                    cost = _cost(tried)
                    if cost < best:
                        widths[giver] -= moved
                        widths[taker] += moved
                        lines, best, is_better = tried, cost, True


def _cost(lines: Ints) -> int:
    """Return what is to be small: the heights of rows, and with less weight the number of broken cells."""
    return int(lines.max(axis=0).sum() * len(lines) + lines.sum())


def _lines(cells: Ints, width: int) -> Ints:
    """Return about how many lines cells take in a column; where they break, some of the width is lost."""
    room = max(int(width), 1)
    return np.where(cells <= room, 1, np.maximum(-(-cells * _LOSS // (room * 100)), 2))


def _samples(table: Table) -> list[list[pa.Array]]:
    """Return sample cells of every column, however the source splits its batches."""
    rest = max(0, table.rows - _SAMPLE)
    step = max(_WINDOW, -(-rest // _WINDOWS))
    starts = np.array([0, *range(_SAMPLE, table.rows, step)], np.int64)
    ends = np.minimum(starts + np.where(starts, _WINDOW, _SAMPLE), table.rows)
    samples: list[list[pa.Array]] = [[] for _ in table.columns]
    at = 0
    for batch in batches(table.open()):
        low, high = np.maximum(starts - at, 0), np.minimum(ends - at, batch.num_rows)
        for index, column in enumerate(table.columns):
            values = batch.column(index)
            if rest and column.kind.is_number and not pa.types.is_null(values.type):
                finite = to_finite_decimals(values)
                reach = pc.min_max(finite)
                samples[index].append(pa.array([reach["min"], reach["max"]], finite.type).cast(values.type))
            for window in np.flatnonzero(low < high):
                samples[index].append(copy_array(values.slice(low[window], high[window] - low[window])))
        at += batch.num_rows
    return [[pa.concat_arrays(parts)] if parts else [] for parts in samples]


def _extent(typesetter: Typesetter, strings: pa.Array) -> tuple[int, int, int, int, Ints]:
    """Return the widest cell, the widest word, the 90th percentile, the mean, and the width of each cell,
    in page units.
    """
    font = typesetter.regular
    glyphs = typesetter.encode(strings, where=None)
    edges = np.zeros(glyphs.cids.size + 1, np.int64)
    np.cumsum(font.widths[glyphs.cids], out=edges[1:])
    newlines = glyphs.cids == NEWLINE
    parts = newlines | ((font.properties[glyphs.cids] & (SPACE | IDEOGRAPH)) != 0)
    begins_line = np.append(newlines, False)
    begins_line[glyphs.starts] = True
    begins_word = begins_line.copy()
    begins_word[:-1] |= parts
    begins_word[1:] |= parts
    whole = np.diff(edges[begins_line]) if glyphs.cids.size else np.zeros(1, np.int64)
    word_widths = np.diff(edges[begins_word]) if glyphs.cids.size else np.zeros(1, np.int64)
    cells = np.diff(edges[glyphs.starts]) if len(strings) else np.zeros(1, np.int64)
    usual = int(np.sort(cells)[cells.size * 9 // 10])
    widths = (int(whole.max()), int(word_widths.max()), usual, int(cells.mean()))
    widest, longest_word, usual, mean = (units(width, CELL) for width in widths)
    return widest, longest_word, usual, mean, cells * CELL // 1000


def _two_lines(typesetter: Typesetter, header: str) -> int:
    """Return the least width at which a header takes two lines."""
    words = header.split()
    lines = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))] or [(header, "")]
    return min(max(typesetter.width(line, CELL, bold=True) for line in pair) for pair in lines)


def _total_width(typesetter: Typesetter, column: Column, total: Total) -> int:
    value = total.values.get(column.name)
    return 0 if value is None else typesetter.width(number_text(column, value), CELL, bold=True)
