"""A company's workbook keeps everything but its sample rows, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section, WorkbookTemplate
from export_pipeline.formats.base import Rendered, RenderError
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.readback import read_back
from export_pipeline.formats.excel.template.references import Area, TemplateError
from export_pipeline.formats.excel.template.splice import check_template
from export_pipeline.formats.excel.template.write import render_template
from export_pipeline_tests.formats.excel.books import (
    NAUGHTY,
    WriteOnly,
    layout,
    recalculated,
    table,
    validation_errors,
)
from export_pipeline_tests.formats.excel.templates import HEADERS, SECRET, company, edit

SHEET, TABLE = "xl/worksheets/sheet2.xml", "xl/tables/table1.xml"
COLUMNS = (
    Column("region", "Region", Kind.ENUM),
    Column("customer", "Customer", Kind.TEXT),
    Column("amount", "Amount", Kind.MONEY, digits=2),
    Column("day", "Day", Kind.DATE),
    Column("paid", "Paid", Kind.BOOLEAN),
)


def problem(headers: tuple[str, ...]) -> str | None:
    return None if headers == HEADERS else f"no column is called {headers[0]!r}"


def orders(count: int, **changed: list[Any]) -> Layout:
    data = {
        "region": [("North", "South", "East")[i % 3] for i in range(count)],
        "customer": [f"Customer {i}" for i in range(count)],
        "amount": [Decimal(i) / 4 for i in range(count)],
        "day": [date(2026, 1 + i % 12, 1) for i in range(count)],
        "paid": [None if i % 5 == 0 else i % 2 == 0 for i in range(count)],
    }
    rows = table(COLUMNS, data | changed, batch_rows=700)
    return replace(
        layout(Section("rows", "Orders", rows, counts=True, sums=("amount",))), scope="Ajax & Söhne"
    )


def fill(template: Path, made: Layout, path: Path, **options: Any) -> Rendered:
    checked = check_template(template, problem)
    place = WorkbookTemplate(template, checked.sha256, checked.table)
    out = WriteOnly()
    rendered = render_template(made, place, out, ExcelOptions(**options))  # type: ignore[arg-type]
    path.write_bytes(out.data)
    return rendered


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = company(tmp_path / "company.xlsx")
    assert validation_errors(path) == []
    return path


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


def cell(reference: str, content: str) -> Callable[[str], str]:
    """Put a cell at the end of its row, which is added if it is missing."""
    row = re.sub("[A-Z]", "", reference)

    def change(xml: str) -> str:
        made = f'<c r="{reference}">{content}</c>'
        if f'<row r="{row}"' in xml:
            return re.sub(rf'(<row r="{row}".*?)</row>', rf"\1{made}</row>", xml, count=1)
        return xml.replace("</sheetData>", f'<row r="{row}">{made}</row></sheetData>')

    return change


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda xml: xml.replace(old, new)


def prefixed(xml: str) -> str:
    """Give the main namespace a prefix, as some libraries do."""
    declaration, mark, body = xml.partition("?>")
    body = re.sub(r"<(/?)(?=[a-zA-Z]+[\s/>])", r"<\1x:", body)
    return declaration + mark + body.replace(' xmlns="', ' xmlns:x="', 1)


def related(kind: str, target: str) -> Callable[[str], str]:
    """Add a relationship."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    link = f'<Relationship Id="rId99" Type="{office}/{kind}" Target="{target}"/>'
    return swap("</Relationships>", f"{link}</Relationships>")


