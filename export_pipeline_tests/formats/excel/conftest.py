"""The workbook of a company."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export_pipeline_tests.formats.excel.books import validation_errors
from export_pipeline_tests.formats.excel.templates import company


@pytest.fixture(scope="session")
def valid_company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workbook, validated once; only to be read."""
    path = company(tmp_path_factory.mktemp("company") / "company.xlsx")
    assert validation_errors(path) == []
    return path


@pytest.fixture
def template(valid_company: Path, tmp_path: Path) -> Path:
    """A copy of one test's own."""
    return Path(shutil.copy(valid_company, tmp_path))
