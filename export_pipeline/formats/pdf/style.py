"""Measures and colors of the pages. Lengths on pages are integers in UNITs of a twentieth of a point."""

from __future__ import annotations

UNIT = 20
"""Page units per point."""

PAPERS = {
    "letter": (612.0, 792.0),
    "a4": (595.276, 841.89),
    "a3": (841.89, 1190.551),
    "legal": (612.0, 1008.0),
}
"""Portrait width and height of each paper, in points."""

MARGIN = 46 * UNIT
FOOTER = 40 * UNIT
"""Height from the foot of the page that is reserved for the footer."""

INK = b"0.13 0.15 0.18 rg"
MUTED = b"0.42 0.46 0.52 rg"
ACCENT = b"0.169 0.341 0.604 rg"
WHITE = b"1 1 1 rg"
LINK = b"0.11 0.33 0.66 rg"
ZEBRA = b"0.941 0.957 0.973 rg"
TOTAL = b"0.886 0.914 0.949 rg"
PAPER = b"0.988 0.992 0.996 rg"
RULE = b"0.776 0.812 0.859 RG"

CELL = 8 * UNIT
LEADING = 10 * UNIT + UNIT // 2
PAD_X = 4 * UNIT
PAD_Y = 2 * UNIT + UNIT // 2
SMALL = 8 * UNIT
BODY = 9 * UNIT
CHAPTER = 14 * UNIT
GROUP = 11 * UNIT
TITLE = 20 * UNIT


def color(text: str | None) -> tuple[float, float, float]:
    """Return the red, green and blue, 0 to 1, of "#RRGGBB" or "#RGB"; gray for anything else."""
    digits = (text or "").strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(d * 2 for d in digits)
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        return (0.4, 0.4, 0.4)
    return (red / 255, green / 255, blue / 255)
