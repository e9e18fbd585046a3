"""Cell styles: each combination in use becomes one record of `styles.xml`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from export_pipeline.core.columns import Column, Kind
from export_pipeline.formats.excel.highlights import COLORS
from export_pipeline.formats.excel.text import xml_attribute

_FONTS = {
    "normal": '<font><sz val="11"/><color rgb="FF000000"/><name val="Calibri"/><family val="2"/></font>',
    "title": '<font><b/><sz val="14"/><color rgb="FF1F3864"/><name val="Calibri"/><family val="2"/></font>',
    "header": '<font><b/><sz val="11"/><color rgb="FFFFFFFF"/><name val="Calibri"/><family val="2"/></font>',
    "bold": '<font><b/><sz val="11"/><color rgb="FF000000"/><name val="Calibri"/><family val="2"/></font>',
    "link": '<font><u/><sz val="11"/><color rgb="FF0563C1"/><name val="Calibri"/><family val="2"/></font>',
    "pale": '<font><sz val="11"/><color rgb="FF6B7280"/><name val="Calibri"/><family val="2"/></font>',
    "quiet": '<font><i/><sz val="11"/><color rgb="FF595959"/><name val="Calibri"/><family val="2"/></font>',
}
_FILLS = {
    "none": '<fill><patternFill patternType="none"/></fill>',
    "gray125": '<fill><patternFill patternType="gray125"/></fill>',
    "header": '<fill><patternFill patternType="solid"><fgColor rgb="FF2B579A"/>'
    '<bgColor indexed="64"/></patternFill></fill>',
}
_THIN = '<{0} style="thin"><color rgb="FF{1}"/></{0}>'
_BORDERS = {
    "none": "<border><left/><right/><top/><bottom/><diagonal/></border>",
    "box": "<border>"
    + "".join(_THIN.format(side, "8EA9DB") for side in ("left", "right", "top", "bottom"))
    + "<diagonal/></border>",
    "top": "<border><left/><right/>" + _THIN.format("top", "000000") + "<bottom/><diagonal/></border>",
}
_GENERAL, _TEXT = "General", "@"
# Excel shows booleans as TRUE and FALSE in any format; LibreOffice needs a format to do so.
_BOOLEAN = '"TRUE";"TRUE";"FALSE"'
_BUILT_IN = {_GENERAL: 0, "0": 1, _TEXT: 49}
_FIRST_OWN_FORMAT = 164
_TIME_PARTS = re.compile("(yyyy|MMM|MM|dd|HH|mm|ss)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Style:
    """The look of a cell: names of a font, a fill and a border, a number format and an alignment."""

    font: str = "normal"
    fill: str = "none"
    border: str = "none"
    format: str = _GENERAL
    horizontal: str = ""
    vertical: str = ""
    wrap: bool = False
    indent: int = 0


TITLE = Style(font="title")
LINE = Style(font="normal")
EMPTY = Style(font="quiet")
HEADER = Style(font="header", fill="header", border="box", horizontal="center", vertical="center", wrap=True)


class StyleBook:
    """The styles of a workbook, indexed in order of first use."""

    def __init__(self) -> None:
        self._numbers: dict[Style, int] = {Style(): 0}
        self._highlights: list[str] = []

    def number(self, style: Style) -> int:
        """Return the style's index, for the `s` attribute of a cell."""
        return self._numbers.setdefault(style, len(self._numbers))

    def highlight(self, color: str) -> int:
        """Return the index of the look of highlighted cells of this colour."""
        if color not in self._highlights:
            self._highlights.append(color)
        return self._highlights.index(color)

    def xml(self) -> str:
        """Return the part `styles.xml`."""
        fonts, fills, borders = list(_FONTS), list(_FILLS), list(_BORDERS)
        formats = dict(_BUILT_IN)
        for style in self._numbers:
            if style.format not in formats:
                formats[style.format] = _FIRST_OWN_FORMAT + len(formats) - len(_BUILT_IN)
        own = [(code, number) for code, number in formats.items() if number >= _FIRST_OWN_FORMAT]
        records = "".join(
            f'<xf numFmtId="{formats[style.format]}" fontId="{fonts.index(style.font)}" '
            f'fillId="{fills.index(style.fill)}" borderId="{borders.index(style.border)}" xfId="0" '
            'applyNumberFormat="1" applyFont="1" applyFill="1" applyBorder="1" applyAlignment="1">'
            f"{_alignment(style)}</xf>"
            for style in self._numbers
        )
        number_formats = "".join(
            f'<numFmt numFmtId="{number}" formatCode="{xml_attribute(code)}"/>' for code, number in own
        )
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            + (f'<numFmts count="{len(own)}">{number_formats}</numFmts>' if own else "")
            + f'<fonts count="{len(fonts)}">{"".join(_FONTS.values())}</fonts>'
            f'<fills count="{len(fills)}">{"".join(_FILLS.values())}</fills>'
            f'<borders count="{len(borders)}">{"".join(_BORDERS.values())}</borders>'
            '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
            f'<cellXfs count="{len(self._numbers)}">{records}</cellXfs>'
            '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
            f"{self._looks()}"
            '<tableStyles count="0" defaultTableStyle="TableStyleMedium9" '
            'defaultPivotStyle="PivotStyleLight16"/></styleSheet>'
        )

    def _looks(self) -> str:
        looks = "".join(
            f'<dxf><font><color rgb="FF{text}"/></font><fill><patternFill><bgColor rgb="FF{cell}"/>'
            "</patternFill></fill></dxf>"
            for text, cell in (COLORS[color] for color in self._highlights)
        )
        return f'<dxfs count="{len(self._highlights)}">{looks}</dxfs>'


