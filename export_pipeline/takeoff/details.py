"""The listed measurements of a takeoff, in a group for each condition, page or category."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from export_pipeline.core.arrow import np
from export_pipeline.core.layout import Group, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.takeoff.contents import Contents, filled_view
from export_pipeline.takeoff.drawings import parse_color

_DETAIL = (
    ("page_number", "Page"), ("sheet_number", "Sheet #"), ("geometry_type", "Geometry"),
    ("quantity", "Quantity"), ("unit", "Unit"), ("is_verified", "Verified"), ("notes", "Notes"),
    ("document", "Document"), ("review_status", "Review"), ("number", "No."),
)  # fmt: skip
# On paper the review says whether it is verified, and the number that drawings show comes first.
_PRINTED = (("number", "No."), *_DETAIL[:5], ("review_status", "Review"), *_DETAIL[6:8])
_CONDITION = ("condition", "Condition")


def section(contents: Contents, printed: bool = False) -> Section:
    """Return the section of all measurements, grouped as the options say.

    Args:
        printed: True for the columns that fit on paper.
    """
    if contents.by == "page":
        table, groups = contents.by_page, _page_groups(contents)
    elif contents.by == "category":
        table, groups = _category_groups(contents)
    else:
        table, groups = contents.measurements, condition_groups(contents)
    fields = _PRINTED if printed else _DETAIL
    if not printed:
        groups = [replace(group, lines=(contents.data.title, *group.lines)) for group in groups]
    return Section(
        "details", {"condition": "Conditions", "page": "Pages", "category": "Categories"}[contents.by],
        filled_view(
            table, fields if contents.by == "condition" else (_CONDITION, *fields), contents.measurements
        ),
        groups=tuple(groups), counts=True, sums=("quantity",), empty="No measurements.",
    )  # fmt: skip


def condition_targets(contents: Contents) -> list[int | None]:
    """Return the group of each condition, None for one that has none."""
    places = itertools.count()
    return [next(places) if _is_listed(contents, row) else None for row in contents.rows]


def _is_listed(contents: Contents, row: Mapping[str, Any]) -> bool:
    return bool(row["measurement_count"] or contents.options["include_empty_conditions"])


def condition_groups(contents: Contents) -> list[Group]:
    """Return a group for each condition that has measurements."""
    return [
        Group(
            title=row["name"] or "(no name)",
            rows=row["measurement_count"],
            lines=(f"{row['measurement_type']} | {row['unit']} | {row['total_quantity']:,.2f}",),
            totals=(Total("Total", {"quantity": row["total_quantity"]}),),
            color=parse_color(row["color"]),
        )
        for row in contents.rows
        if _is_listed(contents, row)
    ]


def _page_groups(contents: Contents) -> list[Group]:
    counts = np.bincount(contents.page_of[contents.page_of >= 0], minlength=len(contents.pages))
    groups = [
        Group(
            title=" - ".join(
                str(part)
                for part in (page["sheet_number"], f"p. {page['page_number']}", page["document_label"])
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
