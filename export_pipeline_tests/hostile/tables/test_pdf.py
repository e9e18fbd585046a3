"""PDFs of random tables of one column: every cell as documented, or counted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from export_pipeline_tests.formats.pdf.reading import rows as rows_of_pdf
from export_pipeline_tests.hostile.tables import rules
from export_pipeline_tests.hostile.tables.exporting import Exported, each_sample
from export_pipeline_tests.hostile.tables.rules import Changed
from export_pipeline_tests.hostile.tables.samples import Given
from export_pipeline_tests.hostile.tables.values import EPOCH, MICROSECOND, wall


def _pdf_cell(column: Given, value: Any, count: Callable[[str], None]) -> str:
    """The printed text of a cell, numbers without thousands separators."""
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
    local = wall(value, zone)
    if not pattern and local % 1_000_000:
        text += f".{local % 1_000_000:06}".rstrip("0")
    if zone not in (None, "UTC") and rules.FIRST <= local <= rules.LAST:
        there = (EPOCH + local * MICROSECOND).replace(tzinfo=ZoneInfo(zone))
        with suppress(OverflowError):
            if there.utcoffset() != there.replace(fold=1).utcoffset():
                text += " " + rules.iso(value, zone)[-6:]
    return text


def check_pdf(made: Exported) -> None:
    """In a table of one column the text of a row is its cell's. Characters are compared, because line breaks may vary."""
    (column,) = made.sample.columns
    path, done = made.file("pdf")
    rows = rows_of_pdf(path)
    changed: Changed = Counter()

    def count(reason: str) -> None:
        changed[reason, rules.header(column)] += 1

    assert len(rows) == made.sample.rows
    for value, text in zip(rules.values(column), rows, strict=True):
        expected = _pdf_cell(column, value, count)
        if column.kind in rules.NUMBERS and value is not None:
            text = text.replace(",", "")
            if isinstance(value, float) and text != expected and column.get("digits") is None:
                assert float(text.rstrip("%")) == value
            else:
                assert text == expected
        elif column.kind in ("date", "timestamp", "boolean", "uuid"):
            assert text == expected
        else:
            assert Counter(_printed(text)) == Counter(_printed(expected)), (text, expected)
    others = [key for key in done.changed if key[0] not in {reason for reason, _ in changed}]
    assert {key: count for key, count in done.changed.items() if key not in others} == changed
    # What no font has, or hyphens at the ends of lines, only texts can have.
    assert not others or column.kind in rules.TEXTS or not column.get("null_text", "").isascii(), others


def _printed(text: str) -> str:
    """The visible characters: without blanks, which lines may end with, and invisible marks."""
    text = unicodedata.normalize("NFC", text)
    return "".join(
        c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf", "Zs", "Zl", "Zp")
    )


@pytest.mark.slow
def test_pdf_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_pdf, 1)
