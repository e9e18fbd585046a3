"""Totals and costs of a takeoff export follow from exactly the rows exported."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from export_pipeline.takeoff.options import TakeoffOptions as Options
from export_pipeline_tests.takeoff_data import T0, Application, rows


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    made = Application(f"sqlite:///{tmp_path}/app.db")
    yield made
    made.close()


COSTS = {
    "material_cost": Decimal("600.00"),
    "labor_cost": Decimal("300.00"),
    "equipment_cost": Decimal("60.00"),
    "subcontract_cost": Decimal("30.00"),
    "other_cost": Decimal("10.00"),
    "total_cost": Decimal("1000.00"),
    "unit_cost": Decimal("100.0000"),
    "overhead_percent": 10.0,
    "profit_percent": 7.5,
    "total_with_markup": Decimal("1175.00"),
    "total_labor_hours": 12.0,
}


def costed(application: Application, verified: float, unverified: float, stored: float) -> str:
    project = application.project()
    page = application.page(application.document(project))
    condition = application.condition(project, total_quantity=stored)
    application.measurement(condition, page, verified)
    application.measurement(condition, page, unverified, is_verified=False)
    application.assembly(condition, **COSTS)
    return project


def test_costs_of_the_whole_quantity_are_the_stored_ones(application: Application) -> None:
    project = costed(application, 6.0, 4.0, stored=10.0)
    (row,) = rows(application.export(project), "conditions")
    assert {name: row[name] for name in COSTS} == COSTS


def test_costs_follow_a_smaller_quantity(application: Application) -> None:
    project = costed(application, 6.0, 4.0, stored=10.0)
    (row,) = rows(application.export(project, include_unverified=False), "conditions")
    assert row["total_quantity"] == 6.0
    assert row["material_cost"] == Decimal("360.00")
    parts = ("material_cost", "labor_cost", "equipment_cost", "subcontract_cost", "other_cost")
    assert row["total_cost"] == sum(row[part] for part in parts) == Decimal("600.00")
    assert row["total_with_markup"] == Decimal("705.00")
    assert row["unit_cost"] == Decimal("100.0000")
    assert row["total_labor_hours"] == pytest.approx(7.2)


def test_costs_without_a_quantity_to_scale_from_are_kept_and_said(application: Application) -> None:
    project = costed(application, 6.0, 4.0, stored=0.0)
    data = application.export(project)
    assert rows(data, "conditions")[0]["total_cost"] == Decimal("1000.00")
    assert any("could not be fitted" in warning for warning in data.warnings)


def test_without_costs_no_cost_is_anywhere(application: Application) -> None:
    project = costed(application, 6.0, 4.0, stored=10.0)
    (row,) = rows(application.export(project, include_costs=False), "conditions")
    assert all(row[name] is None for name in COSTS)
    assert row["costed"] is False
    layout = application.layout(project, include_costs=False)
    assert [section.key for section in layout.sheets] == ["summary", "details", "by_page"]


def test_mixed_units_are_added_and_said(application: Application) -> None:
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project, "C")
    application.measurement(condition, page, 2.0)
    application.measurement(condition, page, 3.0, unit="SF")
    data = application.export(project)
    assert rows(data, "conditions")[0]["total_quantity"] == 5.0
    assert "Condition 'C' adds up 1 measurements whose unit is not its own ('LF')." in data.warnings


@pytest.mark.parametrize(
    ("rejected", "verified", "modified", "status"),
    [
        (True, True, True, "rejected"),
        (False, True, True, "modified"),
        (False, True, False, "approved"),
        (False, False, True, "pending"),
    ],
)
def test_the_review_status_follows_from_the_flags(
    application: Application, rejected: bool, verified: bool, modified: bool, status: str
) -> None:
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    flags = {"is_rejected": rejected, "is_verified": verified, "is_modified": modified}
    application.measurement(condition, page, **flags)
    assert rows(application.export(project, include_rejected=True))[0]["review_status"] == status


@pytest.mark.parametrize("group_by", ["condition", "page", "category"])
def test_groups_hold_every_row_once_in_the_order_of_their_table(
    application: Application, group_by: str
) -> None:
    project = application.project()
    document = application.document(project)
    pages = [application.page(document, n) for n in (1, 2, 3)]
    conditions = [
        application.condition(project, f"c{n}", category=category)
        for n, category in enumerate(("Walls", None, "Slabs", "Walls"))
    ]
    for n in range(40):
        application.measurement(
            conditions[n * 7 % 3], pages[n * 5 % 2], float(n), notes=f"c{n * 7 % 3}/{n * 5 % 2}"
        )
    layout = application.layout(project, group_by=group_by)
    for sections in (layout.sheets, layout.chapters):
        (details,) = (section for section in sections if section.key == "details")
        assert details.groups is not None
        notes = details.table.arrow()["notes"].to_pylist()
        assert len(notes) == 40 == details.table.rows == sum(group.rows for group in details.groups)
        start = 0
        for group in details.groups:
            run = notes[start : start + group.rows]
            start += group.rows
            keys = {
                "condition": {note.split("/")[0] for note in run},
                "page": {note.split("/")[1] for note in run},
                "category": {
                    {"c0": "Walls", "c1": "No category", "c2": "Slabs"}[note.split("/")[0]] for note in run
                },
            }[group_by]
            assert len(keys) <= 1
            if group_by == "category":
                assert keys <= {group.title}


def test_totals_by_unit_and_category(application: Application) -> None:
    project = application.project()
    page = application.page(application.document(project))
    for name, kind, category, quantities in (
        ("a", "linear", "X", [1.0, 2.0]),
        ("b", "linear", "Y", [4.0]),
        ("c", "area", "X", [8.0]),
        ("d", "count", None, []),
    ):
        condition = application.condition(project, name, kind, category=category)
        for quantity in quantities:
            application.measurement(condition, page, quantity, unit={"linear": "LF", "area": "SF"}[kind])
    summary = application.layout(project).sheets[0]
    assert [(t.label, t.where, t.values) for t in summary.totals] == [
        ("Total EA", ("unit", "EA"), {"total_quantity": 0.0, "measurement_count": 0}),
        ("Total LF", ("unit", "LF"), {"total_quantity": 7.0, "measurement_count": 3}),
        ("Total SF", ("unit", "SF"), {"total_quantity": 8.0, "measurement_count": 1}),
    ]
    categories = (
        next(s for s in application.layout(project).chapters if s.key == "categories")
        .table.arrow()
        .to_pylist()
    )
    assert [(r["category"], r["unit"], r["total_quantity"]) for r in categories] == [
        ("No category", "EA", 0.0), ("X", "LF", 3.0), ("X", "SF", 8.0), ("Y", "LF", 4.0),
    ]  # fmt: skip


def test_figures_show_each_page_once_with_its_conditions(application: Application) -> None:
    project = application.project()
    document = application.document(project)
    pages = [application.page(document, n, scale_value=None if n == 2 else 50.0) for n in (1, 2, 3)]
    red = application.condition(project, "red", color="#F00")
    odd = application.condition(project, "odd", color="no color")
    application.measurement(red, pages[0])
    application.measurement(
        odd, pages[0], geometry_type="circle", geometry_data={"center": {"x": 5, "y": 5}, "radius": 2}
    )
    application.measurement(red, pages[1], geometry_type="polygon", geometry_data={"points": "broken"})
    first, second = application.layout(project, include_drawings=True).drawings
    assert first.legend == (("odd", "#3B82F6"), ("red", "#FF0000"))
    assert (first.units_per_foot, second.units_per_foot) == (50.0, None)
    assert "no scale" in second.lines[-1]
    shapes = {row["color"]: row for row in first.shapes.arrow().to_pylist()}
    assert shapes["#FF0000"]["points"] == [0.0, 0.0, 100.0, 0.0]
    circle = shapes["#3B82F6"]["points"]
    assert circle[0] == pytest.approx(5 + 2, abs=0.01)
    assert len(circle) > 100
    assert second.shapes.arrow().to_pylist()[0]["kind"] == "none"
    assert application.layout(project).drawings == ()


def test_options_refuse_what_is_no_id() -> None:
    with pytest.raises(ValueError, match="'x' is not an id"):
        Options(condition_ids=("x",))
    assert Options(condition_ids=()).condition_ids is None


def test_a_project_that_did_not_exist_yet(application: Application) -> None:
    project = application.project()
    data = application.export(project, as_of=T0)
    assert "did not exist yet" in data.warnings[0]
