"""Links in mails that only this machine can open are told before anybody gets one."""

from __future__ import annotations

import pytest

from export_pipeline.cli.request import _check_mail
from export_pipeline.health import LATE
from export_pipeline.health.ledger import ledger_findings
from export_pipeline.jobs import Ledger
from export_pipeline.settings import load_settings


@pytest.mark.parametrize(
    ("other", "local"),
    [
        ({}, True),
        ({"EXPORT_PUBLIC_URL": "https://files.example.org"}, False),
        ({"EXPORT_STORE_URL": "s3://bucket/prefix"}, False),
        ({"EXPORT_API_URL": "https://exports.example.org"}, False),
    ],
)
def test_health_and_request_tell_of_links_that_lead_nowhere(
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    other: dict[str, str],
    local: bool,
) -> None:
    known = {"EXPORT_SMTP_URL": "smtp://127.0.0.1:1", "EXPORT_MAIL_FROM": "exports@example.org"}
    for name, value in (known | other).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert ("mail_links_local" in [finding.code for finding in ledger_findings(settings, LATE)]) is local
    _check_mail(settings, ["Ann <ann@example.org>"])
    assert ("set EXPORT_PUBLIC_URL" in capsys.readouterr().err) is local
    _check_mail(settings, [])
    assert capsys.readouterr().err == ""
