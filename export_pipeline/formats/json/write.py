"""JSON: one streamed document; numbers without loss, times as ISO 8601, missing values null.

Cells that JSON cannot hold are replaced by the nearest value and counted: NaN and infinities become null,
invalid JSON in a JSON column becomes a string.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa

from export_pipeline.core.buffers import data_of
from export_pipeline.core.layout import Layout, NestedTable
from export_pipeline.core.streams import map_concurrently
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import Changed, Rendered
from export_pipeline.formats.json.options import JsonOptions
from export_pipeline.formats.json.rows import objects


def render(layout: Layout, out: BinaryIO, options: JsonOptions) -> Rendered:
    """Write the layout's document; only one that is a table takes the shape that the options choose."""
    if options.shape == "lines" and isinstance(layout.document, Table):
        done = render_lines(layout.document, out)
        if done.rows <= 1:
            # A single line could be taken for a document with the rows, an empty file for a truncated one.
            out.write(b"\n")
        return done
    writer = _Writer(out)
    writer.write_value(layout.document)
    out.write(b"\n")
    return writer.done


def render_lines(table: Table, out: BinaryIO) -> Rendered:
    """Write a table as one object per line."""
    writer = _Writer(out)
    writer.write_rows(table, b"", b"\n")
    if writer.done.rows:
        out.write(b"\n")
    return writer.done


class _Writer:
    def __init__(self, out: BinaryIO) -> None:
        self.write = out.write
        self.done = Rendered()

    def write_value(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self.write(b"{")
            for position, (key, item) in enumerate(value.items()):
                self.write((b",\n" if position else b"") + orjson.dumps(key) + b":")
                self.write_value(item)
            self.write(b"}")
        elif isinstance(value, Table):
            self._write_array(value)
        elif isinstance(value, NestedTable):
            self._write_nested(value)
        else:
            self.write(orjson.dumps(value, default=_plain))

    def _write_array(self, table: Table) -> None:
        self.write(b"[")
        self.write_rows(table, b"\n", b",\n")
        self.write(b"\n]")

    def write_rows(self, table: Table, lead: bytes, between: bytes) -> None:
        """Write one object per row, with a lead before the first and a separator between rows.

        These are the export's rows: the last array of a document holds them.
        """
        self.done.rows = 0
        end = "}" + between.decode()

        def texts(batch: pa.RecordBatch) -> tuple[pa.Array, Changed]:
            changed: Changed = Counter()
            return objects(batch, table.columns, end, changed), changed

        for made, changed in map_concurrently(texts, table.open()):
            if len(made):
                self.write(lead if self.done.rows == 0 else between)
                self.write(data_of(made)[: -len(between)])
            self.done.rows += len(made)
            self.done.changed.update(changed)

    def _write_nested(self, nested: NestedTable) -> None:
        """Write parents with their children inside. Parents are few; children are streamed."""
        changed = self.done.changed
        children = _Runs(objects(b, nested.child.columns, "},\n", changed) for b in nested.child.open())
        parents = nested.parent.arrow().combine_chunks().to_batches()
        heads = objects(parents[0], nested.parent.columns, "", changed) if parents else []
        self.done.rows = 0
        self.write(b"[")
        for position, head in enumerate(heads):
            self.write(b",\n" if position else b"\n")
            self.write(head.as_py().encode())
            self.write(b"," + orjson.dumps(nested.child_name) + b":[")
            held = b"\n"
            for part in children.take(nested.counts[position]):
                self.write(held)
                self.write(part[:-2])
                held = b",\n"
            self.write(b"]}")
            self.done.rows += nested.counts[position]
        self.write(b"]")


class _Runs:
    """The bytes of consecutive cells, taken in runs of given lengths from streamed arrays."""

    def __init__(self, arrays: Iterator[pa.Array]) -> None:
        self.arrays = arrays
        self.array: pa.Array | None = None
        self.position = 0

    def take(self, count: int) -> Iterator[memoryview]:
        while count:
            if self.array is None or self.position == len(self.array):
                self.array, self.position = next(self.arrays), 0
            run = self.array.slice(self.position, count)
            self.position += len(run)
            count -= len(run)
            if len(run):
                yield data_of(run)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}".encode())
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a layout's document holds a {type(value).__name__}")
