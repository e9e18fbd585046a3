"""A takeoff project as a workbook: its sheets, its totals, and the proof that the layout asks for."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from export_pipeline.core.layout import Layout
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.readback import read_back
from export_pipeline.formats.registry import FORMATS
from export_pipeline_tests.formats.excel.books import recalculated, validation_errors, write
from export_pipeline_tests.takeoff_data import Application

pytestmark = pytest.mark.slow


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    made = Application(f"sqlite:///{tmp_path}/app.db")
    yield made
    made.close()


@pytest.fixture
def project(application: Application) -> str:
    project = application.project("=1+1 École", client_name="+Client")
    page = application.page(application.document(project, "d.pdf"), 3)
    for number, name in enumerate(("Summary", "SUMMARY", "a/b: '[slab]'", "", "By Page", "🏗" * 30)):
        condition = application.condition(project, name, "area", category="X", sort_order=number)
        for _ in range(number):
            application.measurement(condition, page, 0.1 * number, unit="SF", notes="=HYPERLINK(1)")
        application.assembly(
            condition, total_cost=Decimal("12.30"), total_with_markup=Decimal("15.01"), unit_cost=Decimal(1)
        )
    application.condition(project, "lonely", sort_order=9)
    return project


def proven(made: Layout, path: Path) -> None:
    """The file holds what the layout's source counted."""
    rendered = write(made, path)
    facts = read_back(path)
    proof = FORMATS["excel"].proof(made, ExcelOptions())
    assert facts.problems == ()
    assert facts.rows == rendered.rows == proof.rows
    for name, (total, tolerance) in proof.totals.items():
        assert facts.totals[name] == pytest.approx(total, abs=tolerance)
    assert validation_errors(path) == []


def test_a_project_becomes_the_sheets_people_know(
    application: Application, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "b.xlsx"
    proven(application.layout(project), path)
    book = openpyxl.load_workbook(path)
    names = book.sheetnames
    assert (names[0], names[-3:]) == ("Summary", ["By Page", "Cost Summary", "Charts"])
    # Not the first condition and "lonely", which have no measurements.
    assert names[1:5] == ["SUMMARY (2)", "a_b_ '_slab_", "(no name)", "By Page (2)"]
    assert len(names) == 9
    assert book["Summary"]["A1"].value == "=1+1 École"
    seen = openpyxl.load_workbook(recalculated(path, tmp_path), data_only=True)
    printed = openpyxl.load_workbook(path, data_only=True)
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    expected = printed[sheet.title][cell.coordinate].value
                    assert seen[sheet.title][cell.coordinate].value == pytest.approx(expected, rel=1e-12)


def test_the_summary_is_one_page_wide_and_what_else_is_known_has_a_sheet(
    application: Application, tmp_path: Path
) -> None:
    project = application.project("Town hall", client_name="Smith", status="in_progress")
    page = application.page(application.document(project, "d.pdf"), 3)
    for name, facts in (("Wall", {"building": "A", "depth": 6.0, "description": "a" * 80}), ("Slab", {})):
        condition = application.condition(project, name, "area", category="X", **facts)
        application.measurement(condition, page, 1.5, unit="SF")
        application.assembly(condition, total_cost=Decimal(12), total_with_markup=Decimal(15))
    path = tmp_path / "b.xlsx"
    proven(application.layout(project), path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames[:2] == ["Summary", "Conditions in Detail"]
    summary, more = book["Summary"], book["Conditions in Detail"]
    assert summary.page_setup.fitToWidth == 1
    lines = [row[0].value for row in summary["A2:A5"]]
    assert lines[:2] == ["Client: Smith", "Status: in progress"]
    assert [line.partition(":")[0] for line in lines[2:]] == ["Data as of", "Contents"]
    headers = {cell.value for row in summary.iter_rows() for cell in row if cell.font.color and cell.font.b}
    assert "Total Cost" in headers
    # No row has a unit cost, or an area.
    assert headers.isdisjoint({"Unit Cost", "Area", "Building"})
    assert [[cell.value for cell in row] for row in more["A4:D5"]] == [
        ["Condition", "Description", "Building", "Depth (in)"],
        ["Wall", "a" * 80, "A", 6],
    ]
    assert (more["A2"].value, more["A6"].value) == ("Town hall", None)
    assert {book[name]["A2"].value for name in ("Wall", "Slab", "By Page", "Cost Summary")} == {"Town hall"}


@pytest.mark.parametrize(
    "options", [{"group_by": "page"}, {"group_by": "category"}, {"include_details": False}]
)
def test_every_way_to_lay_it_out_is_sound(
    application: Application, project: str, options: dict[str, object], tmp_path: Path
) -> None:
    proven(application.layout(project, **options), tmp_path / "b.xlsx")


def test_an_empty_project_is_a_sound_workbook(application: Application, tmp_path: Path) -> None:
    made = application.layout(application.project("Empty"))
    path = tmp_path / "b.xlsx"
    rendered = write(made, path)
    assert rendered.rows == 0
    assert validation_errors(path) == []
    assert openpyxl.load_workbook(path).sheetnames[0] == "Summary"
    facts = read_back(path)
    assert (facts.rows, facts.problems) == (0, ())


def test_conditions_without_names_are_listed_and_lead_to_their_measurements(
    application: Application, tmp_path: Path
) -> None:
    project = application.project()
    page = application.page(application.document(project, "d.pdf"), 3)
    condition = application.condition(project, "", "area")
    application.measurement(condition, page, 2.5, unit="SF")
    path = tmp_path / "b.xlsx"
    proven(application.layout(project), path)
    summary = openpyxl.load_workbook(path)["Summary"]
    (link,) = (cell for row in summary.iter_rows() for cell in row if cell.hyperlink)
    assert link.hyperlink.location == "'(no name)'!A1"
    assert summary.cell(link.row - 1, link.column).value == "Condition"
