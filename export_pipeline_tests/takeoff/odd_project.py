"""A takeoff project with whatever estimators draw: deducts, holes, arcs, metric sheets, pages without a scale."""

from __future__ import annotations

import math
from typing import Any

from export_pipeline_tests.takeoff_data import Application

FEET = 37.5
"""Pixels per foot of a sheet in 1/4" = 1'-0" at 150 dots per inch."""


def xy(x: float, y: float) -> dict[str, float]:
    return {"x": x, "y": y}


def ring(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [xy(*point) for point in points]


def box(x: float, y: float, width: float, height: float, **more: float) -> dict[str, float]:
    return {**xy(x, y), "width": width, "height": height, **more}


def line(x1: float, y1: float, x2: float, y2: float) -> dict[str, Any]:
    return {"start": xy(x1, y1), "end": xy(x2, y2)}


class OddProject:
    """Fills an application; `id` is the project's."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.id = app.project("Example Medical Center – Phase 2", client_name="North Harbor & Sons, Inc.")
        first, second, addendum = (
            app.document(self.id, "A-100 Series.pdf"),
            app.document(self.id, "A-100 Series.pdf"),
            app.document(self.id, "../../secret/Structural.tif"),
        )
        sheet = {"width": 5400, "height": 3600, "scale_value": FEET}
        self.pages = {
            "plan": app.page(first, 1, **sheet, sheet_number="A-101", sheet_title="Level 1 Floor Plan"),
            "unscaled": app.page(first, 2, **sheet | {"scale_value": None}, sheet_number="A-102"),
            "rotated": app.page(
                first, 3, width=3600, height=5400, page_width_inches=36.0, page_height_inches=24.0,
                scale_value=18.75,
            ),
            "twin": app.page(second, 1, **sheet, sheet_number=None),
            "metric": app.page(addendum, 1, width=4961, height=3508, scale_value=29.53, scale_text="1:100"),
            "other dpi": app.page(addendum, 2, width=7200, height=4800, dpi=200, scale_value=50.0),
            "metres": app.page(addendum, 3, **sheet | {"scale_value": 41.01}, scale_unit="meter"),
            "quarrel": app.page(addendum, 4, **sheet | {"scale_value": None}, sheet_number="S-204"),
        }  # fmt: skip
        self._fill()

    def add(self, name: str, kind: str, *shapes: tuple[Any, ...], **fields: Any) -> str:
        """Add a condition and its measurements: (page, geometry type, geometry, quantity[, fields])."""
        total = math.fsum(quantity for _, _, _, quantity, *_ in shapes)
        condition = self.app.condition(
            self.id, name, kind, **{"total_quantity": total, "measurement_count": len(shapes)} | fields
        )
        unit = fields.get("unit") or {"linear": "LF", "area": "SF", "volume": "CY", "count": "EA"}[kind]
        for page, type_, geometry, quantity, *more in shapes:
            self.app.measurement(
                condition, self.pages[page], quantity, geometry_type=type_, geometry_data=geometry, unit=unit,
                **(more[0] if more else {}),
            )  # fmt: skip
        return condition

    def _fill(self) -> None:
        add, plan = self.add, "plan"
        flat = {"points": ring((100, 100), (100, 100), (100, 100))}
        add("Zero", "area", (plan, "polygon", flat, 0.0), (plan, "rectangle", box(200, 200, 0, 50), 0.0))
        add("No measurements yet", "count")
        add(
            "Slab on grade", "volume",
            (plan, "rectangle", box(375, 375, 750, 375), 100 / 27),
            ("rotated", "polygon", {"points": ring((0, 0), (375, 0), (375, 187.5), (0, 187.5))}, 100 / 27,
             {"is_verified": False, "notes": "check edge"}),
            depth=6.0, category="03 Concrete/03 30 00/Slabs", building="B", area="East", elevation="100'",
        )  # fmt: skip
        add("Trench", "volume", (plan, "rectangle", box(0, 0, 375, 375), 0.0), category="31 Earthwork")
        add(
            "CMU Wall 8\" @ EL 112'", "linear",
            (plan, "line", line(0, 0, 375, 0), 10.0),
            (plan, "polyline", {"points": ring((0, 0), (375, 0), (375, 0), (375, 375), (750, 375))}, 30.0),
            (plan, "circle", {"center": xy(1000, 1000), "radius": 187.5}, 10 * math.pi),
            (plan, "polygon", {"points": ring((2000, 2000), (2375, 2000), (2375, 2375))}, 20 + 200**0.5),
            ("twin", "line", line(0, 0, 0, 375), 10.0, {"notes": "other document"}),
            (plan, "line", line(5, 5, 5, 5), 0.0),
            category="04 Masonry", color="#DC2626",
        )  # fmt: skip
        hole = ring((375, 375), (750, 375), (750, 562.5), (375, 562.5))
        roof = {"points": ring((0, 0), (1500, 0), (1500, 750), (0, 750)), "holes": [hole]}
        add("Roof deck", "area", (plan, "polygon", roof, 750.0), category="05 Metals")
        add("Credit: roof deck", "area", (plan, "polygon", roof, -750.0), category="05 Metals")
        arc = {"center": xy(1000, 1000), "radius": 375, "start_angle": 0, "end_angle": 90}
        bent = {"points": ring((0, 0), (375, 0)), "arcs": [{"index": 0, "bulge": 0.5}]}
        add(
            "Curved curb", "linear",
            (plan, "arc", arc, 5 * math.pi), (plan, "polyline", bent, 12.5 * 2 * math.atan(0.5)),
        )  # fmt: skip
        rings = [
            (plan, "circle", {"center": xy(2000, 1500), "radius": r}, math.pi * (r / FEET) ** 2)
            for r in (375, 187.5)
        ]
        add("Rings", "area", *rings)
        group = {"shapes": [{"type": "circle", "center": xy(2000, 1500), "radius": 10}]}
        add("Grouped", "area", (plan, "group", group, 7.0), *rings[:1])
        bolts = [(plan, "point", xy(100 + 50 * i, 500), 1.0) for i in range(7)]
        add("Anchor bolts", "count", *bolts, (plan, "point", xy(900, 500), 12.0), category="05 Metals")
        add("Doors, less two", "count", *bolts[:3], (plan, "point", xy(1, 1), -2.0))
        add("Fittings", "count", *bolts[:1], (plan, "point", xy(1, 1), 2.5))
        paving = ((plan, "rectangle", box(0, 0, 1125, 750), 600.0),
                  (plan, "rectangle", box(375, 375, 375, 187.5), -50.0, {"notes": "deduct: tree pit"}))  # fmt: skip
        add("Paving (with deducts)", "area", *paving, category="32 Exterior")
        add("Credit: omit curb", "linear", (plan, "line", line(0, 0, 750, 0), -20.0))
        square = box(0, 0, 295.3, 295.3)
        add("Screed", "area", ("metric", "rectangle", square, 9.290304), unit="m²")
        add("Kerb", "linear", ("metric", "line", line(0, 0, 295.3, 0), 3.048), unit="m")
        add("Joint", "linear", ("metric", "line", line(0, 0, 295.3, 0), 3048.0), unit="mm")
        add("Blinding", "volume", ("metric", "rectangle", square, 9.290304 * 0.0508), unit="m3", depth=2.0)
        add("On a page in metres", "linear", ("metres", "line", line(0, 0, 410.1, 0), 10 / 0.3048))
        add(
            "Detail plates", "area",
            ("unscaled", "rectangle", box(0, 0, 150, 150), 4.0),
            ("unscaled", "rectangle", box(0, 0, 1500, 300), 80.0),
        )  # fmt: skip
        add("Detail edges", "linear", ("unscaled", "line", line(0, 0, 750, 0), 10.0))
        add(
            "Quarrel", "linear",
            ("quarrel", "line", line(0, 0, 750, 0), 10.0), ("quarrel", "line", line(0, 0, 750, 0), 12.0),
        )  # fmt: skip
        footing = 'Footing F-1: 24"x12" * typ. [see S-501] ? \\ north & south wings'
        add(footing, "linear", ("other dpi", "line", line(0, 0, 500, 500), math.hypot(10, 10)))
        add("Canopy", "area", ("rotated", "rectangle", box(1800, 2700, 375, 187.5, rotation=30), 200.0))
        add("Summary", "count", *bolts[:1])
        add("kerb", "linear", (plan, "line", line(0, 0, 37.5, 0), 1.0))
        add("Tenths", "linear", *[(plan, "line", line(0, 0, 3.75, 0), 0.1)] * 10)
        costed = ((plan, "rectangle", box(0, 0, 375, 375), 100.0),
                  (plan, "rectangle", box(0, 0, 375, 375), 100.0, {"is_verified": False}))  # fmt: skip
        self.costed = add("Concrete pad", "area", *costed, category="03 Concrete")
        add(
            "Bad geometry", "area",
            (plan, "polygon", {"points": ring((0, 0), (10, 10))}, 5.0),
            (plan, "line", line(0, 0, 10, 0), 6.0),
        )  # fmt: skip
