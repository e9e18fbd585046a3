"""A small export in memory: the stages of a run, without Dagster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.core.tables import Table
from export_pipeline.datasets.branding import lay_out
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.export_file import ON_DEMAND, ExportFile, Rendering, describe_file, file_name
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.parts import limits_of
from export_pipeline.formats.base import Format
from export_pipeline.formats.comparison import compare_totals, rows_agree
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.store import Store, Upload
from export_pipeline.store.keys import request_key

MAX_ROWS = 10_000
MAX_FILE_BYTES = 64 << 20
STATEMENT_SECONDS = 15.0
"""Timeout of a query of a small export."""


class TooLargeError(Exception):
    """Raised when an export is too large to be made in memory."""


class NotProvenError(Exception):
    """Raised when a file does not hold what the database holds."""


def read_small(
    opening: AbstractContextManager[Snapshot],
    dataset: Dataset,
    format: Format[Any],
    scope: str | None,
    config: Mapping[str, Any],
    max_bytes: int,
) -> ExportData:
    """Read, build and sanitize an export, with its tables in memory.

    Args:
        opening: Opens the snapshot of the source.
        config: Options of the request, as `config_of` returns them, without a window.
        max_bytes: Maximum size of all tables of a stage in memory, as Arrow has them. Two stages are held.

    Raises:
        TooLargeError: it has too many rows, or takes too much memory.
        SourceError: the source cannot be read.
    """
    given = {**dataset.attributes.options, **config}
    options, format_options = parse_options(given, *dataset.option_models())
    with opening as snapshot:
        request = Request(dataset.dataset, dataset.shape, dataset.spec, scope, options)
        data = dataset.source.read(snapshot, request)
        parts = limits_of(data.options, format)
        max_rows = min(MAX_ROWS, (parts and parts.max_rows) or MAX_ROWS)
        if data.source_rows > max_rows:
            message = f"It has {data.source_rows:,} rows; {max_rows:,} can be made at once."
            raise TooLargeError(message)
        data = _hold(replace(data, options={**data.options, **format_options.model_dump()}), max_bytes)
    for stage in (dataset.shape.build, sanitize):
        data = _hold(stage(data), max_bytes)  # the stage before is given back
    return data


@contextmanager
def render_small(
    store: Store,
    data: ExportData,
    dataset: Dataset,
    format: Format[Any],
    *,
    export_id: str,
    run_id: str,
    local: Path,
) -> Iterator[tuple[ExportFile, Rendering]]:
    """Render an export into the store, verify it, and yield it. It is not visible yet.

    Args:
        export_id: Name of the file in the store.
        local: Path of the file while it is read back.

    Raises:
        TooLargeError: the file is too large.
        NotProvenError: the file that was read back differs from the database.
        StoreError: the store cannot be used.
    """
    layout = lay_out(data)
    if parts := limits_of(data.options, format):
        data = replace(data, options=format.options_of_parts(data.options))
    options = format.options_of(data.options)
    max_bytes = min(MAX_FILE_BYTES, (parts and parts.max_bytes) or MAX_FILE_BYTES)
    proof = format.proof(layout, options)
    started = time.monotonic()
    with store.begin(
        request_key(data.scope, export_id, format.extension),
        media_type=format.media_type,
        file_name=file_name(layout, format),
        local=local,
    ) as upload:
        rendered = format.render(layout, cast(BinaryIO, _Bounded(upload, max_bytes)), options)
        upload.finish()
        seconds = time.monotonic() - started
        facts = format.read_back(upload.path, options)
        _, wrong = compare_totals(proof, facts)
        if wrong or not rows_agree(proof, rendered, facts):
            what = f"{data.dataset} as {format.name}"
            raise NotProvenError(f"{what}: {sorted(wrong) or facts.problems or 'the number of rows'}")
        rendering = Rendering(store, upload, data, layout, options, proof, rendered, facts)
        described = describe_file(
            rendering,
            format,
            dataset,
            cadence=ON_DEMAND,
            partition=None,
            run_id=run_id,
            seconds=seconds,
        )
        yield described, rendering


class _Bounded:
    """Passes a file's bytes to an upload, up to the size that is made in memory."""

    def __init__(self, upload: Upload, max_bytes: int) -> None:
        self._upload, self._left, self._max_bytes = upload, max_bytes, max_bytes

    def write(self, data: Any) -> int:
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise TooLargeError(f"Its file is larger than {self._max_bytes:,} bytes.")
        return self._upload.write(data)

    @property
    def closed(self) -> bool:
        return self._upload.closed


def _hold(data: ExportData, max_bytes: int) -> ExportData:
    """Return the export with its tables in memory: each stage is computed once, and `changed` is complete."""
    left, tables = max_bytes, {}
    for name, table in data.tables.items():
        batches = []
        for batch in table.open():
            if (left := left - batch.nbytes) < 0:
                raise TooLargeError(f"It takes more than {max_bytes:,} bytes of memory.")
            batches.append(batch)
        whole = pa.Table.from_batches(batches) if batches else table.arrow()
        tables[name] = Table.of(name, table.columns, whole)
    return replace(data, tables=tables)
