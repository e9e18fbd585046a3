"""Staged exports: ExportData in a folder, one or more Arrow files per table, written and read in batches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import ExportData, Shape, hash_spec
from export_pipeline.core.streams import merge
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window

_COLUMN = tuple(field.name for field in fields(Column))
_FACTS = "export.json"
COUNT = "exports"
"""Name of the file that marks what a step has staged as whole. It is written last."""
LINKS = "links.json"
"""Name of the file that identifies a copy in S3 of what a step has staged; see `shared_staging`."""
REJECTED = "refused"
"""Name of a step's subfolder for rejected files, kept for diagnosis."""
EXTRA = "extra"
"""Name of a run's subfolder for its extra requests, beside those of its steps."""

OnRows = Callable[[ExportData, str, int], None]
"""Called with the export, the name of one of its tables, and the number of rows just staged."""
_GONE = (
    "The staged data in {} are gone, or on another machine: the steps of a run need a common folder "
    "(EXPORT_STAGING_URL)."
)

_CHANGED = (
    "The defs.yaml of {} has changed since its rows were read; start a new run instead of re-executing this "
    "one from its failure."
)


class StagingError(Exception):
    """Raised when staged data are missing or incomplete."""


class StagingGoneError(StagingError):
    """Raised when there are no staged data."""


def save(data: ExportData, folder: Path, progress: OnRows | None = None) -> None:
    """Write ExportData into a folder, replacing its content. Facts are written last, to mark it as complete.

    Args:
        data: Its tables are read once, batch by batch.
        folder: Created if it does not exist.
        progress: Called after each batch.

    Raises:
        StagingError: a table yielded another number of rows than it declared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts_file = folder / _FACTS
    facts_file.unlink(missing_ok=True)
    tables = {}
    for name, table in data.tables.items():
        report = partial(progress, data, name) if progress else None
        files, rows = _write(name, table, folder, report)
        if rows != table.rows:
            raise StagingError(
                f"{data.dataset}: {rows} rows of {name} were read, but the source counted {table.rows}. "
                "Nothing was exported; run it again, and report it if it happens twice."
            )
        tables[name] = {
            "rows": rows,
            "columns": [{name: getattr(column, name) for name in _COLUMN} for column in table.columns],
            "files": [file.name for file in files],
        }
    facts = {
        "dataset": data.dataset,
        "scope": data.scope,
        "title": data.title,
        "subject": data.subject,
        "options": data.options,
        "snapshot_at": data.snapshot_at.isoformat(),
        "window": data.window
        and {
            "name": data.window.name,
            "start": data.window.start.isoformat(),
            "end": data.window.end.isoformat(),
            "timezone": data.window.timezone,
        },
        "source_rows": data.source_rows,
        "source_totals": data.source_totals,
        "exact_totals": data.exact_totals,
        "previous_totals": data.previous_totals,
        "previous_groups": data.previous_groups,
        "counted": data.counted,
        "changed": [[*key, count] for key, count in data.changed.items()],
        "warnings": data.warnings,
        "spec_hash": hash_spec(data.spec),
        "tables": tables,
    }
    write_whole(facts_file, json.dumps(facts))


def write_whole(path: Path, text: str) -> None:
    """Write a file that is whole or not there, also if the disk is full or the process is killed."""
    unfinished = path.with_name(f"part-{path.name}")
    unfinished.write_text(text)
    unfinished.replace(path)


class Definition(Protocol):
    """The part of a dataset that its staged exports do not repeat."""

    @property
    def shape(self) -> Shape: ...
    @property
    def spec(self) -> Mapping[str, Any]: ...


def load(folder: Path, datasets: Mapping[str, Definition]) -> ExportData:
    """Return the ExportData that `save` wrote. Its tables stream from the files and allow random access.

    Args:
        datasets: The datasets by name, as they are declared now.

    Raises:
        StagingGoneError: the folder holds no complete export.
        StagingError: its dataset was declared otherwise.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text())
    except FileNotFoundError:
        raise StagingGoneError(_GONE.format(folder)) from None
    tables = {name: _table(name, stored, folder) for name, stored in facts.pop("tables").items()}
    facts["counted"] = tuple(facts["counted"])
    facts["changed"] = Counter({(reason, cell): count for reason, cell, count in facts["changed"]})
    facts["snapshot_at"] = datetime.fromisoformat(facts["snapshot_at"])
    if window := facts["window"]:
        start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
        facts["window"] = Window(window["name"], start, end, window["timezone"])
    dataset = datasets.get(facts["dataset"])
    if dataset is None or hash_spec(dataset.spec) != facts.pop("spec_hash"):
        raise StagingError(_CHANGED.format(facts["dataset"]))
    return ExportData(**facts, shape=dataset.shape, spec=dataset.spec, tables=tables)


