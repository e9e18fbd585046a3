"""What a format is: a renderer, a reader that proves it, and its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout, Proof


class RenderError(Exception):
    """The data cannot be written in this format. The message says which cell or limit, and what to do."""


@dataclass(slots=True)
class Rendered:
    """What a renderer did.

    Attributes:
        rows: Rows of the export that the file now holds.
        changed: How many cells differ from the source, by (reason, column header), e.g.
            ("rounded to 4 decimals", "Quantity"). Everything a file does not say exactly is here.
        left_out: Rows that this format cannot express; each is named by a warning or in `changed`.
        warnings: Sentences for the manifest: what a reader of the file should know.
    """

    rows: int = 0
    left_out: int = 0
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file holds, read back from its bytes alone by code that is not its writer.

    Attributes:
        rows: Rows of the export found in it.
        totals: Sum by column name over these rows, of the columns that the format's layout names.
        problems: What a reader would stumble over; empty for a sound file.
    """

    rows: int
    totals: Mapping[str, float]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A format of the registry.

    Attributes:
        name: The word used in requests, e.g. "excel".
        extension: Of the file, with the dot.
        media_type: For links, mail and the store.
        render: Writes a layout to a binary stream (only `write` is used), in constant memory, with
            the format's options; raises RenderError.
        read_back: Reads a file again, without the layout.
        proof: What the file must hold, by the names that `read_back` gives; of a layout and the options.
        personal: The columns with personal data in the file by table; of a layout and the options.
        help: One line for people.
    """

    name: str
    extension: str
    media_type: str
    render: Callable[[Layout, BinaryIO, Mapping[str, Any]], Rendered]
    read_back: Callable[[Path], FileFacts]
    proof: Callable[[Layout, Mapping[str, Any]], Proof]
    personal: Callable[[Layout, Mapping[str, Any]], dict[str, tuple[str, ...]]]
    help: str
