"""Random tables, from the database to a file that other programs read: every cell as documented, or counted."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import duckdb
import openpyxl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from lxml import etree
from pydantic import ValidationError
from python_calamine import CalamineWorkbook

from export_pipeline.formats.base import Rendered
from export_pipeline.formats.excel.names import column_letters
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.model import tabular
from export_pipeline.model.export_data import ExportData, Request
from export_pipeline.model.layout import Layout
from export_pipeline.model.sanitize import sanitize
from export_pipeline.model.tabular.spec import TableSpec
from export_pipeline.orchestration.staging import load, save
from export_pipeline.sources import table as source
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline_tests.formats.pdf.reading import rows as rows_of_pdf
from export_pipeline_tests.hostile import table_rules as rules
from export_pipeline_tests.hostile.random_tables import KINDS, Given, Sample, fill, samples
from export_pipeline_tests.hostile.table_rules import Changed

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "20"))
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
MOST_COLUMNS = 30 if EXAMPLES > 100 else 10
COUNTER = itertools.count()


@dataclass
class Exported:
    """A sample's export and its files."""

    sample: Sample
    folder: Path
    data: ExportData
    layout: Layout
    options: FormatOptions

    def file(self, format: str) -> tuple[Path, Rendered]:
        """The file of a format, which must prove itself, and what its renderer counted."""
        path = self.folder / f"export{FORMATS[format].extension}"
        options = self.options.of(format)
        with path.open("wb") as out:
            done = FORMATS[format].render(self.layout, out, options)
        facts, proof = FORMATS[format].read_back(path), FORMATS[format].proof(self.layout, options)
        assert facts.problems == ()
        assert facts.rows == done.rows == proof.rows == self.sample.rows
        for column, (total, tolerance) in proof.totals.items():
            assert abs(facts.totals.get(column, 0.0) - total) <= tolerance, (
                format,
                column,
                facts.totals,
                total,
            )
        return path, done


def exported(url: str, sample: Sample, folder: Path) -> Exported:
    """By the stages of a run, with staging between them."""
    fill(url, sample)
    spec = TableSpec.model_validate(sample.spec).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    options = FormatOptions(**sample.options)
    request = Request("hostile", source.MODEL, spec, None, tabular.options(spec)(), None)
    with open_snapshot(url) as snapshot:
        data = source.read(snapshot, request)
        save(replace(data, options={**data.options, **options.model_dump()}), folder / "read")
    save(tabular.build(load(folder / "read")), folder / "built")
    save(sanitize(load(folder / "built")), folder / "clean")
    data = load(folder / "clean")
    assert data.changed == rules.staged(sample)
    return Exported(sample, folder, data, tabular.layout(data), options)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """(dialect, URL, a folder)."""
    folder = tmp_path_factory.mktemp("tables")
    if request.param == "sqlite":
        yield "sqlite", f"sqlite:///{folder}/a.db", folder
        return
    with request.getfixturevalue("postgres").database() as url:
        yield "postgresql", url, folder


