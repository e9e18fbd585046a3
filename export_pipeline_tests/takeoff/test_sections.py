"""Sheets and chapters of a takeoff, as estimators read them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.core.layout import Section
from export_pipeline_tests.takeoff.odd_project import OddProject
from export_pipeline_tests.takeoff_data import Application, rows


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(f"sqlite:///{tmp_path}/a.db")
    yield made
    made.close()


def section(sections: tuple[Section, ...], key: str) -> list[dict[str, Any]]:
    (match,) = (section for section in sections if section.key == key)
    return match.table.arrow().to_pylist()


def test_by_page_adds_up_what_lies_on_each_page(app: Application) -> None:
    odd = OddProject(app)
    by_page = section(app.layout(odd.id).sheets, "by_page")
    bolts = [row for row in by_page if row["condition"] == "Anchor bolts"]
    assert [(row["document_label"], row["measurement_count"], row["total_quantity"]) for row in bolts] == [
        ("A-100 Series.pdf (1)", 8, 19.0)
    ]
    walls = [row for row in by_page if row["condition"] == "CMU Wall 8\" @ EL 112'"]
    assert [(row["document_label"], row["page_number"], row["measurement_count"]) for row in walls] == [
        ("A-100 Series.pdf (1)", 1, 5),
        ("A-100 Series.pdf (2)", 1, 1),
    ]
    assert sum(row["measurement_count"] for row in by_page) == app.export(odd.id).source_rows


def test_on_paper_pages_are_rows_and_conditions_columns_if_they_fit(app: Application) -> None:
    project = app.project()
    document = app.document(project)
    pages = [app.page(document, number) for number in (1, 2)]
    conditions = [app.condition(project, name, "area", unit="SF") for name in ("Slab", "Slab", "Unused")]
    for place, (page, condition) in enumerate(((0, 0), (0, 0), (1, 0), (1, 1))):
        app.measurement(conditions[condition], pages[page], 10.0**place, unit="SF")
    (by_page,) = (one for one in app.layout(project).chapters if one.key == "by_page")
    assert [column.header for column in by_page.table.columns] == [
        "Page", "Sheet #", "Slab (SF)", "Slab (SF)",
    ]  # fmt: skip
    rows = [tuple(row.values()) for row in by_page.table.arrow().to_pylist()]
    assert rows == [(1, "S-1", 11.0, None), (2, "S-2", 100.0, 1000.0)]
    assert [*by_page.totals[0].values.values()] == [111.0, 1000.0]
    for number in range(12):
        app.measurement(app.condition(project, f"C{number}", "area"), pages[0], 1.0)
    (by_page,) = (one for one in app.layout(project).chapters if one.key == "by_page")
    assert [row["total_quantity"] for row in by_page.table.arrow().to_pylist()].count(1.0) == 12


def test_categories_are_added_up_over_their_levels(app: Application) -> None:
    project = app.project()
    page = app.page(app.document(project))
    for number, category in enumerate(("03 Concrete/Slabs", "03 Concrete/Walls", "03 Concrete", "05 Metals")):
        condition = app.condition(project, f"C{number}", "area", category=category)
        app.measurement(condition, page, 10.0**number, unit="SF")
    categories = section(app.layout(project).sheets, "by_category")
    assert [(row["category"], row["conditions"], row["total_quantity"]) for row in categories] == [
        ("03 Concrete", 3, 111.0),
        ("\N{EM SPACE}Slabs", 1, 1.0),
        ("\N{EM SPACE}Walls", 1, 10.0),
        ("05 Metals", 1, 1000.0),
    ]


def test_only_conditions_with_measurements_have_sheets_and_links_to_them(app: Application) -> None:
    project = app.project()
    page = app.page(app.document(project))
    app.condition(project, "A empty")
    app.measurement(app.condition(project, "B full"), page)
    (summary, details, *_) = app.layout(project).sheets
    assert [group.title for group in details.groups or ()] == ["B full"]
    assert summary.targets == (None, 0)
    (summary, details, *_) = app.layout(project, include_empty_conditions=True).sheets
    assert [group.title for group in details.groups or ()] == ["A empty", "B full"]
    assert summary.targets == (0, 1)


def test_a_pdf_lists_few_measurements_only_and_sums_of_many(app: Application) -> None:
    project = app.project()
    page = app.page(app.document(project))
    condition = app.condition(project, "C")
    for _ in range(101):
        app.measurement(condition, page, 1.0)
    keys = [section.key for section in app.layout(project).chapters]
    assert keys == ["summary", "units", "categories", "by_page"]
    assert [section.counts for section in app.layout(project).chapters] == [True, False, False, False]
    assert "details" in [section.key for section in app.layout(project, include_details=True).chapters]
    assert "details" in [section.key for section in app.layout(project).sheets]


def test_scaled_parts_add_up_to_the_scaled_total(app: Application) -> None:
    project = app.project()
    page = app.page(app.document(project))
    condition = app.condition(project, "Pad", "area", total_quantity=200.0)
    app.measurement(condition, page, 100.0, unit="SF")
    parts = {
        "material_cost": "1000.00",
        "labor_cost": "500.25",
        "equipment_cost": "100",
        "other_cost": "49.75",
    }
    app.assembly(condition, **{name: Decimal(value) for name, value in parts.items()}, overhead_percent=10.0)
    (row,) = rows(app.export(project), "conditions")
    assert row["total_cost"] == Decimal("825.00")  # half of 1,650.00, though half of two parts ends in 5
    assert sum(row[name] or 0 for name in parts) == row["total_cost"]
    assert row["total_with_markup"] == Decimal("907.50")


def test_the_number_that_a_client_pays_is_in_the_currency_of_the_project(app: Application) -> None:
    project = app.project(client_name="Client")
    condition = app.condition(project, total_quantity=1.0)
    app.measurement(condition, app.page(app.document(project)))
    app.assembly(condition, total_cost=Decimal(1000), total_with_markup=Decimal("1234.50"))
    layout = app.layout(project, currency="EUR", zone="Europe/Berlin")
    assert layout.headline == ("Total with markup", "EUR 1,234.50")
    assert ("Client", "Client") in layout.facts
    assert dict(layout.facts)["Data as of"].endswith(" Europe/Berlin")
    assert {column.currency for column in layout.sheets[0].table.columns if column.name == "total_cost"} == {
        "EUR"
    }


def test_rows_and_shapes_have_the_same_numbers_and_holes_are_drawn(app: Application) -> None:
    odd = OddProject(app)
    layout = app.layout(odd.id, include_drawings=True)
    listed = {row["number"]: row for row in rows(app.export(odd.id))}
    drawn = [
        row for drawing in layout.drawings for batch in drawing.shapes.open() for row in batch.to_pylist()
    ]
    assert sorted(int(row["label"]) for row in drawn) == sorted(listed)
    for row in drawn:
        measurement = listed[int(row["label"])]
        assert bool(row["holes"]) == ("holes" in measurement["geometry_data"])
        if measurement["condition"] == "Curved curb":
            assert row["kind"] == "polyline"
            assert row["fill_opacity"] == 0
        if measurement["geometry_type"] == "group":
            assert row["kind"] == "none"


def test_charts_add_up_to_the_costs(app: Application) -> None:
    project = app.project()
    page = app.page(app.document(project))
    for number in range(15):
        condition = app.condition(project, f"C{number}", "area", category=f"0{number % 2} Part")
        app.measurement(condition, page, 1.0, unit="SF")
        costs = {"material_cost": Decimal(100 + number), "labor_cost": Decimal(10)}
        total = sum(costs.values())
        app.assembly(condition, **costs, total_cost=total, total_with_markup=2 * total)
    made = app.layout(project)
    by_condition, by_category = made.charts
    assert by_condition.categories[0] == "C14"
    assert by_condition.categories[-1] == "Other (4)"
    assert len(by_condition.categories) == 12
    assert by_category.categories == ("00 Part", "01 Part")
    (summary,) = (one for one in made.sheets if one.key == "summary")
    totals = summary.totals[-1].values
    assert sum(by_condition.series[0].values) == totals["total_with_markup"]
    assert [series.name for series in by_category.series] == ["Material", "Labor"]
    assert sum(sum(series.values) for series in by_category.series) == totals["total_cost"]
    assert app.layout(project, include_costs=False).charts == ()
