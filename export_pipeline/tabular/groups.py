"""Groups of a printed table: rows sorted by a column, with a subtotal of each run of equal values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.tables import Table
from export_pipeline.tabular.columns import apply_labels
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum, sum_columns

MAX_GROUPS = 200
"""Most groups of a table; of more, nobody reads the subtotals."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows with the same value of the grouping column.

    Attributes:
        value: The value as text; None if it is missing.
        title: The values of all columns that name the group.
        rows: Number of its rows.
        sums: Sum of each totalled column over its rows.
    """

    value: str | None
    title: str
    rows: int
    sums: Mapping[str, Sum]


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """The rows of a table, group by group."""

    table: Table
    groups: tuple[RowGroup, ...]


def sort_rows(table: Table, columns: Sequence[str]) -> Table:
    """Return the rows sorted by these columns; equal ones keep their order, missing values come last.

    Only the values of these columns are held in memory. Rows that can only be streamed stay as they are.
    """
    if table.mapped is None or not table.rows or not columns:
        return table
    keys = table.keep(columns).arrow()
    order = pc.sort_indices(keys, [(name, "ascending") for name in columns])
    return table.reordered(order.to_numpy().astype(np.int64), table.name)


def group_rows(table: Table, by: Sequence[ColumnSpec], totals: Sequence[str]) -> GroupedRows | None:
    """Sort rows by the first of these columns, keeping their order within a group; missing values come last.

    Only the values of that column are held in memory. Returns None if there are no rows, too many groups, or
    rows that can only be streamed.

    Args:
        table: The rows.
        by: The grouping column, and columns that name a group with it, by the value in its first row.
        totals: Columns to add up.
    """
    if table.mapped is None or not table.rows:
        return None
    name = by[0].name
    encoded = [
        batch.column(name).cast(pa.string()).dictionary_encode() for batch in table.keep([name]).open()
    ]
    if any(len(one.dictionary) > MAX_GROUPS for one in encoded):
        return None
    keys = pa.chunked_array(encoded).unify_dictionaries().combine_chunks()
    values = keys.dictionary
    if len(values) > MAX_GROUPS:
        return None
    rank = np.empty(len(values) + 1, np.int64)
    rank[pc.sort_indices(values).to_numpy()] = np.arange(len(values))
    rank[len(values)] = len(values)
    # The rank of a missing value is that behind the last one.
    places = rank[pc.fill_null(keys.indices, len(values)).to_numpy()]
    order = np.argsort(places, kind="stable").astype(np.int64)
    counts = np.bincount(places, minlength=len(values) + 1)
    ordered = table.reordered(order, table.name)
    starts = np.cumsum(counts) - counts
    groups = []
    for place in np.flatnonzero(counts).tolist():
        rows = order[starts[place] : starts[place] + counts[place]]
        first = next(table.reordered(rows[:1], table.name).open())
        shown = [_text(first.column(column.name), column) for column in by]
        groups.append(
            RowGroup(
                value=None if place == len(values) else shown[0],
                title=" ".join(text for text in shown if text) or by[0].null_text or "None",
                rows=len(rows),
                sums=sum_columns(_only(table, rows, totals), totals),
            )
        )
    return GroupedRows(ordered, tuple(groups))


def _only(table: Table, rows: np.ndarray, columns: Sequence[str]) -> Table:
    """Return these columns of these rows."""
    if not columns:
        return table
    return table.keep(columns).reordered(rows, table.name)


def _text(cells: pa.Array, column: ColumnSpec) -> str:
    """Return the first cell as text, with its label."""
    texts = cells.cast(pa.string())
    if column.labels:
        texts = apply_labels(texts, column.labels)
    return texts[0].as_py() or ""
