"""Tables: typed columns whose rows can be read batch by batch, as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from export_pipeline.core.arrow import np, pa, pc
from export_pipeline.core.columns import Column

_BATCH_BYTES = 16 << 20
_LEAST_ROWS, _MAX_ROWS = 256, 16_384


@dataclass(frozen=True, slots=True)
class Table:
    """Typed rows in a fixed order that are read in batches and never held whole.

    Attributes:
        name: The content of the table, e.g. "measurements".
        columns: The columns, in order; the batches' fields are these, in this order.
        rows: Number of rows that a pass over `open()` gives.
        open: Starts a new pass: returns an iterator of record batches.
        mapped: The rows for random access, in memory or memory-mapped; None if they only stream.
        files: The Arrow IPC files that hold exactly these rows and columns, one after the other, if there are
            any. Staging links them instead of writing them again.
        parts: Functions that read consecutive shares of the rows and may run in parallel threads; empty if
            the rows can only be read one after the other.
        between: Reads the rows from a position up to another, without reading those before; None if the table
            must be read from its first row.

    Example:
        >>> table = Table.of("t", (Column("n", "N", Kind.INTEGER),), pa.table({"n": [1, 2]}))
        >>> sum(batch.num_rows for batch in table.open())
        2
    """

    name: str
    columns: tuple[Column, ...]
    rows: int
    open: Callable[[], Iterator[pa.RecordBatch]]
    mapped: Callable[[], pa.Table] | None = None
    files: tuple[Path, ...] = ()
    parts: tuple[Callable[[], Iterator[pa.RecordBatch]], ...] = ()
    between: Callable[[int, int], Iterator[pa.RecordBatch]] | None = None

    @staticmethod
    def of(name: str, columns: Sequence[Column], data: pa.Table, batch_rows: int = 16_384) -> Table:
        """Return a table over data in memory; fields are matched to columns by name."""
        ordered = data.select([column.name for column in columns])
        return Table(
            name,
            tuple(columns),
            ordered.num_rows,
            lambda: iter(ordered.to_batches(max_chunksize=batch_rows)),
            lambda: ordered,
            between=lambda start, stop: iter(
                ordered.slice(start, stop - start).to_batches(max_chunksize=batch_rows)
            ),
        )

    @property
    def schema(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    def select(self, columns: Sequence[tuple[str, Column]]) -> Table:
        """Return the rows with other columns: pairs of (field to read, resulting column)."""
        fields = [source for source, _ in columns]
        names = [column.name for _, column in columns]

        def opened() -> Iterator[pa.RecordBatch]:
            for batch in self.open():
                yield batch.select(fields).rename_columns(names)

        return Table(self.name, tuple(column for _, column in columns), self.rows, opened)

    def share(self, start: int, stop: int) -> Table:
        """Return the rows from position `start` up to `stop`. Requires `between`."""
        assert self.between is not None
        between = self.between
        return Table(self.name, self.columns, stop - start, lambda: between(start, stop))

    def keep(self, names: Sequence[str]) -> Table:
        """Return the table with only these columns; others are not read. Requires `mapped`, and keeps it."""
        assert self.mapped is not None
        mapped, kept = self.mapped, list(names)
        return Table(
            self.name,
            tuple(self.schema[name] for name in kept),
            self.rows,
            lambda: (batch.select(kept) for batch in self.open()),
            lambda: mapped().select(kept),
        )

    def reordered(self, order: np.ndarray, name: str) -> Table:
        """Return the rows at these positions (int64), in this order.

        Requires `mapped`. Holds one batch at a time; the longer the rows, the fewer are in a batch.
        """
        assert self.mapped is not None
        mapped = self.mapped

        def opened() -> Iterator[pa.RecordBatch]:
            batches = mapped().to_batches()
            step = _rows_of_a_batch(batches)
            for start in range(0, len(order), step):
                yield _gather(batches, order[start : start + step])

        return Table(name, self.columns, len(order), opened)

    def arrow(self) -> pa.Table:
        """Return all rows at once. Only for tables that are always small, such as conditions."""
        batches = list(self.open())
        if batches:
            return pa.Table.from_batches(batches)
        return pa.schema([(c.name, c.arrow_type) for c in self.columns]).empty_table()


def copy_array(array: pa.Array) -> pa.Array:
    """Copy an array into memory of its own. A slice that is kept keeps all columns of its batch in memory."""
    return pa.concat_arrays([array, array.slice(0, 0)])


def find_empty_columns(table: Table, names: Sequence[str]) -> list[str]:
    """Return those of these columns that have no value in any row: missing values, and empty strings.

    Reads rows only until each column has a value, and with random access only these columns. A table without
    rows has no empty columns.
    """
    if not table.rows:
        return []
    empty = list(names)
    batches = table.open() if table.mapped is None else table.mapped().to_batches()
    for batch in batches:
        empty = [name for name in empty if _is_empty(batch.column(name))]
        if not empty:
            break
    return empty


def _is_empty(cells: pa.Array) -> bool:
    if cells.null_count == len(cells):
        return True
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return False
    return not pc.max(pc.binary_length(cells)).as_py()


def _rows_of_a_batch(batches: Sequence[pa.RecordBatch]) -> int:
    """Return the number of rows that make a batch of `_BATCH_BYTES` on average."""
    rows = sum(batch.num_rows for batch in batches)
    bytes_of_a_row: int = sum(batch.nbytes for batch in batches) // max(rows, 1) + 1
    return min(max(_BATCH_BYTES // bytes_of_a_row, _LEAST_ROWS), _MAX_ROWS)


def _gather(batches: Sequence[pa.RecordBatch], positions: np.ndarray) -> pa.RecordBatch:
    """Return the rows at these positions of consecutive batches.

    `pa.Table.take` would concatenate each string column into one array first; this reads only some rows.
    """
    ends = np.cumsum([batch.num_rows for batch in batches])
    home = np.searchsorted(ends, positions, side="right")
    by_home = np.argsort(home, kind="stable")
    parts = []
    for index in np.unique(home):
        start = ends[index] - batches[index].num_rows
        parts.append(batches[index].take(pa.array(positions[home == index] - start)))
    back = np.empty_like(by_home)
    back[by_home] = np.arange(len(by_home))
    joined = pa.concat_batches(parts) if len(parts) > 1 else parts[0]
    return joined.take(pa.array(back))
