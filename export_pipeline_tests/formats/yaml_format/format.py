"""YAML: a list with a mapping for each row."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import yaml
from pydantic import Field

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import FileFacts, Format, Options, Rendered


class YamlOptions(Options):
    """Options of YAML."""

    key: Annotated[str, Field(description="Key of the list in YAML; empty for a list without a key.")] = ""


class Yaml(Format[YamlOptions]):
    """YAML files."""

    name = "yaml"
    extension = ".yaml"
    media_type = "application/yaml"
    help = "A list of mappings."
    options = YamlOptions
    is_text = True

    def write(self, layout: Layout, out: BinaryIO, options: YamlOptions) -> Rendered:
        done = Rendered()
        if options.key:
            out.write(f"{options.key}:\n".encode())
        for batch in layout.main.open():
            for row in batch.to_pylist():
                out.write(f"- {json.dumps(row, default=str)}\n".encode())
                done.rows += 1
        return done

    def read_back(self, path: Path, options: YamlOptions) -> FileFacts:
        document = yaml.safe_load(path.read_text("utf-8"))
        rows = (document[options.key] if options.key else document) or []
        totals: dict[str, float] = {}
        for row in rows:
            for name, value in row.items():
                with suppress(TypeError, ValueError):
                    totals[name] = totals.get(name, 0.0) + float(value)
        return FileFacts(len(rows), totals)
