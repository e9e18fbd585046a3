"""How a takeoff export is laid out: CSV columns, JSON document, Excel sheets, PDF chapters, drawings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.columns import ARROW_TYPES, Column, Kind
from export_pipeline.model.export_data import ExportData
from export_pipeline.model.layout import Figure, Group, Layout, Nested, Proof, Section, Total
from export_pipeline.model.picking import picked
from export_pipeline.model.tables import Table, copied
from export_pipeline.model.takeoff.fields import COST_FIELDS
from export_pipeline.model.takeoff.figures import DRAWN, color_of, figures


def layout(data: ExportData) -> Layout:
    """Lay out takeoff ExportData, whose measurements must allow random access (`Table.mapped`)."""
    return _TakeoffLayout(data).layout()


# (field, header) in the order that readers of the old exports know; new columns follow at the end.
_CSV = (
    ("condition", "Condition"), ("page_number", "Page"), ("sheet_number", "Sheet Number"),
    ("geometry_type", "Geometry Type"), ("quantity", "Quantity"), ("unit", "Unit"),
    ("geometry_data", "Coordinates"), ("is_verified", "Verified"), ("is_ai_generated", "AI Generated"),
    ("notes", "Notes"), ("document", "Document"),
)  # fmt: skip
_SUMMARY = (
    ("name", "Condition"), ("measurement_type", "Type"), ("unit", "Unit"), ("total_quantity", "Quantity"),
    ("measurement_count", "Measurements"), ("category", "Category"), ("scope", "Scope"),
)  # fmt: skip
_SUMMARY_COSTS = (
    ("unit_cost", "Unit Cost"), ("material_cost", "Material"), ("labor_cost", "Labor"),
    ("total_cost", "Total Cost"), ("total_with_markup", "Markup Total"),
)  # fmt: skip
_DETAIL = (
    ("page_number", "Page"), ("sheet_number", "Sheet #"), ("geometry_type", "Geometry"),
    ("quantity", "Quantity"), ("unit", "Unit"), ("is_verified", "Verified"), ("notes", "Notes"),
    ("document", "Document"),
)  # fmt: skip
_DETAIL_WITH_CONDITION = (("condition", "Condition"), *_DETAIL)
_BY_PAGE = (
    ("page_number", "Page"), ("sheet_number", "Sheet #"), ("condition", "Condition"),
    ("geometry_type", "Geometry"), ("quantity", "Quantity"), ("unit", "Unit"), ("document", "Document"),
)  # fmt: skip
_PDF_SUMMARY = (
    ("name", "Condition"), ("measurement_type", "Type"), ("unit", "Unit"), ("total_quantity", "Quantity"),
    ("measurement_count", "Count"),
)  # fmt: skip
_PDF_SUMMARY_COSTS = (("unit_cost", "Unit Cost"), ("total_cost", "Total"))
_COST_SUMMARY = (
    ("name", "Condition"), ("total_quantity", "Qty"), ("unit", "Unit"),
    *((column.name, column.header) for column in COST_FIELDS[:-1]),
)  # fmt: skip


class _TakeoffLayout:
    def __init__(self, data: ExportData) -> None:
        self.data, self.options = data, data.options
        self.conditions = data.tables["conditions"]
        self.measurements = data.tables["measurements"]
        self.rows: list[dict[str, Any]] = self.conditions.arrow().to_pylist()
        self.pages: list[dict[str, Any]] = data.tables["pages"].arrow().to_pylist()
        self.costed = [row for row in self.rows if row["costed"]]
        # A window's file says the window's end, so that making it again gives the same bytes.
        self.created = (data.as_of or data.snapshot_at).astimezone(UTC)
        self.page_of, self.condition_of = self._positions()
        self.page_order = np.argsort(np.where(self.page_of < 0, len(self.pages), self.page_of), kind="stable")

    def layout(self) -> Layout:
        self.by_page = self.measurements.reordered(self.page_order, "measurements_by_page")
        drawn = picked(self.measurements, DRAWN)
        return Layout(
            title=f"Export: {self.data.title}",
            created=self.created,
            main=_view(self.measurements, _CSV),
            document=self._document(),
            excel=self._excel(),
            pdf=self._pdf(),
            facts=self._facts(),
            description=self.data.subject["description"] or "",
            figures=self._figures(),
            tables={
                **self.data.tables,
                "measurements_by_page": drawn.reordered(self.page_order, "measurements_by_page"),
            },
            subject=self.data.subject,
            proofs=self._proofs(),
            file_name=f"{self.data.title}_{self.data.dataset}_{self._moment}",
            provenance=self.data.provenance,
        )

    @property
    def _moment(self) -> str:
        window = self.data.window
        return window.name if window else f"{self.data.snapshot_at:%Y%m%d_%H%M%S}"

    def _proofs(self) -> dict[str, Proof]:
        """Every format holds all measurements; without details, people's formats hold the conditions."""
        rows, quantity = self.data.source_rows, self.data.source_totals["quantity"]
        # Adding the same numbers in another order may differ in the last bits.
        tiny = 1e-9 * max(1.0, float(np.abs(quantity)), self._magnitude)

        def proof(rows: int, column: str, digits: int | None) -> Proof:
            return Proof(rows, {column: (quantity, tiny + (0.5 * 10**-digits * rows if digits else 0.0))})

        detailed = {
            "csv": proof(rows, "Quantity", 4),
            "json": proof(rows, "quantity", None),
            "excel": proof(rows, "quantity", None),
            "pdf": proof(rows, "quantity", 4),
            "ost": proof(rows, "quantity", None),
        }
        if self._details:
            return detailed
        many = len(self.rows)
        return detailed | {
            "json": proof(many, "totalQuantity", None),
            "excel": proof(many, "total_quantity", None),
            "pdf": proof(many, "total_quantity", 2),
        }

    @property
    def _magnitude(self) -> float:
        return float(sum(abs(row["total_quantity"]) for row in self.rows))

    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each measurement: the index of its page (-1 for none) and of its condition."""
        pages, conditions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for batch in self.measurements.open():
            pages.append(copied(batch["page_index"]).to_numpy())
            conditions.append(copied(batch["condition_index"]).to_numpy())
        return np.concatenate(pages), np.concatenate(conditions)

    # --- facts ---

    def _facts(self) -> tuple[tuple[str, str], ...]:
        subject = self.data.subject
        chosen = [
            text
            for name, text in (
                ("include_unverified", "verified measurements only"),
                ("include_costs", "without costs"),
            )
            if not self.options[name]
        ]
        if self.options["include_rejected"]:
            chosen.append("with rejected measurements")
        for name in ("condition_ids", "page_ids"):
            if self.options[name]:
                chosen.append(f"{len(self.options[name])} chosen {name.removesuffix('_ids')}s")
        facts = [
            ("Project", self.data.title),
            ("Client", subject["client_name"] or ""),
            ("Status", str(subject["status"] or "").replace("_", " ")),
            ("Data as of", f"{self.created:%Y-%m-%d %H:%M} UTC"),
            ("Contents", ", ".join(chosen) or "all measurements that were not rejected"),
        ]
        return tuple((label, value) for label, value in facts if value)

    # --- Excel ---

    def _excel(self) -> tuple[Section, ...]:
        summary = _view(self.conditions, (*_SUMMARY, *(_SUMMARY_COSTS if self.costed else ())))
        client = self.data.subject["client_name"]
        sections = [
            Section(
                "summary", "Summary", summary,
                heading=f"Export: {self.data.title}",
                lines=(f"Client: {client}",) if client else (),
                totals=(*self._unit_totals(), *self._project_total(("total_cost", "total_with_markup"))),
                links=("name", "details") if self._details and self._by == "condition" else None,
                counts=not self._details, sums=() if self._details else ("total_quantity",),
                empty="This project has no conditions.",
            )
        ]  # fmt: skip
        if self._details:
            sections.append(self._detail_section())
            sections.append(
                Section("by_page", "By Page", _view(self.by_page, _BY_PAGE), empty="No measurements.")
            )
        if self.costed:
            sections.append(self._cost_section())
        return tuple(sections)

    def _cost_section(self) -> Section:
        costed = self.conditions.arrow().filter(pc.field("costed"))
        names = [column.name for column in COST_FIELDS[1:7]] + ["total_with_markup"]
        return Section(
            "costs", "Cost Summary",
            _view(Table.of("costs", self.conditions.columns, costed), _COST_SUMMARY),
            lines=(self.data.title,),
            totals=self._project_total(names, "TOTAL"),
        )  # fmt: skip

    # --- PDF ---

    def _pdf(self) -> tuple[Section, ...]:
        summary = _view(self.conditions, (*_PDF_SUMMARY, *(_PDF_SUMMARY_COSTS if self.costed else ())))
        sections = [
            Section(
                "summary", "Project Summary", summary,
                lines=self._markup_line(),
                totals=self._project_total(("total_cost",), "PROJECT TOTAL (without markup)"),
                links=("name", "details") if self._details and self._by == "condition" else None,
                counts=not self._details, sums=() if self._details else ("total_quantity",),
                empty="No conditions found.",
            ),
            Section("units", "Totals by Unit", self._totals_table(("unit",))),
            Section(
                "categories", "Totals by Category", self._totals_table(("category", "unit"), "No category")
            ),
        ]  # fmt: skip
        if self._details:
            sections.append(self._detail_section())
        if self.costed:
            sections.append(self._cost_section())
        return tuple(sections)

    def _markup_line(self) -> tuple[str, ...]:
        if not self.costed:
            return ()
        total = sum((row["total_with_markup"] or Decimal(0) for row in self.costed), Decimal(0))
        return (f"Project Total (with markup): ${total:,.2f}",)

    # --- details: a group a condition, page or category ---

    @property
    def _details(self) -> bool:
        return bool(self.options["include_details"])

    @property
    def _by(self) -> str:
        return str(self.options["group_by"])

    def _detail_section(self) -> Section:
        if self._by == "page":
            table, groups = self.by_page, self._page_groups()
        elif self._by == "category":
            table, groups = self._category_groups()
        else:
            table, groups = self.measurements, self._condition_groups()
        return Section(
            "details", {"condition": "Conditions", "page": "Pages", "category": "Categories"}[self._by],
            _view(table, _DETAIL if self._by == "condition" else _DETAIL_WITH_CONDITION),
            groups=tuple(groups), counts=True, sums=("quantity",), empty="No measurements.",
        )  # fmt: skip

    def _condition_groups(self) -> list[Group]:
        return [
            Group(
                title=row["name"] or "(no name)",
                rows=row["measurement_count"],
                lines=(f"{row['measurement_type']} | {row['unit']} | {row['total_quantity']:,.2f}",),
                totals=(Total("Total", {"quantity": row["total_quantity"]}),),
                color=color_of(row["color"]),
            )
            for row in self.rows
        ]

    def _page_groups(self) -> list[Group]:
        counts = np.bincount(self.page_of[self.page_of >= 0], minlength=len(self.pages))
        groups = [
            Group(
                title=" - ".join(
                    str(part)
                    for part in (page["sheet_number"], f"p. {page['page_number']}", page["document"])
                    if part
                ),
                rows=int(count),
                lines=tuple(text for text in (page["sheet_title"], page["scale_text"]) if text),
            )
            for page, count in zip(self.pages, counts, strict=True)
            if count
        ]
        lost = int((self.page_of < 0).sum())
        return [*groups, Group("Without a page", lost)] if lost else groups

    def _category_groups(self) -> tuple[Table, list[Group]]:
        names = sorted({row["category"] or "" for row in self.rows}, key=lambda name: (not name, name))
        rank_of = {name: rank for rank, name in enumerate(names)}
        rank = np.array([rank_of[row["category"] or ""] for row in self.rows] or [0])
        order = np.argsort(rank[self.condition_of], kind="stable")
        counts = np.bincount(rank[self.condition_of], minlength=len(names))
        groups = [Group(name or "No category", int(n)) for name, n in zip(names, counts, strict=False)]
        return self.measurements.reordered(order, "measurements_by_category"), groups

    # --- totals ---

    def _unit_totals(self) -> Iterator[Total]:
        for unit, rows in self._grouped(("unit",)).items():
            yield Total(
                f"Total {unit[0] or 'without unit'}",
                {
                    "total_quantity": sum(row["total_quantity"] for row in rows),
                    "measurement_count": sum(row["measurement_count"] for row in rows),
                },
                where=("unit", unit[0]),
            )

    def _project_total(self, names: Sequence[str], label: str = "PROJECT TOTAL") -> tuple[Total, ...]:
        if not self.costed:
            return ()
        sums = {name: sum((row[name] or Decimal(0) for row in self.costed), Decimal(0)) for name in names}
        return (Total(label, sums),)

    def _grouped(self, keys: tuple[str, ...]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            found[tuple(row[key] or "" for key in keys)].append(row)
        return dict(sorted(found.items()))

    def _totals_table(self, keys: tuple[str, ...], nameless: str | None = None) -> Table:
        """Conditions, measurements, quantity (and cost, if any) by unit, or by category and unit."""
        columns = [Column(key, key.capitalize(), Kind.ENUM) for key in keys]
        columns += [
            Column("conditions", "Conditions", Kind.INTEGER),
            Column("measurement_count", "Measurements", Kind.INTEGER),
            Column("total_quantity", "Quantity", Kind.FLOAT, 2),
        ]
        if self.costed:
            columns.append(Column("total_cost", "Total Cost", Kind.MONEY, 2))
        rows = [
            {
                **{name: value or nameless for name, value in zip(keys, key, strict=True)},
                "conditions": len(rows),
                "measurement_count": sum(row["measurement_count"] for row in rows),
                "total_quantity": sum(row["total_quantity"] for row in rows),
                "total_cost": sum((row["total_cost"] or Decimal(0) for row in rows), Decimal(0)),
            }
            for key, rows in self._grouped(keys).items()
        ]
        # A sum of costs may be larger than any one of them can be.
        types = ARROW_TYPES | {Kind.MONEY: pa.decimal128(38, 4)}
        schema = pa.schema([(column.name, types[column.kind]) for column in columns])
        return Table.of("totals", columns, pa.Table.from_pylist(rows, schema))

    # --- JSON ---

    def _document(self) -> dict[str, Any]:
        conditions = _camels(self.conditions, leave_out={"costed"})
        measurements = _camels(self.measurements, {"condition_index", "page_index", "condition_id"})
        nested: Table | Nested = conditions
        if self._details:
            counts = [row["measurement_count"] for row in self.rows]
            nested = Nested(conditions, "measurements", measurements, counts)
        return {
            "exportInfo": {
                "format": "json",
                "dataset": self.data.dataset,
                "rowsPath": "conditions[].measurements[]" if self._details else "conditions[]",
                "generatedAt": _iso(self.created),
                "asOf": _iso(self.data.as_of) if self.data.as_of else None,
                "options": {_camel(key): value for key, value in self.options.items()},
                "warnings": list(self.data.warnings),
            },
            "project": {_camel(key): value for key, value in self.data.subject.items()},
            "summary": {
                "totalConditions": len(self.rows),
                "totalMeasurements": self.measurements.rows,
                "byUnit": _camels(self._totals_table(("unit",))),
                "byCategory": _camels(self._totals_table(("category", "unit"))),
            },
            "pages": _camels(self.data.tables["pages"]),
            "conditions": nested,
        }

    def _figures(self) -> tuple[Figure, ...]:
        if not self.options["include_drawings"]:
            return ()
        drawn = picked(self.measurements, DRAWN)
        places = self.page_of, self.condition_of
        return figures(drawn, self.page_order, *places, self.pages, self.rows)


def _view(table: Table, fields: Sequence[tuple[str, str]]) -> Table:
    """Some of a table's columns under these headers."""
    by_name = table.schema
    return table.select([(name, by_name[name].renamed(name, header)) for name, header in fields])


def _camels(table: Table, leave_out: Container[str] = ()) -> Table:
    """A table whose columns have the names that JSON gives them."""
    return table.select(
        [(c.name, c.renamed(_camel(c.name))) for c in table.columns if c.name not in leave_out]
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
