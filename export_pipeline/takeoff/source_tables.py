"""The tables of a construction takeoff application, with the columns that exports read."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Ids are UUIDs in PostgreSQL and 36-character strings elsewhere.
Id = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Json = JSON().with_variant(postgresql.JSONB(), "postgresql")
Moment = DateTime(timezone=True)


class Base(DeclarativeBase):
    metadata = MetaData()


class _Row:
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)


class Project(_Row, Base):
    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    client_name: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50), default="draft")


class Document(_Row, Base):
    __tablename__ = "documents"

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(500))
    original_filename: Mapped[str] = mapped_column(String(500))
    file_type: Mapped[str] = mapped_column(String(50), default="pdf")
    file_size: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(50), default="ready")
    page_count: Mapped[int | None] = mapped_column(Integer)


class Page(_Row, Base):
    __tablename__ = "pages"

    document_id: Mapped[str] = mapped_column(Id, ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    page_number: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    dpi: Mapped[int] = mapped_column(Integer, default=150)
    page_width_inches: Mapped[float | None] = mapped_column(Double)
    page_height_inches: Mapped[float | None] = mapped_column(Double)
    image_key: Mapped[str | None] = mapped_column(String(500))
    title: Mapped[str | None] = mapped_column(String(500))
    sheet_number: Mapped[str | None] = mapped_column(String(50))
    sheet_title: Mapped[str | None] = mapped_column(String(255))
    scale_text: Mapped[str | None] = mapped_column(String(100))
    scale_value: Mapped[float | None] = mapped_column(Double)
    scale_unit: Mapped[str | None] = mapped_column(String(20), default="foot")
    scale_calibrated: Mapped[bool] = mapped_column(Boolean, default=False)


class Condition(_Row, Base):
    __tablename__ = "conditions"

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    scope: Mapped[str | None] = mapped_column(String(100), default="concrete")
    category: Mapped[str | None] = mapped_column(String(100))
    measurement_type: Mapped[str] = mapped_column(String(50))
    color: Mapped[str | None] = mapped_column(String(20), default="#3B82F6")
    line_width: Mapped[int | None] = mapped_column(Integer, default=2)
    fill_opacity: Mapped[float | None] = mapped_column(Double, default=0.3)
    unit: Mapped[str] = mapped_column(String(50), default="LF")
    depth: Mapped[float | None] = mapped_column(Double)
    thickness: Mapped[float | None] = mapped_column(Double)
    total_quantity: Mapped[float] = mapped_column(Double, default=0.0)
    measurement_count: Mapped[int] = mapped_column(Integer, default=0)
    sort_order: Mapped[int] = mapped_column(Integer, default=0)
    is_ai_generated: Mapped[bool] = mapped_column(Boolean, default=False)
    is_visible: Mapped[bool] = mapped_column(Boolean, default=True)
    building: Mapped[str | None] = mapped_column(String(100))
    area: Mapped[str | None] = mapped_column(String(100))
    elevation: Mapped[str | None] = mapped_column(String(50))


class Measurement(_Row, Base):
    __tablename__ = "measurements"
    __table_args__ = (Index("ix_measurements_condition_page", "condition_id", "page_id"),)

    condition_id: Mapped[str] = mapped_column(Id, ForeignKey("conditions.id", ondelete="CASCADE"))
    page_id: Mapped[str] = mapped_column(Id, ForeignKey("pages.id", ondelete="CASCADE"), index=True)
    geometry_type: Mapped[str] = mapped_column(String(50))
    geometry_data: Mapped[Any] = mapped_column(Json)
    quantity: Mapped[float] = mapped_column(Double)
    unit: Mapped[str] = mapped_column(String(50))
    pixel_length: Mapped[float | None] = mapped_column(Double)
    pixel_area: Mapped[float | None] = mapped_column(Double)
    is_ai_generated: Mapped[bool] = mapped_column(Boolean, default=False)
    ai_confidence: Mapped[float | None] = mapped_column(Double)
    ai_model: Mapped[str | None] = mapped_column(String(100))
    is_modified: Mapped[bool] = mapped_column(Boolean, default=False)
    is_verified: Mapped[bool] = mapped_column(Boolean, default=False)
    is_rejected: Mapped[bool] = mapped_column(Boolean, default=False)
    rejection_reason: Mapped[str | None] = mapped_column(Text)
    review_notes: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[str | None] = mapped_column(Text)


class Assembly(_Row, Base):
    __tablename__ = "assemblies"

    condition_id: Mapped[str] = mapped_column(
        Id, ForeignKey("conditions.id", ondelete="CASCADE"), unique=True
    )
    material_cost: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    labor_cost: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    equipment_cost: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    subcontract_cost: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    other_cost: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    total_cost: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    unit_cost: Mapped[Decimal] = mapped_column(Numeric(10, 4), default=Decimal(0))
    total_labor_hours: Mapped[float | None] = mapped_column(Double)
    overhead_percent: Mapped[float | None] = mapped_column(Double)
    profit_percent: Mapped[float | None] = mapped_column(Double)
    total_with_markup: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
