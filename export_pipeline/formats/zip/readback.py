"""Read a ZIP back: each file with its own format's reader, compared with its manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export_pipeline.formats.base import FileFacts, Format
from export_pipeline.formats.zip.files import MANIFEST, PACKAGE


def read_back(path: Path, formats: Mapping[str, Format[Any]], request: Mapping[str, Any]) -> FileFacts:
    """Compare every file in the archive with its manifest, read it with its own format's reader, add up.

    Totals are by "path: column". A file is read with the options in its manifest, else those of the request.
    """
    rows, totals, problems = 0, {}, []
    charts: list[tuple[float, ...]] = []
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
                format = formats[resource["format"]]
                facts = format.read_back(
                    extracted, format.options_of({**request, **resource.get("options", {})})
                )
                extracted.unlink()
                if facts.rows != resource["rows"]:
                    problems.append(f"{name}: {facts.rows} rows; its manifest says {resource['rows']}")
                rows += facts.rows
                charts += facts.charts
                totals.update({f"{name}: {column}": total for column, total in facts.totals.items()})
                problems += [f"{name}: {problem}" for problem in facts.problems]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
        problems.append(f"not a sound archive: {error}")
    return FileFacts(rows, totals, tuple(problems), tuple(charts))
