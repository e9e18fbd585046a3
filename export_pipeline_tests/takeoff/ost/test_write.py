"""On-Screen Takeoff XML, read by an importer that is written from the format's rules alone."""

from __future__ import annotations

import math
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from export_pipeline.takeoff.ost import validate
from export_pipeline_tests.takeoff.ost import importer
from export_pipeline_tests.takeoff.ost.sample import (
    CIRCLE,
    CONDITION,
    CONDITIONS,
    ELL,
    FEET,
    FOOTING,
    WALL,
    imported,
    line,
    page,
    rendered,
    shape,
    xy,
)
from export_pipeline_tests.tools import require_tool


def test_the_mapping_of_units_colors_and_depths(path: Path) -> None:
    job = imported(path, CONDITIONS, [page()], [])
    rows = [condition.row for condition in job.conditions]
    assert [(r["Type"], r["Quantity1"], r["UOM1"], r["Thickness"]) for r in rows] == [
        ("0", "1", "2", "0"),
        ("1", "11", "5", "0"),
        ("1", "21", "9", "18"),
        ("2", "23", "0", "0"),
    ]
    assert [r["ColorFill"] for r in rows] == ["16155195", "255", "65280", "16711680"]
    assert [r["RefNo"] for r in rows] == ["1", "2", "3", "4"]
    assert [r["ColorLine"] for r in rows] == [r["ColorFill"] for r in rows]


def test_the_bid_holds_the_facts_of_the_project(path: Path) -> None:
    job = imported(path, [], [], [])
    assert job.bid["JobName"] == "Riverside School"
    assert job.bid["CreateDateTime"] == "2026 1 2 3 4 5"
    assert job.bid["ModDateTime"] == "2026 2 3 4 5 6"
    assert job.bid["Notes"] == "Two storeys\nClient: Ünïon & Söhne"
    assert job.bid["GUID"] == "{6F1C2A1E-0B0C-4A77-9C5E-0123456789AB}"


def test_attributes_come_in_the_formats_order(path: Path) -> None:
    rendered(path, CONDITIONS, [page()], [shape("point", 3, xy(1, 2))])
    root = etree.parse(path).getroot()
    takeoff = next(root.iter("BidTakeoff"))
    order = "UID BidUID BidConditionUID BidZoneUID BidPageUID BidAreaUID BidTypAreaUID ParentUID"
    values = "No Quantity Count Rotation Position IsNegativeQuantity Curve GUID"
    assert list(takeoff.attrib) == [*order.split(), *values.split()]
    assert list(next(root.iter("BidLayer")).attrib) == [
        "UID",
        "BidUID",
        "IsTemplate",
        "Name",
        "Show",
        "IsLocked",
        "Sequence",
    ]
    assert list(next(root.iter("CdnType")).attrib) == ["UID", "Name", "ExpandState"]
    for element in root.iter():
        if element.get("UID"):
            assert next(iter(element.attrib)) == "UID"


def test_documents_with_equal_page_numbers_stay_apart(path: Path) -> None:
    pages = [page(n, document, index) for index, document in enumerate(("A.pdf", "B.pdf")) for n in (1, 2)]
    measurements = [line(0, (0, 0), ((i + 1) * FEET, 0), page_index=i) for i in range(4)]
    job = imported(path, [WALL], pages, measurements)
    assert [(p["ImagePath"], p["Index1"], p["Sequence"]) for p in job.pages] == [
        ("A.pdf", "1", "1"),
        ("A.pdf", "2", "2"),
        ("B.pdf", "1", "3"),
        ("B.pdf", "2", "4"),
    ]
    assert [job.folders[p["BidPageFolderUID"]] for p in job.pages] == ["A.pdf", "A.pdf", "B.pdf", "B.pdf"]
    lengths = [each[0].real[1][0] for each in job.conditions[0].takeoffs.values()]
    assert lengths == [12, 24, 36, 48]


@pytest.mark.parametrize("scale", [None, 0.0, -5.0, math.nan, math.inf, 1e-300, 1e300])
def test_a_page_without_a_usable_scale_is_warned_of(path: Path, scale: float | None) -> None:
    done = rendered(path, [WALL], [page(7, scale=scale), page(8)], [line(0, (0, 0), (150, 0))])
    assert validate.check(path) == []
    assert [warning for warning in done.warnings if "Page 7" in warning and "no scale" in warning]
    assert not [warning for warning in done.warnings if "Page 8" in warning]
    assert importer.load(path).conditions[0].takeoffs["A.pdf 7"][0].real.tolist() == [[0, 0], [1, 0]]


