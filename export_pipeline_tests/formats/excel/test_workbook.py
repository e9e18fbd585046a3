"""The look of a workbook and the relations of its parts."""

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import openpyxl
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Group, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.excel import archive, plan
from export_pipeline.formats.excel.readback import read_back
from export_pipeline_tests.formats.excel.books import (
    CREATED,
    layout,
    measurements,
    one_column,
    project,
    table,
    validation_errors,
    write,
)

NUMBERS = (Column("k", "Key", Kind.ENUM), Column("n", "N", Kind.FLOAT))


def test_a_sheet_looks_as_people_expect(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[1]
    assert (sheet["A1"].value, sheet["A1"].font.b) == ('Condition 1: 4" slab / area', True)
    assert (sheet["A2"].value, sheet["A3"].value) == ("area | SF", None)
    header = sheet["C4"]
    assert (header.value, header.font.b, header.font.sz, header.font.color.rgb) == (
        "Quantity",
        True,
        11,
        "FFFFFFFF",
    )
    assert header.fill.fgColor.rgb == "FF2B579A"
    assert header.alignment.horizontal == "center"
    assert header.alignment.wrap_text
    assert header.border.left.style == "thin"
    assert sheet.freeze_panes == "A5"
    assert sheet.auto_filter.ref == "A4:J29"
    assert sheet.print_title_rows == "$4:$4"
    assert sheet.page_setup.orientation == "landscape"
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    assert (sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight) == (1, 0)
    assert sheet.sheet_properties.tabColor.rgb == "FF3B82F6"
    assert all(8 <= sheet.column_dimensions[letter].width <= 60 for letter in "ABCDEFGHIJ")
    assert sheet["J6"].alignment.wrap_text
    formats = [sheet[f"{letter}5"].number_format for letter in "ACEFHI"]
    assert formats == [
        "#,##0",
        "#,##0.0000",
        '"$"#,##0.00;-"$"#,##0.00',
        '0.0"%"',
        "yyyy\\-mm\\-dd",
        "yyyy\\-mm\\-dd hh:mm:ss",
    ]
    assert sheet["A32"].value == "Total"
    assert sheet["A32"].font.b
    assert sheet["J32"].border.top.style == "thin"


def test_document_properties(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    facts = openpyxl.load_workbook(path).properties
    assert (facts.title, facts.creator, facts.created) == (
        "Export: Riverside School",
        "export_pipeline",
        CREATED.replace(tzinfo=None),
    )


def test_the_summary_leads_to_every_group(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    book = openpyxl.load_workbook(path)
    summary = book.worksheets[0]
    targets = [summary[f"A{row}"].hyperlink.location for row in range(6, 11)]
    assert targets == ["'" + name + "'!A1" for name in book.sheetnames[1:]]
    titles = [book[target[1:-4]]["A1"].value for target in targets]
    assert titles == [summary[f"A{row}"].value for row in range(6, 11)]


def test_an_empty_group_has_its_sheet(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(project(), path)
    sheet = openpyxl.load_workbook(path)["Without measurements"]
    assert [cell.value for cell in sheet["A"]] == [
        "Without measurements",
        "count | EA",
        None,
        "Page",
        "No rows.",
        "Total",
    ]
    assert sheet["C6"].value == "=SUM(C5:C5)"
    assert rendered.rows == read_back(path).rows == 100


def test_the_first_sheet_is_the_one_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    book = openpyxl.load_workbook(path)
    assert book.active is book.worksheets[0]
    assert [sheet.sheet_view.tabSelected for sheet in book.worksheets] == [True] + [False] * 5


def test_same_data_same_bytes_and_batches_do_not_matter(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.xlsx" for name in "abc"]
    for path in paths[:2]:
        write(project(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    whole, batched = (
        layout(Section("s", "S", measurements(500, batch_rows), counts=True)) for batch_rows in (500, 7)
    )
    write(whole, paths[0])
    write(batched, paths[2])
    read = [
        [row for sheet in openpyxl.load_workbook(path) for row in sheet.iter_rows(values_only=True)]
        for path in (paths[0], paths[2])
    ]
    assert read[0] == read[1]


def test_hidden_names_say_where_filters_and_rows_are(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(groups=1), path)
    with ZipFile(path) as parts:
        book = parts.read("xl/workbook.xml").decode()
    filters = 'name="_xlnm._FilterDatabase" localSheetId="{}" hidden="1">{}<'
    assert 'localSheetId="0" hidden="1">\'Summary\'!$A$5:$B$7<' not in book  # its table has the filter
    name = "'Condition 1_ 4\" slab _ area'!$A$4:$J$29"
    assert filters.format(1, name) in book.replace("&quot;", '"')
    assert 'name="_xlnm.Print_Titles" localSheetId="0">\'Summary\'!$5:$5<' in book
    assert 'activeTab="0"' in book


def report(
    tmp_path: Path, columns: tuple[Column, ...], data: dict[str, list[object]], **options: object
) -> Path:
    """The workbook of one table, as a report."""
    path = tmp_path / "b.xlsx"
    section = Section("s", "Ledger", table(columns, data), lines=("For: Acme", "Rows: 2"), counts=True)
    write(replace(layout(section), scope="Smith & Sons"), path, options)
    assert validation_errors(path) == []
    assert read_back(path).problems == ()
    return path


def test_the_rows_of_a_report_are_an_excel_table(tmp_path: Path) -> None:
    columns = (Column("k", "Key", Kind.TEXT), Column("n", 'Net "&" <gross>', Kind.INTEGER))
    path = report(tmp_path, columns, {"k": ["a", "b"], "n": [1, 2]})
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert list(sheet.tables) == ["Ledger_Table1"]
    made = sheet.tables["Ledger_Table1"]
    assert (made.ref, made.autoFilter.ref) == ("A5:B7", "A5:B7")
    assert [column.name for column in made.tableColumns] == ["Key", 'Net "&" <gross>']
    assert [cell.value for cell in sheet[5]] == [column.name for column in made.tableColumns]
    assert made.tableStyleInfo.showRowStripes
    assert sheet.auto_filter.ref is None


def test_an_empty_report_has_a_table_with_the_row_that_says_so(tmp_path: Path) -> None:
    path = report(tmp_path, (Column("k", "Key", Kind.TEXT),), {"k": []})
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert [made.ref for made in sheet.tables.values()] == ["A5:A6"]
    assert sheet["A6"].value == "No rows."


@pytest.mark.parametrize(
    "headers", [("Total", "TOTAL"), ("A", "two\nlines"), ("A", "_x0041_"), ("A", "B" * 256)]
)
def test_headers_that_no_table_can_have_are_filtered_as_a_range(
    tmp_path: Path, headers: tuple[str, str]
) -> None:
    columns = tuple(Column(f"c{i}", header, Kind.TEXT) for i, header in enumerate(headers))
    sheet = openpyxl.load_workbook(report(tmp_path, columns, {"c0": ["a"], "c1": ["b"]})).worksheets[0]
    assert not sheet.tables
    assert sheet.auto_filter.ref == "A5:B6"


def test_headers_and_wrapped_rows_have_the_height_of_their_lines(tmp_path: Path) -> None:
    columns = (
        Column("a", "Number of the invoice that was sent", Kind.INTEGER, width=9),
        Column("b", "Text", Kind.TEXT, width=20),
    )
    texts = ["short", None, "word " * 30, "two\nlines", "x" * 5000]
    path = report(tmp_path, columns, {"a": [1, 2, 3, 4, 5], "b": texts})
    sheet = openpyxl.load_workbook(path).worksheets[0]
    heights = {row: sheet.row_dimensions[row].height for row in range(5, 11)}
    assert heights[5] >= 30
    assert (heights[6], heights[7]) == (None, None)
    assert 90 <= heights[8] <= 150
    assert heights[9] == 30
    assert heights[10] == 405  # a row is at most 409 points high


def test_a_long_fact_is_no_wider_than_its_table(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("a", "A", Kind.TEXT), Column("b", "B", Kind.TEXT))
    fact = "Left out: " + ", ".join(f"Column {i}" for i in range(20))
    section = Section(
        "s", "S", table(columns, {"a": ["x" * 30], "b": ["y" * 30]}), lines=("For: Acme", fact), counts=True
    )
    write(layout(section), path)
    assert validation_errors(path) == []
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert [str(area) for area in sheet.merged_cells.ranges] == ["A3:B3"]
    assert (sheet["A3"].value, sheet["A3"].alignment.wrap_text) == (fact, True)
    assert sheet.row_dimensions[3].height >= 15 * len(fact) / 70
    assert read_back(path).problems == ()


def test_a_wide_report_goes_across_pages_that_begin_with_the_key(tmp_path: Path) -> None:
    wide = tuple(Column(f"c{i}", f"Header {i}", Kind.TEXT, width=30) for i in range(16))
    data = {column.name: ["a long enough text for thirty"] for column in wide}
    sheet = openpyxl.load_workbook(report(tmp_path, wide, data, page_size="a4")).worksheets[0]
    inches = sum((sheet.column_dimensions[letter].width * 7 + 5) / 96 for letter in "ABCDEFGHIJKLMNOP")
    across = sheet.page_setup.fitToWidth
    assert across > 1
    assert 11 * across * (11.69 - 1) / inches >= 6  # points of the font
    assert (sheet.print_title_cols, sheet.print_title_rows) == ("$A:$A", "$5:$5")
    assert (sheet.page_setup.paperSize, sheet.page_setup.orientation) == (9, "landscape")


@pytest.mark.parametrize(("width", "orientation"), [(79.0, "portrait"), (83.0, "landscape")])
def test_a_report_is_printed_upright_while_its_text_has_seven_points(
    width: float, orientation: str, tmp_path: Path
) -> None:
    two = (Column("k", "Key", Kind.TEXT, width=80), Column("t", "Text", Kind.TEXT, width=width))
    data: dict[str, list[object]] = {"k": ["a" * 90], "t": ["a" * 90]}
    sheet = openpyxl.load_workbook(report(tmp_path, two, data)).worksheets[0]
    inches = sum((sheet.column_dimensions[letter].width * 7 + 5) / 96 for letter in "AB")
    assert (11 * 7.5 / inches >= 7) == (orientation == "portrait")
    assert (sheet.page_setup.orientation, sheet.page_setup.fitToWidth) == (orientation, 1)


def test_a_narrow_report_is_printed_upright_and_its_footer_says_whose_it_is(tmp_path: Path) -> None:
    path = report(tmp_path, (Column("k", "Key", Kind.TEXT),), {"k": ["a"]})
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert (sheet.page_setup.paperSize, sheet.page_setup.orientation) == (1, "portrait")
    assert sheet.oddFooter.left.text == "Smith && Sons · Export: Riverside · 2026-03-14"
    assert sheet.oddFooter.right.text == "Page &P of &N"


def test_rows_past_the_last_row_of_a_sheet_go_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MAX_ROWS", 20)
    path = tmp_path / "b.xlsx"
    data = table(NUMBERS, {"k": ["SF", "LF"] * 20, "n": [float(i) for i in range(40)]}, batch_rows=9)
    totals = (Total("All", {"n": 780.0}), Total("SF", {"n": 380.0}, ("k", "SF")))
    rendered = write(layout(Section("s", "Data", data, totals=totals, counts=True, sums=("n",))), path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Index", "Data", "Data (part 2)", "Data (part 3)"]
    index = book["Index"]
    assert [row[:4] for row in index.iter_rows(min_row=4, values_only=True)] == [
        ("Sheet", "First row", "Last row", "Rows"),
        ("Data", 1, 15, 15),
        ("Data (part 2)", 16, 30, 15),
        ("Data (part 3)", 31, 40, 10),
    ]
    assert index["A6"].hyperlink.location == "'Data (part 2)'!A1"
    del book["Index"]
    assert all(sheet.max_row <= 20 for sheet in book)
    assert all(sheet["A3"].value == "Key" for sheet in book)
    numbers = [row[1] for sheet in book for row in sheet.iter_rows(min_row=4, values_only=True)]
    assert numbers[:40] == [float(i) for i in range(40)]
    assert book["Data (part 3)"]["B14"].value == "=SUM('Data'!B4:B18,'Data (part 2)'!B4:B18,B4:B13)"
    assert book["Data (part 3)"]["B15"].value.count("SUMIF") == 3
    assert rendered.warnings == [
        "'Data' has more rows than a sheet holds; it goes on in 'Data (part 2)', 'Data (part 3)'"
    ]
    facts = read_back(path)
    assert (facts.rows, facts.totals, facts.problems) == (40, {"n": 780.0}, ())


def test_a_plain_workbook_names_the_sheet_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sheets have no titles, and importers read the first one, so there is no index."""
    monkeypatch.setattr(plan, "MAX_ROWS", 20)
    data = table(NUMBERS, {"k": ["SF"] * 30, "n": [0.0] * 30})
    made = layout(Section("s", "Data", data, counts=True))
    rendered = write(made, tmp_path / "b.xlsx", {"layout": "plain"})
    assert rendered.warnings == ["'Data' has more rows than a sheet holds; it goes on in 'Data (part 2)'"]
    book = openpyxl.load_workbook(tmp_path / "b.xlsx")
    assert book.sheetnames == ["Data", "Data (part 2)"]
    assert [sheet["A1"].value for sheet in book] == ["Key", "Key"]


def test_totals_do_not_sum_columns_that_hold_texts(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("k", "Key", Kind.ENUM), Column("n", "N", Kind.DECIMAL))
    big = Decimal("12345678901234567890.5")
    data = table(columns, {"k": ["a", "b"], "n": [big, Decimal("0.5")]})
    groups = (
        Group("one", 1, totals=(Total("T", {"n": big}),)),
        Group("two", 1, totals=(Total("T", {"n": Decimal("0.5")}),)),
    )
    write(layout(Section("s", "S", data, groups=groups, counts=True)), path)
    book = openpyxl.load_workbook(path)
    assert (book["one"]["A5"].value, book["one"]["B5"].value) == ("T (rounded to 15 digits)", float(big))
    assert book["two"]["A5"].value == "T"
    assert book["two"]["B5"].value == "=SUM(B4:B4)"


@pytest.mark.slow
def test_a_group_of_five_thousand_sheets(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    generator = random.Random(1)
    sizes = [generator.choice((0, 1, 2, 7)) for _ in range(5000)]
    rows = sum(sizes)
    data = table(
        NUMBERS, {"k": [str(i % 9) for i in range(rows)], "n": [float(i) for i in range(rows)]}, 1000
    )
    groups = tuple(Group("Same name" if i % 2 else f"G{i}", size) for i, size in enumerate(sizes))
    write(layout(Section("s", "S", data, groups=groups, counts=True, sums=("n",))), path)
    facts = read_back(path)
    assert (facts.rows, facts.totals["n"], facts.problems) == (rows, rows * (rows - 1) / 2, ())
    book = openpyxl.load_workbook(path, read_only=True)
    assert len(book.sheetnames) == 5000
    last = list(book.worksheets[4999].iter_rows(min_row=4, values_only=True))
    assert len(last) == max(sizes[4999], 1)
    book.close()


@pytest.mark.slow
def test_no_sheet_of_the_data_hides_the_overflow_sheet(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    made = one_column(Kind.TEXT, ["x" * 40_000])
    write(replace(made, sheets=(replace(made.sheets[0], title="Overflow"),)), path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Overflow", "Overflow (2)"]
    assert book["Overflow"]["A4"].value.startswith("[see 'Overflow (2)'!C4 for")
    assert validation_errors(path) == []


def test_too_many_columns_are_refused_by_name(tmp_path: Path) -> None:
    columns = [Column(f"c{i}", "C", Kind.INTEGER) for i in range(16_385)]
    wide = Table("wide", tuple(columns), 0, lambda: iter(()))
    with pytest.raises(RenderError, match="16,385 columns"):
        write(layout(Section("s", "S", wide)), tmp_path / "b")


@pytest.mark.slow
def test_sixteen_thousand_columns_are_not(tmp_path: Path) -> None:
    columns = [Column(f"c{i}", "C", Kind.INTEGER) for i in range(16_384)]
    data = table(columns, {column.name: [1] for column in columns})
    write(layout(Section("s", "S", data, counts=True)), tmp_path / "b")
    assert read_back(tmp_path / "b").rows == 1


def test_four_gigabytes_are_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT", 20_000)
    with pytest.raises(RenderError, match="csv"):
        write(layout(Section("s", "S", measurements(5000))), tmp_path / "b")


@pytest.mark.parametrize("promised", [2, 4])
def test_a_table_that_does_not_keep_its_promise_is_an_error(promised: int, tmp_path: Path) -> None:
    def opened() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"c": pa.array(["a", "b", "c"])})

    broken = Table("broken", (Column("c", "C", Kind.TEXT),), promised, opened)
    with pytest.raises(RenderError, match="promised"):
        write(layout(Section("s", "S", broken)), tmp_path / "b")


def test_groups_must_cover_the_table(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="add up"):
        write(layout(Section("s", "S", measurements(5), groups=(Group("g", 4),))), tmp_path / "b")


def test_large_sheets_are_streamed_in_pieces(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Out:
        def write(self, data: bytes) -> int:
            sizes.append(len(data))
            return len(data)

    from export_pipeline.formats.excel.options import ExcelOptions
    from export_pipeline.formats.excel.write import render

    made = layout(Section("s", "S", measurements(30_000), counts=True))
    render(made, Out(), ExcelOptions())  # type: ignore[arg-type]
    assert max(sizes) < sum(sizes) / 3


def test_titles_and_headers_longer_than_a_cell_are_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    data = table((Column("c", "h" * 40_000, Kind.TEXT),), {"c": ["x"]})
    rendered = write(layout(Section("s", "🏗" * 20_000, data, lines=("l" * 40_000,), counts=True)), path)
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert all(len(sheet[cell].value.encode("utf-16-le")) <= 2 * 32_767 for cell in ("A1", "A2", "A4"))
    assert sum(rendered.changed.values()) == 3
    assert read_back(path).problems == ()


def test_totals_may_be_numpy_numbers(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    data = table(NUMBERS, {"k": ["a"], "n": [0.1]})
    write(layout(Section("s", "S", data, totals=(Total("T", {"n": np.float64(0.1)}),), counts=True)), path)
    assert openpyxl.load_workbook(path, data_only=True)["S"]["B5"].value == 0.1


@pytest.mark.slow
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    batch = next(measurements(4_000).open())

    def peak(batches: int) -> int:
        held: list[int] = []

        def opened() -> Iterator[pa.RecordBatch]:
            for _ in range(batches):
                held.append(pa.total_allocated_bytes())
                yield batch

        long = replace(measurements(0), rows=4_000 * batches, open=opened)
        write(layout(Section("s", "S", long, counts=True)), tmp_path / "b")
        return max(held[1:]) - held[0]

    assert peak(60) < 1.5 * peak(15) + 1_000_000  # few batches need not meet the most that are under way


@pytest.mark.slow
def test_pandas_is_never_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from export_pipeline.formats.excel.readback import read_back\n"
        "from export_pipeline_tests.formats.excel.books import project, write\n"
        "write(project(), Path(sys.argv[1]), {'guard_formulas': True})\n"
        "assert read_back(Path(sys.argv[1])).problems == ()\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "b.xlsx"], check=True, timeout=240)
