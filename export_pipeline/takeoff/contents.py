"""Shared input of a takeoff's layout: its rows, their places, and the options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, TypeAlias

from export_pipeline.core.arrow import np, npt
from export_pipeline.core.columns import Kind
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.tables import Table, copy_array, find_empty_columns
from export_pipeline.takeoff.options import MAX_PRINTED

Ints: TypeAlias = "npt.NDArray[np.int64]"


class Contents:
    """Takeoff ExportData, prepared for the layout.

    Attributes:
        data, options: The export and its options, unchanged.
        conditions, measurements: The tables; `by_page` has the measurements ordered by page, those without
            a page last.
        rows, pages: Conditions and pages as dictionaries, in order.
        costed: The conditions that have costs.
        created: When the data were read, UTC.
        currency: The sign of money.
        period: The window in words; None without one.
        page_of, condition_of: By measurement, the index of its page (-1 for none) and of its condition.
        page_order: Positions of the measurements, ordered by page.
    """

    def __init__(self, data: ExportData) -> None:
        """Prepare the data. The measurements must allow random access (`Table.mapped`)."""
        self.data, self.options = data, data.options
        self.conditions = in_currency(data.tables["conditions"], str(data.options["currency"]))
        self.measurements = data.tables["measurements"]
        self.currency = str(self.options["currency"])
        self.rows: list[dict[str, Any]] = self.conditions.arrow().to_pylist()
        self.pages: list[dict[str, Any]] = data.tables["pages"].arrow().to_pylist()
        self.costed = [row for row in self.rows if row["costed"]]
        self.created = data.snapshot_at.astimezone(UTC)
        self.period = data.period(as_of=True)
        self.page_of, self.condition_of = self._places()
        self.page_order = np.argsort(np.where(self.page_of < 0, len(self.pages), self.page_of), kind="stable")
        self.by_page = self.measurements.reordered(self.page_order, "measurements_by_page")

    @property
    def details(self) -> bool:
        """True if sheets and the document list measurements, not only conditions."""
        return str(self.options["include_details"]) != "false"

    @property
    def printed_details(self) -> bool:
        """True if the chapters list measurements, not only conditions."""
        if self.options["include_details"] == "auto":
            return self.measurements.rows <= MAX_PRINTED
        return self.details

    @property
    def zone(self) -> str:
        """The zone of times for people."""
        return str(self.options["zone"])

    @property
    def by(self) -> str:
        """The grouping of the listed measurements: condition, page or category."""
        return str(self.options["group_by"])

    def _places(self) -> tuple[Ints, Ints]:
        pages, conditions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        assert self.measurements.mapped is not None
        for batch in self.measurements.mapped().select(["page_index", "condition_index"]).to_batches():
            pages.append(copy_array(batch["page_index"]).to_numpy())
            conditions.append(copy_array(batch["condition_index"]).to_numpy())
        return np.concatenate(pages), np.concatenate(conditions)


def in_currency(table: Table, sign: str) -> Table:
    """Return the table with this sign for its money."""
    columns = tuple(
        replace(column, currency=sign) if column.kind is Kind.MONEY else column for column in table.columns
    )
    return replace(table, columns=columns)


def filled_view(table: Table, fields: Sequence[tuple[str, str]], source: Table | None = None) -> Table:
    """Return some of a table's columns under these headers, as far as any row has a value.

    Args:
        table: The rows.
        fields: Names and headers. The first column stays also without a value, as rows are named and linked
            by it.
        source: The same rows in another order, if they are faster to read.
    """
    named, *others = fields
    empty = find_empty_columns(source or table, [name for name, _ in others])
    return view(table, [named, *(field for field in others if field[0] not in empty)])


def view(table: Table, fields: Sequence[tuple[str, str]]) -> Table:
    """Return some of a table's columns under these headers."""
    by_name = table.schema
    return table.select([(name, by_name[name].renamed(name, header)) for name, header in fields])
