"""Consecutive shares of a dataset's rows, each to be read over a connection of its own at the same time.

One connection gives no more rows a second than one core decodes and one process of the database encodes.
Shares are ranges of the key that leads the order, so that the rows of all shares, one after the other, are
exactly those of the one select, in its order.
"""

from __future__ import annotations

from collections.abc import Sequence

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.streams import WORKERS
from export_pipeline.sources.casts import Query
from export_pipeline.sources.database_types import Family
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.sources.tables.dataset import Dataset
from export_pipeline.tabular.spec import ColumnSpec

LEAST_ROWS = 200_000  # fewer are read before another connection is worth it


def shares(
    snapshot: Snapshot, dataset: Dataset, columns: Sequence[ColumnSpec], count: int
) -> list[tuple[Snapshot, Query]]:
    """Selects that give the `count` rows of `dataset.rows(columns)` together, and where to read each.

    There are none where rows are few, where another column than an integer key leads the order, or where the
    database has no second connection that sees the same moment.
    """
    key = dataset.leading_key()
    if count < LEAST_ROWS or key is None or dataset.relations.stored(key).family is not Family.INTEGER:
        return []
    readers = [snapshot, *snapshot.beside(WORKERS - 1)]
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
    """The key of the row at a place; None if it has none."""
    found = snapshot.rows(keys.offset(place).limit(1), [Column("key", "Key", Kind.INTEGER)])
    return found[0]["key"] if found else None
