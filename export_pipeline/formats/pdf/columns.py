"""How wide the columns of a table are, and which of them share a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_pipeline.formats.pdf.cells import number_text, printed
from export_pipeline.formats.pdf.characters import IDEOGRAPH, SPACE
from export_pipeline.formats.pdf.font import NEWLINE
from export_pipeline.formats.pdf.style import CELL, PAD_X, UNIT
from export_pipeline.formats.pdf.typeset import Typesetter, units
from export_pipeline.model.columns import Column
from export_pipeline.model.layout import Section, Total

Ints = NDArray[np.int64]

_SAMPLE = 2_000
_WORD = 70 * UNIT
"""A text column is not made narrower than its longest word, unless that is wider than this."""
_NUMBER = 130 * UNIT
"""A number is broken over lines only where it is wider than this."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a column asks for, in page units: the least it can do with and what it would like."""

    column: Column
    least: int
    wanted: int


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


def measure(section: Section, typesetter: Typesetter, null_text: str) -> list[Measure]:
    """The widths a section's columns ask for, from their headers, totals and first rows."""
    sample = _sample(section)
    totals = [*section.totals, *(total for group in section.groups or () for total in group.totals)]
    measures = []
    for index, column in enumerate(section.table.columns):
        words = [typesetter.width(word, CELL, bold=True) for word in column.header.split()] or [0]
        header = typesetter.width(column.header, CELL, bold=True)
        widest, word = 0, 0
        if sample is not None:
            strings = printed(column, sample.column(index), null_text).strings
            widest, word = _extent(typesetter, strings)
        if column.kind.is_number:
            widest = max([widest, *(_total_width(typesetter, column, total) for total in totals)])
            word = min(widest, _NUMBER)
        elif column.kind.is_text:
            word = min(word, _WORD)
        if column.width is not None:
            widest = max(units(round(column.width * 572), CELL), word)
        least = max(max(words), word) + 2 * PAD_X
        wanted = max(widest, min(header, 2 * max(words))) + 2 * PAD_X
        measures.append(Measure(column, least, max(least, wanted)))
    return measures


def arrange(measures: Sequence[Measure], width: int) -> list[Strip]:
    """Columns on pages `width` units wide: one strip if they fit, else several, each beginning with the
    first column."""
    everything = list(range(len(measures)))
    if sum(m.least for m in measures) <= width:
        return [_strip(measures, everything, width)]
    lead = max(min(measures[0].least, width // 3), min(measures[0].wanted, width // 4))
    strips: list[list[int]] = [[0]]
    used = lead
    for index in everything[1:]:
        need = min(measures[index].least, width - lead)
        if used + need > width and len(strips[-1]) > 1:
            strips.append([0])
            used = lead
        strips[-1].append(index)
        used += need
    return [_strip(measures, members, width, lead) for members in strips]


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


def _sample(section: Section) -> pa.RecordBatch | None:
    """The first rows, however the source cuts its batches; None where there are none."""
    found: list[pa.RecordBatch] = []
    missing = _SAMPLE
    for batch in section.table.open():
        if batch.num_rows:
            found.append(batch.slice(0, missing))
            missing -= found[-1].num_rows
        if not missing:
            break
    return pa.Table.from_batches(found).combine_chunks().to_batches()[0] if found else None


def _extent(typesetter: Typesetter, strings: pa.Array) -> tuple[int, int]:
    """The widest cell and the widest word of a column, in page units."""
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
    return units(int(whole.max()), CELL), units(int(words.max()), CELL)


def _total_width(typesetter: Typesetter, column: Column, total: Total) -> int:
    value = total.values.get(column.name)
    return 0 if value is None else typesetter.width(number_text(column, value), CELL, bold=True)
