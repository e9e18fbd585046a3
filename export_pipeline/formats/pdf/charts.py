"""Charts on the first page: drawn by reportlab, with the document's own fonts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from reportlab.graphics import renderPDF
from reportlab.graphics.charts.barcharts import HorizontalBarChart, VerticalBarChart
from reportlab.graphics.charts.linecharts import HorizontalLineChart
from reportlab.graphics.charts.piecharts import Pie
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.colors import Color, HexColor
from reportlab.pdfgen.canvas import Canvas

from export_pipeline.core.charts import Chart
from export_pipeline.core.columns import Kind
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.cells import affixes, number_text
from export_pipeline.formats.pdf.pages import Pages, leading_of
from export_pipeline.formats.pdf.style import MARGIN, UNIT
from export_pipeline.formats.pdf.typeset import Typesetter

_GAP = 16
_ROW = 11
"""Height of a row of the legend, and of a horizontal bar's label, in points."""
_SIZE = 7
_HEIGHT, _HIGHEST = 118, 300
"""Height of a plot in points, and of one with many horizontal bars."""
_COLORS = (
    "#E08A1E", "#3A9E75", "#B24C63", "#7B6FB3", "#8C8C8C", "#4FA3C7", "#D6C43A", "#7A5230",
    "#E39AC4", "#1F5F66", "#A5CC7A", "#4A2E80", "#F2C3A7", "#A7D8E8", "#7A1F2B", "#3D3D3D",
)  # fmt: skip
"""Colours of the series, or slices, after the first, which has the accent's: enough for every pie."""
_NEAR, _SAME = 0.3, 0.1
"""Distances from the accent, as red, green and blue from 0 to 1: near colours come last, equal ones never."""
_GRID, _TEXT = HexColor("#D5DAE1"), HexColor("#4A4F58")
_STEPS = 6
"""Most steps of an axis of values."""
_MAX_SPOKEN = 40
"""Most values of a chart in the text for those who cannot see it."""


def print_charts(pages: Pages, charts: Sequence[Chart]) -> None:
    """Print charts, two side by side; a single one over the whole width."""
    for start in range(0, len(charts), 2):
        row = charts[start : start + 2]
        gap = _GAP * UNIT * (len(row) - 1)
        width = (pages.width - gap) // len(row)
        titles = [
            pages.typesetter.lines(chart.title, style.BODY, width, "Charts", bold=True) for chart in row
        ]
        drawings = [
            _Plot(chart, width / UNIT, pages.theme.accent_rgb, pages.typesetter).draw() for chart in row
        ]
        head = leading_of(style.BODY) * max(len(lines) for lines in titles) + 3 * UNIT
        high = round(max(drawing.height for drawing in drawings) * UNIT)
        pages.need(head + high + _GAP * UNIT)
        for place, (chart, lines, drawing) in enumerate(zip(row, titles, drawings, strict=True)):
            x = place * (width + gap)
            baseline = pages.y - style.BODY
            element = pages.element(b"P")
            pages.print(
                lines, x, baseline, style.BODY, style.INK, True, leading_of(style.BODY), element=element
            )
            top = pages.y - head
            low = top - round(drawing.height * UNIT)
            with pages.figure(_describe(chart), (MARGIN + x, low, width, top - low)):
                pages.draw(_content(drawing, pages.typesetter, MARGIN + x, low))
        pages.y -= head + high + 2 * UNIT


def _describe(chart: Chart) -> str:
    """Return the values of a chart in words."""
    spoken: list[str] = []
    for series in chart.series:
        spoken += [
            f"{series.name}, {category}: {number_text(series.column, value)}"
            for category, value in zip(chart.categories, series.values, strict=True)
        ]
    more = len(spoken) - _MAX_SPOKEN
    spoken[_MAX_SPOKEN:] = [f"and {more:,} more values"] if more > 0 else []
    return f"Chart ({chart.type}) of {chart.title}. " + "; ".join(spoken)


