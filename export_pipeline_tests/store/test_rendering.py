"""Formats of one table are rendered straight into an upload, and read back from it before it is published."""

from pathlib import Path
from typing import BinaryIO, cast

import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.store import open_store
from export_pipeline_tests.formats.tables import CREATED, table
from export_pipeline_tests.store.putting import begin


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "parquet", "zip"])
def test_a_format_writes_into_an_upload(name: str, tmp_path: Path) -> None:
    format, store = FORMATS[name], open_store(str(tmp_path / "store"))
    main = table((Column("n", "N", Kind.INTEGER),), [(n,) for n in range(1000)])
    layout = Layout("T", CREATED, main, main, (), ())
    with begin(store, f"exports/s/1{format.extension}", tmp_path) as upload:
        options = FormatOptions.model_validate({"zip_formats": ["parquet"]}).of(name)
        rendered = format.render(layout, cast(BinaryIO, upload), options)
        upload.finish()
        facts = format.read_back(upload.path, options)
        assert (rendered.rows, facts.rows, facts.problems) == (1000, 1000, ())
        assert upload.publish().bytes > 1000
