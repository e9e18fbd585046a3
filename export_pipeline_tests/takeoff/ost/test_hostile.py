"""Texts, geometries and rows that break writers of XML."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.formats.base import RenderError
from export_pipeline.takeoff.ost import validate, write
from export_pipeline_tests.takeoff.ost import importer
from export_pipeline_tests.takeoff.ost.sample import (
    CONDITIONS,
    PROJECT,
    WALL,
    imported,
    layout,
    line,
    page,
    rendered,
    shape,
)
from export_pipeline_tests.takeoff.test_geometry import GOOD, HOSTILE

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
    assert validate.check(path) == []
    assert [c.name for c in importer.load(path).conditions] == [
        "\N{REPLACEMENT CHARACTER}" * len(t) for t in ILLEGAL
    ]
    assert done.changed["characters that XML cannot hold", "Name"] == 2


@pytest.mark.parametrize("project", [{}, {"name": None, "created_at": "yesterday", "id": 5}, {"name": " "}])
def test_an_empty_project_is_an_untitled_bid(path: Path, project: dict[str, Any]) -> None:
    job = imported(path, [], [], [], project=project)
    assert job.bid["JobName"] == "Untitled"
    assert validate.read_back(path).rows == 0


def test_rows_of_nothing_but_nulls(path: Path) -> None:
    job = imported(path, [{}, {}], [{}, {}], [{}, {"condition_index": 0, "page_index": 0}])
    assert (len(job.conditions), len(job.pages)) == (2, 2)
    assert job.pages[1]["Name"] == "Page 2"


def test_every_hostile_geometry_at_once(path: Path) -> None:
    measurements = []
    for condition in range(4):
        measurements += [shape(type_, condition, data) for type_, data in HOSTILE]  # type: ignore[arg-type]
        measurements += [shape(type_, condition, data) for type_, data, *_ in GOOD]
    done = rendered(path, CONDITIONS, [page()], measurements)
    assert validate.check(path) == []
    assert done.rows + done.left_out == len(measurements)
    # A line, a polyline, a polygon and a rectangle are linear; the latter two areas; a point a count.
    assert done.rows == validate.read_back(path).rows == 4 + 2 + 2 + 1


def test_measurements_out_of_order_are_refused(path: Path) -> None:
    pages = [page(1), page(2)]
    with pytest.raises(RenderError, match="ordered by page"):
        rendered(path, [WALL], pages, [line(0, (0, 0), (1, 0), page_index=i) for i in (1, 0)])


def test_a_layout_without_takeoff_tables_is_refused() -> None:
    with pytest.raises(RenderError, match="conditions"):
        write.render(replace(layout([], [], []), tables={}), io.BytesIO())
