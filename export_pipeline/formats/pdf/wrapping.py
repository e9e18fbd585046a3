"""Break cells into lines, all cells of a column at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export_pipeline.formats.pdf.characters import CLOSES, IDEOGRAPH, OPENS, SPACE
from export_pipeline.formats.pdf.font import NEWLINE, DocumentFont
from export_pipeline.formats.pdf.text import Glyphs

Ints = NDArray[np.int64]


@dataclass(slots=True)
class Lines:
    """The lines of many cells: end to end, in print order.

    Attributes:
        cids: Glyphs in visual order, newlines left out; shape (n,).
        bounds: Start of each line in `cids`, and the end; shape (lines + 1,).
        first: The first line of each cell, and the end; shape (cells + 1,). Every cell has a line.
        widths: Width of each line in EM units, without trailing spaces; shape (lines,).
        rtl: Mask of right-to-left cells, or None; shape (cells,).
    """

    cids: NDArray[np.uint16]
    bounds: Ints
    first: Ints
    widths: Ints
    rtl: NDArray[np.bool_] | None

    @property
    def counts(self) -> Ints:
        """Number of lines of each cell."""
        return np.diff(self.first)


def wrap(font: DocumentFont, glyphs: Glyphs, limit: int) -> Lines:
    """Break every cell into lines no wider than `limit` EM units: at its newlines, at spaces and between
    ideographs, and inside a word only if the word alone is wider.
    """
    cids, starts = glyphs.cids, glyphs.starts
    cells = starts.size - 1
    edges = np.zeros(cids.size + 1, np.int64)
    np.cumsum(font.widths[cids], out=edges[1:])
    newlines = np.flatnonzero(cids == NEWLINE)
    whole = edges[starts[1:]] - edges[starts[:-1]]
    if not newlines.size and (not cells or int(whole.max()) <= limit):
        lines = Lines(cids, starts, np.arange(cells + 1, dtype=np.int64), whole, glyphs.rtl)
    else:
        lines = _break_words(font, glyphs, limit, edges, newlines)
    if glyphs.levels is not None:
        kept = glyphs.levels if not newlines.size else glyphs.levels[cids != NEWLINE]
        lines.cids = _visual(font, lines, kept)
    return lines


def _break_words(font: DocumentFont, glyphs: Glyphs, limit: int, edges: Ints, newlines: Ints) -> Lines:
    cids, starts = glyphs.cids, glyphs.starts
    n, cells = cids.size, starts.size - 1
    owner, begin, end = _paragraphs(starts, newlines)
    flags = font.properties[cids]
    spaces = (flags & SPACE) != 0
    positions = np.arange(n + 1, dtype=np.int64)
    may_break = np.zeros(n + 1, bool)
    before, after = flags[:-1], flags[1:]
    may_break[1:-1] = (
        (spaces[:-1] | (((before | after) & IDEOGRAPH) != 0))
        & ~spaces[1:]
        & ((after & CLOSES) == 0)
        & ((before & OPENS) == 0)
    )
    last_break = np.maximum.accumulate(np.where(may_break, positions, 0))
    past_spaces = np.minimum.accumulate(np.where(np.append(~spaces, True), positions, n)[::-1])[::-1]

    found_owner: list[Ints] = []
    found_begin: list[Ints] = []
    found_end: list[Ints] = []
    active = np.arange(begin.size)
    here = begin
    while active.size:
        stop = end[active]
        fits = np.minimum(np.searchsorted(edges, edges[here] + limit, side="right") - 1, stop)
        inner = np.minimum(fits, n - 1)
        hanging = spaces[inner] & (fits < stop)
        back = last_break[fits]
        cut = np.where(back > here, back, np.maximum(fits, here + 1))
        cut = np.where(hanging, past_spaces[fits], cut)
        cut = np.where(fits >= stop, stop, np.minimum(cut, stop))
        found_owner.append(owner[active])
        found_begin.append(here)
        found_end.append(cut)
        left = cut < stop
        active, here = active[left], cut[left]

    line_owner, line_begin, line_end = map(np.concatenate, (found_owner, found_begin, found_end))
    order = np.lexsort((line_begin, line_owner))
    line_owner, line_begin, line_end = line_owner[order], line_begin[order], line_end[order]
    past_ink = np.maximum.accumulate(np.where(np.append(True, ~spaces), positions, 0))
    ink_end = np.maximum(past_ink[line_end], line_begin)
    first = np.searchsorted(line_owner, np.arange(cells + 1)).astype(np.int64)
    widths = edges[ink_end] - edges[line_begin]
    if newlines.size:
        printed = cids != NEWLINE
        kept = np.zeros(n + 1, np.int64)
        np.cumsum(printed, out=kept[1:])
        cids = cids[printed]
        line_begin, line_end = kept[line_begin], kept[line_end]
    bounds = np.append(line_begin, line_end[-1:])
    return Lines(cids, bounds, first, widths, glyphs.rtl)


def _paragraphs(starts: Ints, newlines: Ints) -> tuple[Ints, Ints, Ints]:
    """Split the cells at newlines: (cell, begin, end) of each paragraph, in order."""
    cells = starts.size - 1
    owner = np.concatenate([np.arange(cells), np.searchsorted(starts, newlines, side="right") - 1])
    begin = np.concatenate([starts[:-1], newlines + 1])
    order = np.lexsort((begin, owner))
    owner, begin = owner[order], begin[order]
    cell_end = starts[1:][owner]
    last = np.append(owner[1:] != owner[:-1], True) if owner.size else np.zeros(0, bool)
    end = np.where(last, cell_end, np.append(begin[1:], 0) - 1)
    leading = np.insert(owner[1:] != owner[:-1], 0, True) if owner.size else np.zeros(0, bool)
    # A newline at the very end of a cell starts no new line.
    kept = leading | ~(last & (begin == end))
    return owner[kept], begin[kept], end[kept]


def _visual(font: DocumentFont, lines: Lines, levels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Reorder the glyphs of every line from logical to visual order (rule L2 of the bidi algorithm)."""
    n = lines.cids.size
    line_of = np.repeat(np.arange(lines.bounds.size - 1), np.diff(lines.bounds))
    levels = levels.copy()
    if lines.rtl is not None:
        # Trailing spaces take the direction of the paragraph (rule L1).
        cell_of = np.searchsorted(lines.first, line_of, side="right") - 1
        ends = lines.bounds[1:][line_of]
        ink = np.where((font.properties[lines.cids] & SPACE) == 0, np.arange(n), -1)
        last_ink = np.full(lines.bounds.size - 1, -1)
        np.maximum.at(last_ink, line_of, ink)
        tail = (np.arange(n) > last_ink[line_of]) & (np.arange(n) < ends)
        levels[tail] = lines.rtl[cell_of[tail]]
    order = np.arange(n)
    for level in range(int(levels.max(initial=0)), 0, -1):
        high = levels >= level
        opens = high.copy()
        opens[1:] &= ~high[:-1] | (line_of[1:] != line_of[:-1])
        closes = high.copy()
        closes[:-1] &= ~high[1:] | (line_of[1:] != line_of[:-1])
        runs = np.cumsum(opens)[high] - 1
        mirror = np.flatnonzero(opens)[runs] + np.flatnonzero(closes)[runs] - np.flatnonzero(high)
        turned = np.arange(n)
        turned[high] = mirror
        order, levels = order[turned], levels[turned]
    return lines.cids[order]
