"""Output of a render op: a rendered, verified file and its metadata, passed to the IO manager."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from export_pipeline.core.columns import Column
from export_pipeline.core.windows import Window
from export_pipeline.formats.base import Rendered
from export_pipeline.store import Store, Upload
from export_pipeline.store.manifest import ColumnTotal

CONTENT_TAG = "export_pipeline/content"
"""Tag of a materialization whose file is not the usual export of its dataset: the options that differ."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A complete, verified file that is staged in the store and not yet visible.

    Attributes:
        store: The store that holds it.
        upload: The file, with its key and its local path.
        title: Title of the export for people, e.g. the project's name.
        file_name: File name of a download.
        personal: Headers of the columns with personal data, by table of the file.
        choices: Options that make it differ from the usual export of its dataset.
        left_out: Headers of the columns that the file leaves out because people rarely read them.
        preview: The first rows, as strings by header.
        total_rows: Number of rows of the export in the source.
        changed: Cells that differ from the source, by (reason, column).
    """

    store: Store
    upload: Upload
    title: str
    file_name: str
    format: str
    dataset: str
    scope: str | None
    scope_name: str | None
    cadence: str
    window: Window | None
    period: str | None
    partition: str | None
    columns: tuple[Column, ...]
    rendered: Rendered
    total_rows: int
    personal: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    preview: tuple[dict[str, str], ...]
    totals: dict[str, ColumnTotal]
    options: dict[str, Any]
    choices: dict[str, Any]
    snapshot_at: datetime
    run_id: str
    seconds: float
    warnings: tuple[str, ...] = ()
    changed: dict[tuple[str, str], int] = field(default_factory=dict)
