"""Makes a small export in a worker process: the stages of a run, in memory, with the same verification."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from export_pipeline.api.inline_messages import (
    Failure,
    InlineError,
    InlineFile,
    InlineRequest,
    SourceQuestion,
)
from export_pipeline.configured_store import open_configured_store
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.export_file import (
    ExportFile,
    Rendering,
    manifest_of,
    published_file,
    summarize_file,
)
from export_pipeline.datasets.file_checks import check_file
from export_pipeline.datasets.scopes import read_recipients, read_scopes
from export_pipeline.datasets.small_export import (
    STATEMENT_SECONDS,
    TooLargeError,
    read_small,
    render_small,
)
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import Attempt, LedgerError, RefusedError, UnknownJobError
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.jobs.inline import InlineExports, new_inline_run
from export_pipeline.redaction import hide_in_error
from export_pipeline.settings import Settings
from export_pipeline.sources.snapshot import Source, SourceError, SourceUnavailableError, open_snapshot
from export_pipeline.store import Store, StoreError, Upload
from export_pipeline.store.publish import is_of_another_run, publish, unpublish

MAX_MEMORY_BYTES = 2 << 30
MAX_TABLE_BYTES = 256 << 20
"""Maximum size of the tables of an export after a stage, as Arrow has them."""


class InlineExporter:
    """Makes small exports, publishes their files and writes their rows, one after another.

    Args:
        folder: Folder for files while they are read back.
    """

    def __init__(self, settings: Settings, datasets: Mapping[str, Dataset], folder: str) -> None:
        self._settings, self._datasets, self._folder = settings, datasets, Path(folder)
        self._ledger = InlineExports(settings.jobs_url)

    @cached_property
    def _store(self) -> Store:
        return open_configured_store(self._settings)

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
        except (RefusedError, UnknownJobError) as error:
            raise InlineError(Failure.CANCELED, str(error)) from error
        except (LedgerError, StoreError) as error:
            raise InlineError(Failure.UNAVAILABLE, str(error)) from error
        except TooLargeError as error:
            raise InlineError(Failure.TOO_LARGE, str(error)) from error
        except MemoryError as error:
            raise InlineError(Failure.TOO_LARGE, "It takes too much memory.") from error

    def _make(self, request: InlineRequest) -> tuple[InlineFile, BinaryIO]:
        begun = time.monotonic()
        dataset, format = self._datasets[request.row["dataset"]], FORMATS[request.row["format"]]
        opening = open_snapshot(self._settings.source_url, statement_timeout=STATEMENT_SECONDS)
        data = read_small(opening, dataset, format, request.row["scope"], request.config, MAX_TABLE_BYTES)
        attempt = Attempt(request.job_id, 1, new_inline_run())
        with render_small(
            self._store,
            data,
            dataset,
            format,
            export_id=request.job_id,
            run_id=attempt.run_id or "",
            local=self._folder / f"{os.getpid()}-{request.job_id}{format.extension}",
        ) as (file, rendering):
            upload = cast(Upload, file.upload)
            opened = upload.path.open("rb")
            try:
                self._publish(file, rendering, attempt, request.row, begun)
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

    def _publish(
        self,
        file: ExportFile,
        rendering: Rendering,
        attempt: Attempt,
        row: Mapping[str, Any],
        begun: float,
    ) -> None:
        """Publish a proven file between the two transactions of its row."""
        attributes = self._datasets[file.dataset].attributes
        days = attributes.retention_days or self._settings.retention_days
        expires_at = datetime.now(UTC) + timedelta(days=days)
        summary = summarize_file(
            file,
            file.upload.finish(),
            expires_at,
            has_preview=attributes.preview,
            checks=check_file(rendering.proof, rendering.rendered, rendering.facts),
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
        except (RefusedError, UnknownJobError):
            unpublish(file.store, stored.key, unless=is_of_another_run(attempt.run_id))
            raise


def serve_requests(
    connection: Connection, settings: Settings, datasets: Mapping[str, Dataset], folder: str
) -> None:
    """Make files, or read scopes, for the service until it closes the connection.

    Runs in a process of its own.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
    exporter = InlineExporter(settings, datasets, folder)
    gc.disable()  # a twentieth of the time of an export
    with suppress(EOFError, OSError):
        while True:
            match connection.recv():
                case SourceQuestion() as question:
                    source = datasets[question.dataset].source
                    connection.send(_ask_source(settings, source, question))
                case request:
                    _answer(connection, exporter, request)
            _return_memory()  # while nobody waits
    with suppress(OSError):  # another process still uses it
        os.rmdir(folder)


def _return_memory() -> None:
    """Give back to the system what an export has used; libraries would keep it for the next one."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _ask_source(
    settings: Settings, source: Source, question: SourceQuestion
) -> Mapping[str, Any] | Exception:
    """Return names or mail addresses by scope, or the error that stopped the reading."""
    read = read_recipients if question.recipients else read_scopes
    timeout = settings.statement_timeout_seconds
    try:
        return read(settings.source_url, source, question.spec, statement_timeout=timeout)
    except SourceUnavailableError as error:
        return SourceUnavailableError(str(error))
    except SourceError as error:
        return SourceError(str(error))
    except Exception as error:
        hide_in_error(error)
        return InlineError(Failure.INTERNAL, f"{type(error).__name__}: {error}")


def _answer(connection: Connection, exporter: InlineExporter, request: InlineRequest) -> None:
    try:
        made, opened = exporter.make(request)
    except InlineError as error:
        connection.send(InlineError(error.reason, error.message))
    except Exception as error:
        hide_in_error(error)
        connection.send(InlineError(Failure.INTERNAL, f"{type(error).__name__}: {error}"))
    else:
        with opened:
            connection.send(made)
            send_handle(connection, opened.fileno(), os.getppid())
