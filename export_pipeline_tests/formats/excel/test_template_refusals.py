"""Workbooks that cannot be filled without loss are refused, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from export_pipeline.core.columns import Kind
from export_pipeline.core.layout import Section
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.excel.template.references import TemplateError
from export_pipeline.formats.excel.template.splice import check_template
from export_pipeline_tests.formats.excel.books import (
    layout,
    table,
)
from export_pipeline_tests.formats.excel.templates import (
    CACHE,
    COLUMNS,
    SUMMARY,
    edit,
    fill,
    orders,
    prefixed,
    problem,
    related,
    swap,
)

SHEET, TABLE = "xl/worksheets/sheet2.xml", "xl/tables/table1.xml"


def cell(reference: str, content: str) -> Callable[[str], str]:
    """Put a cell at the end of its row, which is added if it is missing."""
    row = re.sub("[A-Z]", "", reference)

    def change(xml: str) -> str:
        made = f'<c r="{reference}">{content}</c>'
        if f'<row r="{row}"' in xml:
            return re.sub(rf'(<row r="{row}".*?)</row>', rf"\1{made}</row>", xml, count=1)
        return xml.replace("</sheetData>", f'<row r="{row}">{made}</row></sheetData>')

    return change


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
        (b"not a zip", "is not a workbook"),
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


def test_more_rows_than_a_sheet_holds_are_refused(template: Path, tmp_path: Path) -> None:
    made = orders(1)
    section = replace(made.sheets[0], table=replace(made.sheets[0].table, rows=1_048_573))
    with pytest.raises(RenderError, match="holds 1,048,572 rows, the export has 1,048,573"):
        fill(template, replace(made, sheets=(section,)), tmp_path / "filled.xlsx")