SUMMARY, CACHE = "xl/worksheets/sheet1.xml", "xl/pivotCache/pivotCacheDefinition1.xml"
PIVOT_LINKS = "xl/worksheets/_rels/sheet3.xml.rels"
GROUPED_BY_HAND = (
    '<cacheField name="Region2" numFmtId="0" databaseField="0"><fieldGroup base="0"><discretePr count="2">'
    '<x v="0"/><x v="1"/></discretePr><groupItems count="1"><s v="Sample North"/></groupItems></fieldGroup>'
    "</cacheField></cacheFields>"
)
REFUSED: dict[str, dict[str, str | bytes | Callable[[str], str]]] = {
    r"something below the table \(B9\)": {SHEET: cell("B9", "<v>1</v>")},
    r"something beside the table's rows \(G6\)": {SHEET: cell("G6", "<v>1</v>")},
    "no column is called 'Area'": {
        TABLE: swap('name="Region"', 'name="Area"'),
    },
    "has a totals row": {TABLE: swap('totalsRowShown="0"', 'totalsRowCount="1"')},
    "has no header row": {TABLE: swap('totalsRowShown="0"', 'totalsRowShown="0" headerRowCount="0"')},
    "'Amount' of the table 'Orders' is calculated": {
        TABLE: lambda xml: re.sub(
            r'(<tableColumn [^>]*name="Amount"[^>]*?)/>',
            r"\1><calculatedColumnFormula>1+1</calculatedColumnFormula></tableColumn>",
            xml,
        )
    },
    "is filtered or sorted": {
        TABLE: swap(
            '<autoFilter ref="A4:E7"/>',
            '<autoFilter ref="A4:E7"><filterColumn colId="0"><filters><filter val="a"/></filters></filterColumn>'
            "</autoFilter>",
        )
    },
    "merged cells": {
        SHEET: swap("</sheetData>", '</sheetData><mergeCells><mergeCell ref="A6:B6"/></mergeCells>')
    },
    r"a formula in the table \(C6\)": {SHEET: swap('<c r="C6" s="2"><v>', '<c r="C6" s="2"><f>1+1</f><v>')},
    r"a link among the sample rows": {
        SHEET: swap(
            "<pageMargins", '<hyperlinks><hyperlink ref="A6" location="A1"/></hyperlinks><pageMargins'
        )
    },
    r"A5:A6 of 'Data', only some of the rows": {"xl/charts/chart1.xml": swap("$A$5:$A$7", "$A$5:$A$6")},
    r"refers to C6:C7 of 'Data'": {SHEET: swap('sqref="C5:C7"', 'sqref="C6:C7"')},
    r"cell B4 refers to C6:C6": {"xl/worksheets/sheet1.xml": swap("$C$5:$C$7)</f>", "$C$6)</f>")},
    r"the name 'All_Regions' refers to A6:A6": {"xl/workbook.xml": swap("Data!$A$5:$A$7", "Data!$A$6")},
    "several sheets at once": {"xl/worksheets/sheet1.xml": swap("SUM(Data!", "SUM(Summary:Data!")},
    "is signed": {"_xmlsignatures/origin.sigs": b""},
    "data model": {"xl/model/item.data": b"x"},
    "reads from outside": {"xl/connections.xml": "<connections/>"},
    "has macros": {"xl/vbaProject.bin": b"x"},
    "refers to other workbooks": {"xl/externalLinks/externalLink1.xml": "<a/>"},
    "keeps every former value": {"xl/revisions/revisionLog1.xml": "<a/>"},
    "not made of one range or table": {
        "xl/pivotCache/pivotCacheDefinition1.xml": lambda xml: re.sub(
            "<cacheSource.*</cacheSource>",
            '<cacheSource type="consolidation"><consolidation/></cacheSource>',
            xml,
        )
    },
    "a pivot table refers to A4:E6": {
        "xl/pivotCache/pivotCacheDefinition1.xml": swap('ref="A4:E7"', 'ref="A4:E6"')
    },
    "a picture, shape or chart where rows will be": {
        "xl/drawings/drawing2.xml": swap("<xdr:col>6</xdr:col>", "<xdr:col>1</xdr:col>")
    },
    "has no table": {
        TABLE: swap("<table ", "<table "),
        "xl/worksheets/_rels/sheet2.xml.rels": swap('/table"', '/x"'),
    },
    "is damaged": {SHEET: swap("</sheetData>", "")},
    r"only some programs write \(<x:…> in xl/worksheets/sheet2.xml\)": {SHEET: prefixed},
    r"<x:…> in xl/tables/table1.xml": {TABLE: prefixed},
    r"<x:…> in xl/workbook.xml": {"xl/workbook.xml": prefixed},
    r"<x:…> in xl/sharedStrings.xml": {"xl/sharedStrings.xml": prefixed},
    r"<x:…> in xl/pivotCache/": {
        "xl/pivotCache/pivotCacheDefinition1.xml": prefixed,
    },
    "counts days from 1904": {"xl/workbook.xml": swap("<workbookPr ", '<workbookPr date1904="true" ')},
    "has the name 'export_sum_1', which exports use themselves": {
        "xl/workbook.xml": swap(
            "</definedNames>", '<definedName name="export_sum_1">1</definedName></definedNames>'
        )
    },
    "items made by hand of the sample's values .discretePr": {CACHE: swap("</cacheFields>", GROUPED_BY_HAND)},
    "items made by hand of the sample's values .calculatedItem": {
        CACHE: swap(
            "</cacheFields>",
            '</cacheFields><calculatedItems count="1"><calculatedItem formula="Region[Sample North]"/>'
            "</calculatedItems>",
        )
    },
    r'cell B4 names rows of the table as a text \("Data!C5:C7"\)': {
        SUMMARY: swap("SUM(Data!$C$5:$C$7)", 'SUM(INDIRECT("Data!C5:C7"))')
    },
    r"cell B4 counts the rows of the table \(OFFSET\(Data!\$C\$4,1,0,3\)\)": {
        SUMMARY: swap("SUM(Data!$C$5:$C$7)", "SUM(OFFSET(Data!$C$4,1,0,3))")
    },
    r"form control or linked picture of the sheet 'Pivot' refers to the rows .* \(Data!\$A\$5:\$A\$7\)": {
        PIVOT_LINKS: related("ctrlProp", "../ctrlProps/ctrlProp1.xml"),
        "xl/ctrlProps/ctrlProp1.xml": '<formControlPr objectType="List" fmlaRange="Data!$A$5:$A$7"/>',
    },
    r"form control or linked picture of the sheet 'Pivot' refers to the rows .* \('Data'!A5:A7\)": {
        PIVOT_LINKS: related("vmlDrawing", "../drawings/old.vml"),
        "xl/drawings/old.vml": "<xml><br><x:FmlaPict>&apos;Data&apos;!A5:A7</x:FmlaPict></xml>",
    },
    r"form control or linked picture of the sheet 'Pivot' refers to A5:A6 of 'Data'": {
        "xl/worksheets/sheet3.xml": swap(
            "</worksheet>",
            '<controls><control shapeId="1"><controlPr listFillRange="Data!A5:A6"/></control></controls>'
            "</worksheet>",
        )
    },
    "has a timeline": {"xl/timelineCaches/timelineCache1.xml": "<a/>"},
}
del REFUSED["has no table"][TABLE]


