"""A deployment without faults."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def well(
    environment: dict[str, str],
    make_ledger: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> dict[str, str]:
    """A deployment that lacks nothing but Dagster."""
    url = f"sqlite:///{tmp_path}/health.db"
    monkeypatch.setenv("EXPORT_JOBS_URL", url)
    make_ledger(tmp_path / "health.db")
    return environment | {"EXPORT_JOBS_URL": url}
