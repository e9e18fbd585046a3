"""Findings about datasets."""

import re

import pytest

from export_pipeline import project
from export_pipeline.health.datasets import dataset_findings
from export_pipeline.health.findings import Finding
from export_pipeline.settings import load_settings


def test_samples_that_do_not_fit_the_source_are_named_in_one_line(environment: dict[str, str]) -> None:
    """The deployment's source has the tables of takeoff alone."""
    (finding,) = dataset_findings(load_settings())
    assert finding.code == "dataset_unfit"
    assert {"records", "sellers", "archive"} <= set(re.findall(r"\w+", finding.wrong))
    assert "takeoff" not in finding.wrong
    assert "export-pipeline init" in finding.do


def test_a_dataset_of_ones_own_that_does_not_fit_is_named_with_its_reason(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "SAMPLES", project.SAMPLES - {"records", "sellers"})
    findings = {finding.wrong.partition(":")[0]: finding for finding in dataset_findings(load_settings())}
    assert "there is no table 'accounts'" in findings["records"].wrong
    assert "there is no table" in findings["sellers"].wrong  # it has no scopes
    assert findings["records"].do.endswith("delete export_pipeline/defs/records.")
    assert len(findings) == 3


def test_too_many_partitions_are_advised_against(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def findings() -> list[Finding]:
        return [one for one in dataset_findings(load_settings()) if one.code == "partitions_many"]

    assert findings() == []
    monkeypatch.setenv("EXPORT_MAX_PARTITIONS", "100")
    (finding,) = findings()
    assert finding.is_advice
    assert re.match(
        r"takeoff: 2 scopes times [\d,]+ daily windows are [\d,]+ partitions of an asset, more than "
        r"EXPORT_MAX_PARTITIONS \(100\)", finding.wrong
    )  # fmt: skip
    assert "partition_windows_by_scope: false" in finding.do
    monkeypatch.setenv("EXPORT_MAX_PARTITIONS", "0")
    assert findings() == []


def test_a_source_that_is_away_is_reported_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_SOURCE_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    assert list(dataset_findings(load_settings())) == []