@pytest.mark.parametrize("reason", REFUSED)
def test_a_template_that_cannot_be_kept_is_refused_with_the_reason(
    template: Path, tmp_path: Path, reason: str
) -> None:
    other = edit(template, tmp_path / "other.xlsx", REFUSED[reason])
    with pytest.raises(TemplateError, match=reason):
        check_template(other, problem)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is encrypted"),
        (b"not a zip", "is no workbook"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_workbook_is_refused(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "x.xlsx"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(TemplateError, match=reason):
        check_template(path, problem)


def test_dates_in_cells_without_a_date_format_are_refused(template: Path, tmp_path: Path) -> None:
    other = edit(template, tmp_path / "other.xlsx", {SHEET: swap('<c r="D5" s="3">', '<c r="D5" s="2">')})
    with pytest.raises(RenderError, match=r"'Day' holds dates, but its first cell \(D5\) has no date format"):
        fill(other, orders(3), tmp_path / "filled.xlsx")


def with_amount_format(template: Path, path: Path, number: int, code: str) -> Path:
    def change(xml: str) -> str:
        xml = xml.replace('formatCode="#,##0.00"', f'formatCode="{code}"')
        return xml.replace('<xf numFmtId="164"', f'<xf numFmtId="{number}"')

    return edit(template, path, {"xl/styles.xml": change})


@pytest.mark.parametrize(
    ("number", "code", "is_refused"),
    [
        (9, "0", True),
        (10, "0", True),
        (164, "0.0%", True),
        (164, "[Red]0%;-0%", True),
        (164, "0.0&quot;%&quot;", False),
        (164, r"0.0\%", False),
        (4, "0", False),
    ],
)
def test_a_percent_format_would_show_percentages_a_hundredfold(
    template: Path, tmp_path: Path, number: int, code: str, is_refused: bool
) -> None:
    other = with_amount_format(template, tmp_path / "other.xlsx", number, code)
    path = tmp_path / "filled.xlsx"
    columns = [replace(one, kind=Kind.PERCENT) if one.name == "amount" else one for one in COLUMNS]
    values: list[Any] = ["North", "Ann", 12.5, date(2026, 1, 1), True]
    data = {column.name: [value] for column, value in zip(columns, values, strict=True)}
    made = layout(Section("rows", "Orders", table(tuple(columns), data), counts=True, sums=("amount",)))
    if is_refused:
        with pytest.raises(
            RenderError, match=r"'Amount' holds percentages .* \(C5\) .* would show 100 times the value"
        ):
            fill(other, made, path)
    else:
        fill(other, made, path)
        assert openpyxl.load_workbook(path)["Data"]["C5"].value == 12.5


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


def test_more_rows_than_a_sheet_holds_are_refused(template: Path, tmp_path: Path) -> None:
    made = orders(1)
    section = replace(made.sheets[0], table=replace(made.sheets[0].table, rows=1_048_573))
    with pytest.raises(RenderError, match="holds 1,048,572 rows, the export has 1,048,573"):
        fill(template, replace(made, sheets=(section,)), tmp_path / "filled.xlsx")


AREA = Area("My 'data'", first=5, last=9, left=0, right=3, end=100)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("SUM('My ''data'''!$A$5:$A$9)", "SUM('My ''data'''!$A$5:$A$100)"),
        ("SUM(A4:D9)*2", "SUM(A4:D100)*2"),
        ("A1:A200+A4", "A1:A200+A4"),
        ("SUM('A9 old'!Total)+'[A5]B'!Rate", "SUM('A9 old'!Total)+'[A5]B'!Rate"),
        ("F5:F9+E7", "F5:F9+E7"),
        ("$1:$4", "$1:$4"),
        ("$4:$9", "$4:$100"),
        ("'Other'!A5:A9", "'Other'!A5:A9"),
        ('"A5:A9"&Orders[A5]&Orders[[#This Row],[A9]]', '"A5:A9"&Orders[A5]&Orders[[#This Row],[A9]]'),
        ("LOG10(A4)+A1B5", "LOG10(A4)+A1B5"),
        ("OFFSET($A$4,1,0,COUNTA($A:$A),4)", "OFFSET($A$4,1,0,COUNTA($A:$A),4)"),
    ],
)
def test_references_follow_only_where_they_mean_all_rows(formula: str, expected: str) -> None:
    assert AREA.follow_formula(formula, "My 'data'", "here") == expected


