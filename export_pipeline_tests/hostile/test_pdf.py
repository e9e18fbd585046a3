"""The hostile project as PDF, read by programs that did not write it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

import pikepdf
import pypdfium2
import pytest

from export_pipeline.formats.pdf.shaping import bidi_levels
from export_pipeline_tests.formats.pdf.reading import check, poppler
from export_pipeline_tests.formats.pdf.reading import rows as rows_of
from export_pipeline_tests.hostile.conftest import Hostile, one_database
from export_pipeline_tests.hostile.rules import clean, joined, loses_digits, review, rounded, totals

CONTROL = "control character printed as \N{REPLACEMENT CHARACTER}"
LINE_ENDS = dict.fromkeys(map(ord, "\n\r\x0b\x0c\x85\u2028\u2029"))


def number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    shown = rounded(value, digits)
    return f"{abs(shown) if shown == 0 else shown:,f}"


def printed(text: str | None) -> str:
    """A text as pages can say it: no line ends, no controls."""
    return "".join(_printable(character) for character in (clean(text) or "").translate(LINE_ENDS))


def _printable(character: str) -> str:
    code = ord(character)
    control = unicodedata.category(character) in ("Cc", "Cs") and character != "\t"
    return "\ufffd" if control or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF else character


def same(text: str, expected: str, parts: list[str | None]) -> bool:
    """Equal; the same characters in the order of the page where a part runs from right to left, or where a
    row is long enough to go on on the next page."""
    if text == expected:
        return True
    if len(expected) > 250:
        return _loose(text) == _loose(expected)
    mixed = any(any(bidi_levels(line)[1]) for part in parts for line in (clean(part) or "").splitlines())
    return mixed and _loose(text) == _loose(expected)


def _loose(text: str) -> Counter[str]:
    return Counter(unicodedata.normalize("NFKD", text))


@pytest.fixture(scope="module")
def words(hostile: Hostile) -> str:
    """The text that poppler finds, without spaces and line ends."""
    return "".join(poppler(hostile.file("pdf")[0], "-raw").split())


@pytest.mark.slow
def test_every_measurement_is_the_database_s_or_counted(hostile: Hostile) -> None:
    path, done = hostile.file("pdf")
    measurements = hostile.truth.measurements
    rows = rows_of(path)
    assert len(rows) == done.rows == len(measurements)
    changed: Counter[tuple[str, str]] = Counter()
    wrong = []
    for place, (row, line) in enumerate(zip(measurements, rows, strict=True), 1):
        where = joined(row)
        parts = [where["sheet_number"], row["geometry_type"], row["unit"], row["notes"], where["document"]]
        sheet, geometry, unit, notes, document = map(printed, parts)
        page = "" if where["page_number"] is None else f"{where['page_number']:,}"
        expected = (
            f"{place}{page}{sheet}{geometry}{number(row['quantity'], 4)}{unit}{review(row)}{notes}{document}"
        )
        if not same(line, expected, parts):
            wrong.append((line[:200], expected[:200]))
        changed["rounded to 4 decimals", "Quantity"] += loses_digits(row["quantity"], 4)
    assert wrong == []
    assert done.changed["rounded to 4 decimals", "Quantity"] == changed["rounded to 4 decimals", "Quantity"]


@pytest.mark.slow
@one_database
def test_other_programs_open_it_and_find_the_words(hostile: Hostile, words: str) -> None:
    path, _ = hostile.file("pdf")
    check(path)
    plain = [
        "".join(part.split())
        for row in hostile.truth.conditions
        if (part := clean(row["name"])) and part.isascii() and part.isprintable()
    ]
    assert [name for name in plain if name not in words] == []
    with pypdfium2.PdfDocument(path) as file:
        pages = len(file)
        last = file[pages - 1].get_textpage().get_text_bounded()
    assert f"Page {pages:,} of {pages:,}" in last


@pytest.mark.slow
@one_database
def test_nothing_in_it_can_run(hostile: Hostile) -> None:
    """No name of an action, in the parsed objects and in the bytes outside of streams.

    Bytes of compressed streams hold every short word by chance.
    """
    forbidden = {
        "/JavaScript",
        "/JS",
        "/Launch",
        "/OpenAction",
        "/AA",
        "/EmbeddedFile",
        "/URI",
        "/SubmitForm",
        "/GoToR",
    }
    path = hostile.file("pdf")[0]
    with pikepdf.open(path) as file:
        names = {name for one in [file.trailer, *file.objects] for name in _names(one)}
    assert {"/Root", "/Catalog", "/Page", "/Font"} <= names
    assert names & forbidden == set()
    outside = re.sub(rb"\bstream\r?\n.*?\bendstream\b", b"", path.read_bytes(), flags=re.DOTALL)
    assert [word for word in forbidden if word.encode() in outside] == []


def _names(one: pikepdf.Object) -> Iterator[str]:
    """The names in an object and in the ones that it holds itself: keys and values."""
    if isinstance(one, pikepdf.Name):
        yield str(one)
    elif isinstance(one, pikepdf.Array):
        for part in one.as_list():
            yield from _own_names(part)
    elif isinstance(one, pikepdf.Dictionary | pikepdf.Stream):
        for key, part in one.items():
            yield key
            yield from _own_names(part)


def _own_names(part: pikepdf.Object) -> Iterator[str]:
    if isinstance(part, pikepdf.Object) and not part.is_indirect:
        yield from _names(part)


@pytest.mark.slow
def test_totals_are_printed(hostile: Hostile, words: str) -> None:
    sums = totals(hostile.truth)
    for row in hostile.truth.conditions[:50]:
        assert number(sums[row["id"]][1], 2) in words


def test_the_file_proves_itself(hostile: Hostile) -> None:
    facts, proof = hostile.read_back("pdf"), hostile.proof("pdf")
    assert facts.problems == ()
    assert facts.rows == proof.rows
    total, tolerance = proof.totals["quantity"]
    assert facts.totals["quantity"] == pytest.approx(total, abs=tolerance)
