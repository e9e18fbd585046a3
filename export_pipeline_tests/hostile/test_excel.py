"""The hostile project as a workbook, opened by programs that did not write it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pytest
from lxml import etree
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet
from python_calamine import CalamineWorkbook

from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline_tests.formats.excel.books import recalculated, validation_errors
from export_pipeline_tests.hostile.conftest import OPTIONS, Hostile, one_database
from export_pipeline_tests.hostile.database import PROJECT
from export_pipeline_tests.hostile.rules import clean, joined, review, totals
from export_pipeline_tests.takeoff_data import rows

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
KEEP_DIGITS = "written as text to keep every digit"
ROUNDED_TOTAL = "total rounded to 15 digits"
NOT_A_NUMBER = "not a number a cell can hold, written as text"
MOVED = "longer than a cell, whole text on the Overflow sheet"
FORMULA = re.compile(r"SUM\(|SUMIF\(|SUMPRODUCT\(--EXACT\(|\+")
DETAIL = (
    "Page", "Sheet #", "Geometry", "Quantity", "Unit", "Verified", "Notes", "Document", "Review", "No.",
)  # fmt: skip


@pytest.fixture(scope="module")
def book(hostile: Hostile) -> Workbook:
    return openpyxl.load_workbook(hostile.file("excel")[0])


@pytest.fixture(scope="module")
def calculated(hostile: Hostile) -> Workbook:
    """The workbook with the results of its formulas."""
    return openpyxl.load_workbook(hostile.file("excel")[0], data_only=True)


class Comparison:
    """Compares cells with values, and counts what is said differently."""

    def __init__(self, book: Workbook) -> None:
        self.book = book
        self.changed: Counter[tuple[str, str]] = Counter()

    def check(self, cell: Any, value: Any, header: str) -> None:
        content = cell.value
        assert cell.data_type != "f"
        if value is None or value == "":
            assert content in (None, "")
        elif isinstance(value, bool):
            assert content is value
        elif isinstance(value, str):
            self._text(content, value, header)
        elif isinstance(value, float) and not (value == 0 or 2.2250738585072014e-308 <= abs(value) < 1e308):
            self.changed[NOT_A_NUMBER, header] += 1
            assert isinstance(content, str)
            assert float(content) == value or (math.isnan(value) and content == "NaN")
        elif isinstance(value, float):
            assert isinstance(content, int | float)
            assert float(content) == value
        elif len(Decimal(value).normalize().as_tuple().digits) > 15:
            self.changed[KEEP_DIGITS, header] += 1
            assert isinstance(content, str)
            assert Decimal(content) == value
        else:
            assert isinstance(content, int | float)
            assert Decimal(repr(content)) == value

    def _text(self, content: Any, value: str, header: str) -> None:
        if len(value.encode("utf-16-le")) <= 2 * 32_767:
            assert _as_openpyxl(content) == _as_openpyxl(value)
            return
        self.changed[MOVED, header] += 1
        match = re.match(r"\[see (.*)!([A-Z]+)(\d+) for the whole text\] ", content)
        assert match is not None
        sheet: Worksheet = self.book[match[1].strip("'").replace("''", "'")]
        row = [cell.value or "" for cell in sheet[int(match[3])]]
        assert "".join(row[2:]) == value
        assert content[match.end() : match.end() + 100] == value[:100]


def _as_openpyxl(text: Any) -> Any:
    """A text without the underscores' own codes, which openpyxl reads in its own way where they are nested."""
    return re.sub("(_x005F)+_", "_", text) if isinstance(text, str) else text


def header_row(sheet: Worksheet, first: str) -> int:
    return next(cell.row for cell in sheet["A"] if cell.value == first and cell.font.bold and cell.row > 1)


