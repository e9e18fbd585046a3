"""The columns of takeoff's tables: those that a source reads, and those that `build` adds."""

from __future__ import annotations

from export_pipeline.core.columns import Column, Kind


def column(
    name: str, kind: Kind, header: str | None = None, digits: int | None = None, *, personal: bool = False
) -> Column:
    """Return a column whose header is by default its name in words."""
    return Column(name, header or name.replace("_", " ").capitalize(), kind, digits, personal=personal)


PROJECT_FIELDS = (
    column("id", Kind.UUID),
    column("name", Kind.TEXT),
    column("description", Kind.TEXT),
    column("client_name", Kind.TEXT, "Client", personal=True),
    column("status", Kind.ENUM),
    column("created_at", Kind.TIMESTAMP, "Created"),
    column("updated_at", Kind.TIMESTAMP, "Updated"),
)

COST_FIELDS = (
    column("unit_cost", Kind.MONEY, "Unit Cost", 4),
    column("material_cost", Kind.MONEY, "Material", 2),
    column("labor_cost", Kind.MONEY, "Labor", 2),
    column("equipment_cost", Kind.MONEY, "Equipment", 2),
    column("subcontract_cost", Kind.MONEY, "Subcontract", 2),
    column("other_cost", Kind.MONEY, "Other", 2),
    column("total_cost", Kind.MONEY, "Total Cost", 2),
    column("overhead_percent", Kind.PERCENT, "OH %"),
    column("profit_percent", Kind.PERCENT, "Profit %"),
    column("total_with_markup", Kind.MONEY, "Total w/ Markup", 2),
    column("total_labor_hours", Kind.FLOAT, "Labor Hours", 2),
)
COSTED = column("costed", Kind.BOOLEAN)
COST_PARTS = ("material_cost", "labor_cost", "equipment_cost", "subcontract_cost", "other_cost")

CONDITION_FIELDS = (
    column("id", Kind.UUID),
    column("name", Kind.TEXT, "Condition"),
    column("description", Kind.TEXT),
    column("scope", Kind.TEXT, "Scope"),
    column("category", Kind.TEXT, "Category"),
    column("measurement_type", Kind.ENUM, "Type"),
    column("color", Kind.TEXT),
    column("line_width", Kind.INTEGER),
    column("fill_opacity", Kind.FLOAT),
    column("unit", Kind.ENUM, "Unit"),
    column("depth", Kind.FLOAT, "Depth (in)", 2),
    column("thickness", Kind.FLOAT, "Thickness (in)", 2),
    column("total_quantity", Kind.FLOAT, "Quantity", 2),
    column("measurement_count", Kind.INTEGER, "Measurements"),
    column("sort_order", Kind.INTEGER),
    column("is_ai_generated", Kind.BOOLEAN, "AI Generated"),
    column("is_visible", Kind.BOOLEAN, "Visible"),
    column("building", Kind.TEXT),
    column("area", Kind.TEXT),
    column("elevation", Kind.TEXT),
    column("created_at", Kind.TIMESTAMP, "Created"),
    column("updated_at", Kind.TIMESTAMP, "Updated"),
    *COST_FIELDS,
    COSTED,
)

PAGE_FIELDS = (
    column("id", Kind.UUID),
    column("document_id", Kind.UUID),
    column("document", Kind.TEXT, "Document"),
    column("page_number", Kind.INTEGER, "Page"),
    column("width", Kind.INTEGER),
    column("height", Kind.INTEGER),
    column("dpi", Kind.INTEGER),
    column("page_width_inches", Kind.FLOAT),
    column("page_height_inches", Kind.FLOAT),
    column("image_key", Kind.TEXT),
    column("title", Kind.TEXT),
    column("sheet_number", Kind.TEXT, "Sheet Number"),
    column("sheet_title", Kind.TEXT, "Sheet Title"),
    column("scale_text", Kind.TEXT),
    column("scale_value", Kind.FLOAT),
    column("scale_unit", Kind.TEXT),
    column("scale_calibrated", Kind.BOOLEAN),
)

MEASUREMENT_FIELDS = (
    column("id", Kind.UUID),
    column("condition_id", Kind.UUID),
    column("page_id", Kind.UUID),
    column("geometry_type", Kind.ENUM, "Geometry Type"),
    column("geometry_data", Kind.JSON, "Coordinates"),
    column("quantity", Kind.FLOAT, "Quantity", 4),
    column("unit", Kind.ENUM, "Unit"),
    column("pixel_length", Kind.FLOAT),
    column("pixel_area", Kind.FLOAT),
    column("is_ai_generated", Kind.BOOLEAN, "AI Generated"),
    column("ai_confidence", Kind.FLOAT),
    column("ai_model", Kind.TEXT),
    column("is_modified", Kind.BOOLEAN),
    column("is_verified", Kind.BOOLEAN, "Verified"),
    column("is_rejected", Kind.BOOLEAN),
    column("rejection_reason", Kind.TEXT, personal=True),
    column("review_notes", Kind.TEXT, personal=True),
    column("notes", Kind.TEXT, "Notes", personal=True),
    column("created_at", Kind.TIMESTAMP, "Created"),
    column("updated_at", Kind.TIMESTAMP, "Updated"),
)

# Fields that `build` adds to each measurement: its place in the export, and fields of its condition and page.
JOINED_FIELDS = (
    Column("number", "No.", Kind.INTEGER, grouping=False),
    column("condition_index", Kind.INTEGER),
    column("page_index", Kind.INTEGER),
    column("condition", Kind.TEXT, "Condition"),
    column("document", Kind.TEXT, "Document"),
    column("page_number", Kind.INTEGER, "Page"),
    column("sheet_number", Kind.TEXT, "Sheet Number"),
    column("sheet_title", Kind.TEXT, "Sheet Title"),
    column("review_status", Kind.ENUM, "Review"),
)
