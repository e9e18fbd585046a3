"""Costs, colours and drawings of rows whose numbers no drawing and no estimate can have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from export_pipeline.takeoff.drawings import parse_color
from export_pipeline_tests.takeoff_data import Application, rows


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(f"sqlite:///{tmp_path}/a.db")
    yield made
    made.close()


def costed(app: Application, project: str, quantity: float, **assembly: float | Decimal | None) -> None:
    page = app.page(app.document(project))
    condition = app.condition(project, f"C{app.next:03d}", total_quantity=1.0)
    app.measurement(condition, page, quantity)
    app.assembly(condition, material_cost=Decimal("2.00"), total_cost=Decimal("2.00"), **assembly)


def test_costs_that_cannot_be_fitted_are_given_as_stored_with_a_warning(app: Application) -> None:
    project = app.project()
    costed(app, project, 3.0)
    for quantity, facts in (
        (1e300, {}),
        (2.0, {"overhead_percent": math.inf}),
        (2.0, {"profit_percent": 1e300}),
        (5e15, {}),
    ):
        costed(app, project, quantity, **facts)
    data = app.export(project)
    costs = [row["total_cost"] for row in rows(data, "conditions")]
    assert costs == [Decimal(6), *[Decimal(2)] * 4]
    assert sum("could not be fitted" in warning for warning in data.warnings) == 4


def test_many_warnings_of_one_sort_are_summed_up(app: Application) -> None:
    project = app.project()
    for _ in range(13):
        costed(app, project, 1e300)
    data = app.export(project)
    assert sum("could not be fitted" in warning for warning in data.warnings) == 10
    assert "So are the costs of 3 more conditions." in data.warnings


def test_percentages_add_up_as_decimals(app: Application) -> None:
    project = app.project()
    costed(app, project, 50_000.0, overhead_percent=0.1, profit_percent=0.2)
    (row,) = rows(app.export(project), "conditions")
    assert row["total_with_markup"] == Decimal("100300.00")


def test_totals_may_be_larger_than_any_one_cost(app: Application) -> None:
    project = app.project()
    for _ in range(3):
        costed(app, project, 4e13)
    layout = app.layout(project)
    (total,) = layout.document["summary"]["byUnit"].arrow().to_pylist()
    assert total["totalCost"] == Decimal(240_000_000_000_000)


@pytest.mark.parametrize(
    "text",
    [None, "", "red", "-12345", "+12345", "1_2345", "１２３４５６", "#12345678", "0x1234", "#\ufffd12345"],
)
def test_an_invalid_colour_becomes_the_default(text: str | None) -> None:
    assert parse_color(text) == "#3B82F6"


def test_colours_are_read_as_people_type_them() -> None:
    assert [parse_color(text) for text in ("#abc", " a1b2c3 ", "#00FF00")] == [
        "#AABBCC",
        "#A1B2C3",
        "#00FF00",
    ]


def test_drawings_have_sizes_widths_and_scales_that_paper_can_have(app: Application) -> None:
    project = app.project()
    document = app.document(project)
    for number, (scale, width) in enumerate(((math.inf, -5), (5e-324, 0), (-1.0, 100), (1e300, 1)), 1):
        page = app.page(document, number, scale_value=scale, width=width, height=width)
        condition = app.condition(
            project, f"C{number}", line_width=(-5, 2**31 - 1, 0, 3)[number - 1], fill_opacity=math.inf
        )
        app.measurement(condition, page)
    for drawing in app.layout(project, include_drawings=True).drawings:
        assert drawing.units_per_foot is None
        assert drawing.width >= 1
        assert drawing.height >= 1
        assert "no scale" in drawing.lines[-1]
        for batch in drawing.shapes.open():
            widths, opacities = (np.asarray(batch[name]) for name in ("line_width", "fill_opacity"))
            assert ((widths > 0) & (widths <= 20)).all()
            assert ((opacities >= 0) & (opacities <= 1)).all()
