"""The place of each measurement in the export, its condition and its page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.tables import Table, copy_array

Ints = npt.NDArray[np.int64]


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
            return Places(np.empty(0, np.int64), _NONE)
        table = pa.Table.from_batches(keys)
        by = [(name, "ascending") for name in ("condition", "page", "created_at", "id")]
        order = pc.sort_indices(table, sort_keys=by)
        return Places(order.to_numpy().astype(np.int64), table.select(_NONE.column_names).take(order))


_NONE = pa.schema(
    [("condition", pa.int64()), ("page", pa.int64()), ("quantity", pa.float64()), ("own_unit", pa.bool_())]
).empty_table()


def _index(values: pa.Array, ids: pa.ChunkedArray) -> pa.Array:
    """Return the position of each value among the ids, null if it is not found."""
    return pc.index_in(values, value_set=ids.combine_chunks()).cast(pa.int64())
