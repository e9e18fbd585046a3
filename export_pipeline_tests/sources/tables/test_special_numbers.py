"""NaN and infinities among exact numbers are in every file as text, or missing and counted."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.runs.staging import load, save
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline_tests.hostile import introspected
from export_pipeline_tests.sources.introspection.schemas import execute
from export_pipeline_tests.tools import require_tool

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, n numeric, m numeric(10,2), big numeric, f float8, plain numeric(10,2));
INSERT INTO t VALUES
    (1, 1.10, 2.00, 123456789012345678.5, 'NaN', 1), (2, 'NaN', 'NaN', 'NaN', 'Infinity', 2),
    (3, 'Infinity', -1.25, 'Infinity', '-Infinity', 3), (4, '-Infinity', NULL, '-Infinity', 1.5, NULL),
    (5, NULL, 0, 0.0000001, NULL, 0.5);
"""
SPEC = {
    "dataset": "t", "description": "t", "formats": ["csv", "json", "excel", "pdf", "parquet"], "source": {"table": "t"},
    "columns": [
        {"name": "id", "type": "integer"}, {"name": "n", "type": "decimal(38,10)", "total": True},
        {"name": "m", "type": "money(10,2)", "total": True}, {"name": "big", "type": "decimal(50,10)"},
        {"name": "r", "from": "n", "type": "decimal(38,10)", "digits": 1}, {"name": "f", "type": "float"},
        {"name": "plain", "type": "decimal(10,2)"}, {"name": "twice", "type": "decimal(38,10)", "compute": "m * 2"},
    ],
}  # fmt: skip
N = ["1.1", "NaN", "Infinity", "-Infinity", ""]
BIG = ["123456789012345678.5", "NaN", "Infinity", "-Infinity", "0.0000001"]


@pytest.fixture
def made(postgres_url: str, tmp_path: Path) -> dict[str, Any]:
    """The files by format, and what was counted, by format and for the read."""
    execute(postgres_url, SCHEMA)
    spec = TableModel.model_validate(SPEC).spec()
    options = tabular.options(spec).model_validate({})
    with open_snapshot(postgres_url) as snapshot:
        data = source.read(snapshot, Request("t", tabular, spec, None, options, None))
        save(data, tmp_path / "read")
    save(tabular.build(load(tmp_path / "read", {data.dataset: data})), tmp_path / "built")
    save(sanitize(load(tmp_path / "built", {data.dataset: data})), tmp_path / "clean")
    clean = load(tmp_path / "clean", {data.dataset: data})
    layout = tabular.layout(clean)
    counts: dict[str, Any] = {"read": dict(clean.changed)}
    for name in SPEC["formats"]:
        path = tmp_path / f"t{FORMATS[name].extension}"
        with path.open("wb") as out:
            done = FORMATS[name].render(layout, out, FormatOptions().of(name))
        facts = FORMATS[name].read_back(path, FormatOptions().of(name))
        proof = FORMATS[name].proof(layout, FormatOptions().of(name))
        assert (facts.rows, facts.problems) == (5, ())
        for column, (total, tolerance) in proof.totals.items():
            assert abs(facts.totals.get(column, 0.0) - total) <= tolerance, (name, column)
        counts[name], counts[f"{name} changed"] = (
            path,
            {column: count for (reason, column), count in done.changed.items() if "ounded" not in reason},
        )
    return counts


def test_csv_holds_nan_and_infinity_as_text(made: dict[str, Any]) -> None:
    _, *rows = csv.reader(io.StringIO(made["csv"].read_text("utf-8")))
    columns = [*zip(*rows, strict=True)]
    assert list(columns[1]) == N
    assert list(columns[2]) == ["2.00", "NaN", "-1.25", "", "0.00"]
    assert list(columns[3]) == BIG
    assert list(columns[4]) == ["1.1", "NaN", "Infinity", "-Infinity", ""]
    assert list(columns[5]) == ["NaN", "Infinity", "-Infinity", "1.5", ""]
    assert list(columns[7]) == ["4", "", "-2.5", "", "0"]
    assert made["read"] == {("computed from NaN or infinity, which count as missing", "rows.twice"): 1}


def test_json_has_null_and_counts(made: dict[str, Any]) -> None:
    rows = json.loads(made["json"].read_bytes(), parse_float=Decimal)
    assert [row["n"] for row in rows] == [Decimal("1.1"), None, None, None, None]
    assert [row["big"] for row in rows] == [Decimal(BIG[0]), None, None, None, Decimal("0.0000001")]
    assert made["json changed"] == {"n": 3, "m": 1, "big": 3, "r": 3, "f": 3}


def test_excel_has_texts_and_numbers(made: dict[str, Any]) -> None:
    sheet = openpyxl.load_workbook(made["excel"]).worksheets[0]
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    start = next(place for place, row in enumerate(rows) if row[0] == "Id") + 1
    cells = [*zip(*rows[start : start + 5], strict=True)]
    assert list(cells[1]) == [1.1, "NaN", "Infinity", "-Infinity", None]
    assert list(cells[2]) == [2, "NaN", -1.25, None, 0]
    assert list(cells[3]) == [BIG[0], "NaN", "Infinity", "-Infinity", 1e-7]
    assert sum(made["excel changed"].values()) == 3 + 1 + 4 + 3 + 3


def test_a_pdf_prints_special_numbers(made: dict[str, Any]) -> None:
    import subprocess

    text = subprocess.run(
        [require_tool("pdftotext"), "-layout", made["pdf"], "-"], capture_output=True, text=True, check=True
    ).stdout
    assert text.count("NaN") == 5
    assert text.count("Infinity") == 8


def test_parquet_has_null_and_counts(made: dict[str, Any]) -> None:
    table = pq.read_table(made["parquet"])
    assert str(table.schema.field("n").type) == "decimal128(38, 10)"
    assert table["n"].to_pylist() == [Decimal("1.1000000000"), None, None, None, None]
    assert table["big"].to_pylist()[0] == Decimal(BIG[0])
    assert made["parquet changed"] == {"n": 3, "m": 1, "big": 3, "r": 3}


def test_a_number_with_more_digits_still_stops_the_export(postgres_url: str) -> None:
    execute(postgres_url, "CREATE TABLE t (id int, n numeric); INSERT INTO t VALUES (1, 'NaN'), (2, 1.2345)")
    columns = [{"name": "n", "type": "decimal(5,2)"}]
    spec = {"source": {"table": "t"}, "columns": columns}
    with open_snapshot(postgres_url) as snapshot:
        request = Request("t", tabular, spec, None, tabular.options(spec).model_validate({}), None)
        data = source.read(snapshot, request)
        with pytest.raises(SourceError, match="column 'n' holds a value that is no decimal"):
            data.tables["rows"].arrow()


def test_an_introspected_table_has_them_too(postgres_url: str, tmp_path: Path) -> None:
    execute(postgres_url, SCHEMA)
    exported = introspected.export(postgres_url, "t", tmp_path / "made", ["csv"])
    assert exported.problems == []
    _, *rows = csv.reader(io.StringIO(exported.files["csv"].read_text("utf-8")))
    assert [row[1] for row in rows] == N
    assert [row[3] for row in rows] == BIG
