"""The first page: the look of a company, and charts."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from export_pipeline.core.brand import Brand
from export_pipeline.core.charts import Chart, Series
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section
from export_pipeline.formats.pdf.charts import _axis_range, _Plot, _short
from export_pipeline.formats.pdf.readback import read_back
from export_pipeline.formats.pdf.style import WHITE, Theme
from export_pipeline.logo import read_logo
from export_pipeline.tabular.charts import MAX_SLICES
from export_pipeline_tests.formats.pdf.reading import check, layout, poppler, texts, write
from export_pipeline_tests.formats.pdf.test_tagged import violations

MONEY = Column("profit", "Profit", Kind.MONEY, digits=2, currency="€")
ROWS = Column("rows", "Rows", Kind.INTEGER)
SALES = Chart(
    "column",
    "Sales and <profit> שלום",
    "Month",
    ("Jan 2026", "Feb 2026", "東京"),
    (
        Series("Sales", MONEY, (Decimal("1010.10"), Decimal("0"), Decimal("3")), Decimal("1013.10")),
        Series("Profit", MONEY, (Decimal("-1.05"), Decimal("0.1"), Decimal("1")), Decimal("0.05")),
    ),
)
COUNTS = replace(SALES, type="bar", series=(Series("Rows", ROWS, (3, 2, 1), 6),), title="Counts")
CHARTS = (
    SALES,
    replace(SALES, type="bar", stacked=True),
    replace(SALES, type="line"),
    replace(COUNTS, type="pie"),
    COUNTS,
    replace(COUNTS, series=(Series("Rows", ROWS, (0, 0, 0), 0),)),
    replace(COUNTS, type="column", categories=tuple(f"Category {i}" for i in range(60)),
            series=(Series("Rows", ROWS, tuple(range(60)), 1770),)),
)  # fmt: skip


def picture(format: str, mode: str = "RGB", size: tuple[int, int] = (60, 30), **how: Any) -> bytes:
    out = BytesIO()
    Image.new(mode, size, "red" if mode != "L" else 90).save(out, format, **how)
    return out.getvalue()


def section() -> Section:
    return Section("t", "T", texts(["a", "b"]), counts=True)


@pytest.mark.parametrize("charts", [CHARTS[:1], CHARTS[1:3], CHARTS[3:5], CHARTS[5:], CHARTS[:3]])
def test_charts_have_their_values_in_words_and_break_no_rule(
    tmp_path: Path, charts: tuple[Chart, ...]
) -> None:
    path = tmp_path / "t.pdf"
    write(path, layout(section(), charts=charts))
    check(path)
    assert violations(path) == []
    assert read_back(path).problems == ()
    with pikepdf.open(path) as file:
        figures = [kid for kid in file.Root.StructTreeRoot.K.K if kid.S == pikepdf.Name.Figure]  # noqa: SIM300
        assert len(figures) == len(charts)
        spoken = [str(figure.Alt) for figure in figures]
    for chart, words in zip(charts, spoken, strict=True):
        assert words.startswith(f"Chart ({chart.type}) of {chart.title}. ")
        assert all(series.name in words for series in chart.series)
    if charts == CHARTS[:1]:
        assert (
            "Sales, Jan 2026: €1,010.10; Sales, Feb 2026: €0.00; Sales, 東京: €3.00; Profit, Jan" in spoken[0]
        )
        assert "Profit, Jan 2026: -€1.05" in spoken[0]
        assert {"Jan", "Feb", "東京", "€1,000", "Profit"} <= set(poppler(path).split())


@given(st.tuples(*[st.floats(0, 1)] * 3))
@example((0.35, 0.35, 0.45))
@example((0.24, 0.24, 0.24))
def test_every_slice_of_a_pie_has_a_colour_of_its_own(accent: tuple[float, float, float]) -> None:
    pie = replace(COUNTS, type="pie", categories=tuple(map(str, range(MAX_SLICES))))
    plot = _Plot(pie, 300, accent, None)  # type: ignore[arg-type]
    colours = [plot._color(index) for index in range(MAX_SLICES)]
    apart = [
        math.dist((one.red, one.green, one.blue), (other.red, other.green, other.blue))
        for one, other in combinations(colours, 2)
    ]
    assert min(apart) > 0.1


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.0, "$1,234"), (-2.5e6, "-$2.5M"), (9e14, "$900T"), (1e15, "$1e+15"), (-4.56e100, "-$4.56e+100")],
)
def test_numbers_beside_a_plot_are_short(value: float, text: str) -> None:
    assert _short(value, "$", "") == text


def test_bars_are_as_long_as_their_values(tmp_path: Path) -> None:
    path = tmp_path / "t.pdf"
    write(path, layout(section(), charts=(replace(COUNTS, title="C"),), brand=Brand(color="#FF0000")))
    with pypdfium2.PdfDocument(path) as file:
        page = file[0].render(scale=2).to_pil().convert("RGB")
    lengths = []
    for y in range(200, page.height):
        red = [x for x in range(page.width) if page.getpixel((x, y)) == (255, 0, 0)]
        lengths.append(len(red) if len(red) < 1000 else 0)
    runs = sorted({length for length in lengths if lengths.count(length) > 10 and length}, reverse=True)
    first, second, third = runs[:3]
    assert first / third == pytest.approx(3, rel=0.02)
    assert second / third == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    "logo",
    [
        picture("PNG"), picture("PNG", "RGBA"), picture("PNG", "L"), picture("PNG", "1"), picture("PNG", "P"),
        picture("JPEG"), picture("JPEG", "L"), picture("JPEG", "CMYK"), picture("PNG", size=(3000, 20)),
    ],
)  # fmt: skip
def test_a_company_has_its_logo_colour_address_and_footer(tmp_path: Path, logo: bytes) -> None:
    path = tmp_path / "t.pdf"
    brand = Brand(logo, "#1B7F5C", ("Acme Ltd", "1 Mill Lane"), "Registered, no. 7")
    write(path, layout(section(), brand=brand))
    check(path)
    assert violations(path) == []
    text = poppler(path)
    assert "Acme Ltd" in text
    assert "1 Mill Lane" in text
    assert "Registered, no. 7" in text
    with pypdfium2.PdfDocument(path) as file:
        images = list(file[0].get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]))
        assert len(images) == 1
        left, low, right, high = images[0].get_bounds()
        _, height = file[0].get_size()
    assert left == pytest.approx(46, abs=0.1)
    assert high == pytest.approx(height - 46, abs=0.1)
    assert right - left <= 200.1
    assert high - low <= 44.1


def test_texts_on_a_pale_accent_stay_readable() -> None:
    pale, dark = Theme.of("#FFE680"), Theme.of("#101840")
    assert pale.heading != pale.accent
    assert pale.on_accent != WHITE
    assert dark.heading == dark.accent
    assert dark.on_accent == WHITE


def test_a_logo_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "logo"
    path.write_bytes(picture("PNG"))
    assert read_logo(path) == picture("PNG")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2"><rect width="4" height="2"/></svg>'
    (tmp_path / "logo.svg").write_text(svg)
    with Image.open(BytesIO(read_logo(tmp_path / "logo.svg"))) as drawn:
        assert drawn.size == (1200, 600)
    for name, content, message in (
        ("gif", picture("GIF"), "is not a PNG, JPEG or SVG image"),
        ("cut", picture("PNG", size=(900, 900), compress_level=0)[:90_000], "is a damaged image"),
        ("text", b"hello", "is not a PNG, JPEG or SVG image"),
        ("svg", b"<svg><rect", "is not a sound SVG image"),
        ("large", b"\0" * 2_000_001, "has 2,000,001 bytes"),
        ("wide", picture("PNG", "1", (20_000, 900)), "20,000 x 900 pixels"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_logo(tmp_path / name)
    with pytest.raises(ValueError, match="cannot be read"):
        read_logo(tmp_path / "none")
    with pytest.raises(ValueError, match="is not a file"):
        read_logo(tmp_path)


@given(
    st.floats(-1e306, 0, allow_subnormal=False).filter(lambda value: value == 0 or value < -1e-300),
    st.floats(0, 1e306, allow_subnormal=False).filter(lambda value: value == 0 or value > 1e-300),
)
@example(0.0, 11.0)
@example(0.0, 1.0)
@example(-500.0, 1800.0)
def test_an_axis_reaches_over_all_values_in_at_most_six_round_steps(low: float, high: float) -> None:
    first, last, step = _axis_range(low, high, Kind.FLOAT)
    tolerance = step * 1e-9
    assert first <= low + tolerance
    assert high <= last + tolerance
    assert step > 0
    assert round((last - first) / step) <= 6
    assert low - first < step * 1.000001 or low == high
    assert last - high < step * 1.000001 or low == high


def test_an_axis_of_counts_has_whole_steps_and_wastes_little() -> None:
    ranges = [_axis_range(0, high, Kind.INTEGER) for high in (0, 1, 3, 9, 11, 28, 1_340)]
    assert ranges == [
        (0, 1, 1), (0, 1, 1), (0, 3, 1), (0, 10, 2), (0, 12, 2), (0, 30, 5), (0, 1500, 250),
    ]  # fmt: skip
