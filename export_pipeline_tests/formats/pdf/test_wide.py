"""Wide tables, whose columns go across several pages, cell by cell: by where poppler finds each word."""

from __future__ import annotations

import html
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pikepdf
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section
from export_pipeline.core.tables import Table
from export_pipeline.formats.pdf import columns as measuring
from export_pipeline.formats.pdf.style import PAD_X
from export_pipeline_tests.formats.pdf.reading import layout, poppler, write
from export_pipeline_tests.formats.tables import table as of_rows

ROWS = 90
_WORDS = ("Zoë", "grouted", "footing", "王小明", "Łukasz", "delivered", "слово", "in", "masonry", "O'Brien")
_KINDS = (Kind.TEXT, Kind.DECIMAL, Kind.ENUM, Kind.INTEGER, Kind.DATE, Kind.TEXT, Kind.BOOLEAN, Kind.FLOAT)


class Word(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float
    text: str


def value_of(kind: Kind, chance: random.Random) -> tuple[Any, str]:
    """A value, and how it is printed."""
    if kind is Kind.TEXT:
        text = " ".join(chance.choices(_WORDS, k=chance.randrange(1, 7)))
        return text, text
    if kind is Kind.ENUM:
        text = chance.choice(("new", "paid", "returned"))
        return text, text
    if kind is Kind.DECIMAL:
        number = Decimal(chance.randrange(-(10**7), 10**7)) / 100
        return number, f"{number:,.2f}"
    if kind is Kind.INTEGER:
        return (count := chance.randrange(-5_000, 5_000_000)), f"{count:,}"
    if kind is Kind.FLOAT:
        return (share := chance.randrange(1, 9_999) / 8), f"{share:,}".removesuffix(".0")
    if kind is Kind.BOOLEAN:
        return (flag := chance.random() < 0.5), "Yes" if flag else "No"
    return (day := date(1999, 12, 28) + timedelta(chance.randrange(9_999))), day.isoformat()


def wide(count: int) -> tuple[Table, list[list[str]]]:
    """A table with a key and so many other columns, and what its cells say."""
    chance = random.Random(count)
    kinds = [_KINDS[i % len(_KINDS)] for i in range(count)]
    columns = [Column("id", "C0", Kind.TEXT)]
    columns += [
        Column(f"c{i}", f"C{i}", kind, 2 if kind is Kind.DECIMAL else None) for i, kind in enumerate(kinds, 1)
    ]
    cells = [[value_of(kind, chance) for kind in kinds] for _ in range(ROWS)]
    for row in cells:
        row[chance.randrange(count)] = (None, "")
    data = {"id": pa.array([f"key{number}" for number in range(ROWS)])}
    for place, column in enumerate(columns[1:]):
        data[column.name] = pa.array([row[place][0] for row in cells], column.arrow_type)
    texts = [[f"key{number}", *(text for _, text in row)] for number, row in enumerate(cells)]
    return Table.of("w", tuple(columns), pa.table(data), batch_rows=37), texts


def pages(path: Path) -> Iterator[list[Word]]:
    """The words of every page."""
    pattern = r'<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">(.*?)</word>'
    for page in poppler(path, "-bbox").split("<page ")[1:]:
        yield [
            Word(float(x0), float(y0), float(x1), float(y1), html.unescape(text))
            for x0, y0, x1, y1, text in re.findall(pattern, page)
        ]


def read(path: Path, columns: tuple[Column, ...]) -> dict[tuple[str, int], str]:
    """The letters of every cell, by the key of its row and the number of its column."""
    by_column: dict[tuple[str, int], list[Word]] = defaultdict(list)
    for words in pages(path):
        heads = {int(word.text[1:]): word for word in words if re.fullmatch(r"C\d+", word.text)}
        below = max(head.bottom for head in heads.values())
        above = next(word.top for word in words if word.text == "Page")
        inside = [word for word in words if below <= word.top and word.bottom <= above]
        keys = sorted((word.top, word.text) for word in inside if re.fullmatch(r"key\d+", word.text))
        for word in inside:
            key = [text for top, text in keys if top <= word.top + 1][-1]
            by_column[key, _column(word, heads, columns)].append(word)
    for cell in by_column.values():
        cell.sort(key=lambda word: (round(word.top), word.left))
    return {place: "".join(word.text for word in cell) for place, cell in by_column.items()}


def _column(word: Word, heads: dict[int, Word], columns: tuple[Column, ...]) -> int:
    """Numbers end where their header ends; other texts are right of where their header begins."""
    for number, head in heads.items():
        if columns[number].kind.is_number and abs(head.right - word.right) < 0.5:
            return number
    return max(
        (head.left, number)
        for number, head in heads.items()
        if not columns[number].kind.is_number and head.left < word.left + 0.5
    )[1]


@pytest.mark.parametrize(("count", "bands"), [(9, 1), (23, 2), (64, 4)])
def test_every_cell_of_a_wide_table_stands_in_its_row_and_under_its_header(
    tmp_path: Path, count: int, bands: int
) -> None:
    table, texts = wide(count)
    path = tmp_path / "wide.pdf"
    write(path, layout(Section("w", "Wide", table, counts=True)), {"page_size": "a4"})
    words = read(path, table.columns)
    expected = {
        (row[0], number): re.sub(r"\s", "", text) if number else row[0] * bands
        for row in texts
        for number, text in enumerate(row)
        if text
    }
    assert words == expected


@pytest.mark.slow
@pytest.mark.parametrize(("longest", "gain"), [(4, 1.0), (9, 0.5)])
def test_a_wide_table_goes_across_more_pages_only_where_long_texts_then_fill_fewer(
    longest: int, gain: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(1)

    def text(words: int) -> str:
        return " ".join(
            "".join(chance.choices("abcdefghij", k=chance.randint(2, longest))) for _ in range(words)
        )

    texts = [Column(f"c{n}", f"Column {n}", Kind.TEXT) for n in range(12)]
    numbers = [Column(f"n{n}", f"Number {n}", Kind.INTEGER) for n in range(6)]
    columns = [Column("id", "Id", Kind.INTEGER), *texts, Column("note", "Note", Kind.TEXT), *numbers]
    rows = [
        [row, *(text(3) for _ in texts), text(6 if row % 3 else 166), *range(10**5, 10**5 + 6)]
        for row in range(240)
    ]

    def pages(more: int) -> int:
        monkeypatch.setattr(measuring, "_MORE", more)
        path = tmp_path / f"{more}.pdf"
        write(path, layout(Section("w", "Wide", of_rows(columns, rows))), {"orientation": "landscape"})
        with pikepdf.open(path) as file:
            return len(file.pages)

    assert pages(3) <= gain * pages(0)


def test_bands_have_rows_as_high_as_their_own_cells_and_follow_each_other_by_their_first_row(
    tmp_path: Path,
) -> None:
    numbers = [Column(f"n{n}", f"Number {n}", Kind.INTEGER) for n in range(14)]
    columns = [Column("id", "C0", Kind.TEXT), *numbers, Column("note", "Note", Kind.TEXT)]
    rows = [[f"key{row}", *range(10**8, 10**8 + 14), "a long note " * 150] for row in range(60)]
    path = tmp_path / "bands.pdf"
    write(path, layout(Section("w", "Wide", of_rows(columns, rows), counts=True)))
    bands: dict[str, list[list[int]]] = defaultdict(list)
    order = []
    for words in pages(path):
        texts = [word.text for word in words]
        band = texts[texts.index("Columns") + 1]
        keys = [int(text[3:]) for text in texts if re.fullmatch(r"key\d+", text)]
        bands[band].append(keys)
        order += keys[:1]
    short, long = bands.values()
    assert [*chain(*short)] == [*chain(*long)] == list(range(60))
    assert len(short) <= 3
    assert len(long) >= 12
    assert order == sorted(order)


def asked(name: str, least: int, preferred: int, compact: int, cells: list[int]) -> measuring.Measure:
    column = Column(name, name, Kind.TEXT)
    return measuring.Measure(column, least, preferred, compact=compact, cells=np.array(cells, np.int64))


def test_headers_wrap_before_texts_do() -> None:
    texts = [asked("text", 400, 1_000, 1_000, [1_000] * 9), asked("amount", 200, 600, 250, [200] * 9)]
    (strip,) = measuring.arrange(texts, 1_300)
    wide, narrow = (slot.width + 2 * PAD_X for slot in strip.slots)
    assert wide >= 1_000
    assert narrow >= 250
    (strip,) = measuring.arrange(texts, 1_700)
    assert [slot.width + 2 * PAD_X >= 600 for slot in strip.slots] == [True, True]


def test_width_goes_where_it_makes_rows_lower() -> None:
    cells = [2_900, 2_700, 2_800, 2_950, 2_600]
    titles, notes = asked("title", 800, 3_000, 3_000, cells), asked("note", 800, 9_000, 9_000, [4_500] * 5)
    (strip,) = measuring.arrange([titles, notes], 5_500)
    title, note = (slot.width + 2 * PAD_X for slot in strip.slots)
    assert title >= 2_950  # an equal share, 2,750, would break three of the titles
    assert note >= 4_500 * 1.06 / 2  # and the notes take two lines either way
