"""Sums over a takeoff's conditions: by unit, by category, and of the whole project."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from export_pipeline.core.arrow import np, pa, pc
from export_pipeline.core.columns import Column, Kind, arrow_types
from export_pipeline.core.layout import Total
from export_pipeline.core.tables import Table
from export_pipeline.takeoff.contents import Contents, filled_view
from export_pipeline.takeoff.tally import exact_sum


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


def totals_table(
    contents: Contents, keys: tuple[str, ...], nameless: str | None = None, levels: bool = False
) -> Table:
    """Return conditions, measurements, quantity (and cost, if any) by unit, or by category and unit.

    Args:
        keys: The columns to group by.
        nameless: Shown for a missing value.
        levels: True to add up categories over their levels: "03 Concrete" has also what "03 Concrete/Slabs"
            has.
    """
    columns = [Column(key, key.capitalize(), Kind.ENUM) for key in keys]
    columns += [
        Column("conditions", "Conditions", Kind.INTEGER),
        Column("measurement_count", "Measurements", Kind.INTEGER),
        Column("total_quantity", "Quantity", Kind.FLOAT, 2),
    ]
    if contents.costed:
        columns.append(Column("total_cost", "Total Cost", Kind.MONEY, 2, currency=contents.currency))
    rows = [
        {
            **{
                name: (_indented(value) if levels else value) or nameless
                for name, value in zip(keys, key, strict=True)
            },
            "conditions": len(rows),
            "measurement_count": sum(row["measurement_count"] for row in rows),
            "total_quantity": sum(row["total_quantity"] for row in rows),
            "total_cost": sum((row["total_cost"] or Decimal(0) for row in rows), Decimal(0)),
        }
        for key, rows in _group(contents, keys, levels).items()
    ]
    # A sum of costs may exceed the precision of a single cost.
    types = arrow_types() | {Kind.MONEY: pa.decimal128(38, 4)}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    return Table.of("totals", columns, pa.Table.from_pylist(rows, schema))


def page_totals(contents: Contents) -> Table:
    """Return measurements and quantity of each condition on each page, in the order of pages."""
    rows = []
    for page, condition, count, quantity in _page_sums(contents):
        sheet, row = _sheet(contents, page), contents.rows[condition]
        rows.append(
            {name: sheet.get(name) for name in _SHEET}
            | {"condition": row["name"], "unit": row["unit"]}
            | {"measurement_count": count, "total_quantity": quantity}
        )
    schema = pa.schema([(column.name, arrow_types()[column.kind]) for column in _PAGE_TOTALS])
    table = Table.of("page_totals", _PAGE_TOTALS, pa.Table.from_pylist(rows, schema))
    return filled_view(table, [(column.name, column.header) for column in _PAGE_TOTALS])


def page_matrix(contents: Contents) -> tuple[Table, Total] | None:
    """Return the quantities with a row for each page and a column for each condition, and their sums; None if
    there are too many conditions for one page of paper.
    """
    sums = _page_sums(contents)
    conditions = sorted({condition for _, condition, _, _ in sums})
    if not 0 < len(conditions) <= _MAX_CONDITIONS:
        return None
    columns = [column for column in _PAGE_TOTALS if column.name in ("page_number", "sheet_number")]
    sheets = [page["sheet_number"] for page in contents.pages]
    if not all(sheets) or len(set(sheets)) < len(sheets):  # then the sheet alone does not tell pages apart
        columns += [column for column in _PAGE_TOTALS if column.name == "document_label"]
    names = {condition: f"condition_{condition}" for condition in conditions}
    for condition, name in names.items():
        row = contents.rows[condition]
        header = (
            f"{row['name'] or '(no name)'} ({row['unit']})" if row["unit"] else row["name"] or "(no name)"
        )
        columns.append(Column(name, header, Kind.FLOAT, 2))
    rows: dict[int, dict[str, Any]] = {}
    for page, condition, _, quantity in sums:
        sheet = _sheet(contents, page)
        row = rows.setdefault(page, {name: sheet.get(name) for name in _SHEET})
        row[names[condition]] = quantity
    schema = pa.schema([(column.name, arrow_types()[column.kind]) for column in columns])
    total = Total("Total", {name: contents.rows[one]["total_quantity"] for one, name in names.items()})
    return Table.of("page_matrix", columns, pa.Table.from_pylist([*rows.values()], schema)), total


def _sheet(contents: Contents, page: int) -> dict[str, Any]:
    return contents.pages[page] if page >= 0 else {}


def _page_sums(contents: Contents) -> list[tuple[int, int, int, float]]:
    """Return page (-1 for none), condition, measurements and quantity, ordered by page and condition."""
    quantities = np.concatenate(
        [np.empty(0)]
        + [
            pc.fill_null(batch["quantity"], 0.0).to_numpy(zero_copy_only=False)
            for batch in contents.measurements.keep(("quantity",)).open()
        ]
    )[contents.page_order]
    quantities = np.where(np.isfinite(quantities), quantities, 0.0)
    page, condition = contents.page_of[contents.page_order], contents.condition_of[contents.page_order]
    order = np.lexsort((condition, np.where(page < 0, len(contents.pages), page)))
    page, condition, quantities = page[order], condition[order], quantities[order]
    changes = (np.diff(page, prepend=-2) != 0) | (np.diff(condition, prepend=-2) != 0)
    starts = np.flatnonzero(changes)
    return [
        (int(page[start]), int(condition[start]), stop - start, exact_sum(quantities[start:stop].tolist()))
        for start, stop in itertools.pairwise([*starts.tolist(), len(page)])
    ]


_SHEET = ("document_label", "page_number", "sheet_number", "sheet_title")
_MAX_CONDITIONS = 12
"""Most conditions that are columns of a page."""
_PAGE_TOTALS = (
    Column("page_number", "Page", Kind.INTEGER, grouping=False),
    Column("sheet_number", "Sheet #", Kind.TEXT),
    Column("sheet_title", "Sheet Title", Kind.TEXT),
    Column("condition", "Condition", Kind.TEXT),
    Column("measurement_count", "Measurements", Kind.INTEGER),
    Column("total_quantity", "Quantity", Kind.FLOAT, 2),
    Column("unit", "Unit", Kind.ENUM),
    Column("document_label", "Document", Kind.TEXT),
)


def has_levels(contents: Contents) -> bool:
    """Return whether categories have levels, as in "03 Concrete/Slabs"."""
    return any(len(_path(row["category"] or "")) > 1 for row in contents.rows)


def _group(
    contents: Contents, keys: tuple[str, ...], levels: bool = False
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in contents.rows:
        first, *others = (row[key] or "" for key in keys)
        path = _path(first) if levels else []
        for level in [_SEPARATOR.join(path[:depth]) for depth in range(1, len(path) + 1)] or [first]:
            groups[level, *others].append(row)
    return dict(sorted(groups.items()))


_SEPARATOR = "/"


def _path(category: str) -> list[str]:
    return [level.strip() for level in category.split(_SEPARATOR) if level.strip()]


def _indented(category: str) -> str:
    """Return the last level of a category, indented by those above it."""
    above, _, last = category.rpartition(_SEPARATOR)
    return "\N{EM SPACE}" * (above.count(_SEPARATOR) + 1 if above else 0) + last
