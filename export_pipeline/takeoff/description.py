"""Description of a takeoff export: the columns of its measurements, and the application's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export_pipeline.core.description import ColumnDescription, ShapeDescription
from export_pipeline.takeoff.fields import JOINED_FIELDS, MEASUREMENT_FIELDS
from export_pipeline.takeoff.layout import CSV_COLUMNS

_TABLES = ("projects", "documents", "pages", "conditions", "measurements", "assemblies")


def describe(spec: Mapping[str, Any]) -> ShapeDescription:
    """Return the description of a takeoff export, the same in every deployment."""
    kinds = {field.name: str(field.kind) for field in (*MEASUREMENT_FIELDS, *JOINED_FIELDS)}
    columns = tuple(ColumnDescription(name, header, kinds[name]) for name, header in CSV_COLUMNS)
    return ShapeDescription(columns, _TABLES)
