"""Reading only some columns of a table whose rows can be read in any order."""

from __future__ import annotations

from collections.abc import Sequence

from export_pipeline.core.tables import Table


def picked(table: Table, names: Sequence[str]) -> Table:
    """The same rows with only these columns; the others are not read. Needs `Table.mapped`, and keeps it."""
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
