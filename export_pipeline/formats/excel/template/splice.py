"""A template opened, checked, and cut open where the rows of its table go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export_pipeline.formats.excel.names import column_letters
from export_pipeline.formats.excel.template.edits import (
    add_names,
    follow_rows,
    remove_preview,
    rewrite_strings,
    widest_column,
)
from export_pipeline.formats.excel.template.inspection import (
    TablePlace,
    check_package,
    check_sheet,
    check_table,
    find_tables,
)
from export_pipeline.formats.excel.template.package import MAIN, Package, check_namespace
from export_pipeline.formats.excel.template.references import Area, TemplateError
from export_pipeline.formats.excel.xml import column_number

_MARK = "the rows of the export"


@dataclass(frozen=True, slots=True)
class CheckedTemplate:
    """A template that can be kept.

    Attributes:
        sha256: Hash of its file.
        table: Name of the table for the rows.
        headers: The table's headers.
    """

    sha256: str
    table: str
    headers: tuple[str, ...]


def check_template(path: Path, problem: Callable[[tuple[str, ...]], str | None]) -> CheckedTemplate:
    """Check that a workbook is kept whole when rows are spliced into its table.

    Args:
        path: The workbook.
        problem: Returns why rows do not fit a table with these headers; None if they do.

    Raises:
        TemplateError: It cannot be kept, or none of its tables fits, or several do.
    """
    package = Package(path)
    check_package(package)
    problems, fitting = [], []
    for place in find_tables(package):
        if reason := problem(place.headers):
            problems.append(f"its table {place.name!r} does not fit: {reason}")
        else:
            fitting.append(place)
    if not fitting:
        raise TemplateError(problems[0])
    if len(fitting) > 1:
        names = " and ".join(repr(place.name) for place in fitting[:2])
        raise TemplateError(f"has several tables that fit, {names}; rename a header of all but one")
    place = fitting[0]
    # Two more rows than the sample: everything that would have to follow is found, and refused if it cannot.
    Opened(package, place).cut(place.last - place.header_row + 2, [], {})
    return CheckedTemplate(hash_file(path), place.name, place.headers)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_template(path: Path, table: str) -> Opened:
    """Return a template that was checked before.

    Raises:
        TemplateError: It cannot be read.
    """
    package = Package(path)
    for place in find_tables(package):
        if place.name == table:
            return Opened(package, place)
    raise TemplateError(f"has no table {table!r}")


@dataclass(frozen=True, slots=True)
class Opened:
    """A template and the table for the rows."""

    package: Package
    place: TablePlace

    def styles(self) -> list[int]:
        """Return the style of each column's cells: that of the first sample row, or of the column."""
        root, place = self.package.xml(self.place.sheet_part), self.place
        styles = [0] * len(place.headers)
        for column in root.iter(f"{MAIN}col"):
            for number in range(int(column.get("min")), int(column.get("max")) + 1):
                if place.left <= number - 1 <= place.right:
                    styles[number - 1 - place.left] = int(column.get("style", "0"))
        row = self._first_row()
        for cell in () if row is None else row.iter(f"{MAIN}c"):
            index = column_number(cell.get("r").rstrip("0123456789")) - place.left
            if 0 <= index < len(styles):
                styles[index] = int(cell.get("s", "0"))
        return styles

    def height(self) -> str:
        """Return the attributes of a row of the table; "" without a height of its own."""
        row = self._first_row()
        if row is None or row.get("customHeight") not in ("1", "true"):
            return ""
        return f' ht="{float(row.get("ht", "15")):g}" customHeight="1"'

    def cut(
        self, rows: int, names: Sequence[tuple[str, str, int | None]], facts: Mapping[str, str]
    ) -> tuple[bytes, bytes]:
        """Change everything that must follow the rows, and return the sheet's XML before and after them.

        Args:
            rows: Number of rows.
            names: Hidden names to add: name, formula, index of a sheet.
            facts: What texts like `{scope}` in cells stand for.

        Raises:
            TemplateError: Something refers to only some of the rows, or cannot be kept beside others.
        """
        package, place = self.package, self.place
        check_table(package, place)
        check_sheet(package, place)
        end = place.header_row + max(rows, 1)
        area = Area(place.sheet, place.first, place.last, place.left, place.right, end)
        follow_rows(package, place, area)
        rewrite_strings(package, place, facts)
        remove_preview(package)
        if names:
            add_names(package, names)
        root = package.change(place.sheet_part)
        data = root.find(f"{MAIN}sheetData")
        check_namespace(data, place.sheet_part)
        for row in list(data):
            if int(row.get("r")) > place.header_row:
                data.remove(row)
        data.append(_mark(root))
        dimension = root.find(f"{MAIN}dimension")
        if dimension is not None:
            dimension.set("ref", f"A1:{column_letters(widest_column(root, place))}{end}")
        head, mark, tail = package.content(place.sheet_part).partition(f"<!--{_MARK}-->".encode())
        assert mark
        return head, tail

    def _first_row(self) -> Any:
        for row in self.package.xml(self.place.sheet_part).iter(f"{MAIN}row"):
            if int(row.get("r")) == self.place.first:
                return row
        return None


def _mark(root: Any) -> Any:
    from lxml import etree

    return etree.Comment(_MARK)
