"""The registry of formats. A new format is a package and one line here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export_pipeline.formats.base import Format
from export_pipeline.formats.csv.format import Csv
from export_pipeline.formats.dwca.format import Dwca
from export_pipeline.formats.excel.format import Excel
from export_pipeline.formats.json.format import Json, JsonLines
from export_pipeline.formats.parquet.format import Parquet
from export_pipeline.formats.pdf.format import Pdf
from export_pipeline.formats.zip.format import Zip
from export_pipeline.takeoff.ost.format import Ost


class UnknownFormatError(ValueError):
    """Raised for an unknown format; the message lists the known ones."""


FORMATS: dict[str, Format[Any]] = {}
FORMATS |= {
    format.name: format
    for format in (Csv(), Excel(), Pdf(), Json(), JsonLines(), Parquet(), Ost(), Dwca(), Zip(FORMATS))
}


def format_of(path: Path | str) -> Format[Any]:
    """Return the format that has a file's extension.

    Raises:
        UnknownFormatError: No format has it.
    """
    suffix = Path(path).suffix.lower()
    for format in FORMATS.values():
        if format.extension == suffix:
            return format
    raise UnknownFormatError(f"No format has files named *{suffix}; there are {', '.join(FORMATS)}.")