class _Plot:
    """The drawing of one chart, in points."""

    def __init__(
        self, chart: Chart, width: float, accent: tuple[float, float, float], type_: Typesetter
    ) -> None:
        self._chart = chart
        self._width = width
        self._typesetter = type_
        others = [color for color in map(HexColor, _COLORS) if _distance(color, accent) > _SAME]
        others.sort(key=lambda color: _distance(color, accent) <= _NEAR)
        self._colors = [Color(*accent), *others]

    def draw(self) -> Drawing:
        """Return the drawing: the legend above the plot."""
        chart = self._chart
        names = chart.categories if chart.type == "pie" else [series.name for series in chart.series]
        rows = self._legend_rows(names) if len(names) > 1 else []
        plot = self._plot_height()
        drawing = Drawing(self._width, plot + _ROW * len(rows))
        for number, row in enumerate(rows):
            y = drawing.height - _ROW * (number + 1) + 3
            for x, index, text in row:
                drawing.add(Rect(x, y, 6, 6, fillColor=self._color(index), strokeColor=None))
                drawing.add(String(x + 9, y, text, fontSize=_SIZE, fillColor=_TEXT))
        drawing.add(
            {"bar": self._bars, "column": self._columns, "line": self._lines, "pie": self._pie}[chart.type](
                plot
            )
        )
        return drawing

    def _color(self, index: int) -> Color:
        return self._colors[index % len(self._colors)]

    def _legend_rows(self, names: Sequence[str]) -> list[list[tuple[float, int, str]]]:
        """Return rows of x, number and text of the entries of a legend."""
        rows: list[list[tuple[float, int, str]]] = [[]]
        x = 0.0
        for index, name in enumerate(names):
            text = self._cut(name, self._width - 12)
            wide = self._measure(text) + 21
            if x and x + wide > self._width:
                rows.append([])
                x = 0.0
            rows[-1].append((x, index, text))
            x += wide
        return rows

    def _plot_height(self) -> int:
        chart = self._chart
        if chart.type != "bar":
            return _HEIGHT
        bars = 1 if chart.stacked else len(chart.series)
        return min(max(_HEIGHT, len(chart.categories) * (_ROW if bars == 1 else 6 * bars + 3) + 16), _HIGHEST)

    def _bars(self, height: float) -> Any:
        plot = HorizontalBarChart()
        self._set_bars(plot, reverse=True)
        names = [self._cut(name, self._width * 0.35) for name in self._chart.categories]
        plot.categoryAxis.categoryNames = names[::-1]
        self._set_labels(plot.categoryAxis.labels, "e", "end")
        plot.categoryAxis.labels.dx = -3
        plot.x = max(map(self._measure, names)) + 6
        plot.y, plot.height = 12, height - 16
        plot.width = self._width - plot.x - 12
        self._set_labels(plot.valueAxis.labels, "n", "middle")
        plot.valueAxis.gridStart, plot.valueAxis.gridEnd = plot.y, plot.y + plot.height
        return plot

    def _columns(self, height: float) -> Any:
        plot = VerticalBarChart()
        self._set_bars(plot)
        self._place_upright(plot, height)
        return plot

    def _lines(self, height: float) -> Any:
        plot = HorizontalLineChart()
        plot.data = self._data()
        for index in range(len(plot.data)):
            plot.lines[index].strokeColor = self._color(index)
            plot.lines[index].strokeWidth = 1.5
        self._set_value_axis(plot)
        self._place_upright(plot, height)
        return plot

    def _pie(self, height: float) -> Any:
        plot = Pie()
        plot.data = self._data()[0]
        plot.width = plot.height = height - 8
        plot.x, plot.y = (self._width - plot.width) / 2, 4
        plot.slices.strokeColor = HexColor("#FFFFFF")
        plot.slices.strokeWidth = 0.5
        for index in range(len(plot.data)):
            plot.slices[index].fillColor = self._color(index)
        return plot

    def _data(self) -> list[tuple[float, ...]]:
        return [tuple(map(float, series.values)) for series in self._chart.series]

    def _set_bars(self, plot: Any, reverse: bool = False) -> None:
        """Set what both kinds of bars share; horizontal ones are counted from below."""
        data = self._data()
        order = range(len(data))
        if reverse:
            data = [values[::-1] for values in data]
            if not self._chart.stacked:
                data, order = data[::-1], order[::-1]
        plot.data = data
        plot.categoryAxis.style = "stacked" if self._chart.stacked else "parallel"
        plot.groupSpacing = 5
        plot.barSpacing = 0
        for place, index in enumerate(order):
            plot.bars[place].fillColor = self._color(index)
            plot.bars[place].strokeColor = None
        self._set_value_axis(plot)

    def _set_value_axis(self, plot: Any) -> None:
        axis, column = plot.valueAxis, self._chart.series[0].column
        axis.visibleGrid, axis.gridStrokeColor, axis.gridStrokeWidth = 1, _GRID, 0.4
        axis.visibleAxis = axis.visibleTicks = 0
        before, after = affixes(column)
        axis.labelTextFormat = lambda value: _short(value, before, after)
        axis.valueMin, axis.valueMax, axis.valueStep = _axis_range(*self._reach(), column.kind)
        plot.categoryAxis.visibleTicks = 0
        # Names stay beside the plot where values are negative.
        plot.categoryAxis.labelAxisMode = "low"
        plot.categoryAxis.strokeColor, plot.categoryAxis.strokeWidth = _GRID, 0.8

    def _place_upright(self, plot: Any, height: float) -> None:
        names = [self._cut(name, self._width / 4) for name in self._chart.categories]
        widest = max(map(self._measure, names)) + 8
        plot.x, plot.y = self._axis_width(), 14
        plot.width, plot.height = self._width - plot.x - 4, height - 18
        step = -(-len(names) * widest // plot.width)
        plot.categoryAxis.categoryNames = [name if not i % step else "" for i, name in enumerate(names)]
        self._set_labels(plot.categoryAxis.labels, "n", "middle")
        plot.categoryAxis.labels.dy = -3
        self._set_labels(plot.valueAxis.labels, "e", "end")
        plot.valueAxis.labels.dx = -3
        plot.valueAxis.gridStart, plot.valueAxis.gridEnd = plot.x, plot.x + plot.width

    def _axis_width(self) -> float:
        """Return the room for the values beside the plot."""
        before, after = affixes(self._chart.series[0].column)
        return max(self._measure(_short(value * 1.25, before, after)) for value in self._reach()) + 14

    def _reach(self) -> tuple[float, float]:
        """Return the least and the greatest value drawn, one of which may be 0."""
        data = self._data()
        if self._chart.stacked:
            # Positive values stand on each other, negative ones hang below each other.
            data = [
                (sum(v for v in values if v < 0), sum(v for v in values if v > 0))
                for values in zip(*data, strict=True)
            ]
        return min(0.0, *map(min, data)), max(0.0, *map(max, data))

    @staticmethod
    def _set_labels(labels: Any, box: str, anchor: str) -> None:
        labels.fontSize, labels.fillColor = _SIZE, _TEXT
        labels.boxAnchor, labels.textAnchor = box, anchor

    def _measure(self, text: str) -> float:
        return self._typesetter.width(text, _SIZE * UNIT) / UNIT

    def _cut(self, text: str, width: float) -> str:
        """Return as much of a text as fits, with an ellipsis where something is missing."""
        if self._measure(text) <= width:
            return text
        while text and self._measure(f"{text}…") > width:
            text = text[:-1]
        return f"{text.rstrip()}…"


def _axis_range(low: float, high: float, kind: Kind) -> tuple[float, float, float]:
    """Return the ends and the step of an axis that reaches from low to high in few round steps."""
    if low == high:
        return 0.0, 1.0, 1.0
    power = 10.0 ** math.floor(math.log10((high / _STEPS) - (low / _STEPS)))
    factors = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)
    for factor in factors:
        step = factor * power
        is_whole = kind is not Kind.INTEGER or step == round(step)
        first, last = math.floor(low / step), math.ceil(high / step)
        if is_whole and last - first <= _STEPS:
            break
    return first * step, last * step, step


