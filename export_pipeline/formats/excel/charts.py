"""Excel's charts: the part of a chart, and that of a sheet's drawing with its charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from export_pipeline.core.charts import Chart, Series
from export_pipeline.core.columns import Column, Kind
from export_pipeline.formats.excel.names import column_letters, quote_sheet
from export_pipeline.formats.excel.styles import number_format
from export_pipeline.formats.excel.text import xml_attribute, xml_text

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
_PLACES = "http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
# Told apart by people who see few colours, and on paper by their lightness.
_COLORS = ("2B579A", "E69F00", "009E73", "CC79A7", "56B4E9", "7F7F7F")
_LINES = "D9D9D9"
_TEXT = "404040"
_EMU = 9_525  # English metric units of a pixel
_CATEGORY_AXIS, _VALUE_AXIS = 1, 2


@dataclass(frozen=True, slots=True)
class Placed:
    """A chart and the cells that it is drawn from.

    Attributes:
        chart: The chart.
        sheet: Name of the sheet.
        header_row: Row with the names of the series; categories and values begin in the next one.
        row, column: Cell at its upper left corner, counted from 0.
        width, height: Its size in pixels.
    """

    chart: Chart
    sheet: str
    header_row: int
    row: int
    column: int
    width: int
    height: int

    @property
    def last_row(self) -> int:
        """Row of the last category."""
        return self.header_row + len(self.chart.categories)

    def area(self, first: int, last: int) -> str:
        """Return the address of the categories' rows in these columns, counted from 0."""
        rows = self.header_row + 1, self.last_row
        return f"${column_letters(first)}${rows[0]}:${column_letters(last)}${rows[1]}"


def chart_part(number: int) -> str:
    """Return the part name of a chart counted from 1."""
    return f"xl/charts/chart{number}.xml"


def chart_xml(placed: Placed) -> str:
    """Return the part of a chart."""
    chart = placed.chart
    series = "".join(_series(placed, index) for index in range(len(chart.series)))
    legend = len(chart.series) > 1 or chart.type == "pie"
    position = "r" if chart.type == "pie" else "b"
    return (
        f'{_DECLARATION}<c:chartSpace xmlns:c="{_CHART}" xmlns:a="{_DRAWING}" xmlns:r="{_OFFICE}">'
        '<c:roundedCorners val="0"/><c:chart>'
        f"<c:title><c:tx><c:rich><a:bodyPr/><a:p><a:pPr>{_font('defRPr', 1_300, bold=True)}</a:pPr>"
        f"<a:r>{_font('rPr', 1_300, bold=True)}<a:t>{xml_text(chart.title)}</a:t></a:r></a:p></c:rich></c:tx>"
        '<c:overlay val="0"/></c:title><c:autoTitleDeleted val="0"/>'
        f"<c:plotArea><c:layout/>{_plot(chart, series)}</c:plotArea>"
        + (
            f'<c:legend><c:legendPos val="{position}"/><c:overlay val="0"/>{_text_properties()}</c:legend>'
            if legend
            else ""
        )
        + '<c:plotVisOnly val="1"/><c:dispBlanksAs val="gap"/></c:chart>'
        f'<c:spPr><a:solidFill><a:srgbClr val="FFFFFF"/></a:solidFill>{_line(_LINES)}</c:spPr></c:chartSpace>'
    )


def _plot(chart: Chart, series: str) -> str:
    """Return the plot of the series with its axes."""
    axes = f'<c:axId val="{_CATEGORY_AXIS}"/><c:axId val="{_VALUE_AXIS}"/>'
    if chart.type == "pie":
        return (
            f'<c:pieChart><c:varyColors val="1"/>{series}<c:dLbls>{_text_properties()}'
            '<c:showLegendKey val="0"/><c:showVal val="0"/><c:showCatName val="0"/>'
            '<c:showSerName val="0"/><c:showPercent val="1"/>'
            '<c:showBubbleSize val="0"/><c:showLeaderLines val="1"/></c:dLbls>'
            '<c:firstSliceAng val="0"/></c:pieChart>'
        )
    if chart.type == "line":
        plot = (
            f'<c:lineChart><c:grouping val="standard"/><c:varyColors val="0"/>{series}'
            f'<c:marker val="1"/>{axes}</c:lineChart>'
        )
    else:
        direction = "bar" if chart.type == "bar" else "col"
        grouping, overlap = ("stacked", '<c:overlap val="100"/>') if chart.stacked else ("clustered", "")
        plot = (
            f'<c:barChart><c:barDir val="{direction}"/><c:grouping val="{grouping}"/><c:varyColors val="0"/>'
            f'{series}<c:gapWidth val="60"/>{overlap}{axes}</c:barChart>'
        )
    return plot + _axes(chart)


