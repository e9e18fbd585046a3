"""Changes that follow from new rows of a template: to ranges, names, charts and pivots; the sample goes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from export_pipeline.formats.excel.package import OWN_NAMES
from export_pipeline.formats.excel.template.controls import check_controls
from export_pipeline.formats.excel.template.inspection import (
    TablePlace,
    list_sheets,
    workbook_part,
)
from export_pipeline.formats.excel.template.package import MAIN, OFFICE, Package, in_namespaces
from export_pipeline.formats.excel.template.references import Area, TemplateError, parse_area
from export_pipeline.formats.excel.xml import column_number

_FORMULAS = ("formula", "formula1", "formula2", "f", "cfvo", "calculatedColumnFormula", "totalsRowFormula")
_FACT = re.compile(r"\{(\w+)\}")
_OF_VALUES = ("discretePr", "calculatedItem", "tupleCache")
_BEFORE_NAMES = ("sheets", "functionGroups", "externalReferences")


def follow_rows(package: Package, place: TablePlace, area: Area) -> None:
    """Make everything that refers to the table's rows refer to the new ones, and remove what the sample left.

    The sheet of the table keeps its sample rows, which are replaced when it is written.

    Raises:
        TemplateError: Something refers to only some of the rows.
    """
    table = package.change(place.part)
    ref = area.follow_ranges(table.get("ref"), f"the table {place.name!r}")
    table.set("ref", ref)
    for element in table.iter(f"{MAIN}autoFilter"):
        element.set("ref", ref)
    for sheet, part in list_sheets(package):
        _follow_sheet(package, sheet, part, area, is_own=part == place.sheet_part)
        for _, pivot in package.related(part, "pivotTable"):
            _follow_pivot(package, part, pivot, place, area)
        for _, drawing in package.related(part, "drawing"):
            _follow_drawing(package, drawing, sheet, area)
            for _, chart in package.related(drawing, "chart"):
                _follow_chart(package, chart, area)
                for _, shapes in package.related(chart, "chartUserShapes"):
                    _follow_drawing(package, shapes, sheet, area)
        check_controls(package, part, sheet, area)
    _follow_workbook(package, area)


def _follow_workbook(package: Package, area: Area) -> None:
    part = workbook_part(package)
    root = package.change(part)
    sheets = [name for name, _ in list_sheets(package)]
    for name in root.iter(f"{MAIN}definedName"):
        index = name.get("localSheetId")
        here = sheets[int(index)] if index is not None else ""
        name.text = area.follow_formula(name.text or "", here, f"the name {name.get('name')!r}")
    calculation = root.find(f"{MAIN}calcPr")
    if calculation is None:
        calculation = root.makeelement(f"{MAIN}calcPr", {"calcId": "191029"})
        _insert_after(root, calculation, (*_BEFORE_NAMES, "definedNames"))
    calculation.set("fullCalcOnLoad", "1")


def add_names(package: Package, names: Sequence[tuple[str, str, int | None]]) -> None:
    """Add hidden names of (name, formula, index of a sheet), instead of those that an export has left."""
    root = package.change(workbook_part(package))
    defined = root.find(f"{MAIN}definedNames")
    if defined is None:
        defined = root.makeelement(f"{MAIN}definedNames")
        _insert_after(root, defined, _BEFORE_NAMES)
    for one in list(defined):
        if OWN_NAMES.fullmatch(one.get("name", "")):
            defined.remove(one)
    for name, formula, sheet in names:
        local = {} if sheet is None else {"localSheetId": str(sheet)}
        made = defined.makeelement(f"{MAIN}definedName", {"name": name, **local, "hidden": "1"})
        made.text = formula
        defined.append(made)


def _insert_after(root: Any, element: Any, before: tuple[str, ...]) -> None:
    tags = [f"{MAIN}{name}" for name in before]
    place = max(index for index, child in enumerate(root) if child.tag in tags)
    root.insert(place + 1, element)


def _follow_sheet(package: Package, sheet: str, part: str, area: Area, *, is_own: bool) -> None:
    """Follow the formulas and ranges of a sheet, and remove the values that formulas had."""
    root = package.change(part) if is_own else package.xml(part)
    where = f"the sheet {sheet!r}"
    spilled = [
        parse_area(formula.get("ref"))
        for formula in root.iter(f"{MAIN}f")
        if formula.get("t") == "array" and formula.get("ref")
    ]
    for cell in root.iter(f"{MAIN}c"):
        formula = cell.find(f"{MAIN}f")
        if formula is None and not (spilled and _is_inside(cell.get("r"), spilled)):
            continue
        package.change(part)
        _remove_value(cell)
        if formula is not None:
            _follow_cell(formula, sheet, f"{where}, cell {cell.get('r')}", area)
    _follow_rules(package, part, sheet, area)
    for _, table in package.related(part, "table"):
        _follow_rules(package, table, sheet, area)
    if is_own:
        for element in root.iter():
            if isinstance(element.tag, str) and (ranges := element.get("sqref")) and _is_rule(element):
                element.set("sqref", area.follow_ranges(ranges, f"{where}, a format or validation"))
        for element in in_namespaces(root, "sqref"):
            if element.text:
                element.text = area.follow_ranges(element.text, f"{where}, a format or validation")


def _follow_rules(package: Package, part: str, sheet: str, area: Area) -> None:
    """Follow the formulas of a part that are not those of cells: of formats, validations and sparklines."""
    for element in in_namespaces(package.xml(part), *_FORMULAS):
        if element.getparent().tag == f"{MAIN}c":
            continue
        old = element.get("val") if element.tag.endswith("}cfvo") else element.text
        if not old:
            continue
        is_sparkline = element.getparent().tag.endswith("}sparkline")
        where = f"a rule or sparkline of the sheet {sheet!r}"
        new = area.follow_formula(old, sheet, where, moves=not is_sparkline)
        if new == old:
            continue
        package.change(part)
        if element.tag.endswith("}cfvo"):
            element.set("val", new)
        else:
            element.text = new


def _is_rule(element: Any) -> bool:
    """Return whether an element with `sqref` applies to cells, unlike the selection of a view."""
    return element.tag.rpartition("}")[2] not in ("selection", "protectedRange")


def _follow_cell(formula: Any, sheet: str, where: str, area: Area) -> None:
    text = formula.text or ""
    if formula.get("t") == "dataTable":
        raise TemplateError(f"{where}: a what-if table cannot follow; remove it")
    if formula.get("t") == "shared" and area.has_relative(text, sheet):
        raise TemplateError(
            f"{where}: the formula is shared by several cells and refers to rows of the table without $; "
            "write the rows with $, or refer to the table by name"
        )
    if text:
        formula.text = area.follow_formula(text, sheet, where, single=False)


def _remove_value(cell: Any) -> None:
    for value in cell.findall(f"{MAIN}v") + cell.findall(f"{MAIN}is"):
        cell.remove(value)
    cell.attrib.pop("t", None)


def _is_inside(address: str, areas: list[tuple[int, int, int, int]]) -> bool:
    row, _, column, _ = parse_area(address)
    return any(top <= row <= bottom and left <= column <= right for top, bottom, left, right in areas)


def _follow_chart(package: Package, part: str, area: Area) -> None:
    """Follow the references of a chart, and remove its copies of the cells' values."""
    root = package.change(part)
    for element in in_namespaces(root, "f"):
        if element.text:
            element.text = area.follow_formula(element.text, "", f"the chart {part.rpartition('/')[2]}")
    for element in list(in_namespaces(root, "numCache", "strCache", "multiLvlStrCache", "dlblRangeCache")):
        element.getparent().remove(element)


