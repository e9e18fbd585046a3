"""The workbook of a company."""

from __future__ import annotations

from pathlib import Path

import pytest

from export_pipeline_tests.formats.excel.books import validation_errors
from export_pipeline_tests.formats.excel.templates import company


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = company(tmp_path / "company.xlsx")
    assert validation_errors(path) == []
    return path
