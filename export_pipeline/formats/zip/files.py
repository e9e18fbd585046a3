"""The files in a ZIP, and the options that choose them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Format

README = "README.txt"
PACKAGE = "datapackage.json"
MANIFEST = ".manifest.json"
"""Suffix of the name of a file's manifest."""


@dataclass(frozen=True, slots=True)
class ZipOptions:
    """The formats of the files in a ZIP, and the request with the options of these formats."""

    formats: tuple[Format[Any], ...]
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ZipFile:
    """One file in a ZIP: a layout in a format."""

    path: str
    format: Format[Any]
    layout: Layout
    options: Any