@pytest.mark.slow
def test_every_measurement_is_the_database_s_or_counted(
    hostile: Hostile, book: Workbook, calculated: Workbook
) -> None:
    """Every cell of every condition's sheet, of By Page, and of the conditions on Summary and Cost Summary."""
    truth, (_, done) = hostile.truth, hostile.file("excel")
    comparison = Comparison(book)
    by_condition: dict[str, list[dict[str, Any]]] = {row["id"]: [] for row in truth.conditions}
    for number, row in enumerate(truth.measurements, 1):
        by_condition[row["condition_id"]].append(row | {"place": number})
    conditions = rows(hostile.data, "conditions")
    summary = book.worksheets[0]
    top = header_row(summary, "Condition")
    heads = [cell.value for cell in summary[top]]
    fields = (
        "name", "measurement_type", "unit", "total_quantity", "measurement_count", "category", "scope", "unit_cost", "material_cost",
        "labor_cost", "total_cost", "total_with_markup", "color",
    )  # fmt: skip
    texts = (
        "name",
        "measurement_type",
        "unit",
        "category",
        "scope",
        "color",
    )
    sums = totals(truth)
    names = []
    _described(comparison, book["Conditions in Detail"], conditions, truth.conditions)
    for number, (row, source) in enumerate(zip(conditions, truth.conditions, strict=True), top + 1):
        for cell, field, head in zip(summary[number], fields, heads, strict=True):
            if field in texts:
                comparison.check(cell, clean(source[field]), head)
            elif field == "total_quantity":
                assert cell.value == pytest.approx(sums[source["id"]][1], rel=1e-12)
            else:
                comparison.check(cell, row[field], head)
        link = summary.cell(number, 1).hyperlink
        names.append(link.location.rpartition("!")[0][1:-1].replace("''", "'"))
    assert len({name.casefold() for name in names}) == len(names)
    for name, row in zip(names, truth.conditions, strict=True):
        _details(comparison, book[name], row, by_condition[row["id"]])
    place = {row["id"]: number for number, row in enumerate(truth.pages)}
    order = {row["id"]: number for number, row in enumerate(truth.conditions)}
    together: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in truth.measurements:
        where = place.get(row["page_id"], len(place)), order[row["condition_id"]]
        together.setdefault(where, []).append(row)
    sheet = book["By Page"]
    top = header_row(sheet, "Page")
    for number, (_, some) in enumerate(sorted(together.items()), top + 1):
        titles = joined(some[0])
        values = (
            titles["page_number"], titles["sheet_number"], titles["sheet_title"], titles["condition"], len(some),
            math.fsum(row["quantity"] for row in some if math.isfinite(row["quantity"])),
            clean(some[0]["condition"]["unit"]), titles["document"],
        )  # fmt: skip
        for cell, value, head in zip(sheet[number], values, sheet[top], strict=True):
            if head.value == "Quantity" and isinstance(cell.value, float):
                assert cell.value == pytest.approx(value, rel=1e-12)
            else:
                comparison.check(cell, value, head.value)
    assert sheet.max_row == top + len(together)
    costed = [row for row in conditions if row["costed"]]
    _costs(comparison, calculated, book["Cost Summary"], costed)
    _long_sums(comparison, calculated[summary.title], heads, fields, costed)
    for row in book["By Category"].iter_rows(min_row=header_row(book["By Category"], "Category") + 1):
        comparison.changed[KEEP_DIGITS, "Total Cost"] += isinstance(row[-1].value, str)
    _charts(comparison, calculated["Charts"], costed)
    assert done.changed == comparison.changed
    assert done.rows == len(truth.measurements)


def _described(
    comparison: Comparison,
    sheet: Worksheet,
    conditions: list[dict[str, Any]],
    sources: Sequence[Mapping[str, Any]],
) -> None:
    """The conditions of which more is known than the summary tells."""
    fields = ("description", "building", "area", "elevation", "depth", "thickness")
    top = header_row(sheet, "Condition")
    pairs = [
        (row, source)
        for row, source in zip(conditions, sources, strict=True)
        if any(row[field] for field in fields)
    ]
    assert sheet.max_row == top + len(pairs)
    for number, (row, source) in enumerate(pairs, top + 1):
        for cell, field, head in zip(sheet[number], ("name", *fields), sheet[top], strict=True):
            exact = row[field] if field in ("depth", "thickness") else clean(source[field])
            comparison.check(cell, exact, head.value)