def each_sample(
    database: tuple[str, str, Path],
    check: Callable[[Exported], None],
    most: int = 30,
    kinds: tuple[str, ...] = KINDS,
) -> None:
    """Run a check on many random exports."""
    dialect, url, folder = database

    # Samples are small as they are; making them smaller takes minutes.
    @settings(
        phases=[Phase.generate],
        max_examples=EXAMPLES, deadline=None, derandomize="HOSTILE_EXAMPLES" not in os.environ, database=None,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(samples(dialect, most, kinds))
    def run(sample: Sample) -> None:
        place = folder / str(next(COUNTER))
        place.mkdir()
        try:
            check(exported(url, sample, place))
        finally:
            shutil.rmtree(place)

    run()


# --- csv --------------------------------------------------------------------------------------------


def _fields(text: str, delimiter: str) -> list[list[tuple[str, bool]]]:
    """Records of (text, whether it was quoted), by RFC 4180."""
    records: list[list[tuple[str, bool]]] = []
    record: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        if text[place] == '"':
            parts = []
            while True:
                end = text.index('"', place + 1)
                parts.append(text[place + 1 : end])
                place = end + 1
                if text[place : place + 1] != '"':
                    break
                parts.append('"')
            record.append(("".join(parts), True))
        else:
            ends = [e for e in (text.find(delimiter, place), text.find("\r\n", place)) if e >= 0]
            record.append((text[place : min(ends)], False))
            assert '"' not in record[-1][0]
            place = min(ends)
        if text.startswith("\r\n", place):
            records.append(record)
            record, place = [], place + 2
            if place == len(text):
                break
        else:
            assert text[place] == delimiter, text[place - 50 : place + 50]
            place += 1
            if text[place : place + 2] in ("\r\n",):
                record.append(("", False))
                records.append(record)
                record, place = [], place + 2
    assert not record
    return records


def check_csv(made: Exported) -> None:
    sample, options = made.sample, dict(made.sample.options)
    path, done = made.file("csv")
    data = path.read_bytes()
    if options.get("csv_bom"):
        assert data.startswith(b"\xef\xbb\xbf")
        data = data[3:]
    text, delimiter = data.decode("utf-8"), DELIMITERS[options.get("csv_delimiter", "comma")]
    comma = bool(options.get("csv_decimal_comma"))
    head, *found = _fields(text, delimiter)
    changed: Changed = Counter()
    heads = []
    for column in sample.columns:
        above = rules.header(column, options.get("csv_headers") == "name")
        if rules.is_formula(above):
            changed[rules.GUARDED, "(headers)"] += 1
            above = f"'{above}"
        heads.append(above)
    assert [cell for cell, _ in head] == heads
    assert len(found) == sample.rows
    for row, cells in enumerate(found):
        for (column, value), (cell, quoted) in zip(rules.of(sample, row), cells, strict=True):
            null = column.get("null_text", "")
            alone = len(sample.columns) == 1 and null == ""
            if value is None:
                assert cell == null, column
                assert alone or quoted == bool(set(null) & set(f'"\r\n{delimiter}')), column
                continue
            wanted = rules.csv_cell(column, value, options, changed)
            if cell == null and not set(null) & set(f'"\r\n{delimiter}'):
                assert quoted, column
            if options.get("csv_quoting") == "all":
                assert quoted
            if column.kind in ("float", "percent") and cell != wanted:
                assert rules.as_number(cell, comma) == rules.as_number(wanted, comma), column
                assert len(cell) <= len(wanted) + 4
            else:
                assert cell == wanted, column
    assert done.changed == changed, (done.changed - changed, changed - done.changed)
    # And so say others.
    csv.field_size_limit(2**30)
    plain = [[cell for cell, _ in record] for record in (head, *found)]
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)) == plain
    names = {f"c{i}": "VARCHAR" for i in range(len(heads))}
    with closing(duckdb.connect()) as connection:
        theirs = connection.execute(
            "SELECT * FROM read_csv(?, auto_detect=false, columns=?, delim=?, quote='\"', escape='\"', header=false,"
            " nullstr='\x02', max_line_size=20000000, parallel=false, new_line='\\r\\n')",
            [str(path), names, delimiter],
        ).fetchall()
    assert [list(record) for record in theirs] == plain


def test_csv_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_csv)


# --- json, jsonl ------------------------------------------------------------------------------------


def check_json(made: Exported) -> None:
    sample, options = made.sample, made.sample.options
    units = options.get("json_money", "units") == "units"
    shape = options.get("json_shape", "array")
    for format in ("json", "jsonl"):
        path, done = made.file(format)
        text = path.read_text("utf-8")
        if format == "jsonl" or shape == "lines":
            lines = text.split("\n")
            assert lines.pop() == ""
            if sample.rows == 0:
                assert text == "" if format == "jsonl" else text.strip() == ""
                lines = []
            if format == "json" and sample.rows == 1:
                assert lines.pop() == ""
            found = [rules.pairs(line) for line in lines]
        else:
            document = rules.pairs(text)
            if shape == "object":
                ((key, document),) = document
                assert key == "rows"
            found = document
            assert text.count("\n") >= sample.rows
        assert len(found) == sample.rows
        changed: Changed = Counter()
        for row, record in enumerate(found):
            for (column, value), (key, cell) in zip(rules.of(sample, row), record, strict=True):
                assert key == column.name
                assert rules.json_read(column, cell) == rules.json_cell(column, value, units, changed), column
        assert done.changed == changed, format
        _others_read(path, format, shape, found)


