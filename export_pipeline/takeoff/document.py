"""The JSON document of a takeoff: everything, conditions with their measurements inside."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import Any

from export_pipeline.core.layout import NestedTable
from export_pipeline.core.tables import Table
from export_pipeline.takeoff.contents import Contents
from export_pipeline.takeoff.totals import totals_table


def document(contents: Contents) -> dict[str, Any]:
    """Return the document. Tables become arrays; conditions contain their measurements, if listed."""
    conditions = _camels(contents.conditions, leave_out={"costed"})
    measurements = _camels(contents.measurements, {"condition_index", "page_index", "condition_id"})
    nested: Table | NestedTable = conditions
    if contents.details:
        counts = [row["measurement_count"] for row in contents.rows]
        nested = NestedTable(conditions, "measurements", measurements, counts)
    return {
        "exportInfo": {
            "format": "json",
            "dataset": contents.data.dataset,
            "rowsPath": "conditions[].measurements[]" if contents.details else "conditions[]",
            "generatedAt": _iso(contents.created),
            "period": contents.period,
            "options": {_camel(key): value for key, value in contents.options.items()},
            "warnings": list(contents.data.warnings),
        },
        "project": {_camel(key): value for key, value in contents.data.subject.items()},
        "summary": {
            "totalConditions": len(contents.rows),
            "totalMeasurements": contents.measurements.rows,
            "byUnit": _camels(totals_table(contents, ("unit",))),
            "byCategory": _camels(totals_table(contents, ("category", "unit"))),
        },
        "pages": _camels(contents.data.tables["pages"]),
        "conditions": nested,
    }


def _camels(table: Table, leave_out: Container[str] = ()) -> Table:
    """Return a table whose columns have the names used in JSON."""
    return table.select(
        [(c.name, c.renamed(_camel(c.name))) for c in table.columns if c.name not in leave_out]
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
