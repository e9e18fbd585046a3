"""On-Screen Takeoff XML, read by an importer that is written from the format's rules alone."""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lxml import etree

from export_pipeline.formats import ost, ost_rules
from export_pipeline.formats.base import RenderError
from export_pipeline_tests.formats import ost_importer
from export_pipeline_tests.formats.ost_sample import (
    CONDITION,
    CONDITIONS,
    DOOR,
    FOOTING,
    PROJECT,
    SLAB,
    WALL,
    layout,
    line,
    page,
    rendered,
    shape,
    xy,
)
from export_pipeline_tests.model.test_geometry import GOOD, HOSTILE
from export_pipeline_tests.tools import require_tool

FOOT = 37.5  # pixels
RECTANGLE = {**xy(100, 200), "width": 10 * FOOT, "height": 4 * FOOT, "rotation": 33}
CIRCLE = {"center": xy(1000, 900), "radius": 3 * FOOT}
TRIANGLE = {"points": [xy(0, 0), xy(10 * FOOT, 0), xy(10 * FOOT, 10 * FOOT)]}
ELL = [(0.0, 0.0), (10 * FOOT, 0.0), (10 * FOOT, 5 * FOOT)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "project.xml"


def imported(path: Path, *args: Any, **kwargs: Any) -> ost_importer.Job:
    """Render, hold the file against both sets of rules, and import it."""
    rendered(path, *args, **kwargs)
    assert ost_rules.check(path) == []
    return ost_importer.load(path)


def test_each_geometry_has_the_databases_quantity(path: Path) -> None:
    measurements = [
        line(0, (0, 0), (10 * FOOT, 0)),
        line(0, *ELL),
        shape("polygon", 0, TRIANGLE),
        shape("rectangle", 0, RECTANGLE),
        shape("circle", 0, CIRCLE),
        shape("polygon", 1, TRIANGLE),
        shape("rectangle", 1, RECTANGLE),
        shape("circle", 1, CIRCLE),
        shape("rectangle", 2, RECTANGLE),
        shape("circle", 2, CIRCLE),
        shape("point", 3, xy(10, 20)),
        shape("point", 3, xy(30, 40)),
    ]
    job = imported(path, CONDITIONS, [page()], measurements)
    wall, slab, footing, door = job.conditions
    assert wall.quantity == pytest.approx(10 + 15 + 20 + math.sqrt(200) + 28 + 6 * math.pi, rel=1e-11)
    assert slab.quantity == pytest.approx(50 + 40 + 9 * math.pi, rel=1e-11)
    assert footing.quantity == pytest.approx((40 + 9 * math.pi) * 18 / 12 / 27, rel=1e-11)
    assert door.quantity == 2
    # One straight segment each; all segments of a measurement carry its number.
    assert [takeoff.no for takeoff in wall.takeoffs["A.pdf 1"]] == [1, 2, 2, *[3] * 3, *[4] * 4, *[5] * 96]
    assert [takeoff.no for takeoff in slab.takeoffs["A.pdf 1"]] == [6, 7, 8]
    assert ost.read_back(path).rows == 12
    for condition, quantity in zip(job.conditions, ost_rules.quantities(path).values(), strict=True):
        assert quantity.name == condition.name
        assert quantity.value == pytest.approx(condition.quantity, rel=1e-12)


def test_takeoffs_lie_where_the_page_shows_them(path: Path) -> None:
    measurements = [line(0, (300, 150), (600, 450)), line(0, (300, 150), (600, 450), page_index=1)]
    job = imported(path, [WALL], [page(1), page(2, scale=None)], measurements)
    for name in ("A.pdf 1", "A.pdf 2"):
        (takeoff,) = job.conditions[0].takeoffs[name]
        assert np.allclose(takeoff.paper, [[2, 1], [4, 3]], rtol=1e-14), "pixels / 150 dpi"
    assert [each["ScaleFactor1"] + ":" + each["ScaleFactor2"] for each in job.pages] == ["0.25:12", "1:1"]
    assert {(each["Width"], each["Height"]) for each in job.pages} == {("36", "24")}


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


def test_the_bid(path: Path) -> None:
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
    values = "No Quantity Count Rotation Position IsNegativeQuantity Curve"
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


def test_totals_are_the_exports_totals(path: Path) -> None:
    conditions = [{**WALL, "total_quantity": 1234.5678}, {**SLAB, "total_quantity": 0.1 + 0.2}, DOOR]
    done = rendered(path, conditions, [page()], [])
    job = ost_importer.load(path)
    assert [condition.total for condition in job.conditions] == [1234.5678, 0.1 + 0.2, 0.0]
    facts = ost.read_back(path)
    assert facts.totals["quantity"] == pytest.approx(1234.5678 + 0.1 + 0.2)
    assert (facts.rows, facts.problems, done.rows, done.left_out) == (0, (), 0, 0)


def test_documents_with_equal_page_numbers_stay_apart(path: Path) -> None:
    pages = [page(n, document, index) for index, document in enumerate(("A.pdf", "B.pdf")) for n in (1, 2)]
    measurements = [line(0, (0, 0), ((i + 1) * FOOT, 0), page_index=i) for i in range(4)]
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
    assert ost_rules.check(path) == []
    assert [warning for warning in done.warnings if "Page 7" in warning and "no scale" in warning]
    assert not [warning for warning in done.warnings if "Page 8" in warning]
    assert ost_importer.load(path).conditions[0].takeoffs["A.pdf 7"][0].real.tolist() == [[0, 0], [1, 0]]


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
def test_paper_size(path: Path, fields: dict[str, Any], size: tuple[str, str]) -> None:
    job = imported(path, [], [{**page(), **fields}], [])
    assert (job.pages[0]["Width"], job.pages[0]["Height"]) == size


def test_what_no_condition_can_hold_is_counted_and_named(path: Path) -> None:
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
    assert ost_rules.check(path) == []
    assert (done.rows, done.left_out) == (1, 9)
    assert ost.read_back(path).rows == 1
    assert sum(done.changed.values()) == 9
    assert done.changed["geometry not of its condition's type, not in the file", "Geometry"] == 4
    assert done.changed["geometry unreadable, not in the file", "Geometry"] == 3
    assert done.changed["no page or condition, not in the file", "Page"] == 2
    text = "\n".join(done.warnings)
    assert "'Slab': not in the file are 2 whose geometry no area condition can hold and 1 whose" in text
    assert "'Wall'" in text
    assert "2 measurements are not in the file" in text
    assert [c.quantity for c in ost_importer.load(path).conditions] == [0, 0, 0, 1]


def test_conditions_that_the_format_has_no_word_for(path: Path) -> None:
    conditions = [
        {"name": "Odd type", "measurement_type": "mystery", "unit": "EA", "color": "#12345"},
        {"name": "Odd unit", "measurement_type": "linear", "unit": "m", "color": "red"},
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
    assert ost_rules.check(path) == []
    job = ost_importer.load(path)
    assert [c.name for c in job.conditions] == ["Odd type", "Odd unit", "Condition 3", "Condition 4", "n"]
    assert [c.row["Type"] for c in job.conditions] == ["2", "0", "1", "1", "1"]
    assert [c.row["ColorFill"] for c in job.conditions] == [*["16155195"] * 3, *["16777215"] * 2]
    assert job.conditions[4].total == 0
    assert done.changed["no colour, default used", "Color"] == 3
    assert done.changed["name filled in", "Name"] == 2
    assert any("'Odd unit' measures linear in 'm" in warning for warning in done.warnings)


SLAB_KIND = {"measurement_type": "area", "unit": "SF"}
NASTY = [
    "<b>&amp;\"'</b>",
    "]]>",
    "<!-- -->",
    "<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "&x;",
    "a\tb\r\nc\rd\ne",
    "=1+1",
    "\N{PILE OF POO}\u202e\u2028\xa0 ünïcödé 日本語 עברית",
    " padded ",
    "C:\\x\\y",
    "@ 12' 6\"",
    "x" * 40_000,
]
ILLEGAL = ["\x00\x01\x0b\x0c\x1f", "\ufffe\uffff"]


def test_hostile_text_comes_back_whole(path: Path) -> None:
    conditions = [
        {**WALL, "name": text, "description": text, "category": text, "area": text} for text in NASTY
    ]
    pages = [{**page(i + 1), "title": text, "sheet_number": text} for i, text in enumerate(NASTY)]
    project = {
        **PROJECT,
        "name": NASTY[0],
        "description": NASTY[5],
        "client_name": NASTY[7],
        "status": NASTY[1],
    }
    job = imported(path, conditions, pages, [], project=project)
    assert [condition.name for condition in job.conditions] == NASTY
    assert [condition.row["Notes"] for condition in job.conditions] == [f"{t}\nArea: {t}" for t in NASTY]
    assert [job.cdn_types[condition.row["CdnTypeUID"]] for condition in job.conditions] == NASTY
    assert [each["SheetNo"] for each in job.pages] == NASTY
    assert job.bid["JobName"] == NASTY[0]
    assert job.bid["Notes"] == f"{NASTY[5]}\nClient: {NASTY[7]}"


def test_characters_that_xml_cannot_hold_never_break_the_file(path: Path) -> None:
    done = rendered(
        path, [{**WALL, "name": text} for text in ILLEGAL], [{**page(), "document": ILLEGAL[0]}], []
    )
    assert ost_rules.check(path) == []
    assert [c.name for c in ost_importer.load(path).conditions] == [
        "\N{REPLACEMENT CHARACTER}" * len(t) for t in ILLEGAL
    ]
    assert done.changed["characters that XML cannot hold", "Name"] == 2


@pytest.mark.parametrize("project", [{}, {"name": None, "created_at": "yesterday", "id": 5}, {"name": " "}])
def test_an_empty_project(path: Path, project: dict[str, Any]) -> None:
    job = imported(path, [], [], [], project=project)
    assert job.bid["JobName"] == "Untitled"
    assert ost.read_back(path).rows == 0


def test_rows_of_nothing_but_nulls(path: Path) -> None:
    job = imported(path, [{}, {}], [{}, {}], [{}, {"condition_index": 0, "page_index": 0}])
    assert (len(job.conditions), len(job.pages)) == (2, 2)
    assert job.pages[1]["Name"] == "Page 2"


def test_positions_keep_every_digit_and_have_no_exponent(path: Path) -> None:
    values = [0.1 + 0.2, 1e-7, -1e-9, 123456789.123, 1e11, 5e-324, 1 / 3, -0.0, 2.0**-40]
    pages = [page(scale=None) | {"dpi": 1}]
    rendered(path, [DOOR], pages, [shape("point", 0, xy(value, -value)) for value in values])
    assert ost_rules.check(path) == []
    texts = [e.get("Position") for e in etree.parse(path).getroot().iter("BidTakeoff")]
    assert not [text for text in texts if "e" in text.lower() or "-0;" in text]
    assert [tuple(map(float, text.split(";"))) for text in texts] == [(value, -value) for value in values]


def test_where_an_importer_computes_something_else_is_said(path: Path) -> None:
    conditions = [
        {**WALL, "total_quantity": 10.0},
        {**SLAB, "total_quantity": 55.0},
        {**FOOTING, "total_quantity": 50 * 18 / 12 / 27},
        {**FOOTING, "name": "Flat", "depth": None, "total_quantity": 3.0},
        {**WALL, "name": "Kerb", "total_quantity": 99.0},
    ]
    measurements = [line(0, (0, 0), (10 * FOOT, 0)), *[shape("polygon", i, TRIANGLE) for i in (1, 2, 3)]]
    done = rendered(path, conditions, [page(), page(2)], [*measurements, line(4, *ELL, page_index=1)])
    assert done.warnings == [
        "Condition 'Slab': from its takeoffs an importer computes 50.00 SF, the database says 55.00.",
        "Condition 'Flat': from its takeoffs an importer computes 0.00 CY, the database says 3.00.",
        "Condition 'Kerb': from its takeoffs an importer computes 15.00 LF, the database says 99.00.",
    ]
    for condition, quantity in zip(ost_importer.load(path).conditions, (10, 50, 50 / 18, 0, 15), strict=True):
        assert condition.quantity == pytest.approx(quantity)


def test_every_hostile_geometry_at_once(path: Path) -> None:
    measurements = []
    for condition in range(4):
        measurements += [shape(type_, condition, data) for type_, data in HOSTILE]  # type: ignore[arg-type]
        measurements += [shape(type_, condition, data) for type_, data, *_ in GOOD]
    done = rendered(path, CONDITIONS, [page()], measurements)
    assert ost_rules.check(path) == []
    assert done.rows + done.left_out == len(measurements)
    # A line, a polyline, a polygon and a rectangle are linear; the latter two areas; a point a count.
    assert done.rows == ost.read_back(path).rows == 4 + 2 + 2 + 1


def test_more_rows_than_one_slice_and_the_shortest_texts(path: Path) -> None:
    """UIDs are reserved from the texts' lengths; the shortest texts must not run into other UIDs."""
    points = {"points": [xy(n % 2, n % 3) for n in range(40)]}
    texts = [json.dumps(points, separators=(",", ":")), '{"x":1,"y":2,"width":3,"height":4}']
    types = ["polygon", "rectangle"]
    measurements = [shape(types[n % 2], 0, texts[n % 2], n // 3000) for n in range(9000)]
    done = rendered(path, [WALL], [page(1), page(2), page(3)], measurements)
    assert done.rows == 9000
    assert ost_rules.check(path) == []
    facts = ost_rules.inspect(path)
    assert facts.measurements == 9000


def test_batches_and_pages_do_not_need_to_agree(path: Path) -> None:
    """Runs of a page over batch ends, pages without takeoffs in between, UIDs falling within each page."""
    pages = [page(n) for n in range(1, 12)]
    measurements = [
        line(0, (0, 0), (FOOT, 0), (FOOT, FOOT), page_index=i) for i in (1, 1, 1, 4, 4, 5, 9, 9, 9, 9)
    ]
    files = []
    for batch in (1, 2, 3, 100):
        job = imported(path, [WALL], pages, measurements, batch=batch)
        assert len(job.pages) == 11
        assert {k: len(v) for k, v in job.conditions[0].takeoffs.items()} == {
            "A.pdf 2": 6, "A.pdf 5": 4, "A.pdf 6": 2, "A.pdf 10": 8,
        }  # fmt: skip
        files.append(path.read_bytes())
    assert len(set(files)) == 1


def test_measurements_out_of_order_are_refused(path: Path) -> None:
    pages = [page(1), page(2)]
    with pytest.raises(RenderError, match="ordered by page"):
        rendered(path, [WALL], pages, [line(0, (0, 0), (1, 0), page_index=i) for i in (1, 0)])


def test_a_layout_without_takeoff_tables_is_refused() -> None:
    with pytest.raises(RenderError, match="conditions"):
        ost.render(replace(layout([], [], []), tables={}), io.BytesIO(), {})


def test_random_projects_against_the_application_s_own_formulas(path: Path) -> None:
    """Quantities are computed here as the application computes them, from pixels and pixels per foot."""
    random_ = random.Random(5)
    scales = [37.5, 12.5, 50.0, 18.75, 100 / 3]
    pages = [page(n + 1, scale=scale) for n, scale in enumerate(scales)]
    expected = [0.0] * 4
    measurements = []
    for index, scale in enumerate(scales):
        for _ in range(200):
            points = [
                (random_.uniform(0, 5400), random_.uniform(0, 3600)) for _ in range(random_.randint(3, 9))
            ]
            corners = {"points": [xy(*point) for point in points]}
            if random_.random() < 0.5:
                measurements.append(line(0, *points, page_index=index))
                expected[0] += sum(math.dist(a, b) for a, b in pairwise(points)) / scale
            else:
                closed = [*points, points[0]]
                twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(closed))
                condition = random_.choice((1, 2))
                measurements.append(shape("polygon", condition, corners, index))
                area = abs(twice) / 2 / scale**2
                expected[condition] += area if condition == 1 else area * 18 / 12 / 27
            measurements.append(shape("point", 3, xy(*points[0]), index))
            expected[3] += 1
    conditions = [{**c, "total_quantity": e} for c, e in zip(CONDITIONS, expected, strict=True)]
    job = imported(path, conditions, pages, measurements)
    for condition in job.conditions:
        assert condition.quantity == pytest.approx(condition.total, rel=1e-11)
    for quantity, total in zip(ost_rules.quantities(path).values(), expected, strict=True):
        assert quantity.value == pytest.approx(total, rel=1e-11)
    assert ost.read_back(path).rows == len(measurements)


def test_ten_thousand_conditions_and_long_polygons(path: Path) -> None:
    conditions = [{**SLAB, "name": f"Slab {i}"} for i in range(5_000)]
    ring = [xy(1000 + 900 * math.cos(a), 1000 + 900 * math.sin(a)) for a in np.linspace(0, 6.28, 20_000)]
    done = rendered(path, conditions, [page()], [shape("polygon", 4_999, {"points": ring})])
    assert done.rows == 1
    assert ost_rules.check(path) == []
    quantity = list(ost_rules.quantities(path).values())[4_999]
    assert quantity.value == pytest.approx(math.pi * 24**2, rel=1e-4)


def test_xmllint_reads_it(path: Path) -> None:
    tool = require_tool("xmllint")
    rendered(path, CONDITIONS, [page()], [line(0, *ELL)])
    done = subprocess.run([tool, "--noout", "--nonet", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


_MEMORY = """
import json, sys
import numpy as np
import pyarrow as pa
from export_pipeline.formats import ost
from export_pipeline.model.tables import Table
from export_pipeline_tests.formats.ost_sample import CONDITIONS, MEASUREMENT, layout, page
from dataclasses import replace

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024

batch = pa.RecordBatch.from_pydict(
    {k: pa.nulls(8192, t) for k, (_, t) in MEASUREMENT.items()} | {
        "geometry_type": ["circle"] * 8192,
        "condition_index": pa.array([1] * 8192),
        "page_index": pa.array([0] * 8192),
        "geometry_data": ['{"center":{"x":1.25,"y":3},"radius":10.5}'] * 8192})

class Sink:
    size = 0
    def write(self, data):
        self.size += len(data)

peaks = []
for batches in (1, int(sys.argv[1])):
    rows = lambda: (batch for _ in range(batches))
    base = layout(CONDITIONS, [page()], [])
    tables = {**base.tables, "measurements_by_page": replace(base.tables["measurements_by_page"], open=rows)}
    sink = Sink()
    ost.render(replace(base, tables=tables), sink, {})
    peaks.append(peak())
print(json.dumps([sink.size, *peaks]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows() -> None:
    done = subprocess.run([sys.executable, "-c", _MEMORY, "12"], capture_output=True, text=True, check=True)
    size, first, last = json.loads(done.stdout)
    assert size > 300e6
    assert last - first < 60


def test_sample_has_every_column_that_is_written(path: Path) -> None:
    job = imported(path, [dict.fromkeys(CONDITION, None) | FOOTING | {"is_visible": False}], [page()], [])
    assert job.conditions[0].row["ShowTakeoff"] == "0"
    assert Decimal(job.conditions[0].row["Thickness"]) == 18