def _others_read(path: Path, format: str, shape: str, found: list[Any]) -> None:
    """Event by event the same keys come, as often."""
    import ijson

    if (format == "json" and shape == "lines") or format == "jsonl":
        return
    prefix = "rows.item" if shape == "object" else "item"
    with path.open("rb") as file:
        events = list(ijson.parse(file, use_float=False))
    assert sum(event == ("start_map") and at == prefix for at, event, _ in events) == len(found)
    keys = [value for at, event, value in events if event == "map_key" and at == prefix]
    assert keys == [key for record in found for key, _ in record]


def test_json_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_json)


# --- parquet ----------------------------------------------------------------------------------------


def check_parquet(made: Exported) -> None:
    sample = made.sample
    path, done = made.file("parquet")
    assert not done.changed
    wide = {f.name for f in pq.read_schema(path) if str(f.type).startswith("decimal256")}
    names = []
    for column in sample.columns:
        name = f'"{column.name}"'
        names.append(
            f"epoch_us({name})"
            if column.kind == "timestamp"
            else f"{name}::VARCHAR"
            if column.kind == "date"
            else name
        )
    with closing(duckdb.connect()) as connection:
        connection.execute("SET timezone = 'UTC'")
        found = connection.execute(f"SELECT {', '.join(names)} FROM read_parquet(?)", [str(path)]).fetchall()
    exact = {name: pq.read_table(path, columns=[name]).column(0).to_pylist() for name in wide}
    assert len(found) == sample.rows
    for row, cells in enumerate(found):
        for (column, value), cell in zip(rules.of(sample, row), cells, strict=True):
            cell = exact[column.name][row] if column.name in wide else cell
            if column.minor:
                value = rules.whole(column, value, True)
            elif column.kind == "date" and value is not None:
                value = value.isoformat()
            if isinstance(value, float):
                assert (str(cell), math.copysign(1, cell)) == (str(value), math.copysign(1, value)), column
            else:
                assert cell == value, column


def test_parquet_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_parquet)


# --- excel ------------------------------------------------------------------------------------------

_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
KEEP_DIGITS = "written as text to keep every digit"
NOT_A_NUMBER = "not a number a cell can hold, written as text"
OLD_DATE = "date outside Excel's range, written as text"
MOVED = "longer than a cell, whole text on the Overflow sheet"
TWICE = "in an hour that the clock showed twice, which of them is not said"
LESS_EXACT = "time kept to 0.1 ms: no number of a cell holds its microseconds"
_NINETEEN_HUNDRED = -2_203_891_200_000_000  # 1900-03-01


def _sheet(path: Path) -> dict[int, dict[str, tuple[str, Any]]]:
    """The first sheet's cells by row number and letters: (type, value), numbers as they are written."""
    with ZipFile(path) as archive:
        shared: list[str] = []
        if "xl/sharedStrings.xml" in archive.namelist():
            root = etree.fromstring(archive.read("xl/sharedStrings.xml"), etree.XMLParser(huge_tree=True))
            shared = [
                "".join(t.text or "" for t in one.iter(f"{_SHEET}t")) for one in root.iter(f"{_SHEET}si")
            ]
        root = etree.fromstring(archive.read("xl/worksheets/sheet1.xml"), etree.XMLParser(huge_tree=True))
    rows: dict[int, dict[str, tuple[str, Any]]] = {}
    for row in root.iter(f"{_SHEET}row"):
        cells = rows.setdefault(int(row.get("r")), {})
        for cell in row.iter(f"{_SHEET}c"):
            kind, letters = cell.get("t", "n"), re.sub(r"\d", "", cell.get("r"))
            value = cell.findtext(f"{_SHEET}v")
            if kind == "inlineStr":
                kind, value = "s", "".join(t.text or "" for t in cell.iter(f"{_SHEET}t"))
            elif kind == "s":
                value = shared[int(value)]
            if kind != "n" or value is not None:
                cells[letters] = (kind, _decoded(value) if kind == "s" else value)
    return rows


