"""CSV read back by Python's csv module, DuckDB and pandas."""

import csv as stdlib_csv
import io
import json
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.sanitize import guard_formulas
from export_pipeline_tests.formats.tables import ANY_TEXT, read_back, rendered, table
from export_pipeline_tests.takeoff_data import Application

TEXT, NUMBER = Column("t", "Text", Kind.TEXT), Column("n", "Number", Kind.INTEGER)


def read(data: bytes) -> list[list[str]]:
    return list(stdlib_csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))


@pytest.mark.slow
@given(st.lists(st.tuples(st.none() | ANY_TEXT, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=12))
def test_every_cell_comes_back(rows: list[tuple[str | None, int | None]]) -> None:
    data, done = rendered("csv", table((TEXT, NUMBER), rows))
    header, *lines = read(data)
    assert header == ["Text", "Number"]
    texts = guard_formulas(table((TEXT,), [(t,) for t, _ in rows]).arrow()["t"].combine_chunks())[
        0
    ].to_pylist()
    assert lines == [[t or "", "" if n is None else str(n)] for t, (_, n) in zip(texts, rows, strict=True)]
    assert done.rows == len(rows)
    assert data.count(b"\n") == data.count(b"\r\n") + sum(
        (t or "").count("\n") - (t or "").count("\r\n") for t in texts
    )


def test_a_missing_value_is_not_an_empty_text(tmp_path: Path) -> None:
    data, _ = rendered("csv", table((TEXT, NUMBER), [(None, 1), ("", 2), ("x", None)]))
    assert data == b'Text,Number\r\n,1\r\n"",2\r\nx,\r\n'
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    rows = duckdb.sql(f"FROM read_csv('{file}', quote='\"', allow_quoted_nulls=false)").fetchall()
    assert rows == [(None, 1), ("", 2), ("x", None)]


def test_a_header_that_looks_like_a_formula_gets_an_apostrophe() -> None:
    data, done = rendered("csv", table((Column("t", "=cmd|' /C calc'!A0", Kind.TEXT),), [("a",)]), bom=True)
    assert data == b"\xef\xbb\xbf'=cmd|' /C calc'!A0\r\na\r\n"
    assert sum(done.changed.values()) == 1


def test_an_empty_table_is_its_header() -> None:
    assert rendered("csv", table((TEXT, NUMBER), []))[0] == b"Text,Number\r\n"


def test_numbers_are_never_guarded_and_rounding_is_counted() -> None:
    columns = (
        Column("q", "Q", Kind.FLOAT, 4),
        Column("b", "B", Kind.BOOLEAN),
        Column("m", "M", Kind.MONEY, 2),
    )
    data, done = rendered(
        "csv", table(columns, [(-1.5, True, None), (-0.123456, False, None), (float("nan"), None, None)])
    )
    assert read(data)[1:] == [["-1.5000", "Yes", ""], ["-0.1235", "No", ""], ["NaN", "", ""]]
    assert dict(done.changed) == {("rounded to 4 decimals", "Q"): 1}


def test_takeoff_rows_have_the_known_columns_and_their_document(tmp_path: Path) -> None:
    application = Application(f"sqlite:///{tmp_path}/app.db")
    project = application.project()
    pages = [
        application.page(application.document(project, name), 1, sheet_number=f"S-{name}")
        for name in ("a.pdf", "b.pdf")
    ]
    condition = application.condition(project, "Ключ")
    application.measurement(
        condition, pages[1], 12.34567, notes="=1+1", is_verified=False, is_ai_generated=True
    )
    application.measurement(condition, pages[0], 2.0, geometry_type="point", geometry_data={"x": 1, "y": "é"})
    data, _ = rendered("csv", application.layout(project).main)
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    application.close()
    assert list(frame) == [
        "Condition", "Page", "Sheet Number", "Geometry Type", "Quantity", "Unit", "Coordinates", "Verified",
        "AI Generated", "Notes", "Document", "Review", "No.",
    ]  # fmt: skip
    first, second = frame.to_dict("records")
    assert (first["Document"], first["Page"], first["Sheet Number"]) == ("a.pdf", "1", "S-a.pdf")
    assert json.loads(first["Coordinates"]) == {"x": 1, "y": "é"}
    assert (second["Quantity"], second["Verified"], second["AI Generated"]) == ("12.3457", "No", "Yes")
    assert (second["Condition"], second["Notes"], second["Document"]) == ("Ключ", "'=1+1", "b.pdf")


@pytest.mark.parametrize("damage", ["cut", "column"])
def test_read_back_notices_damage(tmp_path: Path, damage: str) -> None:
    data, done = rendered("csv", table((TEXT, NUMBER), [('a,\n"b"', 1), ("c", -2), (None, 40)]))
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    facts = read_back("csv", file)
    assert (facts.rows, facts.totals, facts.problems) == (done.rows, {"Number": 39.0}, ())
    file.write_bytes(data[:-6] if damage == "cut" else data + b"1,2,3\r\n")
    worse = read_back("csv", file)
    assert worse.problems or (worse.rows, worse.totals) != (facts.rows, facts.totals)


def test_what_read_back_reports_quotes_no_cell(tmp_path: Path) -> None:
    data, _ = rendered("csv", table((TEXT, NUMBER), [("a", 1)]))
    file = tmp_path / "a.csv"
    file.write_bytes(data + b"Anna,2,3\r\n")
    (problem,) = read_back("csv", file).problems
    assert problem.endswith("it is not valid CSV")
    assert "Anna" not in problem


def test_read_back_takes_no_text_for_a_number(tmp_path: Path) -> None:
    rows = [(None if n < 70_000 else "late text", n) for n in range(70_010)]
    data, _ = rendered("csv", table((TEXT, NUMBER), rows, batch_rows=20_000))
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    facts = read_back("csv", file)
    assert facts.rows == 70_010
    assert facts.totals == {"Number": float(sum(n for _, n in rows))}
