"""Proves an export file from its bytes: against its manifest, and by reading it with another program's code."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.registry import format_of
from export_pipeline.store import Store, open_store
from export_pipeline.store.manifest import Manifest
from export_pipeline.store.publish import read_manifest, verify_file


def verify(store: Store, file: str) -> dict[str, Any]:
    """Check one export file.

    Args:
        store: Where a key is looked up.
        file: A key of the store, or the path of a local file. A local file with a manifest beside it is
            compared with it; one without is only read.

    Returns:
        file, format, rows, totals and problems: a list of sentences, empty for a sound file.

    Raises:
        StoreError: there is no such file, or the store cannot be used.
        UnknownFormatError: no format has files of this name.
    """
    local = Path(file)
    format = format_of(file)
    if not local.is_file():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"file{format.extension}"
            store.download(file, path)
            return _report(
                file,
                format.name,
                format.read_back(path),
                verify_file(store, file),
                read_manifest(store, file),
            )
    facts = format.read_back(local)
    if not local.with_name(f"{local.name}.manifest.json").exists():
        return _report(file, format.name, facts, [], None)
    beside = open_store(str(local.absolute().parent))
    return _report(
        file, format.name, facts, verify_file(beside, local.name), read_manifest(beside, local.name)
    )


def _report(
    file: str, format: str, facts: FileFacts, problems: list[str], manifest: Manifest | None
) -> dict[str, Any]:
    found = [*problems, *facts.problems]
    if manifest and facts.rows != manifest.rows:
        found.append(f"{facts.rows} rows were found; the manifest says {manifest.rows}.")
    for column, total in (manifest.totals if manifest else {}).items():
        there = facts.totals.get(column, 0.0)
        if total is not None and abs(there - total) > 1e-9 * max(1.0, abs(total)):
            found.append(f"{column} adds up to {there!r}; the manifest says {total!r}.")
    return {
        "file": file,
        "format": format,
        "rows": facts.rows,
        "totals": {
            column: facts.totals.get(column) for column in (manifest.totals if manifest else facts.totals)
        },
        "manifest": "compared" if manifest else "none beside the file",
        "problems": found,
    }
