"""The findings of a deployment, by their codes."""

from typing import Any

from export_pipeline.health import run_checks
from export_pipeline.health.findings import Finding
from export_pipeline.settings import load_settings


def examined(**options: Any) -> dict[str, Finding]:
    findings = run_checks(load_settings(), dagster=False, **options)
    assert all(
        "\n" not in finding.wrong + finding.do and finding.wrong and finding.do for finding in findings
    )
    return {finding.code: finding for finding in findings}
