"""The reader finds what is wrong with a workbook; each fault is put in by hand."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section
from export_pipeline.formats.excel import fast_scan
from export_pipeline.formats.excel.readback import read_back
from export_pipeline_tests.formats.excel.books import layout, measurements, project, table, write


def changed(path: Path, part: str, change: Callable[[str], str]) -> Path:
    """The workbook with one part changed."""
    other = path.with_name("changed.xlsx")
    with ZipFile(path) as old, ZipFile(other, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == part:
                text = data.decode()
                data = change(text).encode()
                assert data.decode() != text
            new.writestr(name, data)
    return other


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.xlsx"
    columns = (Column("k", "Key", Kind.TEXT), Column("n", "N", Kind.FLOAT))
    data = table(columns, {"k": ["a", "b", "c"], "n": [1.0, 2.0, 4.5]})
    write(layout(Section("s", "S", data, counts=True, sums=("n",))), path)
    facts = read_back(path)
    assert (facts.rows, facts.totals, facts.problems) == (3, {"n": 7.5}, ())
    return path


SHEET = "xl/worksheets/sheet1.xml"
FAULTS = {
    "a number cell holds text: B5": lambda xml: xml.replace("<v>2</v>", "<v>two</v>"),
    "a cell out of order: A5": lambda xml: xml.replace('<c r="A5"', '<c r="C5"').replace('r="B5"', 'r="A5"'),
    "the same cell twice: A5": lambda xml: xml.replace('r="B5"', 'r="A5"'),
    "rows out of order at A4": lambda xml: xml.replace('<row r="5">', '<row r="4">'),
    "a cell stands in another row than its address says: A7": lambda xml: xml.replace('"A5"', '"A7"').replace(
        '"B5"', '"B7"'
    ),
    "a text is longer than a cell can be: A5": lambda xml: xml.replace(">b<", f">{'b' * 32_768}<"),
    "the dimension ends at B9": lambda xml: xml.replace('ref="A1:B6"', 'ref="A1:B9"'),
    "a formula among the data: B5": lambda xml: xml.replace("<v>2</v>", "<f>1+1</f><v>2</v>"),
    "a shared string is missing: A5": lambda xml: xml.replace(
        't="inlineStr"><is><t xml:space="preserve">b</t></is>', 't="s"><v>7</v>'
    ),
    "cannot be read": lambda xml: xml.replace("</sheetData>", ""),
    "has 2 rows where it says 3": lambda xml: (
        xml[: xml.index('<row r="6"')] + xml[xml.index("</sheetData>") :]
    ),
    "without a readable address": lambda xml: xml.replace('<c r="A5"', "<c"),
}


@pytest.mark.parametrize("problem", FAULTS)
def test_each_fault_is_found(problem: str, sound: Path) -> None:
    facts = read_back(changed(sound, SHEET, FAULTS[problem]))
    assert any(problem in text for text in facts.problems), facts.problems


def test_a_workbook_of_another_kind_does_not_say_where_its_rows_are(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["a", 1])  # type: ignore[union-attr]
    book.save(path)
    assert "the workbook does not say where its rows are" in read_back(path).problems


def test_a_lost_sheet_is_found(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    cut = changed(
        path,
        "xl/workbook.xml",
        lambda xml: re.sub('<definedName name="Export_Rows".*?</definedName>', "", xml, count=1),
    )
    assert "the rows stand on 4 sheets where the workbook says 5" in read_back(cut).problems


def test_a_changed_number_changes_the_sum(sound: Path) -> None:
    facts = read_back(changed(sound, SHEET, lambda xml: xml.replace("<v>2</v>", "<v>3</v>")))
    assert facts.totals == {"n": 8.5}


def test_texts_of_any_length_in_utf16_units_are_measured_right(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("k", "Key", Kind.TEXT),)
    texts = ["&" * 32_767, "漢" * 32_767, "🏗" * 16_383]
    write(layout(Section("s", "S", table(columns, {"k": texts}), counts=True)), path)
    assert read_back(path).problems == ()


@pytest.mark.parametrize("data", [b"", b"no workbook", b"PK\x03\x04" + b"\0" * 50])
def test_a_file_that_is_no_workbook_is_a_problem_not_a_crash(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    path.write_bytes(data)
    facts = read_back(path)
    assert facts.rows == 0
    assert facts.problems


def test_a_damaged_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(layout(Section("s", "S", measurements(3000), counts=True)), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert read_back(path).problems
    path.write_bytes(data[: len(data) // 2])
    assert read_back(path).problems


def test_numbers_written_as_text_count_in_the_sum(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("n", "N", Kind.INTEGER),)
    numbers = [2**62 + 1, 5, None]
    write(layout(Section("s", "S", table(columns, {"n": numbers}), counts=True, sums=("n",))), path)
    facts = read_back(path)
    assert (facts.rows, facts.totals, facts.problems) == (3, {"n": float(2**62 + 6)}, ())


def test_rows_without_any_value_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("n", "N", Kind.INTEGER),)
    write(layout(Section("s", "S", table(columns, {"n": [None] * 5}), counts=True, sums=("n",))), path)
    facts = read_back(path)
    assert (facts.rows, facts.totals, facts.problems) == (5, {"n": 0.0}, ())


@pytest.mark.slow
def test_a_big_sheet_is_read_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    rows = 30_000
    data = measurements(rows)
    made = Section("s", "S", data, counts=True, sums=("quantity", "cost"))
    write(layout(made), path)
    facts = read_back(path)
    table_ = data.arrow()
    assert facts.rows == rows
    assert facts.problems == ()
    assert facts.totals["quantity"] == pytest.approx(sum(table_["quantity"].to_pylist()), rel=1e-12)
    assert facts.totals["cost"] == pytest.approx(float(sum(table_["cost"].to_pylist())), rel=1e-12)


def test_a_project_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    assert read_back(path).problems == ()


@pytest.mark.parametrize("made", [project(), layout(Section("s", "S", measurements(300), counts=True, sums=("quantity", "cost")))])  # fmt: skip
def test_both_ways_to_read_rows_find_the_same(
    made: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.xlsx"
    write(made, path)
    quick = read_back(path)
    monkeypatch.setattr(fast_scan.PlainRows, "read", lambda *_: None)
    slow = read_back(path)
    assert (quick.rows, quick.problems) == (slow.rows, slow.problems) == (quick.rows, ())
    assert quick.totals == pytest.approx(slow.totals, rel=1e-12)


def test_totals_below_the_rows_are_read_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their formulas are part of the plain form; otherwise most sheets of a project would be read slowly."""
    path = tmp_path / "b.xlsx"
    write(project(), path)
    read, blocks = fast_scan.PlainRows.read, []

    def noting(self: fast_scan.PlainRows, buffer: bytes, size: int) -> fast_scan.Plain | None:
        blocks.append(read(self, buffer, size))
        return blocks[-1]

    monkeypatch.setattr(fast_scan.PlainRows, "read", noting)
    read_back(path)
    assert blocks
    assert None not in blocks


def test_cells_that_no_total_includes_are_not_added(tmp_path: Path) -> None:
    data = table((Column("q", "Q", Kind.FLOAT),), {"q": [1.5, math.inf, -math.inf, math.nan, None, 2.0]})
    path = tmp_path / "b.xlsx"
    write(layout(Section("s", "S", data, counts=True, sums=("q",))), path)
    facts = read_back(path)
    assert facts.problems == ()
    assert (facts.rows, facts.totals) == (6, {"q": 3.5})
