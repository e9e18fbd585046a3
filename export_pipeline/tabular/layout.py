"""Layout of a table export: the same rows for every format, as programs or people read them."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal

from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Layout, Number, Proof, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.tabular.column_selection import chosen, inherited, spec_of
from export_pipeline.tabular.columns import PEOPLE, View
from export_pipeline.tabular.facts import facts_of, period_of
from export_pipeline.tabular.file_names import file_name, title_of
from export_pipeline.tabular.proofs import proof_of
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import sums_of


def layout(data: ExportData) -> Layout:
    """Lay out a table export.

    csv, excel and pdf show labels and headers, and whole units as the options say; json, jsonl and parquet
    show values unchanged, under the columns' names.
    """
    return _TableLayout(data).layout()


class _TableLayout:
    def __init__(self, data: ExportData) -> None:
        self.data, self.spec = data, spec_of(data.spec)
        self.columns = [inherited(self.spec, column) for column in chosen(self.spec, data.options)]
        self.rows = data.tables["rows"]
        self.title = title_of(self.spec, data)
        option = data.options.get
        json = View(names=False, units=option("json_money", "units") == "units", labels=False)
        self.views: dict[str, View] = {
            "csv": View(
                names=option("csv_headers", "header") == "name",
                units=option("csv_money", "units") == "units",
                labels=True,
            ),
            "json": json,
            "jsonl": json,
            "parquet": View(names=False, units=True, labels=False),
            "excel": PEOPLE,
            "pdf": PEOPLE,
        }
        self.sums = sums_of(self.rows, [column.name for column in self.columns if self._is_summed(column)])

    def layout(self) -> Layout:
        main = self._table("csv")
        json = self._table("json")
        shape = self.data.options.get("json_shape", "array")
        created = self.data.snapshot_at.astimezone(UTC)
        return Layout(
            title=self.title,
            created=created,
            main=main,
            document={self.spec.json_key: json} if shape == "object" else json,
            excel=(self._section("excel", self.data.options.get("excel_sheet_title") or self.title),),
            pdf=(self._section("pdf", self.title),),
            facts=facts_of(self.spec, self.data),
            period=period_of(self.spec, self.data),
            tables=self.data.tables,
            flat={name: self._table(name) for name in self.views},
            subject=self.data.subject,
            proofs={name: self._proof(name) for name in self.views},
            file_name=file_name(self.spec, self.data),
            provenance=self.data.provenance,
            warnings=tuple(self.data.warnings),
            changed=dict(self.data.changed),
        )

    def _is_summed(self, column: ColumnSpec) -> bool:
        return column.total or (column.compute is not None and column.parsed.kind.is_number)

    def _shown(self, format: str) -> list[ColumnSpec]:
        """Return the columns of a format: those declared for it, and those that the request names.

        If there are none, all requested columns are returned, because a table needs at least one.
        """
        named = self.data.options.get("columns") or ()
        shown = [
            column
            for column in self.columns
            if column.formats is None or format in column.formats or column.name in named
        ]
        return shown or self.columns

    def _table(self, format: str) -> Table:
        return self.views[format].table(self.rows, self._shown(format))

    def _section(self, format: str, title: str) -> Section:
        columns = self._shown(format)
        totals = {column.name: self._total(column) for column in columns if column.total}
        return Section(
            "rows",
            title,
            self._table(format),
            totals=(Total("Total", totals),) if totals else (),
            counts=True,
            sums=tuple(column.name for column in columns if column.parsed.kind.is_number),
        )

    def _total(self, column: ColumnSpec) -> Number:
        total = self.sums[column.name].total
        return Decimal(total).scaleb(-column.minor_digits) if column.parsed.minor else total

    def _proof(self, format: str) -> Proof:
        return proof_of(format, self.views[format], self._shown(format), self.data, self.sums)
