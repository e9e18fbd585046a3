"""The hostile project as On-Screen Takeoff XML, imported by code written from the format's rules alone."""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from export_pipeline_tests.hostile.conftest import Hostile, one_database
from export_pipeline_tests.hostile.rules import clean, totals
from export_pipeline_tests.hostile.shapes import points_of
from export_pipeline_tests.takeoff.ost.importer import Job, load
from export_pipeline_tests.tools import require_tool

TYPES = {"linear": ("0", "LF"), "area": ("1", "SF"), "volume": ("1", "CY"), "count": ("2", "EA")}
UNITS = {"linear": ("LF", "lf"), "area": ("SF", "m²"), "volume": ("CY",), "count": ("EA",)}
BY_UNIT = {unit: kind for kind, (_, unit) in TYPES.items()}
FARTHEST = 1e12


@pytest.fixture(scope="module")
def job(hostile: Hostile) -> Job:
    return load(hostile.file("ost")[0])


def blank(text: str | None) -> bool:
    return not (clean(text) or "").strip()


def kind_of(row: dict[str, Any]) -> str:
    kind: str = row["measurement_type"]
    return kind if kind in TYPES else BY_UNIT.get(clean(row["unit"]) or "", "area")


def scale_of(page: dict[str, Any]) -> tuple[float, float]:
    """Inches of a pixel in the real world and on paper."""
    dpi = float(page["dpi"]) if page["dpi"] > 0 else 0.0
    if not dpi:
        inches = page["page_width_inches"]
        usable = inches is not None and math.isfinite(inches) and inches > 0 and page["width"] > 0
        dpi = page["width"] / inches if usable else 150.0
    scale = page["scale_value"]
    if scale is not None and math.isfinite(scale) and scale > 0 and 1e-6 <= scale / dpi <= 1e6:
        return 12 / scale, 1 / dpi
    return 1 / dpi, 1 / dpi


def pieces_of(quantity: float) -> int:
    """Number of places of a count; 1 if it is no number or too many."""
    return round(abs(quantity)) if abs(quantity) <= 10_000 else 1