def _follow_drawing(package: Package, part: str, sheet: str, area: Area) -> None:
    """Empty the texts of shapes, of a sheet or a chart, that show a cell."""
    for shape in list(in_namespaces(package.xml(part), "sp")):
        if link := shape.get("textlink"):
            package.change(part)
            shape.set(
                "textlink", area.follow_formula(link, sheet, f"a shape of the sheet {sheet!r}", single=False)
            )
            for text in in_namespaces(shape, "t"):
                text.text = ""


def _follow_pivot(package: Package, sheet_part: str, part: str, place: TablePlace, area: Area) -> None:
    """Let a pivot table of these rows read them anew, and remove its copy of the sample."""
    caches = [cache for _, cache in package.related(part, "pivotCacheDefinition")]
    if not caches:
        raise TemplateError(f"is damaged: the pivot table {part} has no cache")
    root = package.xml(caches[0])
    source = root.find(f"{MAIN}cacheSource")
    cells = None if source is None else source.find(f"{MAIN}worksheetSource")
    if cells is None:
        raise TemplateError(
            "has a pivot table that is not made of one range or table; remake it from the table"
        )
    if not _reads_rows(package, cells, place, area):
        return
    root = package.change(caches[0])
    if cells.get("ref"):
        cells.set("ref", area.follow_ranges(cells.get("ref"), "a pivot table"))
    root.set("refreshOnLoad", "1")
    root.set("saveData", "0")
    root.set("missingItemsLimit", "0")
    for name in ("recordCount", f"{OFFICE}id"):
        root.attrib.pop(name, None)
    for _, records in list(package.related(caches[0], "pivotCacheRecords")):
        package.remove(records, caches[0])
    for element in root.iter(*(f"{MAIN}{name}" for name in _OF_VALUES)):
        raise TemplateError(
            "has a pivot table with groups or items made by hand of the sample's values "
            f"({element.tag.removeprefix(MAIN)}); ungroup them, or add a column to the table"
        )
    for items in root.iter(f"{MAIN}sharedItems", f"{MAIN}groupItems"):
        _anonymize(items)
    for bounds in root.iter(f"{MAIN}rangePr"):
        _anonymize_bounds(bounds)
    pivot = package.xml(part)
    for item in pivot.iter(f"{MAIN}item"):
        if item.get("x") and item.get("n"):  # a caption typed over a value of the sample
            package.change(part)
            del item.attrib["n"]
    _empty_pivot(package, sheet_part, pivot)