def _axes(chart: Chart) -> str:
    is_bar = chart.type == "bar"
    # The first bar is at the top, and the axis of values still at the bottom.
    order, crosses = ("maxMin", "max") if is_bar else ("minMax", "autoZero")
    below, beside = ("l", "b") if is_bar else ("b", "l")
    code = xml_attribute(_axis_format(chart.series))
    zero = "" if chart.type == "line" else _zero(chart.series)
    return (
        f'<c:catAx><c:axId val="{_CATEGORY_AXIS}"/><c:scaling><c:orientation val="{order}"/></c:scaling>'
        f'<c:delete val="0"/><c:axPos val="{below}"/><c:numFmt formatCode="General" sourceLinked="0"/>'
        '<c:majorTickMark val="none"/><c:minorTickMark val="none"/><c:tickLblPos val="low"/>'
        f"<c:spPr>{_line('A6A6A6')}</c:spPr>{_text_properties()}"
        f'<c:crossAx val="{_VALUE_AXIS}"/><c:crosses val="autoZero"/><c:auto val="0"/><c:lblAlgn val="ctr"/>'
        '<c:lblOffset val="100"/><c:noMultiLvlLbl val="1"/></c:catAx>'
        f'<c:valAx><c:axId val="{_VALUE_AXIS}"/><c:scaling><c:orientation val="minMax"/>{zero}</c:scaling>'
        f'<c:delete val="0"/><c:axPos val="{beside}"/><c:majorGridlines><c:spPr>{_line(_LINES)}</c:spPr>'
        f'</c:majorGridlines><c:numFmt formatCode="{code}" sourceLinked="0"/><c:majorTickMark val="none"/>'
        '<c:minorTickMark val="none"/><c:tickLblPos val="nextTo"/><c:spPr><a:ln><a:noFill/></a:ln></c:spPr>'
        f'{_text_properties()}<c:crossAx val="{_CATEGORY_AXIS}"/><c:crosses val="{crosses}"/>'
        '<c:crossBetween val="between"/></c:valAx>'
    )


def _zero(series: Sequence[Series]) -> str:
    """Return the end of an axis of bars that is zero: if all are long, programs begin elsewhere, and the
    lengths of the bars no longer tell how much larger one is.
    """
    values = [value for one in series for value in one.values]
    if all(value >= 0 for value in values):
        return '<c:min val="0"/>'
    return '<c:max val="0"/>' if all(value <= 0 for value in values) else ""


def _series(placed: Placed, index: int) -> str:
    """Return one series, with the cells it is drawn from and their values."""
    chart, sheet = placed.chart, quote_sheet(placed.sheet)
    series, column = chart.series[index], index + 1
    name = f"{sheet}!${column_letters(column)}${placed.header_row}"
    count = len(chart.categories)
    color = _COLORS[index % len(_COLORS)]
    if chart.type == "line":
        look = (
            f'<c:spPr><a:ln w="28575"><a:solidFill><a:srgbClr val="{color}"/></a:solidFill></a:ln></c:spPr>'
            '<c:marker><c:symbol val="circle"/><c:size val="5"/>'
            f"<c:spPr>{_fill(color)}{_line(color)}</c:spPr></c:marker>"
        )
    elif chart.type == "pie":
        look = "".join(
            f'<c:dPt><c:idx val="{i}"/><c:bubble3D val="0"/><c:spPr>{_fill(_slice_color(i))}{_line("FFFFFF")}'
            "</c:spPr></c:dPt>"
            for i in range(count)
        )
    else:
        look = f'<c:spPr>{_fill(color)}</c:spPr><c:invertIfNegative val="0"/>'
    names = "".join(_point(i, xml_text(label)) for i, label in enumerate(chart.categories))
    values = "".join(_point(i, number_text(value)) for i, value in enumerate(series.values))
    smooth = '<c:smooth val="0"/>' if chart.type == "line" else ""
    return (
        f'<c:ser><c:idx val="{index}"/><c:order val="{index}"/>'
        f'<c:tx><c:strRef><c:f>{xml_text(name)}</c:f><c:strCache><c:ptCount val="1"/>'
        f"{_point(0, xml_text(series.name))}</c:strCache></c:strRef></c:tx>{look}"
        f"<c:cat><c:strRef><c:f>{xml_text(f'{sheet}!{placed.area(0, 0)}')}</c:f>"
        f'<c:strCache><c:ptCount val="{count}"/>{names}</c:strCache></c:strRef></c:cat>'
        f"<c:val><c:numRef><c:f>{xml_text(f'{sheet}!{placed.area(column, column)}')}</c:f>"
        f"<c:numCache><c:formatCode>{xml_text(number_format(series.column))}</c:formatCode>"
        f'<c:ptCount val="{count}"/>{values}</c:numCache></c:numRef></c:val>{smooth}</c:ser>'
    )


