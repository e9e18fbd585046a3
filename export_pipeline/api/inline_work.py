"""Makes a small export in a process of its own: the stages of a run in memory, with the same proof."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from export_pipeline.api.inline_messages import Failure, InlineError, InlineFile, InlineRequest
from export_pipeline.api.stores import configured_store
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.core.tables import Table
from export_pipeline.datasets.branded import lay_out
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.export_file import (
    ON_DEMAND,
    ExportFile,
    Rendering,
    describe_file,
    file_name,
    manifest_of,
    published_file,
    summarize_file,
)
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.parts import limits_of
from export_pipeline.formats.comparison import compare_totals, rows_agree
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import Attempt, LedgerError, RefusedError
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.jobs.inline import InlineExports, new_inline_run
from export_pipeline.redaction import hide_in_error
from export_pipeline.settings import Settings
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError, open_snapshot
from export_pipeline.store import Store, StoreError, Upload
from export_pipeline.store.keys import request_key
from export_pipeline.store.publish import is_of_another_run, publish, unpublish

MAX_ROWS = 10_000
MAX_FILE_BYTES = 64 << 20
MAX_MEMORY_BYTES = 2 << 30
STATEMENT_SECONDS = 15.0


class NotProvenError(Exception):
    """Raised when a file does not hold what the database holds."""


class InlineMaker:
    """Makes small exports, publishes their files and writes their rows, one after another.

    Args:
        folder: Folder for files while they are read back.
    """

    def __init__(self, settings: Settings, datasets: Mapping[str, Dataset], folder: str) -> None:
        self._settings, self._datasets, self._folder = settings, datasets, Path(folder)
        self._ledger = InlineExports(settings.jobs_url)

    @cached_property
    def _store(self) -> Store:
        return configured_store(self._settings)

    @cached_property
    def _deployment(self) -> str:
        return self._ledger.deployment()

    def make(self, request: InlineRequest) -> tuple[InlineFile, BinaryIO]:
        """Read, build, sanitize, render, read back and publish an export. Return it, opened for reading.

        Raises:
            InlineError: the reason why it was not made.
            NotProvenError: the file that was read back differs from the database.
        """
        try:
            return self._make(request)
        except SourceUnavailableError as error:
            raise InlineError(Failure.SOURCE_UNAVAILABLE, str(error)) from error
        except SourceError as error:
            raise InlineError(Failure.SOURCE_ERROR, str(error)) from error
        except RefusedError as error:
            raise InlineError(Failure.CANCELED, str(error)) from error
        except (LedgerError, StoreError) as error:
            raise InlineError(Failure.UNAVAILABLE, str(error)) from error
        except MemoryError as error:
            raise InlineError(Failure.TOO_LARGE, "It takes too much memory.") from error

    def _make(self, request: InlineRequest) -> tuple[InlineFile, BinaryIO]:
        begun = time.monotonic()
        data = self._read(request)
        layout = lay_out(data)
        format = FORMATS[request.row["format"]]
        options = format.options_of(data.options)
        parts = limits_of(data.options, format)
        max_bytes = min(MAX_FILE_BYTES, (parts and parts.max_bytes) or MAX_FILE_BYTES)
        proof = format.proof(layout, options)
        attempt = Attempt(request.job_id, 1, new_inline_run())
        store, started = self._store, time.monotonic()
        with store.begin(
            request_key(data.scope, request.job_id, format.extension),
            media_type=format.media_type,
            file_name=file_name(layout, format),
            local=self._folder / f"{os.getpid()}-{request.job_id}{format.extension}",
        ) as upload:
            rendered = format.render(layout, cast(BinaryIO, _Bounded(upload, max_bytes)), options)
            upload.finish()
            seconds = time.monotonic() - started
            facts = format.read_back(upload.path, options)
            _, wrong = compare_totals(proof, facts)
            if wrong or not rows_agree(proof, rendered, facts):
                what = f"{data.dataset} as {format.name}"
                raise NotProvenError(f"{what}: {sorted(wrong) or facts.problems or 'the number of rows'}")
            file = describe_file(
                Rendering(store, upload, data, layout, options, proof, rendered, facts),
                format,
                self._datasets[data.dataset],
                cadence=ON_DEMAND,
                partition=None,
                run_id=attempt.run_id or "",
                seconds=seconds,
            )
            opened = upload.path.open("rb")
            try:
                self._publish(file, attempt, request.row, begun)
            except BaseException:
                opened.close()
                raise
        stored = upload.finish()
        published = published_file(file, stored)
        made = InlineFile(
            job_id=request.job_id,
            name=file.file_name,
            media_type=format.media_type,
            size=stored.bytes,
            sha256=stored.sha256,
            rows=published.rows,
            total_rows=file.total_rows,
            warnings=len(
                file_notes(published.rows, file.total_rows, published.warnings, published.changed_cells)
            ),
            snapshot_at=data.snapshot_at.isoformat(),
        )
        return made, opened

    def _read(self, request: InlineRequest) -> ExportData:
        dataset = self._datasets[request.row["dataset"]]
        given = {**dataset.attributes.options, **request.config}
        options, format_options = parse_options(given, *dataset.option_models())
        with open_snapshot(self._settings.source_url, statement_timeout=STATEMENT_SECONDS) as snapshot:
            asked = Request(dataset.dataset, dataset.shape, dataset.spec, request.row["scope"], options)
            data = dataset.source.read(snapshot, asked)
            parts = limits_of(data.options, FORMATS[request.row["format"]])
            max_rows = min(MAX_ROWS, (parts and parts.max_rows) or MAX_ROWS)
            if data.source_rows > max_rows:
                message = f"It has {data.source_rows:,} rows; {max_rows:,} can be made at once."
                raise InlineError(Failure.TOO_LARGE, message)
            data = _hold(replace(data, options={**data.options, **format_options.model_dump()}))
        return _hold(sanitize(_hold(dataset.shape.build(data))))

    def _publish(self, file: ExportFile, attempt: Attempt, row: Mapping[str, Any], begun: float) -> None:
        """Publish a proven file between the two transactions of its row."""
        attributes = self._datasets[file.dataset].attributes
        days = attributes.retention_days or self._settings.retention_days
        expires_at = datetime.now(UTC) + timedelta(days=days)
        summary = summarize_file(
            file, file.upload.finish(), expires_at, has_preview=attributes.preview
        ).model_dump(mode="json")
        stored, _ = publish(
            file.store,
            file.upload,
            lambda stored: manifest_of(file, stored, expires_at, self._deployment),
            before_visible=lambda: self._ledger.begin_inline(
                attempt, row, summary, since=timedelta(seconds=time.monotonic() - begun)
            ),
        )
        try:
            self._ledger.completed(attempt, published_file(file, stored), expires_at)
        except RefusedError:
            unpublish(file.store, stored.key, unless=is_of_another_run(attempt.run_id))
            raise


class _Bounded:
    """Passes a file's bytes to an upload, up to the size that is made at once."""

    def __init__(self, upload: Upload, max_bytes: int) -> None:
        self._upload, self._left, self._max_bytes = upload, max_bytes, max_bytes

    def write(self, data: Any) -> int:
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            message = f"Its file is larger than {self._max_bytes:,} bytes."
            raise InlineError(Failure.TOO_LARGE, message)
        return self._upload.write(data)

    @property
    def closed(self) -> bool:
        return self._upload.closed


