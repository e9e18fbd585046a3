"""The interface of a format: its renderer, the reader that verifies its files, and its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout, Proof


class RenderError(Exception):
    """Raised when data cannot be written in a format. The message names the cell or limit and the remedy."""


@dataclass(slots=True)
class Rendered:
    """The result of a renderer.

    Attributes:
        rows: Number of the export's rows in the file.
        changed: Number of cells that differ from the source, by (reason, column header), e.g.
            ("rounded to 4 decimals", "Quantity"). Every value that the file does not hold exactly is
            counted here.
        left_out: Number of rows that this format cannot express; each is covered by a warning or by
            `changed`.
        warnings: Sentences for the manifest that a reader of the file should know.
    """

    rows: int = 0
    left_out: int = 0
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about a file, read back from its bytes alone by code other than its writer.

    Attributes:
        rows: Number of the export's rows found in it.
        totals: Sum over these rows by column name, for the columns that the format's layout names.
        problems: Defects that a reader would run into; empty for a sound file.
    """

    rows: int
    totals: Mapping[str, float]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """An entry of the format registry.

    Attributes:
        name: Name used in requests, e.g. "excel".
        extension: File name extension, with the dot.
        media_type: MIME type for links, mail and the store.
        render: Writes a layout to a binary stream (only `write` is used), in constant memory, with
            the format's options; raises RenderError.
        read_back: Reads a file back without the layout.
        proof: Returns what the file of a layout and options must hold, under the names that `read_back` uses.
        personal: Returns the file's columns with personal data by table, for a layout and options.
        help: One-line description.
    """

    name: str
    extension: str
    media_type: str
    render: Callable[[Layout, BinaryIO, Mapping[str, Any]], Rendered]
    read_back: Callable[[Path], FileFacts]
    proof: Callable[[Layout, Mapping[str, Any]], Proof]
    personal: Callable[[Layout, Mapping[str, Any]], dict[str, tuple[str, ...]]]
    help: str
