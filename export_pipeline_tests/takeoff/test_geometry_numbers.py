"""Plain geometry is read without the JSON parser, and reads as the parser would read it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.takeoff import geometry_json
from export_pipeline.takeoff.geometry import parse
from export_pipeline.takeoff.geometry_numbers import TYPES

Row = tuple[str | None, str]

WHOLE = st.integers(-(10**6), 10**6).map(str)
DECIMAL = st.floats(-1e9, 1e9).map(repr)
LONG = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?", fullmatch=True)
ODD = st.sampled_from(
    ["-0", "-0.0", "1E5", "1e-7", "01", "1.", ".5", "+1", "null", '"1"', "9" * 400, "-", "1-2"]
)
NUMBERS = WHOLE | DECIMAL | LONG
XY = '{{"x":{},"y":{}}}'
FORMS = {
    "line": '{{"start":' + XY + ',"end":' + XY + "}}",
    "backwards": '{{"end":' + XY + ',"start":' + XY + "}}",
    "rectangle": '{{"x":{},"y":{},"width":{},"height":{}}}',
    "rotated": '{{"x":{},"y":{},"width":{},"height":{},"rotation":{}}}',
    "circle": '{{"center":' + XY + ',"radius":{}}}',
    "point": XY,
    **{f"{points} points": '{{"points":[' + ",".join([XY] * points) + "]}}" for points in range(6)},
}


@st.composite
def rows(draw: st.DrawFn, numbers: st.SearchStrategy[str]) -> Row:
    form = FORMS[draw(st.sampled_from(list(FORMS)))]
    texts = draw(st.lists(numbers, min_size=form.count("{}"), max_size=form.count("{}")))
    if "points" in form and len(texts) > 2 and draw(st.booleans()):
        texts[-2:] = texts[:2]
    text = form.format(*texts)
    if draw(st.booleans()):
        text = text.replace(":", ": ").replace(",", ", ")
    return draw(st.sampled_from([*TYPES, "cloud", None])), text


def shapes(rows: list[Row]) -> list[Any]:
    types, texts = zip(*rows, strict=True) if rows else ((), ())
    geometry = parse(pa.array(types, pa.string()), pa.array(texts, pa.string()))
    return list(zip(geometry.kind.to_pylist(), geometry.points.to_pylist(), strict=True))


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(rows(NUMBERS | ODD), max_size=12))
def test_plain_rows_are_read_as_the_parser_reads_them(drawn: list[Row]) -> None:
    # No plain row begins with a name of no meaning, so these all go to the parser.
    assert shapes(drawn) == shapes([(type_, text.replace("{", '{"of":"",', 1)) for type_, text in drawn])


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(rows(NUMBERS), min_size=1, max_size=12), st.integers(0, 12))
def test_a_slice_is_read_as_its_rows(drawn: list[Row], start: int) -> None:
    types = pa.array([type_ for type_, _ in drawn], pa.string()).slice(start)
    texts = pa.array([text for _, text in drawn], pa.string()).slice(start)
    geometry = parse(types, texts)
    assert geometry.points.to_pylist() == [points for _, points in shapes(drawn[start:])]


PLAIN = (
    ("line", {"start": {"x": 1, "y": 2}, "end": {"x": 3.5, "y": -4}}, [1, 2, 3.5, -4]),
    ("line", {"end": {"x": 3.5, "y": -4}, "start": {"x": 1, "y": 2}}, [1, 2, 3.5, -4]),
    ("polyline", {"points": [{"x": 0, "y": 1}, {"x": 2, "y": 3}]}, [0, 1, 2, 3]),
    ("rectangle", {"x": 1, "y": 2, "width": 4, "height": 2, "rotation": 0}, [1, 2, 5, 2, 5, 4, 1, 4]),
    ("rectangle", {"x": 1, "y": 2, "width": 4, "height": 2}, [1, 2, 5, 2, 5, 4, 1, 4]),
    ("point", {"x": 0.1, "y": 1e15}, [0.1, 1e15]),
)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_usual_geometry_is_read_without_the_slow_parser(
    separators: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry_json, "read", None)
    texts = pa.array([json.dumps(data, separators=separators) for _, data, _ in PLAIN])
    shapes = parse(pa.array([type_ for type_, _, _ in PLAIN]), texts)
    assert shapes.points.to_pylist() == [points for _, _, points in PLAIN]
    circle = json.dumps({"center": {"x": 5, "y": 6}, "radius": 7}, separators=separators)
    assert parse(pa.array(["circle"]), pa.array([circle])).circles.tolist() == [True]