def _details(
    comparison: Comparison, sheet: Worksheet, condition: Mapping[str, Any], rows_: list[dict[str, Any]]
) -> None:
    assert _as_openpyxl(sheet["A1"].value) == _as_openpyxl(clean(condition["name"])) or not condition["name"]
    top = header_row(sheet, "Page")
    assert tuple(cell.value for cell in sheet[top]) == DETAIL
    for number, row in enumerate(rows_, top + 1):
        where = joined(row)
        values = (
            where["page_number"], where["sheet_number"], clean(row["geometry_type"]), row["quantity"], clean(row["unit"]), row["is_verified"],
            clean(row["notes"]), where["document"], review(row), row["place"],
        )  # fmt: skip
        for cell, value, header in zip(sheet[number], values, DETAIL, strict=True):
            comparison.check(cell, value, header)


def _costs(
    comparison: Comparison, calculated: Workbook, sheet: Worksheet, costed: list[dict[str, Any]]
) -> None:
    fields = (
        "name", "total_quantity", "unit", "unit_cost", "material_cost", "labor_cost", "equipment_cost", "subcontract_cost", "other_cost", "total_cost",
        "overhead_percent", "profit_percent", "total_with_markup",
    )  # fmt: skip
    top = header_row(sheet, "Condition")
    for number, row in enumerate(costed, top + 1):
        for cell, field, head in zip(sheet[number], fields, sheet[top], strict=True):
            comparison.check(cell, row[field], head.value)
    heads = [cell.value for cell in sheet[top]]
    _long_sums(comparison, calculated[sheet.title], heads, fields, costed)


def _long_sums(
    comparison: Comparison,
    calculated: Worksheet,
    heads: Sequence[str],
    fields: Sequence[str],
    costed: list[dict[str, Any]],
) -> None:
    """The last row's sums that have too many digits for a number."""
    for cell, head, field in zip(calculated[calculated.max_row], heads, fields, strict=True):
        if cell.value is not None and field.endswith(("_cost", "_markup")) and field != "unit_cost":
            exact = sum((row[field] or Decimal(0) for row in costed), Decimal(0))
            assert float(cell.value) == pytest.approx(float(exact), rel=1e-14)
            comparison.changed[ROUNDED_TOTAL, head] += _is_long(exact)


def _charts(comparison: Comparison, sheet: Worksheet, costed: list[dict[str, Any]]) -> None:
    """The sums beside the charts: the largest eleven groups and the rest, then the total."""
    parts = ["material_cost", "labor_cost", "equipment_cost", "subcontract_cost", "other_cost"]
    table = list(sheet.iter_rows(values_only=True))
    for title, field, unnamed, columns in (
        ("Total with markup by condition", "name", "(no name)", ["total_with_markup"]),
        ("Cost by category", "category", "No category", parts),
    ):
        groups: dict[str, list[Decimal]] = {}
        for row in costed:
            sums = groups.setdefault(row[field] or unnamed, [Decimal(0)] * len(columns))
            groups[row[field] or unnamed] = [a + (row[b] or 0) for a, b in zip(sums, columns, strict=True)]
        ranked = sorted(groups.items(), key=lambda group: (-sum(group[1]), group[0]))
        if len(ranked) > 12:
            rest = [sums for _, sums in ranked[11:]]
            ranked[11:] = [(f"Other ({len(rest):,})", [sum(column) for column in zip(*rest, strict=True)])]
        totals_ = [sum((sums[place] for _, sums in ranked), Decimal(0)) for place in range(len(columns))]
        top = next(number for number, row in enumerate(table) if row[0] == title) + 1
        shown = [place for place in range(len(columns)) if any(sums[place] for _, sums in ranked)]
        heads = [columns[place].removesuffix("_cost").replace("_", " ").capitalize() for place in shown]
        assert [cell for cell in table[top][1:] if cell] == heads
        long = any(_is_long(totals_[place]) for place in shown)
        ranked.append(("Total (rounded to 15 digits)" if long else "Total", totals_))
        for cells, (label, sums) in zip(table[top + 1 :], ranked, strict=False):
            assert _as_openpyxl(cells[0]) == _as_openpyxl(label)
            for cell, head, place in zip(cells[1:], heads, shown, strict=False):
                assert cell == float(sums[place])
                comparison.changed[ROUNDED_TOTAL, head] += _is_long(sums[place])


def _is_long(number: Decimal) -> bool:
    return len(number.normalize().as_tuple().digits) > 15


