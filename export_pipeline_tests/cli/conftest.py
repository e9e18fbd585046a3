from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.jobs import Ledger, migrate


@pytest.fixture
def ledger(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """An empty ledger, which the commands use."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    monkeypatch.setenv("EXPORT_JOBS_URL", url)
    migrate(url)
    with Ledger(url) as ledger:
        yield ledger
