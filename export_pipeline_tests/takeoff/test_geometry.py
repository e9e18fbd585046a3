"""Geometry: shapes by hand, hostile rows among good ones, and an oracle that reads row by row."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.takeoff import geometry
from export_pipeline.takeoff.geometry import Geometry, parse

XY = dict[str, float]


def xy(x: float, y: float) -> XY:
    return {"x": x, "y": y}


def parsed(*rows: tuple[str | None, Any]) -> Geometry:
    texts = [data if data is None or isinstance(data, str) else json.dumps(data) for _, data in rows]
    return parse(pa.array([kind for kind, _ in rows], pa.string()), pa.array(texts, pa.string()))


SQUARE = {"points": [xy(0, 0), xy(10, 0), xy(10, 10), xy(0, 10)]}
GOOD: list[tuple[str, Any, str, list[float], float, float]] = [
    ("line", {"start": xy(0, 0), "end": xy(3, 4)}, "line", [0, 0, 3, 4], 5, 0),
    ("polyline", {"points": [xy(0, 0), xy(3, 4), xy(3, 5)]}, "polyline", [0, 0, 3, 4, 3, 5], 6, 0),
    ("polygon", SQUARE, "polygon", [0, 0, 10, 0, 10, 10, 0, 10], 40, 100),
    ("rectangle", {**xy(1, 2), "width": 4, "height": 2}, "polygon", [1, 2, 5, 2, 5, 4, 1, 4], 12, 8),
    ("point", xy(1.5, -2), "point", [1.5, -2], 0, 0),
]


@pytest.mark.parametrize(("type_", "data", "kind", "points", "length", "area"), GOOD)
def test_a_shape_has_its_points_length_and_area(
    type_: str, data: Any, kind: str, points: list[float], length: float, area: float
) -> None:
    shapes = parsed((type_, data))
    assert shapes.kind.to_pylist() == [kind]
    assert shapes.points.to_pylist() == [points]
    assert shapes.valid.to_pylist() == [True]
    assert shapes.lengths().tolist() == [length]
    assert shapes.areas().tolist() == [area]


def test_rectangle_turns_clockwise_about_its_centre() -> None:
    shapes = parsed(("rectangle", {**xy(0, 0), "width": 4, "height": 2, "rotation": 90}))
    # The top left corner (0, 0) goes to the top right of the standing rectangle.
    assert np.allclose(shapes.values, [3, -1, 3, 3, 1, 3, 1, -1])
    assert shapes.areas()[0] == pytest.approx(8)


def test_rotation_null_or_missing_is_none_and_other_types_are_refused() -> None:
    base = {**xy(0, 0), "width": 4, "height": 2}
    shapes = parsed(*[("rectangle", {**base, "rotation": turn}) for turn in (None, 0, "90", [1])])
    assert shapes.valid.to_pylist() == [True, True, False, False]


def test_circle_has_the_circles_area_and_perimeter() -> None:
    shapes = parsed(("circle", {"center": xy(5000, 3000), "radius": 7.25}))
    assert shapes.circles.tolist() == [True]
    assert len(shapes.values) == 2 * geometry.CIRCLE_SEGMENTS
    assert shapes.areas()[0] == pytest.approx(math.pi * 7.25**2, rel=1e-11)
    assert shapes.lengths()[0] == pytest.approx(2 * math.pi * 7.25, rel=1e-11)
    distance = np.hypot(shapes.values[0::2] - 5000, shapes.values[1::2] - 3000)
    assert np.all(np.abs(distance / 7.25 - 1) < 1e-3)


def test_a_polygon_is_not_closed_by_its_first_point() -> None:
    closed = {"points": [*SQUARE["points"], SQUARE["points"][0]]}
    shapes = parsed(("polygon", closed), ("polygon", {"points": [xy(0, 0), xy(1, 1), xy(0, 0)]}))
    assert shapes.points.to_pylist() == [[0, 0, 10, 0, 10, 10, 0, 10], []]
    # A closed polyline keeps its last segment.
    assert parsed(("polyline", closed)).lengths().tolist() == [40]


HOSTILE: list[tuple[str | None, Any]] = [
    ("point", None),
    (None, xy(1, 2)),
    ("Point", xy(1, 2)),
    ("point", ""),
    ("point", "null"),
    ("point", " null "),
    ("point", "{} null {}"),
    ("point", '{}}null{"g":{}'),
    ("point", '{"x":1,"y":2}{"x":1,"y":2}'),
    ("point", '{"x":1,"y":2'),
    ("point", '{"x":1,"y":2}\x00'),
    ("point", "[1, 2]"),
    ("point", '"text"'),
    ("point", "7"),
    ("point", {"x": "1", "y": 2}),
    ("point", {"x": True, "y": 2}),
    ("point", {"x": None, "y": 2}),
    ("point", {"x": 1}),
    ("point", '{"x":NaN,"y":2}'),
    ("point", '{"x":Infinity,"y":2}'),
    ("point", '{"x":1e400,"y":2}'),
    ("point", '{"x":' + "9" * 5000 + ',"y":2}'),
    ("point", '{"x":[' * 5000 + "]}" * 5000),
    ("line", {"start": xy(0, 0)}),
    ("line", {"start": [0, 0], "end": [1, 1]}),
    ("line", {"start": None, "end": xy(1, 1)}),
    ("line", SQUARE),
    ("polyline", {"points": []}),
    ("polyline", {"points": None}),
    ("polyline", {"points": [xy(1, 1)]}),
    ("polyline", {"points": [xy(1, 1), None]}),
    ("polyline", {"points": [xy(1, 1), {"x": 1}]}),
    ("polyline", {"points": [xy(1, 1), 7]}),
    ("polyline", {"points": [[1, 1], [2, 2]]}),
    ("polyline", {"points": xy(1, 1)}),
    ("polygon", {"points": [xy(0, 0), xy(1, 1)]}),
    ("rectangle", xy(0, 0)),
    ("rectangle", {**xy(1e308, 0), "width": 1e308, "height": 1}),
    ("circle", {"center": xy(0, 0), "radius": 0}),
    ("circle", {"center": xy(0, 0), "radius": -1}),
    ("circle", {"center": xy(0, 0)}),
    ("circle", {"radius": 3}),
]


def test_hostile_rows_have_no_shape_alone() -> None:
    for row in HOSTILE:
        shapes = parsed(row)
        assert (shapes.kind.to_pylist(), shapes.points.to_pylist()) == (["none"], [[]]), row
        assert shapes.lengths().tolist() == shapes.areas().tolist() == [0], row


def test_hostile_rows_leave_the_others_alone() -> None:
    rows: list[tuple[str | None, Any]] = []
    for row in HOSTILE * 12:
        rows += [row, *[(good[0], good[1]) for good in GOOD]]
    shapes = parsed(*rows)
    expected = ["none", *[good[2] for good in GOOD]] * (12 * len(HOSTILE))
    assert shapes.kind.to_pylist() == expected
    assert shapes.points.to_pylist() == [[], *[good[3] for good in GOOD]] * (12 * len(HOSTILE))


def test_odd_but_valid_geometry_is_read() -> None:
    shapes = parsed(
        ("point", '{\n  "x": 1,\r\n  "y": 2\n}'),
        ("point", ' {"x":1,"y":2} '),
        ("point", '{"x":1,"y":2,"label":"} null","more":[null,{"deep":[[]]}]}'),
        ("point", '{"x":9,"x":1,"y":2}'),
        ("point", '{"x":1.0e0,"y":2,"start":7,"points":"none"}'),
    )
    assert shapes.points.to_pylist() == [[1, 2]] * 5


def test_geometry_of_a_slice_and_of_no_rows_is_read() -> None:
    types = pa.array(["point", "line", "point", "point"])
    texts = pa.array(['{"x":1,"y":2}', "null", '{"x":3,"y":4}', "[]"])
    assert parse(types.slice(1, 2), texts.slice(1, 2)).points.to_pylist() == [[], [3, 4]]
    assert parse(types.slice(0, 0), texts.slice(0, 0)).points.to_pylist() == []


def test_area_far_from_the_origin_keeps_its_digits() -> None:
    far = {"points": [xy(1e9 + p["x"], 1e9 + p["y"]) for p in SQUARE["points"]]}
    assert parsed(("polygon", far)).areas().tolist() == [100]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyqw"), inner, max_size=3),
    max_leaves=6,
)
POINTS = st.fixed_dictionaries({"x": st.floats(-1e6, 1e6), "y": st.floats(-1e6, 1e6) | JSON_VALUES})
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "x": st.floats() | JSON_VALUES,
        "y": st.floats(-1e6, 1e6),
        "start": POINTS | JSON_VALUES,
        "end": POINTS,
        "points": st.lists(POINTS | JSON_VALUES, max_size=5) | JSON_VALUES,
        "center": POINTS,
        "radius": st.floats(-1, 1e6) | JSON_VALUES,
    },
)
TEXTS = (
    OBJECTS.map(json.dumps)
    | JSON_VALUES.map(json.dumps)
    | st.text('{}[]",:null1 \n\\x', max_size=12)
    | st.tuples(OBJECTS, OBJECTS).map(lambda two: json.dumps(two[0]) + json.dumps(two[1]))
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("line", "polyline", "polygon", "circle", "point")), TEXTS)))
def test_a_batch_equals_its_rows_one_by_one(rows: list[tuple[str, str]]) -> None:
    """Whichever way a row goes, through the batch parser or around it, the shape is the same."""
    together = parsed(*rows)
    alone = [parsed(row) for row in rows]
    assert together.kind.to_pylist() == [each.kind[0].as_py() for each in alone]
    assert together.points.to_pylist() == [each.points[0].as_py() for each in alone]
    for (type_, text), points in zip(rows, together.points.to_pylist(), strict=True):
        assert points == _oracle(type_, text) or type_ == "circle"


def _oracle(type_: str, text: str) -> list[float]:
    try:
        value = json.loads(text)
        if type_ == "point":
            pairs = [value]
        elif type_ == "line":
            pairs = [value["start"], value["end"]]
        else:
            pairs = list(value["points"])
            if type_ == "polygon" and len(pairs) > 1 and _pair(pairs[0]) == _pair(pairs[-1]):
                pairs.pop()
            if len(pairs) < (3 if type_ == "polygon" else 2):
                return []
        return [number for pair in pairs for number in _pair(pair)]
    except (ValueError, TypeError, KeyError, OverflowError):
        return []


def _pair(value: Any) -> tuple[float, float]:
    x, y = value["x"], value["y"]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in (x, y)):
        raise ValueError
    return float(x), float(y)


_CHILD = """
import json, sys
import pyarrow as pa
from export_pipeline.core.json_text import is_valid_json
from export_pipeline.takeoff.geometry import parse
for text in json.load(sys.stdin):
    for batch in ([text], ["{}", text, "{}"] * (300 if len(text) < 99 else 1)):
        parse(pa.array(["point"] * len(batch)), pa.array(batch))
        is_valid_json(pa.array(batch))
print("alive")
"""


@pytest.mark.slow
def test_no_text_ends_the_process() -> None:
    """Arrow's parser crashes, rather than raises, on some texts; only another process can tell."""
    between = ["", " ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x00", "\xa0", "\ufeff", "/**/", ",", "//\n"]
    nasty = ["null", "{}null", *[f"{{}}{gap}null{gap}{{}}" for gap in between]]
    nasty += [f'{{}}}}{gap}null{gap}{{"g":{{}}' for gap in between]
    nasty += ["{" * 200_000, "[" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=json.dumps(nasty), capture_output=True, text=True, timeout=240
    )
    assert done.stdout.strip() == "alive", (done.returncode, done.stderr[-500:])
