"""Requests for windows of cadences, which may have many thousand scopes."""

from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger, LedgerError
from export_pipeline.schedules import cadence_requests
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows
from export_pipeline_tests.jobs.database import Database

SCOPES = 2500


@pytest.mark.slow
def test_many_scopes_are_asked_for_once_in_few_statements(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    windows = [CadenceWindow("records", "daily", "2026-11-01", f"s{number}") for number in range(SCOPES)]
    people = {"recipients": ["a@example.org"], "owners": ["o@example.org"]}
    assert request_windows(engine, windows[::3], ["csv"], **people) == len(windows[::3])
    statements: list[str] = []

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "INSERT" in statement:
            statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", count)
    assert request_windows(engine, windows, ["csv", "pdf"], **people) == 2 * SCOPES - len(windows[::3])
    assert len(statements) <= 10
    assert request_windows(engine, windows, ["csv", "pdf"], **people) == 0
    rows = database.run("SELECT dataset, scope, format FROM export_jobs")
    assert set(rows) == {("records", f"s{n}", format) for n in range(SCOPES) for format in ("csv", "pdf")}
    assert len(rows) == 2 * SCOPES
    (job,) = ledger.find(limit=1)
    assert CadenceWindow.of(job) is not None
    assert (job.recipients, job.options) == (["a@example.org"], {"owners": ["o@example.org"]})


def test_a_crash_leaves_whole_batches_and_a_repetition_does_the_rest(
    database: Database, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cadence_requests, "_BATCH", 4)
    windows = [CadenceWindow("records", "daily", "2026-11-01", f"s{number}") for number in range(10)]
    refused = CadenceWindow("records", "daily", "2026-11-01", "x" * 1_000_000)
    with pytest.raises(LedgerError):
        request_windows(engine, [*windows[:6], refused], ["csv"], recipients=[], owners=[])
    assert database.run("SELECT count(*) FROM export_jobs") == [(4,)]
    assert request_windows(engine, windows, ["csv"], recipients=[], owners=[]) == 6
