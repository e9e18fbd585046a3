"""JSON: one document, streamed; numbers with every digit, times as ISO 8601 in UTC, missing values null.

Cells that JSON cannot hold are written in the nearest way and counted: NaN and infinities as null, a JSON
column's text that is not valid JSON as a string.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.formats import cells
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.model.buffers import data_of
from export_pipeline.model.columns import Column, Kind
from export_pipeline.model.geometry import valid_json
from export_pipeline.model.layout import Layout, Nested
from export_pipeline.model.tables import Table

NO_NUMBER = "not a finite number, written as null"
NO_JSON = "not valid JSON, written as a string"


def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
    """Write the layout's document. There are no options."""
    writer = _Writer(out)
    writer.value(layout.document)
    out.write(b"\n")
    return writer.done


class _Writer:
    def __init__(self, out: BinaryIO) -> None:
        self.write = out.write
        self.done = Rendered()

    def value(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self.write(b"{")
            for position, (key, item) in enumerate(value.items()):
                self.write((b",\n" if position else b"") + orjson.dumps(key) + b":")
                self.value(item)
            self.write(b"}")
        elif isinstance(value, Table):
            self._array(value)
        elif isinstance(value, Nested):
            self._nested(value)
        else:
            self.write(orjson.dumps(value, default=_plain))

    def _array(self, table: Table) -> None:
        self.done.rows = table.rows  # the document's last array holds its rows
        self.write(b"[")
        lead = b"\n"
        for batch in table.open():
            objects = data_of(self._objects(batch, table.columns, "},\n"))
            if len(objects):
                self.write(lead)
                self.write(objects[:-2])  # without the comma after the last one
                lead = b",\n"
        self.write(b"]")

    def _nested(self, nested: Nested) -> None:
        """Parents with their children inside. The parents are few; the children stream."""
        children = _Runs(self._objects(b, nested.child.columns, "},\n") for b in nested.child.open())
        parents = nested.parent.arrow().combine_chunks().to_batches()
        heads = self._objects(parents[0], nested.parent.columns, "") if parents else []
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

    def _objects(self, batch: pa.RecordBatch, columns: tuple[Column, ...], end: str) -> pa.Array:
        """Each row as the text of a JSON object; `end` closes it (or leaves it open)."""
        pieces: list[Any] = []
        for index, column in enumerate(columns):
            key = ("{" if index == 0 else ",") + orjson.dumps(column.name).decode() + ":"
            pieces += [key, pc.fill_null(self._cells(batch.column(index), column), "null")]
        return pc.binary_join_element_wise(*pieces, end, "")

    def _cells(self, array: pa.Array, column: Column) -> pa.Array:
        if column.kind is Kind.JSON:
            valid = valid_json(array)
            wrong = len(array) - array.null_count - (pc.sum(pc.and_(valid, array.is_valid())).as_py() or 0)
            if not wrong:
                return array
            self.done.changed[NO_JSON, column.name] += wrong
            return pc.if_else(pc.or_(valid, array.is_null()), array, _strings(array))
        if pa.types.is_string(array.type):
            return _strings(array)
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            return pc.binary_join_element_wise('"', cells.exact(array), '"', "")
        wrong = cells.not_finite(array)
        if wrong:
            self.done.changed[NO_NUMBER, column.name] += wrong
            array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
        return cells.exact(array)


def _strings(array: pa.Array) -> pa.Array:
    """Texts as JSON string literals."""
    if pc.any(pc.match_substring_regex(array, r"[\x00-\x08\x0b\x0c\x0e-\x1f]")).as_py():
        return pa.array(
            [None if t is None else orjson.dumps(t).decode() for t in array.to_pylist()], pa.string()
        )
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        if pc.any(pc.match_substring(array, plain)).as_py():
            array = pc.replace_substring(array, plain, escaped)
    return pc.binary_join_element_wise('"', array, '"', "")


class _Runs:
    """The bytes of consecutive cells, taken in runs of given lengths from arrays that stream."""

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


def read_back(path: Path) -> FileFacts:
    """Parse the whole file event by event, count the export's rows and add up their numbers by key.

    Which array holds the rows, the document itself says in `exportInfo.rowsPath`, e.g.
    "conditions[].measurements[]"; a document without it is one array of rows.
    """
    import ijson

    rows, owner = 0, "item"
    sums: dict[str, float] = {}
    try:
        with path.open("rb") as file:
            # Numbers as exact as they are written: the parser's own floats fail on integers beyond 64 bits.
            for prefix, event, value in ijson.parse(file):
                if event == "start_map" and prefix == owner:
                    rows += 1
                elif event == "number" and prefix.startswith(owner):
                    key = prefix[len(owner) + 1 :]
                    if "." not in key:  # not inside a JSON column's value
                        sums[key] = sums.get(key, 0.0) + float(value)
                elif prefix == "exportInfo.rowsPath":
                    owner = value.replace("[]", ".item")
    except (ijson.JSONError, UnicodeDecodeError) as error:
        return FileFacts(rows, {}, (f"not valid JSON: {error}",))
    return FileFacts(rows, sums)