def _distance(color: Color, rgb: tuple[float, float, float]) -> float:
    return math.dist((color.red, color.green, color.blue), rgb)


def _short(value: float, before: str, after: str) -> str:
    """Return a number in a few characters, e.g. $1.2M or 4.5e+20."""
    size, unit = abs(value), ""
    if size >= 1e15:
        return f"{'-' if value < 0 else ''}{before}{size:.3g}{after}"
    for scale, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if size >= scale:
            size, unit = size / (scale if name != "k" else 1e3), name
            break
    text = f"{size:,.4g}" if size < 1e5 else f"{size:,.0f}"
    return f"{'-' if value < 0 else ''}{before}{text}{unit}{after}"


class _Renderer(renderPDF._PDFRenderer):  # type: ignore[misc]  # has no public name
    """Draws shapes as reportlab does, but texts in the document's fonts."""

    def __init__(self, typesetter: Typesetter) -> None:
        super().__init__()
        self._typesetter = typesetter

    def drawString(self, string: Any) -> None:
        """Draw a text as its anchor says."""
        state = self._tracker.getState()
        size, color = state["fontSize"], state["fillColor"]
        lines = self._typesetter.lines(string.text, round(size * UNIT), 1_000_000, "Charts")
        if not string.text or not lines:
            return
        share = {"middle": 0.5, "end": 1.0}.get(state["textAnchor"], 0.0)
        x = string.x - share * lines[0].width / UNIT
        self._canvas._code.append(
            f"BT {color.red:.3f} {color.green:.3f} {color.blue:.3f} rg /{self._typesetter.regular.resource} "
            f"{size} Tf {x:.2f} {string.y:.2f} Td <{lines[0].glyphs.decode()}> Tj ET"
        )


def _content(drawing: Drawing, typesetter: Typesetter, x: int, y: int) -> bytes:
    """Return a drawing as page content, its lower left corner at a place on the page."""
    canvas = Canvas(BytesIO(), invariant=1)
    begin = len(canvas._code)
    _Renderer(typesetter).draw(drawing, canvas, 0, 0)
    content = "\n".join(canvas._code[begin:])
    return f"q {UNIT} 0 0 {UNIT} {x} {y} cm\n{content}\nQ\n".encode("latin-1")
