"""Write a ZIP: every file has its manifest beside it, and `datapackage.json` lists them (Frictionless)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.core.schema import Schema
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.excel.archive import Archive, Entry
from export_pipeline.formats.zip.files import MANIFEST, PACKAGE, README, ZipFile


def render(files: Iterable[ZipFile], layout: Layout, out: BinaryIO) -> Rendered:
    """Write the files of a layout, one after the other."""
    done = Rendered()
    resources = []
    members: list[Layout] = []
    with Archive(out, layout.created) as archive:
        for file in files:
            entry = _Hashed(archive.entry(file.path))
            rendered = file.format.render(file.layout, entry, file.options)  # type: ignore[arg-type]
            entry.close()
            resource = _resource(file, rendered, entry)
            resources.append(resource)
            members.append(file.layout)
            archive.add(file.path + MANIFEST, _json(resource))
            done.rows += rendered.rows
            done.left_out += rendered.left_out
            done.changed.update(
                {(reason, f"{file.path}: {column}"): n for (reason, column), n in rendered.changed.items()}
            )
            done.warnings += [f"{file.path}: {warning}" for warning in rendered.warnings]
        package = {"title": layout.title, "created": layout.created.isoformat(), "resources": resources}
        archive.add(PACKAGE, _json(package))
        archive.add(README, _readme(layout, members, resources).encode())
    return done


def _readme(layout: Layout, members: Sequence[Layout], resources: Sequence[Mapping[str, Any]]) -> str:
    """Return a text for people: whose data these are and of when, and what is in each file."""
    shared = [
        fact
        for fact in (members[0].facts if members else ())
        if fact[0] != "Rows" and all(fact in member.facts for member in members)
    ]
    width = max((len(resource["path"]) for resource in resources), default=0)
    lines = [layout.title, *(f"{label}: {value}" for label, value in shared), "", "Files", ""]
    for resource in resources:
        rows, total_rows = resource["rows"], resource["total_rows"]
        of_source = f" of {total_rows:,}" if rows < total_rows else ""
        line = f"{resource['path']:{width}}  {rows:,}{of_source} rows, {resource['bytes']:,} bytes"
        lines.append(line + (f", period {resource['period']}" if resource["period"] else ""))
        personal = [column for columns in resource["personal"].values() for column in columns]
        lines += [f"{'':{width}}  personal data: {', '.join(personal)}"] if personal else []
        left_out = resource["left_out"]
        lines += [f"{'':{width}}  left out: {', '.join(left_out)}"] if left_out else []
        lines += [f"{'':{width}}  note: {warning}" for warning in resource["warnings"]]
        lines += [
            f"{'':{width}}  {count:,} cell{'s' * (count != 1)} of {column}: {reason}"
            for reason, columns in resource["changed"].items()
            for column, count in columns.items()
        ]
    lines += [
        "",
        f"Beside each file, *{MANIFEST} has its columns, size, SHA-256 and origin.",
        f"{PACKAGE} lists them all (Frictionless Data Package).",
    ]
    return "\r\n".join(lines) + "\r\n"


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


def _resource(file: ZipFile, rendered: Rendered, entry: _Hashed) -> dict[str, Any]:
    layout = file.format.arrange(file.layout, file.options)
    changed: dict[str, dict[str, int]] = {}
    for (reason, column), count in sorted((Counter(layout.changed) + rendered.changed).items()):
        changed.setdefault(reason, {})[column] = count
    return {
        "name": f"{Path(file.path).stem}-{file.format.name}".lower(),
        "path": file.path,
        "format": file.format.name,
        "mediatype": file.format.media_type.partition(";")[0],
        "bytes": entry.bytes,
        "hash": f"sha256:{entry.sha256.hexdigest()}",
        "rows": rendered.rows,
        "total_rows": rendered.rows + rendered.left_out,
        "schema": Schema.of(layout.main.columns).model_dump(exclude_none=True),
        "title": layout.title,
        "period": layout.period,
        "snapshot_at": layout.created.isoformat(),
        "personal": file.format.personal(file.layout, file.options),
        "left_out": layout.left_out,
        "changed": changed,
        "warnings": [*layout.warnings, *rendered.warnings],
        **layout.provenance,
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n").encode()
