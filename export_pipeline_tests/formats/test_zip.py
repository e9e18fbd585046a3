"""Files that people find in a ZIP beside the exports."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.formats.registry import FORMATS
from export_pipeline_tests.formats.tables import CREATED


def member(name: str, rows: int) -> Layout:
    columns = (Column("name", "Name", Kind.TEXT, personal=True), Column("n", "N", Kind.INTEGER))
    data = pa.table({"name": ["x"] * rows, "n": pa.array(range(rows), pa.int64())})
    table = Table.of(name, columns, data)
    facts = (("For", "Harbour Museum"), ("Rows", str(rows)), ("Data as of", "2026-03-01 12:00 UTC"))
    return Layout(name.title(), CREATED, table, table, (), (), facts=facts)


def test_a_readme_says_whose_data_these_are_and_of_when_and_what_each_file_holds() -> None:
    members = {"works": member("works", 1200), "ledger": member("ledger", 2)}
    layout = replace(members["works"], title="Archive", members=members)
    zip = FORMATS["zip"]
    out = io.BytesIO()
    zip.render(layout, out, zip.options_of({"zip_formats": ["csv", "json"]}))
    with zipfile.ZipFile(out) as archive:
        lines = archive.read("README.txt").decode().split("\r\n")
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        listed = json.loads(archive.read("datapackage.json"))["resources"]
    assert lines[:3] == ["Archive", "For: Harbour Museum", "Data as of: 2026-03-01 12:00 UTC"]
    files = [resource["path"] for resource in listed]
    assert files == ["works.csv", "works.json", "ledger.csv", "ledger.json"]
    described = [line.split(None, 1) for line in lines if line.startswith(tuple(files))]
    assert described == [
        [path, f"{1200 if path.startswith('works') else 2:,} rows, {sizes[path]:,} bytes"] for path in files
    ]
    personal = [line.strip() for line in lines if "personal" in line]
    assert personal == ["personal data: Name", "personal data: name"] * 2
