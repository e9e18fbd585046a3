"""Arcs and holes in geometry JSON: rare, so they are read row by row.

An arc has a center, a radius, and angles in degrees from x towards y: {"center": {x, y}, "radius",
"start_angle", "end_angle"}. A polyline or polygon may have bent sides: {"points": […], "arcs": [{"index",
"bulge"}, …]}. Side i goes from point i to the next; its bulge is the tangent of a quarter of its angle,
positive if it turns counterclockwise as seen. A polygon may have holes: {"points": […], "holes": [[{x, y},
…], …]}.
"""

from __future__ import annotations

import json
import math
from typing import Any

_STEP = math.tau / 96
MAX_STEPS = 96
"""Most straight sides of one arc."""

Point = tuple[float, float]


def flatten(geometry_type: str, text: str) -> str | None:
    """Return the JSON of a polyline or polygon without arcs; None if the JSON is not as described.

    The sides of a flattened arc add up to exactly its length; in a polygon they enclose exactly its area.
    """
    try:
        value = json.loads(text)
        flat: dict[str, Any] = {"holes": value["holes"]} if "holes" in value else {}
        points = _arc_points(value) if geometry_type == "arc" else _bent_points(geometry_type, value)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError):
        return None
    return json.dumps({"points": [{"x": x, "y": y} for x, y in points]} | flat)


def read_holes(text: str) -> list[list[float]] | None:
    """Return the holes of a polygon as x1 y1 x2 y2 …; None if one of them is not a polygon."""
    try:
        holes = [[_point(point) for point in hole] for hole in json.loads(text).get("holes") or ()]
    except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError, RecursionError):
        return None
    opened = [hole[:-1] if hole and hole[0] == hole[-1] else hole for hole in holes]
    if any(len(hole) < 3 for hole in opened):
        return None
    return [[number for point in hole for number in point] for hole in opened]


def _arc_points(value: Any) -> list[Point]:
    center, radius = _point(value["center"]), _number(value["radius"])
    start, end = _number(value["start_angle"]), _number(value["end_angle"])
    sweep = math.radians(min(end - start if end > start else (end - start) % 360 or 360, 360.0))
    if radius <= 0:
        raise ValueError("radius")
    first = math.radians(start)
    ends = [
        (center[0] + radius * math.cos(angle), center[1] + radius * math.sin(angle))
        for angle in (first, first + sweep)
    ]
    return [ends[0], *_between(center, radius, first, sweep, closed=False), ends[1]]


def _bent_points(geometry_type: str, value: Any) -> list[Point]:
    points = [_point(point) for point in value["points"]]
    bulges = {int(arc["index"]): _number(arc["bulge"]) for arc in value["arcs"] or ()}
    closed = geometry_type == "polygon"
    if closed and points[0] == points[-1]:
        points.pop()
    if bulges and not (min(bulges) >= 0 and max(bulges) < len(points) - (not closed)):
        raise IndexError("an arc of a side that is not there")
    bent: list[Point] = []
    for index, start in enumerate(points):
        bent.append(start)
        if bulges.get(index):
            bent += _bend(start, points[(index + 1) % len(points)], bulges[index], closed=closed)
    return bent


def _bend(start: Point, end: Point, bulge: float, *, closed: bool) -> list[Point]:
    """Return the points between the ends of a bent side."""
    chord = math.dist(start, end)
    if chord == 0:
        return []
    # Positive turns counterclockwise as seen, which is towards smaller angles where y points down.
    sweep = -4 * math.atan(bulge)
    radius = chord / 2 / abs(math.sin(sweep / 2))
    apothem = chord / 2 / math.tan(sweep / 2)
    across = ((end[0] - start[0]) / chord, (end[1] - start[1]) / chord)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    center = (middle[0] - across[1] * apothem, middle[1] + across[0] * apothem)
    first = math.atan2(start[1] - center[1], start[0] - center[0])
    return _between(center, radius, first, sweep, closed=closed)


def _between(center: Point, radius: float, first: float, sweep: float, *, closed: bool) -> list[Point]:
    """Return the points between the ends of an arc, slightly outside it, so that length or area is exact."""
    steps = min(max(math.ceil(abs(sweep) / _STEP), 3), MAX_STEPS)
    step = abs(sweep) / steps
    reach = radius * (_equal_area(steps, step) if closed else _equal_length(steps, step))
    angles = (first + math.copysign(step, sweep) * number for number in range(1, steps))
    return [(center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle)) for angle in angles]


def _equal_area(steps: int, step: float) -> float:
    """Solve (steps - 2) f² + 2 f = steps * step / sin(step): the triangles have the sector's area."""
    inner, area = steps - 2, steps * step / math.sin(step)
    return (math.sqrt(1 + inner * area) - 1) / inner


def _equal_length(steps: int, step: float) -> float:
    """Solve for the reach at which the chords have the arc's length."""
    factor = 1.0
    for _ in range(20):
        outer = math.sqrt(1 + factor * factor - 2 * factor * math.cos(step))
        inner = (steps - 2) * 2 * math.sin(step / 2)
        error = 2 * outer + factor * inner - steps * step
        factor -= error / (2 * (factor - math.cos(step)) / outer + inner)
        if abs(error) < 1e-15:
            break
    return factor


def _point(value: Any) -> Point:
    return _number(value["x"]), _number(value["y"])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)
