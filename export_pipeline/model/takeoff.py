"""The shape of a takeoff export: project > conditions > measurements, with totals and costs.

`build` turns the rows of one snapshot into ExportData. Totals, counts and costs are computed here, from exactly
the measurements that are exported, never taken from a stored total.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.columns import ARROW_TYPES, Column, Kind
from export_pipeline.model.export_data import ExportData
from export_pipeline.model.tables import Table
from export_pipeline.model.takeoff_options import TakeoffOptions


def _column(name: str, kind: Kind, header: str | None = None, digits: int | None = None) -> Column:
    return Column(name, header or name.replace("_", " ").capitalize(), kind, digits)


PROJECT_FIELDS = (
    _column("id", Kind.UUID),
    _column("name", Kind.TEXT),
    _column("description", Kind.TEXT),
    _column("client_name", Kind.TEXT, "Client"),
    _column("status", Kind.ENUM),
    _column("created_at", Kind.TIMESTAMP, "Created"),
    _column("updated_at", Kind.TIMESTAMP, "Updated"),
)

COST_FIELDS = (
    _column("unit_cost", Kind.MONEY, "Unit Cost", 4),
    _column("material_cost", Kind.MONEY, "Material", 2),
    _column("labor_cost", Kind.MONEY, "Labor", 2),
    _column("equipment_cost", Kind.MONEY, "Equipment", 2),
    _column("subcontract_cost", Kind.MONEY, "Subcontract", 2),
    _column("other_cost", Kind.MONEY, "Other", 2),
    _column("total_cost", Kind.MONEY, "Total Cost", 2),
    _column("overhead_percent", Kind.PERCENT, "OH %"),
    _column("profit_percent", Kind.PERCENT, "Profit %"),
    _column("total_with_markup", Kind.MONEY, "Total w/ Markup", 2),
    _column("total_labor_hours", Kind.FLOAT, "Labor Hours", 2),
)
_COSTED = _column("costed", Kind.BOOLEAN)
_COST_PARTS = ("material_cost", "labor_cost", "equipment_cost", "subcontract_cost", "other_cost")

CONDITION_FIELDS = (
    _column("id", Kind.UUID),
    _column("name", Kind.TEXT, "Condition"),
    _column("description", Kind.TEXT),
    _column("scope", Kind.TEXT, "Scope"),
    _column("category", Kind.TEXT, "Category"),
    _column("measurement_type", Kind.ENUM, "Type"),
    _column("color", Kind.TEXT),
    _column("line_width", Kind.INTEGER),
    _column("fill_opacity", Kind.FLOAT),
    _column("unit", Kind.ENUM, "Unit"),
    _column("depth", Kind.FLOAT),
    _column("thickness", Kind.FLOAT),
    _column("total_quantity", Kind.FLOAT, "Quantity", 2),
    _column("measurement_count", Kind.INTEGER, "Measurements"),
    _column("sort_order", Kind.INTEGER),
    _column("is_ai_generated", Kind.BOOLEAN, "AI Generated"),
    _column("is_visible", Kind.BOOLEAN, "Visible"),
    _column("building", Kind.TEXT),
    _column("area", Kind.TEXT),
    _column("elevation", Kind.TEXT),
    _column("created_at", Kind.TIMESTAMP, "Created"),
    _column("updated_at", Kind.TIMESTAMP, "Updated"),
    *COST_FIELDS,
    _COSTED,
)

PAGE_FIELDS = (
    _column("id", Kind.UUID),
    _column("document_id", Kind.UUID),
    _column("document", Kind.TEXT, "Document"),
    _column("page_number", Kind.INTEGER, "Page"),
    _column("width", Kind.INTEGER),
    _column("height", Kind.INTEGER),
    _column("dpi", Kind.INTEGER),
    _column("page_width_inches", Kind.FLOAT),
    _column("page_height_inches", Kind.FLOAT),
    _column("image_key", Kind.TEXT),
    _column("title", Kind.TEXT),
    _column("sheet_number", Kind.TEXT, "Sheet Number"),
    _column("sheet_title", Kind.TEXT, "Sheet Title"),
    _column("scale_text", Kind.TEXT),
    _column("scale_value", Kind.FLOAT),
    _column("scale_unit", Kind.TEXT),
    _column("scale_calibrated", Kind.BOOLEAN),
)

MEASUREMENT_FIELDS = (
    _column("id", Kind.UUID),
    _column("condition_id", Kind.UUID),
    _column("page_id", Kind.UUID),
    _column("geometry_type", Kind.ENUM, "Geometry Type"),
    _column("geometry_data", Kind.JSON, "Coordinates"),
    _column("quantity", Kind.FLOAT, "Quantity", 4),
    _column("unit", Kind.ENUM, "Unit"),
    _column("pixel_length", Kind.FLOAT),
    _column("pixel_area", Kind.FLOAT),
    _column("is_ai_generated", Kind.BOOLEAN, "AI Generated"),
    _column("ai_confidence", Kind.FLOAT),
    _column("ai_model", Kind.TEXT),
    _column("is_modified", Kind.BOOLEAN),
    _column("is_verified", Kind.BOOLEAN, "Verified"),
    _column("is_rejected", Kind.BOOLEAN),
    _column("rejection_reason", Kind.TEXT),
    _column("review_notes", Kind.TEXT),
    _column("notes", Kind.TEXT, "Notes"),
    _column("created_at", Kind.TIMESTAMP, "Created"),
    _column("updated_at", Kind.TIMESTAMP, "Updated"),
)

# What `build` adds to each measurement from its condition and page.
JOINED_FIELDS = (
    _column("condition_index", Kind.INTEGER),
    _column("page_index", Kind.INTEGER),
    _column("condition", Kind.TEXT, "Condition"),
    _column("document", Kind.TEXT, "Document"),
    _column("page_number", Kind.INTEGER, "Page"),
    _column("sheet_number", Kind.TEXT, "Sheet Number"),
    _column("sheet_title", Kind.TEXT, "Sheet Title"),
    _column("review_status", Kind.ENUM, "Review"),
)


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a takeoff column."""
    return ARROW_TYPES[column.kind]


