"""Groups of a printed table: rows sorted by a column, with a subtotal of each run of equal values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export_pipeline.core.arrow import np, pa, pc
from export_pipeline.core.export_data import PreviousGroup
from export_pipeline.core.layout import Number
from export_pipeline.core.sanitize import clean_text
from export_pipeline.core.tables import Table
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum, add_exactly, sum_columns

MAX_GROUPS = 200
"""Most groups of a table; of more, nobody reads the subtotals."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows with the same value of the grouping column.

    Attributes:
        key: The value as text; None if it is missing.
        value: The same with its label.
        title: The values of all columns that name the group.
        rows: Number of its rows.
        sums: Sum of each totalled column over its rows.
    """

    key: str | None
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
        texts = {column.name: _first_text(first.column(column.name)) for column in by}
        key = None if place == len(values) else texts[name]
        groups.append(
            RowGroup(
                key=key,
                value=None if key is None else by[0].labels.get(key, key),
                title=name_group(texts, by),
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


def name_group(texts: Mapping[str, str | None], by: Sequence[ColumnSpec]) -> str:
    """Return the title of a group: the texts of the columns that name it, with their labels."""
    named = [text and column.labels.get(text, text) for column in by if (text := texts.get(column.name))]
    return " ".join(text for text in named if text) or by[0].null_text or "None"


def add_by_group(table: Table, by: Sequence[str], columns: Sequence[str]) -> list[PreviousGroup] | None:
    """Return the exact sums of columns of money by group, batch by batch; None if there are too many groups.

    Args:
        table: The rows, in any order.
        by: The grouping column, and columns that name a group with it.
        columns: Columns of integers or decimals.
    """
    names: dict[str | None, dict[str, str | None]] = {}
    sums: dict[str | None, dict[str, Number]] = {}
    for batch in table.open():
        keys = _clean(batch.column(by[0]))
        for key in keys.unique().to_pylist():
            is_here = pc.is_null(keys) if key is None else pc.fill_null(pc.equal(keys, key), False)
            if key not in names:
                if len(names) == MAX_GROUPS:
                    return None
                first = is_here.index(True).as_py()
                names[key] = {name: _first_text(batch.column(name).slice(first, 1)) for name in by}
                sums[key] = dict.fromkeys(columns, 0)
            rows = Table.of(table.name, table.columns, pa.Table.from_batches([batch.filter(is_here)]))
            for name, one in sum_columns(rows, columns).items():
                sums[key][name] = _exactly(sums[key][name], one.total)
    return [
        PreviousGroup(value=key, names=names[key], totals={name: str(total) for name, total in one.items()})
        for key, one in sums.items()
    ]


def _exactly(total: Number, more: Number) -> Number:
    assert not isinstance(more, float), "money is no float"
    return add_exactly(total, more)


def _first_text(cells: pa.Array) -> str | None:
    text: str | None = _clean(cells.slice(0, 1))[0].as_py()
    return text


def _clean(cells: pa.Array) -> pa.Array:
    """Return cells as strings without characters that no file may hold, as exports have them."""
    return clean_text(cells.cast(pa.string()))[0]