def test_nothing_from_the_data_is_a_formula_or_leads_outside(hostile: Hostile) -> None:
    with ZipFile(hostile.file("excel")[0]) as archive:
        names = archive.namelist()
        assert not [name for name in names if "external" in name.lower() or "vba" in name.lower()]
        formulas = [text for name in names if "worksheets/" in name for text in _formulas(archive.read(name))]
        relations = [archive.read(name) for name in names if name.endswith(".rels")]
    assert formulas
    assert not [text for text in formulas if not FORMULA.match(text)]
    assert not [
        text
        for text in formulas
        if re.search(
            r"HYPERLINK|WEBSERVICE|cmd|DDE|IMPORT", re.sub(r'"(""|[^"])*"|\'(\'\'|[^\'])*\'!', "", text)
        )
    ]
    assert not [data for data in relations if b"External" in data]


def _formulas(data: bytes) -> Iterator[str]:
    for element in etree.fromstring(data, etree.XMLParser(huge_tree=True)).iter(f"{MAIN}f"):
        yield element.text or ""


@pytest.mark.slow
def test_calamine_reads_what_openpyxl_reads(hostile: Hostile, calculated: Workbook) -> None:
    path, _ = hostile.file("excel")
    theirs = CalamineWorkbook.from_path(str(path))
    assert theirs.sheet_names == calculated.sheetnames
    for sheet in calculated.worksheets:
        expected = [[_plain(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
        values = [
            [_plain(cell) for cell in row]
            for row in theirs.get_sheet_by_name(sheet.title).to_python(skip_empty_area=False)
        ]
        width = max(map(len, [*expected, *values]))
        assert [row + [""] * (width - len(row)) for row in values] == [
            row + [""] * (width - len(row)) for row in expected
        ]


def _plain(cell: Any) -> Any:
    if cell is None:
        return ""
    return float(cell) if isinstance(cell, int | float) else _as_openpyxl(cell)


def test_codes_in_texts_stay_what_they_are(hostile: Hostile) -> None:
    summary = (
        CalamineWorkbook.from_path(str(hostile.file("excel")[0])).get_sheet_by_name("Summary").to_python()
    )
    names = [row[0] for row in summary]
    assert {"_x0041_", "_x000D_", "_x005F_x0041_", "_X0041_", "_x00e9_"} <= set(names)


@pytest.mark.slow
@one_database
def test_the_open_xml_sdk_finds_nothing_wrong(hostile: Hostile) -> None:
    assert validation_errors(hostile.file("excel")[0]) == []


@pytest.mark.slow
def test_libreoffice_opens_it_and_shows_the_same_numbers(hostile: Hostile, tmp_path: Path) -> None:
    """Forty of the conditions, half of them from each database: LibreOffice's time grows with the square of sheets."""
    every, first = len(hostile.truth.conditions) // 40, hostile.app.engine.dialect.name == "sqlite"
    chosen = tuple(row["id"] for row in hostile.truth.conditions[every * first :: 2 * every])
    path = tmp_path / "part.xlsx"
    with path.open("wb") as out:
        FORMATS["excel"].render(
            hostile.app.layout(PROJECT, condition_ids=chosen, **OPTIONS), out, ExcelOptions()
        )
    ours = openpyxl.load_workbook(path, data_only=True)
    theirs = openpyxl.load_workbook(recalculated(path, tmp_path), data_only=True)
    assert len(theirs.worksheets) == len(ours.worksheets)
    checked = 0
    for sheet, other in zip(ours.worksheets, theirs.worksheets, strict=True):
        assert re.sub("_x005F_", "_", other.title).casefold() == sheet.title.casefold()
        for row, seen in zip(
            sheet.iter_rows(values_only=True), other.iter_rows(values_only=True), strict=False
        ):
            for mine, yours in zip(row, seen, strict=False):
                if isinstance(mine, int | float) and not isinstance(mine, bool):
                    assert yours == pytest.approx(mine, rel=1e-14), sheet.title
                    checked += 1
    assert checked > 250


def test_the_file_proves_itself(hostile: Hostile) -> None:
    facts, proof = hostile.read_back("excel"), hostile.proof("excel")
    assert facts.problems == ()
    assert facts.rows == proof.rows
    total, tolerance = proof.totals["quantity"]
    assert facts.totals["quantity"] == pytest.approx(total, abs=tolerance)