def _hold(data: ExportData) -> ExportData:
    """Return the export with its tables in memory: each stage is computed once, and `changed` is complete."""
    tables = {name: Table.of(name, table.columns, table.arrow()) for name, table in data.tables.items()}
    return replace(data, tables=tables)


def serve_requests(
    connection: Connection, settings: Settings, datasets: Mapping[str, Dataset], folder: str
) -> None:
    """Make files for the service until it closes the connection. Runs in a process of its own."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
    maker = InlineMaker(settings, datasets, folder)
    gc.disable()  # a twentieth of the time of an export
    with suppress(EOFError, OSError):
        while True:
            _answer(connection, maker, connection.recv())
            _return_memory()  # while nobody waits
    with suppress(OSError):  # another process still uses it
        os.rmdir(folder)


def _return_memory() -> None:
    """Give back to the system what an export has used; libraries would keep it for the next one."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _answer(connection: Connection, maker: InlineMaker, request: InlineRequest) -> None:
    try:
        made, opened = maker.make(request)
    except InlineError as error:
        connection.send(InlineError(error.reason, error.message))
    except Exception as error:
        hide_in_error(error)
        connection.send(InlineError(Failure.INTERNAL, f"{type(error).__name__}: {error}"))
    else:
        with opened:
            connection.send(made)
            send_handle(connection, opened.fileno(), os.getppid())
