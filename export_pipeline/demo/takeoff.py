"""A sample takeoff application: two projects with drawings, measured geometry and costs.

Everything is generated from a seed, so the content is always the same, byte for byte.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from export_pipeline.takeoff.source_tables import (
    ASSEMBLIES,
    CONDITIONS,
    DOCUMENTS,
    MEASUREMENTS,
    METADATA,
    PAGES,
    PROJECTS,
)

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_NAMESPACE = uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")


@dataclass(frozen=True, slots=True)
class ConditionSample:
    """A condition: its name, its category, its unit and the shapes drawn for it."""

    name: str
    category: str | None
    kind: str
    color: str
    shapes: Sequence[str]
    inches: float | None = None
    unit_cost: float | None = None
    description: str | None = None

    @property
    def unit(self) -> str:
        return {"linear": "LF", "area": "SF", "volume": "CY", "count": "EA"}[self.kind]


@dataclass(frozen=True, slots=True)
class ProjectSample:
    """A project and its size."""

    name: str
    client: str | None
    description: str | None
    status: str
    documents: Sequence[str]
    pages: int
    conditions: Sequence[ConditionSample]
    measurements: int
    notes: Sequence[str | None]


_SCHOOL = ProjectSample(
    "Riverside Elementary School", "Oakfield Unified School District",
    "Two-storey classroom wing with gymnasium. Structural concrete, masonry and site work.\n"
    "Quantities follow drawing set 2 of 2026-01-30.",
    "in_progress", ("Structural S-100 to S-108.pdf", "Civil C-1 to C-6.pdf"), 8,
    (
        ConditionSample("Slab on grade 6\"", "Slabs", "volume", "#3B82F6", ("polygon", "rectangle"), 6.0, 214.5,
                        "4,000 psi, vapour barrier, welded wire fabric"),
        ConditionSample("Slab edge form", "Slabs", "linear", "#0EA5E9", ("polyline", "line"), None, 8.75),
        ConditionSample("Continuous footing 24x12", "Foundations", "linear", "#DC2626", ("line", "polyline"), None, 46.2),
        ConditionSample("Spread footing F-3", "Foundations", "count", "#F97316", ("point",), None, 385.0),
        ConditionSample("Column pier caps", "Foundations", "area", "#EA580C", ("circle", "rectangle"), None, 31.4),
        ConditionSample("CMU wall 8\" grouted", "Masonry", "linear", "#65A30D", ("polyline",), None, 118.0),
        ConditionSample("Gymnasium floor topping", "Slabs", "area", "#8B5CF6", ("polygon",), None, 4.35),
        ConditionSample("Retaining wall backfill", "Site work", "volume", "#A16207", ("polygon",), 48.0, 39.9),
        ConditionSample("Anchor bolts", "Foundations", "count", "#111827", ("point",), None, 12.25),
        ConditionSample("Curb and gutter", "Site work", "linear", "#14B8A6", ("polyline", "line"), None, 27.5),
        ConditionSample("Alternate 2: polished concrete", None, "area", "#DB2777", ()),
    ),
    2600, (None, None, None, "verify on site", "see detail 4/S-501", "dowel into existing", "north side only"),
)  # fmt: skip

_TOWER = ProjectSample(
    "Wohnturm Süd", "Müller & Ångström GmbH",
    "Zwanziggeschossiger Wohnturm mit Tiefgarage. Stahlbeton, Mauerwerk und Außenanlagen.\n"
    "Mengen nach Planstand vom 30.01.2026.",
    "in_progress", ("Grundrisse Ebene 1–4.pdf", "Schnitte und Details.pdf"), 6,
    (
        ConditionSample("Bodenplatte d = 30 cm", "Beton", "volume", "#1D4ED8", ("polygon", "rectangle"), 11.81, 198.0),
        ConditionSample("Stahlbetonwand 20 cm", "Beton", "linear", "#B91C1C", ("polyline", "line"), None, 92.4),
        ConditionSample("Stütze 80 × 80 cm", "Beton", "count", "#047857", ("point",), None, 640.0),
        ConditionSample("Kellerwand, wasserundurchlässig", "Beton", "area", "#7C3AED", ("polygon", "circle"), None, 17.0),
        ConditionSample("Estrich schwimmend 6 cm", "Ausbau", "area", "#C2410C", ("rectangle",), None, 5.5),
        ConditionSample("Mauerwerk Kalksandstein 11,5 cm", "Mauerwerk", "linear", "#0F766E", ("line",), None, 61.0),
        ConditionSample("Dachbegrünung extensiv", "Außenanlagen", "area", "#4D7C0F", ("polygon",), None, 6.1),
        ConditionSample("Attika", "Beton", "linear", "#BE185D", ("polyline",), None, 74.0),
    ),
    900, (None, None, None, "geprüft", "siehe Detail 4", "Anschluss an Bestand", "mit Architekt abgestimmt"),
)  # fmt: skip

SAMPLES = (_SCHOOL, _TOWER)


def fill(engine: sa.Engine, samples: Sequence[ProjectSample] = SAMPLES) -> list[str]:
    """Create and fill the takeoff tables; return the projects' ids, in order."""
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    ids = []
    for number, sample in enumerate(samples):
        with engine.begin() as connection:
            ids.append(_Filler(number, sample).fill(connection))
    return ids