def test_many_unscaled_pages_do_not_fill_the_manifest(path: Path) -> None:
    done = rendered(path, [], [page(n, scale=None) for n in range(1, 301)], [])
    assert len(done.warnings) == 51
    assert "250 more" in done.warnings[-1]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"dpi": None, "page_width_inches": 18.0, "page_height_inches": 12.0}, ("18", "12")),
        ({"dpi": None}, ("36", "24")),
        ({"dpi": 0, "width": None, "height": None}, ("36", "24")),
        ({"page_width_inches": 36.1, "page_height_inches": 24.0}, ("36.1", "24")),
        ({"page_width_inches": 99.0, "page_height_inches": math.nan}, ("36", "24")),
    ],
)
def test_a_page_has_the_size_of_its_paper(path: Path, fields: dict[str, Any], size: tuple[str, str]) -> None:
    job = imported(path, [], [{**page(), **fields}], [])
    assert (job.pages[0]["Width"], job.pages[0]["Height"]) == size


def test_measurements_that_no_condition_can_hold_are_counted_and_named(path: Path) -> None:
    measurements = [
        line(1, *ELL),
        shape("point", 1, xy(1, 1)),
        shape("circle", 3, CIRCLE),
        shape("point", 0, xy(1, 1)),
        shape("line", 0, "{broken"),
        shape("polygon", 1, None),
        shape("point", 3, xy(1e300, 1)),
        shape("point", 3, xy(1, 1), page_index=-1),
        shape("point", 3, xy(1, 1), page_index=None),
        shape("point", 3, xy(2, 2), page_index=0),
    ]
    done = rendered(path, CONDITIONS, [page()], measurements)
    assert validate.check(path) == []
    assert (done.rows, done.left_out) == (1, 9)
    assert validate.read_back(path).rows == 1
    assert sum(done.changed.values()) == 9
    assert done.changed["geometry not of its condition's type, not in the file", "Geometry"] == 4
    assert done.changed["geometry unreadable, not in the file", "Geometry"] == 3
    assert done.changed["no page or condition, not in the file", "Page"] == 2
    text = "\n".join(done.warnings)
    assert "'Slab': not in the file are 2 whose geometry no area condition can hold and 1 whose" in text
    assert "'Wall'" in text
    assert "2 measurements are left out" in text
    assert [c.quantity for c in importer.load(path).conditions] == [0, 0, 0, 1]


def test_conditions_that_the_format_has_no_word_for(path: Path) -> None:
    conditions = [
        {"name": "Odd type", "measurement_type": "mystery", "unit": "EA", "color": "#12345"},
        {"name": "Odd unit", "measurement_type": "linear", "unit": "rod", "color": "red"},
        {"name": None, "measurement_type": None, "unit": None, "color": None},
        {"name": " \t", "measurement_type": "volume", "unit": "CY", "depth": math.nan, "color": "#FFFFFF"},
        {
            "name": "n",
            "measurement_type": "area",
            "unit": "SF",
            "total_quantity": math.inf,
            "color": "#FFFFFF",
        },
    ]
    done = rendered(path, conditions, [page()], [shape("point", 0, xy(1, 1))])
    assert validate.check(path) == []
    job = importer.load(path)
    assert [c.name for c in job.conditions] == ["Odd type", "Odd unit", "Condition 3", "Condition 4", "n"]
    assert [c.row["Type"] for c in job.conditions] == ["2", "0", "1", "1", "1"]
    assert [c.row["ColorFill"] for c in job.conditions] == [*["16155195"] * 3, *["16777215"] * 2]
    assert job.conditions[4].total == 0
    assert done.changed["no colour, default used", "Color"] == 3
    assert done.changed["name filled in", "Name"] == 2
    assert any("'Odd unit' measures linear in 'rod" in warning for warning in done.warnings)


SLAB_KIND = {"measurement_type": "area", "unit": "SF"}


def test_xmllint_reads_it(path: Path) -> None:
    tool = require_tool("xmllint")
    rendered(path, CONDITIONS, [page()], [line(0, *ELL)])
    done = subprocess.run([tool, "--noout", "--nonet", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_sample_has_every_column_that_is_written(path: Path) -> None:
    job = imported(path, [dict.fromkeys(CONDITION, None) | FOOTING | {"is_visible": False}], [page()], [])
    assert job.conditions[0].row["ShowTakeoff"] == "0"
    assert Decimal(job.conditions[0].row["Thickness"]) == 18
