"""Layout of a takeoff export: the input of each format, and the expected content of its file."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from export_pipeline.core.amounts import Amount
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Content, Drawing, Layout, Presentation, Proof
from export_pipeline.takeoff.charts import cost_charts
from export_pipeline.takeoff.contents import Contents, view
from export_pipeline.takeoff.document import document
from export_pipeline.takeoff.drawings import DRAWN, draw_pages
from export_pipeline.takeoff.sections import chapters, sheets
from export_pipeline.takeoff.totals import page_totals

# (field, header) in the order that readers of older exports expect; new columns are appended.
CSV_COLUMNS = (
    ("condition", "Condition"), ("page_number", "Page"), ("sheet_number", "Sheet Number"),
    ("geometry_type", "Geometry Type"), ("quantity", "Quantity"), ("unit", "Unit"),
    ("geometry_data", "Coordinates"), ("is_verified", "Verified"), ("is_ai_generated", "AI Generated"),
    ("notes", "Notes"), ("document", "Document"), ("review_status", "Review"), ("number", "No."),
)  # fmt: skip


def layout(data: ExportData) -> Layout:
    """Lay out takeoff ExportData; its measurements must allow random access (`Table.mapped`)."""
    contents = Contents(data)
    taken_off = contents.measurements.keep((*DRAWN, "id", "quantity", "notes", "is_verified"))
    by_page = page_totals(contents)
    facts = _facts(contents)
    return Layout(
        title=contents.data.title,
        headline=_headline(contents),
        created=contents.created,
        main=view(contents.measurements, CSV_COLUMNS),
        document=document(contents),
        sheets=sheets(contents, by_page, [fact for fact in facts if fact[0] != "Project"]),
        chapters=chapters(contents, by_page),
        facts=facts,
        personal_facts=("Client",) if contents.data.subject["client_name"] else (),
        description=contents.data.subject["description"] or "",
        drawings=_drawings(contents),
        charts=cost_charts(contents),
        tables={
            **contents.data.tables,
            "measurements_by_page": taken_off.reordered(contents.page_order, "measurements_by_page"),
        },
        subject=contents.data.subject,
        arrange=lambda layout, presentation: replace(layout, proof=_proof(contents, presentation)),
        file_name=f"{contents.data.title}_{contents.data.dataset}_{contents.data.file_part}",
        period=contents.period,
        provenance=contents.data.provenance,
        warnings=tuple(contents.data.warnings),
        changed=dict(contents.data.changed),
    )


_SUMMARIES = {
    Content.DOCUMENT: "totalQuantity",
    Content.SHEETS: "total_quantity",
    Content.CHAPTERS: "total_quantity",
}
"""Column with the quantities, in what lists conditions only if details are not asked for."""


def _proof(contents: Contents, presentation: Presentation) -> Proof:
    """Return the proof of a format. Without details, documents, sheets and chapters hold conditions; the
    others always hold all measurements.
    """
    quantity = contents.data.source_totals["quantity"]
    # Adding the same numbers in another order may change the last bits.
    magnitude = sum(abs(row["total_quantity"]) for row in contents.rows)
    tolerance = 1e-9 * max(1.0, abs(quantity), magnitude)
    listed = contents.printed_details if presentation.content is Content.CHAPTERS else contents.details
    if listed or presentation.content not in _SUMMARIES:
        rows, column, digits = contents.data.source_rows, "quantity", 4
    else:
        rows, column, digits = len(contents.rows), _SUMMARIES[presentation.content], 2
    if presentation.sums_by_header:
        column = presentation.printed_header("Quantity")
    if presentation.rounds:
        tolerance += 0.5 * 10**-digits * rows
    charts = tuple(chart.values for chart in cost_charts(contents)) if presentation.proves_charts else ()
    return Proof(rows, {column: (quantity, tolerance)}, {column: Amount("quantity", 4)}, charts)


def _headline(contents: Contents) -> tuple[str, str] | None:
    """Return what a client pays."""
    if not contents.costed:
        return None
    total = sum((row["total_with_markup"] or Decimal(0) for row in contents.costed), Decimal(0))
    return (
        "Total with markup",
        f"{contents.currency}{' ' if contents.currency.isalpha() else ''}{total:,.2f}",
    )


def _facts(contents: Contents) -> tuple[tuple[str, str], ...]:
    subject = contents.data.subject
    contents_in_words = [
        text
        for name, text in (
            ("include_unverified", "verified measurements only"),
            ("include_costs", "without costs"),
        )
        if not contents.options[name]
    ]
    if contents.options["include_rejected"]:
        contents_in_words.append("with rejected measurements")
    for name in ("condition_ids", "page_ids"):
        if contents.options[name]:
            contents_in_words.append(f"{len(contents.options[name])} chosen {name.removesuffix('_ids')}s")
    facts = [
        ("Project", contents.data.title),
        ("Client", subject["client_name"] or ""),
        ("Status", str(subject["status"] or "").replace("_", " ")),
        ("Period", contents.period or ""),
        (
            "Data as of",
            f"{contents.created.astimezone(ZoneInfo(contents.zone)):%Y-%m-%d %H:%M} {contents.zone}",
        ),
        ("Contents", ", ".join(contents_in_words) or "all measurements that were not rejected"),
    ]
    return tuple((label, value) for label, value in facts if value)


def _drawings(contents: Contents) -> tuple[Drawing, ...]:
    if not contents.options["include_drawings"]:
        return ()
    drawn = contents.measurements.keep(DRAWN)
    places = contents.page_of, contents.condition_of
    return draw_pages(drawn, contents.page_order, *places, contents.pages, contents.rows)
