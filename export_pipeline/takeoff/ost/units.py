"""Units of measure: the names that people write, and On-Screen Takeoff's codes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_INCHES_OF_A_METER = 1000 / 25.4


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure.

    Attributes:
        name: Name in warnings.
        code: UOM code.
        inches: Size in inches, square inches or cubic inches; 1 for pieces.
    """

    name: str
    code: int
    inches: float


_UNITS: dict[str, dict[str, Unit]] = {
    "linear": {
        "lf ft foot feet lft linft": Unit("LF", 2, 12.0),
        "in inch inches": Unit("IN", 1, 1.0),
        "ly yd yard yards": Unit("LY", 3, 36.0),
        "m lm rm meter meters metre metres": Unit("M", 13, _INCHES_OF_A_METER),
        "mm": Unit("MM", 11, _INCHES_OF_A_METER / 1000),
    },
    "area": {
        "sf sqft ft2": Unit("SF", 5, 144.0),
        "sy sqyd yd2": Unit("SY", 6, 1296.0),
        "sqin in2": Unit("SQ IN", 4, 1.0),
        "m2 sqm qm": Unit("M2", 14, _INCHES_OF_A_METER**2),
        "mm2 sqmm": Unit("MM2", 12, (_INCHES_OF_A_METER / 1000) ** 2),
    },
    "volume": {
        "cy cuyd yd3": Unit("CY", 9, 46656.0),
        "cf cuft ft3": Unit("CF", 8, 1728.0),
        "m3 cum cbm": Unit("M3", 16, _INCHES_OF_A_METER**3),
        "mm3 cumm": Unit("MM3", 15, (_INCHES_OF_A_METER / 1000) ** 3),
    },
    "count": {"ea each pc pcs no nr": Unit("EA", 0, 1.0)},
}
_BY_NAME = {
    kind: {name: unit for names, unit in units.items() for name in names.split()}
    for kind, units in _UNITS.items()
}
_POWERS = str.maketrans("²³", "23")
_IGNORED = re.compile(r"[\s.^_-]+")

KINDS = tuple(_UNITS)
"""Measurement types that have units."""


def find_unit(kind: str, name: str | None) -> Unit | None:
    """Return the unit in which people measure a kind by this name, e.g. "m²" or "sq. ft."."""
    return _BY_NAME[kind].get(_IGNORED.sub("", (name or "").lower()).translate(_POWERS))


def find_kind(name: str | None) -> str | None:
    """Return the measurement type that has a unit of this name."""
    return next((kind for kind in KINDS if find_unit(kind, name)), None)


def default_unit(kind: str) -> Unit:
    """Return the first unit of a measurement type: LF, SF, CY or EA."""
    return next(iter(_UNITS[kind].values()))
