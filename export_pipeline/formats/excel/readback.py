"""Read a workbook back, from its bytes alone, to verify it."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from xml.parsers.expat import ExpatError
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from isal import igzip_lib, isal_zlib

from export_pipeline.core.streams import prefetch
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.excel.chart_readback import ChartArea, read_charts
from export_pipeline.formats.excel.package import (
    BESIDE_NAME,
    CHART_NAME,
    COUNT_NAME,
    DATA_NAME,
    NULL_NAME,
    SUM_NAME,
    TEMPLATE_NAME,
)
from export_pipeline.formats.excel.scan import SheetScan, Summed, decode_text, scan_shared_strings
from export_pipeline.formats.excel.xml import column_number, counts_from_1904, read_xml
from export_pipeline.formats.sums import add_parts

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_AREA = re.compile(r"\$[A-Z]+\$([0-9]+):\$([A-Z]+)\$([0-9]+)$")
_WITNESSED_CELLS = 20_000  # calamine takes more than twice as long as this reader, and holds a whole sheet


@dataclass(slots=True)
class _Sheet:
    """A sheet of the workbook's list.

    Attributes:
        name: Its name.
        part: Its part.
        data: Its first and last data row, None if they verify nothing.
        counts: True if its data rows are those of the export.
        columns: Number of columns of the data.
        sums: Columns to add up over its data rows.
    """

    name: str
    part: str
    data: tuple[int, int] | None = None
    counts: bool = False
    columns: int = 0
    sums: Sequence[Summed] = ()


def read_back(path: Path) -> FileFacts:
    """Count the export's rows in a workbook and add up the columns that verify it.

    Hidden defined names in the workbook locate the rows. Every sheet is checked:
    well-formed XML, cells in order and once, numbers where numbers should be, no formula among the
    data, strings within a cell's limit, the right dimension. Sheets of up to 20,000 cells are read a
    second time by calamine, whose sums must agree.

    Args:
        path: The file, of any content; defects are reported, not raised.
    """
    try:
        with ZipFile(path) as archive:
            return _read(path, archive)
    except (BadZipFile, ExpatError, KeyError, SyntaxError, ValueError, EOFError) as error:
        return FileFacts(0, {}, (f"the workbook cannot be read: {error}",))


def _read(path: Path, archive: ZipFile) -> FileFacts:
    problems: list[str] = []
    book = _workbook(archive)
    sheets, promised_sheets = book.sheets, book.promised_sheets
    sheet_count = sum(sheet.counts for sheet in sheets)
    if promised_sheets is None:
        problems.append("the workbook does not say where its rows are")
    elif sheet_count != promised_sheets:
        problems.append(
            f"the rows stand on {sheet_count:,} sheets where the workbook says {promised_sheets:,}"
        )
    if book.counts_from_1904:
        problems.append("the workbook counts days from 1904, so its dates are four years late")
    count = 0
    if "xl/sharedStrings.xml" in archive.namelist():
        count, wrong = scan_shared_strings(chunks(path, archive, "xl/sharedStrings.xml"))
        problems += wrong
    rows = 0
    totals: dict[str, list[float]] = {summed.name: [] for sheet in sheets for summed in sheet.sums}
    witness = _Witness(path)
    for sheet in sheets:
        if book.is_template and not sheet.data:
            read_xml(archive, sheet.part)  # the company's own: only well-formed
            continue
        scan = SheetScan(sheet.data or (1, 0), sheet.sums if sheet.data else (), count)
        try:
            scan.read(chunks(path, archive, sheet.part))
        except (ExpatError, BadZipFile) as error:
            problems.append(f"sheet {sheet.name!r} cannot be read: {error}")
            continue
        problems += [f"sheet {sheet.name!r}: {problem}" for problem in scan.problems]
        if not sheet.data:
            continue
        rows += scan.rows if sheet.counts else 0
        promised = sheet.data[1] - sheet.data[0] + 1
        if scan.rows != promised:
            problems.append(f"sheet {sheet.name!r} has {scan.rows:,} rows where it says {promised:,}")
        for name, total in scan.totals.items():
            totals[name].append(total)
        problems += witness.problems(sheet, scan.totals)
    charts, wrong = read_charts(archive, book.charts)
    problems += wrong
    return FileFacts(
        rows, {name: add_parts(parts) for name, parts in totals.items()}, tuple(problems), charts
    )


class _Witness:
    """A second, independent reader of the same file."""

    def __init__(self, path: Path) -> None:
        from python_calamine import CalamineWorkbook

        self._workbook = CalamineWorkbook.from_path(str(path))

    def problems(self, sheet: _Sheet, totals: Mapping[str, float]) -> list[str]:
        """Return a sentence for each of these sums that calamine's differs from."""
        assert sheet.data is not None
        (first, last), sums = sheet.data, sheet.sums
        if (last - first + 1) * sheet.columns > _WITNESSED_CELLS or last < first or not sums:
            return []
        from python_calamine import CalamineError

        try:
            others = self._sums(sheet.name, first, last, sums)
        except CalamineError as error:
            return [f"sheet {sheet.name!r} cannot be read by calamine: {error}"]
        return [
            f"sheet {sheet.name!r}: {name} adds up to {totals[name]!r}, in calamine to {other!r}"
            for name, (other, size) in others.items()
            # Relative to the absolute values, not to the sum: a balanced ledger's sum is rounding noise.
            if not math.isclose(other, totals[name], rel_tol=0, abs_tol=1e-9 * max(size, 1.0))
            and not (math.isnan(other) and math.isnan(totals[name]))
        ]

    def _sums(
        self, sheet: str, first: int, last: int, sums: Sequence[Summed]
    ) -> dict[str, tuple[float, float]]:
        """Return the sum of each column, and the sum of its absolute values."""
        cells = self._workbook.get_sheet_by_name(sheet)
        # Rows are counted from the sheet's first one, columns from the first that has a cell.
        rows, left = [*islice(cells.iter_rows(), first - 1, last)], cells.start[1] if cells.start else 0
        added = {}
        for summed in sums:
            place = summed.column - left
            column = [row[place] if 0 <= place < len(row) else None for row in rows]
            # Most cells are doubles: to ask that of a type first takes half the time of all.
            values = [cell if type(cell) is float else _number(cell, summed.null) for cell in column]
            added[summed.name] = add_parts(values), add_parts([*map(abs, values)])
        return added


