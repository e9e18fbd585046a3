"""Tables as exports declare them: bands of columns, missing values, zones, patterns, titles, totals."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pikepdf
import pyarrow as pa
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.pdf import readback
from export_pipeline.formats.pdf.cells import print_cells
from export_pipeline.formats.pdf.columns import arrange, measure
from export_pipeline.formats.pdf.style import UNIT
from export_pipeline.formats.pdf.typeset import Typesetter
from export_pipeline_tests.formats.pdf.reading import check, layout, poppler, rows, write


def cells(column: Column, values: list[datetime | None]) -> list[str]:
    array = pa.array(values, column.arrow_type)
    return [scalar.as_py() for scalar in print_cells(column, array).strings]


def wide(count: int, rows: int = 130) -> Table:
    columns = [Column("id", "Id", Kind.INTEGER)]
    columns += [Column(f"c{i}", f"Header{i}", Kind.TEXT, null="N/A") for i in range(1, count)]
    data = {"id": pa.array(range(rows), pa.int64())}
    for i in range(1, count):
        data[f"c{i}"] = pa.array(
            [None if (row + i) % 9 == 0 else f"cell-{i}-of-{row}" for row in range(rows)]
        )
    return Table.of("w", columns, pa.table(data), batch_rows=37)


@pytest.mark.parametrize("count", [20, 61])
def test_columns_that_do_not_fit_go_across_in_bands_that_say_which_they_are(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "wide.pdf"
    total = Total("Grand total", {"id": 8385})
    section = Section("w", "Wide", wide(count), totals=(total,), counts=True, sums=("id",))
    write(path, layout(section), {"page_size": "a4", "orientation": "landscape"})
    check(path)
    pages = poppler(path, "-raw").split("\f")[:-1]
    labels = [re.search(r"Columns (\d+)-(\d+) of (\d+)", page) for page in pages]
    assert all(labels)
    bands = [(int(label[1]), int(label[2])) for label in labels if label]
    # The bands of the same rows follow one another, and together they have every column once.
    width = bands.index((1, bands[0][1]), 1)
    assert bands == bands[:width] * (len(bands) // width)
    assert [number for first, last in bands[:width] for number in range(first, last + 1)] == list(
        range(1, count + 1)
    )
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        first, last = bands[number - 1]
        shown = {int(digits) for digits in re.findall(r"Header(\d+)", page)}
        assert shown == set(range(max(first - 1, 1), last))
        # The key stands before every row of every band.
        keys = {int(digits) for digits in re.findall(r"^(\d+) (?:cell|N/A)", page, re.MULTILINE)}
        assert keys >= {int(digits) for digits in re.findall(r"cell-\d+-of-(\d+)", page)}
    text = "".join(pages)
    assert len(set(re.findall(r"cell-\d+-of-\d+", text))) == text.count("cell-")
    assert text.count("cell-") + text.count("N/A") == 130 * (count - 1)
    assert text.count("Grand total") == width
    assert readback.read_back(path) == FileFacts(130, {"id": 8385.0})


def test_a_wide_table_begins_on_the_page_with_the_title(tmp_path: Path) -> None:
    path = tmp_path / "wide.pdf"
    write(path, layout(Section("w", "Wide", wide(20)), facts=(("Client", "Harbour School"),)))
    assert "cell-1-of-0" in poppler(path, "-l", "1").split("Harbour School")[1]


def test_two_wide_tables_do_not_share_their_bands(tmp_path: Path) -> None:
    path = tmp_path / "two.pdf"
    sections = (Section("a", "First", wide(20, 5)), Section("b", "Second", wide(45, 5), counts=True))
    write(path, layout(*sections, Section("c", "Third", wide(3, 5))))
    check(path)
    assert rows(path) == ["".join(texts) for texts in _band_texts(path)]


def _band_texts(path: Path) -> list[list[str]]:
    """The cells of the counting table's first band."""
    with pikepdf.open(path) as file:
        last = max(
            int(columns[2])
            for page in poppler(path).split("\f")
            if (columns := re.search(r"Columns (1)-(\d+) of 45", page))
        )
        assert len(file.pages) > 3
    return [
        [str(row), *("N/A" if (row + i) % 9 == 0 else f"cell-{i}-of-{row}" for i in range(1, last))]
        for row in range(5)
    ]


def test_times_are_local_and_the_header_names_the_zone(tmp_path: Path) -> None:
    zoned = Column("a", "Created", Kind.TIMESTAMP, zone="Europe/Berlin")
    naive = Column("b", "Opened", Kind.TIMESTAMP, zone=None)
    plain = Column("c", "Updated", Kind.TIMESTAMP)
    moments = [datetime(2025, 7, 1, 23, 5, tzinfo=UTC)]
    data = {
        "a": pa.array(moments, zoned.arrow_type),
        "b": pa.array([datetime(2025, 7, 1, 23, 5)], naive.arrow_type),
        "c": pa.array(moments, plain.arrow_type),
    }
    path = tmp_path / "zones.pdf"
    table = Table.of("t", (zoned, naive, plain), pa.table(data))
    write(path, layout(Section("t", "T", table, counts=True)))
    assert rows(path) == ["2025-07-02 01:05:002025-07-01 23:05:002025-07-01 23:05:00"]
    text = " ".join(poppler(path).split())
    assert "Created (Europe/Berlin) Opened Updated (UTC)" in text


