"""The sheet for strings that are too long for a cell."""

from __future__ import annotations

from export_pipeline.formats.base import RenderError
from export_pipeline.formats.excel.archive import Archive, Spool
from export_pipeline.formats.excel.names import column_letters, quote_sheet, utf16_head
from export_pipeline.formats.excel.plan import MAX_COLUMNS, MAX_ROWS
from export_pipeline.formats.excel.text import MAX_TEXT, inline_cell

CUT = "cut to the length of a cell"
MOVED = "longer than a cell, whole text on the Overflow sheet"

_TEASER = 500  # UTF-16 units of the string that stay in its own cell
_FIRST_PIECE = 2  # the column, counted from 0, of a string's first piece
_HEADER_ROW = 3


class Overflow:
    """Collects long strings, one row each, cut into as many cells as needed.

    Args:
        name: The sheet's name.
        styles: Style indexes of title, header and cells.
    """

    reason = MOVED

    def __init__(self, name: str, styles: tuple[int, int, int]) -> None:
        self.name = name
        self._title, self._header, self._cell = styles
        self._row = _HEADER_ROW
        self._spool: Spool | None = None

    @property
    def used(self) -> bool:
        """True if any string was moved here."""
        return self._spool is not None

    def move(self, sheet: str, cell: str, text: str) -> str:
        """Write a string in full; return the content of its original cell."""
        if self._spool is None:
            self._spool = Spool()
            self._spool.write(self._head().encode())
        self._row += 1
        if self._row > MAX_ROWS:
            raise RenderError(
                f"More than {MAX_ROWS - _HEADER_ROW:,} texts are longer than the {MAX_TEXT:,} characters "
                "of a cell. Choose the csv or json format."
            )
        cells = [sheet, cell, *_pieces(text)]
        if len(cells) > MAX_COLUMNS:
            raise RenderError(f"The text of cell {cell} of {sheet!r} is too long for a sheet. Choose csv.")
        self._spool.write(self._row_xml(cells, self._cell).encode())
        place = f"{column_letters(_FIRST_PIECE)}{self._row}"
        name = self.name if self.name.isalnum() else quote_sheet(self.name)
        return f"[see {name}!{place} for the whole text] {utf16_head(text, _TEASER)}…"

    def write(self, archive: Archive, part: str) -> None:
        """Write the sheet as a part of the workbook and discard it."""
        if self._spool is None:
            return
        self._spool.write(b"</sheetData></worksheet>")
        self._spool.finish()
        archive.copy(part, self._spool)
        self.close()

    def close(self) -> None:
        """Release the memory of the collected strings."""
        if self._spool is not None:
            self._spool.close()

    def _head(self) -> str:
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            f'<sheetViews><sheetView workbookViewId="0"><pane ySplit="{_HEADER_ROW}" '
            f'topLeftCell="A{_HEADER_ROW + 1}" activePane="bottomLeft" state="frozen"/></sheetView>'
            "</sheetViews>"
            '<sheetFormatPr defaultRowHeight="15"/>'
            '<cols><col min="1" max="1" width="32" customWidth="1"/>'
            '<col min="2" max="2" width="10" customWidth="1"/>'
            '<col min="3" max="3" width="60" customWidth="1"/></cols><sheetData>'
            f'<row r="1">{inline_cell("A1", self._title, "Texts longer than a cell")}</row>'
        ) + self._row_xml(["Sheet", "Cell", "Text, going on to the right"], self._header, _HEADER_ROW)

    def _row_xml(self, cells: list[str], style: int, row: int | None = None) -> str:
        number = self._row if row is None else row
        written = (inline_cell(f"{column_letters(i)}{number}", style, text) for i, text in enumerate(cells))
        return f'<row r="{number}" ht="15" customHeight="1">{"".join(written)}</row>'


def _pieces(text: str) -> list[str]:
    pieces = []
    start = 0
    while start < len(text):
        piece = utf16_head(text[start : start + MAX_TEXT], MAX_TEXT)
        pieces.append(piece)
        start += len(piece)
    return pieces
