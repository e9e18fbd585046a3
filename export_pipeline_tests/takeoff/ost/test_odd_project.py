"""An odd project, read from each format by a reader of its own: every quantity is the project's."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.registry import FORMATS
from export_pipeline.takeoff.ost import validate
from export_pipeline_tests.takeoff.odd_project import OddProject
from export_pipeline_tests.takeoff.ost import importer
from export_pipeline_tests.takeoff_data import Application

# Nothing in this format can hold them; each is named in a warning, and its stored total is right nevertheless.
UNSAYABLE = {"Grouped", "Fittings", "Quarrel", "Bad geometry"}


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[OddProject]:
    app = Application(f"sqlite:///{tmp_path}/odd.db")
    yield OddProject(app)
    app.close()


def totals(layout: Layout) -> dict[str, float]:
    """The quantity of each condition, as the application keeps it."""
    return {row["name"]: row["total_quantity"] for row in layout.tables["conditions"].arrow().to_pylist()}


def rendered(layout: Layout, name: str, path: Path) -> Rendered:
    format = FORMATS[name]
    options = format.options_of({})
    with path.open("wb") as file:
        done = format.render(layout, file, options)
    facts, proof = format.read_back(path, options), format.proof(layout, options)
    assert facts.problems == ()
    assert facts.rows + done.left_out == proof.rows
    return done


def test_ost_has_every_quantity_of_the_project(odd: OddProject, tmp_path: Path) -> None:
    layout, path = odd.app.layout(odd.id), tmp_path / "odd.xml"
    done = rendered(layout, "ost", path)
    job = importer.load(path)
    expected = totals(layout)
    assert {condition.name: condition.total for condition in job.conditions} == expected
    computed = {condition.name: condition.quantity for condition in job.conditions}
    differing = {name for name, total in expected.items() if computed[name] != pytest.approx(total, rel=2e-5)}
    assert differing == UNSAYABLE
    warnings = "\n".join(done.warnings)
    assert all(repr(name) in warnings for name in UNSAYABLE - {"Quarrel"})
    assert "Page 4 of ../../secret/Structural.tif has no scale; its takeoffs are at paper size" in warnings
    assert "Page 2 of A-100 Series.pdf has no scale; the file has the 75 pixels per foot" in warnings
    assert "no place for 3 notes and 2 marks" in warnings
    assert done.left_out == 5
    assert done.changed["not a whole number of pieces, or too many", "Quantity"] == 1
    own = {quantity.name: quantity.value for quantity in validate.quantities(path).values()}
    assert own == pytest.approx(computed, rel=1e-9, abs=1e-9)


def test_ost_says_signs_holes_units_and_ids(odd: OddProject, tmp_path: Path) -> None:
    path = tmp_path / "odd.xml"
    rendered(odd.app.layout(odd.id), "ost", path)
    job = importer.load(path)
    by_name = {condition.name: condition for condition in job.conditions}
    units = {name: by_name[name].row["UOM1"] for name in ("Screed", "Kerb", "Joint", "Blinding", "Tenths")}
    assert units == {"Screed": "14", "Kerb": "13", "Joint": "11", "Blinding": "16", "Tenths": "2"}
    assert {page["ImagePath"] for page in job.pages} == {"A-100 Series.pdf", "Structural.tif"}
    assert by_name["Tenths"].row["UID"]
    assert [len(takeoffs) for takeoffs in by_name["Anchor bolts"].takeoffs.values()] == [19]
    takeoffs = [each for condition in job.conditions for some in condition.takeoffs.values() for each in some]
    guids = [takeoff.guid for takeoff in takeoffs]
    assert len(set(guids)) == len(guids)
    by_number = {}
    for takeoff in reversed(takeoffs):
        by_number[takeoff.no] = takeoff.guid
    stored = {"{" + id.upper() + "}" for id in odd.app.ids("measurements")}
    assert set(by_number.values()) <= stored
    assert not [t for c in job.conditions if c.row["Type"] == "0" for p in c.takeoffs.values() for t in p
                if (t.real[0] == t.real[1]).all()]  # fmt: skip


def test_sums_of_tenths_are_exact(odd: OddProject, tmp_path: Path) -> None:
    path = tmp_path / "odd.xml"
    rendered(odd.app.layout(odd.id), "ost", path)
    assert b'Quantity1="1" Quantity2="0"' in path.read_bytes()
    assert totals(odd.app.layout(odd.id))["Tenths"] == 1.0


def test_csv_has_every_quantity_of_the_project(odd: OddProject, tmp_path: Path) -> None:
    layout, path = odd.app.layout(odd.id), tmp_path / "odd.csv"
    rendered(layout, "csv", path)
    sums: dict[str, float] = defaultdict(float)
    for row in csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))):
        sums[row["Condition"]] += float(row["Quantity"])
    assert sums == pytest.approx({k: v for k, v in totals(layout).items() if k in sums}, abs=1e-3)


def test_json_has_every_quantity_of_the_project(odd: OddProject, tmp_path: Path) -> None:
    layout, path = odd.app.layout(odd.id), tmp_path / "odd.json"
    rendered(layout, "json", path)
    conditions = json.loads(path.read_text())["conditions"]
    assert {row["name"]: row["totalQuantity"] for row in conditions} == totals(layout)
    sums = {row["name"]: sum(each["quantity"] for each in row["measurements"]) for row in conditions}
    assert sums == pytest.approx(totals(layout), abs=1e-9)


def test_excel_and_pdf_have_every_quantity_of_the_project(odd: OddProject, tmp_path: Path) -> None:
    layout = odd.app.layout(odd.id)
    rendered(layout, "excel", tmp_path / "odd.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "odd.xlsx", data_only=True)["Summary"]
    cells = [[cell.value for cell in row] for row in sheet.iter_rows()]
    (top,) = (index for index, row in enumerate(cells) if row[0] == "Condition")
    quantity = cells[top].index("Quantity")
    expected = totals(layout)
    quantities = {row[0].lstrip("'"): row[quantity] for row in cells[top + 1 :] if row[0] in expected}
    assert quantities == pytest.approx(expected)
    rendered(layout, "pdf", tmp_path / "odd.pdf")
