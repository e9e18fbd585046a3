"""Projects for the On-Screen Takeoff tests: layouts made by hand, and their XML."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import Rendered
from export_pipeline.takeoff.ost import validate, write
from export_pipeline_tests.takeoff.ost import importer

Row = Mapping[str, Any]
Page = dict[str, Any]
Fields = Mapping[str, tuple[Kind, pa.DataType]]

TEXT, NUMBER, WHOLE = (Kind.TEXT, pa.string()), (Kind.FLOAT, pa.float64()), (Kind.INTEGER, pa.int64())
CONDITION = {
    **dict.fromkeys(("id", "name", "description", "scope", "category", "measurement_type", "color"), TEXT),
    **dict.fromkeys(("unit", "building", "area", "elevation"), TEXT),
    **dict.fromkeys(("fill_opacity", "depth", "thickness", "total_quantity"), NUMBER),
    **dict.fromkeys(("line_width", "measurement_count", "sort_order"), WHOLE),
    "is_visible": (Kind.BOOLEAN, pa.bool_()),
}
PAGE = {
    **dict.fromkeys(("id", "document_id", "document", "title", "sheet_number", "sheet_title"), TEXT),
    **dict.fromkeys(("scale_text", "image_key"), TEXT),
    **dict.fromkeys(("page_width_inches", "page_height_inches", "scale_value"), NUMBER),
    **dict.fromkeys(("document_index", "page_number", "width", "height", "dpi"), WHOLE),
}
MEASUREMENT = {
    **dict.fromkeys(("id", "geometry_type", "geometry_data", "unit", "notes"), TEXT),
    **dict.fromkeys(("condition_index", "page_index"), WHOLE),
    "quantity": NUMBER,
    "is_verified": (Kind.BOOLEAN, pa.bool_()),
}

PROJECT = {
    "id": "6f1c2a1e-0b0c-4a77-9c5e-0123456789ab",
    "name": "Riverside School",
    "description": "Two storeys",
    "client_name": "Ünïon & Söhne",
    "status": "in_progress",
    "created_at": "2026-01-02T03:04:05+00:00",
    "updated_at": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
}
WALL = {"name": "Wall", "measurement_type": "linear", "unit": "LF", "color": "#3B82F6"}
SLAB = {"name": "Slab", "measurement_type": "area", "unit": "SF", "color": "#FF0000"}
FOOTING = {"name": "Footing", "measurement_type": "volume", "unit": "CY", "color": "#00ff00", "depth": 18.0}
DOOR = {"name": "Door", "measurement_type": "count", "unit": "EA", "color": "#0000FF"}
CONDITIONS = (WALL, SLAB, FOOTING, DOOR)
FEET = 37.5


def page(
    number: int = 1, document: str = "A.pdf", index: int = 0, scale: float | None = 37.5
) -> dict[str, Any]:
    """A page of 36 x 24 inches at 150 dpi; a scale of 37.5 pixels per foot is 1/4" = 1'-0"."""
    return {
        "document": document,
        "document_index": index,
        "page_number": number,
        "width": 5400,
        "height": 3600,
        "dpi": 150,
        "scale_value": scale,
        "title": f"{document} {number}",
        "sheet_number": f"S-{number}",
    }


def shape(type_: str, condition: int, data: Any, page_index: int | None = 0) -> dict[str, Any]:
    """A measurement."""
    text = data if data is None or isinstance(data, str) else json.dumps(data)
    return {
        "geometry_type": type_,
        "geometry_data": text,
        "condition_index": condition,
        "page_index": page_index,
    }


def xy(x: float, y: float) -> dict[str, float]:
    """A point."""
    return {"x": x, "y": y}


def line(condition: int, *points: tuple[float, float], page_index: int | None = 0) -> dict[str, Any]:
    """A line of two points, a polyline of more."""
    if len(points) == 2:
        ends = {"start": xy(*points[0]), "end": xy(*points[1])}
        return shape("line", condition, ends, page_index)
    return shape("polyline", condition, {"points": [xy(*each) for each in points]}, page_index)


def table(
    name: str, fields: Mapping[str, tuple[Kind, pa.DataType]], rows: Sequence[Row], batch: int
) -> Table:
    """A table of these rows; a field that a row does not have is null."""
    data = pa.table(
        {key: pa.array([row.get(key) for row in rows], type_) for key, (_, type_) in fields.items()}
    )
    return Table.of(name, [Column(key, key, kind) for key, (kind, _) in fields.items()], data, batch)


def layout(
    conditions: Sequence[Row],
    pages: Sequence[Row],
    measurements: Sequence[Row],
    *,
    project: Row = PROJECT,
    batch: int = 16_384,
) -> Layout:
    """A layout with the tables that On-Screen Takeoff XML is made of."""
    rows = table("measurements_by_page", MEASUREMENT, measurements, batch)
    return Layout(
        title="Export",
        created=datetime(2026, 5, 6, tzinfo=UTC),
        main=rows,
        document={},
        sheets=(),
        chapters=(),
        tables={
            "conditions": table("conditions", CONDITION, conditions, batch),
            "pages": table("pages", PAGE, pages, batch),
            "measurements_by_page": rows,
        },
        subject=project,
    )


def rendered(path: Path, *args: Sequence[Row], **kwargs: Any) -> Rendered:
    """Render a layout of these conditions, pages and measurements into a file."""
    out = io.BytesIO()
    done = write.render(layout(*args, **kwargs), out)
    path.write_bytes(out.getvalue())
    return done


def imported(path: Path, *args: Any, **kwargs: Any) -> importer.Job:
    """Render, hold the file against both sets of rules, and import it."""
    rendered(path, *args, **kwargs)
    assert validate.check(path) == []
    return importer.load(path)


RECTANGLE = {**xy(100, 200), "width": 10 * FEET, "height": 4 * FEET, "rotation": 33}
CIRCLE = {"center": xy(1000, 900), "radius": 3 * FEET}
TRIANGLE = {"points": [xy(0, 0), xy(10 * FEET, 0), xy(10 * FEET, 10 * FEET)]}
ELL = [(0.0, 0.0), (10 * FEET, 0.0), (10 * FEET, 5 * FEET)]
