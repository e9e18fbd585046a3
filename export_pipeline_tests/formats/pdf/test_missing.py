"""Missing values: the text that their column declares, paler than data."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pikepdf
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Group, Section
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.pdf import readback
from export_pipeline.formats.pdf.style import INK, LINK, MISSING, Theme
from export_pipeline_tests.formats.pdf.reading import check, fills, layout, rows, texts, write


def test_a_missing_value_is_printed_as_its_column_says(tmp_path: Path) -> None:
    columns = (
        Column("t", "Text", Kind.TEXT, null="N/A"),
        Column("n", "Number", Kind.DECIMAL, null="none"),
        Column("b", "Flag", Kind.BOOLEAN, labels=("on", "off"), null="unknown"),
        Column("d", "Day", Kind.DATE, null="never"),
    )
    data = {
        "t": pa.array([None, ""]),
        "n": pa.array([None, Decimal(1)], pa.decimal128(38, 10)),
        "b": pa.array([None, False]),
        "d": pa.array([None, date(2025, 1, 2)]),
    }
    path = tmp_path / "missing.pdf"
    table = Table.of("t", columns, pa.table(data))
    write(path, layout(Section("t", "T", table, counts=True, sums=("n",))))
    assert rows(path) == ["N/Anoneunknownnever", "1off2025-01-02"]
    assert readback.read_back(path).totals == {"n": 1.0}
    with pikepdf.open(path) as file:
        colors = fills(file.pages[0])
    assert {colors[text] for text in ("N/A", "none", "unknown", "never")} == {MISSING.decode()[:-3]}
    assert {colors[text] for text in ("1", "off", "2025-01-02")} == {INK.decode()[:-3]}


@pytest.mark.parametrize("accent", ["", "#000000", "#1A1A1A", "#FFFFFF", "#FFEE00", "#0000FF"])
def test_a_missing_value_is_paler_than_data_and_readable_on_every_row(accent: str) -> None:
    def luminance(fill: bytes) -> float:
        parts = [float(part) for part in fill.split()[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    band = luminance(Theme.of(accent).zebra)
    missing, ink = luminance(MISSING), luminance(INK)
    assert (band + 0.05) / (missing + 0.05) >= 4.5
    assert (missing + 0.05) / (ink + 0.05) > 2


@pytest.mark.parametrize("tagged", [False, True])
def test_a_missing_value_is_pale_beside_links_and_in_rows_taller_than_a_page(
    tmp_path: Path, tagged: bool
) -> None:
    columns = (Column("a", "A", Kind.TEXT, null="N/A"), Column("b", "B", Kind.TEXT, null="none"))
    data = pa.table({"a": ["long text " * 2000, None, "x"], "b": [None, "y", None]})
    section = Section("t", "T", Table.of("t", columns, data), counts=True, links=("b", "g"))
    goal = Section("g", "G", texts(["1", "2", "3"]), groups=tuple(Group(f"G{n}", 1) for n in range(3)))
    path = tmp_path / "pale.pdf"
    write(path, layout(section, goal), {"tagged": tagged})
    check(path)
    assert readback.read_back(path) == FileFacts(3, {})
    colors: dict[str, str] = {}
    with pikepdf.open(path) as file:
        for page in file.pages:
            colors = {**fills(page), **colors}
    pale = MISSING.decode()[:-3]
    assert (colors["N/A"], colors["none"], colors["x"]) == (pale, pale, INK.decode()[:-3])
    assert colors["y"] == LINK.decode()[:-3]


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("null", ["N/A", "not known at all, or not yet, or not to be seen by anybody"])
def test_missing_numbers_between_others_add_nothing(tmp_path: Path, tagged: bool, null: str) -> None:
    columns = (Column("t", "T", Kind.TEXT), *(Column(name, name, Kind.DECIMAL, null=null) for name in "ab"))
    numbers = [None if row % 3 == 1 else Decimal(row) / 4 for row in range(300)]
    data = {"t": ["some words of a text " * 5] * 300, "a": numbers, "b": numbers[::-1]}
    path = tmp_path / "numbers.pdf"
    table = Table.of("t", columns, pa.table(data))
    write(path, layout(Section("t", "T", table, counts=True, sums=("a", "b"))), {"tagged": tagged})
    total = float(sum(number for number in numbers if number is not None))
    assert readback.read_back(path) == FileFacts(300, {"a": total, "b": total})
    with pikepdf.open(path) as file:
        content = b"".join(part.read_bytes() for part in file.pages[0].obj.Contents)
    assert (b"/More.a BMC" in content) is (len(null) > 9)
