"""Findings about disks."""

import os
import shutil
import uuid
from pathlib import Path

import pytest

from export_pipeline.health.disks import staging_findings
from export_pipeline.settings import load_settings
from export_pipeline_tests.health.findings import examined


def test_a_full_disk_is_reported(well: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 30, 98 << 30, 2 << 30))
    findings = examined()
    assert set(findings) == {"store_full", "staging_full"}
    assert "2.0 GiB (2%)" in findings["store_full"].wrong


def test_the_finding_about_a_full_staging_disk_names_the_cure(
    well: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 30, 98 << 30, 2 << 30))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    settings = load_settings()
    step = settings.staging_folder / str(uuid.uuid4()) / "x.fetch_source-result"
    step.mkdir(parents=True)
    (step / "rows-0.arrow").write_bytes(b"x" * 1234)
    (step / "0").mkdir()
    (step / "0" / "rows-0.arrow").hardlink_to(step / "rows-0.arrow")  # as each step links those before it

    def advice() -> str:
        (finding,) = staging_findings(settings, dagster=True)
        assert finding.code == "staging_full"
        return finding.do

    assert advice().startswith(
        "`export-pipeline purge` frees nothing there: 1,234 bytes are of runs under way"
    )
    for path in (step / "0" / "rows-0.arrow", step / "0", step, step.parent):
        os.utime(path, (0, 0))
    assert advice() == "Run `export-pipeline purge`, which frees 1,234 bytes of ended runs there."
    monkeypatch.setenv("DAGSTER_HOME", "/proc/nowhere")
    assert "name a larger disk" in advice()
