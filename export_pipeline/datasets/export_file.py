"""A verified export file: its description, its manifest, and the summary that Dagster shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from export_pipeline.core.amounts import Amount
from export_pipeline.core.columns import Column
from export_pipeline.core.description import ColumnDescription, Origin
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Content, Layout, Proof
from export_pipeline.core.schema import Schema
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.file_checks import CheckResult
from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import File
from export_pipeline.store import Store, Upload
from export_pipeline.store.base import StoredFile
from export_pipeline.store.file_names import safe_file_name
from export_pipeline.store.manifest import ColumnTotal, Manifest, changed_cells
from export_pipeline.store.parts import PartedUpload

PREVIEW_ROWS = 10
ON_DEMAND = "on_demand"
"""Cadence of exports that were requested."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A complete, verified file that is staged in the store and not yet visible.

    Attributes:
        store: The store that holds it.
        upload: The file with its key and its local path, or the parts with their folder.
        title: Title of the export for people, e.g. the project's name.
        file_name: File name of a download.
        partition: Partition of Dagster's asset; None if the asset has none.
        described: The columns of the dataset, as its pages describe them.
        personal: Headers of the columns with personal data, by table of the file.
        choices: Options that make it differ from the usual export of its dataset.
        left_out: Headers of the columns that the file leaves out because people rarely read them, or
            because no row has a value.
        preview: The first rows, as strings by header.
        checks: Results of its checks, if Dagster is told of them without a run.
        total_rows: Number of rows of the export in the source.
        private_totals: Names of the totals that Dagster, whose users see every export, does not show.
        changed: Cells that differ from the source, by (reason, column).
    """

    store: Store
    upload: Upload | PartedUpload
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
    described: tuple[ColumnDescription, ...]
    rendered: Rendered
    total_rows: int
    personal: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    preview: tuple[dict[str, str], ...]
    totals: dict[str, ColumnTotal]
    private_totals: frozenset[str]
    options: dict[str, Any]
    choices: dict[str, Any]
    snapshot_at: datetime
    run_id: str
    seconds: float
    warnings: tuple[str, ...] = ()
    changed: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendering:
    """An export that was rendered into the store and read back.

    Attributes:
        options: Options of the format.
        proof: Rows and sums that the file must hold.
        found: Rows and sums that the file holds.
    """

    store: Store
    upload: Upload | PartedUpload
    data: ExportData
    layout: Layout
    options: Any
    proof: Proof
    rendered: Rendered
    facts: FileFacts


class FileSummary(BaseModel):
    """Summary of a published file, for people who look at its materialization.

    Attributes:
        columns: Header and type of each column.
        descriptions: Description of columns, by header.
        origins: Columns of the application that columns are made of, by header.
        location: Location as shown to people: an absolute path, or `s3://bucket/…`.
        seconds: Time of rendering.
        changed: Number of cells that differ from the source, by reason and column.
        warnings: Sentences from the source and the format.
        totals: Sums by column: the exact number, and for people with its unit. Private ones are left out.
        choices: Options that make it differ from the usual export of its dataset.
        preview: The first rows, as strings by header.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    period: str | None
    snapshot_at: AwareDatetime
    rows: int
    total_rows: int
    columns: list[tuple[str, str]]
    descriptions: dict[str, str] = {}
    origins: dict[str, list[Origin]] = {}
    bytes: int
    sha256: str
    key: str
    location: str
    file_name: str
    expires_at: AwareDatetime
    seconds: float
    changed: dict[str, dict[str, int]]
    warnings: list[str]
    options: dict[str, Any]
    personal: dict[str, list[str]]
    totals: dict[str, tuple[str, str]]
    choices: dict[str, Any]
    scope: str | None
    scope_name: str | None
    preview: list[dict[str, str]]
    checks: list[CheckResult] = []


def describe_file(
    rendering: Rendering,
    format: Format[Any],
    dataset: Dataset,
    *,
    cadence: str,
    partition: str | None,
    run_id: str,
    seconds: float,
) -> ExportFile:
    """Return the description of a rendered file.

    Args:
        partition: Partition of Dagster's asset; None if the asset has none.
        seconds: Time of rendering.
    """
    data, layout, rendered = rendering.data, rendering.layout, rendering.rendered
    table = format.arrange(layout, rendering.options).main
    changed = Counter(data.changed)
    changed.update(rendered.changed)
    choices = dataset.choices(data.options)
    if data.window and cadence == ON_DEMAND:
        choices["window"] = data.window.period()
    proof = rendering.proof
    return ExportFile(
        store=rendering.store,
        upload=rendering.upload,
        title=_title(data, dataset.labels_scopes),
        file_name=file_name(layout, format),
        format=format.name,
        dataset=data.dataset,
        scope=data.scope,
        scope_name=_scope_name(data, dataset.labels_scopes),
        cadence=cadence,
        window=data.window,
        period=layout.period or data.period(),
        partition=partition,
        columns=table.columns,
        described=dataset.describe().columns,
        rendered=rendered,
        total_rows=proof.rows,
        personal=format.personal(layout, rendering.options),
        left_out=format.left_out(layout, rendering.options),
        preview=tuple(_preview(table)),
        totals=dict(_total(proof.amount(name), name, rendering.facts) for name in proof.totals),
        private_totals=frozenset(amount.column for amount in proof.amounts.values() if amount.is_private),
        options=dict(data.options),
        choices=choices,
        snapshot_at=data.snapshot_at,
        run_id=run_id,
        seconds=seconds,
        warnings=(*data.warnings, *rendered.warnings),
        changed=dict(changed),
    )


