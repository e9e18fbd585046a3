"""Whole documents, read by other programs: every cell found, the structure sound, nothing lost."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from pathlib import Path

import pikepdf
import pyarrow as pa
import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Group, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.pdf import readback
from export_pipeline.formats.pdf.options import PdfOptions
from export_pipeline.formats.pdf.shaping import bidi_levels
from export_pipeline.formats.pdf.write import render
from export_pipeline_tests.formats.pdf.reading import check, layout, poppler, rendered, rows, texts, write

SAMPLES = [
    "Größe, naïve café – “quotes” €12 fi ffl",
    "Ευρωπαϊκή Ένωση",
    "Съешь же ещё булок",
    "混凝土基礎",
    "コンクリート基礎",
    "콘크리트 기초",
    "हिन्दी में क्षत्रिय",
    "ภาษาไทย กำลังน้ำ ที่นี่",
    "বাংলা தமிழ் తెలుగు ગુજરાતી ਪੰਜਾਬੀ ಕನ್ನಡ ക്ഷമ සිංහල",
    "ქართული Հայերեն አማርኛ ភាសាខ្មែរ မြန်မာ ພາສາລາວ",
    "e\u0301 a\u0308 o\u0328",
    "☃ ★ ½ ∑√≤ ⌘ ◊ ▶ ✓ 😀 👩\u200d🚀",
    "<b>not bold</b> &amp; <img src='x'>",
    "=1+1 \\(x\\) %d {}",
    "\ue000 no font has this",
]
HEBREW = "קיר יסוד צפוני"
ARABIC = "جدار الأساس الشمالي لا إله"

HOSTILE = [
    "", " ", "\t", "\n", "\r\n\r\n", "NUL\x00 and \x1b", "\ud800 alone", "\u202eover", "\u2066in\u2069", "\ufeffbom",
    "\uffff", "\U0010ffff", "Z\u0321\u0335" * 400, "x" * 40_000, "word " * 3_000, "שלום " * 500, "שלום" * 500,
    "مرحبا" * 800, "日本語" * 2_000, "\n" * 300, "a\u00adb", "\u200b" * 50, "ﷺ", "🏴\U000e0067\U000e007f", "%PDF-1.7 endstream endobj",
]  # fmt: skip


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_other_programs_find_every_script(tmp_path: Path) -> None:
    path = tmp_path / "scripts.pdf"
    write(path, layout(Section("t", "Scripts", texts(SAMPLES), counts=True)))
    check(path)
    text = squeezed(poppler(path, "-raw"))
    assert [sample for sample in SAMPLES if squeezed(sample) not in text] == []
    with pypdfium2.PdfDocument(path) as file:
        seen = file[0].get_textpage().get_text_bounded()
    assert [sample for sample in SAMPLES if sample not in seen] == []


def test_right_to_left_text_is_found_in_logical_order(tmp_path: Path) -> None:
    path = tmp_path / "rtl.pdf"
    mixed = "שלום (עולם) 12.5"
    write(path, layout(Section("t", "T", texts([HEBREW, ARABIC, mixed, "السَّلَامُ"]), counts=True), title="א"))
    check(path)
    with pypdfium2.PdfDocument(path) as file:
        seen = unicodedata.normalize("NFC", file[0].get_textpage().get_text_bounded())
    for text in (HEBREW, ARABIC, mixed, "السَّلَامُ"):
        assert unicodedata.normalize("NFC", text) in seen
    printed = poppler(path)
    for word in (*HEBREW.split(), *ARABIC.split()):
        assert word in printed


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=60), min_size=1, max_size=12))
def test_the_file_says_every_character_of_every_cell(cells: list[str]) -> None:
    content = rendered(layout(Section("t", "T", texts(cells), counts=True)))
    printed = rows(content)
    assert len(printed) == len(cells)
    gone = dict.fromkeys(map(ord, "\n\r\x0b\x0c\x85\u2028\u2029"))
    for cell, text in zip(cells, printed, strict=True):
        expected = "".join(
            "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") and c != "\t" else c
            for c in cell.translate(gone)
        )
        if any(ord(c) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(c) <= 0xFDEF for c in cell):
            assert len(text) == len(expected)
        elif not any(any(bidi_levels(piece)[1]) for piece in cell.splitlines()):
            assert text == expected
        else:
            assert len(text) == len(expected)


def test_hostile_cells_come_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pdf"
    result = write(
        path,
        layout(
            Section("t", "T\x00<b>\ud800", texts(HOSTILE), counts=True, lines=("y" * 3_000,)),
            title="Hostile \x00 \ud800 <i>",
            facts=(("L" * 300, "v" * 9_000),),
            description="d\n" * 200,
        ),
    )
    check(path)
    printed = rows(path)
    assert len(printed) == len(HOSTILE) == result.rows
    for cell, text in zip(HOSTILE, printed, strict=True):
        if cell.isprintable() and not any(bidi_levels(cell)[1]):
            assert text == cell
    control = "control character printed as \N{REPLACEMENT CHARACTER}"
    assert result.changed[(control, "Text")] == 4
    assert result.changed[(control, "Title")] == 1


def test_characters_without_a_glyph_are_boxed_counted_and_copyable(tmp_path: Path) -> None:
    path = tmp_path / "boxes.pdf"
    result = write(path, layout(Section("t", "T", texts(["\ue000\ue001", "ok", "\U00012345"]), counts=True)))
    assert result.changed == {("glyph not available, box printed", "Text"): 2}
    assert rows(path) == ["\ue000\ue001", "ok", "\U00012345"]


def test_clusters_larger_than_a_glyph_can_be_are_printed_character_by_character() -> None:
    cells = ["\U0001f469\u200d" * 50, "\u0301" * 40, "a" + "\u0301" * 90, "\U0001f469\u200d" * 120]
    assert rows(rendered(layout(Section("t", "T", texts(cells), counts=True)))) == cells


@pytest.mark.slow
def test_more_characters_than_a_font_can_hold_do_not_break_the_file(tmp_path: Path) -> None:
    path = tmp_path / "crowded.pdf"
    many = [chr(code) for code in range(0x20000, 0x30000 - 2)] + [
        chr(code) for code in range(0xF0000, 0xF0400)
    ]
    cells = ["".join(many[i : i + 4_000]) for i in range(0, len(many), 4_000)]
    result = write(path, layout(Section("t", "T", texts(cells), counts=True)))
    assert sum(count for (reason, _), count in result.changed.items() if "too many" in reason) >= 1
    assert [len(row) for row in rows(path)] == [len(cell) for cell in cells]


def grouped(sizes: list[int]) -> Section:
    total = sum(sizes)
    table = Table.of(
        "m",
        (Column("n", "No.", Kind.INTEGER), Column("qty", "Quantity", Kind.DECIMAL, 4), Column("note", "Note", Kind.TEXT)),
        pa.table(
            {
                "n": pa.array(range(total), pa.int64()),
                "qty": pa.array([Decimal(i) / 8 for i in range(total)], pa.decimal128(38, 10)),
                "note": [f"note {i}" for i in range(total)],
            }
        ),
        batch_rows=97,
    )  # fmt: skip
    groups = tuple(
        Group(f"Group {i:04d}", size, (f"line {i}",), (Total("Sum", {"qty": Decimal(i)}),), "#3B82F6")
        for i, size in enumerate(sizes)
    )
    return Section("d", "Details", table, groups=groups, counts=True, sums=("qty",), empty="Nothing here.")


def test_groups_have_headings_headers_totals_and_links(tmp_path: Path) -> None:
    sizes = [3, 0, 120, 1, 0, 60]
    names = pa.table({"name": [f"Condition {i}" for i in range(len(sizes))]})
    summary = Section(
        "s", "Summary", Table.of("s", (Column("name", "Name", Kind.TEXT),), names), links=("name", "d")
    )
    path = tmp_path / "groups.pdf"
    result = write(path, layout(summary, grouped(sizes), author="Somebody"))
    assert result.rows == sum(sizes)
    check(path)
    text = poppler(path, "-layout")
    assert text.count("Nothing here.") == 2
    with pikepdf.open(path) as file:
        pages = len(file.pages)
        assert [f"Page {i} of {pages}" in text for i in range(1, pages + 1)] == [True] * pages
        assert text.count("Export: Riverside School") == pages + 1
        assert file.docinfo["/Title"] == "Export: Riverside School"
        assert file.docinfo["/Author"] == "Somebody"
        assert str(file.docinfo["/CreationDate"]).startswith("D:20250304050600")
        assert str(file.Root.Lang) == "en"
        with file.open_outline() as outline:
            chapters = {item.title: [child.title for child in item.children] for item in outline.root}
        assert chapters["Details"] == [f"Group {i:04d}" for i in range(len(sizes))]
        links = [annotation for page in file.pages for annotation in page.obj.get("/Annots", [])]
        assert len(links) == len(sizes)
        tops = [(link.Dest[0].objgen, float(link.Dest[3])) for link in links]
        assert len(set(tops)) == len(sizes)
        order = {page.obj.objgen: number for number, page in enumerate(file.pages)}
        assert tops == sorted(tops, key=lambda top: (order[top[0]], -top[1]))
    for page in text.split("\f")[:-1]:
        # A page that has rows has their header above them.
        if "note " in page:
            assert page.index("Quantity") < page.index("note ")
    assert "Group 0002 (continued)" in text


def test_headings_stay_with_their_first_row(tmp_path: Path) -> None:
    for filler in range(20, 60, 3):
        path = tmp_path / f"{filler}.pdf"
        write(path, layout(grouped([filler, 2])))
        pages = poppler(path, "-layout").split("\f")
        (page,) = [
            page
            for page in pages
            if "Group 0001" in page and "(continued)" not in page.split("Group 0001")[0][-40:]
        ][:1]
        assert f"note {filler}" in page.split("Group 0001")[1]


@pytest.mark.parametrize("sizes", [[5], [5, 5, 5]])
def test_groups_that_disagree_with_the_rows_are_refused(sizes: list[int]) -> None:
    whole = grouped([10])
    wrong = Section("d", "D", whole.table, groups=tuple(Group(str(i), size) for i, size in enumerate(sizes)))
    with pytest.raises(RenderError, match="rows than its groups"):
        rendered(layout(wrong))


def test_empty_exports_are_valid(tmp_path: Path) -> None:
    empty = Section("t", "Nothing", texts([]), counts=True, empty="No rows at all.")
    for name, what in {"rows": layout(empty), "groups": layout(grouped([])), "chapters": layout()}.items():
        path = tmp_path / f"{name}.pdf"
        assert write(path, what).rows == 0
        check(path)
        assert readback.read_back(path).problems == ()
    assert "No rows at all." in poppler(tmp_path / "rows.pdf")


def test_rows_taller_than_a_page_are_split_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "tall.pdf"
    cells = ["short", "long text " * 4_000, "after", "line\n" * 400]
    write(path, layout(Section("t", "T", texts(cells), counts=True)))
    check(path)
    assert rows(path) == [cell.replace("\n", "") for cell in cells]
    with pikepdf.open(path) as file:
        assert len(file.pages) > 5


@pytest.mark.slow
def test_long_headers_labels_and_titles_do_not_stop_the_file(tmp_path: Path) -> None:
    long = "".join(f"part{i} " for i in range(3_000))
    table = Table.of(
        "t",
        (Column("a", long, Kind.TEXT), Column("b", long[7:], Kind.INTEGER)),
        pa.table({"a": ["x", "y"], "b": [1, 2]}),
    )
    total = Total(long, {"b": 3})
    sections = (
        Section("a", long, table, totals=(total,), lines=(long,), counts=True),
        Section("b", "B", table, groups=(Group(long, 2, (long,), (total,)),)),
    )
    path = tmp_path / "long.pdf"
    write(path, layout(*sections, title=long))
    check(path)
    assert poppler(path).count("part2999") >= 10


def wide(count: int) -> Section:
    columns = tuple(
        Column(f"c{i}", f"Column number {i}", Kind.TEXT if i % 3 == 0 else Kind.MONEY) for i in range(count)
    )
    data = {
        column.name: [f"cell {i} of row {row}" for row in range(50)]
        if column.kind is Kind.TEXT
        else pa.array([Decimal(row * 1000 + i) for row in range(50)], pa.decimal128(18, 4))
        for i, column in enumerate(columns)
    }
    table = Table.of("w", columns, pa.table(data))
    return Section(
        "w", "Wide", table, totals=(Total("All", {"c1": 5, "c20": 7}),), counts=True, sums=("c1", "c20")
    )


@pytest.mark.parametrize(("count", "landscape"), [(3, False), (12, True), (45, True)])
def test_wide_tables_turn_the_page_and_then_go_across_pages(
    tmp_path: Path, count: int, landscape: bool
) -> None:
    path = tmp_path / "wide.pdf"
    assert len(write(path, layout(wide(count))).warnings) == (count > 40)
    check(path)
    with pikepdf.open(path) as file:
        box = [float(v) for v in file.pages[0].mediabox]
        assert (box[2] > box[3]) == landscape
    facts = readback.read_back(path)
    assert facts.rows == 50
    assert facts.totals["c1"] == sum(row * 1000 + 1 for row in range(50))
    assert facts.totals.get("c20", 1_226_000.0) == sum(row * 1000 + 20 for row in range(50))
    text = squeezed(poppler(path, "-raw"))
    for column in range(0, count, 3):
        assert f"{column}ofrow49" in text
    with pypdfium2.PdfDocument(path) as file:
        for page in file:
            edge = page.get_width() - 46 + 1
            assert all(item.get_bounds()[2] <= edge for item in page.get_objects(filter=(1,)))


def test_only_chapters_that_need_it_are_turned(tmp_path: Path) -> None:
    path = tmp_path / "mixed.pdf"
    write(path, layout(grouped([3]), wide(12), Section("t", "Last", texts(["end"]))))
    check(path)
    with pikepdf.open(path) as file:
        boxes = [[float(v) for v in page.mediabox] for page in file.pages]
    turned = [box[2] > box[3] for box in boxes]
    assert turned[0] is turned[-1] is False
    assert any(turned)
    assert f"Page {len(boxes)} of {len(boxes)}" in poppler(path)


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, (612, 792)), ({"page_size": "a4"}, (595, 842)), ({"page_size": "a3", "orientation": "landscape"}, (1191, 842)),
     ({"page_size": "legal", "orientation": "portrait"}, (612, 1008))],
)  # fmt: skip
def test_a_page_has_the_size_and_orientation_that_was_requested(
    tmp_path: Path, options: dict[str, str], size: tuple[int, int]
) -> None:
    path = tmp_path / "paper.pdf"
    write(path, layout(wide(3)), options)
    with pikepdf.open(path) as file:
        assert tuple(round(float(v)) for v in file.pages[0].mediabox)[2:] == size


def test_the_same_data_give_the_same_bytes() -> None:
    what = layout(grouped([40, 3]), Section("t", "T", texts([*SAMPLES, HEBREW, ARABIC])))
    assert rendered(what) == rendered(what)


def test_batches_of_any_size_give_the_same_pages(tmp_path: Path) -> None:
    whole = grouped([200]).table
    data = whole.arrow()
    for size in (1, 7, 200):
        table = Table.of("m", whole.columns, data, batch_rows=size)
        path = tmp_path / f"{size}.pdf"
        write(path, layout(Section("d", "D", table, counts=True, sums=("qty",))))
    assert len({poppler(tmp_path / f"{size}.pdf", "-bbox-layout") for size in (1, 7, 200)}) == 1


def test_rounded_cells_are_counted_by_column() -> None:
    table = Table.of(
        "m",
        (Column("a", "A", Kind.DECIMAL, 2), Column("b", "B", Kind.FLOAT)),
        pa.table({"a": pa.array([Decimal("1.25"), Decimal("1.256"), None], pa.decimal128(18, 4)), "b": [0.1, 1 / 3, 2.0]}),
    )  # fmt: skip
    import io

    result = render(layout(Section("t", "T", table, counts=True)), io.BytesIO(), PdfOptions())
    assert result.changed == {("rounded to 2 decimals", "A"): 1}
