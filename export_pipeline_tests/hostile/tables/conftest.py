from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """(dialect, URL, a folder)."""
    folder = tmp_path_factory.mktemp("tables")
    if request.param == "sqlite":
        yield "sqlite", f"sqlite:///{folder}/a.db", folder
        return
    with request.getfixturevalue("postgres").database() as url:
        yield "postgresql", url, folder
