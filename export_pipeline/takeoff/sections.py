"""The sections of a takeoff for people: the sheets of its workbook, the chapters of its PDF."""

from __future__ import annotations

from collections.abc import Sequence

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.layout import Section
from export_pipeline.core.tables import Table
from export_pipeline.takeoff import details
from export_pipeline.takeoff.contents import Contents, filled_view, view
from export_pipeline.takeoff.fields import COST_FIELDS
from export_pipeline.takeoff.totals import (
    has_levels,
    page_matrix,
    project_total,
    totals_table,
    unit_totals,
)

_SUMMARY = (
    ("name", "Condition"), ("measurement_type", "Type"), ("unit", "Unit"), ("total_quantity", "Quantity"),
    ("measurement_count", "Measurements"), ("category", "Category"), ("scope", "Scope"),
)  # fmt: skip
_SUMMARY_COSTS = (
    ("unit_cost", "Unit Cost"), ("material_cost", "Material"), ("labor_cost", "Labor"),
    ("total_cost", "Total Cost"), ("total_with_markup", "Markup Total"),
)  # fmt: skip
_TOTALLED = ("total_cost", "total_with_markup")
_FACTS = (
    ("description", "Description"), ("building", "Building"), ("area", "Area"), ("elevation", "Elevation"),
    ("depth", "Depth (in)"), ("thickness", "Thickness (in)"),
)  # fmt: skip
_COLOR = ("color", "Color")
_PDF_SUMMARY = (
    ("name", "Condition"), ("measurement_type", "Type"), ("unit", "Unit"), ("total_quantity", "Quantity"),
    ("measurement_count", "Count"),
)  # fmt: skip
_PDF_SUMMARY_COSTS = (("unit_cost", "Unit Cost"), ("total_cost", "Total"))
_COST_SUMMARY = (
    ("name", "Condition"), ("total_quantity", "Qty"), ("unit", "Unit"),
    *((column.name, column.header) for column in COST_FIELDS[:-1]),
)  # fmt: skip


def sheets(contents: Contents, by_page: Table, facts: Sequence[tuple[str, str]]) -> tuple[Section, ...]:
    """Return the sheets of the workbook, each with its project's name.

    Args:
        contents: The takeoff.
        by_page: The sums of each condition on each page.
        facts: (label, value) pairs about the whole, for the first sheet.
    """
    costed = (*_TOTALLED, *(name for name, _ in _SUMMARY_COSTS if any(row[name] for row in contents.costed)))
    costs = [field for field in _SUMMARY_COSTS if contents.costed and field[0] in costed]
    summary = filled_view(contents.conditions, (*_SUMMARY, *costs, _COLOR))
    name = contents.data.title
    sections = [
        Section(
            "summary", "Summary", summary,
            heading=name,
            lines=tuple(f"{label}: {value}" for label, value in facts),
            totals=(*unit_totals(contents), *project_total(contents, _TOTALLED)),
            links=("name", "details") if contents.details and contents.by == "condition" else None,
            targets=tuple(details.condition_targets(contents)),
            counts=not contents.details, sums=() if contents.details else ("total_quantity",),
            empty="This project has no conditions.",
        )
    ]  # fmt: skip
    if described := _described(contents):
        sections.append(Section("facts", "Conditions in Detail", described, lines=(name,)))
    if contents.details:
        sections.append(details.section(contents))
    sections.append(Section("by_page", "By Page", by_page, lines=(name,), empty="No measurements."))
    if has_levels(contents):
        by_category = totals_table(contents, ("category", "unit"), "No category", levels=True)
        sections.append(Section("by_category", "By Category", by_category, lines=(name,)))
    if contents.costed:
        sections.append(_costs(contents))
    return tuple(sections)


def chapters(contents: Contents, by_page: Table) -> tuple[Section, ...]:
    """Return the chapters of the PDF."""
    summary = view(contents.conditions, (*_PDF_SUMMARY, *(_PDF_SUMMARY_COSTS if contents.costed else ())))
    listed = contents.printed_details
    sections = [
        Section(
            "summary", "Project Summary", summary,
            totals=project_total(contents, ("total_cost",), "PROJECT TOTAL (without markup)"),
            links=("name", "details") if listed and contents.by == "condition" else None,
            targets=tuple(details.condition_targets(contents)),
            counts=not listed, sums=() if listed else ("total_quantity",),
            empty="No conditions found.",
        ),
        Section("units", "Totals by Unit", totals_table(contents, ("unit",))),
        Section(
            "categories", "Totals by Category",
            totals_table(contents, ("category", "unit"), "No category", levels=has_levels(contents)),
        ),
    ]  # fmt: skip
    if described := _described(contents):
        sections.append(Section("facts", "Conditions in Detail", described))
    if matrix := page_matrix(contents):
        sections.append(Section("by_page", "Quantities by Page", matrix[0], totals=(matrix[1],)))
    else:
        sections.append(Section("by_page", "Quantities by Page", by_page, empty="No measurements."))
    if listed:
        sections.append(details.section(contents, printed=True))
    if contents.costed:
        sections.append(_costs(contents))
    return tuple(sections)


def _described(contents: Contents) -> Table | None:
    """Return the conditions of which more is known, with the columns that have a value; None without any."""
    facts = [field for field in _FACTS if any(row[field[0]] for row in contents.rows)]
    if not facts:
        return None
    kept = contents.conditions.arrow().filter(
        pa.array([any(row[name] for name, _ in facts) for row in contents.rows])
    )
    table = Table.of("facts", contents.conditions.columns, kept)
    return view(table, (_PDF_SUMMARY[0], *facts))


def _costs(contents: Contents) -> Section:
    costed = contents.conditions.arrow().filter(pc.field("costed"))
    names = [column.name for column in COST_FIELDS[1:7]] + ["total_with_markup"]
    return Section(
        "costs", "Cost Summary",
        view(Table.of("costs", contents.conditions.columns, costed), _COST_SUMMARY),
        lines=(contents.data.title,),
        totals=project_total(contents, names, "TOTAL"),
    )  # fmt: skip
