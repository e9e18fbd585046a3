"""Verifies an export file: compares it with its manifest, and reads it with code that did not write it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from export_pipeline.core.amounts import Amount
from export_pipeline.core.messages import describe_error
from export_pipeline.datasets.parts import sum_facts
from export_pipeline.formats.base import Format
from export_pipeline.formats.registry import format_of
from export_pipeline.store import NotFoundError, Store, manifest_key
from export_pipeline.store.manifest import Manifest, ManifestError, read_manifest
from export_pipeline.store.publish import verify_file


@dataclass(frozen=True, slots=True)
class Report:
    """The findings about an export file.

    Attributes:
        file: Its key or path.
        format: Name of its format.
        rows: Number of rows of the export in it.
        totals: Sums of columns, with their units.
        manifest: "compared", or "none" for a local file without one.
        problems: Sentences, empty for a sound file.
    """

    file: str
    format: str
    rows: int
    totals: dict[str, str]
    manifest: Literal["compared", "none"]
    problems: list[str]


def verify(store: Store, file: str) -> Report:
    """Verify one export file.

    Args:
        store: The store in which a key is looked up.
        file: A key of the store, or the path of a local file. A local file is compared with the manifest
            beside it; without a manifest it is only read.

    Raises:
        StoreError: there is no such file, or the store cannot be used.
        UnknownFormatError: the file's extension belongs to no format.
    """
    format = format_of(file)
    local = Path(file)
    if local.is_file():
        manifest, problems = _compare_with_manifest(local)
        return _report(file, format, [local], manifest, problems)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{format.extension}"
        try:
            stored = read_manifest(store, file)
        except (NotFoundError, ManifestError):
            stored = None  # verify_file reports it
        parts = stored.part_keys(file) if stored else []

        def downloaded() -> Iterator[Path]:
            for key in parts or [file]:
                store.download(key, path)
                yield path

        return _report(file, format, downloaded(), stored, verify_file(store, file))


def _compare_with_manifest(file: Path) -> tuple[Manifest | None, list[str]]:
    """Return the manifest beside a local file, and the differences between the two."""
    try:
        manifest = Manifest.from_json(file.with_name(manifest_key(file.name)).read_bytes())
    except FileNotFoundError:
        return None, []
    except ManifestError as error:
        return None, [str(error)]
    problems = []
    if (size := file.stat().st_size) != manifest.bytes:
        problems.append(f"The file has {size} bytes; its manifest says {manifest.bytes}.")
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if sha256 != manifest.sha256:
        problems.append(f"The file has the SHA-256 {sha256}; its manifest says {manifest.sha256}.")
    return manifest, problems


def _report(
    file: str, format: Format[Any], paths: Iterable[Path], manifest: Manifest | None, problems: list[str]
) -> Report:
    """Read a file, or its parts, with the options in its manifest or the default ones; compare both."""
    findings = [*problems]
    try:
        options = format.options_of(manifest.options if manifest else {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"{format.prefix}_{first['loc'][0]}" if first["loc"] else format.prefix
        findings.append(f"The manifest's option {name} is not valid: {describe_error(first)}.")
        options = format.options_of({})
    facts = sum_facts([format.read_back(path, options) for path in paths])
    findings += facts.problems
    if manifest and facts.rows != manifest.rows:
        findings.append(f"{facts.rows} rows were found; the manifest says {manifest.rows}.")
    totals = {column: Amount(column).text(total) for column, total in facts.totals.items()}
    if manifest:
        totals = {}
        for column, stored in manifest.totals.items():
            scale = -int(stored.value.as_tuple().exponent) if stored.value.is_finite() else None
            exact = stored.value if stored.value.is_finite() else None
            amount = Amount(column, scale, stored.unit, stored.minor_digits, exact)
            totals[column] = amount.text(facts.totals.get(stored.read_as or column, 0.0))
            if totals[column] != stored.text:
                findings.append(f"{column} adds up to {totals[column]}; the manifest says {stored.text}.")
    return Report(file, format.name, facts.rows, totals, "compared" if manifest else "none", findings)
