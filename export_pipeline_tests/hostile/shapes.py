"""Geometry JSON read one row at a time, as the format of the application says and nothing cleverer."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def points_of(kind: str | None, text: str | None) -> tuple[str, np.ndarray | None]:
    """The shape of a measurement (line, polyline, polygon, point) and its corners; None if unreadable."""
    try:
        data = json.loads(text or "")
    except (ValueError, RecursionError):
        return "none", None
    if not isinstance(data, dict):
        return "none", None
    try:
        return _read(kind, data)
    except (KeyError, TypeError, ValueError, OverflowError):
        return "none", None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _pair(value: Any) -> tuple[float, float]:
    return _number(value["x"]), _number(value["y"])


def _read(kind: str | None, data: dict[str, Any]) -> tuple[str, np.ndarray | None]:
    if kind == "line":
        return kind, np.array([_pair(data["start"]), _pair(data["end"])])
    if kind == "point":
        return kind, np.array([_pair(data)])
    if kind in ("polyline", "polygon"):
        if not isinstance(data["points"], list):
            return "none", None
        corners = [_pair(point) for point in data["points"]]
        if kind == "polygon" and len(corners) > 1 and corners[0] == corners[-1]:
            corners.pop()
        return (
            (kind, np.array(corners)) if len(corners) >= (2 if kind == "polyline" else 3) else ("none", None)
        )
    if kind == "rectangle":
        x, y, width, height = (_number(data[name]) for name in ("x", "y", "width", "height"))
        turn = math.radians(_number(data.get("rotation", 0.0)))
        centre = np.array([x + width / 2, y + height / 2])
        across = np.array([(-width, -height), (width, -height), (width, height), (-width, height)]) / 2
        spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        return "polygon", centre + across @ spin
    if kind == "circle":
        (x, y), radius = _pair(data["center"]), _number(data["radius"])
        if radius <= 0 or not math.isfinite(x + 2 * radius) or not math.isfinite(y + 2 * radius):
            return "none", None
        step = 2 * math.pi / 96
        reach = radius * math.sqrt(step / math.sin(step))
        return "polygon", np.array(
            [(x + reach * math.cos(step * i), y + reach * math.sin(step * i)) for i in range(96)]
        )
    return "none", None
