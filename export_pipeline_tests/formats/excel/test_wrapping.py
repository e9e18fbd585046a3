"""Lines of cells that wrap, and the widths of columns."""

import random
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section
from export_pipeline.formats.excel.wrapping import wrapped_lines
from export_pipeline_tests.formats.excel.books import layout, table, validation_errors, write

LETTER_WIDTHS = {"a": 95, "b": 104, "W": 176, "i": 45, " ": 45, "é": 115, "漢": 205}
"""Widths in Calibri, in hundredths of a digit's width."""


def lines_one_by_one(text: str, room: int) -> int:
    """Count the lines of a text word by word."""
    lines = 0
    for paragraph in text.split("\n"):
        lines, used = lines + 1, 0
        for word in re.findall("漢 ?|[^ 漢]+ ?", paragraph):
            inked = sum(LETTER_WIDTHS[letter] for letter in word.rstrip())
            if used and used + inked > room:
                lines, used = lines + 1, 0
            if inked > room:
                for letter in word.rstrip():
                    if used and used + LETTER_WIDTHS[letter] > room:
                        lines, used = lines + 1, 0
                    used += LETTER_WIDTHS[letter]
                used += 45 * word.endswith(" ")
            else:
                used += sum(LETTER_WIDTHS[letter] for letter in word)
    return min(lines, 27)


@pytest.mark.parametrize("width", [9, 20, 35])
def test_lines_break_between_words_and_within_words_wider_than_the_column(width: int) -> None:
    chance = random.Random(width)
    texts = ["".join(chance.choices("ab abé iW\n ", k=chance.randrange(200))) for _ in range(2_000)]
    texts = [re.sub(" +", " ", re.sub(" *\n *", "\n", text)).strip(" ") for text in texts]
    counted = wrapped_lines(pa.array(texts), width, 27).to_pylist()
    assert counted == [lines_one_by_one(text, width * 100 - 200) for text in texts]


@pytest.mark.parametrize("width", [9, 20, 35])
def test_texts_that_begin_with_words_wider_than_the_column_are_counted_alike(width: int) -> None:
    chance = random.Random(width)
    for _ in range(300):
        first = chance.choice("abiWé") * chance.randrange(1, 300)
        others = ["".join(chance.choices("abW ", k=chance.randrange(1, 60))) for _ in range(3)]
        texts = [re.sub(" +", " ", text).strip(" ") for text in (first, *others)]
        counted = wrapped_lines(pa.array(texts), width, 27).to_pylist()
        assert counted == [lines_one_by_one(text, width * 100 - 200) if text else 1 for text in texts], texts


def test_any_ideograph_may_begin_a_line() -> None:
    texts = ["漢" * 40, "aa 漢漢漢漢", None, "", "\n", "漢\n漢", "b" * 100_000]
    assert wrapped_lines(pa.array(texts), 12, 27).to_pylist() == [10, 2, 1, 1, 2, 2, 27]
    assert wrapped_lines(pa.array(texts)[1:4], 12, 27).to_pylist() == [2, 1, 1]


def test_times_stand_at_the_left_as_texts_do_and_are_as_wide_as_their_pattern(tmp_path: Path) -> None:
    columns = (
        Column("amount", "Amount", Kind.MONEY),
        Column("due", "Uploaded Date", Kind.DATE, pattern="MMM dd, yyyy", null="N/A"),
        Column("name", "Name", Kind.TEXT),
    )
    data = table(columns, {"amount": [1, 2], "due": [date(2026, 1, 2), None], "name": ["a", "b"]})
    path = tmp_path / "b.xlsx"
    write(layout(Section("s", "Dates", data, counts=True)), path)
    assert validation_errors(path) == []
    sheet = openpyxl.load_workbook(path).worksheets[0]
    header = next(row[0].row for row in sheet.iter_rows() if row[0].value == "Amount")
    for row in (header + 1, header + 2):
        alignment = sheet.cell(row, 2).alignment
        assert (alignment.horizontal, alignment.indent) == ("left", 1)
        assert sheet.cell(row, 1).alignment.horizontal is None
    assert 15 <= sheet.column_dimensions["B"].width <= 17


@pytest.mark.parametrize(("count", "frozen"), [(4, "A"), (14, "B")])
def test_the_first_column_stays_on_screen_beside_columns_wider_than_it(
    tmp_path: Path, count: int, frozen: str
) -> None:
    columns = tuple(Column(f"c{i}", f"Column {i}", Kind.TEXT) for i in range(count))
    data = table(columns, {column.name: ["a text of 25 characters.."] for column in columns})
    path = tmp_path / "b.xlsx"
    write(layout(Section("s", "Wide", data, counts=True)), path)
    assert validation_errors(path) == []
    panes = openpyxl.load_workbook(path).worksheets[0].freeze_panes
    assert panes is not None
    assert panes.startswith(frozen)


def test_a_sheet_headed_with_the_documents_title_does_not_name_itself_at_its_foot(tmp_path: Path) -> None:
    columns = (Column("k", "Key", Kind.TEXT),)
    first = Section("s", "Data", table(columns, {"k": ["a"]}), counts=True, heading="Orders")
    second = Section("t", "More", table(columns, {"k": ["a"]}))
    path = tmp_path / "b.xlsx"
    write(replace(layout(first, second), title="Orders", scope="Smith"), path)
    feet = [sheet.oddFooter.left.text for sheet in openpyxl.load_workbook(path).worksheets]
    assert feet == ["Smith · Orders · 2026-03-14", "&A · Smith · Orders · 2026-03-14"]


def test_the_text_of_a_missing_value_is_paler_than_values(tmp_path: Path) -> None:
    columns = (
        Column("name", "Name", Kind.TEXT, null="N/A"),
        Column("amount", "Amount", Kind.MONEY, null="N/A"),
    )
    path = tmp_path / "b.xlsx"
    write(layout(Section("s", "S", table(columns, {"name": ["N/A", None], "amount": [1, None]}))), path)
    assert validation_errors(path) == []
    sheet = openpyxl.load_workbook(path).worksheets[0]
    row = next(cells[0].row for cells in sheet.iter_rows() if cells[0].value == "Name")
    value, missing = (sheet.cell(row + place, 1) for place in (1, 2))
    assert (value.value, missing.value) == ("N/A", "N/A")
    assert (value.font.color.rgb, missing.font.color.rgb) == ("FF000000", "FF6B7280")
    assert (missing.alignment.horizontal, missing.alignment.indent) == ("left", 1)
    assert (sheet.cell(row + 2, 2).font.color.rgb, sheet.cell(row + 2, 2).alignment.horizontal) == (
        "FF6B7280",
        "right",
    )