@pytest.mark.slow
@one_database
def test_xmllint_takes_it(hostile: Hostile) -> None:
    path, _ = hostile.file("ost")
    done = subprocess.run(
        [require_tool("xmllint"), "--noout", "--huge", path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_condition_is_the_database_s_or_counted(hostile: Hostile, job: Job) -> None:
    truth, sums = hostile.truth, totals(hostile.truth)
    assert len(job.conditions) == len(truth.conditions)
    for number, (row, part) in enumerate(zip(truth.conditions, job.conditions, strict=True), 1):
        assert part.name == (f"Condition {number}" if blank(row["name"]) else clean(row["name"]))
        assert (part.row["Type"], part.row["RefNo"]) == (TYPES[kind_of(row)][0], str(number))
        assert part.row["ShowTakeoff"] == str(int(row["is_visible"]))
        notes = [clean(row["description"]) or ""]
        notes += [
            f"{name.capitalize()}: {clean(row[name])}"
            for name in ("scope", "building", "area", "elevation")
            if row[name]
        ]
        assert part.row["Notes"] == "\n".join(note for note in notes if note)
        group = next((row[name] for name in ("category", "scope") if not blank(clean(row[name]))), "General")
        assert job.cdn_types[part.row["CdnTypeUID"]] == clean(group)
        assert part.total == pytest.approx(sums[row["id"]][1], rel=1e-12)


def test_every_page_is_the_database_s_or_counted(hostile: Hostile, job: Job) -> None:
    for place, (row, part) in enumerate(zip(hostile.truth.pages, job.pages, strict=True), 1):
        names = [clean(row[name]) for name in ("title", "sheet_title", "sheet_number")]
        assert part["Name"] == next((name for name in names if not blank(name)), f"Page {row['page_number']}")
        assert part["SheetNo"] == (clean(row["sheet_number"]) or "")
        assert part["ImagePath"] == re.split(r"[\\/]", clean(row["document"]) or "")[-1]
        folder = job.folders[part["BidPageFolderUID"]]
        assert folder == clean(row["label"]) or (blank(row["document"]) and folder.startswith("Document "))
        number = row["page_number"]
        assert part["Index1"] == str(number if 0 < number < 2**31 else place)


@pytest.mark.slow
def test_every_takeoff_lies_where_the_database_says(hostile: Hostile, job: Job) -> None:
    """Positions, numbers and counts, of each measurement that the file can hold."""
    truth, (_, done) = hostile.truth, hostile.file("ost")
    place = {row["id"]: number for number, row in enumerate(truth.pages)}
    takeoffs: dict[int, list[tuple[str, np.ndarray]]] = {}
    for condition in job.conditions:
        for listed in condition.takeoffs.values():
            for takeoff in listed:
                takeoffs.setdefault(takeoff.no, []).append((condition.row["GUID"], takeoff.real))
    changed: Counter[str] = Counter()
    number = 0
    ordered = sorted(
        (row for row in truth.measurements if row["page"]), key=lambda row: place[row["page_id"]]
    )
    for row in ordered:
        kind, points = points_of(clean(row["geometry_type"]), clean(row["geometry_data"]))
        inches, paper = scale_of(row["page"])
        if inches == paper:  # a page without a scale, which may have that of its measurements
            page = job.pages[place[row["page_id"]]]
            inches = paper * float(page["ScaleFactor2"]) / float(page["ScaleFactor1"])
        if points is None or np.abs(points).max() > FARTHEST / inches:
            changed["geometry unreadable, not in the file"] += 1
            continue
        sort = TYPES[kind_of(row["condition"])][0]
        if not {"0": kind != "point", "1": kind == "polygon", "2": kind == "point"}[sort]:
            changed["geometry not of its condition's type, not in the file"] += 1
            continue
        real = points * inches
        ring = np.vstack((real, real[:1])) if kind == "polygon" else real
        expected = sorted(
            tuple(np.concatenate(pair)) for pair in pairwise(ring) if (pair[0] != pair[1]).any()
        )
        pieces = pieces_of(row["quantity"]) if sort == "2" else len(expected) if sort == "0" else 1
        if not pieces:
            changed["without size or count, not in the file"] += 1
            continue
        number += 1
        drawn = takeoffs.pop(number)
        assert {guid for guid, _ in drawn} == {f"{{{row['condition_id'].upper()}}}"}
        if sort != "0":
            assert len(drawn) == pieces
            assert all(each == pytest.approx(real, rel=1e-9, abs=1e-9) for _, each in drawn)
        elif row["geometry_type"] != "circle":
            segments = sorted((tuple(p.ravel()) for _, p in drawn))
            assert np.array(segments) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)
    assert takeoffs == {}
    changed["no page or condition, not in the file"] = len(truth.measurements) - len(ordered)
    counts = {
        reason: count
        for (reason, _), count in done.changed.items()
        if "not in the file" in reason and not reason.startswith(("not a length", "note", "not verified"))
    }
    assert counts == changed
    assert done.left_out == changed.total()
    assert done.rows == number


def test_other_changes_are_counted(hostile: Hostile) -> None:
    truth, (_, done) = hostile.truth, hostile.file("ost")
    counts = {
        key: count
        for key, count in done.changed.items()
        if key[1] in ("Name", "Type", "Unit", "Page", "Thickness")
    }
    counts.pop(("no page or condition, not in the file", "Page"))

    def unfit(inches: float | None) -> bool:
        return inches is not None and not (math.isfinite(inches) and inches >= 0)

    rows = truth.conditions
    assert counts == {
        ("name filled in", "Name"): sum(blank(row["name"]) for row in rows),
        ("measurement type unknown", "Type"): sum(row["measurement_type"] not in TYPES for row in rows),
        ("unit not one of its type", "Unit"): sum(
            row["measurement_type"] in TYPES and clean(row["unit"]) not in UNITS[row["measurement_type"]]
            for row in rows
        ),
        ("not a length, not in the file", "Thickness"): sum(
            unfit(row["thickness"]) or (kind_of(row) == "volume" and unfit(row["depth"])) for row in rows
        ),
        ("number out of range, the page's place in the export instead", "Page"): sum(
            not 0 < row["page_number"] < 2**31 for row in truth.pages
        ),
    }
    assert len(done.warnings) < 300


def test_the_file_proves_itself(hostile: Hostile) -> None:
    facts, proof = hostile.read_back("ost"), hostile.proof("ost")
    _, done = hostile.file("ost")
    assert facts.problems == ()
    assert facts.rows + done.left_out == proof.rows
    total, tolerance = proof.totals["quantity"]
    assert facts.totals["quantity"] == pytest.approx(total, abs=tolerance)
