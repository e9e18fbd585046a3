"""Workbooks of several datasets: each sheet's rows and sums are proven as if it stood alone."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Section
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.formats.registry import FORMATS
from export_pipeline_tests.formats.tables import CREATED, read_back

PRICE = Column("price", "Price", Kind.FLOAT, digits=2)
NAME = Column("name", "Name", Kind.TEXT)
EXCEL = FORMATS["excel"]


def section(dataset: str, columns: tuple[Column, ...], prices: list[float]) -> Section:
    fields = {"price": pa.array(prices, pa.float64()), "name": pa.array(["x"] * len(prices), pa.string())}
    table = Table.of("rows", columns, pa.table(fields))
    return Section(f"{dataset}.rows", dataset.title(), table, counts=True, dataset=dataset, sums=("price",))


def write(path: Path, *sections: Section) -> Rendered:
    main = sections[0].table
    out = BytesIO()
    rendered = EXCEL.render(Layout("Pack", CREATED, main, main, sections, ()), out, EXCEL.options())
    path.write_bytes(out.getvalue())
    return rendered


def alter(path: Path, part: str, old: bytes, new: bytes) -> FileFacts:
    """Replace bytes of a part, and read the workbook back."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    assert parts[part].count(old) == 1
    parts[part] = parts[part].replace(old, new)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return read_back("excel", path)


def test_sums_are_those_of_each_dataset_wherever_its_column_stands(tmp_path: Path) -> None:
    path = tmp_path / "pack.xlsx"
    works = section("works", (PRICE, NAME), [1.25, 2.5])
    fees = section("fees", (NAME, PRICE), [100.0, 200.0, 400.5])
    assert write(path, works, fees, section("none", (NAME, PRICE), [])).rows == 5
    assert read_back("excel", path) == FileFacts(
        5, {"works: price": 3.75, "fees: price": 700.5, "none: price": 0.0}
    )
    assert openpyxl.load_workbook(path).sheetnames == ["Works", "Fees", "None"]


def test_a_changed_cell_is_seen_in_the_sum_of_its_own_dataset(tmp_path: Path) -> None:
    path = tmp_path / "pack.xlsx"
    write(path, section("works", (PRICE, NAME), [1.25]), section("fees", (NAME, PRICE), [100.0]))
    facts = alter(path, "xl/worksheets/sheet2.xml", b"<v>100</v>", b"<v>101</v>")
    assert facts.totals == {"works: price": 1.25, "fees: price": 101.0}


def test_a_missing_text_counts_nothing_only_in_its_own_dataset(tmp_path: Path) -> None:
    path = tmp_path / "pack.xlsx"
    works = section("works", (replace(PRICE, null="n/a"), NAME), [1.0])
    empty = Table.of(
        "rows", works.table.columns, pa.table({"price": pa.array([None, 1.0]), "name": ["a", "b"]})
    )
    write(path, replace(works, table=empty), section("fees", (NAME, PRICE), [2.0]))
    assert read_back("excel", path) == FileFacts(3, {"works: price": 1.0, "fees: price": 2.0})


@pytest.mark.parametrize("dataset", ["works", "fees"])
def test_changed_cells_are_counted_by_dataset(tmp_path: Path, dataset: str) -> None:
    sections = {name: section(name, (NAME, PRICE), [1.0]) for name in ("works", "fees")}
    column = Column("name", "Name", Kind.TEXT)
    long = Table.of("rows", (column, PRICE), pa.table({"name": ["x" * 40_000], "price": [1.0]}))
    sections[dataset] = replace(sections[dataset], table=long)
    changed = write(tmp_path / "pack.xlsx", *sections.values()).changed
    assert {header for _, header in changed} == {f"{dataset}: Name"}
