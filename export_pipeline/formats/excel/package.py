"""The small parts of a workbook: content types, relationships, properties, the list of sheets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC

from export_pipeline.core.layout import Layout
from export_pipeline.formats.excel.charts import chart_part
from export_pipeline.formats.excel.list_objects import table_part
from export_pipeline.formats.excel.names import quote_sheet
from export_pipeline.formats.excel.text import xml_attribute, xml_text

OWN_NAMES = re.compile(r"Export_(?:Rows|Beside|Sheets|Template|(?:Sum|Null|Chart)_\d+)", re.IGNORECASE)
"""All hidden names; programs ignore the case of names."""
TEMPLATE_NAME = "Export_Template"
"""Hidden name of a workbook whose other sheets are a company's own."""
DATA_NAME = "Export_Rows"
"""Hidden name on each sheet of the counting section, for its header row and data rows."""
BESIDE_NAME = "Export_Beside"
"""The same on sheets whose rows are not those of the export, but whose sums verify the file."""
COUNT_NAME = "Export_Sheets"
"""Hidden name of the number of sheets that hold the export's rows."""
SUM_NAME = "Export_Sum_"
"""Prefix of hidden names, numbered from 1: a string "letters:column name" for each column whose sum
verifies the file. If several tables have sums, each name belongs to a sheet of its table.
"""
CHART_NAME = "Export_Chart_"
"""Prefix of hidden names, numbered from 1: the values that a chart is drawn from."""
NULL_NAME = "Export_Null_"
"""Prefix of hidden names, numbered like the sums: the column's null text, if any."""

MAX_TITLED_SHEETS = 500
"""With more sheets, no header row is repeated in print: each such name costs LibreOffice 30 ms to open."""

_LONGEST_TEXT = 255  # characters of a string literal in a formula
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEET_ML = "application/vnd.openxmlformats-officedocument.spreadsheetml"

FIXED_PARTS = {
    "_rels/.rels": (
        f'{_DECLARATION}<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        f'<Relationship Id="rId2" Type="{_PACKAGE}/relationships/metadata/core-properties" '
        'Target="docProps/core.xml"/>'
        f'<Relationship Id="rId3" Type="{_OFFICE}/extended-properties" Target="docProps/app.xml"/>'
        "</Relationships>"
    ),
    "docProps/app.xml": (
        f'{_DECLARATION}<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/'
        'extended-properties"><Application>export_pipeline</Application></Properties>'
    ),
}


@dataclass(frozen=True, slots=True)
class Sum:
    """A column whose sum verifies the file.

    Attributes:
        letters: Its letters.
        column: The name by which its sum is reported.
        null: Its null text.
        section: Key of the section that it belongs to.
    """

    letters: str
    column: str
    null: str
    section: str


@dataclass(frozen=True, slots=True)
class SheetEntry:
    """A sheet in the workbook's list.

    Attributes:
        name: Name on its tab.
        header_row: Number of the row repeated on each printed page; None for none.
        area: Header and data, e.g. "$A$4:$G$20"; None for none.
        has_filter: True if the sheet, rather than a table in it, has a filter.
        across: True if it is printed several pages wide, each with the first column.
        counts: True if its data rows are the rows of the export.
        charts: Areas of the values of its charts, e.g. "$B$5:$C$9".
        section: Key of the section whose rows it holds.
    """

    name: str
    header_row: int | None = None
    area: str | None = None
    counts: bool = False
    charts: tuple[str, ...] = ()
    has_filter: bool = True
    across: bool = False
    section: str = ""


DRAWING_PART = "xl/drawings/drawing1.xml"


RELATIONSHIPS_START = f'{_DECLARATION}<Relationships xmlns="{_PACKAGE}/relationships">'.encode()
RELATIONSHIPS_END = b"</Relationships>"


def relationships(*links: tuple[str, str]) -> bytes:
    """Return a part's relationships: (type, target) pairs; the n-th has the id rId{n}."""
    return RELATIONSHIPS_START + relationship_elements(links).encode() + RELATIONSHIPS_END


def relationship_elements(links: Sequence[tuple[str, str]]) -> str:
    """Return the elements of (type, target) pairs; the n-th has the id rId{n}."""
    return "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{type}" Target="{xml_attribute(target)}"/>'
        for number, (type, target) in enumerate(links, start=1)
    )


def hyperlink(number: int, address: str) -> str:
    """Return the relationship with this number that leads to an address."""
    return (
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/hyperlink" Target="{xml_attribute(address)}" '
        'TargetMode="External"/>'
    )


def relationships_part(part: str) -> str:
    """Return the part name of a part's relationships."""
    folder, _, name = part.rpartition("/")
    return f"{folder}/_rels/{name}.rels"


def sheet_part(number: int) -> str:
    """Return the part name of a sheet counted from 1."""
    return f"xl/worksheets/sheet{number}.xml"


def content_types(sheets: int, tables: int, charts: int) -> str:
    """Return the part `[Content_Types].xml` for so many sheets, tables and charts."""
    overrides = "".join(
        f'<Override PartName="/{sheet_part(number)}" ContentType="{_SHEET_ML}.worksheet+xml"/>'
        for number in range(1, sheets + 1)
    ) + "".join(
        f'<Override PartName="/{table_part(number)}" ContentType="{_SHEET_ML}.table+xml"/>'
        for number in range(1, tables + 1)
    )
    drawings = (DRAWING_PART, *(chart_part(number) for number in range(1, charts + 1))) if charts else ()
    overrides += "".join(
        f'<Override PartName="/{part}" ContentType="application/vnd.openxmlformats-officedocument.'
        f'drawing{"" if part == DRAWING_PART else "ml.chart"}+xml"/>'
        for part in drawings
    )
    return (
        f'{_DECLARATION}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET_ML}.sheet.main+xml"/>'
        f"{overrides}"
        f'<Override PartName="/xl/styles.xml" ContentType="{_SHEET_ML}.styles+xml"/>'
        f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_SHEET_ML}.sharedStrings+xml"/>'
        '<Override PartName="/docProps/core.xml" '
        'ContentType="application/vnd.openxmlformats-package.core-properties+xml"/>'
        '<Override PartName="/docProps/app.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.extended-properties+xml"/></Types>'
    )


