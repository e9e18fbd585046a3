"""Highlights of cells for people: bars, colour scales, and colours of cells that meet a condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Color: TypeAlias = Literal["red", "amber", "green", "blue"]
Look: TypeAlias = Literal["data_bar", "color_scale"]


@dataclass(frozen=True, slots=True)
class Highlight:
    """One highlight of a column's cells, as the values are shown.

    Attributes:
        column: Name of the column.
        look: A bar in each cell from zero on, or a scale from the least to the greatest value; None for a
            condition.
        below, above: Cells with a smaller, a greater number; None for none.
        values: Cells with one of these values.
        color: Colour of the cells that meet the condition.
    """

    column: str
    look: Look | None = None
    below: float | None = None
    above: float | None = None
    values: tuple[str | bool | float, ...] = ()
    color: Color = "amber"
