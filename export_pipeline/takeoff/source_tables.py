"""The tables of a construction takeoff application, with the columns that exports read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

METADATA = sa.MetaData()

# Ids are UUIDs in PostgreSQL and 36-character strings elsewhere.
Id = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Moment = sa.DateTime(timezone=True)


def _row() -> list[sa.Column[Any]]:
    """Return the columns that each table has."""
    return [
        sa.Column("id", Id, primary_key=True),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
    ]


PROJECTS = sa.Table(
    "projects",
    METADATA,
    *_row(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("client_name", sa.String(255)),
    sa.Column("status", sa.String(50), default="draft", nullable=False),
)

DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    *_row(),
    sa.Column("project_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True, nullable=False),
    sa.Column("filename", sa.String(500), nullable=False),
    sa.Column("original_filename", sa.String(500), nullable=False),
    sa.Column("file_type", sa.String(50), default="pdf", nullable=False),
    sa.Column("file_size", sa.BigInteger),
    sa.Column("status", sa.String(50), default="ready", nullable=False),
    sa.Column("page_count", sa.Integer),
)

PAGES = sa.Table(
    "pages",
    METADATA,
    *_row(),
    sa.Column(
        "document_id", Id, sa.ForeignKey("documents.id", ondelete="CASCADE"), index=True, nullable=False
    ),
    sa.Column("page_number", sa.BigInteger, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("dpi", sa.Integer, default=150, nullable=False),
    sa.Column("page_width_inches", sa.Double),
    sa.Column("page_height_inches", sa.Double),
    sa.Column("image_key", sa.String(500)),
    sa.Column("title", sa.String(500)),
    sa.Column("sheet_number", sa.String(50)),
    sa.Column("sheet_title", sa.String(255)),
    sa.Column("scale_text", sa.String(100)),
    sa.Column("scale_value", sa.Double),
    sa.Column("scale_unit", sa.String(20), default="foot"),
    sa.Column("scale_calibrated", sa.Boolean, default=False, nullable=False),
)

CONDITIONS = sa.Table(
    "conditions",
    METADATA,
    *_row(),
    sa.Column("project_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("scope", sa.String(100), default="concrete"),
    sa.Column("category", sa.String(100)),
    sa.Column("measurement_type", sa.String(50), nullable=False),
    sa.Column("color", sa.String(20), default="#3B82F6"),
    sa.Column("line_width", sa.Integer, default=2),
    sa.Column("fill_opacity", sa.Double, default=0.3),
    sa.Column("unit", sa.String(50), default="LF", nullable=False),
    sa.Column("depth", sa.Double),
    sa.Column("thickness", sa.Double),
    sa.Column("total_quantity", sa.Double, default=0.0, nullable=False),
    sa.Column("measurement_count", sa.Integer, default=0, nullable=False),
    sa.Column("sort_order", sa.Integer, default=0, nullable=False),
    sa.Column("is_ai_generated", sa.Boolean, default=False, nullable=False),
    sa.Column("is_visible", sa.Boolean, default=True, nullable=False),
    sa.Column("building", sa.String(100)),
    sa.Column("area", sa.String(100)),
    sa.Column("elevation", sa.String(50)),
)

MEASUREMENTS = sa.Table(
    "measurements",
    METADATA,
    *_row(),
    sa.Column("condition_id", Id, sa.ForeignKey("conditions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("page_id", Id, sa.ForeignKey("pages.id", ondelete="CASCADE"), index=True, nullable=False),
    sa.Column("geometry_type", sa.String(50), nullable=False),
    sa.Column("geometry_data", Json, nullable=False),
    sa.Column("quantity", sa.Double, nullable=False),
    sa.Column("unit", sa.String(50), nullable=False),
    sa.Column("pixel_length", sa.Double),
    sa.Column("pixel_area", sa.Double),
    sa.Column("is_ai_generated", sa.Boolean, default=False, nullable=False),
    sa.Column("ai_confidence", sa.Double),
    sa.Column("ai_model", sa.String(100)),
    sa.Column("is_modified", sa.Boolean, default=False, nullable=False),
    sa.Column("is_verified", sa.Boolean, default=False, nullable=False),
    sa.Column("is_rejected", sa.Boolean, default=False, nullable=False),
    sa.Column("rejection_reason", sa.Text),
    sa.Column("review_notes", sa.Text),
    sa.Column("notes", sa.Text),
    sa.Index("ix_measurements_condition_page", "condition_id", "page_id"),
)

ASSEMBLIES = sa.Table(
    "assemblies",
    METADATA,
    *_row(),
    sa.Column(
        "condition_id", Id, sa.ForeignKey("conditions.id", ondelete="CASCADE"), unique=True, nullable=False
    ),
    sa.Column("material_cost", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
    sa.Column("labor_cost", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
    sa.Column("equipment_cost", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
    sa.Column("subcontract_cost", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
    sa.Column("other_cost", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
    sa.Column("total_cost", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
    sa.Column("unit_cost", sa.Numeric(10, 4), default=Decimal(0), nullable=False),
    sa.Column("total_labor_hours", sa.Double),
    sa.Column("overhead_percent", sa.Double),
    sa.Column("profit_percent", sa.Double),
    sa.Column("total_with_markup", sa.Numeric(12, 2), default=Decimal(0), nullable=False),
)
