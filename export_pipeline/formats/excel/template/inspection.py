"""Inspection of a template: its tables, and everything in it that could not be kept as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from export_pipeline.core.columns import Kind
from export_pipeline.formats.excel.names import column_letters
from export_pipeline.formats.excel.package import OWN_NAMES
from export_pipeline.formats.excel.template.package import MAIN, OFFICE, Package, in_namespaces
from export_pipeline.formats.excel.template.references import TemplateError, parse_area
from export_pipeline.formats.excel.xml import column_number, counts_from_1904

_PARTS = (
    (r"_xmlsignatures/", "is signed, and a signature does not survive new rows; remove it"),
    (r"xl/(vba|macrosheets)", "has macros; save it as .xlsx without them"),
    (r"xl/model/", "has a data model (Power Pivot), whose copy of the sample rows nobody can replace"),
    (r"xl/(connections\.xml|queryTables/)", "reads from outside (a connection or query); remove it"),
    (r"xl/externalLinks/", "refers to other workbooks; break the links (Data > Edit Links)"),
    (r"xl/revisions/", "is shared and keeps every former value; stop sharing it"),
    (
        r"xl/(charts/chartEx|extendedCharts)",
        "has a waterfall, treemap or other chart of its kind; use older ones",
    ),
    (r"xl/timelineCaches/", "has a timeline, which keeps the dates of the sample; use a slicer"),
    (r"xl/dialogsheets/|xl/embeddings/", "has embedded documents or dialogs; remove them"),
)
_SHEETS = ("oleObjects", "controls", "dataConsolidate", "scenarios", "webPublishItems")
_CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")


@dataclass(frozen=True, slots=True)
class TablePlace:
    """A table of a workbook.

    Attributes:
        name: Its name.
        part: Its part.
        sheet: Name of its sheet.
        sheet_part: Part of its sheet.
        index: Index of the sheet in the workbook.
        headers: Its headers.
        header_row: Row of the headers.
        last: Last row, of the sample.
        left, right: First and last column, counted from 0.
    """

    name: str
    part: str
    sheet: str
    sheet_part: str
    index: int
    headers: tuple[str, ...]
    header_row: int
    last: int
    left: int
    right: int

    @property
    def first(self) -> int:
        """First row below the headers."""
        return self.header_row + 1


def workbook_part(package: Package) -> str:
    """Return the name of the part with the list of sheets.

    Raises:
        TemplateError: There is none.
    """
    for _, part in package.related("", "officeDocument"):
        return part
    raise TemplateError("is not a workbook: nothing says where its sheets are; save it as .xlsx in Excel")


def list_sheets(package: Package) -> Iterator[tuple[str, str]]:
    """Yield the name and part of each sheet, in order."""
    book = workbook_part(package)
    parts = dict(package.related(book))
    for sheet in package.xml(book).iter(f"{MAIN}sheet"):
        yield sheet.get("name"), parts[sheet.get(f"{OFFICE}id")]


def check_package(package: Package) -> None:
    """Raise TemplateError for a workbook with something that cannot be kept beside new rows."""
    for pattern, reason in _PARTS:
        if any(re.match(pattern, name) for name in package.names):
            raise TemplateError(reason)
    book = workbook_part(package)
    if "macroEnabled" in package.types().get(book, ""):
        raise TemplateError("has macros; save it as .xlsx without them")
    if not package.xml(book).tag.startswith(MAIN):
        raise TemplateError("is a Strict Open XML workbook; save it as an ordinary .xlsx")
    if counts_from_1904(package.xml(book)):
        raise TemplateError(
            "counts days from 1904; switch that off (File > Options > Advanced > Use 1904 date system)"
        )
    for name in package.xml(book).iter(f"{MAIN}definedName"):
        if OWN_NAMES.fullmatch(name.get("name", "")) and name.get("hidden") not in ("1", "true"):
            raise TemplateError(f"has the name {name.get('name')!r}, which exports use themselves; rename it")


def find_tables(package: Package) -> list[TablePlace]:
    """Return the tables of a workbook, in the order of its sheets.

    Raises:
        TemplateError: There is none, or the workbook is damaged.
    """
    places = []
    for index, (sheet, part) in enumerate(list_sheets(package)):
        for _, table in package.related(part, "table"):
            root = package.xml(table)
            top, last, left, right = parse_area(root.get("ref"))
            headers = [column.get("name", "") for column in root.iter(f"{MAIN}tableColumn")]
            name = root.get("displayName", "")
            places.append(TablePlace(name, table, sheet, part, index, tuple(headers), top, last, left, right))
    if not places:
        raise TemplateError("has no table; select the header and a sample row and press Ctrl+T")
    return places


def check_table(package: Package, place: TablePlace) -> None:
    """Raise TemplateError for a table whose rows cannot be replaced."""
    root, name = package.xml(place.part), f"the table {place.name!r}"
    if root.get("headerRowCount", "1") != "1":
        raise TemplateError(f"{name} has no header row; switch it on (Table Design > Header Row)")
    if int(root.get("totalsRowCount", "0")):
        raise TemplateError(f"{name} has a totals row; put totals above it, or on another sheet")
    if root.get("tableType", "worksheet") != "worksheet":
        raise TemplateError(f"{name} gets its rows from a query or XML map; make it an ordinary one")
    for column in root.iter(f"{MAIN}tableColumn"):
        header = column.get("name")
        if column.find(f"{MAIN}calculatedColumnFormula") is not None:
            raise TemplateError(
                f"the column {header!r} of {name} is calculated; compute it in the YAML, or on another sheet"
            )
        if column.find(f"{MAIN}xmlColumnPr") is not None:
            raise TemplateError(f"the column {header!r} of {name} belongs to an XML map; remove the map")
    if next(root.iter(f"{MAIN}filterColumn", f"{MAIN}sortState"), None) is not None:
        raise TemplateError(f"{name} is filtered or sorted, which no longer holds for new rows; clear it")


def check_sheet(package: Package, place: TablePlace) -> None:
    """Raise TemplateError for a sheet with something that new rows would overwrite or tear apart."""
    root = package.xml(place.sheet_part)
    where = f"the sheet {place.sheet!r}"
    if root.tag != f"{MAIN}worksheet":
        raise TemplateError(f"{where} is no ordinary sheet")
    for element in in_namespaces(root, *_SHEETS):
        raise TemplateError(f"{where} has {element.tag.rpartition('}')[2]}; move them to another sheet")
    _check_cells(root, place, where)
    for merged in root.iter(f"{MAIN}mergeCell"):
        _, bottom, _, _ = parse_area(merged.get("ref"))
        if bottom >= place.header_row:
            raise TemplateError(
                f"{where} has merged cells in the table or below its header: {merged.get('ref')}"
            )
    for link in root.iter(f"{MAIN}hyperlink"):
        if parse_area(link.get("ref"))[1] > place.header_row:
            raise TemplateError(f"{where} has a link among the sample rows ({link.get('ref')}); remove it")
    for element in root.iter(f"{MAIN}brk"):
        if element.getparent().tag == f"{MAIN}rowBreaks" and int(element.get("id", "0")) >= place.header_row:
            raise TemplateError(f"{where} has a page break in the table; remove it")
    for _, part in package.related(place.sheet_part, "comments"):
        for comment in package.xml(part).iter(f"{MAIN}comment"):
            if parse_area(comment.get("ref"))[0] > place.header_row:
                raise TemplateError(
                    f"{where} has a comment on a sample row ({comment.get('ref')}); delete it"
                )
    for _, part in package.related(place.sheet_part, "drawing"):
        _check_drawing(package.xml(part), place, where)
    others = [one for one in find_tables(package) if one.sheet_part == place.sheet_part and one != place]
    if below := [one.name for one in others if one.last >= place.header_row]:
        raise TemplateError(f"{where} has another table beside or below it ({below[0]!r}); move it")
    pivots = [part for _, part in package.related(place.sheet_part, "pivotTable")]
    for part in pivots:
        location = package.xml(part).find(f"{MAIN}location")
        if parse_area(location.get("ref"))[1] >= place.header_row:
            raise TemplateError(f"{where} has a pivot table beside or below the table; move it")


def _check_cells(root: Any, place: TablePlace, where: str) -> None:
    for row in root.iter(f"{MAIN}row"):
        if not row.get("r"):
            raise TemplateError(f"{where} has rows without numbers; open it in Excel and save it again")
        number = int(row.get("r"))
        if number <= place.header_row:
            continue
        for cell in row.iter(f"{MAIN}c"):
            match = _CELL.fullmatch(cell.get("r", ""))
            if match is None:
                raise TemplateError(
                    f"{where} has cells without addresses; open it in Excel and save it again"
                )
            if not len(cell):
                continue
            column = column_number(match[1])
            if number > place.last:
                raise TemplateError(f"{where} has something below the table ({match[0]}), where rows will be")
            if not place.left <= column <= place.right:
                raise TemplateError(f"{where} has something beside the table's rows ({match[0]}); move it up")
            if cell.find(f"{MAIN}f") is not None:
                raise TemplateError(
                    f"{where} has a formula in the table ({match[0]}); compute it in the YAML, or on another "
                    "sheet"
                )
            if cell.get("vm"):
                raise TemplateError(
                    f"{where} has a picture or data type in the table ({match[0]}); remove it"
                )


def _check_drawing(root: Any, place: TablePlace, where: str) -> None:
    """Check that no picture or chart lies where rows will be."""
    for start in in_namespaces(root, "from"):
        numbers = {child.tag.rpartition("}")[2]: int(child.text) for child in start if len(child) == 0}
        if numbers.get("row", 0) + 1 >= place.header_row and numbers.get("col", 0) <= place.right:
            raise TemplateError(
                f"{where} has a picture, shape or chart where rows will be; move it beside or above"
            )


_BUILT_IN_PERCENTS = {9, 10}
_BUILT_IN_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_NOT_CODE = re.compile(r'"[^"]*"?|\\.|\[[^\]]*\]?|_.')


def check_formats(package: Package, place: TablePlace, styles: Sequence[int], kinds: Sequence[Kind]) -> None:
    """Raise TemplateError for a column whose cells would show other values than they hold.

    Dates need a date format. Percentages are held as 12.5 for 12.5 %, of which a percent format shows 1250 %.

    Args:
        package: The parts.
        place: The table.
        styles: Style of each column's cells.
        kinds: Kind of each column.
    """
    parts = [part for _, part in package.related(workbook_part(package), "styles")]
    if not parts:
        return
    root = package.xml(parts[0])
    codes = {int(one.get("numFmtId")): one.get("formatCode", "") for one in root.iter(f"{MAIN}numFmt")}
    formats = root.find(f"{MAIN}cellXfs")
    for index, kind in enumerate(kinds):
        number = int(formats[styles[index]].get("numFmtId", "0"))
        code = _NOT_CODE.sub("", codes.get(number, "")).lower()
        is_date = number in _BUILT_IN_DATES or any(letter in code for letter in "ymdhs")
        where = (
            f"{place.headers[index]!r}",
            f"its first cell ({column_letters(place.left + index)}{place.first})",
        )
        if kind in (Kind.DATE, Kind.TIMESTAMP) and not is_date:
            raise TemplateError(
                f"the column {where[0]} holds dates, but {where[1]} has no date format and would "
                "show numbers; give it one"
            )
        if kind is Kind.PERCENT and (number in _BUILT_IN_PERCENTS or "%" in code):
            raise TemplateError(
                f"the column {where[0]} holds percentages (12.5 for 12.5 %), but {where[1]} has a percent "
                "format and would show 100 times the value; give it a number format with the sign in quotes: "
                '0.0"%"'
            )