def test_an_hour_that_the_clock_shows_twice_has_its_offset() -> None:
    column = Column("t", "T", Kind.TIMESTAMP, zone="Europe/Berlin")
    start = datetime(2025, 10, 25, 23, 30, tzinfo=UTC)
    assert cells(column, [start + timedelta(minutes=30 * i) for i in range(7)]) == [
        "2025-10-26 01:30:00", "2025-10-26 02:00:00 +02:00", "2025-10-26 02:30:00 +02:00", "2025-10-26 02:00:00 +01:00",
        "2025-10-26 02:30:00 +01:00", "2025-10-26 03:00:00", "2025-10-26 03:30:00",
    ]  # fmt: skip
    skipped = [datetime(2025, 3, 30, hour, tzinfo=UTC) for hour in (0, 1)]
    assert cells(column, skipped) == ["2025-03-30 01:00:00", "2025-03-30 03:00:00"]


def test_the_ends_of_the_calendar_are_printed_in_every_zone() -> None:
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), None]
    for zone, first, last in (
        ("UTC", "0001-01-01 00:00:00", "9999-12-31 23:59:00"),
        ("Asia/Tokyo", "0001-01-01 09:18:59", "10000-01-01 08:59:00"),
        ("America/New_York", "0000-12-31 19:03:58", "9999-12-31 18:59:00"),
    ):
        column = Column("t", "T", Kind.TIMESTAMP, zone=zone, null="-")
        assert cells(column, ends) == [first, last, "-"]


_PATTERNS = {
    "MMM dd, yyyy": "%b %d, %Y",
    "dd.MM.yyyy HH:mm:ss": "%d.%m.%Y %H:%M:%S",
    "yyyy/MM": "%Y/%m",
    "'HH'h": "'%H'h",
    "no fields": "no fields",
}


@pytest.mark.slow
@given(
    st.lists(st.none() | st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)), max_size=9),
    st.sampled_from(sorted(_PATTERNS)),
    st.sampled_from(["UTC", "Asia/Kolkata", "America/St_Johns", None]),
)
def test_patterns_print_what_python_prints(
    moments: list[datetime | None], pattern: str, zone: str | None
) -> None:
    column = Column("t", "T", Kind.TIMESTAMP, zone=zone, pattern=pattern, null="?")
    if zone is not None:
        moments = [moment and moment.replace(tzinfo=UTC) for moment in moments]
    expected = []
    for moment in moments:
        local = moment.astimezone(ZoneInfo(zone)) if moment and zone else moment
        text = local.strftime(_PATTERNS[pattern]) if local else "?"
        if local and zone and local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
            continue
        expected.append(text)
    texts = cells(column, moments)
    assert [text for text in texts if not re.search(r" [+-]\d\d:\d\d$", text)] == expected
    days = Column("d", "D", Kind.DATE, pattern=pattern, null="?")
    dates = [moment and moment.date() for moment in moments]
    result = print_cells(days, pa.array(dates, pa.date32())).strings
    assert [scalar.as_py() for scalar in result] == [
        datetime(day.year, day.month, day.day).strftime(_PATTERNS[pattern]) if day else "?" for day in dates
    ]


def test_parts_of_a_time_that_a_pattern_leaves_out_are_counted() -> None:
    times = pa.array([datetime(2025, 1, 2), datetime(2025, 1, 2, 3), None], pa.timestamp("us"))
    column = Column("t", "T", Kind.TIMESTAMP, zone=None, pattern="dd MMM yyyy")
    assert print_cells(column, times).changed == {"printed as dd MMM yyyy": 1}


def test_a_title_may_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "title.pdf"
    section = Section("t", "Export: Riverside School", wide(3, 400), counts=True)
    write(path, layout(section), {"title": "Scope of Work", "page_size": "a4", "orientation": "landscape"})
    text = poppler(path)
    with pikepdf.open(path) as file:
        assert file.docinfo["/Title"] == "Scope of Work"
        assert [round(float(v)) for v in file.pages[0].mediabox] == [0, 0, 842, 595]
        assert text.count("Scope of Work (continued)") == len(file.pages) - 1
    # The chapter is called what the document was called: it is not said again under another name.
    assert "Riverside" not in text
    assert text.split("\f")[0].count("Scope of Work") == 2


@pytest.mark.slow
def test_long_numbers_far_down_a_table_are_not_broken(tmp_path: Path) -> None:
    count = 30_000
    columns = (Column("id", "N", Kind.INTEGER), *(Column(f"t{i}", "Text", Kind.TEXT) for i in range(14)))
    numbers = [*range(count - 1), 9_007_199_254_740_993]
    data = {"id": pa.array(numbers, pa.int64()), **{f"t{i}": ["some words here"] * count for i in range(14)}}
    path = tmp_path / "numbers.pdf"
    write(path, layout(Section("t", "T", Table.of("t", columns, pa.table(data)), counts=True, sums=("id",))))
    with pypdfium2.PdfDocument(path) as file:
        assert "9,007,199,254,740,993" in file[len(file) - 1].get_textpage().get_text_bounded()
    assert readback.read_back(path) == FileFacts(count, {"id": float(sum(numbers))})


