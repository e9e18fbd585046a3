"""Measures and colors of the pages. Lengths on pages are integers in UNITs of a twentieth of a point."""

from __future__ import annotations

from dataclasses import dataclass

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
MISSING = b"0.38 0.42 0.48 rg"
"""Fill of what stands for a missing value: paler than data, and dark enough on the band of any accent."""
WHITE = b"1 1 1 rg"
LINK = b"0.11 0.33 0.66 rg"
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


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a document, which follow from its accent; red, green and blue are 0 to 1.

    Attributes:
        accent_rgb: The accent itself.
        heading: Fill of headings: the accent, or ink where it would be too pale on paper.
        accent, on_accent: Fill of header rows, and of the text on them.
        zebra, total: Fill of every second row, and of totals.
    """

    accent_rgb: tuple[float, float, float]
    heading: bytes
    accent: bytes
    on_accent: bytes
    zebra: bytes
    total: bytes

    @staticmethod
    def of(text: str) -> Theme:
        """Return the theme of an accent "#RRGGBB"; the default one for ""."""
        rgb = color(text) if text else _ACCENT
        against_white = 1.05 / (_luminance(rgb) + 0.05)
        return Theme(
            rgb,
            heading=_fill(rgb) if against_white >= _LEAST_CONTRAST else INK,
            accent=_fill(rgb),
            on_accent=WHITE if against_white >= _LEAST_CONTRAST else INK,
            zebra=_fill(_tint(rgb, 0.07)),
            total=_fill(_tint(rgb, 0.14)),
        )


_ACCENT = (0.169, 0.341, 0.604)
_LEAST_CONTRAST = 4.5
"""Contrast of text that people with weak eyes can read (WCAG 2, AA)."""


def _luminance(rgb: tuple[float, float, float]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _tint(rgb: tuple[float, float, float], share: float) -> tuple[float, float, float]:
    red, green, blue = (1 - share * (1 - part) for part in rgb)
    return red, green, blue


def _fill(rgb: tuple[float, float, float]) -> bytes:
    return b"%.3f %.3f %.3f rg" % rgb


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
