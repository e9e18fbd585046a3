"""A company's workbook, as Excel would write it: logo, table, chart, pivot, slicer, data bar, sparkline."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import xlsxwriter
from PIL import Image

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section, WorkbookTemplate
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.excel.options import ExcelOptions
from export_pipeline.formats.excel.template.splice import check_template
from export_pipeline.formats.excel.template.write import render_template
from export_pipeline_tests.formats.excel.books import WriteOnly, layout, table

HEADERS = ("Region", "Customer", "Amount", "Day", "Paid")
SECRET = ("Sample North", "Sample South", "Sample Customer", "sample remark")
"""Words of the sample rows, which no export may hold."""
SUMMARY, CACHE = "xl/worksheets/sheet1.xml", "xl/pivotCache/pivotCacheDefinition1.xml"
SAMPLE = [
    ("Sample North", "Sample Customer 1", 1111.25, date(2020, 1, 5), True),
    ("Sample South", "Sample Customer 2", 2222.5, date(2020, 2, 6), False),
    ("Sample North", "Sample Customer 3", 3333.75, date(2020, 3, 7), True),
]
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_X14 = "http://schemas.microsoft.com/office/spreadsheetml/2009/9/main"
_X15 = "http://schemas.microsoft.com/office/spreadsheetml/2010/11/main"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def company(path: Path) -> Path:
    """Write the workbook. Its table is `Orders` on the sheet `Data`, from A4 on."""
    plain = path.with_name("plain.xlsx")
    _write(plain)
    edit(plain, path, _with_pivot_and_slicer())
    return path


def _write(path: Path) -> None:
    book = xlsxwriter.Workbook(str(path))
    money, day = book.add_format({"num_format": "#,##0.00"}), book.add_format({"num_format": "dd/mm/yyyy"})
    bold = book.add_format({"bold": True, "font_size": 16})
    summary, data, pivot = (book.add_worksheet(name) for name in ("Summary", "Data", "Pivot"))
    logo = io.BytesIO()
    Image.new("RGB", (120, 40), "#C0392B").save(logo, "PNG")
    summary.insert_image("E1", "logo.png", {"image_data": logo, "description": "Logo"})
    summary.write("A1", "Acme Ltd: orders", bold)
    summary.write("A3", "Total")
    summary.write_formula("B3", "=SUM(Orders[Amount])", money, 6667.5)
    summary.write("A4", "By range")
    summary.write_formula("B4", "=SUM(Data!$C$5:$C$7)", money, 6667.5)
    summary.write("A5", "Of a region")
    summary.write_formula("B5", '=SUMIF(Data!A5:A7,"North",Data!C5:C7)', money, 4445)
    summary.write("A6", "First of the regions")
    summary.write_formula("B6", "=INDEX(All_Regions,1)", None, "Sample North")
    summary.add_sparkline("C3", {"range": "Data!$C$5:$C$7"})
    chart = book.add_chart({"type": "column"})
    chart.add_series(
        {
            "name": "=Data!$C$4",
            "categories": "=Data!$A$5:$A$7",
            "values": "=Data!$C$5:$C$7",
        }
    )
    summary.insert_chart("A8", chart)
    data.write("A1", "Orders", bold)
    data.write("A2", "{scope}, {rows} rows {odd}")
    data.write_formula("B2", "=ROWS(Orders)", None, 3)
    data.set_column("A:B", 22)
    data.set_column("C:E", 12)
    rows = [list(row) for row in SAMPLE]
    data.add_table(
        "A4:E7",
        {
            "name": "Orders",
            "style": "Table Style Medium 4",
            "data": rows,
            "columns": [
                {"header": header, "format": {"Amount": money, "Day": day}.get(header)} for header in HEADERS
            ],
        },
    )
    data.conditional_format("C5:C7", {"type": "data_bar", "data_bar_2010": True, "bar_color": "#63C384"})
    data.conditional_format("A5:E7", {"type": "formula", "criteria": "=$C5>3000", "format": bold})
    data.data_validation("A5:A7", {"validate": "list", "source": ["North", "South"]})
    data.freeze_panes(4, 0)
    data.print_area("A1:E7")
    data.repeat_rows(3)
    book.define_name("All_Regions", "=Data!$A$5:$A$7")
    pivot.write("A3", "Region")
    pivot.write("B3", "Sum of Amount")
    for row, (label, value) in enumerate(
        (("Sample North", 4445), ("Sample South", 2222.5), ("Grand Total", 6667.5)), 3
    ):
        pivot.write(row, 0, label)
        pivot.write(row, 1, value)
    book.close()


def edit(path: Path, other: Path, changes: Mapping[str, str | bytes | Callable[[str], str]]) -> Path:
    """Write the workbook again with changed, added and (None) removed parts."""
    with ZipFile(path) as old, ZipFile(other, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            change = changes.get(name)
            data: str | bytes = old.read(name)
            if callable(change):
                text = old.read(name).decode()
                data = change(text)
                assert data != text, name
            elif change is not None:
                data = change
            new.writestr(name, data)
        for name, change in changes.items():
            if name not in old.namelist() and not callable(change):
                new.writestr(name, change)
    return other


def _relations(*links: tuple[str, str, str]) -> str:
    made = "".join(f'<Relationship Id="{id}" Type="{type}" Target="{target}"/>' for id, type, target in links)
    return f'{_DECLARATION}<Relationships xmlns="{_PACKAGE}">{made}</Relationships>'


def _insert(before: str, text: str) -> Callable[[str], str]:
    return lambda xml: xml.replace(before, text + before, 1)


def _with_pivot_and_slicer() -> dict[str, str | bytes | Callable[[str], str]]:
    cache = (
        f'{_DECLARATION}<pivotCacheDefinition xmlns="{_MAIN}" xmlns:r="{_OFFICE}" r:id="rId1" '
        'refreshedBy="x" refreshedDate="45000" createdVersion="6" refreshedVersion="6" '
        'minRefreshableVersion="3" recordCount="3"><cacheSource type="worksheet">'
        '<worksheetSource ref="A4:E7" sheet="Data"/></cacheSource><cacheFields count="5">'
        '<cacheField name="Region" numFmtId="0"><sharedItems count="2"><s v="Sample North"/>'
        '<s v="Sample South"/></sharedItems></cacheField>'
        '<cacheField name="Customer" numFmtId="0"><sharedItems/></cacheField>'
        '<cacheField name="Amount" numFmtId="4"><sharedItems containsSemiMixedTypes="0" containsString="0" '
        'containsNumber="1" minValue="1111.25" maxValue="3333.75"/></cacheField>'
        '<cacheField name="Day" numFmtId="14"><sharedItems containsSemiMixedTypes="0" '
        'containsNonDate="0" containsDate="1" containsString="0" minDate="2020-01-05T00:00:00" '
        'maxDate="2020-03-08T00:00:00"/></cacheField>'
        '<cacheField name="Paid" numFmtId="0"><sharedItems/></cacheField></cacheFields></pivotCacheDefinition>'
    )
    records = (
        f'{_DECLARATION}<pivotCacheRecords xmlns="{_MAIN}" count="3">'
        + "".join(
            f'<r><x v="{0 if "North" in region else 1}"/><s v="{customer}"/><n v="{amount}"/>'
            f'<d v="{day}T00:00:00"/><b v="{int(paid)}"/></r>'
            for region, customer, amount, day, paid in SAMPLE
        )
        + "</pivotCacheRecords>"
    )
    pivot = (
        f'{_DECLARATION}<pivotTableDefinition xmlns="{_MAIN}" name="PivotTable1" cacheId="7" '
        'dataCaption="Values" updatedVersion="6" minRefreshableVersion="3" createdVersion="6" '
        'useAutoFormatting="1" itemPrintTitles="1" indent="0" outline="1" outlineData="1">'
        '<location ref="A3:B6" firstHeaderRow="1" firstDataRow="1" firstDataCol="1"/>'
        '<pivotFields count="5"><pivotField axis="axisRow" showAll="0"><items count="3"><item x="0"/>'
        '<item x="1"/><item t="default"/></items></pivotField><pivotField showAll="0"/>'
        '<pivotField dataField="1" showAll="0"/><pivotField numFmtId="14" showAll="0"/>'
        '<pivotField showAll="0"/></pivotFields>'
        '<rowFields count="1"><field x="0"/></rowFields><rowItems count="3"><i><x/></i><i><x v="1"/></i>'
        '<i t="grand"><x/></i></rowItems><colItems count="1"><i/></colItems>'
        '<dataFields count="1"><dataField name="Sum of Amount" fld="2" baseField="0" baseItem="0"/></dataFields>'
        '<pivotTableStyleInfo name="PivotStyleLight16" showRowHeaders="1" showColHeaders="1"/>'
        "</pivotTableDefinition>"
    )
    slicer_cache = (
        f'{_DECLARATION}<slicerCacheDefinition xmlns="{_X14}" xmlns:x="{_MAIN}" name="Slicer_Region" '
        f'sourceName="Region"><extLst><x:ext xmlns:x15="{_X15}" uri="{{2F2917AC-EB37-4324-AD4E-5DD8C200BD13}}">'
        '<x15:tableSlicerCache tableId="1" column="1"/></x:ext></extLst></slicerCacheDefinition>'
    )
    slicer = (
        f'{_DECLARATION}<slicers xmlns="{_X14}"><slicer name="Region" cache="Slicer_Region" caption="Region" '
        'rowHeight="241300"/></slicers>'
    )
    drawing = (
        f'{_DECLARATION}<xdr:wsDr xmlns:xdr="http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing" '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><xdr:twoCellAnchor editAs="absolute">'
        "<xdr:from><xdr:col>6</xdr:col><xdr:colOff>0</xdr:colOff><xdr:row>3</xdr:row><xdr:rowOff>0</xdr:rowOff>"
        "</xdr:from><xdr:to><xdr:col>9</xdr:col><xdr:colOff>0</xdr:colOff><xdr:row>12</xdr:row>"
        "<xdr:rowOff>0</xdr:rowOff></xdr:to><mc:AlternateContent "
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
        'xmlns:sle15="http://schemas.microsoft.com/office/drawing/2012/slicer"><mc:Choice Requires="sle15">'
        '<xdr:graphicFrame macro=""><xdr:nvGraphicFramePr><xdr:cNvPr id="2" name="Region"/>'
        '<xdr:cNvGraphicFramePr/></xdr:nvGraphicFramePr><xdr:xfrm><a:off x="0" y="0"/><a:ext cx="0" cy="0"/>'
        '</xdr:xfrm><a:graphic><a:graphicData uri="http://schemas.microsoft.com/office/drawing/2010/slicer">'
        '<sle:slicer xmlns:sle="http://schemas.microsoft.com/office/drawing/2010/slicer" name="Region"/>'
        "</a:graphicData></a:graphic></xdr:graphicFrame></mc:Choice><mc:Fallback>"
        '<xdr:sp macro="" textlink=""><xdr:nvSpPr><xdr:cNvPr id="0" name=""/><xdr:cNvSpPr/></xdr:nvSpPr><xdr:spPr>'
        '<a:xfrm><a:off x="0" y="0"/><a:ext cx="1" cy="1"/></a:xfrm><a:prstGeom prst="rect"><a:avLst/>'
        "</a:prstGeom></xdr:spPr></xdr:sp></mc:Fallback></mc:AlternateContent>"
        "<xdr:clientData/></xdr:twoCellAnchor></xdr:wsDr>"
    )
    sheet_slicers = (
        f'<ext xmlns:x14="{_X14}" uri="{{3A4CF648-6AED-40f4-86FF-DC5316D8AED3}}"><x14:slicerList>'
        '<x14:slicer r:id="rId12"/></x14:slicerList></ext>'
    )
    book_slicers = (
        f'<extLst><ext xmlns:x15="{_X15}" uri="{{46BE6895-7355-4a93-B00E-2C351335B9C9}}"><x15:slicerCaches '
        f'xmlns:x14="{_X14}"><x14:slicerCache r:id="rId22"/></x15:slicerCaches></ext></extLst>'
    )
    slicer_type = "http://schemas.microsoft.com/office/2007/relationships"
    types = "".join(
        f'<Override PartName="/xl/{part}" ContentType="{type}"/>'
        for part, type in (
            ("pivotCache/pivotCacheDefinition1.xml", f"{_TYPE}.pivotCacheDefinition+xml"),
            ("pivotCache/pivotCacheRecords1.xml", f"{_TYPE}.pivotCacheRecords+xml"),
            ("pivotTables/pivotTable1.xml", f"{_TYPE}.pivotTable+xml"),
            ("slicerCaches/slicerCache1.xml", "application/vnd.ms-excel.slicerCache+xml"),
            ("slicers/slicer1.xml", "application/vnd.ms-excel.slicer+xml"),
            ("drawings/drawing2.xml", "application/vnd.openxmlformats-officedocument.drawing+xml"),
        )
    )
    return {
        "[Content_Types].xml": _insert("</Types>", types),
        "xl/workbook.xml": lambda xml: xml.replace(
            "</workbook>",
            f'<pivotCaches><pivotCache cacheId="7" r:id="rId21"/></pivotCaches>{book_slicers}</workbook>',
        ),
        "xl/_rels/workbook.xml.rels": _insert(
            "</Relationships>",
            f'<Relationship Id="rId21" Type="{_OFFICE}/pivotCacheDefinition" '
            'Target="pivotCache/pivotCacheDefinition1.xml"/>'
            f'<Relationship Id="rId22" Type="{slicer_type}/slicerCache" '
            'Target="slicerCaches/slicerCache1.xml"/>',
        ),
        "xl/pivotCache/pivotCacheDefinition1.xml": cache,
        "xl/pivotCache/_rels/pivotCacheDefinition1.xml.rels": _relations(
            ("rId1", f"{_OFFICE}/pivotCacheRecords", "pivotCacheRecords1.xml")
        ),
        "xl/pivotCache/pivotCacheRecords1.xml": records,
        "xl/pivotTables/pivotTable1.xml": pivot,
        "xl/pivotTables/_rels/pivotTable1.xml.rels": _relations(
            ("rId1", f"{_OFFICE}/pivotCacheDefinition", "../pivotCache/pivotCacheDefinition1.xml")
        ),
        "xl/worksheets/_rels/sheet3.xml.rels": _relations(
            ("rId1", f"{_OFFICE}/pivotTable", "../pivotTables/pivotTable1.xml")
        ),
        "xl/slicerCaches/slicerCache1.xml": slicer_cache,
        "xl/slicers/slicer1.xml": slicer,
        "xl/drawings/drawing2.xml": drawing,
        "xl/worksheets/_rels/sheet2.xml.rels": _insert(
            "</Relationships>",
            f'<Relationship Id="rId11" Type="{_OFFICE}/drawing" Target="../drawings/drawing2.xml"/>'
            f'<Relationship Id="rId12" Type="{slicer_type}/slicer" Target="../slicers/slicer1.xml"/>',
        ),
        "xl/worksheets/sheet2.xml": lambda xml: xml.replace(
            "<tableParts", '<drawing r:id="rId11"/><tableParts', 1
        ).replace("</extLst></worksheet>", sheet_slicers + "</extLst></worksheet>"),
    }


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