def number_text(value: int | float | Decimal) -> str:
    """Return a number as the double that a cell holds."""
    return repr(float(value))


def _point(index: int, text: str) -> str:
    return f'<c:pt idx="{index}"><c:v>{text}</c:v></c:pt>'


def _slice_color(index: int) -> str:
    return _COLORS[index % len(_COLORS)]


def _axis_format(series: Sequence[Series]) -> str:
    """Return the number format of the axis: that of the values, without decimals where they are large."""
    column = series[0].column
    largest = max((abs(float(value)) for one in series for value in one.values), default=0.0)
    if largest >= 20 and column.kind is not Kind.INTEGER:
        column = _without_decimals(column)
    return number_format(column)


def _without_decimals(column: Column) -> Column:
    return Column(column.name, column.header, column.kind, digits=0, currency=column.currency)


def _font(tag: str, size: int, *, bold: bool) -> str:
    return f'<a:{tag} sz="{size}" b="{int(bold)}">{_fill(_TEXT)}</a:{tag}>'


def _text_properties() -> str:
    font = _font("defRPr", 900, bold=False)
    return f'<c:txPr><a:bodyPr/><a:p><a:pPr>{font}</a:pPr><a:endParaRPr lang="en-US"/></a:p></c:txPr>'


def _fill(color: str) -> str:
    return f'<a:solidFill><a:srgbClr val="{color}"/></a:solidFill>'


def _line(color: str) -> str:
    return f'<a:ln w="9525">{_fill(color)}</a:ln>'


def drawing_xml(charts: Sequence[Placed]) -> str:
    """Return the drawing of a sheet with these charts; the n-th has the relationship rId{n}."""
    return (
        f'{_DECLARATION}<xdr:wsDr xmlns:xdr="{_PLACES}" xmlns:a="{_DRAWING}">'
        + "".join(_anchors(charts))
        + "</xdr:wsDr>"
    )


def _anchors(charts: Sequence[Placed]) -> Iterator[str]:
    for number, placed in enumerate(charts, start=1):
        described = xml_attribute(_describe(placed.chart))
        yield (
            f"<xdr:oneCellAnchor><xdr:from><xdr:col>{placed.column}</xdr:col><xdr:colOff>0</xdr:colOff>"
            f"<xdr:row>{placed.row}</xdr:row><xdr:rowOff>0</xdr:rowOff></xdr:from>"
            f'<xdr:ext cx="{placed.width * _EMU}" cy="{placed.height * _EMU}"/>'
            f'<xdr:graphicFrame macro=""><xdr:nvGraphicFramePr><xdr:cNvPr id="{number + 1}" '
            f'name="Chart {number}" descr="{described}"/><xdr:cNvGraphicFramePr/></xdr:nvGraphicFramePr>'
            '<xdr:xfrm><a:off x="0" y="0"/><a:ext cx="0" cy="0"/></xdr:xfrm>'
            f'<a:graphic><a:graphicData uri="{_CHART}"><c:chart xmlns:c="{_CHART}" xmlns:r="{_OFFICE}" '
            f'r:id="rId{number}"/></a:graphicData></a:graphic></xdr:graphicFrame><xdr:clientData/>'
            "</xdr:oneCellAnchor>"
        )


def _describe(chart: Chart) -> str:
    """Return what people who do not see a chart are told of it."""
    return f"{chart.type} chart: {chart.title}. Its values are in the cells to its left."
