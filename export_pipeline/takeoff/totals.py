"""Sums over a takeoff's conditions: by unit, by category, and of the whole project."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from export_pipeline.core.columns import ARROW_TYPES, Column, Kind
from export_pipeline.core.layout import Total
from export_pipeline.core.tables import Table
from export_pipeline.takeoff.contents import Contents


def unit_totals(contents: Contents) -> Iterator[Total]:
    """Yield quantity and count of each unit."""
    for unit, rows in _group(contents, ("unit",)).items():
        yield Total(
            f"Total {unit[0] or 'without unit'}",
            {
                "total_quantity": sum(row["total_quantity"] for row in rows),
                "measurement_count": sum(row["measurement_count"] for row in rows),
            },
            where=("unit", unit[0]),
        )


def project_total(
    contents: Contents, names: Sequence[str], label: str = "PROJECT TOTAL"
) -> tuple[Total, ...]:
    """Return a total row with the sums of these costs; empty if nothing has costs."""
    if not contents.costed:
        return ()
    sums = {name: sum((row[name] or Decimal(0) for row in contents.costed), Decimal(0)) for name in names}
    return (Total(label, sums),)


def totals_table(contents: Contents, keys: tuple[str, ...], nameless: str | None = None) -> Table:
    """Return conditions, measurements, quantity (and cost, if any) by unit, or by category and unit."""
    columns = [Column(key, key.capitalize(), Kind.ENUM) for key in keys]
    columns += [
        Column("conditions", "Conditions", Kind.INTEGER),
        Column("measurement_count", "Measurements", Kind.INTEGER),
        Column("total_quantity", "Quantity", Kind.FLOAT, 2),
    ]
    if contents.costed:
        columns.append(Column("total_cost", "Total Cost", Kind.MONEY, 2))
    rows = [
        {
            **{name: value or nameless for name, value in zip(keys, key, strict=True)},
            "conditions": len(rows),
            "measurement_count": sum(row["measurement_count"] for row in rows),
            "total_quantity": sum(row["total_quantity"] for row in rows),
            "total_cost": sum((row["total_cost"] or Decimal(0) for row in rows), Decimal(0)),
        }
        for key, rows in _group(contents, keys).items()
    ]
    # A sum of costs may exceed the precision of a single cost.
    types = ARROW_TYPES | {Kind.MONEY: pa.decimal128(38, 4)}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    return Table.of("totals", columns, pa.Table.from_pylist(rows, schema))


def _group(contents: Contents, keys: tuple[str, ...]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in contents.rows:
        groups[tuple(row[key] or "" for key in keys)].append(row)
    return dict(sorted(groups.items()))