def build(
    *,
    project: dict[str, Any],
    conditions: pa.Table,
    pages: pa.Table,
    measurements: Table,
    options: TakeoffOptions,
    snapshot_at: datetime,
    as_of: datetime | None,
    source_rows: int,
    source_quantity: float,
) -> ExportData:
    """ExportData of one project.

    Args:
        project: The PROJECT_FIELDS by name.
        conditions: CONDITION_FIELDS, in export order; their stored total_quantity is only the basis of costs.
        pages: PAGE_FIELDS, in export order.
        measurements: MEASUREMENT_FIELDS, ordered by condition, then page; readable more than once.
        source_rows, source_quantity: The database's own count and sum of these measurements.

    Returns:
        ExportData with the tables "conditions", "pages" and "measurements".
    """
    warnings: list[str] = []
    if as_of is not None and project["created_at"] is not None and project["created_at"] >= as_of:
        warnings.append(
            f"The project did not exist yet at the end of the window ({as_of:%Y-%m-%d %H:%M} UTC)."
        )
    document_ids = pages["document_id"].to_pylist()
    index_of = {id: index for index, id in enumerate(dict.fromkeys(document_ids))}
    pages = pages.append_column("document_index", pa.array([index_of[id] for id in document_ids], pa.int64()))
    tally = _Tally.of(measurements, conditions, pages)
    conditions = _with_totals(conditions, tally, warnings)
    conditions = (
        _with_costs(conditions, tally, warnings) if options.include_costs else _without_costs(conditions)
    )
    warnings += tally.warnings(conditions)
    return ExportData(
        dataset="takeoff",
        scope=project["id"],
        title=project["name"],
        subject={k: v.isoformat() if isinstance(v, datetime) else v for k, v in project.items()},
        options=options.model_dump(mode="json"),
        tables={
            "conditions": Table.of("conditions", CONDITION_FIELDS, conditions),
            "pages": Table.of("pages", (*PAGE_FIELDS, _column("document_index", Kind.INTEGER)), pages),
            "measurements": Table(
                "measurements",
                MEASUREMENT_FIELDS + JOINED_FIELDS,
                measurements.rows,
                lambda: (_join(batch, conditions, pages) for batch in measurements.open()),
            ),
        },
        snapshot_at=snapshot_at,
        as_of=as_of,
        source_rows=source_rows,
        source_totals={"quantity": source_quantity},
        warnings=warnings,
    )


def _index(values: pa.Array, ids: pa.ChunkedArray) -> pa.Array:
    """Position of each value among the ids, -1 where it is not there."""
    return pc.fill_null(pc.index_in(values, value_set=ids.combine_chunks()), -1).cast(pa.int64())


def _join(batch: pa.RecordBatch, conditions: pa.Table, pages: pa.Table) -> pa.RecordBatch:
    """A batch of measurements with the fields of its conditions and pages, and the derived review status."""
    condition, page = (
        _index(batch["condition_id"], conditions["id"]), _index(batch["page_id"], pages["id"])
    )  # fmt: skip
    own_page = pc.if_else(pc.equal(page, -1), pa.scalar(None, pa.int64()), page)
    flags = [pc.fill_null(batch[name], False) for name in ("is_rejected", "is_verified", "is_modified")]
    rejected, verified, modified = flags
    status = pc.case_when(
        pc.make_struct(rejected, pc.and_(verified, modified), verified),
        "rejected",
        "modified",
        "approved",
        "pending",
    )
    joined = [condition, page, conditions["name"].combine_chunks().take(condition)]
    joined += [
        pages[name].combine_chunks().take(own_page)
        for name in ("document", "page_number", "sheet_number", "sheet_title")
    ]
    names = [column.name for column in MEASUREMENT_FIELDS + JOINED_FIELDS]
    return pa.RecordBatch.from_arrays([*batch.columns, *joined, status], names)


