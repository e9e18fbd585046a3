"""Tables: typed columns and a way to read their rows, batch by batch, as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from export_pipeline.model.columns import Column


@dataclass(frozen=True, slots=True)
class Table:
    """Typed rows in a fixed order that are read in batches and never held whole.

    Attributes:
        name: What the table holds, e.g. "measurements".
        columns: The columns, in order; the batches' fields are these, in this order.
        rows: How many rows a pass over `open()` gives.
        open: Starts a new pass: an iterator of record batches.

    Example:
        >>> table = Table.of("t", (Column("n", "N", Kind.INTEGER),), pa.table({"n": [1, 2]}))
        >>> sum(batch.num_rows for batch in table.open())
        2
    """

    name: str
    columns: tuple[Column, ...]
    rows: int
    open: Callable[[], Iterator[pa.RecordBatch]]

    @staticmethod
    def of(name: str, columns: Sequence[Column], data: pa.Table, batch_rows: int = 16_384) -> Table:
        """A table over data that already lie in memory; fields are matched to columns by name."""
        picked = data.select([column.name for column in columns])
        return Table(
            name,
            tuple(columns),
            picked.num_rows,
            lambda: iter(picked.to_batches(max_chunksize=batch_rows)),
        )

    @property
    def schema(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    def select(self, columns: Sequence[tuple[str, Column]]) -> Table:
        """The same rows with other columns: pairs of (field to take, column it becomes)."""
        fields = [source for source, _ in columns]
        names = [column.name for _, column in columns]

        def opened() -> Iterator[pa.RecordBatch]:
            for batch in self.open():
                yield batch.select(fields).rename_columns(names)

        return Table(self.name, tuple(column for _, column in columns), self.rows, opened)

    def arrow(self) -> pa.Table:
        """All rows at once. Only for tables that are small by nature, such as conditions."""
        batches = list(self.open())
        if batches:
            return pa.Table.from_batches(batches)
        return pa.table({c.name: pa.array([], pa.string()) for c in self.columns})