def _decoded(text: str) -> str:
    """A text as spreadsheets read it: _x0041_ is A."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda code: chr(int(code[1], 16)), text)


def _excel_cell(
    column: Given, value: Any, options: Any, count: Callable[[str], None]
) -> tuple[str, Any] | None:
    """What a cell must say: its type and value, numbers as exact as Excel's are."""
    if value is None:
        return ("s", column.get("null_text", "")) if column.get("null_text") else None
    if column.kind in rules.TEXTS:
        text = str(rules.labelled(column, value))
        if options.get("excel_guard_formulas") and rules.is_formula(text):
            count(rules.GUARDED)
            text = f"'{text}"
        if len(text.encode("utf-16-le")) > 2 * 32_767:
            count(MOVED)
            return ("moved", text)
        return ("s", text)
    if column.kind == "boolean":
        return ("b", "1" if value else "0")
    if column.kind == "date":
        if value < date(1900, 3, 1):
            count(OLD_DATE)
            return ("s", value.isoformat())
        return ("n", Fraction(value.toordinal() - date(1899, 12, 30).toordinal()))
    if column.kind == "timestamp":
        return _excel_time(value, column.get("zone", "UTC"), count)
    shown = rules.whole(column, value, True) if column.minor else value
    if isinstance(shown, float):
        if not (shown == 0 or 2.2250738585072014e-308 <= abs(shown) <= 9.99999999999999e307):
            count(NOT_A_NUMBER)
            return ("odd", shown)
        return ("n", Fraction(shown))
    if rules.significant(shown) > 15:
        count(KEEP_DIGITS)
        return ("s", Decimal(shown))
    return ("n", Fraction(Decimal(shown)))


def _excel_time(micros: int, zone: str | None, count: Callable[[str], None]) -> tuple[str, Any]:
    local = rules.wall(micros, zone)
    if zone not in (None, "UTC") and rules.FIRST <= local <= rules.LAST:
        there = (rules.EPOCH + local * rules.MICROSECOND).replace(tzinfo=ZoneInfo(zone or ""))
        with suppress(OverflowError):
            if there.utcoffset() != there.replace(fold=1).utcoffset():
                count(TWICE)
    # The last microseconds of 9999 have no number of their own.
    if local < _NINETEEN_HUNDRED or float(Fraction(local, 86_400_000_000) + 25_569) >= 2_958_466:
        count(OLD_DATE)
        return ("old", local)
    return ("time", local)


def _says(
    found: tuple[str, Any] | None, wanted: tuple[str, Any] | None, count: Callable[[str], None]
) -> bool:
    if found is None or wanted is None:
        return found == wanted or (wanted == ("s", "") and found is None)
    kind, value = wanted
    if kind == "n":
        return found[0] == "n" and float(found[1]) == float(value)
    if kind == "time":
        days = Fraction(found[1]) if "E" not in found[1].upper() else Fraction(float(found[1]))
        near = round((Fraction(float(days)) - 25_569) * 86_400_000_000)
        if near != value:
            count(LESS_EXACT)
        return found[0] == "n" and abs(near - value) <= 50
    if kind == "old":
        text = found[1] if "." in found[1] else f"{found[1]}.000000"
        cycles = (value < rules.FIRST) - (value > rules.LAST)
        moment = rules.EPOCH.replace(tzinfo=None) + (value + cycles * rules.CYCLE) * rules.MICROSECOND
        rest = moment.isoformat("T", "microseconds")[4:]
        return found[0] == "s" and text == f"{moment.year - 400 * cycles:04}{rest}"
    if kind == "moved":
        return found[0] == "s" and found[1].startswith("[see Overflow!")
    if isinstance(value, Decimal):
        return found[0] == "s" and Decimal(found[1]) == value
    if kind == "odd":
        return found[0] == "s" and str(float(found[1])) == str(value)
    return found == wanted


