"""The sections of a takeoff for people: the sheets of its workbook, the chapters of its PDF."""

from __future__ import annotations

from decimal import Decimal

import pyarrow.compute as pc

from export_pipeline.core.layout import Section
from export_pipeline.core.tables import Table
from export_pipeline.takeoff import details
from export_pipeline.takeoff.contents import Contents, view
from export_pipeline.takeoff.fields import COST_FIELDS
from export_pipeline.takeoff.totals import project_total, totals_table, unit_totals

_SUMMARY = (
    ("name", "Condition"), ("measurement_type", "Type"), ("unit", "Unit"), ("total_quantity", "Quantity"),
    ("measurement_count", "Measurements"), ("category", "Category"), ("scope", "Scope"),
)  # fmt: skip
_SUMMARY_COSTS = (
    ("unit_cost", "Unit Cost"), ("material_cost", "Material"), ("labor_cost", "Labor"),
    ("total_cost", "Total Cost"), ("total_with_markup", "Markup Total"),
)  # fmt: skip
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


def sheets(contents: Contents) -> tuple[Section, ...]:
    """Return the sheets of the workbook."""
    summary = view(contents.conditions, (*_SUMMARY, *(_SUMMARY_COSTS if contents.costed else ())))
    client = contents.data.subject["client_name"]
    sections = [
        Section(
            "summary", "Summary", summary,
            heading=f"Export: {contents.data.title}",
            lines=tuple(
                f"{label}: {value}"
                for label, value in (("Client", client), ("Period", contents.period))
                if value
            ),
            totals=(*unit_totals(contents), *project_total(contents, ("total_cost", "total_with_markup"))),
            links=("name", "details") if contents.details and contents.by == "condition" else None,
            counts=not contents.details, sums=() if contents.details else ("total_quantity",),
            empty="This project has no conditions.",
        )
    ]  # fmt: skip
    if contents.details:
        sections.append(details.section(contents))
        sections.append(
            Section("by_page", "By Page", view(contents.by_page, _BY_PAGE), empty="No measurements.")
        )
    if contents.costed:
        sections.append(_costs(contents))
    return tuple(sections)


def chapters(contents: Contents) -> tuple[Section, ...]:
    """Return the chapters of the PDF."""
    summary = view(contents.conditions, (*_PDF_SUMMARY, *(_PDF_SUMMARY_COSTS if contents.costed else ())))
    sections = [
        Section(
            "summary", "Project Summary", summary,
            lines=_markup_line(contents),
            totals=project_total(contents, ("total_cost",), "PROJECT TOTAL (without markup)"),
            links=("name", "details") if contents.details and contents.by == "condition" else None,
            counts=not contents.details, sums=() if contents.details else ("total_quantity",),
            empty="No conditions found.",
        ),
        Section("units", "Totals by Unit", totals_table(contents, ("unit",))),
        Section(
            "categories", "Totals by Category", totals_table(contents, ("category", "unit"), "No category")
        ),
    ]  # fmt: skip
    if contents.details:
        sections.append(details.section(contents))
    if contents.costed:
        sections.append(_costs(contents))
    return tuple(sections)


def _costs(contents: Contents) -> Section:
    costed = contents.conditions.arrow().filter(pc.field("costed"))
    names = [column.name for column in COST_FIELDS[1:7]] + ["total_with_markup"]
    return Section(
        "costs", "Cost Summary",
        view(Table.of("costs", contents.conditions.columns, costed), _COST_SUMMARY),
        lines=(contents.data.title,),
        totals=project_total(contents, names, "TOTAL"),
    )  # fmt: skip


def _markup_line(contents: Contents) -> tuple[str, ...]:
    if not contents.costed:
        return ()
    total = sum((row["total_with_markup"] or Decimal(0) for row in contents.costed), Decimal(0))
    return (f"Project Total (with markup): ${total:,.2f}",)