def test_rows_without_a_sign_are_relative_in_rules() -> None:
    assert (
        AREA.follow_formula("$C5>MAX($C$5:$C$9)", AREA.sheet, "a rule", moves=True) == "$C5>MAX($C$5:$C$100)"
    )


def test_the_only_row_may_be_all_rows_except_in_a_formula() -> None:
    area = replace(AREA, last=5)
    assert area.follow_formula("$A$5", area.sheet, "a chart") == "$A$5:$A$100"
    with pytest.raises(TemplateError, match="that may mean the first or all; give the sample two rows"):
        area.follow_formula("$A$5*2", area.sheet, "a cell", single=False)


@pytest.mark.parametrize(
    ("formula", "is_refused"),
    [
        ("SUM(INDIRECT(\"'My ''data'''!A5:A9\"))", True),
        ('SUM(INDIRECT("A5:A"&B1))', True),
        ('INDIRECT("R5C1:R9C1",FALSE)', True),
        ('INDIRECT("A4")&INDIRECT("Other!A5:A9")&INDIRECT("Orders[A5]")', False),
        ('INDIRECT("A:A")&"A5:A9"', True),  # nobody knows which of the texts is an address
        ('"A5:A9"&LEN("R5C1")', False),
        ("SUM(OFFSET($A$4,1,0,5,1))", True),
        ("OFFSET($A$4,5,0)", True),
        ("SUM(OFFSET(A4:A8,1,))", True),
        ("OFFSET($A$3,1,0,1,4)&OFFSET(Other!$A$4,1,0,5,1)&OFFSET($F$4,1,0,5,1)", False),
        ("OFFSET($A$4,MATCH(1,B:B),0,1,1)", False),
    ],
)
def test_rows_named_as_text_or_counted_cannot_follow(formula: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(TemplateError, match="which cannot follow; refer to the table"):
            AREA.follow_formula(formula, AREA.sheet, "here")
    else:
        assert AREA.follow_formula(formula, AREA.sheet, "here") == formula
