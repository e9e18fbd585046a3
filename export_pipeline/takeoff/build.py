"""Conversion of the rows of one snapshot to a takeoff export: project > conditions > measurements.

Totals, counts and costs are computed here, from exactly the measurements that are exported, never taken
from a stored total.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from export_pipeline.core.arrow import np, npt, pa, pc
from export_pipeline.core.columns import Kind
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.tables import Table, copy_array
from export_pipeline.takeoff.costs import clear_costs, fit_costs
from export_pipeline.takeoff.fields import (
    CONDITION_FIELDS,
    JOINED_FIELDS,
    MEASUREMENT_FIELDS,
    PAGE_FIELDS,
    column,
)
from export_pipeline.takeoff.tally import Tally

_PAGE_ADDED = (column("document_index", Kind.INTEGER), column("document_label", Kind.TEXT, "Document"))


def build(source: ExportData) -> ExportData:
    """Return the export of one project.

    Args:
        source: The result of `export_pipeline.takeoff.source.read`: the tables "conditions"
            (CONDITION_FIELDS) and "pages" (PAGE_FIELDS) in export order, and "measurements"
            (MEASUREMENT_FIELDS) in any order, with random access. A condition's stored total_quantity is only
            the basis of its costs.

    Returns:
        The same export with totals and costs of exactly these measurements. Each measurement also has its
        condition, document, page and review status. They are ordered by condition, page (those without a page
        last), created_at, id.
    """
    conditions, pages = source.tables["conditions"].arrow(), source.tables["pages"].arrow()
    unordered = source.tables["measurements"]
    places = Places.of(unordered, conditions, pages)
    measurements = unordered.reordered(places.order, unordered.name)
    warnings = list(source.warnings)
    created = source.subject["created_at"]
    if source.window and created and datetime.fromisoformat(created) >= source.window.end:
        warnings.append(f"The project did not exist yet at the end of the period {source.period()}.")
    document_ids = pages["document_id"].to_pylist()
    index_of = {id: index for index, id in enumerate(dict.fromkeys(document_ids))}
    document_index = [index_of[id] for id in document_ids]
    pages = pages.append_column("document_index", pa.array(document_index, pa.int64()))
    labels = _label_documents(pages["document"].to_pylist(), document_index)
    pages = pages.append_column("document_label", pa.array(labels, pa.string()))
    tally = Tally.of(places.rows, conditions.num_rows)
    conditions = _with_totals(conditions, tally)
    with_costs = source.options["include_costs"]
    conditions = fit_costs(conditions, tally, warnings) if with_costs else clear_costs(conditions)
    warnings += tally.warnings(conditions)
    tables = {
        "conditions": Table.of("conditions", CONDITION_FIELDS, conditions),
        "pages": Table.of("pages", (*PAGE_FIELDS, *_PAGE_ADDED), pages),
        "measurements": _join(measurements, places.rows, conditions, pages),
    }
    return replace(source, tables=tables, warnings=warnings)


def _label_documents(names: list[str | None], indexes: list[int]) -> list[str | None]:
    """Return the name of each page's document, numbered if several documents have the same name."""
    documents = dict(zip(indexes, names, strict=True))
    alike = Counter(documents.values())
    seen: Counter[str | None] = Counter()
    labels: dict[int, str | None] = {}
    for index, name in documents.items():
        seen[name] += 1
        labels[index] = f"{name} ({seen[name]})" if name and alike[name] > 1 else name
    return [labels[index] for index in indexes]


def _join(measurements: Table, places: pa.Table, conditions: pa.Table, pages: pa.Table) -> Table:
    """Return the measurements at these places with the fields of their conditions and pages."""

    def opened() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in measurements.open():
            rows = places.slice(start, batch.num_rows).combine_chunks()
            numbers = pa.array(np.arange(start + 1, start + batch.num_rows + 1))
            yield _join_batch(
                batch, numbers, rows["condition"].chunk(0), rows["page"].chunk(0), conditions, pages
            )
            start += batch.num_rows

    return Table("measurements", MEASUREMENT_FIELDS + JOINED_FIELDS, measurements.rows, opened)


def _join_batch(
    batch: pa.RecordBatch,
    numbers: pa.Array,
    condition: pa.Array,
    page: pa.Array,
    conditions: pa.Table,
    pages: pa.Table,
) -> pa.RecordBatch:
    """Return a batch with the fields of its conditions and pages, and the derived review status."""
    flags = [pc.fill_null(batch[name], False) for name in ("is_rejected", "is_verified", "is_modified")]
    rejected, verified, modified = flags
    status = pc.case_when(
        pc.make_struct(rejected, pc.and_(verified, modified), verified),
        "rejected",
        "modified",
        "approved",
        "pending",
    )
    joined = [numbers, condition, pc.fill_null(page, -1), conditions["name"].combine_chunks().take(condition)]
    joined += [
        pages[name].combine_chunks().take(page)
        for name in ("document_label", "page_number", "sheet_number", "sheet_title")
    ]
    names = [field.name for field in MEASUREMENT_FIELDS + JOINED_FIELDS]
    return pa.RecordBatch.from_arrays([*batch.columns, *joined, status], names)


def _with_totals(conditions: pa.Table, tally: Tally) -> pa.Table:
    """Return conditions with exported quantity and count; `stored_quantity` keeps the stored quantity."""
    at = conditions.schema.get_field_index
    stored = conditions["total_quantity"]
    conditions = conditions.set_column(at("total_quantity"), "total_quantity", pa.array(tally.sums))
    conditions = conditions.set_column(at("measurement_count"), "measurement_count", pa.array(tally.counts))
    return conditions.append_column("stored_quantity", stored)


Ints: TypeAlias = "npt.NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class Places:
    """All measurements in export order: by condition, page (those without a page last), created_at, id.

    Attributes:
        order: int64 by place: the row's position in the source's table.
        rows: By place: condition (index), page (index, null for none), quantity (float64 or null), and
            own_unit, true if the unit is the condition's.
    """

    order: Ints
    rows: pa.Table

    @staticmethod
    def of(measurements: Table, conditions: pa.Table, pages: pa.Table) -> Places:
        """Order measurements. Only their keys are held in memory.

        Args:
            measurements: In any order; each belongs to one of the conditions.
        """
        units = conditions["unit"].combine_chunks()
        keys = [
            pa.RecordBatch.from_pydict(
                {
                    "condition": (condition := _index(batch["condition_id"], conditions["id"])),
                    "page": _index(batch["page_id"], pages["id"]),
                    "created_at": copy_array(batch["created_at"]),
                    "id": copy_array(batch["id"]),
                    "quantity": copy_array(batch["quantity"]),
                    "own_unit": pc.fill_null(pc.equal(batch["unit"], units.take(condition)), False),
                }
            )
            for batch in measurements.open()
        ]
        if not keys:
            types = zip(_PLACES, (pa.int64(), pa.int64(), pa.float64(), pa.bool_()), strict=True)
            return Places(np.empty(0, np.int64), pa.schema([*types]).empty_table())
        table = pa.Table.from_batches(keys)
        by = [(name, "ascending") for name in ("condition", "page", "created_at", "id")]
        order = pc.sort_indices(table, sort_keys=by)
        return Places(order.to_numpy().astype(np.int64), table.select(_PLACES).take(order))


_PLACES = ["condition", "page", "quantity", "own_unit"]


def _index(values: pa.Array, ids: pa.ChunkedArray) -> pa.Array:
    """Return the position of each value among the ids, null if it is not found."""
    return pc.index_in(values, value_set=ids.combine_chunks()).cast(pa.int64())
