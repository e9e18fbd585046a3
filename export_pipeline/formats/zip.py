"""ZIP: several formats of a dataset, or several datasets of a bundle, in one file of one snapshot.

Every file in it has its manifest beside it, and `datapackage.json` lists them (Frictionless Data Package).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout, Proof
from export_pipeline.core.schema import Schema
from export_pipeline.formats.base import FileFacts, Format, Rendered, RenderError
from export_pipeline.formats.excel.archive import Archive, Entry

PACKAGE = "datapackage.json"
MANIFEST = ".manifest.json"


def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
    """Write the layout, or each of its members, in each of the formats in option `formats`.

    Args:
        options: `formats` (names), and each format's own options under its name.
    """
    done = Rendered()
    resources = []
    with Archive(out, layout.created) as archive:
        for name, member in members(layout).items():
            for format in chosen(options["formats"]):
                path = f"{name}{format.extension}"
                entry = _Hashed(archive.entry(path))
                rendered = format.render(member, entry, options.get(format.name, {}))  # type: ignore[arg-type]
                entry.close()
                resource = _resource(path, format, member, rendered, entry)
                resources.append(resource)
                archive.add(path + MANIFEST, _json(resource))
                done.rows += rendered.rows
                done.left_out += rendered.left_out
                done.changed.update(
                    {(reason, f"{path}: {column}"): n for (reason, column), n in rendered.changed.items()}
                )
                done.warnings += [f"{path}: {warning}" for warning in rendered.warnings]
        package = {"title": layout.title, "created": layout.created.isoformat(), "resources": resources}
        archive.add(PACKAGE, _json(package))
    return done


def members(layout: Layout) -> Mapping[str, Layout]:
    """Return the layouts whose files a ZIP holds, by name."""
    return layout.members or {str(layout.provenance.get("dataset", "export")): layout}


def proof(layout: Layout, options: Mapping[str, Any]) -> Proof:
    """Return what each file in the ZIP must hold, under the names that `read_back` uses."""
    rows, totals, amounts = 0, {}, {}
    for name, member in members(layout).items():
        for format in chosen(options["formats"]):
            one = member.proofs[format.name]
            rows += one.rows
            path = f"{name}{format.extension}"
            for column, total in one.totals.items():
                amount = one.amount(column)
                totals[f"{path}: {column}"] = total
                amounts[f"{path}: {column}"] = replace(amount, column=f"{path}: {amount.column}")
    return Proof(rows, totals, amounts)


def personal(layout: Layout, options: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the headers of the columns with personal data, by "path: table" of the files in the ZIP."""
    return {
        f"{name}{format.extension}: {table}": headers
        for name, member in members(layout).items()
        for format in chosen(options["formats"])
        for table, headers in member.personal(format.name).items()
    }


def chosen(names: tuple[str, ...]) -> list[Format]:
    """Return the formats with these names.

    Raises:
        RenderError: A name is unknown, or it is zip itself.
    """
    from export_pipeline.formats.registry import FORMATS

    able = [name for name in FORMATS if name != "zip"]
    if unknown := [name for name in names if name not in able]:
        raise RenderError(f"A ZIP cannot hold {', '.join(unknown)}; there are {', '.join(able)}.")
    return [FORMATS[name] for name in names]


class _Hashed:
    """An archive entry that counts and hashes the bytes written into it."""

    closed = False  # Arrow checks this before it writes Parquet

    def __init__(self, entry: Entry) -> None:
        self._entry, self.close = entry, entry.close
        self.bytes, self.sha256 = 0, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self._entry.write(data)
        self.sha256.update(data)
        size = memoryview(data).nbytes
        self.bytes += size
        return size


def _resource(
    path: str, format: Format, layout: Layout, rendered: Rendered, entry: _Hashed
) -> dict[str, Any]:
    table = layout.flat.get(format.name, layout.main)
    changed: dict[str, dict[str, int]] = {}
    for (reason, column), count in sorted((Counter(layout.changed) + rendered.changed).items()):
        changed.setdefault(reason, {})[column] = count
    return {
        "name": f"{Path(path).stem}-{format.name}".lower(),
        "path": path,
        "format": format.name,
        "mediatype": format.media_type.partition(";")[0],
        "bytes": entry.bytes,
        "hash": f"sha256:{entry.sha256.hexdigest()}",
        "rows": rendered.rows,
        "total_rows": rendered.rows + rendered.left_out,
        "schema": Schema.of(table.columns).model_dump(exclude_none=True),
        "title": layout.title,
        "period": layout.period,
        "snapshot_at": layout.created.isoformat(),
        "personal": layout.personal(format.name),
        "changed": changed,
        "warnings": [*layout.warnings, *rendered.warnings],
        **layout.provenance,
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n").encode()


def read_back(path: Path) -> FileFacts:
    """Compare every file in the archive with its manifest, read it with its own format's reader, add up.

    Totals are by "path: column".
    """
    from export_pipeline.formats.registry import format_of

    rows, totals, problems = 0, {}, []
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=path.parent) as folder:
            for resource in json.loads(archive.read(PACKAGE))["resources"]:
                name = resource["path"]
                if json.loads(archive.read(name + MANIFEST)) != resource:
                    problems.append(f"{name}: its manifest and {PACKAGE} differ")
                extracted = Path(folder) / f"file{Path(name).suffix}"
                with archive.open(name) as packed, extracted.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
                with extracted.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                if resource["hash"] != f"sha256:{sha256}" or resource["bytes"] != extracted.stat().st_size:
                    problems.append(f"{name}: its bytes are not those of its manifest")
                facts = format_of(name).read_back(extracted)
                extracted.unlink()
                if facts.rows != resource["rows"]:
                    problems.append(f"{name}: {facts.rows} rows; its manifest says {resource['rows']}")
                rows += facts.rows
                totals.update({f"{name}: {column}": total for column, total in facts.totals.items()})
                problems += [f"{name}: {problem}" for problem in facts.problems]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
        problems.append(f"not a sound archive: {error}")
    return FileFacts(rows, totals, tuple(problems))
