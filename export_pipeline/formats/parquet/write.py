"""Parquet for programs: exact types, zstd, row groups of bounded size.

Decimals keep their precision and scale, timestamps are UTC (or naive, if a column names no zone), JSON is
a string. A column's header, kind and zone are in the field's metadata; the export's title and time are in
the file's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.columns import Column
from export_pipeline.core.layout import Layout
from export_pipeline.core.special_numbers import is_special, to_finite_decimals
from export_pipeline.core.streams import prefetch
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import Changed, Rendered, RenderError

NO_NUMBER = "NaN or infinite, written as null"
_GROUP_BYTES = 24 << 20
_GROUP_ROWS = 1 << 17
_SAMPLED = 4096


def render(layout: Layout, out: BinaryIO) -> Rendered:
    """Write the flat table.

    Raises:
        RenderError: A cell does not fit its column's type; the message names the column.
    """
    from pyarrow import parquet

    table = layout.main
    facts = {"title": layout.title, "created": layout.created.isoformat()}
    schema = pa.schema([_field(column) for column in table.columns], facts)
    done = Rendered()
    groups = _groups(table, schema, done.changed)
    first = next(groups, schema.empty_table())
    with parquet.ParquetWriter(
        pa.PythonFile(out, "w"),
        schema,
        use_dictionary=_repetitive(first),
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
    ) as writer:
        for group in chain((first,), groups):
            if group.num_rows:
                writer.write_table(group, row_group_size=group.num_rows)
                done.rows += group.num_rows
    return done


def _field(column: Column) -> pa.Field:
    metadata = {"header": column.header, "kind": str(column.kind)}
    if pa.types.is_timestamp(column.arrow_type) and column.zone:
        metadata["zone"] = column.zone
    return pa.field(column.name, column.arrow_type, metadata=metadata)


def _groups(table: Table, schema: pa.Schema, changed: Changed) -> Iterator[pa.Table]:
    """Yield the rows as one table per row group."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in prefetch(table.open()):
        batches.append(_cast(batch, schema, changed))
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(batches, schema)
            batches, rows, size = [], 0, 0
    if batches:
        yield pa.Table.from_batches(batches, schema)


def _repetitive(group: pa.Table) -> list[str]:
    """Return the columns that dictionary encoding makes smaller, judged by their first rows; for others it
    only costs time.
    """
    head = group.slice(0, _SAMPLED)
    return [name for name in head.column_names if 2 * pc.count_distinct(head[name]).as_py() <= len(head)]


def _cast(batch: pa.RecordBatch, schema: pa.Schema, changed: Changed) -> pa.RecordBatch:
    arrays = []
    for array, field in zip(batch.columns, schema, strict=True):
        try:
            if pa.types.is_decimal(field.type) and pa.types.is_string(array.type):
                changed[NO_NUMBER, field.name] += pc.sum(is_special(array)).as_py() or 0
                array = to_finite_decimals(array, field.type)
            arrays.append(array if array.type == field.type else array.cast(field.type))
        except pa.ArrowInvalid:  # its message may quote the cell
            raise RenderError(
                f"column {field.name}: a cell does not fit its declared type {field.type}"
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
