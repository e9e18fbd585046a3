"""The sheet with the charts of an export, each beside the small table that it is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from export_pipeline.core.charts import Chart
from export_pipeline.formats.excel.charts import Placed
from export_pipeline.formats.excel.names import column_letters
from export_pipeline.formats.excel.paper import MARGINS, PAPERS
from export_pipeline.formats.excel.sheet import ROUNDED, is_too_long, number_cell
from export_pipeline.formats.excel.styles import (
    HEADER,
    LINE,
    TITLE,
    Style,
    StyleBook,
    data_style,
    odd_style,
    total_style,
)
from export_pipeline.formats.excel.text import inline_cell, xml_text
from export_pipeline.formats.excel.widths import header_height

_LABELS_WIDTH, _VALUES_WIDTH, _GAP_WIDTH = 30.0, 16.0, 4.0  # characters
_SAFETY = 0.88  # programs disagree by some percent about the width of a character
_LINE = 20  # pixels: height of a row
_WIDTH, _HEIGHT = 620, 340  # pixels
_BAR = 24  # pixels: height of a category of horizontal bars
_BETWEEN = 2  # empty rows
_MARGINS_ABOVE = 1.2  # inches, above and below together
_FIRST_ROW = 3


class ChartSheet:
    """Places charts and writes their sheet.

    Args:
        name: The sheet's name.
        title: Title of the export.
        origin: Line below it: whose data these are, and of when.
        charts: The charts.
        styles: The workbook's styles.
        label: Converts a text so that a cell can hold it.
    """

    def __init__(
        self,
        name: str,
        title: str,
        origin: str,
        charts: Sequence[Chart],
        styles: StyleBook,
        label: Callable[[str], str],
    ) -> None:
        self._title, self._origin, self._styles, self._label = title, origin, styles, label
        self._odd = styles.number(odd_style())
        self._columns = 1 + max(len(chart.series) for chart in charts)
        self.placed = tuple(self._places(name, charts))

    def _places(self, name: str, charts: Sequence[Chart]) -> list[Placed]:
        placed, row = [], _FIRST_ROW
        for chart in charts:
            height = _HEIGHT
            if chart.type == "bar":
                bars = len(chart.categories) * (1 if chart.stacked else len(chart.series))
                height = max(height, 100 + _BAR * bars)
            named = replace(
                chart,
                title=self._label(chart.title),
                group=self._label(chart.group),
                categories=tuple(map(self._label, chart.categories)),
                series=tuple(replace(one, name=self._label(one.name)) for one in chart.series),
            )
            one = Placed(named, name, row + 1, row - 1, self._columns + 1, _WIDTH, height)
            placed.append(one)
            row = self._end(one) + _BETWEEN
        return placed

    def xml(self, footer: str, paper: str, changed: Callable[[str, str], None]) -> str:
        """Return the part of the sheet.

        Args:
            footer: Text at the foot of each printed page.
            paper: Name of the paper.
            changed: Counts a changed cell: (reason, header).
        """
        title = inline_cell("A1", self._number(TITLE), self._title)
        origin = inline_cell("A2", self._number(replace(LINE, vertical="top")), self._origin)
        rows = [
            f'<row r="1" ht="21" customHeight="1">{title}</row>',
            f'<row r="2" ht="27" customHeight="1">{origin}</row>',
        ]
        for placed in self.placed:
            rows += self._table(placed, changed)
        last = self.placed[-1].last_row + 1
        scale, breaks = self._pages(paper)
        number, _, _ = PAPERS[paper]
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
            'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
            f'<dimension ref="A1:{column_letters(self._columns - 1)}{last}"/>'
            '<sheetViews><sheetView showGridLines="0" workbookViewId="0"/></sheetViews>'
            '<sheetFormatPr defaultRowHeight="15"/><cols>'
            + "".join(
                f'<col min="{i}" max="{i}" width="{width:g}" customWidth="1"/>'
                for i, width in enumerate(self._widths(), start=1)
            )
            + f"</cols><sheetData>{''.join(rows)}</sheetData>"
            '<pageMargins left="0.5" right="0.5" top="0.6" bottom="0.6" header="0.3" footer="0.3"/>'
            f'<pageSetup paperSize="{number}" scale="{scale}" orientation="landscape"/>'
            f"<headerFooter><oddFooter>{xml_text(footer)}</oddFooter></headerFooter>"
            f'{breaks}<drawing r:id="rId1"/></worksheet>'
        )

    def _pages(self, paper: str) -> tuple[int, str]:
        """Return the scale in percent at which a page is wide enough, and page breaks that cut no chart."""
        _, height, width = PAPERS[paper]  # across
        pixels = sum(characters * 7 + 5 for characters in self._widths()) + _WIDTH
        scale = min(max(int(100 * _SAFETY * (width - MARGINS) * 96 / pixels), 10), 100)
        room = (height - _MARGINS_ABOVE) * 96 * 100 / scale / _LINE  # rows of a page
        breaks, top = [], 1
        for placed, following in pairwise([*self.placed, None]):
            assert placed is not None
            end = self._end(placed) if following is None else following.header_row - 2
            if end - top > room and placed.header_row - 2 > top:
                top = placed.header_row - 1
                breaks.append(f'<brk id="{top - 1}" max="16383" man="1"/>')
        count = len(breaks)
        if not breaks:
            return scale, ""
        xml = f'<rowBreaks count="{count}" manualBreakCount="{count}">{"".join(breaks)}</rowBreaks>'
        return scale, xml

    @staticmethod
    def _end(placed: Placed) -> int:
        return max(placed.last_row + 1, placed.row + -(-placed.height // _LINE))

    def _widths(self) -> list[float]:
        """Return the widths of the table's columns, and of the one between table and chart."""
        return [_LABELS_WIDTH, *[_VALUES_WIDTH] * (self._columns - 1), _GAP_WIDTH]

    def _table(self, placed: Placed, changed: Callable[[str, str], None]) -> list[str]:
        """Return the rows of a chart's table: heading, header, categories and total."""
        chart, header = placed.chart, placed.header_row
        heading = inline_cell(f"A{header - 1}", self._number(Style(font="bold")), chart.title)
        texts = [chart.group, *(series.name for series in chart.series)]
        height = header_height(texts, self._widths()[: len(texts)])
        cells = "".join(
            inline_cell(f"{column_letters(i)}{header}", self._number(HEADER), text)
            for i, text in enumerate(texts)
        )
        rows = [
            f'<row r="{header - 1}">{heading}</row>',
            f'<row r="{header}" ht="{height:g}" customHeight="1">{cells}</row>',
        ]
        label = self._number(Style(vertical="top", horizontal="left", indent=1))
        numbers = [
            (self._number(data_style(series.column, linked=False)), self._odd) for series in chart.series
        ]
        for place, category in enumerate(chart.categories):
            row = header + 1 + place
            rows.append(
                f'<row r="{row}">{inline_cell(f"A{row}", label, category)}'
                + "".join(
                    number_cell(
                        f"{column_letters(i)}{row}",
                        numbers[i - 1],
                        None,
                        series.values[place],
                        series.column,
                        changed,
                    )
                    for i, series in enumerate(chart.series, start=1)
                )
                + "</row>"
            )
        return [*rows, self._total_row(placed, changed)]

    def _total_row(self, placed: Placed, changed: Callable[[str, str], None]) -> str:
        row = placed.last_row + 1
        label = self._number(Style(font="bold", border="top", vertical="top", horizontal="left", indent=1))
        is_rounded = any(is_too_long(series.total) for series in placed.chart.series)
        cells = [inline_cell(f"A{row}", label, "Total" + (ROUNDED if is_rounded else ""))]
        for i, series in enumerate(placed.chart.series, start=1):
            letters = column_letters(i)
            formula = f"SUM({letters}{placed.header_row + 1}:{letters}{placed.last_row})"
            style = self._number(total_style(series.column))
            styles = (style, self._odd)
            cells.append(
                number_cell(f"{letters}{row}", styles, formula, series.total, series.column, changed)
            )
        return f'<row r="{row}">{"".join(cells)}</row>'

    def _number(self, style: Style) -> int:
        return self._styles.number(style)
