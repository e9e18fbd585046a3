"""A company's workbook keeps everything but its sample rows, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import openpyxl
import pytest
from openpyxl.worksheet.table import Table as OpenpyxlTable

from export_pipeline.core.layout import WorkbookTemplate
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.readback import read_back
from export_pipeline.formats.excel.template.write import render_template
from export_pipeline_tests.formats.excel.books import (
    NAUGHTY,
    WriteOnly,
    recalculated,
    validation_errors,
)
from export_pipeline_tests.formats.excel.templates import (
    CACHE,
    HEADERS,
    SAMPLE,
    SECRET,
    edit,
    fill,
    orders,
    prefixed,
    related,
    swap,
)

SHEET, TABLE = "xl/worksheets/sheet2.xml", "xl/tables/table1.xml"


def test_the_rows_are_in_the_table_and_read_back(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    rendered = fill(template, orders(2_000), path)
    facts = read_back(path)
    assert (rendered.rows, facts.rows, facts.problems) == (2_000, 2_000, ())
    assert facts.totals == {"amount": sum(range(2_000)) / 4}
    assert validation_errors(path) == []
    sheet = openpyxl.load_workbook(path)["Data"]
    assert sheet.tables["Orders"].ref == "A4:E2004"
    assert [cell.value for cell in sheet[6]][:4] == [
        "South",
        "Customer 1",
        0.25,
        openpyxl.utils.datetime.from_excel(46054),
    ]
    assert (sheet["C2004"].number_format, sheet["D2004"].number_format) == ("#,##0.00", "dd/mm/yyyy")
    assert (sheet["A2005"].value, sheet["E5"].value) == (None, None)


@pytest.mark.parametrize(("row", "column"), [(1, 1), (4, 1), (1, 3), (4, 3)])
def test_a_table_may_stand_anywhere_on_its_sheet(tmp_path: Path, row: int, column: int) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for down, cells in enumerate([HEADERS, *SAMPLE]):
        for right, cell in enumerate(cells):
            sheet.cell(row + down, column + right, cell)
    sheet.cell(row + 1, column + 3).number_format = "dd/mm/yyyy"
    corners = sheet.cell(row, column).coordinate, sheet.cell(row + 3, column + 4).coordinate
    sheet.add_table(OpenpyxlTable(displayName="Orders", ref=":".join(corners)))
    path, filled = tmp_path / "own.xlsx", tmp_path / "filled.xlsx"
    book.save(path)
    fill(path, orders(50), filled)
    facts = read_back(filled)
    assert (facts.rows, facts.problems) == (50, ())
    assert facts.totals["amount"] == sum(range(50)) / 4
    assert openpyxl.load_workbook(filled).active.cell(row + 50, column + 2).value == 49 / 4


def test_all_that_refers_to_the_rows_follows_them(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    fill(template, orders(50), path)
    book = openpyxl.load_workbook(path)
    summary, sheet = book["Summary"], book["Data"]
    assert summary["B4"].value == "=SUM(Data!$C$5:$C$54)"
    assert summary["B5"].value == '=SUMIF(Data!A5:A54,"North",Data!C5:C54)'
    assert summary["B3"].value == "=SUM(Orders[Amount])"
    assert book.defined_names["All_Regions"].value == "Data!$A$5:$A$54"
    assert (sheet.print_area, sheet.print_title_rows) == ("'Data'!$A$1:$E$54", "$4:$4")
    assert [str(one.sqref) for one in sheet.conditional_formatting] == ["C5:C54", "A5:E54"]
    assert [rule.formula for one in sheet.conditional_formatting for rule in one.rules] == [[], ["$C5>3000"]]
    assert [str(one.sqref) for one in sheet.data_validations.dataValidation] == ["A5:A54"]
    chart = summary._charts[0].series[0]
    assert (chart.val.numRef.f, chart.cat.strRef.f) == ("Data!$C$5:$C$54", "Data!$A$5:$A$54")
    assert chart.tx.strRef.f == "Data!$C$4"
    pivot = book["Pivot"]._pivots[0]
    assert (pivot.cache.cacheSource.worksheetSource.ref, pivot.cache.refreshOnLoad) == ("A4:E54", True)
    with ZipFile(path) as archive:
        xml = archive.read(SHEET).decode()
        assert "<xm:sqref>C5:C54</xm:sqref>" in xml
        assert "<xm:f>Data!C5:C54</xm:f>" in archive.read("xl/worksheets/sheet1.xml").decode()


def test_what_does_not_follow_is_kept_byte_for_byte(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    fill(template, orders(50), path)
    with ZipFile(template) as old, ZipFile(path) as new:
        lost = set(old.namelist()) - set(new.namelist())
        assert lost == {"xl/pivotCache/pivotCacheRecords1.xml"}
        assert set(new.namelist()) <= set(old.namelist())
        changed = {name for name in new.namelist() if old.read(name) != new.read(name)}
    assert changed == {
        "[Content_Types].xml",
        "xl/workbook.xml",
        "xl/worksheets/sheet1.xml",
        "xl/worksheets/sheet2.xml",
        "xl/worksheets/sheet3.xml",
        "xl/charts/chart1.xml",
        "xl/tables/table1.xml",
        "xl/sharedStrings.xml",
        "xl/pivotCache/pivotCacheDefinition1.xml",
        "xl/pivotCache/_rels/pivotCacheDefinition1.xml.rels",
    }
    with ZipFile(path) as new:
        sheet, book = new.read(SHEET).decode(), new.read("xl/workbook.xml").decode()
    assert "x14:slicer " in sheet
    assert "x14:dataBar" in sheet
    assert "x14:slicerCache " in book
    assert 'state="frozen"' in sheet
    summary = openpyxl.load_workbook(path)["Summary"]
    assert (len(summary._images), len(summary._charts)) == (1, 1)


def test_nothing_of_the_sample_is_left(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    fill(template, orders(50), path)
    with ZipFile(template) as old, ZipFile(path) as new:
        for word in (*SECRET[:3], "1111.25", "6667.5", "4445", "43835", "2020-01-05", "3333.75"):
            assert any(word.encode() in old.read(name) for name in old.namelist()), word
            holders = [name for name in new.namelist() if word.encode() in new.read(name)]
            assert holders == [], word


def test_groups_of_a_pivot_keep_nothing_of_the_sample_but_what_is_set_by_hand(
    template: Path, tmp_path: Path
) -> None:
    other, path = tmp_path / "other.xlsx", tmp_path / "filled.xlsx"
    group = (
        'maxDate="2020-03-08T00:00:00"/><fieldGroup base="3"><rangePr groupBy="months" {0}'
        'startDate="2020-01-05T00:00:00" endDate="2020-03-08T00:00:00"/><groupItems count="3">'
        '<s v="&lt;05/01/2020"/><s v="Jan"/><s v="&gt;08/03/2020"/></groupItems></fieldGroup>'
    )
    for marks, bounds in (
        ("", ("2000-01-01T00:00:00", "2001-01-01T00:00:00")),
        ('autoStart="0" autoEnd="false" ', ("2020-01-05T00:00:00", "2020-03-08T00:00:00")),
    ):
        grouped = swap('maxDate="2020-03-08T00:00:00"/>', group.format(marks))
        fill(edit(template, other, {CACHE: grouped}), orders(3), path)
        with ZipFile(path) as archive:
            xml = archive.read(CACHE).decode()
        assert re.findall(r'(?:start|end)Date="(.*?)"', xml) == [*bounds]
        assert "05/01/2020" not in xml
        assert '<groupItems count="3"><s v="(1)"/><s v="(2)"/><s v="(3)"/></groupItems>' in xml


def test_captions_typed_over_values_of_the_sample_are_removed(template: Path, tmp_path: Path) -> None:
    part, path = "xl/pivotTables/pivotTable1.xml", tmp_path / "filled.xlsx"
    items = '<item n="The sample\'s north" x="0"/><item x="1"/><item n="All" t="default"/>'
    typed = swap('<item x="0"/><item x="1"/><item t="default"/>', items)
    fill(edit(template, tmp_path / "other.xlsx", {part: typed}), orders(3), path)
    with ZipFile(path) as archive:
        xml = archive.read(part).decode()
    assert '<item x="0"/><item x="1"/><item n="All" t="default"/>' in xml


def test_a_shape_in_a_chart_that_shows_a_cell_is_emptied(template: Path, tmp_path: Path) -> None:
    shapes = (
        '<c:userShapes xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
        'xmlns:cdr="http://schemas.openxmlformats.org/drawingml/2006/chartDrawing" '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><cdr:relSizeAnchor>'
        '<cdr:sp textlink="Summary!$B$6"><cdr:txBody><a:p><a:fld><a:t>Sample North</a:t></a:fld></a:p>'
        "</cdr:txBody></cdr:sp></cdr:relSizeAnchor></c:userShapes>"
    )
    links = related("chartUserShapes", "../drawings/drawing9.xml")(
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"></Relationships>'
    )
    added: dict[str, str | bytes | Callable[[str], str]] = {
        "xl/drawings/drawing9.xml": shapes,
        "xl/charts/_rels/chart1.xml.rels": links,
    }
    path = tmp_path / "filled.xlsx"
    fill(edit(template, tmp_path / "other.xlsx", added), orders(3), path)
    with ZipFile(path) as archive:
        xml = archive.read("xl/drawings/drawing9.xml").decode()
    assert 'textlink="Summary!$B$6"' in xml
    assert "Sample North" not in xml


@pytest.mark.slow
def test_formulas_pivot_and_chart_have_the_new_rows_in_other_programs(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    fill(template, orders(30), path)
    book = openpyxl.load_workbook(recalculated(path, tmp_path), data_only=True)
    total = sum(range(30)) / 4
    assert [book["Summary"][f"B{row}"].value for row in (3, 4, 6)] == [total, total, "North"]
    assert book["Summary"]["B5"].value == sum(range(0, 30, 3)) / 4
    pivot = {row[0]: row[1] for row in book["Pivot"].iter_rows(min_row=4, max_col=2, values_only=True)}
    assert pivot["East"] == sum(range(2, 30, 3)) / 4
    assert total in pivot.values()


def test_facts_stand_where_the_template_names_them(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    fill(template, orders(1_234), path)
    assert openpyxl.load_workbook(path)["Data"]["A2"].value == "Ajax & Söhne, 1,234 rows {odd}"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_leave_a_sound_table(template: Path, tmp_path: Path, count: int) -> None:
    path = tmp_path / "filled.xlsx"
    rendered = fill(template, orders(count), path)
    facts = read_back(path)
    assert (facts.rows, facts.problems, rendered.rows) == (count, (), count)
    assert openpyxl.load_workbook(path)["Data"].tables["Orders"].ref == f"A4:E{4 + max(count, 1)}"
    assert validation_errors(path) == []


def test_values_that_no_cell_holds_are_text_or_cut_and_counted(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.xlsx"
    texts = [*NAUGHTY, "x" * 40_000]
    made = orders(len(texts), customer=texts, amount=[Decimal("12345678901234.5678")] * len(texts))
    rendered = fill(template, made, path)
    assert rendered.changed["cut to the length of a cell", "Customer"] == 1
    assert sum(count for (reason, _), count in rendered.changed.items() if "digit" in reason) == len(texts)
    assert read_back(path).problems == ()
    assert validation_errors(path) == []
    cells = [row[1] for row in openpyxl.load_workbook(path)["Data"].iter_rows(min_row=5, max_col=2)]
    assert all(cell.data_type != "f" for cell in cells)
    assert len(cells[-1].value) == 32_767
    assert cells[0].value == "=1+1"


def test_a_filled_workbook_can_be_a_template_again(template: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.xlsx", tmp_path / "second.xlsx"
    fill(template, orders(9), first)
    fill(first, orders(5), second)
    assert read_back(second).totals == {"amount": 2.5}
    assert (read_back(second).rows, read_back(second).problems) == (5, ())


def test_a_template_that_has_changed_since_is_not_filled(template: Path, tmp_path: Path) -> None:
    place = WorkbookTemplate(template, "0" * 64, "Orders")
    with pytest.raises(RenderError, match=r"company.xlsx was changed since it was checked"):
        render_template(orders(1), place, WriteOnly(), ExcelOptions())  # type: ignore[arg-type]


def test_only_the_names_of_exports_are_replaced(template: Path, tmp_path: Path) -> None:
    added = "".join(
        f'<definedName name="{name}"{hidden}>1.19</definedName>'
        for name, hidden in (
            ("Export_Rate", ""),
            ("Export_Summary", ' hidden="1"'),
            ("Export_Sum_9", ' hidden="1"'),
        )
    )
    other = edit(
        template,
        tmp_path / "other.xlsx",
        {"xl/workbook.xml": swap("</definedNames>", added + "</definedNames>")},
    )
    path = tmp_path / "filled.xlsx"
    fill(other, orders(3), path)
    assert sorted(openpyxl.load_workbook(path).defined_names) == [
        "All_Regions",
        "Export_Rate",
        "Export_Sheets",
        "Export_Sum_1",
        "Export_Summary",
        "Export_Template",
    ]


def test_facts_stand_in_strings_of_cells_too(template: Path, tmp_path: Path) -> None:
    text = '<c r="{0}" t="inlineStr"><is><t>{{title}}, {{rows}} {{odd}}</t></is></c>'
    other = edit(
        template,
        tmp_path / "other.xlsx",
        {
            SHEET: lambda xml: re.sub(r'<c r="A2".*?</c>', text.format("A2"), xml),
            "xl/worksheets/sheet3.xml": lambda xml: xml.replace(
                "<sheetData>", f'<sheetData><row r="1">{text.format("B1")}</row>'
            ),
        },
    )
    path = tmp_path / "filled.xlsx"
    made = orders(3)
    fill(other, made, path)
    book = openpyxl.load_workbook(path)
    assert (book["Data"]["A2"].value, book["Pivot"]["B1"].value) == (f"{made.title}, 3 {{odd}}",) * 2


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        (SHEET, prefixed, "not in the namespace of spreadsheets"),
        (SHEET, swap('<row r="5">', '<row r="5" xmlns="">'), "not in the namespace of spreadsheets"),
        ("xl/workbook.xml", swap("<workbookPr ", '<workbookPr date1904="1" '), "counts days from 1904"),
    ],
)
def test_rows_that_programs_would_not_see_are_found_on_reading_back(
    template: Path, tmp_path: Path, part: str, change: Callable[[str], str], problem: str
) -> None:
    path = tmp_path / "filled.xlsx"
    fill(template, orders(3), path)
    assert any(
        problem in one for one in read_back(edit(path, tmp_path / "bad.xlsx", {part: change})).problems
    )
