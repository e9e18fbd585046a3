"""Makes a small export in a process of its own: the stages of a run in memory, with the same proof."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.core.tables import Table
from export_pipeline.datasets.catalogue import load_datasets
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.options import parse_options
from export_pipeline.formats.comparison import compare_totals, rows_agree
from export_pipeline.formats.registry import FORMATS
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.store.names import safe_file_name

MAX_ROWS = 10_000
MAX_FILE_BYTES = 64 << 20
MAX_MEMORY_BYTES = 2 << 30
STATEMENT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class InlineRequest:
    """A request that was checked.

    Attributes:
        options: Typed options of dataset and formats, as `config_of` returns them.
        folder: Folder for the file.
    """

    source_url: str
    dataset: str
    format: str
    scope: str | None
    options: Mapping[str, Any]
    folder: str


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A file that holds what the database holds."""

    path: str
    name: str
    media_type: str
    size: int
    sha256: str
    rows: int
    warnings: tuple[str, ...]
    snapshot_at: str


class TooManyRowsError(Exception):
    """Raised when an export is too large to be made at once."""


class NotProvenError(Exception):
    """Raised when a file does not hold what the database holds."""


def make_file(request: InlineRequest, datasets: Mapping[str, Dataset]) -> InlineFile:
    """Read, build, sanitize, render and read back an export.

    Raises:
        TooManyRowsError: it has more than MAX_ROWS rows, as counted in its own snapshot.
        NotProvenError: the file that was read back differs from the database.
        SourceError: the source cannot be read.
    """
    dataset = datasets[request.dataset]
    models = dataset.option_models()
    options, format_options = parse_options({**dataset.attributes.options, **request.options}, *models)
    with open_snapshot(request.source_url, statement_timeout=STATEMENT_SECONDS) as snapshot:
        asked = Request(request.dataset, dataset.shape, dataset.spec, request.scope, options)
        data = dataset.source.read(snapshot, asked)
        if data.source_rows > MAX_ROWS:
            raise TooManyRowsError(f"It has {data.source_rows:,} rows; {MAX_ROWS:,} can be made at once.")
        data = _hold(replace(data, options={**data.options, **format_options.model_dump()}))
    data = _hold(sanitize(_hold(dataset.shape.build(data))))
    layout = dataset.shape.layout(data)
    format = FORMATS[request.format]
    chosen = format.options_of(data.options)
    proof = format.proof(layout, chosen)
    descriptor, path = tempfile.mkstemp(suffix=format.extension, dir=request.folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            rendered = format.render(layout, file, chosen)
        facts = format.read_back(Path(path), chosen)
        _, wrong = compare_totals(proof, facts)
        if wrong or not rows_agree(proof, rendered, facts):
            raise NotProvenError(f"{request.dataset} as {request.format}: {sorted(wrong) or facts.problems}")
        with open(path, "rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        return InlineFile(
            path=path,
            name=safe_file_name(f"{layout.file_name}{format.extension}"),
            media_type=format.media_type,
            size=os.path.getsize(path),
            sha256=digest,
            rows=rendered.rows,
            warnings=(*data.warnings, *rendered.warnings),
            snapshot_at=data.snapshot_at.isoformat(),
        )
    except BaseException:
        os.unlink(path)
        raise


def _hold(data: ExportData) -> ExportData:
    """Return the export with its tables in memory: each stage is computed once, and `changed` is complete."""
    tables = {name: Table.of(name, table.columns, table.arrow()) for name, table in data.tables.items()}
    return replace(data, tables=tables)


def serve_requests(connection: Connection) -> None:
    """Make files for the service until it closes the connection. Runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing more raises an error
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
    datasets = _datasets()
    with suppress(EOFError, OSError):
        while True:
            request: InlineRequest = connection.recv()
            answer: object
            try:
                answer = make_file(request, datasets)
            except (TooManyRowsError, NotProvenError, SourceError) as error:
                answer = type(error)(str(error))
            except (MemoryError, OSError) as error:
                answer = TooManyRowsError(f"It takes too much memory or room ({type(error).__name__}).")
            except Exception as error:
                answer = RuntimeError(f"{type(error).__name__}: {error}")
            connection.send(answer)


def warm_up() -> None:
    """Import what the first export would, before processes are forked."""
    for dataset in _datasets().values():
        dataset.option_models()


@cache
def _datasets() -> Mapping[str, Dataset]:
    return load_datasets()