def core_properties(layout: Layout) -> str:
    """Return the part `docProps/core.xml`; its subject is the period, its time that of the data."""
    title, author, description = layout.title, layout.author, layout.description
    subject = f"<dc:subject>{xml_attribute(layout.period)}</dc:subject>" if layout.period else ""
    moment = layout.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'{_DECLARATION}<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<dc:title>{xml_attribute(title)}</dc:title>{subject}<dc:creator>{xml_attribute(author)}</dc:creator>"
        f"<dc:description>{xml_attribute(description)}</dc:description>"
        f"<cp:lastModifiedBy>{xml_attribute(author)}</cp:lastModifiedBy>"
        f'<dcterms:created xsi:type="dcterms:W3CDTF">{moment}</dcterms:created>'
        f'<dcterms:modified xsi:type="dcterms:W3CDTF">{moment}</dcterms:modified></cp:coreProperties>'
    )


def workbook_relationships(sheets: int) -> str:
    """Return the part `xl/_rels/workbook.xml.rels`; sheet n has the id rId{n}."""
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, sheets + 1)
    )
    return (
        f'{_DECLARATION}<Relationships xmlns="{_PACKAGE}/relationships">{links}'
        f'<Relationship Id="rId{sheets + 1}" Type="{_OFFICE}/styles" Target="styles.xml"/>'
        f'<Relationship Id="rId{sheets + 2}" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
        "</Relationships>"
    )


def workbook(sheets: Sequence[SheetEntry], sums: Sequence[Sum]) -> str:
    """Return the part `xl/workbook.xml`.

    Args:
        sheets: The sheets, in order.
        sums: The columns whose sums verify the file.
    """
    listed = "".join(
        f'<sheet name="{xml_attribute(sheet.name)}" sheetId="{number}" r:id="rId{number}"/>'
        for number, sheet in enumerate(sheets, start=1)
    )
    names = "".join(_defined_names(sheets, sums))
    return (
        f'{_DECLARATION}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
        '<workbookPr defaultThemeVersion="124226"/>'
        '<bookViews><workbookView xWindow="0" yWindow="0" windowWidth="28800" windowHeight="15000" '
        'tabRatio="800" activeTab="0"/></bookViews>'
        f"<sheets>{listed}</sheets>"
        f"<definedNames>{names}</definedNames>"
        '<calcPr calcId="191029"/></workbook>'
    )


def _defined_names(sheets: Sequence[SheetEntry], sums: Sequence[Sum]) -> Iterator[str]:
    for index, sheet in enumerate(sheets):
        if sheet.area and sheet.has_filter:
            yield _name(
                "_xlnm._FilterDatabase", f"{quote_sheet(sheet.name)}!{sheet.area}", index, hidden=True
            )
    for name, text, local in proof_names(list(enumerate(sheets)), sums):
        yield _name(name, text, local, hidden=True)
    for index, sheet in enumerate(sheets if len(sheets) <= MAX_TITLED_SHEETS else ()):
        if sheet.header_row:
            rows = f"{quote_sheet(sheet.name)}!${sheet.header_row}:${sheet.header_row}"
            if sheet.across:
                rows = f"{quote_sheet(sheet.name)}!$A:$A,{rows}"
            yield _name("_xlnm.Print_Titles", rows, index, hidden=False)


def proof_names(
    sheets: Sequence[tuple[int, SheetEntry]], sums: Sequence[Sum]
) -> Iterator[tuple[str, str, int | None]]:
    """Yield the hidden names that a reader of the file finds its rows by: name, formula, index of a sheet.

    Args:
        sheets: The sheets, each with its index in the workbook.
        sums: The columns whose sums verify the file.
    """
    sections = {total.section for total in sums}
    for index, sheet in sheets:
        if sheet.area and (sheet.counts or sheet.section in sections):
            name = DATA_NAME if sheet.counts else BESIDE_NAME
            yield name, f"{quote_sheet(sheet.name)}!{sheet.area}", index
        for number, chart in enumerate(sheet.charts, start=1):
            yield f"{CHART_NAME}{number}", f"{quote_sheet(sheet.name)}!{chart}", index
    yield COUNT_NAME, str(sum(sheet.counts for _, sheet in sheets)), None
    for number, total in enumerate(sums, start=1):
        own = [index for index, sheet in sheets if sheet.area and sheet.section == total.section]
        for local in own if len(sections) > 1 else [None]:
            yield f"{SUM_NAME}{number}", _text(f"{total.letters}:{total.column}"), local
            if total.null and len(total.null) <= _LONGEST_TEXT:
                yield f"{NULL_NAME}{number}", _text(total.null), local


def _text(text: str) -> str:
    """Return a string literal for a formula."""
    return '"' + text.replace('"', '""') + '"'


def _name(name: str, text: str, sheet: int | None, *, hidden: bool) -> str:
    scope = "" if sheet is None else f' localSheetId="{sheet}"'
    mark = ' hidden="1"' if hidden else ""
    return f'<definedName name="{name}"{scope}{mark}>{xml_text(text)}</definedName>'