def file_name(layout: Layout, format: Format[Any]) -> str:
    """Return the name under which people save a file."""
    return safe_file_name(f"{layout.file_name}{format.extension}")


def manifest_of(
    file: ExportFile, stored: StoredFile, expires_at: datetime, deployment: str | None
) -> Manifest:
    """Return the manifest of a file.

    Args:
        stored: The file in the store.
        deployment: Id of this deployment; None if its ledger could not be read.
    """
    format = FORMATS[file.format]
    return Manifest(
        name=f"{file.dataset}-{file.format}",
        path=stored.key.rpartition("/")[2],
        bytes=stored.bytes,
        hash=f"sha256:{stored.sha256}",
        format=file.format,
        mediatype=format.media_type.partition(";")[0],
        encoding="utf-8" if format.is_text else None,
        rows=file.rendered.rows,
        total_rows=file.total_rows,
        # The other formats have layouts of their own.
        schema=Schema.of(file.columns if format.content is Content.ROWS else ()),
        title=file.file_name,
        scope_name=file.scope_name,
        dataset=file.dataset,
        scope=file.scope,
        cadence=file.cadence,
        window=file.window.name if file.window else None,
        period=file.period,
        options={name: value for name, value in file.options.items() if name != "filters"},
        filters=file.options.get("filters") or {},
        personal=file.personal,
        left_out=file.left_out,
        expires_at=expires_at,
        snapshot_at=file.snapshot_at,
        run_id=file.run_id,
        code_version=_code_version(),
        deployment=deployment,
        warnings=file.warnings,
        changed=changed_cells(file.changed),
        totals=dict(file.totals),
        parts=file.upload.parts if isinstance(file.upload, PartedUpload) else (),
    )


@cache
def _code_version() -> str:
    return version("export-pipeline")


def summarize_file(
    file: ExportFile,
    stored: StoredFile,
    expires_at: datetime,
    *,
    has_preview: bool = True,
    checks: Sequence[CheckResult] = (),
) -> FileSummary:
    """Return the summary of a file.

    Args:
        stored: The file in the store.
        has_preview: False if the first rows must not be shown.
        checks: Results of its checks.
    """
    by_name = {column.name: column for column in file.described}
    described = {column.header: by_name[column.name] for column in file.columns if column.name in by_name}
    return FileSummary(
        title=file.title,
        period=file.period,
        snapshot_at=file.snapshot_at,
        rows=file.rendered.rows,
        total_rows=file.total_rows,
        columns=[(column.header, str(column.kind)) for column in file.columns],
        descriptions={
            header: one.description for header, one in described.items() if one.description is not None
        },
        origins={header: list(one.origins) for header, one in described.items() if one.origins},
        bytes=stored.bytes,
        sha256=stored.sha256,
        key=stored.key,
        location=stored.location,
        file_name=file.file_name,
        expires_at=expires_at,
        seconds=file.seconds,
        changed=changed_cells(file.changed),
        warnings=list(file.warnings),
        options=file.options,
        personal={table: list(headers) for table, headers in file.personal.items()},
        totals={
            column: (str(total.value), total.text)
            for column, total in file.totals.items()
            if column not in file.private_totals
        },
        choices=file.choices,
        scope=file.scope,
        scope_name=file.scope_name,
        preview=list(file.preview) if has_preview else [],
        checks=list(checks),
    )


def published_file(file: ExportFile, stored: StoredFile) -> File:
    """Return a file as the ledger records it.

    Args:
        stored: The file in the store.
    """
    return File(
        stored.key,
        file.file_name,
        stored.bytes,
        file.rendered.rows,
        stored.sha256,
        file.total_rows,
        file.warnings,
        changed_cells(file.changed),
    )


def _title(data: ExportData, labels_scopes: bool) -> str:
    """Return the title of an export for Dagster's UI: the scope's id instead of its name if it shows ids."""
    is_named = data.scope is not None and data.title == data.subject.get("name")
    return str(data.scope) if is_named and not labels_scopes else data.title


def _scope_name(data: ExportData, labels_scopes: bool) -> str | None:
    return str(data.subject["name"]) if labels_scopes and data.subject.get("name") else None


def _total(amount: Amount, name: str, facts: FileFacts) -> tuple[str, ColumnTotal]:
    total = facts.totals.get(name, 0.0)
    return amount.column, ColumnTotal(
        value=Decimal(amount.value(total)),
        unit=amount.unit,
        read_as=name if name != amount.column else None,
        minor_digits=amount.minor_digits,
    )


def _preview(table: Table) -> list[dict[str, str]]:
    """Return the first rows as short strings by header, to be shown with a materialization.

    Every user of the UI can see them, so personal and guarded columns are left out.
    """
    columns = [column for column in table.columns if not column.personal and not column.guarded]
    if not columns:
        return []
    for batch in table.open():
        head = batch.slice(0, PREVIEW_ROWS).to_pylist()
        return [{column.header: _short(row[column.name]) for column in columns} for row in head]
    return []


def _short(value: Any) -> str:
    text = "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
