"""The drawing of the house in docs/architecture.md is that of today, and has no circles."""

import runpy

from export_pipeline_tests.paths import ROOT

HOUSE = runpy.run_path(str(ROOT / "docs/draw_house.py"))


def test_no_room_imports_one_that_imports_it() -> None:
    assert HOUSE["circles"](HOUSE["imports"]()) == set(), (
        "Cut the circle, or see ROOMS in docs/draw_house.py."
    )


def test_the_drawing_shows_the_imports_of_today() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    assert HOUSE["chart"](HOUSE["imports"]()) in page, "Run `.venv/bin/python docs/draw_house.py`."
