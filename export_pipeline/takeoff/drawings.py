"""The drawings of a takeoff export: each page's measured geometry, in its conditions' colours."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from export_pipeline.core.arrow import np, pa
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Drawing
from export_pipeline.core.tables import Table
from export_pipeline.takeoff.scales import pixels_per_foot

SHAPE_COLUMNS = (
    Column("kind", "Kind", Kind.ENUM),
    Column("color", "Color", Kind.TEXT),
    Column("fill_opacity", "Fill opacity", Kind.FLOAT),
    Column("line_width", "Line width", Kind.FLOAT),
    Column("points", "Points", Kind.JSON),
    Column("holes", "Holes", Kind.JSON),
    Column("label", "Label", Kind.TEXT),
)
DRAWN = ("number", "condition_index", "page_index", "geometry_type", "geometry_data")
"""The columns of measurements that describe their shapes."""
DEFAULT_COLOR = "#3B82F6"
_COLOR = re.compile("#?([0-9A-Fa-f]{6}|[0-9A-Fa-f]{3})")
_WIDEST_LINE = 40
_SCALES = (1 / 5280, 1e6 / 12)
"""Minimum and maximum pixels per foot of a plausible scale."""


def draw_pages(
    measurements: Table,
    page_order: np.ndarray,
    page_of: np.ndarray,
    condition_of: np.ndarray,
    pages: Sequence[dict[str, Any]],
    conditions: Sequence[dict[str, Any]],
) -> tuple[Drawing, ...]:
    """Return a drawing for each page that has measurements.

    Args:
        measurements: With random access; geometry is parsed when a drawing is drawn, a batch at a time.
        page_order: Positions of the measurements, ordered by page.
        page_of: Page index of each measurement, -1 for none.
        condition_of: Condition index of each measurement.
        pages, conditions: Rows of these tables; the indexes above refer to their positions.
    """
    colors = pa.array([parse_color(row["color"]) for row in conditions], pa.string())
    widths = pa.array([_line_width(row["line_width"]) for row in conditions], pa.float64())
    # What is measured along its sides is not filled.
    opacities = pa.array(
        [0.0 if row["measurement_type"] == "linear" else _opacity(row["fill_opacity"]) for row in conditions],
        pa.float64(),
    )
    sorted_pages = page_of[page_order]
    drawings = []
    for index, page in enumerate(pages):
        start, stop = np.searchsorted(sorted_pages, [index, index + 1])
        if start == stop:
            continue
        rows = measurements.reordered(page_order[start:stop], "shapes")
        used = np.unique(condition_of[page_order[start:stop]]).tolist()
        drawings.append(
            Drawing(
                title=_title(page),
                lines=tuple(text for text in (page["sheet_title"], _scale(page)) if text),
                width=float(max(page["width"] or 1, 1)),
                height=float(max(page["height"] or 1, 1)),
                shapes=_shapes(rows, colors, widths, opacities),
                legend=tuple((conditions[i]["name"] or "(no name)", colors[i].as_py()) for i in used),
                units_per_foot=pixels_per_foot(page) if _has_scale(page) else None,
                image_key=page["image_key"] or "",
            )
        )
    return tuple(drawings)


def parse_color(text: str | None) -> str:
    """Return a colour typed by people as #RRGGBB; the application's default if it is not a colour."""
    match = _COLOR.fullmatch((text or "").strip())
    if match is None:
        return DEFAULT_COLOR
    digits = match[1]
    return f"#{digits if len(digits) == 6 else ''.join(2 * digit for digit in digits)}".upper()


def _shapes(rows: Table, colors: pa.Array, widths: pa.Array, opacities: pa.Array) -> Table:
    from export_pipeline.takeoff.geometry import parse  # has constants of numpy

    def opened() -> Iterator[pa.RecordBatch]:
        for batch in rows.open():
            geometry = parse(batch["geometry_type"], batch["geometry_data"])
            condition = batch["condition_index"]
            kind = geometry.kind
            yield pa.RecordBatch.from_arrays(
                [
                    kind,
                    colors.take(condition),
                    opacities.take(condition),
                    widths.take(condition),
                    geometry.points,
                    geometry.holes.by_row(len(batch)),
                    batch["number"].cast(pa.string()),
                ],
                [column.name for column in SHAPE_COLUMNS],
            )

    return Table("shapes", SHAPE_COLUMNS, rows.rows, opened)


def _opacity(value: float | None) -> float:
    return 0.3 if value is None or math.isnan(value) else min(max(value, 0.0), 1.0)


def _line_width(pixels: int | None) -> float:
    """Return a line width in points on paper; a pixel on screen is about half a point wide."""
    return min(max(pixels or 2, 1), _WIDEST_LINE) / 2


def _title(page: dict[str, Any]) -> str:
    number = f"page {page['page_number']}"
    return ", ".join(str(part) for part in (page["sheet_number"], number, page["document_label"]) if part)


def _has_scale(page: dict[str, Any]) -> bool:
    """Return whether a page's scale is plausible: from a mile per pixel to a millionth of an inch."""
    return _SCALES[0] <= (pixels_per_foot(page) or 0.0) <= _SCALES[1]


def _scale(page: dict[str, Any]) -> str:
    if _has_scale(page):
        return f"Scale: {page['scale_text']}" if page["scale_text"] else ""
    return "This page has no scale; its quantities cannot be checked against the drawing."
