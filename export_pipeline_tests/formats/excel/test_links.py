"""Addresses of the web and of mail become links, and nothing else does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import openpyxl
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section
from export_pipeline.formats.excel import links
from export_pipeline.formats.excel.readback import read_back
from export_pipeline_tests.formats.excel.books import layout, one_column, table, validation_errors, write

LINKS = (
    "https://example.org",
    "HTTP://example.org:8080/a%20b?x=1&y=%27#part",
    "https://example.org/a(b)'c*d",
    "mailto:ann.b+c@example.org",
    "mailto:ann@example.org?subject=Hi",
)
NOT_LINKS = (
    "javascript:alert(1)",
    "file:///etc/passwd",
    "\\\\server\\share",
    "ftp://example.org/x",
    "smb://example.org/x",
    "data:text/html,x",
    "vbscript:x",
    "ms-excel:ofe|u|https://example.org/x.xlsx",
    "https://bank.example@evil.example/",
    "https:// example.org",
    "https://example.org/a b",
    "https://example.org/\n",
    "https://example.org/<x>",
    'https://example.org/"x"',
    "https://",
    "see https://example.org",
    "example.org",
    "mailto:",
    "mailto:a@b.org@c.org",
    '=HYPERLINK("https://example.org")',
    "",
)


def linked(path: Path, sheet: str = "S") -> dict[str, str]:
    """The address of each linked cell."""
    links = {}
    for row in openpyxl.load_workbook(path)[sheet].iter_rows():
        for cell in row:
            if cell.hyperlink is not None and cell.hyperlink.target:
                fragment = f"#{cell.hyperlink.location}" if cell.hyperlink.location else ""
                links[cell.value] = cell.hyperlink.target + fragment
    return links


def test_only_web_and_mail_addresses_are_links(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(one_column(Kind.URL, [*LINKS, None, *NOT_LINKS]), path)
    assert linked(path) == {address: address for address in LINKS}
    assert validation_errors(path) == []
    facts = read_back(path)
    assert (facts.rows, facts.problems) == (len(LINKS) + 1 + len(NOT_LINKS), ())


def test_text_columns_and_plain_workbooks_have_no_links(tmp_path: Path) -> None:
    for kind, options in ((Kind.TEXT, {}), (Kind.URL, {"layout": "plain"})):
        path = tmp_path / f"{kind}.xlsx"
        write(one_column(kind, LINKS), path, options)
        assert linked(path) == {}


def test_a_column_of_links_looks_like_links_and_a_mixed_one_does_not(tmp_path: Path) -> None:
    for values, underlined in ((LINKS, "single"), ((*LINKS, "none"), None)):
        path = tmp_path / "b.xlsx"
        write(one_column(Kind.URL, values), path)
        assert openpyxl.load_workbook(path)["S"]["A4"].font.u == underlined


def test_links_stand_beside_a_table_and_links_to_sheets(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("id", "Id", Kind.INTEGER), Column("a", "A", Kind.URL), Column("b", "B", Kind.URL))
    rows = table(columns, {"id": [1, 2], "a": LINKS[:2], "b": ["x", LINKS[2]]})
    write(layout(Section("s", "S", rows, counts=True)), path)
    with ZipFile(path) as book:
        relations = book.read("xl/worksheets/_rels/sheet1.xml.rels").decode()
    assert re.findall(r'Id="(\w+)" Type="[^"]*/(\w+)"', relations) == [
        ("rId2", "hyperlink"),
        ("rId3", "hyperlink"),
        ("rId4", "hyperlink"),
        ("rId1", "table"),
    ]
    assert len(linked(path)) == 3
    assert validation_errors(path) == []


def addresses(count: int) -> Layout:
    texts = pa.array([f"https://example.org/{n}" for n in range(count)])
    return one_column(Kind.URL, texts)


def test_more_links_than_a_sheet_holds_are_text_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.formats.excel import sheet_run

    assert links.MAX_LINKS == 65_530
    monkeypatch.setattr(links, "MAX_LINKS", 1_000)
    monkeypatch.setattr(sheet_run, "MAX_LINKS", 1_000)
    path = tmp_path / "b.xlsx"
    rendered = write(addresses(2_500), path)
    assert rendered.warnings == ["Only the first 1,000 addresses of 'S' are links; 1,500 more are text."]
    assert len(linked(path)) == 1_000
    assert (read_back(path).rows, read_back(path).problems) == (2_500, ())


def test_an_address_longer_than_a_link_is_text_and_told(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    longest = "https://example.org/" + "x" * (links.MAX_URL - 20)
    rendered = write(one_column(Kind.URL, [longest, longest + "x"]), path)
    assert list(linked(path)) == [longest]
    assert rendered.warnings == ["1 addresses are longer than 2,079 characters, so they are no links."]


def test_each_part_of_a_long_table_has_its_own_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export_pipeline.formats.excel import plan

    monkeypatch.setattr(plan, "MAX_ROWS", 44)
    path = tmp_path / "b.xlsx"
    write(addresses(100), path)
    book = openpyxl.load_workbook(path)
    sheets = [name for name in book.sheetnames if name.startswith("S")]
    assert [len(linked(path, name)) for name in sheets] == [40, 40, 20]
    assert linked(path, sheets[1])["https://example.org/40"] == "https://example.org/40"
    assert validation_errors(path) == []


def test_a_summary_s_links_lead_to_sheets_still(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    made = addresses(3)
    write(replace(made, sheets=(replace(made.sheets[0], lines=("a line",)),)), path)
    assert len(linked(path)) == 3
