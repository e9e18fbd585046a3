"""The listed measurements of a takeoff, in a group for each condition, page or category."""

from __future__ import annotations

import numpy as np

from export_pipeline.core.layout import Group, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.takeoff.contents import Contents, view
from export_pipeline.takeoff.drawings import parse_color

_DETAIL = (
    ("page_number", "Page"), ("sheet_number", "Sheet #"), ("geometry_type", "Geometry"),
    ("quantity", "Quantity"), ("unit", "Unit"), ("is_verified", "Verified"), ("notes", "Notes"),
    ("document", "Document"),
)  # fmt: skip
_DETAIL_WITH_CONDITION = (("condition", "Condition"), *_DETAIL)


def section(contents: Contents) -> Section:
    """Return the section of all measurements, grouped as the options say."""
    if contents.by == "page":
        table, groups = contents.by_page, _page_groups(contents)
    elif contents.by == "category":
        table, groups = _category_groups(contents)
    else:
        table, groups = contents.measurements, _condition_groups(contents)
    return Section(
        "details", {"condition": "Conditions", "page": "Pages", "category": "Categories"}[contents.by],
        view(table, _DETAIL if contents.by == "condition" else _DETAIL_WITH_CONDITION),
        groups=tuple(groups), counts=True, sums=("quantity",), empty="No measurements.",
    )  # fmt: skip


def _condition_groups(contents: Contents) -> list[Group]:
    return [
        Group(
            title=row["name"] or "(no name)",
            rows=row["measurement_count"],
            lines=(f"{row['measurement_type']} | {row['unit']} | {row['total_quantity']:,.2f}",),
            totals=(Total("Total", {"quantity": row["total_quantity"]}),),
            color=parse_color(row["color"]),
        )
        for row in contents.rows
    ]


def _page_groups(contents: Contents) -> list[Group]:
    counts = np.bincount(contents.page_of[contents.page_of >= 0], minlength=len(contents.pages))
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
        for page, count in zip(contents.pages, counts, strict=True)
        if count
    ]
    lost = int((contents.page_of < 0).sum())
    return [*groups, Group("Without a page", lost)] if lost else groups


def _category_groups(contents: Contents) -> tuple[Table, list[Group]]:
    names = sorted({row["category"] or "" for row in contents.rows}, key=lambda name: (not name, name))
    rank_of = {name: rank for rank, name in enumerate(names)}
    rank = np.array([rank_of[row["category"] or ""] for row in contents.rows] or [0])
    order = np.argsort(rank[contents.condition_of], kind="stable")
    counts = np.bincount(rank[contents.condition_of], minlength=len(names))
    groups = [Group(name or "No category", int(n)) for name, n in zip(names, counts, strict=False)]
    return contents.measurements.reordered(order, "measurements_by_category"), groups
