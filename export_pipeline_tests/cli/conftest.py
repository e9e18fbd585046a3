from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export_pipeline.jobs import Ledger


@pytest.fixture
def ledger(
    environment: dict[str, str],
    make_ledger: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ledger]:
    """An empty ledger, which the commands use."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    monkeypatch.setenv("EXPORT_JOBS_URL", url)
    make_ledger(tmp_path / "jobs.db")
    with Ledger(url) as ledger:
        yield ledger
