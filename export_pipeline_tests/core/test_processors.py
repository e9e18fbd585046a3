from __future__ import annotations

import os
from pathlib import Path

import pytest

from export_pipeline.core import processors


@pytest.mark.parametrize(
    ("limit", "count"),
    [("max 100000\n", 8), ("200000 100000\n", 2), ("50000 100000\n", 1), ("250000 100000\n", 3), (None, 8), ("?", 8)],
)  # fmt: skip
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(processors, "_QUOTA", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert processors.usable_processors() == count