def data_style(column: Column, *, linked: bool) -> Style:
    """Return the style of a column's cells."""
    style = Style(format=number_format(column), vertical="top", font="link" if linked else "normal")
    if column.kind is Kind.BOOLEAN:
        return replace(style, horizontal="center")
    if _is_flush_left(column):
        return replace(style, horizontal="left", indent=1, wrap=wraps(column))
    return style


def _is_flush_left(column: Column) -> bool:
    """Return whether cells start at the left, with an indent that parts them from numbers before."""
    return column.kind.is_text or column.kind in (Kind.DATE, Kind.TIMESTAMP)


def wraps(column: Column) -> bool:
    """Return whether the column's text wraps."""
    return column.kind in (Kind.TEXT, Kind.JSON)


def odd_style(column: Column | None = None) -> Style:
    """Return the style of a cell that holds a number as text, or whatever the column holds."""
    if column is not None and _is_flush_left(column):
        return Style(format=_TEXT, vertical="top", horizontal="left", indent=1)
    return Style(format=_TEXT, vertical="top", horizontal="right")


def missing_style(column: Column) -> Style:
    """Return the style of the text that stands for a missing value: paler, so that values stand out."""
    style = data_style(column, linked=False) if column.kind.is_text else odd_style(column)
    return replace(style, font="pale")


def total_style(column: Column) -> Style:
    """Return the style of a column's cell in a total row."""
    style = Style(font="bold", border="top", format=number_format(column), vertical="top")
    return replace(style, horizontal="left", indent=1) if _is_flush_left(column) else style


def number_format(column: Column) -> str:
    """Return the number format code of a column's cells.

    A percentage of 12.5 is stored as 12.5 with a literal sign: 0.125 would not give the same double for
    every value.
    """
    kind, digits = column.kind, column.digits
    whole = "#,##0" if column.grouping else "0"
    match kind:
        case Kind.INTEGER:
            return whole
        case Kind.MONEY:
            sign = _literal(column.currency)
            number = "#,##0" + _places(2 if digits is None else digits)
            return f"{sign}{number};-{sign}{number}"
        case Kind.PERCENT:
            return ("0.0" if digits is None else "0" + _places(digits)) + '"%"'
        case Kind.DECIMAL | Kind.FLOAT:
            return _GENERAL if digits is None else whole + _places(digits)
        case Kind.DATE:
            return _time_format(column.pattern or "yyyy-MM-dd")
        case Kind.TIMESTAMP:
            return _time_format(column.pattern or "yyyy-MM-dd HH:mm:ss")
        case Kind.BOOLEAN:
            return _BOOLEAN
        case _:
            return _TEXT


def _time_format(pattern: str) -> str:
    """Convert a pattern such as `MMM dd, yyyy` to a number format; other characters become literals."""
    made = []
    for part, text in _TIME_PARTS.findall(pattern):
        if part:
            made.append(part.lower())
        elif text in " ,.:":
            made.append(text)
        else:
            made.append("\\" + text)
    return "".join(made)


def _places(digits: int) -> str:
    return "." + "0" * min(digits, 30) if digits > 0 else ""


def _literal(text: str) -> str:
    """Return a literal for a number format: in quotes, with a quote escaped by a backslash."""
    if not text:
        return ""
    return f'"{text}"' if '"' not in text else "".join("\\" + character for character in text)


def _alignment(style: Style) -> str:
    attributes = "".join(
        f' {name}="{value}"'
        for name, value in (
            ("horizontal", style.horizontal),
            ("vertical", style.vertical),
            ("wrapText", "1" if style.wrap else ""),
            ("indent", str(style.indent or "")),
        )
        if value
    )
    return f"<alignment{attributes}/>" if attributes else ""
