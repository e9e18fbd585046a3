"""The registry of formats. A new format is a module and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout, Proof
from export_pipeline.formats.base import FileFacts, Format, Rendered


class UnknownFormatError(ValueError):
    """Raised for an unknown format; the message lists the known ones."""


def _format(name: str, module: str, extension: str, media_type: str, help: str) -> Format:
    """Return a format whose module, with the libraries it needs, is imported on first use."""

    def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
        rendered: Rendered = import_module(module).render(layout, out, options)
        return rendered

    def read_back(path: Path) -> FileFacts:
        facts: FileFacts = import_module(module).read_back(path)
        return facts

    def proof(layout: Layout, options: Mapping[str, Any]) -> Proof:
        if name in layout.proofs:
            return layout.proofs[name]
        found: Proof = import_module(module).proof(layout, options)
        return found

    def personal(layout: Layout, options: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        if layout.members or name == "zip":
            found: dict[str, tuple[str, ...]] = import_module(module).personal(layout, options)
            return found
        return layout.personal(name)

    return Format(name, extension, media_type, render, read_back, proof, personal, help)


_HERE = __package__
_OST = "export_pipeline.takeoff.ost.write"
_PARQUET = "application/vnd.apache.parquet"
_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        _format(
            "csv", f"{_HERE}.csv.write", ".csv", "text/csv; charset=utf-8", "One flat table, after RFC 4180."
        ),
        _format("excel", f"{_HERE}.excel", ".xlsx", _SHEET, "A workbook with typed cells and live totals."),
        _format("pdf", f"{_HERE}.pdf", ".pdf", "application/pdf", "A report to read, print and search."),
        _format("json", f"{_HERE}.json.write", ".json", "application/json", "Everything, nested, exact."),
        _format(
            "jsonl", f"{_HERE}.json.lines", ".jsonl", "application/jsonl", "An object a line, to stream."
        ),
        _format(
            "parquet", f"{_HERE}.parquet", ".parquet", _PARQUET, "Typed columns for programs, compressed."
        ),
        _format(
            "ost",
            "export_pipeline.takeoff.ost.write",
            ".xml",
            "application/xml",
            "On-Screen Takeoff XML to import.",
        ),
        _format("zip", f"{_HERE}.zip", ".zip", "application/zip", "Several formats, with their manifests."),
    )
}


def format_of(path: Path | str) -> Format:
    """Return the format that has a file's extension.

    Raises:
        UnknownFormatError: No format has it.
    """
    suffix = Path(path).suffix.lower()
    for format in FORMATS.values():
        if format.extension == suffix:
            return format
    raise UnknownFormatError(f"No format has files named *{suffix}; there are {', '.join(FORMATS)}.")
