"""Scales of drawing pages: pixels per real foot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_FEET = {
    "foot": 1.0,
    "inch": 1 / 12,
    "yard": 3.0,
    "meter": 1 / 0.3048,
    "centimeter": 0.01 / 0.3048,
    "millimeter": 0.001 / 0.3048,
}
_NAMES = {
    "feet": "foot",
    "ft": "foot",
    "inches": "inch",
    "in": "inch",
    "yards": "yard",
    "yd": "yard",
    "meters": "meter",
    "metre": "meter",
    "metres": "meter",
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
}


def pixels_per_foot(page: Mapping[str, Any]) -> float | None:
    """Return the scale of a page; None if it has none.

    `scale_value` counts pixels per `scale_unit`, by default a foot.
    """
    value = page.get("scale_value")
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    unit = (page.get("scale_unit") or "foot").strip().lower()
    feet = _FEET.get(_NAMES.get(unit, unit), 1.0)
    return float(value / feet)
