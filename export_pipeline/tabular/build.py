"""Computed columns: evaluated in Arrow, batch by batch, as the table is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Column
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.special_numbers import is_special, to_finite_decimals
from export_pipeline.core.streams import map_concurrently
from export_pipeline.core.tables import Table
from export_pipeline.expressions.compiler import compile_expression
from export_pipeline.expressions.types import ComputeError
from export_pipeline.tabular.column_selection import (
    find_needed_columns,
    select_columns,
    sort_by_dependency,
    spec_of,
)
from export_pipeline.tabular.columns import column_of, expression_type
from export_pipeline.tabular.spec import ColumnSpec, TableSpec

NOT_COMPUTED = "computed from NaN or infinity, which count as missing"


def build(data: ExportData) -> ExportData:
    """Append the computed columns to the read columns of the table "rows".

    They are computed while the table is read. A complete pass sets their counts in `changed`, so that reading
    twice counts once. Without computed columns the export is returned unchanged.

    Raises:
        ComputeError: While the table is read: a value overflows or does not fit. It names the column.
    """
    spec = spec_of(data.spec)
    columns, changed = select_columns(spec, data.options), data.changed.copy()
    rows = add_computed(data.tables["rows"], spec, columns, changed)
    if rows is data.tables["rows"]:
        return data
    return replace(data, tables={**data.tables, "rows": rows}, changed=changed)


def add_computed(
    table: Table, spec: TableSpec, columns: Sequence[ColumnSpec], changed: Counter[tuple[str, str]]
) -> Table:
    """Return the table with these columns, and those they need, appended if they are computed; see `build`.

    Args:
        table: The rows, with every read column that the columns need.
        spec: The export.
        columns: The columns.
        changed: Counts of emptied cells by (reason, "table.column"), set when the rows are read to their end.
    """
    computed = sort_by_dependency(find_needed_columns(spec, columns))
    if not computed:
        return table
    types = {column.name: expression_type(column) for column in spec.columns}
    expressions = [
        (column.name, compile_expression(column.compute or "", types), types[column.name])
        for column in computed
    ]
    appended: tuple[Column, ...] = (*table.columns, *map(column_of, computed))
    special = {
        column.name: replace(column, has_special=False).arrow_type
        for column in table.columns
        if column.has_special
    }

    def complete(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Counter[tuple[str, str]]]:
        cells = dict(zip(batch.schema.names, batch.columns, strict=True))
        counted: Counter[tuple[str, str]] = Counter()
        kept = {name: cells[name] for name in special}
        cells |= {name: to_finite_decimals(cells[name], kind) for name, kind in special.items()}
        for name, expression, type in expressions:
            for used in special.keys() & expression.names:
                counted[NOT_COMPUTED, f"{table.name}.{name}"] += pc.sum(is_special(kept[used])).as_py() or 0
            try:
                cells[name], emptied = expression.evaluate(cells, batch.num_rows, type)
            except ComputeError as error:
                raise ComputeError(f"column {name} ({expression.text}): {error}") from None
            for reason, count in emptied.items():
                counted[reason, f"{table.name}.{name}"] += count
        cells |= kept
        names = [column.name for column in appended]
        return pa.RecordBatch.from_arrays([cells[name] for name in names], names), counted

    def opened() -> Iterator[pa.RecordBatch]:
        counted: Counter[tuple[str, str]] = Counter()
        for batch, emptied in map_concurrently(complete, table.open()):
            counted.update(emptied)
            yield batch
        for key, count in counted.items():
            changed[key] = count

    return Table(table.name, appended, table.rows, opened)