@dataclass(slots=True)
class _Tally:
    """Counts and sums of the exported measurements, an element per condition."""

    counts: np.ndarray
    sums: np.ndarray
    other_units: np.ndarray
    not_finite: int
    without_page: int

    @staticmethod
    def of(measurements: Table, conditions: pa.Table, pages: pa.Table) -> _Tally:
        many = conditions.num_rows
        tally = _Tally(np.zeros(many, np.int64), np.zeros(many), np.zeros(many, np.int64), 0, 0)
        units = conditions["unit"].combine_chunks()
        for batch in measurements.open():
            index = _index(batch["condition_id"], conditions["id"])
            position = index.to_numpy()
            quantity = pc.fill_null(batch["quantity"], float("nan")).to_numpy()
            finite = np.isfinite(quantity)
            same_unit = pc.fill_null(pc.equal(batch["unit"], units.take(index)), False)
            tally.counts += np.bincount(position, minlength=many)
            tally.sums += np.bincount(position, np.where(finite, quantity, 0.0), minlength=many)
            tally.other_units += np.bincount(position[~_booleans(same_unit)], minlength=many)
            tally.not_finite += int((~finite).sum())
            tally.without_page += pc.sum(pc.equal(_index(batch["page_id"], pages["id"]), -1)).as_py() or 0
        return tally

    def warnings(self, conditions: pa.Table) -> Iterator[str]:
        if self.not_finite:
            yield f"{self.not_finite} quantities are no numbers (NaN, infinite or empty); totals leave them out."
        if self.without_page:
            yield (
                f"{self.without_page} measurements lie on a page that is not part of this project; "
                "their document, page and sheet are left empty."
            )
        odd = np.flatnonzero(self.other_units)
        for position in odd[:10]:
            name, unit = conditions["name"][int(position)], conditions["unit"][int(position)]
            yield (
                f"Condition {name.as_py()!r} adds up {self.other_units[position]} measurements whose unit is "
                f"not its own ({unit.as_py()})."
            )
        if len(odd) > 10:
            yield f"{len(odd) - 10} more conditions hold measurements in a unit that is not theirs."


def _booleans(array: pa.Array) -> np.ndarray:
    return np.asarray(array.cast(pa.uint8())).astype(bool)


def _with_totals(conditions: pa.Table, tally: _Tally, warnings: list[str]) -> pa.Table:
    """The conditions with the exported quantity and count; the stored quantity stays as `stored_quantity`."""
    at = conditions.schema.get_field_index
    stored = conditions["total_quantity"]
    conditions = conditions.set_column(at("total_quantity"), "total_quantity", pa.array(tally.sums))
    conditions = conditions.set_column(at("measurement_count"), "measurement_count", pa.array(tally.counts))
    return conditions.append_column("stored_quantity", stored)


def _without_costs(conditions: pa.Table) -> pa.Table:
    for column in (*COST_FIELDS, _COSTED):
        nothing = pa.nulls(conditions.num_rows, ARROW_TYPES[column.kind])
        value = pa.array([False] * conditions.num_rows) if column is _COSTED else nothing
        conditions = conditions.set_column(conditions.schema.get_field_index(column.name), column.name, value)
    return conditions


def _with_costs(conditions: pa.Table, tally: _Tally, warnings: list[str]) -> pa.Table:
    """The conditions with costs that belong to the exported quantities.

    An assembly's costs were stored for the condition's stored quantity. Where the exported quantity is the same,
    they are taken as they are; else each part is scaled by exported / stored quantity, rounded to cents, and the
    totals are added again: total_with_markup = total x (1 + overhead % / 100 + profit % / 100).
    """
    rows = conditions.select(
        [c.name for c in COST_FIELDS] + ["costed", "name", "stored_quantity"]
    ).to_pylist()
    for row, exported in zip(rows, tally.sums.tolist(), strict=True):
        stored = row["stored_quantity"] or 0.0
        if not row["costed"] or math.isclose(exported, stored, rel_tol=1e-9, abs_tol=1e-9):
            continue
        if not math.isfinite(stored) or stored <= 0:
            warnings.append(
                f"The costs of condition {row['name']!r} could not be fitted to its exported quantity, because "
                "they were stored for a quantity of zero; they are given as stored."
            )
            continue
        factor = Decimal(repr(exported)) / Decimal(repr(stored))
        for part in _COST_PARTS:
            row[part] = _cents((row[part] or Decimal(0)) * factor)
        row["total_cost"] = sum((row[part] for part in _COST_PARTS), Decimal(0))
        markup = Decimal(repr((row["overhead_percent"] or 0.0) + (row["profit_percent"] or 0.0)))
        row["total_with_markup"] = _cents(row["total_cost"] * (1 + markup / 100))
        if row["total_labor_hours"] is not None:
            row["total_labor_hours"] *= exported / stored
    for column in COST_FIELDS:
        at = conditions.schema.get_field_index(column.name)
        values = pa.array([row[column.name] for row in rows], ARROW_TYPES[column.kind])
        conditions = conditions.set_column(at, column.name, values)
    return conditions


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
