"""CSV after RFC 4180: UTF-8, CRLF, quotes only where needed, one flat table.

An empty text is written as `""`, a missing value as nothing, so that a reader can tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.formats import cells
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.model.columns import Column, Kind
from export_pipeline.model.layout import Layout
from export_pipeline.model.sanitize import GUARDED, guard

BOM = b"\xef\xbb\xbf"


def render(layout: Layout, out: BinaryIO, options: Mapping[str, Any]) -> Rendered:
    """Write the main table. Option `bom` (bool, default false) puts a byte order mark first, for Excel."""
    done = Rendered()
    table = layout.main
    if options.get("bom"):
        out.write(BOM)
    headers, dangerous = guard(pa.array([column.header for column in table.columns], pa.string()))
    if dangerous:
        done.changed[GUARDED, "(headers)"] += dangerous
    out.write(",".join(_quoted(headers).to_pylist()).encode() + b"\r\n")
    for batch in table.open():
        fields = [_field(batch.column(i), column, done) for i, column in enumerate(table.columns)]
        # An empty last piece ends each row with CRLF, so the array's data buffer is the file's next part.
        lines = pc.binary_join_element_wise(*fields, ",") if len(fields) > 1 else fields[0]
        rows = pc.binary_join_element_wise(lines, "", "\r\n")
        out.write(data_of(rows))
        done.rows += batch.num_rows
    return done


def _field(array: pa.Array, column: Column, done: Rendered) -> pa.Array:
    if column.kind.is_text:
        text, guarded = guard(array)
        if guarded:
            done.changed[GUARDED, column.header] += guarded
        return pc.fill_null(_quoted(text), "")
    if column.kind is Kind.BOOLEAN:
        return pc.fill_null(pc.if_else(array, *column.labels), "")
    if column.digits is not None:
        text, changed = cells.rounded(array, column.digits)
        if changed:
            done.changed[f"rounded to {column.digits} decimals", column.header] += changed
        return pc.fill_null(text, "")
    return pc.fill_null(cells.exact(array), "")


def _quoted(text: pa.Array) -> pa.Array:
    special = pc.or_(pc.match_substring_regex(text, '[",\r\n]'), pc.equal(text, ""))
    if not pc.any(special).as_py():
        return text
    escaped = pc.replace_substring(text, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', escaped, '"', ""), text)


def data_of(array: pa.Array) -> memoryview:
    """The bytes of a string array, cell after cell, without a copy."""
    offsets = memoryview(array.buffers()[1]).cast("i")
    start, end = offsets[array.offset], offsets[array.offset + len(array)]
    return memoryview(array.buffers()[2])[start:end]


_NUMBER = r"^(-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|NaN|-?Infinity)?$"


def read_back(path: Path) -> FileFacts:
    """Count the records and add up the columns that hold only numbers, with Arrow's CSV parser.

    Totals are by header; NaN and infinite cells are left out of them.
    """
    from pyarrow import csv

    parsing = csv.ParseOptions(newlines_in_values=True)
    reading = csv.ReadOptions(block_size=4 << 20)
    rows = 0
    sums: dict[str, float | None] = {}
    try:
        with csv.open_csv(path, reading, parsing) as reader:
            names = reader.schema.names
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        with csv.open_csv(path, reading, parsing, as_text) as reader:
            for batch in reader:
                rows += batch.num_rows
                for name, texts in zip(names, batch.columns, strict=True):
                    sums[name] = _plus(sums.get(name, 0.0), texts)
    except pa.ArrowInvalid as error:
        return FileFacts(rows, {}, (str(error),))
    return FileFacts(rows, {name: total for name, total in sums.items() if total is not None})


def _plus(total: float | None, texts: pa.Array) -> float | None:
    """The total plus these cells; None once a cell was no number."""
    if total is None or not pc.all(pc.match_substring_regex(texts, _NUMBER)).as_py():
        return None
    filled = pc.filter(texts, pc.match_substring_regex(texts, "^-?[0-9]"))
    return total + (pc.sum(filled.cast(pa.float64())).as_py() or 0.0)
