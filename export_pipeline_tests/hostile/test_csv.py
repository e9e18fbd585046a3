"""The hostile project as CSV, read by programs that did not write it."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from decimal import Decimal

import duckdb
import pandas as pd

from export_pipeline_tests.hostile.conftest import Hostile
from export_pipeline_tests.hostile.rules import clean, is_formula, joined, loses_digits, review, rounded

HEADERS = [
    "Condition", "Page", "Sheet Number", "Geometry Type", "Quantity", "Unit", "Coordinates", "Verified", "AI Generated", "Notes", "Document",
    "Review", "No.",
]  # fmt: skip
GUARDED = "apostrophe put before text that looks like a formula"


def test_every_cell_is_the_database_s_or_counted(hostile: Hostile) -> None:
    path, done = hostile.file("csv")
    csv.field_size_limit(10**9)
    with path.open(encoding="utf-8", errors="strict", newline="") as lines:
        head, *rows = list(csv.reader(lines, strict=True))
    assert head == HEADERS
    assert len(rows) == done.rows == len(hostile.truth.measurements)
    changed: Counter[tuple[str, str]] = Counter()

    def text(value: str | None, header: str) -> str:
        cell = clean(value) or ""
        if not is_formula(cell):
            return cell
        changed[GUARDED, header] += 1
        return f"'{cell}"

    for place, (row, cells) in enumerate(zip(hostile.truth.measurements, rows, strict=True), 1):
        where = joined(row)
        number = "" if where["page_number"] is None else str(where["page_number"])
        assert cells == [
            text(where["condition"], "Condition"), number, text(where["sheet_number"], "Sheet Number"),
            text(row["geometry_type"], "Geometry Type"), cells[4], text(row["unit"], "Unit"),
            text(row["geometry_data"], "Coordinates"), "Yes" if row["is_verified"] else "No", "Yes" if row["is_ai_generated"] else "No",
            text(row["notes"], "Notes"), text(where["document"], "Document"), review(row), str(place),
        ]  # fmt: skip
        value = row["quantity"]
        if math.isfinite(value):
            assert re.fullmatch(r"-?\d+\.\d{4}", cells[4])
            assert Decimal(cells[4]) == rounded(value, 4)
            changed["rounded to 4 decimals", "Quantity"] += loses_digits(value, 4)
        else:
            assert cells[4] == {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    assert done.changed == changed
    # No cell that a spreadsheet would take for a formula, in whichever column.
    assert not [
        cell for row in rows for i, cell in enumerate(row) if HEADERS[i] not in ("Quantity", "Page") and is_formula(cell)
    ]  # fmt: skip


def test_duckdb_and_pandas_read_the_same_cells(hostile: Hostile) -> None:
    path, _ = hostile.file("csv")
    with path.open(encoding="utf-8", newline="") as lines:
        ours = list(csv.reader(lines, strict=True))[1:]
    query = (
        "SELECT * FROM read_csv(?, all_varchar=true, delim=',', quote='\"', escape='\"', header=true, "
        "nullstr='', max_line_size=10000000, parallel=false)"
    )
    theirs = duckdb.execute(query, [str(path)]).fetchall()
    assert [[cell or "" for cell in row] for row in theirs] == ours
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    assert frame.to_numpy().tolist() == ours


def test_missing_and_empty_texts_can_be_told_apart(hostile: Hostile) -> None:
    path, _ = hostile.file("csv")
    query = (
        "SELECT Notes FROM read_csv(?, all_varchar=true, delim=',', quote='\"', escape='\"', header=true, "
        "nullstr='', allow_quoted_nulls=false, max_line_size=10000000, parallel=false)"
    )
    notes = [row[0] for row in duckdb.execute(query, [str(path)]).fetchall()]
    assert [note is None for note in notes] == [row["notes"] is None for row in hostile.truth.measurements]


def test_the_file_proves_itself(hostile: Hostile) -> None:
    facts, proof = hostile.read_back("csv"), hostile.proof("csv")
    assert facts.problems == ()
    assert facts.rows == proof.rows
    for name, (total, tolerance) in proof.totals.items():
        assert abs(facts.totals[name] - total) <= tolerance
