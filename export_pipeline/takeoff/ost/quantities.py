"""Quantities of On-Screen Takeoff conditions, computed from the positions of their takeoffs alone."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from export_pipeline.takeoff.ost import contract

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
"""A plain decimal: no exponent, no sign but minus."""

_WRONG_POSITION = 'Position must be plain numbers joined by ";" and ended by a newline.'
# With these characters alone, float() accepts no exponent, sign or blank that importers would reject.
_POSITION = re.compile(r"[-0-9.;]+\n")


class Quantity(NamedTuple):
    """A condition's first quantity, computed from positions, scale and thickness alone."""

    ref_no: int
    name: str
    value: float
    unit: str


@dataclass(slots=True)
class Condition:
    """The state of a condition while its takeoffs are added.

    Attributes:
        type, result, unit: Its Type, Quantity1 and UOM1 codes.
        thickness: Inches.
        raw: Sum of the takeoffs added so far, in inches, square inches or pieces.
    """

    ref_no: int
    name: str
    type: int
    result: int
    unit: int
    thickness: float
    raw: float = 0.0

    def add(self, position: str, *, curved: bool, hole: bool, negative: bool = False) -> str | None:
        """Add a takeoff's position; return its problem, or None. A hole has the sign of its polygon."""
        if not _POSITION.fullmatch(position):
            return _WRONG_POSITION
        try:
            values = list(map(float, position.split(";")))
        except ValueError:
            return _WRONG_POSITION
        count, sign = len(values), -1.0 if negative else 1.0
        if self.type == contract.LINEAR:
            if count not in ((6, 7) if curved else (4,)):
                return f"A straight segment has 4 numbers, a curved one 6 or 7, not {count}; split it."
            self.raw += sign * math.hypot(values[2] - values[0], values[3] - values[1])
        elif self.type == contract.AREA:
            if count < 6 or count % 2:
                return f"A polygon has 3 or more pairs of numbers; this has {count} numbers."
            if values[:2] == values[-2:]:
                return "The first point is repeated at the end; leave it out."
            self.raw += sign * (-_area(values) if hole else _area(values))
        else:
            if count != 2:
                return f"A counted item has 2 numbers, not {count}."
            self.raw += sign
        return None

    def quantity(self) -> Quantity:
        """Return the quantity of the takeoffs added so far."""
        unit, inches = contract.UNITS.get(self.unit, ("", 1.0))
        factors = {
            (contract.LINEAR, 1): 1.0,
            (contract.AREA, 11): 1.0,
            (contract.AREA, 21): self.thickness,
            (contract.COUNT, 23): 1.0,
        }
        factor = factors.get((self.type, self.result), math.nan)
        return Quantity(self.ref_no, self.name, self.raw * factor / inches, unit)


def _area(values: list[float]) -> float:
    x, y = values[0::2], values[1::2]
    left, top = x[0], y[0]
    # Relative to the first corner, so that an area far from the origin keeps its precision.
    doubled, x1, y1 = 0.0, 0.0, 0.0
    for x2, y2 in zip(x, y, strict=True):
        x2 -= left
        y2 -= top
        doubled += x1 * y2 - x2 * y1
        x1, y1 = x2, y2
    return abs(doubled) / 2