def test_the_total_of_the_first_column_leaves_room_for_its_label(tmp_path: Path) -> None:
    columns = (Column("a", "A", Kind.INTEGER), Column("b", "B", Kind.TEXT), Column("c", "C", Kind.INTEGER))
    table = Table.of("t", columns, pa.table({"a": [1], "b": ["x"], "c": [3]}))
    path = tmp_path / "total.pdf"
    write(path, layout(Section("t", "T", table, totals=(Total("In all", {"a": 1001, "c": 3003}),))))
    assert "1,001 In all 3,003" in " ".join(poppler(path, "-layout").split())


def test_clocks_are_changed_in_years_that_no_table_lists() -> None:
    column = Column("t", "T", Kind.TIMESTAMP, zone="Europe/Berlin")
    summers = [datetime(year, 7, 1, 12, tzinfo=UTC) for year in (2037, 2038, 2500, 9998)]
    assert cells(column, summers) == [f"{moment.year}-07-01 14:00:00" for moment in summers]
    # The last Sunday of October 2050 is the 30th.
    nights = [datetime(2050, 10, 30, hour, 30, tzinfo=UTC) for hour in (0, 1, 2)]
    assert cells(column, nights) == [
        "2050-10-30 02:30:00 +02:00", "2050-10-30 02:30:00 +01:00", "2050-10-30 03:30:00",
    ]  # fmt: skip


@pytest.mark.parametrize("count", range(60, 100, 3))
def test_no_page_holds_a_total_or_a_row_alone(tmp_path: Path, count: int) -> None:
    path = tmp_path / "totals.pdf"
    column = Column("n", "Number", Kind.INTEGER)
    rows_ = Table.of("t", (column,), pa.table({"n": pa.array(range(count), pa.int64())}))
    totals = (Total("Total", {"n": count * (count - 1) // 2}),)
    write(path, layout(Section("t", "Numbers", rows_, totals=totals, counts=True, sums=("n",))))
    assert readback.read_back(path) == FileFacts(count, {"n": float(totals[0].values["n"])})
    pages = [re.findall(r"^\d+$", page, re.MULTILINE) for page in poppler(path, "-raw").split("\f")[:-1]]
    assert all(len(numbers) >= 2 for numbers in pages), pages
    assert len(pages[-1]) >= 4, pages  # of the rows: the total has a comma


def test_ids_are_never_broken_for_a_free_text_with_a_declared_width(tmp_path: Path) -> None:
    path = tmp_path / "ids.pdf"
    columns = (
        Column("id", "Transaction Id", Kind.UUID),
        Column("order", "Order", Kind.TEXT),
        Column("text", "Description", Kind.TEXT, width=60),
        Column("more", "More", Kind.TEXT, width=60),
    )
    data = {
        "id": [f"76d2106c-0b5a-5c8f-82e8-3675{i:08}" for i in range(20)],
        "order": [f"23-90454-8181{i:03}" for i in range(20)],
        "text": ["Enrolment of a field recording, marsh and dunes, in four parts, of which one is lost"] * 20,
        "more": ["A remark that is as long as a remark can be before somebody stops reading it"] * 20,
    }
    write(path, layout(Section("t", "T", Table.of("t", columns, pa.table(data)), counts=True)))
    text = poppler(path, "-raw")
    assert all(value in text for name in ("id", "order") for value in data[name])


def test_a_declared_width_is_a_maximum(tmp_path: Path) -> None:
    columns = (Column("a", "A", Kind.TEXT, width=200), Column("b", "B", Kind.TEXT))
    data = {"a": ["short"] * 5, "b": ["some longer text " * 6] * 5}
    section = Section("t", "T", Table.of("t", columns, pa.table(data)), counts=True)
    first, second = measure(section, Typesetter())
    assert first.preferred < second.preferred
    strip = arrange([first, second], 530 * UNIT)[0]
    assert strip.slots[1].width > 450 * UNIT


def test_pages_beside_the_first_begin_with_the_title(tmp_path: Path) -> None:
    path = tmp_path / "wide.pdf"
    write(path, layout(Section("w", "Wide", wide(20, 5)), title="Wide"))
    pages = poppler(path, "-raw").split("\f")[:-1]
    assert len(pages) > 1
    assert all(page.startswith("Wide\n") for page in pages)
    with pypdfium2.PdfDocument(path) as file:
        for number in range(1, len(pages)):
            page = file[number]
            # Title, columns and header follow each other at the top, however tall the first page's head is.
            place = page.get_textpage().search("Id", match_case=True).get_next()
            assert place is not None
            bottom = page.get_textpage().get_charbox(place[0])[1]
            assert page.get_height() - bottom < 46 + 45
