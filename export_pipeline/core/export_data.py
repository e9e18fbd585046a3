"""ExportData: the content of one export, from which every format is rendered."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypedDict

from pydantic import BaseModel

from export_pipeline.core.description import ShapeDescription
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window


class Shape(Protocol):
    """The shape of a dataset's exports: its options, its computed content, its layout.

    A module with these functions is one.
    """

    def options(self, spec: Mapping[str, Any], /) -> type[BaseModel]:
        """Return the model of a request's options."""

    def build(self, data: ExportData, /) -> ExportData:
        """Compute the export from the rows that the source has read."""

    def layout(self, data: ExportData, /) -> Layout:
        """Lay an export out for people and programs."""


def describe(shape: Shape, spec: Mapping[str, Any]) -> ShapeDescription:
    """Return the description of a shape's exports for people; an empty one if the shape has none."""
    own: Callable[[Mapping[str, Any]], ShapeDescription] | None = getattr(shape, "describe", None)
    return ShapeDescription() if own is None else own(spec)


def hash_spec(spec: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a spec, by which a step checks that its spec is that of the step before."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Request:
    """A request for an export, as a source reads it.

    Attributes:
        dataset: The dataset's name.
        shape: The dataset's shape.
        spec: The shape as declared in defs.yaml; JSON values only. Empty if the shape needs no declaration.
        scope: The scope whose rows are exported; None if and only if the dataset has no scopes.
        options: Validated options, an instance of the shape's `options(spec)`.
        window: The window, if the export covers one.
    """

    dataset: str
    shape: Shape
    spec: Mapping[str, Any]
    scope: str | None
    options: BaseModel
    window: Window | None = None


class PreviousGroup(TypedDict):
    """The rows of the period before a window that have one value of the column that an export is grouped by.

    Attributes:
        value: The value as text; None if it is missing.
        names: The texts of the columns that name the group, in the first of its rows, by column.
        totals: Exact sums by column.
    """

    value: str | None
    names: Mapping[str, str | None]
    totals: Mapping[str, str]


@dataclass(slots=True)
class ExportData:
    """Facts about a subject and its typed tables, from one snapshot.

    Attributes:
        dataset: The dataset's name, e.g. "takeoff".
        shape: The dataset's shape.
        scope: The scope of the rows, e.g. a project's id; None for a dataset without scopes.
        title: For people, e.g. the project's name.
        subject: Facts about the subject by field name; JSON values only.
        options: The options of the request; JSON values only.
        tables: Typed tables by name.
        snapshot_at: When the source was read, UTC.
        window: The window of the export, if any. Takeoff exports the rows that existed by its end.
        source_rows: The export's row count, as counted by the database in the same snapshot.
        source_totals: Sums by column name, as added by the database; see `count_and_totals`.
        exact_totals: The same sums as exact decimals, for columns that the database adds exactly.
        previous_totals: Exact sums of the period before the window, by column, if they are to be compared.
        previous_groups: The same by group, if the export is grouped; None if groups are not compared.
        counted: Names of the tables whose rows make up `source_rows`.
        changed: Cells that differ from the source, by (reason, "table.column"); filled while tables are read.
        warnings: Sentences that a reader of the export should know.
        spec: The shape as declared in the dataset's defs.yaml, if it is declared; JSON values only.
    """

    dataset: str
    shape: Shape
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
    previous_totals: Mapping[str, str] = field(default_factory=dict)
    previous_groups: Sequence[PreviousGroup] | None = None
    counted: tuple[str, ...] = ()
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def provenance(self) -> dict[str, Any]:
        """The origin of the data as JSON values: dataset, scope, window, options."""
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
        """The part of a file name that states the window, or without one the time of the data."""
        return self.window.file_part if self.window else f"{self.snapshot_at:%Y%m%d_%H%M%S}"