def sized(measurements: int, name: str = "Large project") -> ProjectSample:
    """Return an ordinary project with this many measurements, for benchmarks."""
    return ProjectSample(
        name, _SCHOOL.client, _SCHOOL.description, "in_progress", _SCHOOL.documents, 60, _SCHOOL.conditions,
        measurements, _SCHOOL.notes,
    )  # fmt: skip


class _Filler:
    def __init__(self, number: int, sample: ProjectSample) -> None:
        self.random = random.Random(1000 + number)
        self.number, self.sample = number, sample

    def fill(self, connection: sa.Connection) -> str:
        sample, project = self.sample, self._id("project")
        self._insert(connection, PROJECTS, [
            {"id": project, "name": sample.name, "client_name": sample.client, "status": sample.status,
             "description": sample.description, **self._times(self.number / 60)}
        ])  # fmt: skip
        documents = [
            {"id": self._id("document", i), "project_id": project, "filename": f"upload-{i}.pdf",
             "original_filename": name, "page_count": sample.pages, "file_size": 4_200_000 + i, **self._times(1)}
            for i, name in enumerate(sample.documents)
        ]  # fmt: skip
        self._insert(connection, DOCUMENTS, documents)
        self.pages = list(self._pages(documents))
        self._insert(connection, PAGES, self.pages)
        conditions = [self._condition(project, i, c) for i, c in enumerate(sample.conditions)]
        self._insert(connection, CONDITIONS, conditions)
        batch: list[dict[str, Any]] = []
        for row in self._measurements(conditions):
            batch.append(row)
            if len(batch) == 5000:
                self._insert(connection, MEASUREMENTS, batch)
                batch = []
        self._insert(connection, MEASUREMENTS, batch)
        self._totals(connection, conditions)
        return project

    def _insert(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            connection.execute(sa.insert(table), rows)

    def _id(self, *parts: object) -> str:
        return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, (self.number, self.sample.name, *parts)))))

    def _times(self, hours: float) -> dict[str, datetime]:
        created = START + timedelta(hours=hours)
        return {"created_at": created, "updated_at": created + timedelta(minutes=self.random.randrange(600))}

    def _pages(self, documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for d, document in enumerate(documents):
            for p in range(1, self.sample.pages + 1):
                scaled = (d + p) % 7 != 0  # a few pages have no scale yet
                yield {
                    "id": self._id("page", d, p), "document_id": document["id"], "page_number": p,
                    "width": 5400, "height": 3600, "dpi": 150, "page_width_inches": 36.0,
                    "page_height_inches": 24.0, "title": f"Sheet {p}", "sheet_number": f"{'SCA'[d % 3]}-{100 + p}",
                    "sheet_title": ("Foundation plan", "Framing plan", "Sections and details")[p % 3],
                    "scale_text": "1/4\" = 1'-0\"" if scaled else None, "scale_value": 37.5 if scaled else None,
                    "scale_unit": "foot", "scale_calibrated": scaled, "image_key": f"pages/{d}/{p}.png",
                    **self._times(2),
                }  # fmt: skip

    def _condition(self, project: str, order: int, sample: ConditionSample) -> dict[str, Any]:
        return {
            "id": self._id("condition", order), "project_id": project, "name": sample.name,
            "description": sample.description, "scope": "concrete", "category": sample.category,
            "measurement_type": sample.kind, "color": sample.color, "unit": sample.unit, "depth": sample.inches,
            "thickness": sample.inches, "sort_order": order // 3, "is_visible": order % 6 != 5, "line_width": 2,
            "fill_opacity": 0.3, "is_ai_generated": order % 4 == 1, "building": "A", "elevation": f"+{order}.00",
            **self._times(3),
        }  # fmt: skip

    def _measurements(self, conditions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        drawn = [(c, s) for c, s in zip(conditions, self.sample.conditions, strict=True) if s.shapes]
        for i in range(self.sample.measurements):
            condition, sample = drawn[self.random.randrange(len(drawn))]
            page = self.pages[self.random.randrange(len(self.pages))]
            shape = sample.shapes[i % len(sample.shapes)]
            geometry, length, area = self._shape(shape)
            feet = page["scale_value"] or 37.5
            quantity = {
                "linear": length / feet,
                "area": area / feet**2,
                "volume": area / feet**2 * (sample.inches or 0) / 12 / 27,
                "count": 1.0,
            }[sample.kind]
            ai, verified = self.random.random() < 0.4, self.random.random() < 0.7
            rejected = self.random.random() < 0.03
            note = self.sample.notes[self.random.randrange(len(self.sample.notes))]
            yield {
                "id": self._id("measurement", i), "condition_id": condition["id"], "page_id": page["id"],
                "geometry_type": shape, "geometry_data": geometry, "quantity": quantity, "unit": sample.unit,
                "pixel_length": length or None, "pixel_area": area or None, "is_ai_generated": ai,
                "ai_confidence": round(self.random.uniform(0.6, 0.99), 3) if ai else None,
                "ai_model": "vision-2" if ai else None, "is_modified": self.random.random() < 0.1,
                "is_verified": verified and not rejected, "is_rejected": rejected,
                "rejection_reason": "duplicate" if rejected else None, "review_notes": None,
                "notes": note, **self._times(24 + i / 60),
            }  # fmt: skip

    def _shape(self, shape: str) -> tuple[dict[str, Any], float, float]:
        """Return a shape's geometry in page pixels, with its length (or perimeter) and area.

        Shapes follow a grid of 3 ft (112.5 px), as buildings do; a few rectangles are rotated.
        """
        x, y = self._grid(3, 40), self._grid(3, 27)
        if shape == "point":
            return {"x": x, "y": y}, 0.0, 0.0
        if shape == "rectangle":
            width, height = self._grid(1, 5), self._grid(1, 4)
            geometry = {"x": x, "y": y, "width": width, "height": height}
            if self.random.random() < 0.1:
                geometry["rotation"] = float(self.random.randrange(5, 90, 5))
            return geometry, 2 * (width + height), width * height
        if shape == "circle":
            radius = round(self.random.uniform(15, 60), 2)
            return {"center": {"x": x, "y": y}, "radius": radius}, 2 * math.pi * radius, math.pi * radius**2
        if shape == "polygon":
            points = self._angle(x, y)
            corners = [*points, points[0]]
        else:
            points = corners = self._wall(x, y, 1 if shape == "line" else self.random.randrange(2, 6))
        length = sum(math.dist(a, b) for a, b in pairwise(corners))
        area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(corners))) / 2
        ends = [{"x": px, "y": py} for px, py in points]
        if shape == "line":
            return {"start": ends[0], "end": ends[1]}, length, 0.0
        return {"points": ends}, length, area if shape == "polygon" else 0.0

    def _grid(self, first: int, last: int) -> float:
        """Return a position or length on the grid, in pixels."""
        return self.random.randint(first, last) * 112.5

    def _wall(self, x: float, y: float, turns: int) -> list[tuple[float, float]]:
        """Return the corners of a line that runs along the grid, first across, then down, and so on."""
        points = [(x, y)]
        for turn in range(turns):
            step = self._grid(1, 6) * self.random.choice((1, 1, -1))
            x, y = (x + step, y) if turn % 2 == 0 else (x, y + step)
            points.append((min(max(x, 60.0), 5340.0), min(max(y, 60.0), 3540.0)))
        return points

    def _angle(self, x: float, y: float) -> list[tuple[float, float]]:
        """Return the corners of an L-shaped floor."""
        inner_x, inner_y = x + self._grid(1, 2), y + self._grid(1, 2)
        outer_x, outer_y = inner_x + self._grid(1, 3), inner_y + self._grid(1, 2)
        return [
            (x, y),
            (outer_x, y),
            (outer_x, inner_y),
            (inner_x, inner_y),
            (inner_x, outer_y),
            (x, outer_y),
        ]

    def _totals(self, connection: sa.Connection, conditions: list[dict[str, Any]]) -> None:
        """Store totals and assemblies as the application does: without rejected measurements."""
        rows = connection.execute(
            sa.select(MEASUREMENTS.c.condition_id, sa.func.sum(MEASUREMENTS.c.quantity), sa.func.count())
            .where(
                MEASUREMENTS.c.is_rejected.is_(False),
                MEASUREMENTS.c.condition_id.in_([c["id"] for c in conditions]),
            )
            .group_by(MEASUREMENTS.c.condition_id)
        ).all()
        totals = {row[0]: (row[1], row[2]) for row in rows}
        for order, (condition, sample) in enumerate(zip(conditions, self.sample.conditions, strict=True)):
            quantity, count = totals.get(condition["id"], (0.0, 0))
            connection.execute(
                sa.update(CONDITIONS)
                .where(CONDITIONS.c.id == condition["id"])
                .values(total_quantity=quantity, measurement_count=count)
            )
            if sample.unit_cost is not None and quantity:
                self._insert(
                    connection,
                    ASSEMBLIES,
                    [self._assembly(order, condition["id"], sample.unit_cost, quantity)],
                )

    def _assembly(self, order: int, condition: str, unit_cost: float, quantity: float) -> dict[str, Any]:
        whole = unit_cost * quantity
        parts = {
            "material_cost": 0.52,
            "labor_cost": 0.3,
            "equipment_cost": 0.1,
            "subcontract_cost": 0.06,
            "other_cost": 0.02,
        }
        costs = {name: _money(whole * share, "0.01") for name, share in parts.items()}
        total = sum(costs.values(), Decimal(0))
        return {
            "id": self._id("assembly", order), "condition_id": condition, **costs, "total_cost": total,
            "unit_cost": _money(float(total) / quantity, "0.0001"), "total_labor_hours": round(whole * 0.3 / 62, 2),
            "overhead_percent": 10.0, "profit_percent": 7.5,
            "total_with_markup": _money(float(total) * 1.175, "0.01"), **self._times(500),
        }  # fmt: skip


def _money(value: float, unit: str) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal(unit), ROUND_HALF_UP)
