"""ExportData: what one export holds, and what every format is rendered from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from export_pipeline.model.tables import Table


@dataclass(slots=True)
class ExportData:
    """Facts about a subject and its typed tables, from one snapshot.

    Attributes:
        dataset: The dataset's name, e.g. "takeoff".
        model: The module whose `build` and `layout` know this shape, e.g. "export_pipeline.model.takeoff".
        scope: Whose rows these are, e.g. a project's id.
        title: For people, e.g. the project's name.
        subject: Facts about the subject by field name; JSON values only.
        options: The options this export was asked for; JSON values only.
        tables: Typed tables by name.
        snapshot_at: When the source was read, UTC.
        as_of: If set, only rows that existed before this moment were read.
        source_rows: Rows of the export as the database itself counted them in the same snapshot.
        source_totals: Sums as the database itself added them, by column name.
        changed: Cells that differ from the source, by (reason, "table.column"), filled while tables are read.
        warnings: Sentences a reader of the export should know.
    """

    dataset: str
    model: str
    scope: str
    title: str
    subject: Mapping[str, Any]
    options: Mapping[str, Any]
    tables: Mapping[str, Table]
    snapshot_at: datetime
    as_of: datetime | None
    source_rows: int
    source_totals: Mapping[str, float]
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
