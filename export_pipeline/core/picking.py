"""Selection of columns from a table whose rows allow random access."""

from __future__ import annotations

from collections.abc import Sequence

from export_pipeline.core.tables import Table


def picked(table: Table, names: Sequence[str]) -> Table:
    """Return the table with only these columns; others are not read. Needs `Table.mapped`, and keeps it."""
    assert table.mapped is not None
    mapped = table.mapped
    wanted = list(names)
    return Table(
        table.name,
        tuple(table.schema[name] for name in wanted),
        table.rows,
        lambda: (batch.select(wanted) for batch in table.open()),
        lambda: mapped().select(wanted),
    )
