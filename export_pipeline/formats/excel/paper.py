"""Printed sheets: the paper, and how many pages wide a sheet is, so that its text stays readable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export_pipeline.formats.excel.names import utf16_head

PAPERS = {"letter": (1, 8.5, 11.0), "legal": (5, 8.5, 14.0), "a4": (9, 8.27, 11.69), "a3": (8, 11.69, 16.54)}
"""Excel's number of each paper, its width and its height in inches."""
MARGINS = 1.0  # inches, left and right together
_FONT = 11  # points
_LEAST, _LEAST_UPRIGHT = 6, 7  # points of the printed font: on any page, and on an upright one
_MAX_ACROSS = 100
_LONGEST_FOOTER = 200  # characters; Excel refuses more than 255 in all


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a printed sheet: Excel's number of its paper, its orientation, and pages side by side."""

    paper: int
    orientation: str
    across: int


def fit_pages(widths: Sequence[float], paper: str) -> Page:
    """Return the page of a sheet: upright if the columns fit in a font of at least 7 points, else across; as
    many pages wide as a font of at least 6 points needs. Each page begins with the first column.

    Args:
        widths: Widths of the columns in characters.
        paper: Name of the paper.
    """
    number, width, height = PAPERS[paper]
    inches = [(characters * 7 + 5) / 96 for characters in widths]
    if sum(inches) <= (width - MARGINS) * _FONT / _LEAST_UPRIGHT:
        return Page(number, "portrait", 1)
    room = (height - MARGINS) * _FONT / _LEAST
    across, used = 1, 0.0
    for index, inch in enumerate(inches):
        if used + inch > room and used:
            across, used = across + 1, inches[0] if index else 0.0
        used += inch
    return Page(number, "landscape", min(across, _MAX_ACROSS))


def footer_code(text: str, *, names_sheet: bool) -> str:
    """Return the code of a page's footer: a text, after the sheet's name if wanted, and the page numbers."""
    text = ("&A · " if names_sheet else "") + text.replace("&", "&&")
    return f"&L{utf16_head(text, _LONGEST_FOOTER)}&RPage &P of &N"
