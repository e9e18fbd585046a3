"""Backfills: the past windows of a scope, each requested once."""

from datetime import UTC, date, datetime, timedelta

import pytest

from export_pipeline.jobs import Attempt, File, Ledger, Status
from export_pipeline.orchestration.partitions import windows_partition
from export_pipeline.schedules.backfill import BackfillCounts, past_windows, request_past_windows
from export_pipeline.schedules.cadences import CadenceWindow

NOW = datetime(2026, 11, 11, 5, 30, tzinfo=UTC)
DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
WINDOWS = [CadenceWindow("records", "daily", day, "a|b") for day in DAYS]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
@pytest.mark.parametrize("cadence", ["daily", "weekly", "monthly"])
def test_windows_are_the_partitions_of_dagster(cadence: str, zone: str) -> None:
    windows = windows_partition(cadence, "2025-09-03", zone)
    names = past_windows(cadence, zone, date(2025, 9, 3), None, None, NOW)
    assert names == list(windows.get_partition_keys(current_time=NOW))
    assert past_windows(cadence, zone, date(2025, 9, 3), date(2026, 1, 1), date(2026, 3, 5), NOW) == [
        name for name in names if "2026-01-01" <= name <= "2026-03-05"
    ]


def test_a_day_that_a_zone_has_skipped_has_no_window() -> None:
    names = past_windows("daily", "Pacific/Apia", date(2011, 12, 28), None, date(2012, 1, 1), NOW)
    assert names == ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"]


def end(ledger: Ledger, job_id: str, status: str) -> None:
    """Let the first attempt of a job end so."""
    attempt = Attempt(job_id, 1, f"run-{job_id}")
    if status == "failed":
        ledger.failed(attempt, "export_failed", "It cannot be read.")
        return
    ledger.started(attempt)
    ledger.completed(
        attempt, File(f"exports/a/{job_id}.csv", "a.csv", 10, 1, "0" * 64, 1), NOW - timedelta(days=365)
    )
    if status == "expired":
        ledger.expire(job_id, lambda key: None)


def test_what_has_no_file_is_requested_once(ledger: Ledger) -> None:
    assert request_past_windows(ledger, WINDOWS, ["csv", "pdf"], requested_by="ann") == BackfillCounts(new=6)
    assert {job.requested_by for job in ledger.find()} == {"ann"}
    assert all(CadenceWindow.of(job) in WINDOWS for job in ledger.find())
    assert all(not job.recipients for job in ledger.find())
    assert request_past_windows(ledger, WINDOWS, ["csv", "pdf"]) == BackfillCounts(waiting=6)
    made, failed, expired = (window.job_id("csv") for window in WINDOWS)
    for job_id, status in ((made, "completed"), (failed, "failed"), (expired, "expired")):
        end(ledger, job_id, status)
    counts = request_past_windows(ledger, WINDOWS, ["csv"])
    assert counts == BackfillCounts(completed=1, retried=1, repeated=1)
    assert counts.requested == 2
    assert ledger.get(failed).status is Status.PENDING
    (again,) = [job for job in ledger.find(limit=20) if job.options]
    window = CadenceWindow.of(again)
    assert window is not None
    assert (window.window, window.key, window.scope) == (DAYS[2], f"daily/{DAYS[2]}", "a|b")
    assert request_past_windows(ledger, WINDOWS, ["csv"]) == BackfillCounts(completed=1, waiting=2)


def test_files_that_are_there_are_made_again_if_wanted(ledger: Ledger) -> None:
    request_past_windows(ledger, WINDOWS[:1], ["csv"])
    end(ledger, WINDOWS[0].job_id("csv"), "completed")
    assert request_past_windows(ledger, WINDOWS[:1], ["csv"], again=True) == BackfillCounts(repeated=1)
    (second,) = [job for job in ledger.find() if job.options]
    end(ledger, second.id, "failed")
    assert request_past_windows(ledger, WINDOWS[:1], ["csv"]) == BackfillCounts(retried=1)


def test_requests_of_other_scopes_and_datasets_do_not_count(ledger: Ledger) -> None:
    request_past_windows(ledger, WINDOWS, ["csv"])
    other = [CadenceWindow("records", "daily", day, None) for day in DAYS]
    assert request_past_windows(ledger, other, ["csv"]) == BackfillCounts(new=3)
    assert request_past_windows(ledger, [], ["csv"]) == BackfillCounts()
