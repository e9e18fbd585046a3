from __future__ import annotations

from pathlib import Path

import pytest

from export_pipeline_tests.sources.introspection.schemas import SHOP, execute, sqlite


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a small shop, on each database."""
    if request.param == "sqlite":
        return sqlite(tmp_path, SHOP)
    url: str = request.getfixturevalue("postgres_url")
    execute(url, SHOP)
    return url
