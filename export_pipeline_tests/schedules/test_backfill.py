"""Backfills: the past windows of a scope, each requested once."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Attempt, File, Ledger, Status, Viewer
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.tables import jobs
from export_pipeline.orchestration.partitions import windows_partition
from export_pipeline.schedules import backfill
from export_pipeline.schedules.backfill import BackfillCounts, past_windows, request_past_windows
from export_pipeline.schedules.cadence_requests import CadenceWindow, insert_requests, request_windows

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


@pytest.mark.parametrize("cadence", ["daily", "weekly", "monthly"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_no_window_of_the_future_has_ended(cadence: str, zone: str) -> None:
    """Not even at the end of the calendar, whose last day has no day after it."""
    for first in (date(2026, 11, 12), date(9999, 12, 1), date.max):
        assert past_windows(cadence, zone, date(2025, 9, 3), first, date.max, NOW) == []


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
    assert counts == BackfillCounts(completed=1, repeated=2)
    assert counts.requested == 2
    assert ledger.get(failed).status is Status.FAILED
    again = [CadenceWindow.of(job) for job in ledger.find(limit=20) if job.options]
    assert sorted((one.window, one.key, one.scope) for one in again if one) == [
        (day, f"daily/{day}", "a|b") for day in DAYS[1:]
    ]
    assert request_past_windows(ledger, WINDOWS, ["csv"]) == BackfillCounts(completed=1, waiting=2)


def test_files_that_are_there_are_made_again_if_wanted(ledger: Ledger) -> None:
    request_past_windows(ledger, WINDOWS[:1], ["csv"])
    end(ledger, WINDOWS[0].job_id("csv"), "completed")
    assert request_past_windows(ledger, WINDOWS[:1], ["csv"], again=True) == BackfillCounts(repeated=1)
    (second,) = [job for job in ledger.find() if job.options]
    end(ledger, second.id, "failed")
    assert request_past_windows(ledger, WINDOWS[:1], ["csv"]) == BackfillCounts(repeated=1)


def test_who_asks_at_the_same_time_repeats_no_window_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_past_windows(ledger, WINDOWS[:2], ["csv"])
    for window in WINDOWS[:2]:
        end(ledger, window.job_id("csv"), "completed")

    def ask_in_between(engine: sa.Engine, asked: Any, **rest: Any) -> int:
        monkeypatch.undo()
        assert request_past_windows(ledger, WINDOWS[1:], ["csv"], again=True).requested == 2
        return insert_requests(engine, asked, **rest)

    monkeypatch.setattr(backfill, "insert_requests", ask_in_between)
    counts = request_past_windows(ledger, WINDOWS, ["csv"], again=True)
    assert counts == BackfillCounts(repeated=1, waiting=2)
    assert sorted(job.window_key or "" for job in ledger.find() if job.status is Status.PENDING) == [
        f"daily/{day}" for day in DAYS
    ]


def test_requests_of_others_are_repeated_and_stay_as_they_are(ledger: Ledger) -> None:
    recipients, owners = ["reader@example.org"], ["owner@example.org"]
    request_windows(ledger.engine, WINDOWS[:1], ["csv"], recipients=recipients, owners=owners)
    first = ledger.canceled(WINDOWS[0].job_id("csv"))
    for _ in range(2):
        counts = request_past_windows(ledger, WINDOWS[:1], ["csv"], requested_by="bob@example.org")
    assert counts == BackfillCounts(waiting=1)
    assert ledger.get(first.id) == first
    (second,) = ledger.find(Viewer(["a|b"], "bob@example.org"))
    assert (second.recipients, second.options.get("owners")) == ([], None)


@pytest.mark.parametrize("ended", ["failed", "canceled"])
def test_a_deleted_job_stops_nothing(ledger: Ledger, ended: str) -> None:
    request_past_windows(ledger, WINDOWS, ["csv"])
    job_id = WINDOWS[0].job_id("csv")
    if ended == "failed":
        end(ledger, job_id, "failed")
    else:
        ledger.canceled(job_id)
    ledger.delete(job_id, lambda key: None)
    assert request_past_windows(ledger, WINDOWS, ["csv"]) == BackfillCounts(repeated=1, waiting=2)


def test_a_file_under_legal_hold_is_left_alone(ledger: Ledger) -> None:
    """However it was made: by the schedule or in the launchpad."""
    request_past_windows(ledger, WINDOWS, ["csv"])
    for window, file in zip(WINDOWS, ("csv.gz", "csv", "csv"), strict=True):
        attempt = Attempt(window.job_id("csv"), 1, "run")
        ledger.started(attempt)
        key = f"exports/a%7Cb/records/daily/{window.window}.{file}"
        ledger.completed(attempt, File(key, "a.csv", 10, 1, "0" * 64, 1))
    ledger.hold(WINDOWS[0].job_id("csv"), True)
    by_hand = ledger.record_export(
        "other run", File(f"exports/a%7Cb/records/daily/{DAYS[1]}.csv", "a.csv", 10, 1, "0" * 64, 1), None,
        dataset="records", format="csv", scope="a|b", filters={}, columns=None, options={},
        requested_by=None, started_at=NOW, who="dagster",
    )  # fmt: skip
    ledger.hold(by_hand.id, True)
    counts = request_past_windows(ledger, WINDOWS, ["csv"], again=True)
    assert counts == BackfillCounts(held=2, repeated=1)
    ledger.hold(by_hand.id, False)
    assert request_past_windows(ledger, WINDOWS, ["csv"], again=True) == BackfillCounts(
        held=1, repeated=1, waiting=1
    )


def test_thousands_of_repetitions_are_a_few_transactions(ledger: Ledger) -> None:
    many = [CadenceWindow("records", "daily", f"w{number}", "s") for number in range(1_500)]
    request_past_windows(ledger, many, ["csv"])
    with transaction(ledger.engine, write=True) as connection:
        connection.execute(sa.update(jobs).values(status="canceled"))
    begun: list[object] = []
    sa.event.listen(ledger.engine, "begin", begun.append)
    assert request_past_windows(ledger, many, ["csv"]) == BackfillCounts(repeated=1_500)
    assert len(begun) == 3


def test_requests_of_other_scopes_and_datasets_do_not_count(ledger: Ledger) -> None:
    request_past_windows(ledger, WINDOWS, ["csv"])
    other = [CadenceWindow("records", "daily", day, None) for day in DAYS]
    assert request_past_windows(ledger, other, ["csv"]) == BackfillCounts(new=3)
    assert request_past_windows(ledger, [], ["csv"]) == BackfillCounts()
