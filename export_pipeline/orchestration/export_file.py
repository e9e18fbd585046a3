"""What a render op hands to the IO manager: a rendered, checked file and all that is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from export_pipeline.core.columns import Column
from export_pipeline.formats.base import Rendered
from export_pipeline.store import Store, Upload
from export_pipeline.store.manifest import ColumnTotal


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A whole, proven file in the store that nobody sees yet.

    Attributes:
        store: Where it lies.
        upload: The file, with its key and its local path.
        title: Of the export, for people; e.g. the project's name.
        file_name: What people save it as.
        personal: Headers of the columns that hold personal data, by table of the file.
        preview: The first rows, as text by header.
        total_rows: Rows of the export that the source holds.
        changed: Every cell that differs from the source, by (reason, column).
    """

    store: Store
    upload: Upload
    title: str
    file_name: str
    format: str
    dataset: str
    scope: str | None
    cadence: str
    window: str | None
    period: str | None
    partition: str | None
    columns: tuple[Column, ...]
    rendered: Rendered
    total_rows: int
    personal: dict[str, tuple[str, ...]]
    preview: tuple[dict[str, str], ...]
    totals: dict[str, ColumnTotal]
    options: dict[str, Any]
    snapshot_at: datetime
    run_id: str
    seconds: float
    warnings: tuple[str, ...] = ()
    changed: dict[tuple[str, str], int] = field(default_factory=dict)
