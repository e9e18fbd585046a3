"""Health checks of a deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from export_pipeline.health.datasets import dataset_findings
from export_pipeline.health.disks import staging_findings
from export_pipeline.health.findings import Finding
from export_pipeline.health.ledger import ledger_findings
from export_pipeline.health.services import queue_findings, source_findings, store_findings
from export_pipeline.redaction import hide_credentials, hide_in_error
from export_pipeline.settings import Settings

LATE = timedelta(minutes=15)

Check = Callable[[], Iterator[Finding]]


def run_checks(settings: Settings, *, late: timedelta = LATE, dagster: bool = True) -> list[Finding]:
    """Run all checks, in parallel where possible, and return their findings; empty if all is well.

    Args:
        late: Time after which a waiting or running request, or an unsent mail, becomes a finding.
        dagster: Also check Dagster (its instance, daemon and sensors) and the datasets declared there.
    """
    checks: list[Check] = [
        lambda: ledger_findings(settings, late),
        lambda: source_findings(settings),
        lambda: store_findings(settings),
        lambda: queue_findings(settings),
    ]
    with ThreadPoolExecutor(len(checks), "health") as pool:
        futures = [pool.submit(_all, check) for check in checks]
        # These run in this thread, not in the pool: Dagster keeps state of its own.
        findings = _all(lambda: staging_findings(settings, dagster))
        if dagster:
            findings += _all(lambda: dataset_findings(settings)) + _all(_dagster_findings)
        return [finding for answer in futures for finding in answer.result()] + findings


def _dagster_findings() -> Iterator[Finding]:
    from export_pipeline.orchestration.dagster_health import findings

    yield from (Finding(*finding) for finding in findings())


def _all(check: Check) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except Exception as error:  # a broken check must not hide the findings of the others
        hide_in_error(error)
        reason = hide_credentials(" ".join(str(error).split()))[:300]
        findings.append(
            Finding("check_failed", f"A check broke: {type(error).__name__}: {reason}", "Report this.")
        )
    return findings
