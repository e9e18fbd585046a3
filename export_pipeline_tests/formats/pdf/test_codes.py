"""Codes of glyphs: of one byte where a batch of rows has only the first glyphs of its document, else of two."""

from __future__ import annotations

import re
from pathlib import Path

import pikepdf
import pyarrow as pa
import pypdfium2
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.pdf import readback
from export_pipeline_tests.formats.pdf.reading import check, layout, poppler, rows, write

COUNT = 2_100  # rows that are laid out by themselves


def section(blocks: int) -> Section:
    """Blocks of rows in turn, of plain letters and of more different characters than there are codes of one byte."""
    texts = [
        f"row {row}" if row // COUNT % 2 == 0 else chr(0x4E00 + row % 700) + f" {row}"
        for row in range(blocks * COUNT)
    ]
    columns = (Column("t", "T", Kind.TEXT), Column("n", "N", Kind.FLOAT))
    data = pa.table({"t": texts, "n": [row / 8 for row in range(len(texts))]})
    return Section("s", "S", Table.of("t", columns, data, batch_rows=COUNT), counts=True, sums=("n",))


@pytest.mark.parametrize("tagged", [False, True])
def test_each_batch_of_rows_has_the_shortest_codes_that_it_can(tmp_path: Path, tagged: bool) -> None:
    path, what = tmp_path / "codes.pdf", section(3)
    write(path, layout(what), {"tagged": tagged})
    check(path)
    count = 3 * COUNT
    assert readback.read_back(path) == FileFacts(count, {"n": count * (count - 1) / 16})
    texts = [text for batch in what.table.open() for text in batch.column(0).to_pylist()]
    printed = rows(path)
    assert [line.startswith(text) for line, text in zip(printed, texts, strict=True)] == [True] * count
    with pikepdf.open(path) as file:
        fonts = {
            name: sum(content.count(b" " + name + b" 160 Tf") for content in map(_content, file.pages))
            for name in (b"rg /F1", b"rg /F1S")
        }
    assert min(fonts.values()) > 20
    words = [re.sub(r"\s", "", text) for text in texts]
    for text in (poppler(path, "-raw"), _pdfium(path)):
        letters = re.sub(r"\s", "", text)
        assert [word for word in words if word not in letters] == []


def test_a_file_without_rows_of_such_codes_has_no_font_for_them(tmp_path: Path) -> None:
    path = tmp_path / "none.pdf"
    write(path, layout())
    with pikepdf.open(path) as file:
        assert set(file.pages[0].obj.Resources.Font.keys()) == {"/F1", "/F2"}


@pytest.mark.parametrize(("tagged", "most"), [(False, 11.0), (True, 19.0)])
def test_a_cell_takes_so_many_bytes_of_a_file(tmp_path: Path, tagged: bool, most: float) -> None:
    count, words = 4_000, ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch")
    columns = (
        Column("id", "Id", Kind.INTEGER),
        Column("a", "Name", Kind.TEXT),
        Column("b", "Address", Kind.TEXT),
        *(Column(name, name, Kind.FLOAT, 2) for name in ("c", "d")),
        *(Column(name, name, Kind.ENUM) for name in ("e", "f", "g")),
    )
    numbers = [row * 7919 % 100_003 for row in range(count)]
    data = {
        "id": range(count),
        "a": [f"{words[n % 7].title()} {words[n // 7 % 7]} {n % 89}" for n in numbers],
        "b": [f"{words[n // 49 % 7]}.{n % 1009}@{words[n // 343 % 7]}.example" for n in numbers],
        "c": [n / 4 for n in numbers],
        "d": [n * 31 % 5_000_000 / 100 for n in numbers],
        "e": [words[n % 3] for n in numbers],
        "f": [words[n % 5] for n in numbers],
        "g": [words[n % 7] for n in numbers],
    }
    path = tmp_path / "size.pdf"
    table = Table.of("t", columns, pa.table({name: list(values) for name, values in data.items()}))
    write(path, layout(Section("t", "T", table, counts=True, sums=("c", "d"))), {"tagged": tagged})
    assert path.stat().st_size / (count * len(columns)) < most


def _content(page: pikepdf.Page) -> bytes:
    return b"\n".join(part.read_bytes() for part in page.obj.Contents)


def _pdfium(path: Path) -> str:
    with pypdfium2.PdfDocument(path) as file:
        return "\n".join(page.get_textpage().get_text_bounded() for page in file)
