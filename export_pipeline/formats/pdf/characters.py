"""Layout properties of every code point, as one table for numpy look-ups."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

COMPLEX = 1
"""Needs shaping: joined or reordered scripts, right-to-left scripts, combining marks, emoji sequences."""
SPACE = 2
"""A line may end after it, and it may hang over the edge of a column."""
IDEOGRAPH = 4
"""A line may end before and after it."""
CLOSES = 8
"""Never begins a line (closing brackets and stops of CJK)."""
OPENS = 16
"""Never ends a line (opening brackets of CJK)."""
CONTROL = 32
"""Prints as the replacement character: C0 and C1 controls, surrogates, noncharacters."""

CODE_POINTS = 0x110000

_COMPLEX = (
    (0x0300, 0x036F), (0x0483, 0x0489), (0x0590, 0x109F), (0x1100, 0x11FF), (0x135D, 0x135F),
    (0x1700, 0x18AF), (0x1920, 0x1AFF), (0x1B00, 0x1C4F), (0x1CD0, 0x1CFF), (0x1DC0, 0x1DFF),
    (0x200C, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069), (0x20D0, 0x20FF), (0x2CEF, 0x2CF1),
    (0x2D7F, 0x2D7F), (0x2DE0, 0x2DFF), (0x302A, 0x302F), (0x3099, 0x309A), (0xA66F, 0xA67D),
    (0xA69E, 0xA69F), (0xA6F0, 0xA6F1), (0xA800, 0xABFF), (0xD7B0, 0xD7FF), (0xFB1D, 0xFDFF),
    (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xFE70, 0xFEFE), (0x10800, 0x10FFF), (0x11000, 0x11FFF),
    (0x16AF0, 0x16AF4), (0x16B30, 0x16B36), (0x1E000, 0x1E02F), (0x1E130, 0x1E136), (0x1E2EC, 0x1E2EF),
    (0x1E800, 0x1EEFF), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE01EF),
)  # fmt: skip
_IDEOGRAPHS = (
    (0x2E80, 0x9FFF), (0xA000, 0xA4CF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0xFE30, 0xFE4F),
    (0xFF00, 0xFFEF), (0x1F300, 0x1FAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
_CLOSING = "、。〃々〉》」』】〕〗〙〛！％），．：；？］｝～・ーゝゞヽヾぁぃぅぇぉっゃゅょァィゥェォッャュョ"
_OPENING = "〈《「『【〔〖〘〚（［｛"
_CONTROLS = ((0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0xD800, 0xDFFF), (0xFDD0, 0xFDEF))

NEWLINES = (0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029)
"""Code points that always end a line."""


@cache
def properties() -> NDArray[np.uint8]:
    """Return the flags above by code point; shape (0x110000,)."""
    table = np.zeros(CODE_POINTS, np.uint8)

    def mark(ranges: tuple[tuple[int, int], ...], flag: int) -> None:
        for low, high in ranges:
            table[low : high + 1] |= flag

    mark(_COMPLEX, COMPLEX)
    mark(_IDEOGRAPHS, IDEOGRAPH)
    mark(_CONTROLS, CONTROL)
    table[np.arange(0xFFFE, CODE_POINTS, 0x10000)] |= CONTROL
    table[np.arange(0xFFFF, CODE_POINTS, 0x10000)] |= CONTROL
    table[[ord(c) for c in _CLOSING]] |= CLOSES
    table[[ord(c) for c in _OPENING]] |= OPENS
    table[[0x09, 0x20, 0x200B, 0x3000, *range(0x2000, 0x2007), *range(0x2008, 0x200B)]] |= SPACE
    table[0x3000] &= ~np.uint8(IDEOGRAPH)
    return table