def _reads_rows(package: Package, cells: Any, place: TablePlace, area: Area) -> bool:
    """Return whether a pivot's source is the table, or may be."""
    probe = replace(area, end=area.last + 1)
    if name := cells.get("name"):
        if name.casefold() == place.name.casefold():
            return True
        for defined in package.xml(workbook_part(package)).iter(f"{MAIN}definedName"):
            if defined.get("name", "").casefold() == name.casefold():
                text = (defined.text or "").casefold()
                return place.sheet.replace("'", "''").casefold() in text or place.name.casefold() in text
        return False
    if cells.get("sheet", "").casefold() != place.sheet.casefold():
        return False
    ref = cells.get("ref", "")
    return ref.isalpha() or probe.follow_ranges(ref, "a pivot table") != ref or parse_area(ref)[1] > area.last


def _anonymize(items: Any) -> None:
    """Replace the values that a pivot's field had: its items are numbered, so there must be as many."""
    for name in ("minValue", "maxValue", "minDate", "maxDate"):
        if items.get(name) is not None:
            items.set(name, "0" if name.endswith("Value") else "2000-01-01T00:00:00")
    for index, item in enumerate(items):
        kind = item.tag.rpartition("}")[2]
        if kind == "s":
            item.set("v", f"({index + 1})")
        elif kind == "n":
            item.set("v", str(index))
        elif kind == "d":
            item.set("v", f"{datetime(2000, 1, 1) + timedelta(days=index):%Y-%m-%dT%H:%M:%S}")


def _anonymize_bounds(bounds: Any) -> None:
    """Replace the first and last value that a pivot's field is grouped from, unless they are set by hand."""
    for end, date, number in (("Start", "2000-01-01", "0"), ("End", "2001-01-01", "1")):
        if bounds.get(f"auto{end}", "1") not in ("1", "true"):
            continue
        if bounds.get(f"{end.lower()}Date") is not None:
            bounds.set(f"{end.lower()}Date", f"{date}T00:00:00")
        if bounds.get(f"{end.lower()}Num") is not None:
            bounds.set(f"{end.lower()}Num", number)


def _empty_pivot(package: Package, sheet_part: str, pivot: Any) -> None:
    """Remove the values that a pivot table shows: they are those of the sample until it is refreshed."""
    location = pivot.find(f"{MAIN}location")
    top, bottom, left, right = parse_area(location.get("ref"))
    areas = [(top, bottom, left, right)]
    if pages := int(location.get("rowPageCount", "0")):
        areas.append((top - pages - 1, top - 2, left, left + 2 * int(location.get("colPageCount", "1"))))
    for cell in package.change(sheet_part).iter(f"{MAIN}c"):
        if _is_inside(cell.get("r"), areas):
            _remove_value(cell)


def rewrite_strings(package: Package, place: TablePlace, facts: Mapping[str, str]) -> None:
    """Empty the shared strings that only the sample's rows refer to, and put facts into all other strings.

    Args:
        package: The parts.
        place: The table.
        facts: The text that stands for `{name}`, by name.
    """
    used = set()
    for _, part in list_sheets(package):
        for cell in _kept_cells(package.xml(part), place if part == place.sheet_part else None):
            if cell.get("t") == "s" and (value := cell.findtext(f"{MAIN}v")):
                used.add(int(value))
            elif cell.get("t") == "inlineStr" and _insert_facts(cell, facts):
                package.change(part)
    parts = [part for _, part in package.related(workbook_part(package), "sharedStrings")]
    if not parts:
        return
    root = package.change(parts[0])
    for index, item in enumerate(root.iter(f"{MAIN}si")):
        if index not in used:
            for child in list(item):
                item.remove(child)
            item.append(item.makeelement(f"{MAIN}t"))
        _insert_facts(item, facts)


def _insert_facts(item: Any, facts: Mapping[str, str]) -> bool:
    """Put facts into the texts of a string, and return whether any has changed."""
    has_changed = False
    for text in item.iter(f"{MAIN}t"):
        old = text.text or ""
        text.text = _FACT.sub(lambda match: facts.get(match[1], match[0]), old)
        has_changed |= text.text != old
    return has_changed


def _kept_cells(root: Any, place: TablePlace | None) -> Iterator[Any]:
    for row in root.iter(f"{MAIN}row"):
        if place is None or int(row.get("r")) <= place.header_row:
            yield from row.iter(f"{MAIN}c")


def remove_preview(package: Package) -> None:
    """Remove the picture of the first sheet that Excel keeps beside the properties."""
    for _, part in list(package.related("", "metadata/thumbnail")):
        package.remove(part, "")


def widest_column(root: Any, place: TablePlace) -> int:
    """Return the last column with a cell in the rows that stay, and of the table; counted from 0."""
    columns = [column_number(cell.get("r").rstrip("0123456789")) for cell in _kept_cells(root, place)]
    return max([*columns, place.right])