def check_excel(made: Exported) -> None:
    sample, options = made.sample, made.sample.options
    path, done = made.file("excel")
    rows = _sheet(path)
    heads = []
    for column in sample.columns:
        zone = column.get("zone", "UTC") if column.kind == "timestamp" else None
        heads.append(rules.header(column) + (f" ({zone})" if zone else ""))
    top = next(number for number, cells in rows.items() if number > 2 and cells)
    letters = [column_letters(index) for index in range(len(heads))]
    changed: Changed = Counter()
    for column in sample.columns:
        if options.get("excel_guard_formulas") and rules.is_formula(rules.header(column)):
            changed[rules.GUARDED, rules.header(column)] += 1
    guarded = [f"'{h}" if options.get("excel_guard_formulas") and rules.is_formula(h) else h for h in heads]
    found_heads = [rows[top].get(letter, ("s", ""))[1] for letter in letters]
    assert found_heads == guarded
    for row in range(sample.rows):
        cells = rows.get(top + 1 + row, {})
        for (column, value), letter in zip(rules.of(sample, row), letters, strict=True):

            def count(reason: str, above: str = rules.header(column)) -> None:
                changed[reason, above] += 1

            wanted = _excel_cell(column, value, options, count)
            assert _says(cells.get(letter), wanted, count), (column.spec, value, cells.get(letter), wanted)
    for column in sample.columns:
        if sample.rows and column.get("total") and (reason := _odd_total(column)):
            changed[reason, rules.header(column)] += 1
    assert done.changed == changed, (done.changed - changed, changed - done.changed)
    _calamine_and_openpyxl(path, top, sample.rows, letters, rows)


