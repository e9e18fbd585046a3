"""Lines that a text takes in a cell that wraps, by the letter widths of the workbook's font."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_DIGIT = 100
"""Unit of lengths: a hundredth of a digit's width, which is what a column's width counts."""
_LETTERS = (
    45, 64, 79, 98, 100, 141, 135, 44, 60, 60, 98, 98, 49, 60, 50, 76, 100, 100, 100, 100, 100, 100, 100,
    100, 100, 100, 53, 53, 98, 98, 98, 91, 176, 114, 107, 105, 121, 96, 91, 124, 123, 50, 63, 103, 83, 169,
    127, 131, 102, 133, 107, 91, 96, 127, 112, 176, 102, 96, 92, 61, 76, 61, 98, 98, 57, 95, 104, 83, 104,
    98, 60, 93, 104, 45, 47, 90, 45, 158, 104, 104, 104, 104, 69, 77, 66, 104, 89, 141, 85, 89, 78, 62, 91,
    62, 98,
)  # fmt: skip
"""Widths in Calibri of the characters from space to tilde."""
_PADDING = 200
"""Padding of a cell, and the indent of a text in it."""
_IDEOGRAPH = 0xE3
"""First byte, in UTF-8, of characters that are two digits wide and may begin a line."""


def _byte_widths() -> Ints:
    """Return the width of each byte of UTF-8: a character's width stands at its first byte."""
    widths = np.zeros(256, np.int64)
    widths[0x20 : 0x20 + len(_LETTERS)] = _LETTERS
    widths[0xC2:_IDEOGRAPH] = 115
    widths[_IDEOGRAPH:] = 205
    return widths


_WIDTHS = _byte_widths()
_SPACE, _NEWLINE = 0x20, 0x0A


def wrapped_lines(texts: pa.Array, width: float, most: int) -> pa.Array:
    """Return how many lines each string takes (int64, 1 to `most`) if lines break between words.

    Args:
        texts: Strings.
        width: Width of the column in characters.
        most: Lines beyond which nothing is counted.
    """
    texts = pc.fill_null(texts if pa.types.is_string(texts.type) else texts.cast(pa.string()), "")
    room = max(round(width * _DIGIT) - _PADDING, _DIGIT)
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    lines = np.ones(len(texts), np.int64)
    if not len(texts) or bounds[0] == bounds[-1]:
        return pa.array(lines)
    letters = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    bounds -= bounds[0]
    edges = np.zeros(letters.size + 1, np.int64)
    np.cumsum(_WIDTHS[letters], out=edges[1:])
    newlines = np.flatnonzero(letters == _NEWLINE) + 1
    tall = edges[bounds[1:]] - edges[bounds[:-1]] > room
    tall[np.searchsorted(bounds, newlines - 1, side="right") - 1] = True
    rows = np.flatnonzero(tall)
    if rows.size:
        lines[rows] = _count(letters, edges, newlines, bounds[rows], bounds[rows + 1], room, most)
    return pa.array(lines)


def _count(
    letters: NDArray[np.uint8], edges: Ints, newlines: Ints, begin: Ints, end: Ints, room: int, most: int
) -> Ints:
    """Return the lines of the texts from `begin` to `end`, found line by line for all of them at once."""
    # A line may begin after a space, and at an ideograph.
    starts = np.flatnonzero((letters == _SPACE) | (letters >= _IDEOGRAPH))
    starts += letters[starts] == _SPACE
    lines = np.ones(begin.size, np.int64)
    active, at = np.arange(begin.size), begin
    for _ in range(most - 1):
        stop = end[active]
        if newlines.size:
            forced = newlines[np.minimum(np.searchsorted(newlines, at, "right"), newlines.size - 1)]
            stop = np.where((forced > at) & (forced <= stop), forced, stop)
        fits = edges[stop] - edges[at] <= room
        is_more = ~fits | (stop < end[active]) | ((letters[stop - 1] == _NEWLINE) & (at < stop))
        at, fits, stop, active = at[is_more], fits[is_more], stop[is_more], active[is_more]
        if not active.size:
            break
        lines[active] += 1
        at = np.where(fits, stop, _next_lines(letters, edges, starts, at, room))
    return lines


def _next_lines(letters: NDArray[np.uint8], edges: Ints, starts: Ints, at: Ints, room: int) -> Ints:
    """Return where the lines after those that begin `at` begin, as far as texts are wider than the room."""
    reach = np.searchsorted(edges, edges[at] + room, side="right") - 1
    # A space at the end of a line takes no room.
    reach += letters[np.minimum(reach, letters.size - 1)] == _SPACE
    before = np.searchsorted(starts, reach, "right")
    # A text may reach no start: the line would begin at the last one of all texts.
    following = np.where(before > 0, starts[before - 1], at) if starts.size else at.copy()
    for index in np.flatnonzero(following <= at).tolist():
        # A word wider than a line is broken before the first character that does not fit.
        place = max(int(reach[index]), int(at[index]) + 1)
        while place < letters.size and letters[place] & 0xC0 == 0x80:
            place += 1
        following[index] = place
    return following
