"""ExportData: what one export holds, and what every format is rendered from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be exported, as a source reads it.

    Attributes:
        dataset: The dataset's name.
        model: The module whose `options`, `build` and `layout` know its shape.
        spec: What its defs.yaml says of its shape; JSON values only. Empty for shapes known to a module.
        scope: Whose rows; None for a dataset that has no scopes, and only for such a one.
        options: Checked options, as the model's `options(spec)` gives them.
        window: The window, if the export is of one.
    """

    dataset: str
    model: str
    spec: Mapping[str, Any]
    scope: str | None
    options: BaseModel
    window: Window | None = None


@dataclass(slots=True)
class ExportData:
    """Facts about a subject and its typed tables, from one snapshot.

    Attributes:
        dataset: The dataset's name, e.g. "takeoff".
        model: The module whose `build` and `layout` know this shape, e.g. "export_pipeline.takeoff".
        scope: Whose rows these are, e.g. a project's id; None for a dataset that has no scopes.
        title: For people, e.g. the project's name.
        subject: Facts about the subject by field name; JSON values only.
        options: The options this export was asked for; JSON values only.
        tables: Typed tables by name.
        snapshot_at: When the source was read, UTC.
        window: The window it is about, if any: of takeoff, rows that existed by its end.
        source_rows: Rows of the export as the database itself counted them in the same snapshot.
        source_totals: Sums as the database itself added them, by column name; see `count_and_totals`.
        exact_totals: The same sums as exact decimals, of columns that the database adds exactly.
        counted: Names of the tables whose rows are the rows of the export (`source_rows`).
        changed: Cells that differ from the source, by (reason, "table.column"), filled while tables are read.
        warnings: Sentences a reader of the export should know.
        spec: What the dataset's defs.yaml says of its shape, for shapes that are declared; JSON values only.
    """

    dataset: str
    model: str
    scope: str | None
    title: str
    subject: Mapping[str, Any]
    options: Mapping[str, Any]
    tables: Mapping[str, Table]
    snapshot_at: datetime
    window: Window | None
    source_rows: int
    source_totals: Mapping[str, float]
    exact_totals: Mapping[str, str] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the data come from, as JSON values: dataset, scope, window, options."""
        return {
            "dataset": self.dataset,
            "scope": self.scope,
            "window": self.window and self.window.name,
            "options": dict(self.options),
        }

    def period(self, *, as_of: bool = False) -> str | None:
        """Return the window in words; None without one. See `Window.period`."""
        return self.window.period(as_of=as_of) if self.window else None

    @property
    def file_part(self) -> str:
        """The window in a file name, or without one the time of the data."""
        return self.window.file_part if self.window else f"{self.snapshot_at:%Y%m%d_%H%M%S}"
