"""CSV as in RFC 4180: one flat table in UTF-8 with CRLF; options change the delimiter and quoting.

An empty string is written as `""`. A missing value is written as its column's null text (by default
nothing) without quotes, so a reader that looks at quotes can tell them apart.
"""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import data_of
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout
from export_pipeline.core.sanitize import GUARDED, guard_formulas
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats import cells, times
from export_pipeline.formats.base import Changed, Rendered
from export_pipeline.formats.csv.dialect import BOM, Dialect
from export_pipeline.formats.csv.options import CsvOptions

_TIMES = (Kind.DATE, Kind.TIMESTAMP)


def render(layout: Layout, out: BinaryIO, options: CsvOptions) -> Rendered:
    """Write the flat table. The layout has already decided the headers and money columns."""
    done = Rendered()
    table, dialect = layout.main, Dialect.of(options)
    if options.bom:
        out.write(BOM)
    headers, dangerous = guard_formulas(pa.array([column.header for column in table.columns], pa.string()))
    if dangerous:
        done.changed[GUARDED, "(headers)"] += dangerous
    out.write(dialect.header_line(headers.to_pylist()).encode())

    def lines(batch: pa.RecordBatch) -> tuple[pa.Array, Changed]:
        changed: Changed = Counter()
        return _lines(batch, table.columns, dialect, changed), changed

    for made, changed in map_concurrently(lines, table.open()):
        out.write(data_of(made))
        done.rows += len(made)
        done.changed.update(changed)
    return done


def _lines(
    batch: pa.RecordBatch, columns: tuple[Column, ...], dialect: Dialect, changed: Changed
) -> pa.Array:
    """Return the rows as strings with their line ends: the array's bytes are the file's bytes."""
    fields = [_field(batch.column(index), column, dialect, changed) for index, column in enumerate(columns)]
    if len(fields) == 1:
        # Most readers would skip an empty line.
        fields = [pc.if_else(pc.equal(fields[0], ""), '""', fields[0])]
    fields[-1] = pc.binary_join_element_wise(fields[-1], "\r\n", "")
    if len(fields) == 1:
        return fields[0]
    return pc.binary_join_element_wise(*fields, dialect.delimiter)


def _field(array: pa.Array, column: Column, dialect: Dialect, changed: Changed) -> pa.Array:
    """Return the column's cells as written in the file, without nulls."""
    if column.kind is Kind.BOOLEAN:
        yes, no = (dialect.quote_value(label, column.null) for label in column.labels)
        text = pc.if_else(array, yes, no)
    elif column.kind.is_text:
        guarded, dangerous = guard_formulas(array)
        if dangerous:
            changed[GUARDED, column.header] += dangerous
        text = dialect.quote(guarded, column.null)
    elif column.kind in _TIMES:
        text = dialect.quote(_time(array, column, changed), column.null)
    else:
        text = dialect.write_numbers(_number(array, column, changed), column.null)
    return pc.fill_null(text, dialect.null_cell(column.null)) if text.null_count else text


def _time(array: pa.Array, column: Column, changed: Changed) -> pa.Array:
    if column.pattern:
        text, cut = times.format_pattern(array, column.pattern, column.zone)
        if cut:
            changed[f"printed as {column.pattern}", column.header] += cut
        return text
    if pa.types.is_timestamp(array.type):
        return times.format_iso(array, (column.zone or "UTC") if array.type.tz else None)
    return cells.format_exact(array)


def _number(array: pa.Array, column: Column, changed: Changed) -> pa.Array:
    if column.digits is None:
        return cells.format_exact(array)
    text, rounded = cells.format_rounded(array, column.digits)
    if rounded:
        changed[f"rounded to {column.digits} decimals", column.header] += rounded
    return text
