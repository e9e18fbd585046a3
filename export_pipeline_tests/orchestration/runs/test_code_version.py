"""The version of the code changes with what it does and with datasets, and with nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from export_pipeline.orchestration.runs import code_version, warm_process


def test_every_change_of_code_or_datasets_makes_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        (folder / "defs").mkdir(parents=True)
        (folder / "defs" / "defs.yaml").write_text("a: 1\n")

    def version(folder: Path) -> str:
        monkeypatch.chdir(folder)
        for module in (code_version, warm_process):
            monkeypatch.setattr(module, "_PACKAGE", folder)
        return code_version.code_version()

    first = version(here)
    assert version(elsewhere) == first  # another machine
    os.utime(here / "defs" / "defs.yaml", ns=(1, 1))
    (here / ".env").write_text("A=1\n")
    (here / "notes.txt").write_text("later\n")
    assert version(here) == first
    (here / "defs" / "defs.yaml").write_text("a: 2\n")
    second = version(here)
    (here / "defs" / "query.sql").write_text("SELECT 1\n")
    third = version(here)
    (here / "defs" / "query.sql").rename(here / "query.sql")
    assert len({first, second, third, version(here)}) == 4


def test_a_process_knows_what_it_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = code_version.loaded_version()
    monkeypatch.setattr(code_version, "code_version", lambda: "changed on disk")
    assert code_version.loaded_version() == loaded
