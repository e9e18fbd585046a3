"""Splits a dataset's rows into consecutive shares that are read in parallel over several connections.

One connection's speed is limited to what one core decodes and one process of the database encodes.
Shares are ranges of the key that leads the order, so that the shares one after the other give exactly the
rows of a single select, in its order.
"""

from __future__ import annotations

from collections.abc import Sequence

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.streams import WORKERS
from export_pipeline.sources.casts import Query
from export_pipeline.sources.database_types import Family
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.sources.tables.query import TableQuery
from export_pipeline.tabular.spec import ColumnSpec

LEAST_ROWS = 200_000  # for fewer rows, another connection is not worth its cost


def split_by_key(
    snapshot: Snapshot, dataset: TableQuery, columns: Sequence[ColumnSpec], count: int
) -> list[tuple[Snapshot, Query]]:
    """Return selects that together give the `count` rows of `dataset.rows(columns)`, each with its snapshot.

    The list is empty if there are few rows, if the order does not begin with an integer key, or if the
    database has no second connection with the same view of the data.
    """
    key = dataset.leading_key()
    if count < LEAST_ROWS or key is None or dataset.relations.stored(key).family is not Family.INTEGER:
        return []
    readers = [snapshot, *snapshot.sibling_connections(WORKERS - 1)]
    ends = sorted(
        {
            end
            for number in range(1, len(readers))
            if (end := _at(snapshot, dataset.keys(key), count * number // len(readers))) is not None
        }
    )
    bounds = list(zip([None, *ends], [*ends, None], strict=True))
    if len(bounds) == 1:
        return []
    return [
        (reader, dataset.rows(columns, (key, *bound))) for reader, bound in zip(readers, bounds, strict=False)
    ]


def _at(snapshot: Snapshot, keys: Query, place: int) -> int | None:
    """Return the key of the row at a position; None if it has none."""
    batches = snapshot.rows(keys.offset(place).limit(1), [Column("key", "Key", Kind.INTEGER)])
    return batches[0]["key"] if batches else None
