"""CSV of random tables, read by the letter of RFC 4180 and by others: every cell as documented, or counted."""

from __future__ import annotations

import csv
import io
from collections import Counter
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from export_pipeline_tests.hostile.rules import is_formula
from export_pipeline_tests.hostile.tables import rules
from export_pipeline_tests.hostile.tables.exporting import Exported, each_sample
from export_pipeline_tests.hostile.tables.rules import Changed

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


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
    head, *rows = _fields(text, delimiter)
    changed: Changed = Counter()
    heads = []
    for column in sample.columns:
        above = rules.header(column, options.get("csv_headers") == "name")
        if is_formula(above):
            changed[rules.GUARDED, "(headers)"] += 1
            above = f"'{above}"
        heads.append(above)
    assert [cell for cell, _ in head] == heads
    assert len(rows) == sample.rows
    for row, cells in enumerate(rows):
        for (column, value), (cell, quoted) in zip(rules.of(sample, row), cells, strict=True):
            null = column.get("null_text", "")
            alone = len(sample.columns) == 1 and null == ""
            if value is None:
                assert cell == null, column
                assert alone or quoted == bool(set(null) & set(f'"\r\n{delimiter}')), column
                continue
            expected = rules.csv_cell(column, value, options, changed)
            if cell == null and not set(null) & set(f'"\r\n{delimiter}'):
                assert quoted, column
            if options.get("csv_quoting") == "all":
                assert quoted
            if column.kind in ("float", "percent") and cell != expected:
                assert rules.as_number(cell, comma) == rules.as_number(expected, comma), column
                assert len(cell) <= len(expected) + 4
            else:
                assert cell == expected, column
    assert done.changed == changed, (done.changed - changed, changed - done.changed)
    # And so say others.
    csv.field_size_limit(2**30)
    plain = [[cell for cell, _ in record] for record in (head, *rows)]
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)) == plain
    names = {f"c{i}": "VARCHAR" for i in range(len(heads))}
    with closing(duckdb.connect()) as connection:
        theirs = connection.execute(
            "SELECT * FROM read_csv(?, auto_detect=false, columns=?, delim=?, quote='\"', escape='\"', header=false,"
            " nullstr='\x02', max_line_size=20000000, parallel=false, new_line='\\r\\n')",
            [str(path), names, delimiter],
        ).fetchall()
    assert [list(record) for record in theirs] == plain


@pytest.mark.slow
def test_csv_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_csv)
