"""The XML of a sheet around its data rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal

from export_pipeline.core.columns import Column
from export_pipeline.core.highlights import Highlight
from export_pipeline.core.layout import Number, Total
from export_pipeline.formats.excel.highlights import highlight_xml
from export_pipeline.formats.excel.names import quote_sheet
from export_pipeline.formats.excel.numbers import MAX_DIGITS, NOT_A_NUMBER, is_ordinary
from export_pipeline.formats.excel.paper import Page
from export_pipeline.formats.excel.plan import Sheet
from export_pipeline.formats.excel.styles import (
    EMPTY,
    HEADER,
    LINE,
    TITLE,
    StyleBook,
    odd_style,
    total_style,
)
from export_pipeline.formats.excel.text import inline_cell, xml_attribute, xml_text
from export_pipeline.formats.excel.widths import LINE_HEIGHT, count_lines, header_height

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
ROUNDED = f" (rounded to {MAX_DIGITS} digits)"
ROUNDED_TOTAL = f"total rounded to {MAX_DIGITS} digits"
_MAX_FROZEN_ROWS = 25  # more would leave no room to scroll on a small screen
_SCREEN, _WIDEST_FROZEN = (
    180.0,
    45.0,
)  # characters: of a laptop's screen, and of a first column that is frozen


@dataclass(frozen=True, slots=True)
class Frame:
    """Properties shared by the sheets of one section.

    Attributes:
        columns: The columns.
        letters: Their column letters.
        headers: Their headers as printed.
        widths: Their widths in characters.
        empty: Text printed if there are no rows.
        freeze: True if the rows down to the header are frozen.
        header_numbers: Index of each header among the shared strings, as Excel's tables need them; empty if
            the headers are no table's.
        page: Paper and orientation, and how many pages wide the sheet is printed.
        footer: Text at the foot of each printed page.
        highlights: Highlights of the cells.
        changed: Counts a changed cell: (reason, header).
    """

    columns: tuple[Column, ...]
    letters: tuple[str, ...]
    headers: tuple[str, ...]
    widths: tuple[float, ...]
    empty: str
    freeze: bool
    header_numbers: tuple[int, ...]
    page: Page
    footer: str
    highlights: tuple[Highlight, ...]
    changed: Callable[[str, str], None]


class SheetWriter:
    """Writes the XML above and below the data rows of sheets.

    Args:
        frame: Properties shared by the section's sheets.
        styles: The workbook's styles.
        label: Converts a string that is not data, e.g. to guard against formulas.
    """

    def __init__(self, frame: Frame, styles: StyleBook, label: Callable[[str], str]) -> None:
        self._frame = frame
        self._label = label
        self._styles = styles
        self._title = styles.number(TITLE)
        self._line = styles.number(LINE)
        self._long_line = styles.number(replace(LINE, wrap=True, vertical="top"))
        self._header = styles.number(HEADER)
        self._empty = styles.number(EMPTY)
        self._odd = styles.number(odd_style())
        self._totals = [styles.number(total_style(column)) for column in frame.columns]
        self._columns = "".join(
            f'<col min="{i}" max="{i}" width="{width:g}" customWidth="1"/>'
            for i, width in enumerate(frame.widths, start=1)
        )

    def head(self, sheet: Sheet, *, selected: bool) -> bytes:
        """Return everything above the first data row."""
        header, letters = sheet.header_row, self._frame.letters
        last = letters[-1] if letters else "A"
        color = sheet.color if sheet.color and _COLOR.fullmatch(sheet.color) else None
        tab = f'<tabColor rgb="FF{color[1:].upper()}"/>' if color else ""
        freezes = self._frame.freeze and header <= _MAX_FROZEN_ROWS
        pane = freeze_pane(header, self._frame.widths) if freezes else ""
        rows = []
        if sheet.title:
            title = inline_cell("A1", self._title, self._label(sheet.title))
            rows.append(f'<row r="1" ht="21" customHeight="1">{title}</row>')
        for number, line in enumerate(sheet.lines, start=2):
            lines = self._lines_of(line)
            style, tall = self._line, ""
            if lines > 1:
                style, tall = self._long_line, f' ht="{LINE_HEIGHT * lines:g}" customHeight="1"'
            cell = inline_cell(f"A{number}", style, self._label(line))
            rows.append(f'<row r="{number}"{tall}>{cell}</row>')
        if letters:
            height = header_height(self._frame.headers, self._frame.widths)
            rows.append(f'<row r="{header}" ht="{height:g}" customHeight="1">{self._headers(header)}</row>')
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
            'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
            f'<sheetPr>{tab}<pageSetUpPr fitToPage="1"/></sheetPr>'
            f'<dimension ref="A1:{last}{sheet.end_row}"/>'
            f'<sheetViews><sheetView tabSelected="{int(selected)}" workbookViewId="0">{pane}</sheetView>'
            "</sheetViews>"
            '<sheetFormatPr defaultRowHeight="15"/>'
            + (f"<cols>{self._columns}</cols>" if letters else "")
            + "<sheetData>"
            + "".join(rows)
        ).encode()

    def _lines_of(self, text: str) -> int:
        """Return how many lines a text above the table takes if it is not to be wider than the table."""
        width = sum(self._frame.widths)
        if len(self._frame.widths) < 2 or len(text) <= width:
            return 1
        return count_lines(text, width)

    def _headers(self, row: int) -> str:
        letters, frame = self._frame.letters, self._frame
        if frame.header_numbers:
            return "".join(
                f'<c r="{letter}{row}" s="{self._header}" t="s"><v>{number}</v></c>'
                for letter, number in zip(letters, frame.header_numbers, strict=True)
            )
        return "".join(
            inline_cell(f"{letter}{row}", self._header, text)
            for letter, text in zip(letters, frame.headers, strict=True)
        )

    def tail(
        self,
        sheet: Sheet,
        text_columns: Collection[int],
        links: list[tuple[str, str]],
        addresses: str = "",
    ) -> bytes:
        """Return everything below the last data row.

        Args:
            sheet: The sheet.
            text_columns: Numeric columns in which the table holds a string, so no formula sums them.
            links: (cell, location) pairs of links to other sheets.
            addresses: The elements of links to web and mail addresses.
        """
        letters = self._frame.letters
        rows = []
        if not sheet.rows:
            first = sheet.first_row
            cell = inline_cell(f"A{first}", self._empty, self._label(self._frame.empty))
            rows.append(f'<row r="{first}">{cell}</row>')
        start = sheet.end_row - len(sheet.totals) + 1
        for number, total in enumerate(sheet.totals, start=start):
            rows.append(self._total_row(sheet, total, number, text_columns))
        hyperlinks = addresses + "".join(
            f'<hyperlink ref="{cell}" location="{xml_attribute(location)}"/>' for cell, location in links
        )
        area = f"{letters[0]}{sheet.header_row}:{letters[-1]}{sheet.last_row}" if letters else ""
        merged = [
            f'<mergeCell ref="A{number}:{letters[-1]}{number}"/>'
            for number, line in enumerate(sheet.lines, start=2)
            if self._lines_of(line) > 1
        ]
        is_table = bool(self._frame.header_numbers)
        page = self._frame.page
        return (
            "".join(rows)
            + "</sheetData>"
            + (f'<autoFilter ref="{area}"/>' if area and sheet.title and not is_table else "")
            + (f'<mergeCells count="{len(merged)}">{"".join(merged)}</mergeCells>' if merged else "")
            + self._highlights(sheet)
            + (f"<hyperlinks>{hyperlinks}</hyperlinks>" if hyperlinks else "")
            + '<pageMargins left="0.5" right="0.5" top="0.6" bottom="0.6" header="0.3" footer="0.3"/>'
            f'<pageSetup paperSize="{page.paper}" orientation="{page.orientation}" '
            f'fitToWidth="{page.across}" fitToHeight="0"/>'
            f"<headerFooter><oddFooter>{xml_text(self._frame.footer)}</oddFooter></headerFooter>"
            + (
                f'<ignoredErrors><ignoredError sqref="{area}" numberStoredAsText="1"/></ignoredErrors>'
                if area
                else ""
            )
            + ('<tableParts count="1"><tablePart r:id="rId1"/></tableParts>' if is_table else "")
            + "</worksheet>"
        ).encode()

    def _highlights(self, sheet: Sheet) -> str:
        letters = dict(zip((column.name for column in self._frame.columns), self._frame.letters, strict=True))
        highlights = self._frame.highlights
        return highlight_xml(highlights, letters, sheet.first_row, sheet.last_row, self._styles.highlight)

    def _total_row(self, sheet: Sheet, total: Total, row: int, text_columns: Collection[int]) -> str:
        columns = self._frame.columns
        by_name = {column.name: i for i, column in enumerate(columns)}
        where = by_name.get(total.where[0]) if total.where else None
        label_at = next((i for i, column in enumerate(columns) if column.name not in total.values), None)
        cells = []
        for i, column in enumerate(columns):
            reference, style = f"{self._frame.letters[i]}{row}", self._totals[i]
            value = total.values.get(column.name)
            if i == label_at:
                label = total.label + (ROUNDED if any(map(is_too_long, total.values.values())) else "")
                cells.append(inline_cell(reference, style, self._label(label)))
            elif value is None:
                cells.append(f'<c r="{reference}" s="{style}"/>')
            else:
                formula = None
                if i not in text_columns:
                    formula = total_formula(
                        self._guarded(total),
                        sheet.totals,
                        self._frame.letters[i],
                        None if where is None else self._frame.letters[where],
                        sheet.ranges,
                        sheet.name,
                    )
                cells.append(
                    number_cell(reference, (style, self._odd), formula, value, column, self._frame.changed)
                )
        return f'<row r="{row}">{"".join(cells)}</row>'

    def _guarded(self, total: Total) -> Total:
        """Return the total with its criterion as the cells have it."""
        return replace(total, where=(total.where[0], self._label(total.where[1]))) if total.where else total


def number_cell(
    reference: str,
    styles: tuple[int, int],
    formula: str | None,
    value: Number,
    column: Column,
    changed: Callable[[str, str], None],
) -> str:
    """Return a cell with a sum, rounded to a double where it must be.

    Args:
        reference: Its address.
        styles: Indexes of two styles: for a number, and for one that no cell can hold, which is text.
        formula: Its formula without `=`; None without one.
        value: The number.
        column: Its column.
        changed: Counts a changed cell: (reason, header).
    """
    number = Decimal(str(value))
    made = f"<f>{xml_text(formula)}</f>" if formula else ""
    if not is_ordinary(float(value)):
        changed(NOT_A_NUMBER, column.header)
        names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        return inline_cell(reference, styles[1], names.get(repr(float(value)), repr(float(value))))
    if is_too_long(value):
        changed(ROUNDED_TOTAL, column.header)
        return f'<c r="{reference}" s="{styles[0]}">{made}<v>{float(number)!r}</v></c>'
    text = repr(float(value)) if isinstance(value, float) else _plain(number)
    return f'<c r="{reference}" s="{styles[0]}">{made}<v>{text}</v></c>'


def freeze_pane(header: int, widths: Sequence[float]) -> str:
    """Return the element that freezes the rows down to the header, and the first column if the others are
    wider than a screen.
    """
    below = header + 1
    if len(widths) > 1 and sum(widths) > _SCREEN and widths[0] <= _WIDEST_FROZEN:
        return (
            f'<pane xSplit="1" ySplit="{header}" topLeftCell="B{below}" activePane="bottomRight" '
            f'state="frozen"/><selection pane="topRight"/><selection pane="bottomLeft"/>'
            f'<selection pane="bottomRight" activeCell="B{below}" sqref="B{below}"/>'
        )
    return (
        f'<pane ySplit="{header}" topLeftCell="A{below}" activePane="bottomLeft" state="frozen"/>'
        f'<selection pane="bottomLeft" activeCell="A{below}" sqref="A{below}"/>'
    )


_EXACT = Context(prec=200)


def is_too_long(value: Number) -> bool:
    """Return whether a cell holds an exact number only rounded."""
    if isinstance(value, float) or not is_ordinary(float(value)):
        return False
    return len(Decimal(value).normalize(_EXACT).as_tuple().digits) > MAX_DIGITS


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_LONGEST_TEXT = 255  # characters of a string literal in a formula
_LONGEST_FORMULA = 8_000
# Words that SUMIF compares literally: no wildcard, operator, number, date or boolean.
_PLAIN_WORD = re.compile(r"[A-Za-z]{1,8}[²³]?")
_NOT_PLAIN = frozenset({"true", "false"})
# Programs disagree whether _x0041_ in a formula is the letter A.
_CODED = re.compile("_x[0-9A-Fa-f]{4}_")

Range = tuple[str, int, int]


def total_formula(
    total: Total,
    others: Sequence[Total],
    letters: str,
    where_letters: str | None,
    ranges: Sequence[Range],
    here: str,
) -> str | None:
    """Return the formula that sums a column for a total row.

    Args:
        total: The total.
        others: All totals of the table, to find criteria that differ only in case.
        letters: The summed column.
        where_letters: The letters of the column in `total.where`; None if it has none.
        ranges: (sheet name, first row, last row) of the table's sheets.
        here: The name of the sheet that holds the formula.

    Returns:
        The formula without `=`; None if no formula is certain to give the total, e.g. for a very
        long criterion.
    """
    if total.where is None:
        formula = f"SUM({','.join(_range(letters, span, here) for span in ranges)})"
    else:
        value = total.where[1]
        if where_letters is None or len(value) > _LONGEST_TEXT:
            return None
        if not value.isprintable() or _CODED.search(value):
            return None
        text = '"' + value.replace('"', '""') + '"'
        exact = not _PLAIN_WORD.fullmatch(value) or value.lower() in _NOT_PLAIN or _clashes(total, others)
        formula = "+".join(
            (f"SUMPRODUCT(--EXACT({where},{text}),{values})" if exact else f"SUMIF({where},{text},{values})")
            for where, values in (
                (_range(where_letters, span, here), _range(letters, span, here)) for span in ranges
            )
        )
    return formula if len(formula) <= _LONGEST_FORMULA else None


def _range(letters: str, span: Range, here: str) -> str:
    name, first, last = span
    area = f"{letters}{first}:{letters}{last}"
    return area if name == here else f"{quote_sheet(name)}!{area}"


def _clashes(total: Total, others: Sequence[Total]) -> bool:
    assert total.where is not None
    folded = total.where[1].casefold()
    return any(
        other.where is not None
        and other.where[0] == total.where[0]
        and other.where[1] != total.where[1]
        and other.where[1].casefold() == folded
        for other in others
    )