@dataclass(frozen=True, slots=True)
class _Book:
    """The content of a workbook's list of sheets and names.

    Attributes:
        sheets: The sheets, in order.
        promised_sheets: Number of sheets with rows; None if it is not said.
        charts: The cells of each chart's values.
        is_template: True if the sheets without rows are a company's own.
        counts_from_1904: True if its dates are counted from 1904, which nothing here writes.
    """

    sheets: list[_Sheet]
    promised_sheets: int | None
    charts: list[ChartArea]
    is_template: bool
    counts_from_1904: bool


def _workbook(archive: ZipFile) -> _Book:
    parts = {
        link.get("Id"): str(PurePosixPath("/xl", link.get("Target"))).lstrip("/")
        for link in read_xml(archive, "xl/_rels/workbook.xml.rels")
    }
    book = read_xml(archive, "xl/workbook.xml")
    sheets = [
        _Sheet(sheet.get("name"), parts[sheet.get(f"{_REL}id")]) for sheet in book.iter(f"{_MAIN}sheet")
    ]
    sums: dict[str | None, dict[str, str]] = {}
    nulls: dict[tuple[str | None, str], str] = {}
    promised: int | None = None
    charts, is_template = [], False
    for name in book.iter(f"{_MAIN}definedName"):
        label, text, local = name.get("name"), name.text or "", name.get("localSheetId")
        if label in (DATA_NAME, BESIDE_NAME) and (area := _AREA.search(text)):
            sheet = sheets[int(local)]
            sheet.data = int(area[1]) + 1, int(area[3])
            sheet.counts = label == DATA_NAME
            sheet.columns = column_number(area[2]) + 1
        elif label == TEMPLATE_NAME:
            is_template = True
        elif label == COUNT_NAME:
            promised = int(text)
        elif label.startswith(CHART_NAME):
            sheet = sheets[int(local)]
            charts.append(ChartArea(sheet.name, sheet.part, text))
        elif label.startswith(SUM_NAME):
            sums.setdefault(local, {})[label.removeprefix(SUM_NAME)] = _as_label(text)
        elif label.startswith(NULL_NAME):
            nulls[local, label.removeprefix(NULL_NAME)] = _as_label(text)
    for index, sheet in enumerate(sheets if sums else ()):
        local = str(index) if str(index) in sums else None
        parts_of = [(number, *total.partition(":")) for number, total in sums.get(local, {}).items()]
        sheet.sums = [
            Summed(column_number(letters), column, nulls.get((local, number), ""))
            for number, letters, _, column in parts_of
        ]
    return _Book(sheets, promised, charts, is_template, counts_from_1904(book))


def _as_label(formula: str) -> str:
    """Return the string that a formula's literal stands for."""
    return formula[1:-1].replace('""', '"')


def _number(value: object, null: str) -> float:
    """Convert a cell to a number: an empty one counts 0, a string the number it spells out."""
    if isinstance(value, int | float):
        return float(value)
    return decode_text(str(value), null) if value not in ("", None) else 0.0


_CHUNK = 1 << 21
_READ = 1 << 19
_LONG = 8 << 20  # bytes: longer parts are inflated ahead by another thread
_LOCAL_HEADER = 30


def chunks(path: Path, archive: ZipFile, part: str) -> Iterator[bytes]:
    """Yield the part's bytes, at most 2 MB at a time.

    Raises:
        KeyError: There is no such part.
        BadZipFile: The part is damaged.
    """
    info = archive.getinfo(part)
    if info.compress_type != ZIP_DEFLATED or info.flag_bits & 1:
        raise BadZipFile(f"{part} is packed in a way that spreadsheet programs do not read")
    inflated = _inflate(path, info.header_offset, info.compress_size, info.CRC)
    return prefetch(inflated) if info.file_size >= _LONG else inflated


def _inflate(path: Path, offset: int, packed: int, crc: int) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj(-15)
    size = 0
    with path.open("rb") as file:
        file.seek(offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER:
            raise BadZipFile("a part is cut off")
        file.seek(sum(struct.unpack_from("<HH", header, 26)), 1)
        pending = b""
        while not inflater.eof:
            if not pending:
                pending = file.read(min(packed, _READ))
                packed -= len(pending)
                if not pending:
                    raise BadZipFile("a part is cut off")
            try:
                chunk = inflater.decompress(pending, _CHUNK)
            except igzip_lib.IsalError as error:  # type: ignore[misc]
                raise BadZipFile(str(error)) from error
            pending = inflater.unconsumed_tail
            size = isal_zlib.crc32(chunk, size)
            yield chunk
    if size != crc:
        raise BadZipFile("a part's checksum is wrong")