def _odd_total(column: Given) -> str | None:
    """Why a total is text."""
    numbers = [
        rules.whole(column, v, True) if column.minor else v for v in rules.values(column) if v is not None
    ]
    if column.kind in ("float", "percent"):
        total = sum((Fraction(number) for number in numbers if math.isfinite(number)), Fraction())
        return (
            NOT_A_NUMBER
            if abs(total) > 9.99999999999999e307 or 0 < abs(total) < 2.2250738585072014e-308
            else None
        )
    exact = sum((Fraction(number) for number in numbers), Fraction())
    digits = str(abs(exact.numerator * 10**100 // exact.denominator)).strip("0")
    return KEEP_DIGITS if len(digits) > 15 else None


def _calamine_and_openpyxl(
    path: Path, top: int, count: int, letters: list[str], rows: dict[int, Any]
) -> None:
    """Both find the same texts, numbers and booleans in the rows."""
    theirs = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    book = openpyxl.load_workbook(path)
    for number in range(top, top + count + 1):
        for index, letter in enumerate(letters):
            ours = rows.get(number, {}).get(letter)
            line = theirs[number - 1] if number <= len(theirs) else []
            one, other = line[index] if index < len(line) else "", book.worksheets[0][f"{letter}{number}"]
            assert other.data_type != "f"
            if ours is None:
                assert one == ""
                assert other.value in (None, "")
            elif ours[0] == "s":
                assert one == ours[1]
                if "_x" not in ours[1]:  # openpyxl knows such codes only in one place
                    assert (other.value or "") == ours[1]
            elif ours[0] == "b":
                assert one is other.value is (ours[1] == "1")
            elif isinstance(one, float) and isinstance(other.value, int | float):
                assert one == float(other.value) == float(ours[1])


def test_excel_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_excel)


# --- pdf --------------------------------------------------------------------------------------------


def _pdf_cell(column: Given, value: Any, count: Callable[[str], None]) -> str:
    """What a PDF prints of a cell, numbers without their thousands separators."""
    if value is None:
        return str(column.get("null_text", ""))
    if column.kind in rules.TEXTS:
        text = str(rules.labelled(column, value))
        return re.sub(
            "[\x7f-\x84\x86-\x9f\ufdd0-\ufdef]|[\U0001fffe\U0001ffff\U0010fffe\U0010ffff]", "\ufffd", text
        )
    if column.kind == "boolean":
        return rules.csv_cell(column, value, {}, Counter())
    if column.kind in ("date", "timestamp"):
        return _pdf_time(column, value, count)
    shown = rules.whole(column, value, True) if column.minor else value
    places, text = rules.digits(column, True), rules.number(shown)
    if column.kind == "integer":
        places = None  # integers have no other digits
    if places is not None and text not in ("NaN", "Infinity", "-Infinity"):
        near = rules.rounded(shown, places)
        text = f"{near.copy_abs() if near.is_zero() else near:f}"
        if float(near) != shown if isinstance(shown, float) else near != shown:
            count(f"rounded to {places} decimals")
    sign = column.get("currency", "$") if column.kind == "money" else ""
    sign += " " if sign[-1:].isalpha() else ""
    before, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    return f"{before}{sign}{text}{'%' if column.kind == 'percent' else ''}"


def _pdf_time(column: Given, value: Any, count: Callable[[str], None]) -> str:
    zone, pattern = column.get("zone", "UTC"), column.get("pattern")
    whole = pattern or ("yyyy-MM-dd" if column.kind == "date" else "yyyy-MM-dd HH:mm:ss")
    text, less = rules.by_pattern(value, whole, zone)
    if pattern and less:
        count(f"printed as {pattern}")
    if column.kind == "date":
        return text
    local = rules.wall(value, zone)
    if not pattern and local % 1_000_000:
        text += f".{local % 1_000_000:06}".rstrip("0")
    if zone not in (None, "UTC") and rules.FIRST <= local <= rules.LAST:
        there = (rules.EPOCH + local * rules.MICROSECOND).replace(tzinfo=ZoneInfo(zone))
        with suppress(OverflowError):
            if there.utcoffset() != there.replace(fold=1).utcoffset():
                text += " " + rules.iso(value, zone)[-6:]
    return text


def check_pdf(made: Exported) -> None:
    """Of a table of one column a row's text is its cell's; characters are compared, as lines may be set anyhow."""
    (column,) = made.sample.columns
    path, done = made.file("pdf")
    found = rows_of_pdf(path)
    changed: Changed = Counter()

    def count(reason: str) -> None:
        changed[reason, rules.header(column)] += 1

    assert len(found) == made.sample.rows
    for value, text in zip(rules.values(column), found, strict=True):
        wanted = _pdf_cell(column, value, count)
        if column.kind in rules.NUMBERS and value is not None:
            text = text.replace(",", "")
            if isinstance(value, float) and text != wanted and column.get("digits") is None:
                assert float(text.rstrip("%")) == value
            else:
                assert text == wanted
        elif column.kind in ("date", "timestamp", "boolean", "uuid"):
            assert text == wanted
        else:
            assert Counter(_printed(text)) == Counter(_printed(wanted)), (text, wanted)
    others = [key for key in done.changed if key[0] not in {reason for reason, _ in changed}]
    assert {key: count for key, count in done.changed.items() if key not in others} == changed
    # What no font has, or hyphens at the ends of lines, only texts can have.
    assert not others or column.kind in rules.TEXTS or not column.get("null_text", "").isascii(), others


def _printed(text: str) -> str:
    """What prints: without blanks, which lines may end with, and marks that print as nothing."""
    text = unicodedata.normalize("NFC", text)
    return "".join(
        c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf", "Zs", "Zl", "Zp")
    )


def test_pdf_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_pdf, 1)


@pytest.mark.parametrize("place", ["header", "null_text", "currency", "labels"])
@pytest.mark.parametrize("character", ["\x00", "\x1b", "\ufffe", "\u202e", "\ud800"])
def test_a_spec_s_own_texts_hold_nothing_that_no_file_may_hold(place: str, character: str) -> None:
    kind = {"currency": "money", "labels": "enum"}.get(place, "text")
    text: Any = f"a{character}b"
    column = {"name": "c", "type": kind, place: {"NEW": text} if place == "labels" else text}
    with pytest.raises(ValidationError, match=f"holds the character U\\+{ord(character):04X}"):
        TableSpec.model_validate({"source": {"table": "t"}, "columns": [column]})
