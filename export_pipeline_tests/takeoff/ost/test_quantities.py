"""An importer finds the positions and computes the quantities of the export."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from lxml import etree

from export_pipeline.takeoff.ost import validate
from export_pipeline_tests.takeoff.ost import importer
from export_pipeline_tests.takeoff.ost.sample import (
    CIRCLE,
    CONDITIONS,
    DOOR,
    ELL,
    FEET,
    FOOTING,
    RECTANGLE,
    SLAB,
    TRIANGLE,
    WALL,
    imported,
    line,
    page,
    rendered,
    shape,
    xy,
)


def test_each_geometry_has_the_databases_quantity(path: Path) -> None:
    measurements = [
        line(0, (0, 0), (10 * FEET, 0)),
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
    assert validate.read_back(path).rows == 12
    for made, quantity in zip(job.conditions, validate.quantities(path).values(), strict=True):
        assert quantity.name == made.name
        assert quantity.value == pytest.approx(made.quantity, rel=1e-12)


def test_totals_are_the_exports_totals(path: Path) -> None:
    conditions = [{**WALL, "total_quantity": 1234.5678}, {**SLAB, "total_quantity": 0.1 + 0.2}, DOOR]
    done = rendered(path, conditions, [page()], [])
    job = importer.load(path)
    assert [condition.total for condition in job.conditions] == [1234.5678, 0.1 + 0.2, 0.0]
    facts = validate.read_back(path)
    assert facts.totals["quantity"] == pytest.approx(1234.5678 + 0.1 + 0.2)
    assert (facts.rows, facts.problems, done.rows, done.left_out) == (0, (), 0, 0)


def test_positions_keep_every_digit_and_have_no_exponent(path: Path) -> None:
    values = [0.1 + 0.2, 1e-7, -1e-9, 123456789.123, 1e11, 5e-324, 1 / 3, -0.0, 2.0**-40]
    pages = [page(scale=None) | {"dpi": 1}]
    rendered(path, [DOOR], pages, [shape("point", 0, xy(value, -value)) for value in values])
    assert validate.check(path) == []
    texts = [e.get("Position") for e in etree.parse(path).getroot().iter("BidTakeoff")]
    assert not [text for text in texts if "e" in text.lower() or "-0;" in text]
    assert [tuple(map(float, text.split(";"))) for text in texts] == [(value, -value) for value in values]


def test_conditions_that_an_importer_computes_differently_are_named(path: Path) -> None:
    conditions = [
        {**WALL, "total_quantity": 10.0},
        {**SLAB, "total_quantity": 55.0},
        {**FOOTING, "total_quantity": 50 * 18 / 12 / 27},
        {**FOOTING, "name": "Flat", "depth": None, "total_quantity": 3.0},
        {**WALL, "name": "Kerb", "total_quantity": 99.0},
    ]
    measurements = [line(0, (0, 0), (10 * FEET, 0)), *[shape("polygon", i, TRIANGLE) for i in (1, 2, 3)]]
    done = rendered(path, conditions, [page(), page(2)], [*measurements, line(4, *ELL, page_index=1)])
    assert done.warnings == [
        "Condition 'Slab': from its takeoffs an importer computes 50.00 SF, the database says 55.00.",
        "Condition 'Flat': from its takeoffs an importer computes 0.00 CY, the database says 3.00.",
        "Condition 'Kerb': from its takeoffs an importer computes 15.00 LF, the database says 99.00.",
    ]
    for condition, quantity in zip(importer.load(path).conditions, (10, 50, 50 / 18, 0, 15), strict=True):
        assert condition.quantity == pytest.approx(quantity)


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
    for made in job.conditions:
        assert made.quantity == pytest.approx(made.total, rel=1e-11)
    for quantity, total in zip(validate.quantities(path).values(), expected, strict=True):
        assert quantity.value == pytest.approx(total, rel=1e-11)
    assert validate.read_back(path).rows == len(measurements)


def test_takeoffs_lie_where_the_page_shows_them(path: Path) -> None:
    measurements = [line(0, (300, 150), (600, 450)), line(0, (300, 150), (600, 450), page_index=1)]
    job = imported(path, [WALL], [page(1), page(2, scale=None)], measurements)
    for name in ("A.pdf 1", "A.pdf 2"):
        (takeoff,) = job.conditions[0].takeoffs[name]
        assert np.allclose(takeoff.paper, [[2, 1], [4, 3]], rtol=1e-14), "pixels / 150 dpi"
    assert [each["ScaleFactor1"] + ":" + each["ScaleFactor2"] for each in job.pages] == ["0.25:12", "1:1"]
    assert {(each["Width"], each["Height"]) for each in job.pages} == {("36", "24")}