def save_all(
    exports: Sequence[ExportData],
    folder: Path,
    progress: OnRows | None = None,
) -> None:
    """Write several exports, each into a subfolder of its own; see `save`."""
    folder.mkdir(parents=True, exist_ok=True)
    count = folder / COUNT
    for mark in (count, folder / LINKS):
        mark.unlink(missing_ok=True)
    for number, data in enumerate(exports):
        save(data, folder / str(number), progress)
    write_whole(count, str(len(exports)))


def load_all(folder: Path, datasets: Mapping[str, Definition]) -> list[ExportData]:
    """Return the exports that `save_all` wrote; see `load`.

    Raises:
        StagingGoneError: some are missing or incomplete.
        StagingError: their dataset was declared otherwise.
    """
    try:
        count = int((folder / COUNT).read_text())
    except FileNotFoundError:
        raise StagingGoneError(_GONE.format(folder)) from None
    return [load(folder / str(number), datasets) for number in range(count)]


def is_whole(folder: Path) -> bool:
    """Return whether a folder holds everything that `save_all` writes."""
    return (folder / COUNT).exists()


def _write(
    name: str, table: Table, folder: Path, progress: Callable[[int], None] | None
) -> tuple[list[Path], int]:
    """Write a table's rows into files. Return the files in order, and their number of rows.

    `name` is the table's unique name in its export: the tables of a bundle's members may all be named rows.
    """
    parts = table.parts or (table.open,)
    paths = [folder / f"{name}-{number}.arrow" for number in range(len(table.files or parts))]
    _unlink(paths)  # they may be hard links to another step's files
    if table.files and _linked(table.files, paths):
        return paths, table.rows
    schema = pa.schema([(column.name, column.arrow_type) for column in table.columns])
    spools = [_spool(part, path, schema) for part, path in zip(parts, paths, strict=False)]
    rows = 0
    # A single part stays in this thread: a database connection must not leave it.
    for written in spools[0] if len(spools) == 1 else merge(spools):
        rows += written
        if progress:
            progress(written)
    return paths[: len(parts)], rows


def _spool(part: Callable[[], Iterator[pa.RecordBatch]], path: Path, schema: pa.Schema) -> Iterator[int]:
    """Write batches into a file, and yield the number of rows of each."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in part():
            writer.write_batch(batch)
            yield batch.num_rows


def _linked(files: Sequence[Path], paths: Sequence[Path]) -> bool:
    """Hard-link all files, to avoid a copy. Return False, with no link left, if one cannot be linked."""
    try:
        for file, path in zip(files, paths, strict=True):
            path.hardlink_to(file)
    except OSError:  # no hard links here, or another file system
        _unlink(paths)
        return False
    return True


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _table(name: str, stored: dict[str, Any], folder: Path) -> Table:
    files = tuple(folder / file for file in stored["files"])
    columns = tuple(
        Column(
            **{
                **column,
                "kind": Kind(column["kind"]),
                "labels": tuple(column["labels"]),
                "precision": column["precision"] and tuple(column["precision"]),
            }
        )
        for column in stored["columns"]
    )

    # Read, not memory-mapped: mapped pages would count as memory of this process, some 70 MB for each GB.
    narrowest = pa.ipc.IpcReadOptions(included_fields=_narrowest(columns), use_threads=False)

    def opened() -> Iterator[pa.RecordBatch]:
        for path in files:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                for index in range(reader.num_record_batches):
                    yield reader.get_batch(index)

    def mapped() -> pa.Table:
        return pa.concat_tables(pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in files)

    @cache
    def ends() -> np.ndarray:
        """Return the position after the last row of each batch. Few bytes of the files are read."""
        counts = []
        for path in files:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file, options=narrowest) as reader:
                counts += [reader.get_batch(index).num_rows for index in range(reader.num_record_batches)]
        return np.cumsum(counts, dtype=np.int64)

    def between(start: int, stop: int) -> Iterator[pa.RecordBatch]:
        first = number = int(np.searchsorted(ends(), start, side="right"))
        begin = 0 if first == 0 else int(ends()[first - 1])
        before = 0
        for path in files:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                while begin < stop and before <= number < before + reader.num_record_batches:
                    batch = reader.get_batch(number - before)
                    from_, to = max(start - begin, 0), min(stop - begin, batch.num_rows)
                    yield batch.slice(from_, to - from_)
                    begin, number = begin + batch.num_rows, number + 1
                before += reader.num_record_batches

    return Table(name, columns, stored["rows"], opened, mapped, files, between=between)


def _narrowest(columns: Sequence[Column]) -> list[int]:
    """Return the index of the column with the fewest bytes, in a list. Texts come last."""
    types = [column.arrow_type for column in columns]
    fixed = [index for index, type in enumerate(types) if pa.types.is_primitive(type)]
    return [min(fixed, key=lambda index: types[index].bit_width, default=0)] if types else []
